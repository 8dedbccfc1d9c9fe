"""The ladder under every law: whatever comes in, an input inside the bounds comes out, and info says which rung."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import koopctl as kc
from koopctl.controllers.law import Law
from koopctl.errors import DesignError

RUNGS = {"solved", "feasible", "shifted", "lqr", "safe"}
KEYS = {"status", "reason", "solve_time", "cost", "plan", "plan_u", "excess"}
KINDS = ("lqr", "lifted", "relinearized")
TASK = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-0.6, u_max=0.5, du_max=0.3, u_safe=0.05, horizon=6)


@pytest.fixture(scope="module")
def pendulum_models(pendulum_rollouts) -> dict[tuple[str, int], Any]:
    """Models of a plant with redundant coordinates, with and without delays."""
    models: dict[tuple[str, int], Any] = {}
    for delays in (0, 1):
        network = kc.SampledRNN(30, delays=delays).fit(pendulum_rollouts[:40])
        lift = kc.EDMDc(kc.SampledFeatures(15), delays=delays, ridge=1e-6).fit(pendulum_rollouts[:40])
        models |= {("lqr", delays): network, ("relinearized", delays): network, ("lifted", delays): lift}
    return models


def quick(model: Any, task: kc.Task, kind: str) -> Law:
    """Design a law; the search is kept small, as these tests are about everything else."""
    return kc.RelinearizedMPC(model, task, candidates=1) if kind == "relinearized" else kc.design(model, task, kind)


def strange(rng: np.random.Generator, good: np.ndarray) -> Any:
    """Return an observation that is none, or one from far away."""
    n = len(good)
    spoilt = good.copy()
    spoilt[rng.integers(n)] = rng.choice([np.nan, np.inf, -np.inf])
    choices: list[Any] = [
        spoilt,
        np.full(n, np.nan),
        good * 10.0 ** rng.integers(1, 308),
        -np.full(n, 10.0 ** rng.integers(5, 308)),
        good[:-1],
        np.append(good, 0.0),
        good[None],
        good[:, None],
        0.3,
        "upright",
        ["a", "b", "c"],
        None,
        [None] * n,
        [],
        [[1.0], [1.0, 2.0]],
        {"theta": 1.0},
        [10**400] * n,
        object(),
        good * 1j,
        good.astype(np.float32),
        list(good),
        b"\x00",
        np.array(good, dtype=object),
    ]
    return choices[int(rng.integers(len(choices)))]


@pytest.mark.parametrize("delays", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_strange_observations(pendulum_models, pendulum_rollouts, kind, delays, capfd):
    """No exception, no warning, nothing printed; u finite, of the right shape, inside input and rate bounds."""
    law = quick(pendulum_models[kind, delays], TASK.replace(horizon=4), kind)
    rng, count = np.random.default_rng(delays), 1500 if delays else 3000
    path = np.concatenate(pendulum_rollouts[60:120].X)
    u_last = np.array([0.05])
    seen = set()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=RuntimeWarning)
        for k in range(count):
            good = path[(k + k // 500) % len(path)]
            u, info = law(strange(rng, good) if rng.random() < 1 / 3 else good)
            assert isinstance(u, np.ndarray) and u.shape == (1,) and u.dtype == np.float64
            assert -0.6 <= u[0] <= 0.5 and abs(u - u_last)[0] <= 0.3 + 1e-12
            assert KEYS <= set(info) and info["status"] in RUNGS
            assert isinstance(info["reason"], str) and not info["reason"].startswith("fault")
            assert info["reason"] or info["status"] == "solved"
            u_last = u
            seen.add(info["status"])
    assert sum(law.rungs.values()) == count and law.rungs["solved"] > 0.6 * count
    assert {"solved", "safe"} <= seen
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("delays", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_it_recovers(pendulum_models, pendulum_rollouts, kind, delays):
    """Some good observations after the bad ones, the law gives what an untroubled one would."""
    troubled, calm = (quick(pendulum_models[kind, delays], TASK.replace(du_max=None), kind) for _ in range(2))
    rng = np.random.default_rng(3)
    path = pendulum_rollouts.X[70]
    for k in range(20):
        calm(path[k])
        troubled(path[k] if k < 5 else strange(rng, path[k]))
    for k in range(20, 26):
        (u, info), (v, _) = troubled(path[k]), calm(path[k])
    assert info["status"] == "solved" and info["reason"] in ("", "outside_data")
    # The relinearised law is local: another past may have led it to another plan.
    assert kind == "relinearized" or np.abs(u - v).max() < 1e-2


# ---------------------------------------------------------------------------------------------- rungs
@pytest.mark.parametrize("kind", ["lifted", "relinearized"])
def test_the_last_plan_is_played_to_its_end(linear_model, kind):
    """Lost observations: the planned inputs in their order, then the safe input; a good observation ends it."""
    law = kc.design(linear_model, TASK.replace(du_max=None), kind)
    u, info = law([0.4, 0.3])
    planned = info["plan_u"]
    assert info["status"] == "solved" and np.abs(u - planned[0]).max() < 1e-4
    for k in range(1, len(planned)):
        u, info = law([np.nan, 0.0])
        assert (info["status"], info["reason"]) == ("shifted", "not_finite")
        assert np.abs(u - planned[k]).max() < 1e-4
        assert len(info["plan_u"]) == len(planned) - k and len(info["plan"]) == len(planned) - k + 1
        assert np.isnan(info["excess"])
    for _ in range(3):
        u, info = law(None)
        assert info["status"] == "safe" and u[0] == 0.05
    _, info = law([0.1, 0.1])
    assert info["status"] == "solved"
    u, after = law(None)  # the new plan starts from its own beginning
    assert after["status"] == "shifted" and np.abs(u - info["plan_u"][1]).max() < 1e-4


def test_a_missing_observation_is_bridged_by_the_model(linear_rollouts):
    """With delays, the state after a gap holds the model's prediction, exact on an exact model."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    model = kc.EDMDc(kc.Identity(), delays=2, ridge=1e-10).fit(linear_rollouts(A, B))
    law = kc.LQR(model, kc.Task(target=0.0, Q=1.0, R=0.1, u_safe=0.2))
    X, U = [np.array([0.3, -0.1])], []
    for k in range(10):
        lost = k in (4, 5, 8)
        u, info = law(None if lost else X[-1])
        assert info["status"] == ("safe" if lost else "solved")
        if k > 2 and not lost:
            assert np.abs(u + law.K @ model.encode(X[-3:], U[-2:])).max() < 1e-6
        U.append(u)
        X.append(A @ X[-1] + B @ u)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("y", "reason"),
    [
        ([np.nan, 0.0], "not_finite"),
        ([0.0, -np.inf], "not_finite"),
        ([1.0], "wrong_shape"),
        ([[1.0, 0.0]], "wrong_shape"),
        ([], "wrong_shape"),
        (1.0, "wrong_shape"),
        ("down", "not_numeric"),
        ([10**400, 0], "not_numeric"),
        ({}, "not_numeric"),
    ],
)
def test_at_the_start_there_is_only_the_safe_input(linear_model, kind, y, reason):
    """Without an observation and without a plan: the task's safe input, and the reason's code."""
    law = kc.design(linear_model, TASK, kind)
    u, info = law(y)
    assert (info["status"], info["reason"]) == ("safe", reason) and u[0] == 0.05
    assert law.rungs == {"safe": 1}


def test_the_safe_input_is_reached_at_the_rate_the_task_allows(linear_model):
    """From -0.6 to 0.05 in steps of at most 0.3, even on the last rung."""
    law = kc.design(linear_model, TASK, "lqr")
    for _ in range(10):
        u, _ = law([3.0, 3.0])
    assert u[0] == -0.6
    inputs = [law(None)[0][0] for _ in range(4)]
    assert inputs == pytest.approx([-0.3, 0.0, 0.05, 0.05])


@pytest.mark.parametrize("kind", ["lifted", "relinearized"])
def test_a_program_the_solver_cannot_take_falls_to_the_gain(linear_model, kind):
    """Bounds beyond the solver's range: the LQR, clipped; with a plan in hand that plan comes first."""
    law = kc.design(linear_model, TASK.replace(du_max=None), kind)
    u, info = law([1e25, 0.0])
    assert info["status"] == "lqr" and info["reason"].startswith(("qp_", "numerics"))
    assert u[0] == -0.6 and info["excess"] > 1e20
    law.reset()
    planned = law([0.4, 0.3])[1]["plan_u"]
    u, info = law([1e25, 0.0])
    assert info["status"] == "shifted" and u == pytest.approx(planned[1], abs=1e-4)


class Exploding(kc.EDMDc):
    """A model that overflows outside |x0| < 0.5, as learnt models do."""

    def step(self, x: Any, u: Any) -> np.ndarray:
        """Return the next state, 1e300 where x0 is large."""
        nxt = super().step(x, u)
        return np.where(np.abs(np.asarray(x)[..., :1]) < 0.5, nxt, 1e300)

    def expand(self, X: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the expansion, overflown where x0 is large."""
        F, A, B = super().expand(X, U)
        out = np.abs(X[:, 0]) >= 0.5
        F[out], A[out] = 1e300, 1e300
        return F, A, B


def test_a_model_that_overflows_leaves_the_gain(linear_rollouts):
    """Inside, solved; outside, the gain at the target; inside again, solved."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    model = Exploding(kc.Identity()).fit(linear_rollouts(A, B))
    law = kc.RelinearizedMPC(model, TASK.replace(u_min=-50, u_max=50, du_max=None))
    lqr = kc.LQR(model, TASK.replace(u_min=-50, u_max=50, du_max=None))
    u, info = law([0.8, 0.0])
    assert info["status"] == "lqr" and info["reason"]
    assert u == pytest.approx(lqr([0.8, 0.0])[0])
    for x in ([0.1, 0.0], [0.05, 0.05]):
        assert law(x)[1]["status"] == "solved"
    assert law([0.8, 0.0])[1]["status"] == "shifted"


def test_without_any_gain_the_safe_input_is_left(linear_rollouts):
    """A plant that cannot be stabilised has no third rung."""
    model = kc.EDMDc(kc.Identity()).fit(linear_rollouts(np.diag([1.1, 0.5]), np.array([[0.0], [1.0]]), steps=8))
    model.B_[0] = model.A_[0, 1] = 0.0
    for kind in ("lifted", "relinearized"):
        law = kc.design(model, TASK, kind)
        assert law.K is None and any("LQR" in note for note in law.notes)
        u, info = law([0.0, 1e30])
        assert info["status"] == "safe" and u[0] == 0.05


@pytest.mark.parametrize("kind", ["lifted", "relinearized"])
def test_an_early_stop_inside_the_constraints_is_used_and_said(linear_model, kind, monkeypatch):
    """The solver ran out of iterations and the exact method gave up: "feasible" and "stopped_early"."""

    def gives_up(self: Any) -> Any:
        return np.zeros(self._n), "stopped", 1

    monkeypatch.setattr("koopctl.qp.active_set.ActiveSet._search", gives_up)
    law = kc.design(linear_model, TASK.replace(horizon=30), kind)
    rng = np.random.default_rng(0)
    for _ in range(60):
        law.reset()
        u, info = law(rng.uniform(-2, 2, 2))
        assert -0.6 <= u[0] <= 0.5
        if info["status"] == "feasible":
            break
    assert (info["status"], info["reason"]) == ("feasible", "stopped_early")


def test_a_fault_of_our_own_still_gives_an_input(linear_model, caplog):
    """A law whose mathematics raises anything at all: the safe input, the exception's name, a line in the log."""

    class Broken(kc.LQR):
        def _act(self, x: np.ndarray) -> Any:
            raise KeyError("a bug")

    u, info = Broken(linear_model, TASK)([0.1, 0.1])
    assert (info["status"], info["reason"]) == ("safe", "fault:KeyError") and u[0] == 0.05
    assert KEYS <= set(info) and "safe input" in caplog.text


# ---------------------------------------------------------------------------------------------- observations
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_outside_the_data_is_said(linear_model, kind):
    """Beyond a half width outside the box; inside nothing is said."""
    law = kc.design(linear_model, TASK, kind)
    box = linear_model.envelope_
    middle, half = (box.high + box.low) / 2, (box.high - box.low) / 2
    assert law(middle + 0.9 * half)[1]["excess"] == 0.0
    _, info = law(middle + 3.0 * half)
    assert info["reason"] == "outside_data" and info["excess"] == pytest.approx(2.0)
    assert law(middle)[1]["reason"] == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delays", [0, 1])
def test_dropped_sensors(linear_rollouts, kind, delays):
    """The full observation and the selected one are the same to the law; what was dropped may even be NaN."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    data = linear_rollouts(A, B)
    noise = np.random.default_rng(0)
    wide = [np.stack([x[:, 1], noise.normal(size=len(x)), x[:, 0]], axis=1) for x in data.X]
    full = kc.Rollouts(wide, data.U, data.dt, ["rate", "noise", "angle"], ["torque"])
    model = kc.EDMDc(kc.Identity(), delays=delays).fit(full.select(["angle", "rate"]))
    one, other = kc.design(model, TASK, kind), kc.design(model, TASK, kind)
    goal, buffer = np.array([0.2, 0.0]), np.empty(2)  # (angle, rate)
    for k, y in enumerate(full.X[0][:12]):
        seen = np.array([y[0], np.nan if k % 2 else 7.0, y[2]])
        reference = None if k < 6 else goal
        wide_reference = None if k < 6 else np.array([0.0, np.nan, 0.2])
        buffer[:] = y[[2, 0]]
        (u, info), (v, _) = one(seen, wide_reference), other(buffer, reference)
        assert np.array_equal(u, v) and info["status"] == "solved" and info["reason"] == ""


@pytest.mark.parametrize("delays", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_careless_caller_does_no_harm(linear_rollouts, kind, delays):
    """Buffers that are reused and results that are overwritten change nothing; delays and rate bounds remember."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    data = linear_rollouts(A, B)
    model = kc.EDMDc(kc.Identity(), delays=delays, ridge=1e-8).fit(data)
    careful, careless = (kc.design(model, TASK.replace(dR=0.1), kind) for _ in range(2))
    buffer, goal = np.empty(2), np.empty(2)
    for k, y in enumerate(data.X[1]):
        reference = np.array([0.1, 0.0]) if k > 8 else None
        u, _ = careful(y.copy(), reference)
        buffer[:] = y
        goal[:] = [0.1, 0.0]
        v, info = careless(buffer, goal if k > 8 else None)
        assert np.array_equal(u, v)
        for array in (buffer, goal, v, info["plan"], info["plan_u"]):
            if array is not None:
                array[:] = np.nan


def test_a_full_turn_changes_nothing(pendulum_models):
    """A target a turn further is the same target, whatever the law."""
    for (kind, _), model in pendulum_models.items():
        laws = [quick(model, TASK.replace(target=[turn, 0.0]), kind) for turn in (0.0, 2 * np.pi, -2 * np.pi)]
        for angle, rate in ((0.3, -0.5), (2.9, 0.1), (-3.1, 1.0)):
            inputs = []
            for law in laws:
                law.reset()
                inputs.append(law([np.cos(angle), np.sin(angle), rate])[0])
            assert np.abs(np.diff(inputs, axis=0)).max() < 1e-6


# ---------------------------------------------------------------------------------------------- references
@pytest.mark.parametrize("kind", KINDS)
def test_a_reference_moves_the_target_and_gives_it_back(linear_model, kind):
    """With a reference, the law designed for it; without, the law designed for the task."""
    task = TASK.replace(du_max=None)
    target = np.array([0.3, 0.0])
    law, there, here = (kc.design(linear_model, t, kind) for t in (task, task.replace(target=target), task))
    rng = np.random.default_rng(0)
    for k in range(9):
        x = rng.uniform(-0.5, 0.5, 2)
        away = k % 3 == 1
        for each in (law, there, here):
            each.reset()
        u, info = law(x, target if away else None)
        assert np.abs(u - (there if away else here)(x)[0]).max() < 1e-9
        assert info["reason"] == ""
        assert np.abs(law.steady.x - (there if away else here).steady.x).max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "bad",
    [[np.nan, 0.0], [np.inf, 0.0], [0.1], [0.1, 0.0, 0.0], [[0.1]], 0.1, "up", {}, [10**400, 0], [1e308] * 2],
)
def test_a_bad_reference_keeps_the_old_target(linear_model, kind, bad):
    """Before any reference that is the task's target, after one it is that one; the way home stays open."""
    task = TASK.replace(du_max=None)
    law, here = kc.design(linear_model, task, kind), kc.design(linear_model, task, kind)
    there = kc.design(linear_model, task.replace(target=[0.3, 0.0]), kind)
    x = np.array([0.2, -0.1])
    plain, moved = here(x)[0], there(x)[0]
    for reference, expected, reason in (
        (bad, plain, "bad_reference"),
        (None, plain, ""),
        ([0.3, 0.0], moved, ""),
        (bad, moved, "bad_reference"),
        (bad, moved, "bad_reference"),
        ([0.3, 0.0], moved, ""),
        (None, plain, ""),
    ):
        u, info = law(x, reference)
        assert np.abs(u - expected).max() < 1e-6 and (info["status"], info["reason"]) == ("solved", reason)


class StuckFarOut(kc.EDMDc):
    """A model whose input does nothing, and whose motion is unstable, beyond x0 = 2."""

    def expand(self, X: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the expansion without an input far out."""
        F, A, B = super().expand(X, U)
        out = X[:, 0] > 2.0
        A[out], B[out] = 1.2 * np.eye(2), 0.0
        return F, A, B


def test_a_reference_no_law_exists_for_keeps_the_old_target(linear_rollouts):
    """The gain cannot be designed there: the law stays where it was, whole, and says so."""
    model = StuckFarOut(kc.Identity()).fit(linear_rollouts(np.array([[1.0, 0.1], [0.0, 0.98]]), np.array([[0], [0.1]])))
    task = kc.Task(target=0.0, Q=1.0, R=0.1)
    with pytest.raises(DesignError):
        kc.LQR(model, task.replace(target=[3.0, 0.0]))
    law = kc.LQR(model, task)
    x = np.array([0.2, 0.1])
    plain, there = law(x)[0], kc.LQR(model, task.replace(target=[1.0, 0.0]))(x)[0]
    for reference, expected, reason in (
        ([3.0, 0.0], plain, "bad_reference"),
        ([1.0, 0.0], there, ""),
        ([3.0, 0.0], there, "bad_reference"),
        (None, plain, ""),
    ):
        u, info = law(x, reference)
        assert np.abs(u - expected).max() < 1e-9 and (info["status"], info["reason"]) == ("solved", reason)


# ---------------------------------------------------------------------------------------------- copies and files
def run(law: Law, path: np.ndarray) -> bytes:
    """Return the bytes of the law's inputs along a path with a gap, a jump and a reference."""
    inputs = []
    for k, y in enumerate(path):
        seen = None if 10 <= k < 13 else y
        reference = law.model.output(law.steady.x) * 0.9 if 30 <= k < 35 and law.model.window_.nq == len(y) else None
        inputs.append(law(seen, reference)[0])
    return np.array(inputs).tobytes()


@pytest.mark.parametrize("delays", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_reset_copies_and_files_give_the_same_bytes(pendulum_models, pendulum_rollouts, kind, delays, tmp_path):
    """The same run after reset(), from fresh(), and from a file; a copy's past is its own."""
    law = quick(pendulum_models[kind, delays], TASK, kind)
    path = np.concatenate([pendulum_rollouts.X[80][:40], pendulum_rollouts.X[81][:10]])
    first = run(law, path)
    rungs = law.rungs.copy()
    law.reset()
    assert run(law, path) == first and law.rungs == rungs
    copy = law.fresh()
    assert type(copy) is type(law) and copy.model is not law.model and not copy.rungs
    assert run(copy, path) == first
    law.reset()
    for k, y in enumerate(path[:20]):  # interleaved: neither feels the other
        copy(path[-k])
        u, _ = law(None if 10 <= k < 13 else y)
        assert u.tobytes() == first[8 * k : 8 * k + 8]
    loaded = kc.load(law.save(tmp_path / "law.npz"))
    assert type(loaded) is type(law) and loaded.options() == law.options() and loaded.dt == law.dt
    assert run(loaded, path) == first


def test_names_and_infinite_bounds_survive_a_file(linear_model, tmp_path):
    """A task by name, with one-sided bounds and options of the law."""
    task = kc.Task(
        target={"x0": 0.1}, Q={"x0": 2.0, "x1": 1.0}, R={"u0": 0.3}, dR=0.1, u_max={"u0": 0.4}, u_min=-np.inf, horizon=7
    )
    for law in (
        kc.LQR(linear_model, task, lifted=True),
        kc.LiftedMPC(linear_model, task),
        kc.RelinearizedMPC(linear_model, task, iterations=2, candidates=3, step_bound=1.5, random_state=4),
    ):
        loaded = kc.load(law.save(tmp_path / law.kind))
        assert loaded.options() == law.options()
        for y in np.random.default_rng(0).uniform(-1, 1, (50, 2)):
            assert np.array_equal(law(y)[0], loaded(y)[0])


def test_a_model_without_inputs_controls_nothing():
    """All three laws say so at design time."""
    rng = np.random.default_rng(0)
    data = kc.Rollouts([rng.normal(size=(30, 2))], [np.zeros((29, 0))], 0.1)
    model = kc.EDMDc(kc.Identity()).fit(data)
    for kind in KINDS:
        with pytest.raises(DesignError, match="no inputs"):
            kc.design(model, kc.Task(target=0.0, Q=1.0, R=1.0), kind)

"""What one call changes must hold at that call, whatever else is wrong, and leave nothing behind."""

from __future__ import annotations

import numpy as np
import pytest

import koopctl as kc

N = 8
TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=N, u_min=-1.0, u_max=1.0, y_max={"x0": 5.0})
X = np.array([1.5, -1.0, 0.5])


@pytest.fixture(scope="module")
def integrator():
    """x0 is the position, x1 the velocity of a mass; force and a measured push act alike."""
    A, B = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.02, 0.02], [0.2, 0.2]])
    rng = np.random.default_rng(0)
    X, U = [], []
    for _ in range(20):
        states, inputs = [rng.normal(size=2)], rng.uniform(-1.0, 1.0, (20, 2))
        for u in inputs:
            states.append(A @ states[-1] + B @ u)
        X.append(np.array(states))
        U.append(inputs)
    return kc.EDMDc(kc.Identity(), ridge=1e-14).fit(kc.Rollouts(X, U, 0.2, ("pos", "vel"), ("force", "push")))


def laws(model, task=TASK):
    """Both laws that plan."""
    return [kc.LiftedMPC(model, task), kc.RelinearizedMPC(model, task, candidates=0)]


BAD = [
    ({"reference": [np.nan, 0.0, 0.0]}, {}),
    ({"reference": "there"}, {}),
    ({}, {"y_max": {"no such": 1.0}}),
    ({}, {"y_min": [2.0, 0, 0], "y_max": [1.0, 0, 0]}),
    ({}, {"R": -1.0}),
]


@pytest.mark.parametrize("call", range(len(BAD)))
def test_hard_bounds_are_kept_whatever_else_is_refused(two_input_model, call):
    """The input's bounds of a preview hold beside a bad reference, a wrong name, crossing bounds, a bad weight."""
    arguments, fields = BAD[call]
    for law in [*laws(two_input_model), kc.LQR(two_input_model, TASK)]:
        free, _ = law(X)
        assert np.abs(free).max() > 0.3
        u, info = law(X, **arguments, preview=kc.Preview(u_min=-0.05, u_max=0.05, **fields))
        assert info["reason"].startswith("bad_") and np.abs(u).max() <= 0.05
        if info["plan_u"] is not None:
            assert np.abs(info["plan_u"]).max() <= 0.05 + 1e-9
        assert np.abs(law(X)[0]).max() > 0.3, "the bounds were for one call"


def test_a_preview_counts_anew_at_every_call(two_input_model):
    """An array that its owner has overwritten, and an equal preview in another object, say what they say now."""
    for law in laws(two_input_model):
        limit = np.ones((N, 2))
        preview = kc.Preview(u_max=limit)
        law(-X, preview=preview)
        limit[:] = 0.1
        assert law(-X, preview=preview)[0].max() <= 0.1


def test_foretold_disturbances_come_nearer(integrator):
    """Told once of a push in six samples, each call plans as one that is told again what is left of it."""
    task = kc.Task(target=0.0, Q=1.0, R=0.01, horizon=N, disturbances=["push"], u_min=-1.0, u_max=1.0)
    push = np.zeros((20, 1))
    push[6:] = 0.8
    for once, again in zip(laws(integrator, task), laws(integrator, task), strict=True):
        x, moved = np.zeros(2), 0.0
        for k in range(6):
            told = kc.Preview(disturbance=push[k : k + N])
            u, _ = once(x, preview=kc.Preview(disturbance=push[:N]) if not k else None)
            expected, _ = again(x, preview=told)
            # the law that is told again also learns of what lies beyond the first horizon: the same push
            assert np.abs(u - expected).max() < 2e-4
            moved = max(moved, float(np.abs(u).max()))
            x = integrator.step(x, np.append(u, push[k]))
        assert moved > 0.05


def test_inputs_on_their_way_have_disturbances_of_their_own(integrator):
    """With a delay the plan starts where the plant will be, under a disturbance that differs from sample to sample."""
    task = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=N, disturbances=["push"], delay=3, u_min=-1.0, u_max=1.0)
    push = np.random.default_rng(1).uniform(-1.0, 1.0, (30, 1))
    for law in laws(integrator, task):
        x, sent = np.array([0.5, 0.0]), [np.zeros(1)] * 3
        for k in range(6):
            u, info = law(x, preview=kc.Preview(disturbance=push[k:]))
            later = x
            for i, waiting in enumerate(sent):
                later = integrator.step(later, np.append(waiting, push[k + i]))
            assert np.abs(info["plan"][0] - later).max() < 1e-9
            sent.append(u)
            x = integrator.step(x, np.append(sent.pop(0), push[k]))


def test_the_terminal_set_follows_the_target(integrator):
    """At a reference near a bound a law plans as one that was designed for it."""
    task = kc.Task(target=0.0, Q={"pos": 1.0}, R=0.01, horizon=2, disturbances=["push"], u_min=-1.0, u_max=1.0)
    task, rng, differs = task.replace(y_max={"pos": 1.0}, terminal_set=40), np.random.default_rng(0), 0.0
    moved, designed = laws(integrator, task), laws(integrator, task.replace(target=[0.95, 0.0]))
    for x in rng.uniform([-1.0, -0.2], [1.0, 1.2], (20, 2)):
        for one, other in zip(moved, designed, strict=True):
            one.reset()
            other.reset()
            far, _ = one(x)
            one.reset()
            u, _ = one(x, reference=[0.95, 0.0])
            assert np.abs(u - other(x)[0]).max() < 1e-3
            differs = max(differs, float(np.abs(u - far).max()))
    assert differs > 0.1


def test_blocks_meet_the_tightest_bound_of_their_steps():
    """One move for six steps under bounds that narrow on the way: both laws hold what all six steps allow."""
    rng = np.random.default_rng(0)
    X, U = rng.normal(size=(20, 30, 1)), rng.uniform(-1.0, 1.0, (20, 29, 1))
    for k in range(29):
        X[:, k + 1] = 0.9 * X[:, k] + 0.1 * U[:, k]
    model = kc.EDMDc(kc.Identity(), ridge=1e-14).fit(kc.Rollouts(list(X), list(U), 0.1))
    task = kc.Task(target=0.8, Q=1.0, R=0.1, horizon=6, control_horizon=1, terminal_cost="none")
    preview = kc.Preview(u_min=-1.0, u_max=np.array([1.0, 1.0, 0.5, 0.5, 1.0, 1.0])[:, None])
    for law in (kc.LiftedMPC(model, task), kc.RelinearizedMPC(model, task, candidates=0, reserve=0.0)):
        u, info = law([0.75], preview=preview)
        assert np.ptp(info["plan_u"]) < 1e-9 and u == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("solver", ["osqp", "active_set"])
def test_reset_is_a_new_beginning(two_input_model, solver):
    """A run is the same to the last bit before and after a preview brought in bounds that the design lacks."""
    for law in (
        kc.LiftedMPC(two_input_model, TASK, solver=solver),
        kc.RelinearizedMPC(two_input_model, TASK, candidates=0, solver=solver),
    ):

        def run(law=law):
            law.reset()
            x, path = 2 * X, []
            for _ in range(10):
                u, _ = law(x)
                x = two_input_model.step(x, u)
                path.append(u)
            return np.array(path)

        first = run()
        law(X, preview=kc.Preview(du_max=0.05, y_min=[-0.1, -0.1, -0.1]))
        assert np.array_equal(run(), first)


def test_a_redesign_knows_nothing_of_the_last_call(two_input_model):
    """After a call with other weights a redesign, and the calls that follow it, are those of the task."""
    for law, untouched in zip(laws(two_input_model), laws(two_input_model), strict=True):
        for weight in ([100.0, 1.0, 1.0], np.tile(np.diag([50.0, 1.0, 1.0]), (N, 1, 1))):
            law(X, preview=kc.Preview(Q=weight))
            law.remodel()
            law.reset()
            assert np.abs(law.P - untouched.P).max() < 1e-9 * np.abs(untouched.P).max()
            untouched.reset()
            assert np.abs(law(X)[0] - untouched(X)[0]).max() < 1e-6


def test_a_redesign_that_fails_leaves_the_law_as_it_was():
    """Without an LQR for the new model, gain, steady pair and answers stay those of the old one, at later calls too."""
    rng = np.random.default_rng(0)
    X, U = [rng.normal(size=(30, 2)) for _ in range(5)], [rng.uniform(-1, 1, (29, 1)) for _ in range(5)]
    for x, u in zip(X, U, strict=True):
        for k in range(29):
            x[k + 1] = [0.9 * x[k, 0] + 0.2 * x[k, 1], 1.05 * x[k, 1] + 0.1 * u[k, 0]]
    model = kc.EDMDc(kc.Identity(), ridge=1e-14).fit(kc.Rollouts(X, U, 0.1))
    law = kc.RelinearizedMPC(model, kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0), candidates=0)
    gain, good = law.K.copy(), model.B_.copy()
    before, _ = law(np.array([0.2, 0.1]))
    model.B_[:] = 0.0
    law.remodel()
    model.B_[:] = good
    assert np.array_equal(law.K, gain)
    law(np.array([0.2, 0.1]), preview=kc.Preview(u_max=0.9))
    law.reset()
    assert np.array_equal(law.K, gain) and np.abs(law(np.array([0.2, 0.1]))[0] - before).max() < 1e-9


def test_what_was_refused_is_said_in_words(two_input_model, caplog):
    """`info["refused"]` names the fault beside the reason, for the call it belongs to; the log hears of it once."""
    law = kc.LiftedMPC(two_input_model, TASK)
    for _ in range(3):
        _, info = law(X, preview=kc.Preview(y_max={"no such": 1.0}))
        assert info["reason"] == "bad_preview" and "no such" in info["refused"]
    assert sum("no such" in record.getMessage() for record in caplog.records) == 1
    assert law(X, preview="soon")[1]["refused"].startswith("the preview is 'soon'")
    assert law(X)[1]["refused"] == "" and law(X)[1]["reason"] == ""

"""The linear-quadratic regulator against scipy and against the motion it promises."""

from __future__ import annotations

import copy

import control
import numpy as np
import pytest
import scipy.linalg
from recorded import pendulum
from test_ladder import strange

import koopctl as kc
from koopctl.controllers.integral import Integral
from koopctl.controllers.kalman_filter import KalmanFilter
from koopctl.errors import DataError, DesignError, KoopctlError
from koopctl.preview import Preview

TASK = kc.Task(target=0.0, Q=[2.0, 1.0], R=0.3)


def test_the_gain_is_the_riccati_gain(linear_model, linear_network):
    """Learnt linear plant, exact model or network: K from scipy's DARE on the true matrices."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    P = scipy.linalg.solve_discrete_are(A, B, np.diag([2.0, 1.0]), [[0.3]])
    K = np.linalg.solve([[0.3]] + B.T @ P @ B, B.T @ P @ A)
    for model in (linear_model, linear_network):
        law = kc.LQR(model, TASK)
        assert np.abs(law.K - K).max() < 1e-6 and np.abs(law.P - P).max() < 1e-5
        x = np.array([0.3, -0.2])
        u, info = law(x)
        assert np.abs(u + K @ x).max() < 1e-6 and info["status"] == "solved" and info["reason"] == ""


def test_the_rate_weight_counts_as_input_weight(linear_model):
    """A gain has no memory: dR is added to R."""
    a, b = kc.LQR(linear_model, TASK.replace(dR=0.2)), kc.LQR(linear_model, TASK.replace(R=0.5))
    assert np.array_equal(a.K, b.K)


def test_lifted_and_plain_gains_agree_on_a_linear_plant(linear_model):
    """Without features the lifted system is the system."""
    x = np.array([0.4, 0.1])
    (u, _), (v, _) = kc.LQR(linear_model, TASK)(x), kc.LQR(linear_model, TASK, lifted=True)(x)
    assert np.abs(u - v).max() < 1e-10


def test_the_closed_loop_decays_at_the_promised_cost(linear_model):
    """Summing the stage costs of the motion gives x0^T P x0."""
    law = kc.LQR(linear_model, TASK)
    x = np.array([0.5, -0.5])
    promised, cost = float(x @ law.P @ x), 0.0
    for _ in range(400):
        u, _ = law(x)
        cost += float(x @ np.diag([2.0, 1.0]) @ x + 0.3 * u @ u)
        x = linear_model.step(x, u)
    assert np.abs(x).max() < 1e-6 and cost == pytest.approx(promised, rel=1e-6)


def test_a_delayed_state_is_weighed_once(linear_rollouts):
    """With delays Q weighs the newest sample only, and the closed loop still settles."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    model = kc.EDMDc(kc.Identity(), delays=2).fit(linear_rollouts(A, B))
    law = kc.LQR(model, TASK)
    x = np.array([0.3, 0.3])
    for _ in range(300):
        u, info = law(x)
        x = A @ x + B @ u
    assert np.abs(x).max() < 1e-4 and set(law.rungs) == {"solved"}


def test_an_unreachable_unstable_mode_is_a_design_error(linear_rollouts):
    """An input that acts on the stable half only cannot hold the other."""
    model = kc.EDMDc(kc.Identity()).fit(linear_rollouts(np.diag([1.1, 0.5]), np.array([[0.0], [1.0]]), steps=8))
    model.B_[0] = model.A_[0, 1] = 0.0  # exactly, as rounding would leave a foothold
    with pytest.raises(DesignError, match="no stabilising LQR"):
        kc.LQR(model, kc.Task(target=0.0, Q=1.0, R=1.0))


def test_a_lifted_gain_needs_a_linear_lift(linear_network, linear_rollouts):
    """A network and a bilinear lift have no single linear recursion; the text says what to do."""
    A, B = np.array([[0.9, 0.1], [0.0, 0.8]]), np.array([[0.0], [1.0]])
    bilinear = kc.EDMDc(kc.SampledFeatures(5), inputs="bilinear").fit(linear_rollouts(A, B))
    for model in (linear_network, bilinear):
        with pytest.raises(DesignError, match="kind='relinearized'"):
            kc.LQR(model, TASK, lifted=True)


def test_a_weight_symmetric_up_to_rounding_is_good_enough(linear_model):
    """Weights come out of computations; the last digit of an off-diagonal pair does not decide."""
    Q = np.array([[1.0, 0.1], [0.1 + 1e-14, 1.0]])
    law = kc.LQR(linear_model, TASK.replace(Q=Q))
    assert np.isfinite(law.K).all()


# ---------------------------------------------------------------------------------------------- integral action
TRUE_A, TRUE_B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])


def settled(law, push=0.0, gain=1.0, steps=400, reference=None, sensor=0.0) -> np.ndarray:
    """Return where the true plant comes to rest with a force on it, another input gain and a wrong sensor."""
    x, last = np.array([0.3, 0.0]), None
    law.reset()
    for _ in range(steps):
        u, _ = law(x + sensor, reference)
        x, last = TRUE_A @ x + gain * TRUE_B @ u + TRUE_B[:, 0] * push, x
    assert np.abs(x - last).max() < 1e-9, "not at rest"
    return x


@pytest.mark.parametrize("lifted", [False, True])
def test_the_integral_takes_out_what_constant_disturbances_leave(linear_model, lifted):
    """A force, a wrong input gain and a wrong sensor; the coordinate whose integral is weighed comes to its target."""
    plain, integral = (kc.LQR(linear_model, TASK, lifted=lifted, integral=w) for w in (None, {"x0": 1.0}))
    for push, gain in ((0.5, 1.0), (0.5, 0.6), (-0.3, 1.5)):
        assert abs(settled(plain, push, gain)[0]) > 0.01
        assert abs(settled(integral, push, gain)[0]) < 1e-8
    assert settled(integral, 0.5, sensor=np.array([0.1, 0.0]))[0] == pytest.approx(-0.1, abs=1e-8)  # what it reads is 0


@pytest.mark.parametrize("lifted", [False, True])
def test_its_gain_is_that_of_python_controls_integral_action(linear_model, lifted):
    """control.dlqr with integral_action adds the bare sum, so that its weight counts dt twice."""
    dt = linear_model.dt
    weights = np.diag([2.0, 1.0, 3.0 * dt**2])
    expected, _, _ = control.dlqr(TRUE_A, TRUE_B, weights, [[0.3]], integral_action=np.array([[1.0, 0.0]]))
    law = kc.LQR(linear_model, TASK, lifted=lifted, integral={"x0": 3.0})
    K = law.K_lifted if lifted else law.K
    assert np.concatenate([K, law.K_integral * dt], axis=1) == pytest.approx(expected, rel=1e-6)


def test_the_integral_grows_by_the_measured_error_in_seconds(linear_model):
    """Input -K x - K_I s; s starts at zero, follows the reference, and starts again at zero after reset."""
    law = kc.LQR(linear_model, TASK, integral={"x0": 1.0})
    X, reference, s = np.array([[0.3, 0.1], [0.2, -0.1], [0.4, 0.0]]), np.array([0.5, 0.0]), 0.0
    for _ in range(2):
        s = 0.0
        law.reset()
        for x in X:
            u, info = law(x, reference)
            assert info["integral"] == pytest.approx([s], abs=1e-12)
            assert u == pytest.approx(law.steady.u - law.K @ (x - law.steady.x) - law.K_integral[:, 0] * s)
            s += law.dt * (x[0] - 0.5)


def test_a_reference_is_reached_without_offset(linear_model):
    """Also one at which the learnt plant rests and the true one does not."""
    law = kc.LQR(linear_model, TASK, integral={"x0": 1.0})
    reference = np.array([0.4, -0.05])
    assert settled(law, 0.3, 0.7, reference=reference)[0] == pytest.approx(0.4, abs=1e-8)


def test_the_integral_reads_the_sensor_and_not_the_estimate(linear_model):
    """An observer that believes its wrong model estimates with an error; the integral sees none of it."""
    observer = KalmanFilter(linear_model, 0.1, 0.01)
    law = kc.LQR(linear_model, TASK, observer=observer, integral={"x0": 1.0})
    x = settled(law, 0.5, 0.8, steps=1500)
    assert abs(x[0]) < 1e-8 and np.abs(law.observer.x[0] - x[0]) > 1e-3


def test_a_hidden_coordinate_is_integrated_as_estimated(linear_model):
    """Where there is no measurement the estimate is all there is; without a disturbance it is right."""
    observer = KalmanFilter(linear_model, {"x0": 0.1}, 0.01)
    law = kc.LQR(linear_model, TASK, observer=observer, integral={"x1": 1.0})
    x = np.array([0.3, 0.0])
    for _ in range(3000):
        u, _ = law([x[0], np.nan])
        x = TRUE_A @ x + TRUE_B @ u
    assert np.abs(x).max() < 1e-6


def step_response(law, steps=150) -> np.ndarray:
    """Return the first coordinate on the way to 0.5, (steps + 1,)."""
    x, path = np.zeros(2), [0.0]
    law.reset()
    for _ in range(steps):
        u, _ = law(x, [0.5, 0.0])
        x = TRUE_A @ x + TRUE_B @ u
        path.append(x[0])
    return np.array(path)


@pytest.mark.parametrize("limit", [{"u_min": -1.0, "u_max": 1.0}, {"du_max": 0.1, "u_min": -4.0, "u_max": 4.0}])
def test_it_does_not_wind_up_while_the_input_saturates(linear_model, limit, monkeypatch):
    """A step too large for the bounds: the integral stops, so the overshoot is a fraction of the one without."""
    law = kc.LQR(linear_model, TASK.replace(**limit), integral={"x0": 20.0})
    careful = step_response(law)

    def always(self, value, error, gain, held_back):
        return value + self._dt * error[self.rows]

    monkeypatch.setattr(Integral, "grown", always)
    careless = step_response(law)
    assert np.abs(law.K_integral).max() > 1
    assert careful.max() - 0.5 < 0.6 * (careless.max() - 0.5)


def test_one_saturated_input_does_not_stop_the_others_integral(two_input_model):
    """Out of reach for one coordinate, its input at the bound for good; the other one still comes to its target."""
    A, B = two_input_model.A_, two_input_model.B_
    task = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=[-0.05, -5.0], u_max=[0.05, 5.0])
    law = kc.LQR(two_input_model, task, integral={"x0": 1.0, "x2": 1.0})
    x, aim = np.zeros(3), np.array([0.5, 0.0, 0.3])
    for _ in range(3000):
        u, info = law(x, aim)
        x = A @ x + B @ u + np.array([0.0, -0.1, 0.01])
    assert abs(u[0]) == 0.05 and abs(x[0] - 0.5) > 0.05
    assert abs(x[2] - 0.3) < 1e-6 and np.abs(info["integral"]).max() < 10


def test_an_observation_that_is_no_number_does_not_reach_the_integral(linear_model):
    """NaN, inf and nonsense leave it where it was; outliers do where an observer refuses them."""
    laws = [
        kc.LQR(linear_model, TASK.replace(u_min=-1, u_max=1), observer=o, integral={"x0": 1.0})
        for o in (None, KalmanFilter(linear_model, 0.1, 0.01))
    ]
    for law in laws:
        for _ in range(20):
            law([0.01, 0.0])
        before = law([0.01, 0.0])[1]["integral"]
        for y in ([np.nan, 0.0], [np.inf, 0.0], "nonsense", [1.0, 2.0, 3.0]):
            u, _ = law(y)
            assert np.abs(u).max() <= 1.0
        assert np.abs(law([0.01, 0.0])[1]["integral"] - before).max() < 0.02
    for _ in range(2):
        laws[1]([1e9, 0.0])
    assert np.abs(laws[1]([0.01, 0.0])[1]["integral"]).max() < 0.1


@pytest.mark.parametrize("lifted", [False, True])
def test_nothing_that_arrives_spoils_it_for_good(linear_model, lifted):
    """Wild observations and nonsense: no exception, no input outside its bounds, and afterwards home without offset."""
    law = kc.LQR(linear_model, TASK.replace(u_min=-4.0, u_max=4.0), lifted=lifted, integral={"x0": 1.0})
    rng = np.random.default_rng(0)
    for _ in range(500):
        u, _ = law(strange(rng, rng.uniform(-1, 1, 2)))
        assert np.abs(u).max() <= 4.0
    assert np.isfinite(law.integral.value).all() and np.abs(law.integral.value).max() < 50
    x = np.array([0.1, 0.0])
    for _ in range(3000):
        u, _ = law(x)
        x = TRUE_A @ x + TRUE_B @ (0.9 * u + 0.2)
    assert abs(x[0]) < 1e-6


def test_angles_are_integrated_the_short_way():
    """Just beyond half a turn from the target the error has the other sign."""
    law = kc.LQR(kc.SampledRNN(60).fit(pendulum(30)), kc.Task(target=[3.0, 0.0], Q=1.0, R=1.0), integral={"theta": 1.0})
    law([np.cos(-3.0), np.sin(-3.0), 0.0])
    assert law([-1.0, 0.0, 0.0])[1]["integral"] == pytest.approx([law.dt * (2 * np.pi - 6.0)])


@pytest.mark.parametrize("weights", [{"nowhere": 1.0}, {"x0": -1.0}, 0.0, {"x0": 1.0, "x1": 1.0}, {"x0": np.nan}])
def test_integrals_that_cannot_be_are_refused(linear_model, weights):
    """Unknown, negative, none at all, more than inputs, not a number."""
    with pytest.raises(KoopctlError, match="nowhere|negative|positive|1 inputs|nan"):
        kc.LQR(linear_model, TASK, integral=weights)


def test_an_integral_that_no_constant_input_can_hold_is_named(linear_rollouts):
    """A cart's speed has no integral to hold at zero against the place it is weighed for: the error says which mode."""
    model = kc.EDMDc(kc.Identity()).fit(linear_rollouts(np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])))
    model.A_[:], model.B_[:] = [[1.0, 0.1], [0.0, 1.0]], [[0.0], [0.1]]
    with pytest.raises(DesignError, match="integral of x1"):
        kc.LQR(model, TASK, integral={"x1": 1.0})
    assert kc.LQR(model, TASK, integral={"x0": 1.0}).K_integral.shape == (1, 1)


def test_integral_and_offset_estimate_exclude_each_other(linear_model):
    """Both would take out the same offset."""
    with pytest.raises(DesignError, match="leave one out"):
        kc.LQR(linear_model, TASK, integral={"x0": 1.0}, offset_free=True)


# ---------------------------------------------------------------------------------------------- finite horizon
TERMINAL = {"none": "none", "weight": {"x0": 5.0, "x1": 0.5}, "lqr": "lqr"}


@pytest.mark.parametrize("terminal", TERMINAL)
@pytest.mark.parametrize("kind", ["lifted", "relinearized"])
def test_it_begins_as_the_unconstrained_mpc_of_its_horizon(linear_model, kind, terminal):
    """The same cost, so the same first move, at every horizon."""
    x = np.array([0.4, -0.2])
    for N in (1, 2, 7, 20):
        task = TASK.replace(terminal_cost=TERMINAL[terminal], horizon=N)
        u, _ = kc.LQR(linear_model, task, lifted=kind == "lifted", horizon=N)(x)
        assert u == pytest.approx(kc.design(linear_model, task, kind)(x)[0], abs=1e-6)


@pytest.mark.parametrize("weight", [np.array([5.0, 0.5]), [5.0, 0.5], np.diag([5.0, 0.5])])
def test_a_terminal_weight_may_be_an_array(linear_model, weight):
    """The same gains as by name."""
    by_array, by_name = (
        kc.LQR(linear_model, TASK.replace(terminal_cost=each), horizon=5) for each in (weight, TERMINAL["weight"])
    )
    assert np.array_equal(by_array.gains, by_name.gains)


def test_it_goes_on_as_the_mpc_of_what_is_left(linear_model):
    """One gain a step since reset; after the horizon the infinite one's holds the target."""
    N, x = 6, np.array([0.4, -0.2])
    task = TASK.replace(terminal_cost={"x0": 5.0})
    law, lasting = kc.LQR(linear_model, task, horizon=N), kc.LQR(linear_model, task)
    for _ in range(2):
        law.reset()
        for k in range(N + 3):
            u, info = law(x)
            left = task.replace(horizon=N - k) if k < N else None
            same = lasting(x)[0] if left is None else kc.LiftedMPC(linear_model, left)(x)[0]
            assert u == pytest.approx(same, abs=1e-6) and info["status"] == "solved"


def test_the_first_steps_cost_what_was_promised(linear_model):
    """The stage costs of the horizon and its end add up to x0^T P x0."""
    N, x, cost = 12, np.array([0.5, -0.5]), 0.0
    law = kc.LQR(linear_model, TASK.replace(terminal_cost={"x0": 5.0}), horizon=N)
    promised = x @ law.P @ x
    for _ in range(N):
        u, _ = law(x)
        cost += float(x @ np.diag([2.0, 1.0]) @ x + 0.3 * u @ u)
        x = linear_model.step(x, u)
    assert cost + 5.0 * x[0] ** 2 == pytest.approx(promised, rel=1e-9)


def test_long_horizons_tend_to_the_infinite_one(linear_model):
    """First gain and cost-to-go; with the LQR's cost at the end every horizon's gains are the infinite ones."""
    lasting = kc.LQR(linear_model, TASK)
    gaps = [
        np.abs(kc.LQR(linear_model, TASK.replace(terminal_cost="none"), horizon=N).gains[0] - lasting.K).max()
        for N in (5, 20, 200)
    ]
    assert gaps[0] > 10 * gaps[1] > 100 * gaps[2] and gaps[2] < 1e-9
    assert np.abs(kc.LQR(linear_model, TASK, horizon=9).gains - lasting.K).max() < 1e-9


def test_a_plant_that_cannot_be_stabilised_still_has_a_finite_horizon(linear_rollouts):
    """What the infinite horizon refuses costs a finite one no more than it costs; a note says how it goes on."""
    model = kc.EDMDc(kc.Identity()).fit(linear_rollouts(np.diag([1.1, 0.5]), np.array([[0.0], [1.0]]), steps=8))
    model.B_[0] = model.A_[0, 1] = 0.0
    law = kc.LQR(model, kc.Task(target=0.0, Q=1.0, R=1.0), horizon=3)
    assert any("goes on with the horizon's first gain" in note for note in law.notes)
    given = [law([0.0, 0.5])[0] for _ in range(6)]
    assert given[3] == given[0] and given[4] == given[0]


def test_horizon_and_integral_work_together(linear_model):
    """Gains on both; after the horizon as with the integral alone."""
    law, lasting = (kc.LQR(linear_model, TASK, integral={"x0": 1.0}, horizon=N) for N in (5, None))
    assert law.gains.shape == (5, 1, 3)
    assert np.abs(law.gains - np.concatenate([lasting.K, lasting.K_integral], axis=1)).max() < 1e-8
    assert abs(settled(law, 0.5)[0]) < 1e-8


@pytest.mark.parametrize("horizon", [0, -1, 2.5, "ten", True])
def test_a_horizon_is_a_whole_number(linear_model, horizon):
    """Nothing else is."""
    with pytest.raises(DataError, match="horizon"):
        kc.LQR(linear_model, TASK, horizon=horizon)


# ---------------------------------------------------------------------------------------------- files and copies
@pytest.mark.parametrize("options", [{"integral": {"x0": 2.0}}, {"horizon": 4}, {"integral": [1.0, 0.0], "horizon": 7}])
@pytest.mark.parametrize("lifted", [False, True])
def test_files_and_copies_keep_the_options_and_forget_the_past(linear_model, tmp_path, options, lifted):
    """What comes out of a file, of copy() and of fresh() gives the same inputs from its start."""
    law = kc.LQR(linear_model, TASK.replace(terminal_cost="none"), lifted=lifted, **options)
    path = [law(x)[0] for x in ([0.3, 0.1], [0.2, 0.0], [0.1, -0.1])]
    others = [kc.load(law.save(tmp_path / "law")), copy.copy(law), law.fresh()]
    law.reset()
    for other in (*others, law):
        assert [other(x)[0] for x in ([0.3, 0.1], [0.2, 0.0], [0.1, -0.1])] == path


def test_c_code_refuses_what_it_does_not_compute(linear_model, tmp_path):
    """A law that remembers more than its last input is named, and nothing is written."""
    laws = {
        "integral action": kc.LQR(linear_model, TASK, integral={"x0": 1.0}),
        "changes with time": kc.LQR(linear_model, TASK, horizon=5),
        "offset estimate": kc.LQR(linear_model, TASK, offset_free=True),
        "delay of 2": kc.LQR(linear_model, TASK.replace(delay=2)),
    }
    for words, law in laws.items():
        with pytest.raises(DesignError, match=words):
            kc.export(law, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_new_target_of_a_linear_lift_costs_no_new_riccati_equation(two_input_model, monkeypatch):
    """The gain does not depend on the target, only on the weights."""
    law = kc.LQR(two_input_model, kc.Task(target=0.0, Q=1.0, R=0.1), lifted=True)
    K = law.K_lifted.copy()
    monkeypatch.setattr("koopctl.controllers.lqr.infinite_horizon", None)
    for goal in (0.1, 0.2, 0.3):
        u, info = law(np.zeros(3), np.full(3, goal))
        assert info["status"] == "solved" and info["reason"] == "" and np.array_equal(law.K_lifted, K)
    assert law(np.zeros(3), preview=Preview(R=5.0))[1]["reason"] == "bad_preview"

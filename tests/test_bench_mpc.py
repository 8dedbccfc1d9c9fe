"""The pieces of `koopctl bench mpc`: plants, references, measures and tables, each against a truth of its own."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.integrate import solve_ivp

import koopctl as kc
from koopctl.bench import lifted_latency, motor_tracking, mpc, nonlinear_rival, swing_ups, tightened
from koopctl.bench.chain import chain_step
from koopctl.bench.latency import recording
from koopctl.bench.options import Options
from koopctl.bench.rivals.peers import CASADI

PENDULUMS = 9.81, 4.0, 1.0, 3.0  # [1/s^2] gravity and coupling over inertia, [1/s] damping, torque's gain


# ---------------------------------------------------------------------------------------------- the DC motor
def test_the_motors_reference_is_the_issues_cosine():
    """0.5 cos(2 pi t / 3) every 0.01 s: a period of 300 samples, from any step on; nothing is asked of the current."""
    path = motor_tracking.reference(0, 301)
    assert path.shape == (301, 2) and not path[:, 0].any()
    assert path[[0, 75, 150, 300], 1] == pytest.approx([0.5, 0.0, -0.5, 0.5], abs=1e-12)
    assert np.array_equal(motor_tracking.reference(40, 20), path[40:60])


def test_the_motors_measure():
    """The cost counts speeds against the reference one step later; what is beyond a bound is told apart."""
    wanted = motor_tracking.reference(1, 50)[:, 1]
    perfect = motor_tracking.measured(wanted, np.full((50, 1), 0.5))
    assert perfect["cost"] == pytest.approx(0.01 * 50 * 0.25) and perfect["beyond_input"] == 0.0
    assert perfect["beyond"] == pytest.approx(np.abs(wanted).max() - 0.4) and perfect["kept"] == 0.0
    off = motor_tracking.measured(np.full(50, -0.4005), np.full((50, 1), -1.25))
    assert off["cost"] == pytest.approx(np.sum((wanted + 0.4005) ** 2) + 0.01 * 50 * 1.25**2)
    assert (off["kept"], off["beyond_input"]) == (1.0, 0.25)  # half a thousandth is what the price allows


def test_a_law_is_run_on_the_true_motor_with_the_reference_ahead():
    """The speeds are those of the differential equations, and the law is told a horizon of the reference."""
    told = []

    class Constant:
        def reset(self) -> None:
            told.clear()

        def __call__(self, y, reference):
            told.append((y, reference))
            return np.array([-0.3]), {}

    row = motor_tracking.track(Constant(), 40)
    truth = solve_ivp(
        lambda t, x: (
            19.10828025 - 39.3153 * x[0] + 32.2293 * x[1] * 0.3,
            -3.333333333 - 1.6599 * x[1] - 22.9478 * x[0] * 0.3,
        ),
        (0.0, 0.4),
        [0.0, 0.0],
        t_eval=0.01 * np.arange(41),
        rtol=1e-10,
        atol=1e-12,
    ).y.T
    assert np.array([y for y, _ in told]) == pytest.approx(truth[:-1], abs=1e-5)
    assert [reference.shape for _, reference in told] == [(motor_tracking.HORIZON + 1, 2)] * 40
    assert np.array_equal(told[7][1], motor_tracking.reference(7, motor_tracking.HORIZON + 1))
    expected = motor_tracking.measured(truth[1:, 1], np.full((40, 1), -0.3))
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-4) and row["call_ms"] > 0


def test_a_learnt_law_keeps_the_motors_bounds():
    """A short stretch with a short horizon, where the reference lies beyond the bound all the time."""
    data = kc.collect(kc.envs.DCMotor, episodes=60, steps=40, seed=0)
    model = kc.EDMDc(kc.Polynomial(2), inputs="bilinear").fit(data)
    task = kc.envs.task("DCMotor-v0").replace(horizon=20)
    row = motor_tracking.track(kc.RelinearizedMPC(model, task, candidates=0, iterations=2), 30)
    assert row["beyond_input"] == 0.0 and row["beyond"] < 5e-3
    idle = motor_tracking.measured(np.zeros(30), np.zeros((30, 1)))
    assert row["cost"] < 0.5 * idle["cost"]


# ---------------------------------------------------------------------------------------------- swing-ups
def upright(angles: list[float], rewards: float = -1.0) -> kc.Trajectory:
    """Return a run of the cart-pole with these angles."""
    theta = np.array(angles)
    X = np.column_stack([0 * theta, np.cos(theta), np.sin(theta), 0 * theta, 0 * theta])
    T = len(theta) - 1
    return kc.Trajectory(X, np.zeros((T, 1)), np.full(T, rewards), ({},) * T, 0.04, tuple("abcde"), ("f",))


def test_upright_is_upright_until_the_end():
    """Not on the way through, and not for the last sample alone; a whole turn more is upright too."""
    came = upright([np.pi, 1.0, 0.1, 0.5, 0.1, 2 * np.pi + 0.05, 0.0, 0.0])
    fell = upright([np.pi, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, -0.3], rewards=-2.0)
    always = upright([0.0] * 8)
    found = swing_ups.stood([came, fell, always])
    assert (found["starts"], found["upright"]) == (3, 2)
    assert found["latest_s"] == pytest.approx(0.04 * 8)  # the fall; `came` was there at the fourth sample
    assert swing_ups.stood([came])["latest_s"] == pytest.approx(0.04 * 4)
    assert (found["mean"], found["worst"]) == (pytest.approx(-28 / 3), -14.0)


def test_shares_of_what_the_optimum_loses():
    """Of all starts, and of the worst ten in a row."""
    best = -np.arange(1.0, 21.0)
    factor = np.where(np.arange(20) < 10, 1.0, 1.2)
    found = swing_ups.shares(factor * best, best)
    assert found["worst_block"] == pytest.approx(1.2) and found["mean"] == pytest.approx((55 + 1.2 * 155) / 210)


def test_the_cart_poles_recording_starts_anywhere():
    """In place, angle and both rates, in the order the plant takes them."""
    starts = np.array([swing_ups._anywhere(np.random.default_rng(k)) for k in range(400)])
    assert np.abs(starts).max(axis=0) == pytest.approx([1.5, np.pi, 3.0, 9.0], rel=0.02)
    env = kc.envs.CartPoleSwingUp()
    env.reset(seed=0)
    env.set_state(starts[0])
    assert env.step(np.zeros(1))[0][[0, 4]] == pytest.approx(starts[0][[0, 3]], abs=0.7)


@pytest.mark.slow
def test_a_short_horizon_swings_the_pendulum_up_near_the_optimum():
    """One start with the bench's own model, task and oracle."""
    model = kc.SampledRNN(150, random_state=0).fit(kc.collect("Pendulum-v1", episodes=150, steps=60, seed=0))
    law = kc.RelinearizedMPC(model, kc.envs.task("Pendulum-v1").replace(horizon=25))
    returns = np.array([kc.simulate("Pendulum-v1", law, seed=302).rewards.sum()])
    best = np.array([swing_ups.PendulumOracle(151, 151).total_reward(302)])
    assert 0.95 < swing_ups.shares(returns, best)["mean"] < 1.25


# ---------------------------------------------------------------------------------------------- nonlinear rivals
def test_the_closed_loop_cost_is_that_of_the_plant():
    """Run by run from each start, states before inputs, on the chain itself."""
    wanted = kc.Task(target=0.0, Q=2.0, R=0.5).resolve([f"x{i}" for i in range(8)], ["u0"])
    rng = np.random.default_rng(0)
    starts, inputs = rng.normal(size=(2, 8)), rng.uniform(-1, 1, (6, 1))
    expected = 0.0
    for start, run in zip(starts, (inputs[:3], inputs[3:]), strict=True):
        x = start
        for u in run:
            expected += 2.0 * np.sum(x**2) + 0.5 * u[0] ** 2
            x = chain_step(x, u)
    assert nonlinear_rival._cost(inputs, starts, wanted) == pytest.approx(expected, rel=1e-12)


def test_the_rivals_problem_is_the_laws():
    """Weights, bounds, prices, horizon and terminal weight reach the script as they are."""
    wanted = kc.envs.task("DCMotor-v0").replace(horizon=7).resolve(("current", "speed"), ("field",))
    problem = nonlinear_rival._weights(wanted, np.eye(2))
    assert int(problem["horizon"]) == 7 and np.array_equal(problem["P"], np.eye(2))
    assert problem["y_max"].tolist() == [np.inf, 0.4] and problem["u_min"].tolist() == [-1.0]
    source = CASADI.script.read_text(encoding="utf-8")
    assert all(f'weights["{name}"]' in source for name in problem if name != "horizon")


@pytest.fixture
def here(monkeypatch) -> None:
    """Run the rival's script with this Python, which has CasADi, rather than in an environment that takes minutes."""
    pytest.importorskip("casadi", reason="the rival is CasADi with IPOPT, which is not installed")
    monkeypatch.setattr(nonlinear_rival, "environment", lambda rival: Path(sys.executable))


@pytest.mark.slow
def test_ipopt_runs_the_same_network(here):
    """From near the target nothing binds, so that both laws solve the same problem to its optimum: the same cost."""
    network = kc.SampledRNN(20).fit(recording(np.random.default_rng(0)))
    task = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, horizon=6)
    starts = 0.03 * np.random.default_rng(1).normal(size=(2, 8))
    found = nonlinear_rival.against_network(network, task, starts, 8)
    assert found["cost_ratio"] == pytest.approx(1.0, abs=0.01)
    assert found["ratio"] == pytest.approx(found["ipopt_ms"] / found["call_ms"], rel=0.01) and found["ratio"] > 1


@pytest.mark.slow
def test_ipopt_runs_the_true_motor(here):
    """A few steps of the whole problem: inside the bounds, and cheaper than doing nothing."""
    found = nonlinear_rival.true_motor(4)
    assert found["beyond"] < 1e-6 and found["beyond_input"] < 1e-6 and found["call_ms"] > 0
    assert found["cost"] < motor_tracking.measured(np.zeros(4), np.zeros((4, 1)))["cost"]


def test_a_rival_that_cannot_run_says_why(monkeypatch):
    """A row with its reason, not an end of the bench."""

    def nowhere(rival):
        raise nonlinear_rival.RivalError("no network")

    monkeypatch.setattr(nonlinear_rival, "environment", nowhere)
    assert nonlinear_rival.true_motor(2) == {"failed": "no network"}


# ---------------------------------------------------------------------------------------------- bounds drawn in
def test_the_coupled_pendulums_obey_their_equations():
    """One step of 0.05 s against an adaptive integration; five Euler steps are near it."""
    g, coupling, damping, gain = PENDULUMS
    x, u = np.array([0.5, -0.3, 1.0, -0.4]), np.array([0.6, -0.9])

    def rate(t: float, s: np.ndarray) -> list[float]:
        pull = coupling * (s[0] - s[1])
        return [
            s[2],
            s[3],
            -g * np.sin(s[0]) - pull - damping * s[2] + gain * u[0],
            -g * np.sin(s[1]) + pull - damping * s[3] + gain * u[1],
        ]

    truth = solve_ivp(rate, (0.0, 0.05), x, rtol=1e-10, atol=1e-12).y[:, -1]
    assert lifted_latency.plant_step(x, u) == pytest.approx(truth, abs=0.03)
    assert np.abs(truth - x).max() > 0.15


def test_the_recorded_pendulums_carry_the_noise_they_are_told():
    """What a step leaves unexplained is the noise of the angular velocities, and nothing on the angles."""
    data = tightened.recorded(np.random.default_rng(0), 40)
    assert (len(data), data.n_samples, data.dt) == (40, 1200, 0.05)
    left = np.array(
        [after - lifted_latency.plant_step(x, u) for X, U in data for x, u, after in zip(X[:-1], U, X[1:], strict=True)]
    )
    assert not left[:, :2].any() and left[:, 2:].std(axis=0) == pytest.approx([0.1, 0.1], rel=0.1)


def test_violations_are_those_of_the_run():
    """A law that pushes one way, counted by hand from its own runs; the first ten samples are no one's fault."""

    class Push:
        def reset(self) -> None:
            pass

        def __call__(self, y):
            return np.array([1.5, 1.0]), {}

    found = tightened._violations(Push(), 5)
    angles = np.array([tightened._run(Push(), np.random.default_rng(1000 + seed))[10:] for seed in range(5)])
    assert found["samples"] == pytest.approx(np.mean(angles > 0.3 + 1e-3)) and 0 < found["samples"] < 1
    assert found["runs"] == np.mean((angles > 0.3 + 1e-3).any(axis=1))
    assert found["away"] == pytest.approx(np.mean(0.3 - angles))


# ---------------------------------------------------------------------------------------------- tables
@pytest.mark.slow
def test_the_table_of_latencies_has_what_it_shows(monkeypatch):
    """Small lifts, real runs: a row a solver and size, ratios to the bare solver, the same inputs as CVXPY."""
    monkeypatch.setattr(lifted_latency, "_SIZES", (8, 20))
    said = io.StringIO()
    found = mpc._lifted(Options(quick=True), Console(file=said, width=140))
    for row in found["solvers"]:
        assert set(row["sizes"]) == {8, 20}
        for figures in row["sizes"].values():
            assert 0 < figures["call_ms"] <= figures["p99_ms"] and figures["overhead_ms"] < figures["call_ms"]
    solvers = [row["solver"] for row in found["solvers"]]
    rows = [
        line.split()[:2] for line in said.getvalue().splitlines() if line.split()[:1] and line.split()[0] in solvers
    ]
    assert rows == [[solver, size] for solver in solvers for size in ("8", "20")] and "osqp" in solvers
    assert found["cvxpy"]["first_input_off"] < 1e-4
    assert found["cvxpy"]["naive_ratio"] > found["cvxpy"]["dpp_ratio"] > 1


def test_a_table_shows_what_a_law_has_not(monkeypatch):
    """A rung that does not exist is no zero."""
    row = {"law": "LQR", "calls": 9, "raised": 0, "outside": 0, "spoilt": 0.3, "rungs": {"solved": 8, "shifted": None}}
    monkeypatch.setattr(mpc.equalities, "fed_anything", lambda count: [row | {"calls": count}])
    said = io.StringIO()
    mpc._fed_anything(Options(quick=True), Console(file=said, width=200))
    assert "500 calls, 0 exceptions, 0 inputs outside: solved 8, shifted -" in said.getvalue()

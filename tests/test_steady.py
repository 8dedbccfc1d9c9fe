"""The steady pair: the nearest state a law can hold, and honest words where the target is not one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import koopctl as kc
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady import nearest_steady, resolve
from koopctl.controllers.steady_problem import half_ranges
from koopctl.errors import DataError, DesignError, ShapeError, UnknownNameError

TASK = kc.Task(target=0.0, Q=1.0, R=0.1)


def steady_of(model, **changes):
    """Return the steady pair of a task and the task in numbers."""
    wanted = TASK.replace(**changes)
    task = resolve(model, wanted)
    return nearest_steady(Prediction(model, wanted), task), task


def weighted(model, task, q, u):
    """Return the cost the docstring promises: 1 on the way from q*, 1e-4 on u, 1e6 on the drift, in half ranges."""
    half_q = half_ranges(model)
    half_u = (model.input_range_.high - model.input_range_.low) / 2
    drift = model.step(q, u) - q
    parts = ((q - task.target) / half_q, 1e-2 * u / half_u, 1e3 * drift / half_q)
    return sum(float(part @ part) for part in parts)


@pytest.mark.parametrize("u_max", [np.inf, 0.5, 0.2, 0.05])
@pytest.mark.parametrize("target", [[0.5, 0.4], [-0.8, 0.0], [0.0, 0.9]])
def test_it_is_the_nearest_one_within_the_bounds(linear_model, target, u_max):
    """No other pair inside the bounds costs less; scipy's minimiser, started elsewhere, finds the same."""
    steady, task = steady_of(linear_model, target=target, u_min=-u_max, u_max=u_max)
    assert (np.abs(steady.u) <= u_max).all()
    cost = weighted(linear_model, task, steady.x, steady.u)
    found = minimize(
        lambda v: weighted(linear_model, task, v[:2], v[2:]) * 1e-2,
        np.zeros(3),
        method="L-BFGS-B",
        bounds=[(None, None)] * 2 + [(-min(u_max, 9.0), min(u_max, 9.0))],
        options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000, "maxfun": 50_000},
    )
    assert cost <= found.fun * 1e2 * (1 + 1e-6)
    rng = np.random.default_rng(0)
    for size in (1e-6, 1e-3, 1e-1):
        for _ in range(50):
            q, u = steady.x + size * rng.normal(size=2), steady.u + size * rng.normal(size=1)
            assert weighted(linear_model, task, q, np.clip(u, -u_max, u_max)) >= cost * (1 - 1e-9)


@pytest.mark.parametrize("delays", [0, 1, 2])
def test_an_equilibrium_is_kept_silently(linear_rollouts, delays):
    """A target the plant can hold is the answer, with the input that holds it, and no note."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    model = kc.EDMDc(kc.Identity(), delays=delays, ridge=1e-12).fit(linear_rollouts(A, B))
    # (I - A) q = B u for u = 0.3.
    q = np.linalg.solve(np.eye(2) - A, B @ [0.3])
    steady, _ = steady_of(model, target=q)
    assert steady.note == "" and steady.moved < 1e-3
    assert np.abs(steady.x[:2] - q).max() < 1e-3 and abs(steady.u[0] - 0.3) < 1e-2
    assert np.abs(model.step(steady.x, steady.u) - steady.x).max() < 1e-5
    assert np.abs(steady.drift).max() < 1e-5
    assert len(steady.x) == model.nx  # a constant history
    law = kc.LQR(model, TASK.replace(target=q))
    assert law.notes == [] and law.steady.note == ""


@pytest.mark.parametrize("kind", ["lqr", "lifted", "relinearized"])
def test_a_target_that_is_none_is_said(linear_model, kind):
    """Standing still with a velocity is impossible: the note names the pair that is held instead."""
    law = kc.design(linear_model, TASK.replace(target=[0.0, 0.5]), kind)
    note = law.notes[0]
    assert "no equilibrium" in note and "x0=" in note and "u0=" in note
    assert law.steady.moved > 0.01


def test_a_target_that_cannot_be_held_at_all_says_how_it_drifts(linear_rollouts):
    """With an input that is never small enough every state drifts; the note says by how much."""
    A, B = np.array([[0.9]]), np.array([[1.0]])
    model = kc.EDMDc(kc.Identity(), ridge=1e-12).fit(linear_rollouts(A, B))
    steady, _ = steady_of(model, target=0.0, u_min=0.5, u_max=1.0)
    # The nearest pair is u = 0.5 at q = 5, which is still.
    assert steady.u[0] == pytest.approx(0.5) and steady.x[0] == pytest.approx(5.0, rel=1e-3)
    integrator = kc.EDMDc(kc.Identity(), ridge=1e-12).fit(linear_rollouts(np.array([[1.0]]), B))
    steady, _ = steady_of(integrator, target=0.0, u_min=0.5, u_max=1.0)
    assert abs(steady.drift[0] - 0.5) < 1e-6 and "drifts by" in steady.note


def test_the_users_input_is_respected(two_input_model):
    """Of the many inputs that hold a state (two inputs), u_target decides."""
    A, B = two_input_model.A_, two_input_model.B_
    u = np.array([0.2, -0.3])
    q = np.linalg.solve(np.eye(3) - A, B @ u)
    steady, _ = steady_of(two_input_model, target=q, u_target=u)
    assert steady.note == "" and np.abs(steady.u - u).max() < 1e-3 and np.abs(steady.x - q).max() < 1e-3


def test_the_users_input_outweighs_the_target(linear_model):
    """Where target and u_target contradict each other, the state follows the input."""
    steady, _ = steady_of(linear_model, target=0.0, u_target=0.3)
    q = np.linalg.solve(np.eye(2) - linear_model.A_, linear_model.B_ @ [0.3])
    assert abs(steady.u[0] - 0.3) < 1e-2 and np.abs(steady.x - q).max() < 5e-2 and steady.note


def test_a_full_observation_is_a_target_too(pendulum_rollouts):
    """(cos, sin, thetadot) of an angle means that angle; a turn more means the same."""
    model = kc.SampledRNN(30).fit(pendulum_rollouts[:20])
    by_angle, _ = steady_of(model, target=[0.0, 0.0])
    by_observation, _ = steady_of(model, target=[1.0, 0.0, 0.0])
    by_name, _ = steady_of(model, target={"thetadot": 0.0})
    turned, _ = steady_of(model, target=[2 * np.pi, 0.0])
    for other in (by_observation, by_name):
        assert np.array_equal(other.x, by_angle.x) and np.array_equal(other.u, by_angle.u)
    assert np.abs(turned.x - by_angle.x - [2 * np.pi, 0.0]).max() < 1e-6


def test_ranges_are_those_of_the_data(linear_model, pendulum_rollouts):
    """Half the spread of each coordinate, 1 rad for angles, never zero."""
    box = linear_model.envelope_
    assert np.allclose(half_ranges(linear_model), (box.high - box.low) / 2)
    half = half_ranges(kc.SampledRNN(10).fit(pendulum_rollouts[:5]))
    Y = np.concatenate(pendulum_rollouts[:5].X)[:, 2]
    assert half[0] == 1.0 and 0.8 * np.ptp(Y) / 2 < half[1] <= np.ptp(Y) / 2 + 1e-12


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ([0.0, 0.0, 0.0], ShapeError),
        ([np.nan, 0.0], DataError),
        ({"x9": 0.0}, UnknownNameError),
        ("upright", (DataError, ShapeError)),
        ([1e308, 1e308], DesignError),
    ],
)
def test_a_target_that_is_none_is_an_error_of_ours(linear_model, target, error):
    """Wrong length, NaN, unknown name, a word, and one at which the model overflows."""
    with np.errstate(all="ignore"), pytest.raises(error):
        steady_of(linear_model, target=target)


def test_nan_in_a_full_observation_is_refused(pendulum_rollouts):
    """A target given as an observation is checked before it becomes an angle."""
    model = kc.SampledRNN(10).fit(pendulum_rollouts[:5])
    with pytest.raises(DataError, match="target"):
        steady_of(model, target=[1.0, np.nan, 0.0])


# ------------------------------------------------------------------ targets that move
@pytest.fixture(scope="module")
def duffing():
    """A network of a mass on a hardening spring, for which every position is an equilibrium: u = x + x^3."""
    rng, X, U = np.random.default_rng(0), [], []
    for _ in range(100):
        states, inputs = [rng.uniform(-1.2, 1.2, 2)], np.repeat(rng.uniform(-3.0, 3.0, (30, 1)), 2, axis=0)
        for u in inputs:
            x = states[-1]
            for _ in range(5):
                x = x + 0.02 * np.array([x[1], -x[0] - x[0] ** 3 - 0.5 * x[1] + u[0]])
            states.append(x)
        X.append(np.array(states))
        U.append(inputs)
    return kc.SampledRNN(200).fit(kc.Rollouts(X, U, 0.1, ("position", "velocity"), ("force",)))


def test_a_reference_step_ends_where_a_design_for_it_does(duffing):
    """From any steady pair to any other: the position asked for, and the force that the spring's law says."""
    task = kc.Task(target=0.0, Q={"position": 1.0}, R=0.01, u_min=-3.0, u_max=3.0)
    law, rng = kc.LQR(duffing, task), np.random.default_rng(1)
    for position in rng.uniform(-1.0, 1.0, 60):
        law(np.zeros(2), reference=[position, 0.0])
        assert law.steady.x == pytest.approx([position, 0.0], abs=0.02)
        assert law.steady.u == pytest.approx(position + position**3, abs=0.05)


def test_an_input_that_is_stuck_has_its_own_steady_pair(duffing):
    """Equal bounds leave one input: the pair is where the spring holds it."""
    task = kc.Task(target=0.0, Q={"position": 1.0}, R=0.01, u_min=-3.0, u_max=3.0)
    for law in (kc.LQR(duffing, task), kc.RelinearizedMPC(duffing, task, candidates=0)):
        u, info = law(np.zeros(2), preview=kc.Preview(u_min=0.625, u_max=0.625))
        assert u == pytest.approx(0.625) and info["refused"] == ""
        assert law.steady.x == pytest.approx([0.5, 0.0], abs=0.02)


def test_a_target_that_jumps_is_found_as_one_that_was_designed_for():
    """A network with bends in its valley of steady pairs: wherever the last target was, the pair is the design's."""
    rng, X, U = np.random.default_rng(0), [], []
    for _ in range(60):
        states, inputs = [rng.uniform(-1.2, 1.2, 2)], rng.uniform(-1.0, 1.0, (40, 1))
        for u in inputs:
            x = states[-1]
            force = np.sin(2 * x[0]) - 0.5 * x[1] * abs(x[1]) + (1 + 0.3 * x[0]) * u[0]
            states.append(x + 0.1 * np.array([x[1], force]))
        X.append(np.array(states))
        U.append(inputs)
    model = kc.SampledRNN(300).fit(kc.Rollouts(X, U, 0.1))
    task = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0)
    law = kc.LQR(model, task)
    for before, after in rng.uniform(-1.0, 1.0, (40, 2)):
        law.reset()
        law([0.0, 0.0], reference=[before, 0.0])
        law([0.0, 0.0], reference=[after, 0.0])
        designed = kc.LQR(model, task.replace(target=[after, 0.0])).steady
        assert abs(law.steady.x[0] - after) <= abs(designed.x[0] - after) + 0.02

"""Fitted value iteration against the Riccati equation, dynamic programming and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import koopctl as kc
from koopctl.bench.dynamic_programming import PendulumOracle
from koopctl.controllers.riccati import infinite_horizon
from koopctl.controllers.value_fitting import fitted_value
from koopctl.errors import DataError, DesignError

TASK = kc.envs.task("Pendulum-v1")


@pytest.fixture(scope="module")
def pendulum():
    """The network every test of this file uses."""
    return kc.SampledRNN(200).fit(kc.collect("Pendulum-v1", episodes=200, steps=60, seed=0))


@pytest.fixture(scope="module")
def value(pendulum):
    """Its value on the usual task, with the defaults."""
    return fitted_value(pendulum, TASK)


@pytest.mark.parametrize("random_state", [0, 4, 12, 14])
def test_without_bounds_in_reach_it_is_the_riccati_value(random_state):
    """A linear plant whose inputs never saturate: x^T P x everywhere, though only a part of it is the LQR's own."""
    rng = np.random.default_rng(0)
    A, B = np.array([[0.95, 0.2], [0.0, 0.9]]), np.array([[0.0], [0.3]])
    X = [rng.uniform(-1, 1, (2, 2)) for _ in range(600)]
    U = [rng.uniform(-2, 2, (1, 1)) for _ in X]
    for x, u in zip(X, U, strict=True):
        x[1] = A @ x[0] + B @ u[0]
    model = kc.EDMDc(kc.Identity()).fit(kc.Rollouts(X, U, 0.1))
    task = kc.Task(target=0.0, Q=1.0, R=0.1)
    sizes = {"n_features": 50, "n_states": 2000, "n_inputs": 41, "hold": 1}
    fitted = fitted_value(model, task, **sizes, random_state=random_state)
    _, P = infinite_horizon(A, B, np.eye(2), np.array([[0.1]]))
    inside = rng.uniform(-0.7, 0.7, (200, 2))
    truth = np.einsum("ni,ij,nj->n", inside, P, inside)
    assert fitted(inside) == pytest.approx(truth, rel=0.05, abs=0.05)


def test_it_ranks_the_states_of_the_pendulum_as_dynamic_programming_does(value):
    """Against backward induction on the true equations, over the whole circle."""
    oracle = PendulumOracle(101, 101)
    grid = np.stack(np.meshgrid(oracle.angles, oracle.speeds, indexing="ij"), -1).reshape(-1, 2)
    inner = np.abs(grid[:, 1]) < 5.0
    truth, fitted = oracle.values[-1][inner], value(grid[inner])
    assert np.corrcoef(truth, fitted)[0, 1] > 0.93
    assert abs(fitted.mean() / truth.mean() - 1.0) < 0.2  # each fit blurs the ridges, downwards


def test_the_greedy_law_swings_the_pendulum_up(value, pendulum):
    """On the model, from hanging; the roll-out is a motion of the model and ends at rest upright."""
    X, U = value.roll_out(np.array([np.pi, 0.0]), 120)
    assert pendulum.step(X[:-1], U) == pytest.approx(X[1:], abs=1e-9)
    assert np.abs(U).max() <= 2.0
    assert np.abs(pendulum.difference(X[-1], np.zeros(2))).max() < 0.05


def test_its_report_says_that_it_converged(value):
    """Small last change, small residual on fresh states, hardly a state whose value fell."""
    report = value.report
    assert report.change < 1e-3 and report.residual < 0.15 and report.fallen < 0.1
    assert report.clipped == 0.0 and report.dead < 0.1


def test_gradients_are_the_finite_differences_and_hessians_convex(value):
    """Inside the box, in all three zones: home, blend and far away; beyond the box only along what is free."""
    rng = np.random.default_rng(1)
    states = np.concatenate([rng.uniform([-3, -7], [3, 7], (20, 2)), rng.uniform(-0.2, 0.2, (20, 2))])
    zones = value.share_of_home(states)[0]
    assert zones.max() == 1.0 and zones.min() == 0.0 and ((zones > 0) & (zones < 1)).any()
    for x in states:
        v, gradient, H = value.expand(x)
        h = 1e-6 * np.eye(2)
        assert v == pytest.approx(value(x[None])[0])
        assert gradient == pytest.approx((value(x + h) - value(x - h)) / 2e-6, abs=1e-4 * (1 + np.abs(gradient).max()))
        assert np.linalg.eigvalsh(H).min() > -1e-9 * np.abs(H).max()
    beyond = np.array([0.5, 50.0])
    assert value(beyond[None]) == value(np.array([[0.5, value.home.high[1]]]))
    assert value.expand(beyond)[1][1] == 0.0


def test_at_home_it_is_the_lqr(value):
    """Value, gradient, Hessian and greedy input near the target are those of the Riccati solution."""
    x, home = np.array([0.01, -0.02]), value.home
    e = x - home.x
    v, gradient, H = value.expand(x)
    assert v == pytest.approx(e @ home.P @ e) and gradient == pytest.approx(2 * home.P @ e)
    assert pytest.approx(2 * home.P) == H
    assert value.greedy(x[None])[0] == pytest.approx(home.u - home.K @ e)


def test_the_same_settings_give_the_same_value(pendulum):
    """Bytes, from the settings the value carries; another seed gives another one."""
    small = {"n_features": 60, "n_states": 800, "n_inputs": 5, "sweeps": 15}
    one = fitted_value(pendulum, TASK, **small)
    again = fitted_value(pendulum, TASK, **one.settings)
    assert np.array_equal(one.theta, again.theta)
    assert not np.array_equal(one.theta, fitted_value(pendulum, TASK, **small, random_state=1).theta)


def test_what_it_cannot_do_is_refused(pendulum):
    """Delays, counts that are none, and an iteration that is far from its fixed point."""
    data = kc.collect("Pendulum-v1", episodes=20, steps=30, seed=0)
    with pytest.raises(DesignError, match="without delays"):
        fitted_value(kc.SampledRNN(30, delays=1).fit(data), TASK)
    with pytest.raises(DataError, match="n_states"):
        fitted_value(pendulum, TASK, n_states=0)
    with pytest.raises(DesignError, match="did not converge"):
        fitted_value(pendulum, TASK, n_features=2, n_states=300, sweeps=2)

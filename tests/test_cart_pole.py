"""The cart-pole plant against Lagrange's equations, an independent integrator and Gymnasium's own checks."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import koopctl as kc
from koopctl.envs import CartPoleSwingUp
from koopctl.errors import DataError, ShapeError

ENV = "koopctl.envs:CartPoleSwingUp-v0"


def lagrange(_, z, force):
    """Mass matrix times accelerations = forces, for a uniform rod (inertia m l^2 / 3) hinged to a cart."""
    _, theta, vel, rate = z
    m, total, half, g = 0.1, 1.1, 0.5, 9.81
    M = [[total, m * half * np.cos(theta)], [m * half * np.cos(theta), m * half**2 * (1 + 1 / 3)]]
    acc = np.linalg.solve(M, [force + m * half * rate**2 * np.sin(theta), m * g * half * np.sin(theta)])
    return [vel, rate, *acc]


def energy(z):
    """Kinetic and potential energy of cart and rod [J]."""
    _, theta, vel, rate = z
    tip = (vel + 0.5 * rate * np.cos(theta)) ** 2 + (0.5 * rate * np.sin(theta)) ** 2
    return 0.5 * vel**2 + 0.05 * tip + 0.5 * (0.1 * 0.5**2 / 3) * rate**2 + 0.1 * 9.81 * 0.5 * np.cos(theta)


@settings(max_examples=30, deadline=None)
@given(
    x=st.tuples(st.floats(-3, 3), st.floats(-7, 7), st.floats(-4, 4), st.floats(-10, 10)),
    force=st.floats(-10, 10),
)
def test_a_step_solves_lagranges_equations(x, force):
    """One step agrees with an eighth-order integrator of the equations in mass-matrix form."""
    env = CartPoleSwingUp()
    env.set_state(x)
    after, reward, terminated, truncated, _ = env.step(np.array([force]))
    end = solve_ivp(lagrange, (0, env.dt), x, "DOP853", rtol=1e-11, atol=1e-11, args=(force,)).y[:, -1]
    assert after == pytest.approx([end[0], np.cos(end[1]), np.sin(end[1]), end[2], end[3]], abs=1e-4)
    angle = np.arctan2(np.sin(x[1]), np.cos(x[1]))
    cost = x[0] ** 2 + 5 * angle**2 + 0.1 * x[2] ** 2 + 0.1 * x[3] ** 2 + 0.01 * force**2
    assert reward == pytest.approx(-cost)
    assert not terminated and not truncated


def test_without_a_force_energy_stays():
    """No friction: over the 10 s of an episode the energy keeps to 1e-4 of a joule."""
    env = CartPoleSwingUp()
    env.set_state([0.0, 2.0, 0.5, -3.0])
    before = energy(env.state)
    for _ in range(250):
        env.step(np.zeros(1))
    assert energy(env.state) == pytest.approx(before, abs=1e-4)


def test_it_passes_gymnasiums_checks():
    """check_env finds nothing, save that the force has a unit and the track no ends."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(gymnasium.make(ENV).unwrapped)
    known = ("symmetric and normalized", "value is -infinity", "value is infinity")
    assert [str(w.message) for w in caught if not any(text in str(w.message) for text in known)] == []


def test_the_id_works_in_a_fresh_interpreter_and_truncates_at_250():
    """Gymnasium finds the plant by 'module:Id' alone; an episode lasts 10 s wherever the cart goes."""
    code = (
        f"import gymnasium; env = gymnasium.make('{ENV}'); env.reset(seed=0)\n"
        "n, over = 0, False\n"
        "while not over:\n    n += 1\n    *_, over, _ = env.step([10.0])\n"
        "print(n)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "250"


def test_it_starts_hanging_and_seeds_repeat():
    """The pole hangs within 0.05 rad, the same seed starts at the same place, forces beyond 10 N are clipped."""
    env = CartPoleSwingUp()
    start, _ = env.reset(seed=3)
    big, *_ = env.step(np.array([99.0]))
    again, _ = env.reset(seed=3)
    ten, *_ = env.step(np.array([10.0]))
    assert np.array_equal(start, again) and np.array_equal(big, ten)
    assert start[1] < -np.cos(0.06) and np.abs(start[[0, 2, 3, 4]]).max() <= 0.05


def test_collect_and_simulate_place_it():
    """Recordings and runs start where they are told to; the upright rest is an equilibrium."""
    data = kc.collect(ENV, episodes=1, steps=2, initial_states=[[0.3, 1.0, 0.0, 2.0]])
    assert data.X[0][0] == pytest.approx([0.3, np.cos(1.0), np.sin(1.0), 0.0, 2.0])
    env = CartPoleSwingUp()
    env.set_state([0.5, 0.0, 0.0, 0.0])
    assert env.step(np.zeros(1))[0] == pytest.approx([0.5, 1.0, 0.0, 0.0, 0.0])


def test_what_is_outside_the_specification_is_refused():
    """A render mode, a state of another length, a state that is no number."""
    with pytest.raises(DataError, match="draws nothing"):
        CartPoleSwingUp("human")
    with pytest.raises(ShapeError):
        CartPoleSwingUp().set_state([1.0, 2.0])
    with pytest.raises(DataError):
        CartPoleSwingUp().set_state([1.0, np.nan, 0.0, 0.0])

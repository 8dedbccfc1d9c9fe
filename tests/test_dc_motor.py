"""The DC motor against an independent integrator, its steady states and Gymnasium's own checks."""

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
from koopctl.envs import DCMotor
from koopctl.errors import DataError, ShapeError

ENV = "koopctl.envs:DCMotor-v0"
CONSTANT = np.array([19.10828025, -3.333333333])
A, N = np.diag([-39.3153, -1.6599]), np.array([[0.0, -32.2293], [22.9478, 0.0]])


@settings(max_examples=30, deadline=None)
@given(x=st.tuples(st.floats(-2, 2), st.floats(-2, 2)), u=st.floats(-1, 1))
def test_a_step_solves_the_differential_equation(x, u):
    """One step agrees with an eighth-order integrator at tolerance 1e-11."""
    env = DCMotor()
    env.set_state(x)
    after, reward, terminated, truncated, _ = env.step(np.array([u]))
    exact = solve_ivp(lambda _, z: CONSTANT + (A + u * N) @ z, (0, env.dt), x, "DOP853", rtol=1e-11, atol=1e-11)
    assert after == pytest.approx(exact.y[:, -1], abs=2e-6)
    assert reward == pytest.approx(-(x[1] ** 2 + 0.01 * u**2))
    assert not terminated and not truncated


@pytest.mark.parametrize("u", [-1.0, 0.0, 0.3, 1.0])
def test_it_settles_where_the_equations_stand_still(u):
    """A held input leads to the solution of 0 = c + (A + u N) x, without a field to -2."""
    env = DCMotor()
    env.reset(seed=0)
    for _ in range(1000):
        y, *_ = env.step(np.array([u]))
    assert y == pytest.approx(np.linalg.solve(A + u * N, -CONSTANT), abs=1e-5)
    if u == 0.0:
        assert y[1] == pytest.approx(-2.008, abs=1e-3)


def test_the_speed_alone_can_be_observed():
    """Same motion, one number; recordings carry its name."""
    both, speed = gymnasium.make(ENV), gymnasium.make(ENV, sensors="speed")
    full, part = both.reset(seed=5)[0], speed.reset(seed=5)[0]
    assert part == full[1:]
    assert speed.step(np.array([0.5]))[0] == both.step(np.array([0.5]))[0][1:]
    data = kc.collect(lambda: gymnasium.make(ENV, sensors="speed"), episodes=1, steps=3)
    assert data.x_names == ("speed",) and data.X[0].shape == (4, 1)


@pytest.mark.parametrize("sensors", ["both", "speed"])
def test_it_passes_gymnasiums_checks(sensors):
    """check_env finds nothing at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ENV, sensors=sensors).unwrapped)


def test_the_id_works_in_a_fresh_interpreter_and_truncates_at_300():
    """Gymnasium finds the plant by 'module:Id' alone."""
    code = (
        f"import gymnasium; env = gymnasium.make('{ENV}'); env.reset(seed=0)\n"
        "n, over = 0, False\n"
        "while not over:\n    n += 1\n    *_, over, _ = env.step(env.action_space.sample())\n"
        "print(n)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "300"


def test_no_input_leads_out_of_the_observation_space():
    """From the corners of the allowed states, under the input that pumps the most, and under random ones."""
    env, rng = DCMotor(), np.random.default_rng(0)
    for corner in ([2.0, 2.0], [-2.0, 2.0], [2.0, -2.0], [-2.0, -2.0]):
        for mode in range(4):
            env.set_state(corner)
            y = np.array(corner)
            for _ in range(100):
                u = (rng.uniform(-1, 1), np.sign(y[0]), -np.sign(y[0] * y[1]), np.sign(y[0] * y[1]))[mode]
                y, *_ = env.step(np.array([u]))
                assert env.observation_space.contains(y)


def test_inputs_are_clipped_and_seeds_repeat():
    """An input of 100 acts like 1, and the same seed starts at the same place within [-1, 1]^2."""
    env = DCMotor()
    start, _ = env.reset(seed=7)
    big, *_ = env.step(np.array([100.0]))
    again, _ = env.reset(seed=7)
    one, *_ = env.step(np.array([1.0]))
    assert np.array_equal(start, again) and np.array_equal(big, one)
    assert np.abs(start).max() <= 1.0


@pytest.mark.parametrize(
    "make", [lambda: DCMotor("position"), lambda: DCMotor("both", "human"), lambda: DCMotor().set_state([3, 0])]
)
def test_what_is_outside_the_specification_is_refused(make):
    """Sensors, the render mode and the state have limits."""
    with pytest.raises(DataError):
        make()
    with pytest.raises(ShapeError):
        DCMotor().set_state([1.0])

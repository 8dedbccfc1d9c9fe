"""The Van der Pol plant against an independent integrator and Gymnasium's own checks."""

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

from koopctl.envs import VanDerPol, register
from koopctl.errors import DataError, ShapeError


@settings(max_examples=30, deadline=None)
@given(
    x=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    u=st.floats(-3, 3),
    mu=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_a_step_solves_the_differential_equation(x, u, mu):
    """One step agrees with an eighth-order integrator at tolerance 1e-11."""
    env = VanDerPol(mu)
    env.set_state(x)
    after, reward, terminated, truncated, _ = env.step(np.array([u]))
    exact = solve_ivp(
        lambda _, z: [z[1], mu * (1 - z[0] ** 2) * z[1] - z[0] + u], (0, env.dt), x, "DOP853", rtol=1e-11, atol=1e-11
    )
    assert after == pytest.approx(exact.y[:, -1], abs=2e-5 * mu**2)
    assert reward == pytest.approx(-(x[0] ** 2 + x[1] ** 2 + 0.01 * u**2))
    assert not terminated and not truncated


def test_it_passes_gymnasiums_checks():
    """check_env finds nothing, save that it would have every action scaled to [-1, 1]; these have a unit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(gymnasium.make("koopctl.envs:VanDerPol-v0").unwrapped)
    texts = [str(warning.message) for warning in caught if "symmetric and normalized" not in str(warning.message)]
    assert texts == []


def test_the_id_works_in_a_fresh_interpreter_and_truncates_at_200():
    """Gymnasium finds the plant by 'module:Id' alone, even where the module came first."""
    code = (
        "import koopctl.envs, gymnasium; env = gymnasium.make('koopctl.envs:VanDerPol-v0', mu=2.0); env.reset(seed=0)\n"
        "n, over = 0, False\n"
        "while not over:\n    n += 1\n    *_, over, _ = env.step(env.action_space.sample())\n"
        "print(n)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "200"


def test_registering_again_changes_nothing():
    """register() keeps what is there, without Gymnasium's warning about overriding."""
    before = gymnasium.registry["VanDerPol-v0"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()
    assert gymnasium.registry["VanDerPol-v0"] is before


@pytest.mark.parametrize("mu", [0.5, 5.0])
def test_no_force_leads_out_of_the_observation_space(mu):
    """From the corners of the allowed states, forces that pump energy in stay inside the announced bounds."""
    env = VanDerPol(mu)
    for x in ([5.0, 10.0], [-5.0, 10.0], [5.0, -10.0], [0.0, 10.0], [3.0, 3.0]):
        env.set_state(x)
        y = np.array(x)
        for _ in range(200):
            y, *_ = env.step(3.0 * np.sign(y[1:]))
            assert env.observation_space.contains(y)


def test_forces_are_clipped_and_seeds_repeat():
    """A force of 100 acts like 3, and the same seed starts at the same place within [-3, 3]^2."""
    env = VanDerPol()
    start, _ = env.reset(seed=7)
    big, *_ = env.step(np.array([100.0]))
    again, _ = env.reset(seed=7)
    three, *_ = env.step(np.array([3.0]))
    assert np.array_equal(start, again) and np.array_equal(big, three)
    assert np.abs(start).max() <= 3.0


@pytest.mark.parametrize(
    "make", [lambda: VanDerPol(0.1), lambda: VanDerPol(1.0, "human"), lambda: VanDerPol().set_state([9, 0])]
)
def test_what_is_outside_the_specification_is_refused(make):
    """mu, the render mode and the state have limits."""
    with pytest.raises(DataError):
        make()
    with pytest.raises(ShapeError):
        VanDerPol().set_state([1.0, 2.0, 3.0])

"""The bench's own truths: its oracle, and the plant it times."""

from __future__ import annotations

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from koopctl.bench.chain import chain_step
from koopctl.bench.dynamic_programming import PendulumOracle, stage_cost, step
from koopctl.bench.options import Options
from koopctl.errors import UnknownNameError


def test_the_oracle_knows_the_real_pendulum():
    """Its equations and cost are those of the environment, speed clip included."""
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for state in rng.uniform([-3.0, -8.0], [3.0, 8.0], (50, 2)):
        u = rng.uniform(-2.0, 2.0, 1)
        env.state = state.copy()
        _, reward, *_ = env.step(u)
        assert step(state[None], u)[0] == pytest.approx(env.state)
        assert -stage_cost(state[None], u)[0] == pytest.approx(reward)


def test_a_coarse_oracle_swings_up():
    """A grid of 101 x 101 already earns near what the fine one does (-231.5 at seed 101)."""
    assert -260.0 < PendulumOracle(101, 101, 11).total_reward(101) < -225.0


def test_the_timed_chain_obeys_its_equations():
    """One step equals an adaptive integration of the same masses and springs."""
    x, u = 0.3 * np.arange(8) / 8, np.array([0.7])

    def rate(_: float, s: np.ndarray) -> np.ndarray:
        walls = np.concatenate([[0.0], s[:4], [0.0]])
        pull = 20.0 * (walls[2:] - 2 * walls[1:-1] + walls[:-2]) - 0.3 * s[4:] - 5.0 * s[:4] ** 3
        pull[3] += 5.0 * u[0]
        return np.concatenate([s[4:], pull])

    truth = solve_ivp(rate, (0.0, 0.05), x, rtol=1e-10, atol=1e-12).y[:, -1]
    assert chain_step(x, u) == pytest.approx(truth, abs=1e-6)


def test_only_the_chosen_parts_run_in_the_benchs_order():
    """None chosen: all of them. A name that is none is refused before anything runs."""
    ran = []
    parts = {name: (lambda name=name: ran.append(name) or len(ran)) for name in ("first", "second", "third")}
    assert Options(parts=("third", "first")).run(parts) == {"first": 1, "third": 2}
    assert list(Options().run(parts)) == ["first", "second", "third"]
    ran.clear()
    with pytest.raises(UnknownNameError, match="fourth"):
        Options(parts=("first", "fourth")).run(parts)
    assert not ran


def test_a_part_from_the_command_line():
    """One table, not the half hour; an unknown one is an error with the names there are."""
    done = subprocess.run(
        [sys.executable, "-m", "koopctl", "bench", "identification", "--part", "exact-plant", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert list(found) == ["exact-plant"] and max(found["exact-plant"].values()) < 1e-8
    wrong = subprocess.run(
        [sys.executable, "-m", "koopctl", "bench", "mpc", "--part", "nothing"], capture_output=True, text=True
    )
    assert wrong.returncode == 1 and "swing-ups" in wrong.stderr

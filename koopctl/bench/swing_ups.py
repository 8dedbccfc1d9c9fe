"""Swing-ups by the re-linearised MPC, with and without a terminal value: Pendulum-v1 and the cart-pole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.dynamic_programming import PendulumOracle
from koopctl.collecting import collect
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.envs.tasks import task as known_task
from koopctl.loop import simulate
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.trajectory import Trajectory

_SEEDS = range(300, 340)  # never looked at while the laws were made
_STARTS = range(300, 320)
_UPRIGHT = 0.2  # [rad]
_WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("RelinearizedMPC", {}),
    ("RelinearizedMPC, value", {"value": {}}),
)


def pendulum(quick: bool) -> list[dict[str, Any]]:
    """Return a row a law and horizon: mean return over the optimum's, and the same of the worst ten seeds in a row."""
    seeds = list(_SEEDS)[: 4 if quick else None]
    model = SampledRNN(300, random_state=0).fit(collect("Pendulum-v1", episodes=300, steps=60, seed=0))
    oracle = PendulumOracle(*([201] * 2 if quick else [401] * 2))
    best = np.array([oracle.total_reward(seed) for seed in seeds])
    rows = []
    for horizon in (25, 40, 60):
        for label, options in _WAYS:
            law = RelinearizedMPC(model, known_task("Pendulum-v1").replace(horizon=horizon), **options)
            returns = np.array([simulate("Pendulum-v1", law, seed=seed).rewards.sum() for seed in seeds])
            rows.append({"law": label, "horizon": horizon} | shares(returns, best))
    return rows


def cart_pole(quick: bool) -> list[dict[str, Any]]:
    """Return a row a law and horizon: how many starts end upright and stay, when the last one came there, returns."""
    env = "koopctl.envs:CartPoleSwingUp-v0"
    data = collect(env, episodes=1000, steps=30, seed=0, initial_states=_anywhere)
    model, starts, rows = SampledRNN(300, random_state=0).fit(data), list(_STARTS)[: 3 if quick else None], []
    for horizon in (30, 50):
        for label, options in _WAYS:
            law = RelinearizedMPC(model, known_task(env).replace(horizon=horizon), **options)
            runs = [simulate(env, law, seed=seed) for seed in starts]
            rows.append({"law": label, "horizon": horizon} | stood(runs))
    return rows


def shares(returns: Array, best: Array) -> dict[str, float]:
    """Return what was lost over what the optimum loses: of all starts, and of the worst ten in a row.

    Args:
        returns: Returns, negative, (n,).
        best: Those of the optimum, (n,).
    """
    blocks = [returns[k : k + 10].sum() / best[k : k + 10].sum() for k in range(0, len(best), 10)]
    return {"mean": float(returns.sum() / best.sum()), "worst_block": float(max(blocks))}


def stood(runs: Sequence[Trajectory]) -> dict[str, Any]:
    """Return how many of the cart-pole's runs end upright and stay so, when the last one came there, and returns."""
    last = [_last_away(run.X) for run in runs]
    returns = [float(run.rewards.sum()) for run in runs]
    return {
        "starts": len(runs),
        "upright": sum(each < len(run.U) for each, run in zip(last, runs, strict=True)),
        "latest_s": runs[0].dt * max(last),
        "mean": float(np.mean(returns)),
        "worst": min(returns),
    }


def _anywhere(rng: np.random.Generator) -> Array:
    """Return a state (position, angle, velocity, angular velocity) from which random motion starts."""
    return rng.uniform([-1.5, -np.pi, -3.0, -9.0], [1.5, np.pi, 3.0, 9.0])


def _last_away(X: Array) -> int:
    """Return the last step at which the pole is not upright, of observations [x, cos, sin, v, omega]."""
    away = np.flatnonzero(np.abs(np.arctan2(X[:, 2], X[:, 1])) > _UPRIGHT)
    return int(away[-1]) + 1 if len(away) else 0

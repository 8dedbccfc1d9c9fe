"""Recording motion from a Gymnasium vector environment, without a transition that spans a reset."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.environment import Plant
from koopctl.episodes import Recipe
from koopctl.errors import EnvironmentUnsupportedError
from koopctl.loop import Act, Episode


class _Track:
    """The episode one sub-environment is recording."""

    def __init__(self, y: Array, act: Act) -> None:
        self.X, self.U, self.rewards = [y], list[Array](), list[float]()
        self.infos: list[dict[str, Any]] = []
        self.act = act
        self.end = "steps" if np.isfinite(y).all() else "not finite"

    @property
    def running(self) -> bool:
        return self.end == "steps"

    def add(self, y: Array, u: Array, reward: float, info: dict[str, Any], terminated: bool, truncated: bool) -> None:
        if not np.isfinite(y).all():
            self.end = "not finite"
            return
        self.X.append(y)
        self.U.append(u.astype(np.float64))
        self.rewards.append(float(reward))
        self.infos.append(info)
        if terminated or truncated:
            self.end = "terminated" if terminated else "truncated"

    def episode(self, nu: int) -> Episode:
        U = np.array(self.U).reshape(len(self.U), nu)
        return Episode(np.array(self.X), U, np.array(self.rewards), tuple(self.infos), self.end)


@contextlib.contextmanager
def sample_of(envs: Any) -> Iterator[Any]:
    """Give what `describe_plant` asks of one sub-environment: the single spaces, and a specimen's spec and attributes.

    A specimen is made, not fetched: asking a running AsyncVectorEnv for an attribute it lacks closes it.
    """
    raw = envs.unwrapped
    makers = getattr(raw, "env_fns", None)
    specimen = makers[0]() if makers else raw
    try:
        yield SimpleNamespace(
            action_space=envs.single_action_space,
            observation_space=envs.single_observation_space,
            spec=specimen.spec,
            unwrapped=specimen.unwrapped,
        )
    finally:
        if makers:
            specimen.close()


def vector_episodes(recipe: Recipe, plant: Plant, *, close: bool) -> Iterator[Episode]:
    """Yield the recipe's episodes, `num_envs` at a time.

    All sub-environments are reset together, with the seeds of their episodes, and each is recorded until it ends for
    the first time. So no autoreset is ever recorded, whatever the mode; under same-step autoreset the last observation
    is the one in `infos["final_obs"]`. Source: https://farama.org/Vector-Autoreset-Mode.

    Args:
        recipe: What to record.
        plant: The vector environment as a plant.
        close: Close the environment at the end.
    """
    try:
        for first in range(0, recipe.episodes, plant.env.num_envs):
            yield from _round(recipe, plant, first)
    finally:
        if close:
            plant.env.close()


def _round(recipe: Recipe, plant: Plant, first: int) -> Iterator[Episode]:
    from gymnasium.vector import AutoresetMode

    envs, nu = plant.env, len(plant.low)
    indices = range(first, min(first + envs.num_envs, recipe.episodes))
    Y = _reset(envs, [recipe.seeds(first + j)[0] for j in range(envs.num_envs)])
    tracks = [_Track(Y[j], recipe.act(plant, recipe.seeds(index)[1])) for j, index in enumerate(indices)]
    idle = plant.action(np.zeros(nu), 0)
    for k in range(recipe.steps):
        if not any(track.running for track in tracks):
            break
        actions, infos = np.tile(idle, (envs.num_envs, 1)), [dict[str, Any]() for _ in tracks]
        for j, track in enumerate(tracks):
            if track.running:
                u, infos[j] = track.act(k, track.X[-1].copy())
                actions[j] = plant.action(u, k)
        Y, rewards, terminated, truncated, seen = envs.step(actions)
        for j, track in enumerate(tracks):
            if track.running:
                ends = bool(terminated[j]), bool(truncated[j])
                y = _last_observation(envs, seen, j, Y[j]) if any(ends) else Y[j]
                track.add(np.array(y, dtype=np.float64), actions[j], rewards[j], infos[j], *ends)
        over = np.logical_or(terminated, truncated)
        if over.any() and envs.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
            envs.reset(options={"reset_mask": over})  # they may not be stepped again before; nobody records them
    yield from (track.episode(nu) for track in tracks)


def _last_observation(envs: Any, infos: dict[str, Any], j: int, y: Array) -> Array:
    from gymnasium.vector import AutoresetMode

    if envs.metadata.get("autoreset_mode") != AutoresetMode.SAME_STEP:
        return y
    final = infos.get("final_obs")
    if final is None or final[j] is None:
        raise EnvironmentUnsupportedError(
            f"{envs} resets in the same step but its infos lack 'final_obs', so the last observation of an episode is "
            "lost; make it with autoreset_mode=AutoresetMode.NEXT_STEP."
        )
    return np.asarray(final[j])


def _reset(envs: Any, seeds: list[int]) -> Array:
    from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

    one_each = isinstance(envs.unwrapped, SyncVectorEnv | AsyncVectorEnv)
    Y, _ = envs.reset(seed=seeds if one_each else seeds[0])
    return np.asarray(Y, dtype=np.float64)

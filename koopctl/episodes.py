"""Single episodes of a recording, each made from its number alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array
from koopctl.data.excitation import Excitation
from koopctl.environment import Plant, open_plant
from koopctl.loop import Act, Controller, Episode, follow, run_episode, start


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an episode, so that any worker makes the same one from its number.

    Attributes:
        env: What makes the environment.
        episodes: Number of episodes.
        steps: Most transitions an episode.
        excitation: The signal; None for none.
        share: Share of the actuator range the signal may take on top of a law.
        law: The controller to run; None for none.
        seed: Seed of everything random.
        dt: Sampling time [s] where the environment does not say it.
        initial_states: (episodes, n), a function of a random generator, or None for the environment's own.
    """

    env: Any
    episodes: int
    steps: int
    excitation: Excitation | None
    share: float
    law: Controller | None
    seed: int
    dt: float | None
    initial_states: Array | Callable[[np.random.Generator], ArrayLike] | None

    def seeds(self, index: int) -> tuple[int, np.random.Generator, np.random.Generator]:
        """Return the reset's seed and the generators of the excitation and the initial state of episode `index`."""
        # the same as SeedSequence(seed).spawn(episodes)[index].spawn(3), without the others
        reset, excite, place = np.random.SeedSequence(self.seed, spawn_key=(index,)).spawn(3)
        return int(reset.generate_state(1)[0]), np.random.default_rng(excite), np.random.default_rng(place)

    def initial_state(self, index: int, rng: np.random.Generator) -> ArrayLike | None:
        """Return where episode `index` starts; None leaves it to the reset."""
        if callable(self.initial_states):
            return self.initial_states(rng)
        return None if self.initial_states is None else self.initial_states[index]

    def act(self, plant: Plant, rng: np.random.Generator) -> Act:
        """Return what to apply along one episode: the excitation, or the law with the excitation on top."""
        if self.law is None:
            signal = self._signal(plant.dt, plant.low, plant.high, rng)
            return lambda k, y: (signal[k], {})
        half = self.share * (plant.high - plant.low) / 2.0
        signal = self._signal(plant.dt, -half, half, rng)
        law = _own_copy(self.law)
        law.reset()
        answer = follow(law, None, len(plant.x_names))

        def both(k: int, y: Array) -> tuple[ArrayLike, dict[str, Any]]:
            u, info = answer(k, y)
            return np.asarray(u, dtype=np.float64) + signal[k], info

        return both

    def _signal(self, dt: float, low: Array, high: Array, rng: np.random.Generator) -> Array:
        if self.excitation is None:
            return np.zeros((self.steps, len(low)))
        return self.excitation.signal(self.steps, dt, low, high, rng)


def record(recipe: Recipe, indices: Iterable[int]) -> Iterator[Episode]:
    """Yield the episodes `indices`, all on one new environment."""
    plant = open_plant(recipe.env, recipe.dt)
    try:
        for index in indices:
            seed, excite, place = recipe.seeds(index)
            y = start(plant, seed, recipe.initial_state(index, place))
            yield run_episode(plant, y, recipe.act(plant, excite), recipe.steps, stop_at_nan=True)
    finally:
        plant.env.close()


def _own_copy(law: Controller) -> Controller:
    try:
        return copy.deepcopy(law)
    except TypeError:  # solver objects outside Python cannot be copied; reset() then has to do
        return law

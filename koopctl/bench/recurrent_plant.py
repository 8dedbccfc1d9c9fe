"""A small simulated plant: its equations, what is measured of it, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.recurrent_record import Record
from koopctl.bench.recurrent_sensing import Sensing
from koopctl.task import Task

Slope = Callable[[Array, Array], Array]
Excite = Callable[[int, np.random.Generator], Array]
Start = Callable[[int, np.random.Generator], Array]

_SUBSTEPS = 6  # Runge-Kutta steps in a sample


@dataclass(frozen=True)
class SmallPlant:
    """A plant with one input within -1 and 1, held over each sample.

    Attributes:
        name: Its name.
        about: What it is, and what makes it hard to learn.
        cells: The cells whose authors claim an edge there, with their options by name; "training" holds what differs
            in their training.
        dt: Sampling time [s].
        slope: Right-hand side (n, nx) at states (n, nx) and inputs (n,).
        start: Draws n states (n, nx).
        excite: Draws the inputs (T,) of an episode of T steps.
        outputs: Positions in the state of what is measured.
        y_names: Names of the sensors.
        task: What a law is to do.
        jump: What happens to states (n, nx) at the end of a sample in which inputs (n,) acted; None for nothing.
        sensing: How it is measured.
        past: Samples before the newest one that a model may see: the washout of recurrent networks.
        descent: Predicted steps of the stretches that networks are trained on.
        longest: Longest time constant that gates start with [samples].
        delays: Delays the sampled network may have.
        horizons: Steps ahead at which forecasts are judged.
    """

    name: str
    about: str
    cells: Mapping[str, Mapping[str, Any]]
    dt: float
    slope: Slope
    start: Start
    excite: Excite
    outputs: tuple[int, ...]
    y_names: tuple[str, ...]
    task: Task
    jump: Slope | None = None
    sensing: Sensing = field(default_factory=Sensing)
    past: int = 20
    descent: int = 40
    longest: float = 50.0
    delays: tuple[int, ...] = (2, 4, 8, 16)
    horizons: tuple[int, ...] = (1, 10, 40)

    def step(self, x: Array, u: Array) -> Array:
        """Return the states (n, nx) a sample later, by Runge-Kutta of order 4, for inputs (n,) held meanwhile."""
        h = self.dt / _SUBSTEPS
        for _ in range(_SUBSTEPS):
            k1 = self.slope(x, u)
            k2 = self.slope(x + h / 2 * k1, u)
            k3 = self.slope(x + h / 2 * k2, u)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + self.slope(x + h * k3, u))
        return x if self.jump is None else self.jump(x, u)

    def motion(self, x: Array, U: Array) -> Array:
        """Return the states (n, T + 1, nx) from states (n, nx) under inputs (n, T)."""
        path = [x]
        for u in U.T:
            path.append(self.step(path[-1], u))
        return np.stack(path, axis=1)

    def measure(self, x: Array) -> Array:
        """Return the true outputs (..., ny) of states (..., nx)."""
        return x[..., list(self.outputs)]

    def record(self, episodes: int, steps: int, seed: int) -> Record:
        """Return episodes of excited motion from random starts.

        Args:
            episodes: How many.
            steps: Steps of each.
            seed: Of starts, inputs and sensors.
        """
        rng = np.random.default_rng(seed)
        x = self.start(episodes, rng)
        U = np.stack([self.excite(steps, rng) for _ in range(episodes)])
        truth = self.measure(self.motion(x, U))
        added = np.stack([self.sensing.added(steps + 1, len(self.outputs), rng) for _ in range(episodes)])
        return Record(truth + added, truth, U[:, :, None], self.dt, self.y_names)

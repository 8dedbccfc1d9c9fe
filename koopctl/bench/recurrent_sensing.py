"""What a plant's sensors add to the truth: noise, drop-outs, uneven times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array, is_finite
from koopctl.errors import DataError


@dataclass(frozen=True)
class Sensing:
    """How a plant is measured. NaN stands for what was not.

    Attributes:
        noise: Deviation of the noise on every measured value.
        dropped: Share of the values that are missing, each sensor dropping out by itself.
        burst: Mean length of such a drop-out [samples].
        longest: Samples from one measurement to the next, at most: 1 to so many are equally likely.
    """

    noise: float = 0.0
    dropped: float = 0.0
    burst: float = 3.0
    longest: int = 1

    def __post_init__(self) -> None:
        """Refuse shares and lengths that no sensor can have."""
        if not (is_finite(self.dropped) and 0.0 <= self.dropped < 1.0):
            raise DataError(f"dropped is {self.dropped!r}; it is a share, from 0 to below 1.")
        if not (is_finite(self.burst) and self.burst >= max(1.0, self.dropped / (1.0 - self.dropped))):
            raise DataError(f"burst is {self.burst!r}, too short for a share of {self.dropped:g}; lengthen it.")
        if self.longest < 1:
            raise DataError(f"longest is {self.longest!r}; it is 1 or more samples.")

    @property
    def gaps(self) -> bool:
        """Whether values are missing."""
        return self.dropped > 0.0 or self.longest > 1

    def added(self, count: int, width: int, rng: np.random.Generator) -> Array:
        """Return what is added to the truth, (count, width): noise, and NaN where nothing is measured.

        The first sample is always measured, so that a run has something to start from.

        Args:
            count: Samples.
            width: Sensors.
            rng: Source of randomness.
        """
        noise = self.noise * rng.normal(size=(count, width))
        gone = self._dropped(count, width, rng) | ~self._visited(count, rng)[:, None]
        gone[0] = False
        return np.where(gone, np.nan, noise)

    def _dropped(self, count: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Return where each sensor has dropped out, (count, width): a chain of two states with their mean lengths."""
        fails, recovers = self.dropped / ((1.0 - self.dropped) * self.burst), 1.0 / self.burst
        draws = rng.uniform(size=(count, width))
        gone = np.empty((count, width), dtype=bool)
        gone[0] = draws[0] < self.dropped
        for k in range(1, count):
            gone[k] = np.where(gone[k - 1], draws[k] >= recovers, draws[k] < fails)
        return gone

    def _visited(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at which samples there is a measurement at all, (count,)."""
        times = np.cumsum(rng.integers(1, self.longest + 1, size=count)) - 1
        visited = np.zeros(count, dtype=bool)
        visited[times[times < count]] = True
        return visited

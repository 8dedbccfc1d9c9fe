"""Motion of a small plant as it was and as it was measured, and the ways to hand its gaps to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.recurrent.gapped_rollouts import GappedRollouts

# What a model is fitted to where values are missing: the motion between the gaps, gaps filled with the last value or
# with straight lines, or the gaps themselves.
Gaps = Literal["cut", "held", "lines", "shown"]


@dataclass(frozen=True)
class Record:
    """Episodes of one length.

    Attributes:
        measured: What the sensors said, (n, T + 1, ny), NaN where nothing.
        truth: What they measure, (n, T + 1, ny).
        U: Inputs, (n, T, 1).
        dt: Sampling time [s].
        y_names: Names of the sensors.
    """

    measured: Array
    truth: Array
    U: Array
    dt: float
    y_names: tuple[str, ...]

    @property
    def spread(self) -> Array:
        """Deviation of the true outputs, the unit of errors, (ny,)."""
        return np.asarray(self.truth.std(axis=(0, 1)))

    def rollouts(self, gaps: Gaps) -> Rollouts | GappedRollouts:
        """Return what a model is fitted to.

        Raises:
            DataError: Nothing is left between the gaps.
        """
        U, names = list(self.U), (self.dt, self.y_names, ("u",))
        if gaps == "shown":
            return GappedRollouts(list(self.measured), U, *names)
        X = self.measured if gaps == "cut" else filled(self.measured, gaps)
        return Rollouts(list(X), U, *names)

    def windows(self, past: int, steps: int, count: int) -> Windows:
        """Return at most `count` windows, evenly chosen.

        Args:
            past: Samples before the newest one that a model may see.
            steps: Steps to forecast.
            count: Windows, at most.

        Raises:
            DataError: The episodes are too short.
        """
        episodes, length = self.U.shape[:2]
        each = length - past - steps + 1
        if each < 1:
            raise DataError(f"episodes of {length} steps hold no {past} samples and {steps} steps after them.")
        places = np.unique(np.linspace(0, episodes * each - 1, min(count, episodes * each)).astype(int))
        which, first = places // each, places % each
        rows = first[:, None] + np.arange(past + steps + 1)
        seen, ahead = rows[:, : past + 1], rows[:, past + 1 :]
        i = which[:, None]
        return Windows(self.measured[i, seen], self.U[i, rows[:, :-1]], self.truth[i, ahead], self.measured[i, ahead])


@dataclass(frozen=True)
class Windows:
    """Stretches to forecast.

    Attributes:
        seen: What was measured before, and at the start, (n, past + 1, ny).
        U: Inputs from the first seen sample on, (n, past + H, 1).
        truth: What came after, (n, H, ny).
        later: What was measured of it, (n, H, ny), NaN where nothing.
    """

    seen: Array
    U: Array
    truth: Array
    later: Array


def filled(Y: Array, how: Gaps) -> Array:
    """Return measurements (n, T, ny) without their gaps; nothing later than an episode's end is used.

    What comes before the first measurement equals it, what comes after the last too; a sensor that never spoke says 0.

    Args:
        Y: Measurements, NaN where there are none.
        how: "lines" for straight lines between measurements, anything else for the last value held.
    """
    out, k = np.zeros_like(Y), np.arange(Y.shape[1])
    for i, j in np.ndindex(Y.shape[0], Y.shape[2]):
        known = np.flatnonzero(~np.isnan(Y[i, :, j]))
        if not len(known):
            continue
        if how == "lines":
            out[i, :, j] = np.interp(k, known, Y[i, known, j])
        else:
            out[i, :, j] = Y[i, known[np.maximum(np.searchsorted(known, k, side="right") - 1, 0)], j]
    return out

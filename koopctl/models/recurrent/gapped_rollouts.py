"""Recorded motion with its gaps: what `Rollouts` cuts out stays in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_array, as_names
from koopctl.data.clock import as_dt
from koopctl.data.measured import as_measured, check_infinite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, ShapeError


class GappedRollouts:
    """Episodes of measured states and applied inputs in which NaN stays where a sensor dropped out.

    `Rollouts` drops each transition that touches a NaN and splits the episode there, as most models need; a model that
    bears gaps learns from all of the episode. Inputs are what was sent and are never missing.

    Attributes:
        X: Measured states, a tuple of (T_i + 1, nx) arrays, NaN where nothing was measured.
        U: Applied inputs, a tuple of (T_i, nu) arrays.
        dt: Sampling time [s].
        x_names: Names of the nx columns of X.
        u_names: Names of the nu columns of U.
        sensors: Names of the full observation the columns of X were selected from.
    """

    def __init__(
        self,
        X: Sequence[ArrayLike],
        U: Sequence[ArrayLike],
        dt: float,
        x_names: Sequence[str] | None = None,
        u_names: Sequence[str] | None = None,
        sensors: Sequence[str] | None = None,
    ) -> None:
        """Check and keep the episodes.

        Args:
            X: One array (T_i + 1, nx) an episode; NaN where nothing was measured.
            U: One array (T_i, nu) an episode, without NaN.
            dt: Sampling time [s].
            x_names: nx names; `x0, x1, ...` by default.
            u_names: nu names; `u0, u1, ...` by default.
            sensors: Names of the full observation `x_names` was chosen from; `x_names` by default.

        Raises:
            ShapeError: Widths or lengths disagree.
            DataError: There are no episodes, a value is infinite, an input or a whole column is missing.
        """
        if len(X) == 0 or len(X) != len(U):
            raise ShapeError(f"X has {len(X)} episodes and U {len(U)}; give one array of each an episode.")
        self.X = tuple(as_measured(f"X[{i}]", x, ("T", _width(X[0]))) for i, x in enumerate(X))
        self.U = tuple(
            as_array(f"U[{i}]", u, (len(x) - 1, _width(U[0]))) for i, (u, x) in enumerate(zip(U, self.X, strict=True))
        )
        self.dt = as_dt(dt)
        self.x_names, self.u_names = (
            as_names("x_names", x_names, self.nx, "x"),
            as_names("u_names", u_names, self.nu, "u"),
        )
        self.sensors = self.x_names if sensors is None else tuple(str(name) for name in sensors)
        for i, x in enumerate(self.X):
            check_infinite(x, self.x_names, lambda row, i=i: f"X[{i}], row {row}")  # type: ignore[misc]
        never = np.all([np.isnan(x).all(axis=0) for x in self.X], axis=0)
        if never.any():
            names = ", ".join(name for name, lacks in zip(self.x_names, never, strict=True) if lacks)
            raise DataError(f"{names} was never measured; leave such columns out.")

    @classmethod
    def thinned(cls, rollouts: Rollouts, share: float, seed: int = 0) -> Self:
        """Return rollouts of which a share of the observations, drawn at random, is missing as if a sensor slept.

        Args:
            rollouts: The whole motion.
            share: Probability that an observation is missing, all of its values at once.
            seed: Of the choice.
        """
        rng, X = np.random.default_rng(seed), []
        for x in rollouts.X:
            gone = rng.uniform(size=(len(x), 1)) < share
            X.append(np.where(gone, np.nan, x))
        return cls(X, rollouts.U, rollouts.dt, rollouts.x_names, rollouts.u_names, rollouts.sensors)

    @property
    def nx(self) -> int:
        """Number of measured states."""
        return int(self.X[0].shape[1])

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return int(self.U[0].shape[1])

    @property
    def missing(self) -> float:
        """Share of the values of X that are missing."""
        return sum(int(np.isnan(x).sum()) for x in self.X) / sum(x.size for x in self.X)

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.X)

    def __repr__(self) -> str:
        """Return one line: episodes, names, dt, what is missing."""
        return (
            f"GappedRollouts({len(self)} episodes, dt={self.dt:g} s, x=({', '.join(self.x_names)}), "
            f"u=({', '.join(self.u_names)}), {100 * self.missing:.3g} % of x missing)"
        )

    def whole(self) -> Rollouts:
        """Return what `Rollouts` makes of them: the runs between the gaps, as episodes of their own.

        Raises:
            DataError: No two observations in a row were measured.
        """
        return self._as_rollouts(self.X)

    def held(self) -> Rollouts:
        """Return the episodes with the last measured value in place of each missing one, or the first at the start."""
        mean = np.nanmean(np.concatenate(self.X), axis=0)
        return self._as_rollouts([_held(x, mean) for x in self.X])

    def _as_rollouts(self, X: Sequence[Array]) -> Rollouts:
        return Rollouts(X, self.U, self.dt, self.x_names, self.u_names, self.sensors)


def _held(x: Array, mean: Array) -> Array:
    known, rows = ~np.isnan(x), np.arange(len(x))[:, None]
    before = np.maximum.accumulate(np.where(known, rows, -1), axis=0)
    start = np.where(before < 0, known.argmax(axis=0), before)
    filled = np.take_along_axis(x, start, axis=0)
    return np.where(np.isnan(filled), mean, filled)


def _width(array: ArrayLike) -> int:
    shape = np.shape(array)
    if len(shape) != 2:
        raise ShapeError(
            f"episode 0 has shape {shape}, expected (time, columns); reshape a single column with [:, None]."
        )
    return int(shape[1])

"""Stretches of motion that recurrent networks are trained and judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.chart import Chart
from koopctl.models.recurrent.gapped_rollouts import GappedRollouts

Motion = TypeVar("Motion", Rollouts, GappedRollouts)


@dataclass(frozen=True)
class Stretches:
    """Every place in some episodes from which so many samples follow.

    Attributes:
        Q: Coordinates of all episodes, one after the other, (n, nq); NaN where nothing was measured.
        U: Inputs, the last sample of an episode with zeros, (n, nu).
        starts: First rows of the stretches, (m,).
        length: Samples of a stretch, the predicted ones included.
    """

    Q: Array
    U: Array
    starts: np.ndarray
    length: int

    @classmethod
    def of(cls, chart: Chart, rollouts: Rollouts | GappedRollouts, length: int, *, gaps: bool = False) -> Stretches:
        """Find them.

        Args:
            chart: Makes coordinates of observations.
            rollouts: The episodes.
            length: Samples of a stretch.
            gaps: Whether a stretch may hold NaN, as long as it holds anything else; left out otherwise.

        Raises:
            DataError: No episode is long enough, or all that are have gaps.
        """
        Q = [chart.to_coordinates(Y) for Y in rollouts.X]
        U = [np.concatenate([U, np.zeros((1, rollouts.nu))]) for U in rollouts.U]
        ends = np.cumsum([len(q) for q in Q])
        starts = [np.arange(end - len(q), end - length + 1) for q, end in zip(Q, ends, strict=True)]
        found = np.concatenate([s for s in starts if len(s)] or [np.zeros(0, dtype=int)])
        if not len(found):
            raise DataError(_too_short(length, max(map(len, Q))))
        known = ~np.isnan(np.concatenate(Q))
        if gaps:
            enough = _count(np.any(known, axis=1), found, length) > 0
        else:
            enough = _count(np.all(known, axis=1), found, length) == length
        if not enough.any():
            fault = "is one gap" if gaps else "holds a gap"
            raise DataError(
                f"each of the {len(found)} stretches of {length} samples {fault}; lower washout and horizon, record "
                "with fewer gaps, or fit a model that bears them."
            )
        found = found[enough]
        return cls(np.concatenate(Q), np.concatenate(U), found, length)

    def take(self, which: np.ndarray) -> tuple[Array, Array]:
        """Return coordinates (m, length, nq) and inputs (m, length, nu) of the stretches with these numbers (m,)."""
        rows = self.starts[which][:, None] + np.arange(self.length)
        return self.Q[rows], self.U[rows]

    def evenly(self, count: int) -> tuple[Array, Array]:
        """Return at most `count` stretches, spread evenly."""
        return self.take(np.unique(np.linspace(0, len(self.starts) - 1, min(count, len(self.starts))).astype(int)))


def split(rollouts: Motion, share: float, seed: int, length: int = 2) -> tuple[Motion, Motion]:
    """Return training and held-out episodes; where one alone is long enough, its end is held out.

    Args:
        rollouts: The recorded motion.
        share: Of the episodes, or of the one episode's samples, that is held out; at least `length` samples are.
        seed: Of the choice.
        length: Samples of a stretch, which both parts must hold.

    Raises:
        DataError: No episode, or the only long one not twice, holds a stretch.
    """
    long = [i for i, X in enumerate(rollouts.X) if len(X) >= length]
    if not long:
        raise DataError(_too_short(length, max(map(len, rollouts.X))))
    if len(long) == 1:
        return _ends(rollouts, long[0], share, length)
    order = np.random.default_rng(seed).permutation(long)
    count = min(max(1, round(share * len(long))), len(long) - 1)
    kept = set(order[:count].tolist())
    return _those(rollouts, [i for i in range(len(rollouts)) if i not in kept]), _those(rollouts, sorted(kept))


def _ends(rollouts: Motion, which: int, share: float, length: int) -> tuple[Motion, Motion]:
    """Return all but the end of one episode, and that end."""
    X, U = rollouts.X[which], rollouts.U[which]
    kept = max(round(share * len(U)), length - 1)
    cut = len(U) - kept
    if cut < length - 1:
        raise DataError(
            f"one episode of {len(X)} samples alone holds stretches of {length}, and it must hold two, one to train on "
            "and one to stop by; lower washout and horizon, or record more."
        )
    parts = [(rollouts.X[i], rollouts.U[i]) for i in range(len(rollouts))]
    parts[which] = X[: cut + 1], U[:cut]
    early = _like(rollouts, [x for x, _ in parts], [u for _, u in parts])
    return early, _like(rollouts, [X[cut:]], [U[cut:]])


def _those(rollouts: Motion, which: list[int]) -> Motion:
    return _like(rollouts, [rollouts.X[i] for i in which], [rollouts.U[i] for i in which])


def _too_short(length: int, longest: int) -> str:
    return (
        f"no episode holds {length} samples, the longest has {longest}; lower washout and horizon, or record longer "
        "episodes."
    )


def _count(rows: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Return how many rows (n,) of each stretch are true, (m,)."""
    sums = np.concatenate([[0], np.cumsum(rows)])
    return np.asarray(sums[starts + length] - sums[starts])


def _like(rollouts: Motion, X: list[Array], U: list[Array]) -> Motion:
    """Return other motion with the same names and sampling time."""
    return type(rollouts)(X, U, rollouts.dt, rollouts.x_names, rollouts.u_names, rollouts.sensors)

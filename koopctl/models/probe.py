"""A small part of the training data that a model keeps, to report how well it predicts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.window import Window

_STARTS = 200
_STEPS = 50
_SERIES = 5000  # transitions kept in their order


@dataclass(frozen=True)
class Probe:
    """Stretches of motion that begin all over the data, and some of it in its order.

    Attributes:
        x0: States at the starts, (n, nx).
        U: Inputs from there on, (n, H, nu).
        truth: Coordinates one to H steps later, (n, H, nq).
        centre: Mean of each coordinate in all of the data, (nq,).
        variance: Its variance there, (nq,).
        independent: About how many independent samples each coordinate's autocorrelation leaves, (nq,).
        n_transitions: Transitions in the data.
        n_episodes: Episodes in the data.
        series: At most 5000 transitions in their order.
    """

    x0: Array
    U: Array
    truth: Array
    centre: Array
    variance: Array
    independent: Array
    n_transitions: int
    n_episodes: int
    series: Rollouts

    @classmethod
    def of(cls, window: Window, rollouts: Rollouts, steps: int = _STEPS, starts: int = _STARTS) -> Probe:
        """Take stretches of `steps`, shorter ones where no episode holds as many, from evenly chosen starts."""
        d = window.delays
        steps = min(steps, max(len(U) for U in rollouts.U) - d)
        if steps < 1:
            raise DataError(f"no episode holds a transition beyond the {d} delays; record longer episodes.")
        Y, U = evenly(rollouts, d + steps, starts)
        centre, variance, independent = _moments(window, rollouts)
        return cls(
            window.encode_each(Y[:, : d + 1], U[:, :d]),
            U[:, d:],
            window.chart.to_coordinates(Y[:, d + 1 :]),
            centre,
            variance,
            independent,
            rollouts.n_samples,
            len(rollouts),
            _series(rollouts),
        )

    @property
    def spread(self) -> Array:
        """Standard deviation of each coordinate in all of the data, 1 where it does not move, (nq,)."""
        return np.asarray(np.where(self.variance > 0.0, np.sqrt(self.variance), 1.0))

    def joined(self, other: Probe) -> Probe:
        """Return the probe of both parts of the data; the series is the first one's.

        Stretches are cut to the shorter horizon, unless that would leave less than half of the longer one: then the
        longer ones stay alone, so that a few single transitions do not end all that is known of longer predictions.
        """
        H, longest = sorted(part.U.shape[1] for part in (self, other))
        parts: tuple[Probe, ...] = (self, other)
        if 2 * H < longest:
            parts, H = tuple(part for part in parts if part.U.shape[1] == longest), longest
        together = [np.concatenate(group) for group in zip(*(part._stretches(H) for part in parts), strict=True)]
        keep = np.unique(np.linspace(0, len(together[0]) - 1, min(_STARTS, len(together[0]))).astype(int))
        x0, U, truth = (part[keep] for part in together)
        n = self.n_transitions + other.n_transitions
        mine, theirs = self.n_transitions / n, other.n_transitions / n
        apart = other.centre - self.centre
        return Probe(
            x0,
            U,
            truth,
            self.centre + theirs * apart,
            mine * self.variance + theirs * other.variance + mine * theirs * apart**2,
            self.independent + other.independent,
            n,
            self.n_episodes + other.n_episodes,
            self.series,
        )

    def _stretches(self, H: int) -> tuple[Array, Array, Array]:
        return self.x0, self.U[:, :H], self.truth[:, :H]


def evenly(rollouts: Rollouts, length: int, count: int) -> tuple[Array, Array]:
    """Return stretches from evenly chosen starts: Y (n, length + 1, ny) and U (n, length, nu), n at most `count`."""
    places = np.array([max(0, len(U) - length + 1) for U in rollouts.U])
    chosen = np.unique(np.linspace(0, places.sum() - 1, min(count, places.sum())).astype(int))
    ends = np.cumsum(places)
    episodes = np.searchsorted(ends, chosen, side="right")
    starts = list(zip(episodes.tolist(), (chosen - ends[episodes] + places[episodes]).tolist(), strict=True))
    Y = np.array([rollouts.X[i][k : k + length + 1] for i, k in starts])
    return Y, np.array([rollouts.U[i][k : k + length] for i, k in starts])


def _moments(window: Window, rollouts: Rollouts) -> tuple[Array, Array, Array]:
    """Return mean, variance and number of independent samples of each coordinate.

    The latter for a first-order autocorrelation. One episode after the other, as copies of all data would be large.
    """
    first = window.chart.to_coordinates(rollouts.X[0][0])
    total, squares, steps = np.zeros((3, window.nq))
    for Y in rollouts.X:
        q = window.chart.to_coordinates(Y)
        steps += np.square(window.difference_of_coordinates(q[1:], q[:-1])).sum(axis=0)
        q -= first  # far from zero the squares would cancel
        total += q.sum(axis=0)
        squares += np.square(q).sum(axis=0)
    count = rollouts.n_samples + len(rollouts)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0)
    change = steps / rollouts.n_samples  # E dq^2 = 2 (1 - rho) variance
    rho = np.clip(1.0 - change / np.maximum(2.0 * variance, 1e-300), 0.0, 1.0)
    independent = np.maximum(rollouts.n_samples * (1.0 - rho) / (1.0 + rho), len(rollouts))
    return first + mean, variance, independent


def _series(rollouts: Rollouts) -> Rollouts:
    X, U, room = [], [], _SERIES
    for x, u in rollouts:
        if room > 0:
            X.append(x[: room + 1].copy())
            U.append(u[:room].copy())
            room -= len(U[-1])
    return Rollouts(X, U, rollouts.dt, rollouts.x_names, rollouts.u_names, rollouts.sensors)

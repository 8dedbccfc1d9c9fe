"""Multi-step least squares of a linear recursion, from second moments of stretches of motion."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from koopctl.arrays import Array
from koopctl.regression.levenberg import descend
from koopctl.regression.multi_step import MultiStep
from koopctl.regression.stabilised import stabilised
from koopctl.regression.tails import Tails

_STARTS = 4  # stretches begun within one horizon
_EARNED = 0.8  # share of the error on long stretches below which a recursion that grows is taken
_CHANCE = 1.05  # errors on long stretches that differ by less are the same
_BLOCK = 1024  # stretches gathered before they enter the moments


class Stretches:
    """Moments of eta = [r_k, v_k, ..., v_(k+h-1), 1] with each other and with r_(k+1), ..., r_(k+h).

    Every h-step prediction of a linear recursion is linear in eta, so these moments hold its error over all stretches
    exactly; they do not grow with the data, and the recursion is refined without looking at the data again.

    Attributes:
        n: Stretches seen.
        G: Products of eta, (ne, ne).
        T: Products of r_(k+j) with eta, (h, nr, ne).
        rr: Sums of squares of r_(k+j), (h, nr).
    """

    def __init__(self, nr: int, nu: int, horizon: int, measured: int) -> None:
        """Start empty.

        Args:
            nr: Length of r.
            nu: Number of inputs.
            horizon: Steps of a stretch.
            measured: How many of the first entries of r are measured; the others are features.
        """
        self.nr, self.nu, self.horizon = nr, nu, horizon
        ne = nr + nu * horizon + 1
        self.n = 0
        self.G, self.T, self.rr = np.zeros((ne, ne)), np.zeros((horizon, nr, ne)), np.zeros((horizon, nr))
        self._tails = Tails(horizon, measured)
        self._waiting: list[tuple[Array, Array]] = []
        self._count = 0

    def add(self, r: Array, v: Array) -> Self:
        """Add the stretches of an episode r (T + 1, nr), v (T, nu); one shorter than the horizon has none."""
        if len(v) < self.horizon:
            return self
        self._tails.add(r, v)
        self._waiting.append((r, v))
        self._count += len(self._starts(len(v)))
        return self.fold() if self._count >= _BLOCK else self

    def fold(self) -> Self:
        """Take what was gathered into the moments."""
        eta, places, offset = [], [], 0
        for r, v in self._waiting:
            k = self._starts(len(v))
            inputs = sliding_window_view(v, self.horizon, axis=0)[k].transpose(0, 2, 1).reshape(len(k), -1)
            eta.append(np.concatenate([r[k], inputs, np.ones((len(k), 1))], axis=1))
            places.append(k + offset)
            offset += len(r)
        if eta:
            self._fold(np.concatenate([r for r, _ in self._waiting]), np.concatenate(places), np.concatenate(eta))
            self._waiting, self._count = [], 0
        return self

    def _fold(self, r: Array, places: np.ndarray, eta: Array) -> None:
        for first in range(0, len(places), _BLOCK):
            k, e = places[first : first + _BLOCK], eta[first : first + _BLOCK]
            self.n += len(k)
            self.G += e.T @ e
            for j in range(self.horizon):
                after = r[k + j + 1]
                self.T[j] += after.T @ e
                self.rr[j] += np.square(after).sum(axis=0)

    def merge(self, other: Stretches) -> Self:
        """Add the stretches that another one of the same recursion has seen."""
        self.fold()
        other.fold()
        self.n += other.n
        self.G += other.G
        self.T += other.T
        self.rr += other.rr
        self._tails = self._tails.joined([other._tails])
        return self

    def _starts(self, length: int) -> np.ndarray:
        return np.arange(0, length - self.horizon + 1, max(1, self.horizon // _STARTS))

    def fit(self, theta: Array, S: Array, E: Array, ridge: float) -> Array:
        """Return coefficients with smaller errors over 1 to h steps, starting from `theta`.

        Every entry of r counts by its spread. The descent is judged on long stretches as well, by the error in what is
        measured over ten horizons and more: its last step is returned unless an earlier one errs less there, and that
        by more than chance. A step that grows where the start does not must err a good deal less, else its projection
        into the circle stands in for it: a short horizon does not see a slowly growing mode, and buys a per cent with
        it.

        Args:
            theta: One-step solution, (m, p), on [v (nu), r (nr), 1].
            S: Fixed part of the recursion r+ = (S + E theta) [v, r, 1], (nr, p).
            E: Where theta enters, (nr, m).
            ridge: Penalty on theta, as in the one-step problem.
        """
        problem = self.problem(S, E, ridge)
        found = descend(problem, theta)
        allowed = max(1.0, _radius(problem, theta))
        growing = [trial for trial in found if _radius(problem, trial) > allowed]
        tame = [trial for trial in found if not any(trial is other for other in growing)]
        if growing and growing[-1] is found[-1]:
            projected = stabilised(found[-1], S, E, problem.one_step, self.nu, allowed)
            if problem.loss(projected) <= problem.loss(theta):
                tame.append(projected)
        errors = [self._tails.error(*problem.matrices(trial)) for trial in tame]
        risky = [self._tails.error(*problem.matrices(trial)) for trial in growing]
        if growing and min(risky) < _EARNED * min(errors):
            return growing[int(np.argmin(risky))]
        good = [trial for trial, error in zip(tame, errors, strict=True) if error <= _CHANCE * min(errors)]
        return good[-1] if good else theta

    def problem(self, S: Array, E: Array, ridge: float) -> MultiStep:
        """Return the least-squares problem over 1 to h steps that the moments pose."""
        self.fold()
        values, vectors = np.linalg.eigh(self.G / self.n)
        keep = values > 1e-13 * values[-1]  # in these coordinates nothing cancels
        unit = np.sqrt(values[keep])
        targets = self.T / self.n @ (vectors[:, keep] / unit)
        squares = self.rr / self.n
        variance = squares.mean(axis=0) - (self.T[:, :, -1] / self.n).mean(axis=0) ** 2
        weight = 1.0 / (np.maximum(variance, 1e-12) * self.horizon * self.nr)
        unexplained = float(np.sum(weight * (squares - np.square(targets).sum(axis=-1))))
        penalty = np.full(S.shape[1], ridge)
        penalty[-1] = 0.0
        return MultiStep(S, E, vectors[:, keep] * unit, targets, unexplained, weight, penalty)


def _radius(problem: MultiStep, theta: Array) -> float:
    return float(np.abs(np.linalg.eigvals(problem.matrices(theta)[0])).max())

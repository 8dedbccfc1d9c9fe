"""What a steady pair near a target makes small, and its slopes."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.prediction import Prediction
from koopctl.models.base import Model
from koopctl.task import ResolvedTask

_STILLNESS = 1e6  # weight of standing still against closeness to the target, both in ranges of the data
_UNWEIGHED = 1e-3  # closeness of coordinates that the task does not weigh
_INPUT = 1e-4  # weight of the input's distance from its reference: only decides where the state does not
_EXACT = 1e-6  # what is left of the weight of the input, and of the inverse of that of stillness, where asked for
_HELD = 1e-6  # a sum of squares below this, inputs aside: the target is held, and nothing can be nearer


class SteadyProblem:
    """The weighted squares of one target (q* on the turn of its bounds, u*), for v = [q, u], (n,)."""

    def __init__(self, prediction: Prediction, task: ResolvedTask) -> None:
        """Set it up for a model and the last target and bounds of a task."""
        self.prediction, self.range_q = prediction, half_ranges(prediction.model)
        range_u = np.maximum((prediction.high - prediction.low) / 2, 1e-9)
        self.held = np.zeros(prediction.nu) if task.u_target is None else task.u_target
        self.low = np.concatenate([last(task.y_min, 1), last(task.u_min, 1)])
        self.high = np.concatenate([last(task.y_max, 1), last(task.u_max, 1)])
        self.target = on_turn(task.target, self.low, self.high, prediction.window.chart.angles)
        close = np.where(last(task.Q, 2).diagonal() > 0, 1.0, _UNWEIGHED) if task.Q.any() else np.ones(prediction.nq)
        by_input = np.sqrt(_INPUT) * (1.0 if task.u_target is None else 1e4)  # the user may say which input holds it
        self.range = np.concatenate([self.range_q, range_u])
        self._weights = np.concatenate([close / self.range_q, by_input / range_u, np.sqrt(_STILLNESS) / self.range_q])
        # Where the state is affine in v: what disturbances make of it, and its slopes.
        self._foretold = standing(prediction, 0 * self.target, 0 * self.held)
        self._by_v = self._slopes(np.concatenate([self.target, self.held])[None])

    def sharpen(self) -> None:
        """Weigh standing still so much that it is exact, and the input as little as can be."""
        n, nq = len(self.low), len(self.target)
        self._weights[n:] /= np.sqrt(_EXACT)
        self._weights[nq:n] *= np.sqrt(_EXACT)

    def inside(self, v: Array) -> Array:
        """Return v (..., n) inside the bounds."""
        return np.asarray(np.minimum(np.maximum(v, self.low), self.high))

    def beside(self, x: Array, u: Array) -> Array:
        """Return v (n,) of a pair, its angles on the turn nearest to the target."""
        off = self.prediction.window.difference_of_coordinates(x[: self.prediction.nq], self.target)
        return self.inside(np.concatenate([self.target + off, u]))

    def around(self, v: Array, far: Array) -> Array:
        """Return starts (1 + k, n): v (n,) beyond the target, and coordinates `far` (k,) half ranges from it."""
        rng, prediction, nq = np.random.default_rng(0), self.prediction, self.prediction.nq
        Q = self.target + far[:, None] * self.range_q * rng.normal(size=(len(far), nq))
        low, high = np.maximum(prediction.low, self.low[nq:]), np.minimum(prediction.high, self.high[nq:])
        U = low + (high - low) * rng.random((len(far), prediction.nu))
        beyond = np.append(2 * self.target - v[:nq], v[nq:])
        return self.inside(np.concatenate([beyond[None], np.concatenate([Q, U], axis=1)]))

    def residual(self, V: Array) -> Array:
        """Return how far V (k, n) are from the target and from standing still, weighted, (k, n + nq)."""
        X, U = self._states(V), V[:, self.prediction.nq :]
        return self._weighted(V, X, self.prediction.step(X, U, -1))

    def expand(self, V: Array) -> tuple[Array, Array]:
        """Return the residuals and their slopes (k, n + nq, n) at V (k, n)."""
        nq, (k, n) = self.prediction.nq, V.shape
        X, U = self._states(V), V[:, nq:]
        by_v = self._by_v if self.prediction.window.affine else self._slopes(V)
        F, A, B = self.prediction.expand(X, U, slice(-1, None))
        J = np.empty((k, n + nq, n))
        J[:, :n] = np.eye(n)
        J[:, n:] = A[:, :nq] @ by_v - J[:, :nq]
        J[:, n:, nq:] += B[:, :nq]
        return self._weighted(V, X, F), self._weights[:, None] * J

    def _states(self, V: Array) -> Array:
        """Return the states (k, nx) that stand at V (k, n)."""
        if self.prediction.window.affine:
            return np.asarray(self._foretold + V @ self._by_v[0].T)
        return standing(self.prediction, V[:, : self.prediction.nq], V[:, self.prediction.nq :])

    def _slopes(self, V: Array) -> Array:
        """Return their derivatives by V (k, n), (k, nx, n)."""
        prediction, nq = self.prediction, self.prediction.nq
        by_q, by_u = prediction.window.standing_slopes(V[:, :nq], prediction.full(V[:, nq:], -1))
        return np.concatenate([by_q, by_u[..., prediction.free]], axis=-1)

    def _weighted(self, V: Array, X: Array, F: Array) -> Array:
        nq, window = self.prediction.nq, self.prediction.window
        off = window.difference_of_coordinates(V[:, :nq], self.target)
        drift = window.difference(F, X)[:, :nq]
        return np.asarray(self._weights * np.concatenate([off, V[:, nq:] - self.held, drift], axis=1))

    def sizes(self, V: Array) -> Array:
        """Return the sums of squares (k,), inf where one is not finite."""
        f = np.square(self.residual(V)).sum(axis=1)
        return np.where(np.isfinite(f), f, np.inf)

    def holds(self, v: Array) -> bool:
        """Tell whether v (n,) holds the target itself, so that there is nothing nearer."""
        r, nq = self.residual(v[None])[0], len(self.target)
        return bool(r[:nq] @ r[:nq] + r[-nq:] @ r[-nq:] < _HELD)


def on_turn(q: Array, low: Array, high: Array, angles: np.ndarray) -> Array:
    """Return coordinates (nq,) with the angles that lie outside their bounds whole turns away, as near as can be.

    Nearest to the middle of `low` and `high` (at least nq; inf for none), so inside them where a turn leads there; to
    the bound itself where there is only one, as on a circle everything is on either side of it.
    """
    q, turn = np.array(q), 2 * np.pi
    for i in angles:
        if not low[i] <= q[i] <= high[i]:
            finite = [bound for bound in (low[i], high[i]) if np.isfinite(bound)]
            q[i] -= turn * np.round((q[i] - np.mean(finite)) / turn)
    return q


def last(rows: Array, ndim: int) -> Array:
    """Return the last of the values by stage, or the one value for all stages."""
    return np.array(rows if rows.ndim == ndim else rows[-1])


def standing(prediction: Prediction, q: Array, u: Array) -> Array:
    """Return the state(s) that stand at coordinates q under inputs u, with the last disturbances."""
    return prediction.window.standing(q, prediction.full(u, -1))


def half_ranges(model: Model) -> Array:
    """Return half the range of each coordinate in the training data, (nq,); 1 rad for angles."""
    window, box = model.window_, model.envelope_
    half = np.ones(window.nq)
    position, column = window.linear
    first = position < window.nq
    half[position[first]] = np.maximum((box.high - box.low)[column[first]] / 2, 1e-9)
    return half

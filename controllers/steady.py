"""The steady pair nearest to a target: a learnt model rarely stands still exactly where it is told to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array, as_array
from koopctl.controllers.prediction import Prediction
from koopctl.errors import DesignError
from koopctl.models.base import Model
from koopctl.task import ResolvedTask, Task

_STILLNESS = 1e6  # weight of standing still against closeness to the target, both in ranges of the data
_UNWEIGHED = 1e-3  # closeness of coordinates that the task does not weigh
_INPUT = 1e-4  # weight of the input's distance from its reference: only decides where the state does not
_EXACT = 1e-6  # what is left of the weight of the input, and of the inverse of that of stillness, where asked for
_STAGES = (1e-3, 1e-2, 1e-1, 1.0)  # shares of the root of that weight, for the start from the target
_AROUND = np.repeat([0.01, 0.03, 0.1, 0.3, 1.0], 3)  # how far from the target other starts lie, in half ranges
_SOON, _ROUGH, _MANY, _ROUNDS = 4, 4, 8, 15  # of a descent from near by, of a stage, from around, and at the end
_BEST = 4  # starts from around that are followed to their end
_CAREFUL, _BOLD = 1e-1, 1e-6  # damping of the first step, against weights of about one: on the way, and at its end
_ENOUGH = 1e-6  # a round that takes a smaller share away is the last one
_TINY = 1e-8  # a step of fewer half ranges is not worth another try
_HELD = 1e-6  # a sum of squares below this, inputs aside: the target is held, and nothing can be nearer
_WORTH_SAYING = 1e-2  # moved or drifting by more than this share of the data's range


@dataclass(frozen=True)
class Steady:
    """A pair (x, u) that the model maps to itself, as far as it can.

    Attributes:
        x: State, (nx,).
        u: Input, (nu,).
        drift: What the coordinates still change by in a step, (nq,).
        moved: Distance from the target, in half ranges of the training data.
        note: A sentence when the target is no equilibrium; empty otherwise.
    """

    x: Array
    u: Array
    drift: Array
    moved: float
    note: str


def resolve(model: Model, task: Task) -> ResolvedTask:
    """Return a task in the numbers of a model; its target may be a full observation where that is redundant.

    Raises:
        DataError: A number of the task is not finite, bounds cross, or a weight is not positive.
        UnknownNameError: The task speaks of names the model does not have.
    """
    chart = model.window_.chart
    if not hasattr(task.target, "keys") and np.shape(task.target) == (len(chart.y_names),) != (chart.nq,):
        y = as_array("target", task.target, (len(chart.y_names),))
        task = task.replace(target=chart.to_coordinates(y))
    return task.resolve(chart.names, model.u_names_)


@np.errstate(all="ignore")  # starts that the model overflows from are left aside
def nearest_steady(
    prediction: Prediction,
    task: ResolvedTask,
    near: tuple[Array, Array] | None = None,
    exact: bool = False,
) -> Steady:
    """Find the steady pair nearest to the task's target, inputs and bounded coordinates inside their bounds.

    Levenberg-Marquardt on |q - q*|^2 + w1 |u - u*|^2 + w2 |f(q, u) - q|^2 in units of the data's range. A weighted
    residual, not an equality: where a coordinate hardly influences the motion, cancelling the last 1e-6 of drift
    exactly would move the target by its whole range. Coordinates that the task does not weigh hardly count, so that an
    offset goes into them. Steady pairs lie along a valley so narrow that a descent along it follows each of its bends,
    and often on more than one side of a target that is none; so the descent from the target begins where w2 is small
    and the valley wide, and others, from around the target, go down beside it in the same batch.

    Angles of the pair are on the turn of their bounds: whole turns away from the target where that brings it inside.

    Args:
        prediction: The model with its last disturbances and its offset.
        task: Target and bounds; where they change over the horizon, their last values count.
        near: Pair (x, u) to start from, for a target that has moved a little: where it leads to the target itself, no
            other start is tried.
        exact: Stand still to the last digits: for a model whose offset is estimated, so that its drift is the plant's.

    Raises:
        DesignError: The model is not finite at the target.
    """
    problem = _Problem(prediction, task)
    start = problem.inside(np.concatenate([problem.target, problem.held]))[None]
    if not np.isfinite(problem.sizes(start)[0]):
        raise DesignError(
            "the model is not finite at the target, which lies too far from its data; "
            "choose a target inside the recorded motion, or record motion around the target."
        )
    V = _search(problem, start, None if near is None else problem.beside(*near)[None])
    if exact:
        problem.sharpen()
        for share in (_STAGES[0], _STAGES[-1]):  # first to where the input no longer draws, then to the bottom
            V = _descend(problem, V, share, damping=_BOLD)
    return _describe(prediction, task, problem.beside(V[0, : prediction.nq], V[0, prediction.nq :]), problem.range_q)


def _search(problem: _Problem, start: Array, near: Array | None) -> Array:
    """Return the best v (1, n) to be had from the target (1, n), from near by, and where need be from around."""
    V = start[:0] if near is None else _descend(problem, near, rounds=_SOON)
    if near is None or not problem.holds(V[0]):
        for share in _STAGES:
            start = _descend(problem, start, share, _ROUGH)
        V = np.concatenate([start, V])
    best = _descend(problem, V[[np.argmin(problem.sizes(V))]], damping=_BOLD)
    if problem.holds(best[0]):
        return best
    V = _descend(problem, np.concatenate([best, V, problem.around(best[0], _AROUND)]), rounds=_MANY)
    V = _descend(problem, V[np.argsort(problem.sizes(V))[:_BEST]], damping=_BOLD)
    return V[[np.argmin(problem.sizes(V))]]


class _Problem:
    """The weighted squares of one target (q* on the turn of its bounds, u*), for v = [q, u], (n,)."""

    def __init__(self, prediction: Prediction, task: ResolvedTask) -> None:
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
        self._foretold = _standing(prediction, 0 * self.target, 0 * self.held)
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
        return _standing(self.prediction, V[:, : self.prediction.nq], V[:, self.prediction.nq :])

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


def _descend(
    problem: _Problem, V: Array, share: float = 1.0, rounds: int = _ROUNDS, damping: float = _CAREFUL
) -> Array:
    """Return where descents from V (k, n) end: Levenberg-Marquardt, projected on the bounds, damped after Nielsen.

    Args:
        problem: What to make small.
        V: Starts inside the bounds.
        share: Of the root of the weight of standing still.
        rounds: Steps tried, at most.
        damping: Of the first step.
    """
    weights = np.append(np.ones(V.shape[1]), np.full(problem.prediction.nq, share))
    damp, growth = np.full(len(V), damping), np.full(len(V), 2.0)
    r, J = problem.expand(V)
    r, J = weights * r, weights[:, None] * J
    for _ in range(rounds):
        f, step = np.square(r).sum(axis=1), _step(problem, V, r, J, damp)
        trial = problem.inside(V + step)
        r_trial, J_trial = problem.expand(trial)
        r_trial *= weights
        gained = f - np.square(r_trial).sum(axis=1)
        hoped, promised = (f - np.square(r + (J @ s[:, :, None])[:, :, 0]).sum(axis=1) for s in (trial - V, step))
        better = gained > 1e-9 * f
        no_more = ~(promised > 1e-9 * f) | (np.abs(step) < _TINY * problem.range).all(axis=1)
        if np.where(better, (gained < _ENOUGH * f) & (4 * gained > hoped), no_more).all():
            return np.where(better[:, None], trial, V)
        ratio = gained / np.where(better & (hoped > 0), hoped, np.inf)
        eased = np.maximum(damp * np.clip(1 - (2 * ratio - 1) ** 3, 1e-2, 2.0), 1e-16)
        damp, growth = np.where(better, eased, damp * growth), np.where(better, 2.0, 2 * growth)
        V, r = (np.where(better[:, None], new, old) for new, old in ((trial, V), (r_trial, r)))
        J = np.where(better[:, None, None], weights[:, None] * J_trial, J)
    return V


def _step(problem: _Problem, V: Array, r: Array, J: Array, damping: Array) -> Array:
    """Return the damped steps (k, n); none of them pushes an entry against a bound where it is already."""
    slope = (r[:, None] @ J)[:, 0]
    pinned = (V <= problem.low) & (slope > 0) | (V >= problem.high) & (slope < 0) | (problem.low >= problem.high)
    damped = np.sqrt(damping)[:, None, None] * np.diag(1 / problem.range)
    Q, R = np.linalg.qr(np.concatenate([np.where(pinned[:, None], 0.0, J), damped], axis=1))
    return np.asarray(-np.linalg.solve(R, (r[:, None] @ Q[:, : r.shape[1]]).swapaxes(1, 2))[:, :, 0])


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


def _standing(prediction: Prediction, q: Array, u: Array) -> Array:
    return prediction.window.standing(q, prediction.full(u, -1))


def half_ranges(model: Model) -> Array:
    """Return half the range of each coordinate in the training data, (nq,); 1 rad for angles."""
    window, box = model.window_, model.envelope_
    half = np.ones(window.nq)
    position, column = window.linear
    first = position < window.nq
    half[position[first]] = np.maximum((box.high - box.low)[column[first]] / 2, 1e-9)
    return half


def _describe(prediction: Prediction, task: ResolvedTask, v: Array, range_q: Array) -> Steady:
    nq, model = prediction.nq, prediction.model
    x, u = _standing(prediction, v[:nq], v[nq:]), v[nq:]
    drift = model.difference(prediction.step(x, u, -1), x)[:nq]
    off = np.abs(model.difference(x, _standing(prediction, task.target, u))[:nq] / range_q)
    weighed = last(task.Q, 2).diagonal() > 0
    moved = float(off[weighed].max() if weighed.any() else off.max())
    slipping = float(np.abs(drift / range_q).max())
    note = ""
    if moved > _WORTH_SAYING or slipping > _WORTH_SAYING:
        pairs = ", ".join(f"{name}={value:.4g}" for name, value in zip(model.state_names, x, strict=False))
        inputs = ", ".join(f"{name}={value:.4g}" for name, value in zip(prediction.names, u, strict=True))
        note = f"the target is no equilibrium of the learnt model; the nearest steady pair is {pairs} with {inputs}"
        note += (
            f", which still drifts by {slipping:.1%} of the data's range a step." if slipping > _WORTH_SAYING else "."
        )
    return Steady(x, u, drift, moved, note)

"""The steady pair nearest to a target: a learnt model rarely stands still exactly where it is told to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from koopctl.arrays import Array, as_array
from koopctl.controllers.prediction import Prediction
from koopctl.errors import DesignError
from koopctl.models.base import Model
from koopctl.task import ResolvedTask, Task

_STILLNESS = 1e6  # weight of standing still against closeness to the target, both in ranges of the data
_UNWEIGHED = 1e-3  # closeness of coordinates that the task does not weigh
_INPUT = 1e-4  # weight of the input's distance from its reference: only decides where the state does not
_EXACT = 1e-6  # what is left of the weight of the input, and of the inverse of that of stillness, where asked for
_STAGES = (1e-3, 1e-2, 1e-1)  # shares of the root of that weight, one after the other, on the way to all of it
_ROUNDS = 60  # of one descent, at most; about five are usual
_SOON = 6  # of a descent that another one stands by for
_ROUGH, _ENOUGH = 1e-2, 1e-6  # a round that improves by a smaller share is the last of its stage, and of the last one
_HELD = 1e-6  # a sum of squares below this, inputs aside: the target is held, and nothing can be nearer
_DAMPING = 1e-6  # of the first step, against weights of about one
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


def nearest_steady(
    prediction: Prediction, task: ResolvedTask, near: tuple[Array, Array] | None = None, exact: bool = False
) -> Steady:
    """Find the steady pair nearest to the task's target, inputs and bounded coordinates inside their bounds.

    Levenberg-Marquardt on |q - q*|^2 + w1 |u - u*|^2 + w2 |f(q, u) - q|^2 in units of the data's range. A weighted
    residual, not an equality: where a coordinate hardly influences the motion, cancelling the last 1e-6 of drift
    exactly would move the target by its whole range. Coordinates that the task does not weigh hardly count, so that an
    offset goes into them. The steady pairs lie along a valley so narrow that a descent from one of them to another
    follows each of its bends; so w2 grows in stages, from where the valley is wide and the target is its middle.

    Angles of the pair are on the turn of their bounds: whole turns away from the target where that brings it inside.

    Args:
        prediction: The model with its last disturbances and its offset.
        task: Target and bounds; where they change over the horizon, their last values count.
        near: Pair (x, u) to start from, for a target that has moved a little; the answer does not depend on it.
        exact: Stand still to the last digits: for a model whose offset is estimated, so that its drift is the plant's.

    Raises:
        DesignError: The model is not finite at the target.
    """
    problem = _Problem(prediction, task, exact)
    start = problem.inside(np.concatenate([problem.target, problem.held]))
    if not np.isfinite(problem.size(start)):
        raise DesignError(
            "the model is not finite at the target, which lies too far from its data; "
            "choose a target inside the recorded motion, or record motion around the target."
        )
    close = None if near is None else problem.descend(problem.beside(*near), rounds=_SOON)
    if close is None or not problem.holds(close):
        v = start
        for share in _STAGES:
            v = problem.descend(v, share, _ROUGH)
        v = problem.descend(v)
        close = v if close is None or problem.size(v) < problem.size(close) else close
    return _describe(prediction, task, problem.beside(close[: prediction.nq], close[prediction.nq :]), problem.range_q)


class _Problem:
    """The weighted squares of one target, for v = [q, u].

    Attributes:
        target: q* on the turn of the bounds, (nq,).
        held: u*, (nu,).
        range_q: Half ranges of the coordinates, (nq,).
    """

    def __init__(self, prediction: Prediction, task: ResolvedTask, exact: bool) -> None:
        nq, nu, angles = prediction.nq, prediction.nu, prediction.window.chart.angles
        self.prediction, self.range_q = prediction, half_ranges(prediction.model)
        range_u = np.maximum((prediction.high - prediction.low) / 2, 1e-9)
        self.held = np.zeros(nu) if task.u_target is None else task.u_target
        self._low = np.concatenate([last(task.y_min, 1), last(task.u_min, 1)])
        self._high = np.concatenate([last(task.y_max, 1), last(task.u_max, 1)])
        self.target = on_turn(task.target, self._low, self._high, angles)
        close = np.where(last(task.Q, 2).diagonal() > 0, 1.0, _UNWEIGHED) if task.Q.any() else np.ones(nq)
        by_input, still = np.sqrt(_INPUT), np.sqrt(_STILLNESS)
        if exact:
            by_input, still = by_input * np.sqrt(_EXACT), still / np.sqrt(_EXACT)
        if task.u_target is not None:
            by_input *= 1e4  # the user said which input holds the target
        self._range = np.concatenate([self.range_q, range_u])
        self._weights = np.concatenate([close / self.range_q, by_input / range_u, still / self.range_q])
        by_q, by_u = prediction.window.standing_slopes(self.target, prediction.full(self.held, -1))
        self._by_v = np.concatenate([by_q, by_u[:, prediction.free]], axis=1)
        self._foretold = _standing(prediction, np.zeros(nq), np.zeros(nu))  # what disturbances make of the state

    def inside(self, v: Array) -> Array:
        """Return v inside the bounds."""
        return np.asarray(np.minimum(np.maximum(v, self._low), self._high))

    def beside(self, x: Array, u: Array) -> Array:
        """Return v of a pair, its angles on the turn nearest to the target."""
        off = self.prediction.window.difference_of_coordinates(x[: self.prediction.nq], self.target)
        return self.inside(np.concatenate([self.target + off, u]))

    def residual(self, v: Array) -> Array:
        """Return how far v is from the target and from standing still, weighted, (2 nq + nu,)."""
        prediction, nq = self.prediction, self.prediction.nq
        x, u = self._foretold + self._by_v @ v, v[nq:]
        off = prediction.window.difference_of_coordinates(v[:nq], self.target)
        drift = prediction.window.difference(prediction.step(x, u, -1), x)[:nq]
        return np.asarray(self._weights * np.concatenate([off, u - self.held, drift]))

    def size(self, v: Array) -> float:
        """Return the sum of squares."""
        r = self.residual(v)
        return float(r @ r)

    def holds(self, v: Array) -> bool:
        """Tell whether v holds the target itself, so that there is nothing nearer."""
        r, nq = self.residual(v), self.prediction.nq
        return bool(r[:nq] @ r[:nq] + r[-nq:] @ r[-nq:] < _HELD)

    def _slopes(self, v: Array) -> Array:
        prediction, nq = self.prediction, self.prediction.nq
        A, B = prediction.linearize(self._foretold + self._by_v @ v, v[nq:])
        J = np.eye(len(self._weights), len(v))
        J[len(v) :] = A[:nq] @ self._by_v - J[:nq]
        J[len(v) :, nq:] += B[:nq]
        return np.asarray(self._weights[:, None] * J)

    def descend(self, v: Array, share: float = 1.0, enough: float = _ENOUGH, rounds: int = _ROUNDS) -> Array:
        """Return where a descent from v ends (Levenberg-Marquardt, damping after Nielsen 1999).

        Args:
            v: Inside the bounds.
            share: Of the root of the weight of standing still.
            enough: Share of the sum of squares; a round that takes less away is the last one.
            rounds: Steps tried, at most.
        """
        weight = np.append(np.ones(len(v)), np.full(self.prediction.nq, share))
        r, J, damping, growth = weight * self.residual(v), None, _DAMPING, 2.0
        for _ in range(rounds):
            if J is None:
                J = weight[:, None] * self._slopes(v)
            damped = np.concatenate([J, np.diag(np.sqrt(damping) / self._range)])
            step = _bounded_step(damped, np.append(r, np.zeros(len(v))), self._low - v, self._high - v)
            trial = self.inside(v + step)
            r_trial, foretold, before = weight * self.residual(trial), r + J @ step, r @ r
            gained, hoped = before - r_trial @ r_trial, before - foretold @ foretold
            if gained > 1e-9 * before:
                v, r, J = trial, r_trial, None
                damping, growth = damping * max(1e-2, float(1 - (2 * gained / hoped - 1) ** 3)), 2.0
                if gained < enough * before and 4 * gained > hoped:
                    break
            elif hoped > 1e-9 * before:
                damping, growth = damping * growth, 2 * growth
            else:
                break
        return v


def on_turn(q: Array, low: Array, high: Array, angles: np.ndarray) -> Array:
    """Return coordinates (nq,) with angles whole turns away: inside their bounds, or as near to their middle as can be.

    Args:
        q: Coordinates, (nq,).
        low: Lower bounds of the coordinates, -inf for none.
        high: Upper bounds.
        angles: Which coordinates are angles.
    """
    q = np.array(q)
    for i in angles:
        a, b, turn = float(low[i]), float(high[i]), 2 * np.pi
        if a <= q[i] <= b:
            continue
        if np.isfinite(a) and np.isfinite(b):
            q[i] -= turn * np.round((q[i] - (a + b) / 2) / turn)
        else:
            q[i] -= turn * (np.ceil((q[i] - b) / turn) if q[i] > b else np.floor((q[i] - a) / turn))
    return q


def last(rows: Array, ndim: int) -> Array:
    """Return the last of the values by stage, or the one value for all stages."""
    return np.array(rows if rows.ndim == ndim else rows[-1])


def _bounded_step(J: Array, r: Array, low: Array, high: Array) -> Array:
    """Return the minimiser of |J s + r| with low <= s <= high, where low <= 0 <= high and J has full column rank."""
    step, free = np.zeros(len(low)), low < high
    while free.any():
        step[free] = np.linalg.lstsq(J[:, free], -r - J[:, ~free] @ step[~free], rcond=None)[0]
        beyond = (step < low) | (step > high)
        if not beyond.any():
            break
        step, free = np.minimum(np.maximum(step, low), high), free & ~beyond
    slope = J.T @ (J @ step + r)
    wrong = (low < high) & ~free & (np.where(step > low, slope, -slope) > 1e-9 * (np.abs(J).T @ np.abs(r)))
    if wrong.any():  # one was held at a bound that it would rather leave
        loose = low < high
        step[loose] = lsq_linear(J[:, loose], -r, (low[loose], high[loose]), method="bvls").x
    return step


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

"""The steady pair nearest to a target: a learnt model rarely stands still exactly where it is told to."""

from __future__ import annotations

from collections.abc import Callable
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
_ENOUGH = 1 - 1e-6  # a round that improves by less is the last one
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

    Gauss-Newton on |q - q*|^2 + w1 |u - u*|^2 + w2 |f(q, u) - q|^2 in units of the data's range, with step halving. A
    weighted residual, not an equality: where a coordinate hardly influences the motion, cancelling the last 1e-6 of
    drift exactly would move the target by its whole range. Coordinates that the task does not weigh hardly count, so
    that an offset goes into them.

    Args:
        prediction: The model with its last disturbances and its offset.
        task: Target and bounds; where they change over the horizon, their last values count.
        near: Pair (x, u) to start from, for a target that has moved a little.
        exact: Stand still to the last digits: for a model whose offset is estimated, so that its drift is the plant's.

    Raises:
        DesignError: The model is not finite at the target.
    """
    nq, nu = prediction.nq, prediction.nu
    range_q = half_ranges(prediction.model)
    range_u = np.maximum((prediction.high - prediction.low) / 2, 1e-9)
    u_target = np.zeros(nu) if task.u_target is None else task.u_target
    close = np.where(last(task.Q, 2).diagonal() > 0, 1.0, _UNWEIGHED) if task.Q.any() else np.ones(nq)
    weights = np.concatenate([close / range_q, np.sqrt(_INPUT) / range_u, np.sqrt(_STILLNESS) / range_q])
    if task.u_target is not None:
        weights[nq : nq + nu] *= 1e4  # the user said which input holds the target

    def residual(v: Array) -> Array:
        x, u = _standing(prediction, v[:nq], v[nq:]), v[nq:]
        drift = prediction.window.difference(prediction.step(x, u, -1), x)[:nq]
        start = prediction.window.difference(x, _standing(prediction, task.target, u))[:nq]
        return np.concatenate([start, u - u_target, drift])

    low = np.concatenate([last(task.y_min, 1), last(task.u_min, 1)])
    high = np.concatenate([last(task.y_max, 1), last(task.u_max, 1)])
    low[prediction.window.chart.angles], high[prediction.window.chart.angles] = -np.inf, np.inf
    v = np.concatenate([task.target, u_target] if near is None else [near[0][:nq], near[1]])
    v = np.clip(v, low, high)
    if not np.isfinite(np.square(weights * residual(v)).sum()):
        raise DesignError(
            "the model is not finite at the target, which lies too far from its data; "
            "choose a target inside the recorded motion, or record motion around the target."
        )
    v = _gauss_newton(prediction, residual, v, weights, low, high)
    if exact:  # from where the drift is small already: with these weights a step is only as long as it is straight
        sharper = np.concatenate([np.ones(nq), np.full(nu, np.sqrt(_EXACT)), np.full(nq, 1 / np.sqrt(_EXACT))])
        v = _gauss_newton(prediction, residual, v, weights * sharper, low, high)
    return _describe(prediction, task, v, range_q)


def _gauss_newton(
    prediction: Prediction, residual: Callable[[Array], Array], v: Array, weights: Array, low: Array, high: Array
) -> Array:
    def weighted(trial: Array) -> Array:
        return weights * residual(trial)

    r = weighted(v)
    for _ in range(50):
        before = r @ r
        step = _bounded_step(_jacobian(prediction, v, weights), r, low - v, high - v)
        v, r, improved = _line_search(weighted, v, r, step, low, high)
        if not improved or r @ r > _ENOUGH * before:
            break
    return v


def last(rows: Array, ndim: int) -> Array:
    """Return the last of the values by stage, or the one value for all stages."""
    return np.array(rows if rows.ndim == ndim else rows[-1])


def _bounded_step(J: Array, r: Array, low: Array, high: Array) -> Array:
    """Return the minimiser of |J s + r| with low <= s <= high."""
    step = np.linalg.lstsq(J, -r, rcond=None)[0]
    if ((step < low) | (step > high)).any():  # clipping alone would leave the other entries where they do not belong
        step = lsq_linear(J, -r, (low, high), method="bvls").x
    return np.asarray(step)


def _line_search(
    residual: Callable[[Array], Array], v: Array, r: Array, step: Array, low: Array, high: Array
) -> tuple[Array, Array, bool]:
    for length in 0.5 ** np.arange(8):
        trial = np.clip(v + length * step, low, high)
        r_trial = residual(trial)
        if r_trial @ r_trial < (r @ r) * (1 - 1e-9):
            return trial, r_trial, True
    return v, r, False


def _jacobian(prediction: Prediction, v: Array, weights: Array) -> Array:
    nq, nu, q, u = prediction.nq, prediction.nu, v[: prediction.nq], v[prediction.nq :]
    A, B = prediction.linearize(_standing(prediction, q, u), u)
    by_q, by_u = prediction.window.standing_slopes(q, prediction.full(u, -1))
    drift = np.concatenate([A[:nq] @ by_q - np.eye(nq), A[:nq] @ by_u[:, prediction.free] + B[:nq]], axis=1)
    return np.asarray(weights[:, None] * np.concatenate([np.eye(nq + nu), drift]))


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

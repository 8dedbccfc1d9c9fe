"""The steady pair nearest to a target: a learnt model rarely stands still exactly where it is told to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array, as_array
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady_problem import SteadyProblem, last, standing
from koopctl.errors import DesignError
from koopctl.models.base import Model
from koopctl.task import ResolvedTask, Task

_STAGES = (1e-3, 1e-2, 1e-1, 1.0)  # shares of the root of that weight, for the start from the target
_AROUND = np.repeat([0.01, 0.03, 0.1, 0.3, 1.0], 3)  # how far from the target other starts lie, in half ranges
_SOON, _ROUGH, _MANY, _ROUNDS = 4, 4, 8, 15  # of a descent from near by, of a stage, from around, and at the end
_BEST = 4  # starts from around that are followed to their end
_CAREFUL, _BOLD = 1e-1, 1e-6  # damping of the first step, against weights of about one: on the way, and at its end
_ENOUGH = 1e-6  # a round that takes a smaller share away is the last one
_TINY = 1e-8  # a step of fewer half ranges is not worth another try
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
    problem = SteadyProblem(prediction, task)
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


def _search(problem: SteadyProblem, start: Array, near: Array | None) -> Array:
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


def _descend(
    problem: SteadyProblem, V: Array, share: float = 1.0, rounds: int = _ROUNDS, damping: float = _CAREFUL
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


def _step(problem: SteadyProblem, V: Array, r: Array, J: Array, damping: Array) -> Array:
    """Return the damped steps (k, n); none of them pushes an entry against a bound where it is already."""
    slope = (r[:, None] @ J)[:, 0]
    pinned = (V <= problem.low) & (slope > 0) | (V >= problem.high) & (slope < 0) | (problem.low >= problem.high)
    damped = np.sqrt(damping)[:, None, None] * np.diag(1 / problem.range)
    Q, R = np.linalg.qr(np.concatenate([np.where(pinned[:, None], 0.0, J), damped], axis=1))
    return np.asarray(-np.linalg.solve(R, (r[:, None] @ Q[:, : r.shape[1]]).swapaxes(1, 2))[:, :, 0])


def _describe(prediction: Prediction, task: ResolvedTask, v: Array, range_q: Array) -> Steady:
    nq, model = prediction.nq, prediction.model
    x, u = standing(prediction, v[:nq], v[nq:]), v[nq:]
    drift = model.difference(prediction.step(x, u, -1), x)[:nq]
    off = np.abs(model.difference(x, standing(prediction, task.target, u))[:nq] / range_q)
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

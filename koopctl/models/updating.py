"""More motion taken into a fitted model: rollouts, or one transition of the running loop."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, NotFittedError
from koopctl.regression.gram import Gram
from koopctl.regression.recursive import Recursive
from koopctl.regression.solution import check_forgetting, unusable

if TYPE_CHECKING:
    from koopctl.models.learner import Learner

NO_SUMS = (
    "this model came without what it learnt from (a law's file, a file of a model with horizon > 1, fitted with "
    "another horizon, or corrected for feedback); fit a new one."
)

_L = TypeVar("_L", bound="Learner")


def extended(model: _L, rollouts: Rollouts, weight: list[Array] | None, forgetting: float) -> _L:
    """Return a copy of a fitted model that has learnt more rollouts; the model itself stays as it was.

    New sums are made from the rollouts alone and the old ones added at the end, so that data that is refused half-way
    has left no trace, and models that share their sums do not learn from each other.

    Raises:
        DataError: The rollouts cannot be used.
        NotFittedError: There is nothing to go on from.
    """
    _check_sums(model)
    known = cast(Gram, model._recursive_.to_gram() if hasattr(model, "_recursive_") else model._learnt_)
    more = copy.copy(model)
    more._learnt_ = known.emptied()  # all kinds have the same verbs
    for name in ("_recursive_", "_stretches_"):
        more.__dict__.pop(name, None)
    more._take(rollouts, weight)
    more._note(rollouts)
    seen = sum(max(len(U) - model.window_.delays, 0) for U in rollouts.U)
    more._learnt_.merge(known, forgetting**seen)
    if model.horizon > 1:
        more._stretches_.merge(model._stretches_)
    return more.solve()


def updated(model: Learner, x: ArrayLike, u: ArrayLike, x_next: ArrayLike, forgetting: float) -> Array:
    """Return the coefficients (m, p) after one more transition, and widen the model's boxes to hold it.

    Raises:
        DataError: A vector has another length or holds NaN, or the model was fitted over a horizon.
        NotFittedError: There is nothing to go on from.
    """
    window = model._fitted
    check_forgetting(forgetting)
    _check_sums(model)
    if model.horizon > 1:
        raise DataError("update() is one-step least squares; fit a model with horizon=1, or call partial_fit.")
    X, U, nxt = (np.atleast_2d(np.asarray(v, dtype=float)) for v in (x, u, x_next))
    if X.shape != (1, window.nx) or nxt.shape != X.shape or U.shape != (1, window.nu):
        raise DataError(
            f"update takes one x ({window.nx},), u ({window.nu},) and x_next ({window.nx},), not shapes "
            f"{np.shape(x)}, {np.shape(u)} and {np.shape(x_next)}; make states with encode()."
        )
    if not (np.isfinite(X).all() and np.isfinite(U).all() and np.isfinite(nxt).all()):
        raise DataError("update was given NaN or inf; leave such transitions out.")
    if not hasattr(model, "_recursive_"):
        model._recursive_ = Recursive.start(model._learnt_, model.ridge)
    dQ = window.difference(nxt, X)[:, : window.nq]
    Phi, Y = model._regression(X, U, dQ)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.vdot(Phi, Phi) + np.vdot(Y, Y)
    if not np.isfinite(squares):
        raise DataError(unusable(Phi, Y))
    model._widen(X, U, dQ)
    return model._recursive_.add(Phi[0], Y[0], forgetting)


def _check_sums(model: Learner) -> None:
    """Raise a NotFittedError where a model cannot go on: without stretches of its horizon it would forget old data."""
    steps = model._stretches_.horizon if hasattr(model, "_stretches_") else 1
    if not hasattr(model, "_learnt_") or model.horizon not in (1, steps):
        raise NotFittedError(NO_SUMS)

"""One transition of the running loop, taken into a fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array
from koopctl.errors import DataError, NotFittedError
from koopctl.regression.recursive import Recursive
from koopctl.regression.solution import check_forgetting, unusable

if TYPE_CHECKING:
    from koopctl.models.learner import Learner

NO_SUMS = "this model came without what it learnt from (a law's file, or corrected for feedback); fit a new one."


def updated(model: Learner, x: ArrayLike, u: ArrayLike, x_next: ArrayLike, forgetting: float) -> Array:
    """Return the coefficients (m, p) after one more transition, and widen the model's boxes to hold it.

    Raises:
        DataError: A vector has another length or holds NaN, or the model was fitted over a horizon.
        NotFittedError: There is nothing to go on from.
    """
    window = model._fitted
    check_forgetting(forgetting)
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
        if not hasattr(model, "_learnt_"):
            raise NotFittedError(NO_SUMS)
        model._recursive_ = Recursive.start(model._learnt_, model.ridge)
    dQ = window.difference(nxt, X)[:, : window.nq]
    Phi, Y = model._regression(X, U, dQ)
    if not (np.isfinite(Phi).all() and np.isfinite(Y).all()):
        raise DataError(unusable(Phi, Y))
    model._widen(X, U, dQ)
    return model._recursive_.add(Phi[0], Y[0], forgetting)

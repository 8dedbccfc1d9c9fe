"""What a regression found, and how well the problem was posed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array, is_finite
from koopctl.errors import DataError, ShapeError

ILL_CONDITIONED = 2.0**25  # of the regressors; the normal equations have its square, a rank lost to rounding 2^26

INSTRUMENTAL = "instrumental variables"


@dataclass(frozen=True)
class Solution:
    """The answer of one penalised least squares.

    Attributes:
        theta: Coefficients, (m, p).
        path: How it was found: "cholesky" or "eigen" of the normal equations, "whitened" where a second pass made them
            again in better coordinates, "qr" or "svd" of the data itself, or by instrumental variables.
        condition: Condition number of the penalised regressors (2-norm for eigen and svd, otherwise estimated in the
            1-norm); the normal equations have its square, so they cannot tell more than about 1e8.
        effective: Effective number of regressors, tr(G (G + n ridge)^-1): what the penalty leaves of p.
    """

    theta: Array
    path: str
    condition: float
    effective: float

    @property
    def is_lossy(self) -> bool:
        """Whether it comes from normal equations whose condition exceeds the range of a double, 1 / eps."""
        return self.path == "eigen" or (self.path == "cholesky" and self.condition > ILL_CONDITIONED)


def check_ridge(ridge: object) -> None:
    """Raise a DataError unless `ridge` can be a penalty."""
    if not is_finite(ridge) or ridge < 0.0:
        raise DataError(f"ridge is {ridge!r}; it must be a finite number >= 0, usually 1e-12 to 1e-2.")


def check_forgetting(forgetting: object, horizon: int = 1) -> None:
    """Raise a DataError unless `forgetting` can be a factor of forgetting, for a model of this horizon."""
    if not is_finite(forgetting) or not 0.0 < forgetting <= 1.0:
        raise DataError(f"forgetting is {forgetting!r}; it is a factor above 0 and at most 1, such as 0.999.")
    if horizon > 1 and forgetting < 1.0:
        raise DataError(
            f"with horizon={horizon} all stretches count the same, so nothing can be forgotten; leave forgetting=1.0, "
            "or fit with horizon=1."
        )


def check_samples(n: float) -> None:
    """Raise a DataError where a regression has seen nothing that counts."""
    if not n > 0.0:
        raise DataError(
            "there is nothing to solve for: every transition behind the delays weighs 0; raise some sample_weight."
        )


def check_mergeable(one: object, other: object, mine: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    """Raise a ShapeError unless two accumulators hold the same problem."""
    if type(one) is not type(other) or mine != theirs:
        raise ShapeError(
            f"cannot merge a {type(other).__name__} of {theirs} into a {type(one).__name__} of {mine} regressors and "
            "targets; accumulate both with the same model and solver."
        )


def unusable(Phi: Array, Y: Array) -> str:
    """Say why samples that are not finite, or whose squares are not, cannot be learnt from."""
    for what, values in (("the features", Phi), ("what is predicted", Y)):
        if not np.isfinite(values).all():
            return f"{what} hold NaN or inf on some samples; look at the lift where the data is largest or negative."
    return f"features up to {np.abs(Phi).max(initial=0.0):.1g} are too large to be squared; lower the degree, or scale."

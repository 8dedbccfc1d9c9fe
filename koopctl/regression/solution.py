"""What a regression found, and how well the problem was posed."""

from __future__ import annotations

from dataclasses import dataclass

from koopctl.arrays import Array, is_finite
from koopctl.errors import DataError


@dataclass(frozen=True)
class Solution:
    """The answer of one penalised least squares.

    Attributes:
        theta: Coefficients, (m, p).
        path: How it was found: "cholesky" or "eigen" of the normal equations, "qr" or "svd" of the data itself.
        condition: Condition number of the penalised regressors (2-norm for eigen and svd, otherwise estimated in the
            1-norm); the normal equations have its square.
        effective: Effective number of regressors, tr(G (G + n ridge)^-1): what the penalty leaves of p.
    """

    theta: Array
    path: str
    condition: float
    effective: float


def check_ridge(ridge: object) -> None:
    """Raise a DataError unless `ridge` can be a penalty."""
    if not is_finite(ridge) or ridge < 0.0:
        raise DataError(f"ridge is {ridge!r}; it must be a finite number >= 0, usually 1e-12 to 1e-2.")

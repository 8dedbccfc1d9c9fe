"""Recursive least squares: one sample at a time, without solving anew."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.linalg.blas import dsymv, dsyr

from koopctl.arrays import Array
from koopctl.regression.gram import Gram, nonnegative
from koopctl.regression.triangle import Triangle
from koopctl.regression.whitened import Whitened

_FLOOR = 1e-9  # share of the mean information below which a gain is so large that its rounding spoils the others


class Recursive:
    """The solution of a ridge regression, kept up to date sample by sample in O(p^2).

    Forgetting is directional (Cao and Schwartz, "Directional forgetting algorithm based on the decomposition of the
    information matrix", Automatica 36, 2000): of the information R only the part along the new sample is discounted,
    so that the gain does not wind up while the plant stands still; p directions moved alike fade over p / (1 -
    forgetting) samples. Sample count and residuals, which have no direction, are discounted by the mean over all.

    Attributes:
        theta: Coefficients, (m, p).
        n: Samples that count.
        residual: Sum of squares, with the penalty, that the solution leaves, (m, m).
    """

    def __init__(
        self, theta: Array, R: Array, n: float, residual: Array, penalty: Array, floor: float = _FLOOR
    ) -> None:
        """Start from a solution, its information R (p, p) with the penalty (p,), its count and its residual."""
        self.theta, self.n, self.residual, self._penalty = theta, n, np.asfortranarray(residual), penalty
        values, vectors = np.linalg.eigh(R)
        # A direction the data never moved in would have an infinite gain without a ridge.
        values = np.maximum(values, floor * float(values.mean()))
        # Symmetric matrices of which BLAS reads and writes the lower triangle only: they stay symmetric.
        self._R = np.asfortranarray((vectors * values) @ vectors.T)
        self._P = np.asfortranarray((vectors / values) @ vectors.T)

    @classmethod
    def start(cls, learnt: Gram | Triangle | Whitened, ridge: float, free: int = 1, floor: float = _FLOOR) -> Self:
        """Go on from an accumulated regression; `floor` is the least information, as a share of its mean."""
        theta = learnt.solve(ridge, free).theta.copy()
        penalty = np.full(theta.shape[1], learnt.n * ridge)
        penalty[len(penalty) - free :] = 0.0
        residual = learnt.n * learnt.residual(theta) + (theta * penalty) @ theta.T
        return cls(theta, learnt.n * learnt.information(ridge, free), learnt.n, residual, penalty, floor)

    @property
    def information(self) -> Array:
        """R, what is known along each direction, (p, p)."""
        return _full(self._R)

    @property
    def gain(self) -> Array:
        """P, the inverse of R, (p, p)."""
        return _full(self._P)

    def add(self, phi: Array, y: Array, forgetting: float = 1.0) -> Array:
        """Take in one sample, phi (p,) and y (m,), and return theta."""
        if forgetting < 1.0:
            self._discount(phi, forgetting)
        direction = dsymv(1.0, self._P, phi, lower=1)
        scale = 1.0 + float(phi @ direction)
        error = y - self.theta @ phi
        self.theta = self.theta + np.outer(error / scale, direction)
        self._P = dsyr(-1.0 / scale, direction, a=self._P, lower=1, overwrite_a=1)
        self._R = dsyr(1.0, phi, a=self._R, lower=1, overwrite_a=1)
        self.residual = dsyr(1.0 / scale, error, a=self.residual, lower=1, overwrite_a=1)
        self.n += 1.0
        return self.theta

    def _discount(self, phi: Array, forgetting: float) -> None:
        informed = dsymv(1.0, self._R, phi, lower=1)
        size = float(phi @ informed)
        if size > 0.0:
            self._P = dsyr((1.0 - forgetting) / forgetting / size, phi, a=self._P, lower=1, overwrite_a=1)
            self._R = dsyr(-(1.0 - forgetting) / size, informed, a=self._R, lower=1, overwrite_a=1)
        kept = 1.0 - (1.0 - forgetting) / len(phi)
        self.n *= kept
        self.residual *= kept

    def covariance(self, k: int) -> Array:
        """Return the mean outer product (k, k) of the residuals that the solution leaves of the first k targets."""
        theta = self.theta[:k]
        return nonnegative((_full(self.residual[:k, :k]) - (theta * self._penalty) @ theta.T) / self.n)

    def to_gram(self) -> Gram:
        """Return normal equations with this solution, to accumulate blocks again."""
        R, whole = self.information, Gram(self.theta.shape[1], len(self.theta))
        cross = R @ self.theta.T
        whole.n, whole.R = self.n, cross
        whole.G = nonnegative(R - np.diag(self._penalty))  # forgetting discounts the penalty, too
        whole.yy = nonnegative(_full(self.residual) + self.theta @ cross)
        return whole


def _full(lower: Array) -> Array:
    """Return the symmetric matrix of which the lower triangle is given."""
    return np.ascontiguousarray(np.tril(lower) + np.tril(lower, -1).T)

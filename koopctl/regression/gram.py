"""Streaming ridge regression: accumulate Gram matrices block by block, solve at the end."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.errors import DataError
from koopctl.regression.solution import Solution, check_mergeable, check_ridge, check_samples, unusable


class Gram:
    """Normal equations of Y = Phi Theta^T, accumulated over blocks of samples.

    Cheap (one symmetric product a block) and small; the price is that the condition number of the regressors is
    squared, so that directions below 1e-8 of the largest drown in rounding. `Triangle` keeps them at twice the cost.

    Attributes:
        n: Samples seen, or the sum of their weights.
        G: Phi^T Phi, (p, p).
        R: Phi^T Y, (p, m).
        yy: Y^T Y, (m, m).
    """

    def __init__(self, p: int, m: int) -> None:
        """Start empty, for p regressors and m targets."""
        self.n = 0.0
        self.G = np.zeros((p, p))
        self.R = np.zeros((p, m))
        self.yy = np.zeros((m, m))

    def add(self, Phi: Array, Y: Array, weight: Array | None = None) -> Self:
        """Add samples Phi (n, p), Y (n, m), each counting as often as its weight (n,) says.

        Raises:
            DataError: A number is not finite, or too large to be squared; nothing was added.
        """
        n = float(len(Phi)) if weight is None else float(weight.sum())
        if weight is not None:
            root = np.sqrt(weight)[:, None]
            Phi, Y = Phi * root, Y * root
        with np.errstate(over="ignore", invalid="ignore"):
            G, yy = Phi.T @ Phi, Y.T @ Y  # numpy sees the transpose and computes one triangle only
            if not np.isfinite(G.trace() + yy.trace()):
                raise DataError(unusable(Phi, Y))
        self.G += G
        self.R += Phi.T @ Y
        self.yy += yy
        self.n += n
        return self

    def merge(self, other: Gram, share: float = 1.0) -> Self:
        """Add what another accumulator of the same problem has seen, counting `share` times as much.

        Raises:
            ShapeError: The other one is of another kind or size.
        """
        check_mergeable(self, other, self.R.shape, getattr(other, "R", self.R).shape)
        self.n += share * other.n
        for mine, theirs in ((self.G, other.G), (self.R, other.R), (self.yy, other.yy)):
            mine += theirs if share == 1.0 else share * theirs
        return self

    def emptied(self) -> Gram:
        """Return an empty accumulator of the same problem."""
        return Gram(*self.R.shape)

    def forget(self, factor: float) -> Self:
        """Let everything seen so far count `factor` times as much, 0 < factor <= 1."""
        self.n *= factor
        self.G *= factor
        self.R *= factor
        self.yy *= factor
        return self

    def solve(self, ridge: float, free: int = 1) -> Solution:
        """Minimise |Y - Phi Theta^T|^2 / n + ridge |Theta|^2.

        Args:
            ridge: Penalty relative to regressors of unit size, so it scales with the sample count.
            free: How many of the last regressors (the constant) are not penalised.

        Raises:
            DataError: ridge is negative or not finite, or nothing was added.
        """
        check_ridge(ridge)
        check_samples(self.n)
        system, target = self.information(ridge, free), self.R / self.n
        penalty = _penalty(len(system), ridge, free)
        norm = float(np.abs(system).sum(axis=0).max(initial=0.0))
        factor, failed = scipy.linalg.lapack.dpotrf(system, lower=1)
        if not failed:
            theta = scipy.linalg.lapack.dpotrs(factor, target, lower=1)[0]
            reciprocal = float(scipy.linalg.lapack.dpocon(factor, norm, uplo="L")[0])
            if np.isfinite(theta).all() and reciprocal > 0.0:
                effective = len(system) - _share_of_penalty(factor, penalty)
                return Solution(np.ascontiguousarray(theta.T), "cholesky", reciprocal**-0.5, effective)
        # Not positive definite to rounding (ridge 0, fewer samples than regressors): the minimum-norm solution.
        values, vectors = np.linalg.eigh(system)
        keep = values > len(values) * np.finfo(float).eps * values[-1]
        theta = (vectors[:, keep] / values[keep]) @ (vectors[:, keep].T @ target)
        condition = float((values[-1] / values[0]) ** 0.5) if values[0] > 0.0 else np.inf
        effective = keep.sum() - penalty @ np.sum(vectors[:, keep] ** 2 / values[keep], axis=1)
        return Solution(np.ascontiguousarray(theta.T), "eigen", condition, float(effective))

    def information(self, ridge: float, free: int = 1) -> Array:
        """Return G / n + ridge (p, p), the curvature of what `solve` minimises."""
        return np.asarray(self.G / self.n + np.diag(_penalty(len(self.G), ridge, free)))

    def residual(self, theta: Array) -> Array:
        """Return the mean outer product (k, k) of the residuals of the first k targets, theta (k, p).

        A difference of large sums: residuals below 1e-8 of the targets are rounding, but never negative.
        """
        k = len(theta)
        cross = theta @ self.R[:, :k]
        return nonnegative((self.yy[:k, :k] - cross - cross.T + theta @ self.G @ theta.T) / self.n)

    def moments(self) -> tuple[Array, Array, Array]:
        """Return Phi^T Phi (p, p), Phi^T Y (p, m) and Y^T Y (m, m), to be changed by the caller."""
        return self.G.copy(), self.R.copy(), self.yy.copy()

    def arrays(self) -> dict[str, Array]:
        """Return everything needed to go on later."""
        return {"gram_n": np.array(self.n), "gram_G": self.G, "gram_R": self.R, "gram_yy": self.yy}

    @classmethod
    def restore(cls, arrays: dict[str, Array]) -> Gram:
        """Rebuild from `arrays`."""
        gram = cls(*arrays["gram_R"].shape)
        gram.n, gram.G, gram.R, gram.yy = (float(arrays["gram_n"]), *(arrays[f"gram_{k}"] for k in ("G", "R", "yy")))
        return gram


def nonnegative(S: Array) -> Array:
    """Return the nearest positive semidefinite matrix to S, which is one but for rounding."""
    S = (S + S.T) / 2
    values, vectors = np.linalg.eigh(S)
    return S if not len(values) or values[0] >= 0.0 else np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def _penalty(p: int, ridge: float, free: int) -> Array:
    penalty = np.full(p, float(ridge))
    penalty[p - free :] = 0.0
    return penalty


def _share_of_penalty(factor: Array, penalty: Array) -> float:
    """Return tr(diag(penalty) S^-1) of the Cholesky factor of S."""
    if not penalty.any():
        return 0.0
    inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=1)
    return float(penalty @ np.diag(inverse))

"""Normal equations in coordinates that are nearly orthogonal already: the digits of QR at the speed of a product."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.errors import ShapeError
from koopctl.regression.gram import Gram
from koopctl.regression.solution import Solution, check_mergeable, check_ridge, check_samples

_SHIFT = 1e-13  # of the mean diagonal: above the rounding of the first normal equations, below what they resolve


class Whitened:
    """Normal equations of Phi L^-T, L the shifted Cholesky factor of a first pass over the same data.

    The first pass loses directions whose square is below rounding; in the coordinates it gives they are small, not
    lost, so that the second pass keeps them (shifted Cholesky QR: Fukaya et al., SIAM J. Sci. Comput. 42, 2020). That
    is enough for predictions; coefficients along directions below 1e-10 of the largest keep more digits by `Triangle`.
    The same verbs as `Gram`; a triangular solve more for each block.

    Attributes:
        L: Lower triangular, (p, p).
        inner: Normal equations in the new coordinates.
    """

    def __init__(self, L: Array, inner: Gram) -> None:
        """Start from a factor and normal equations in its coordinates."""
        self.L, self.inner = L, inner

    @classmethod
    def after(cls, gram: Gram) -> Self:
        """Start the second pass, empty, after a first one."""
        G = gram.G / gram.n
        shift = _SHIFT * float(np.trace(G)) / len(G)
        while True:  # the rounding of an accumulated G may exceed the shift
            try:
                return cls(scipy.linalg.cholesky(G + shift * np.eye(len(G)), lower=True), Gram(*gram.R.shape))
            except np.linalg.LinAlgError:
                shift *= 10.0

    @property
    def n(self) -> float:
        """Samples seen, or the sum of their weights."""
        return self.inner.n

    def add(self, Phi: Array, Y: Array, weight: Array | None = None) -> Self:
        """Add samples Phi (n, p), Y (n, m), each counting as often as its weight (n,) says."""
        self.inner.add(scipy.linalg.blas.dtrsm(1.0, self.L, Phi.T, lower=1).T, Y, weight)
        return self

    def merge(self, other: Whitened, share: float = 1.0) -> Self:
        """Add what another accumulator with the same factor has seen, counting `share` times as much.

        Raises:
            ShapeError: The other one is of another kind, size or factor.
        """
        check_mergeable(self, other, self.inner.R.shape, getattr(other, "inner", self.inner).R.shape)
        if not np.array_equal(self.L, other.L):
            raise ShapeError("cannot merge second passes after different first ones; merge the first ones instead.")
        self.inner.merge(other.inner, share)
        return self

    def emptied(self) -> Whitened:
        """Return an empty accumulator of the same problem, in the same coordinates."""
        return Whitened(self.L, self.inner.emptied())

    def forget(self, factor: float) -> Self:
        """Let everything seen so far count `factor` times as much, 0 < factor <= 1."""
        self.inner.forget(factor)
        return self

    def solve(self, ridge: float, free: int = 1) -> Solution:
        """Minimise |Y - Phi Theta^T|^2 / n + ridge |Theta|^2; see `Gram.solve`.

        Raises:
            DataError: ridge is negative or not finite, or nothing was added.
        """
        check_ridge(ridge)
        check_samples(self.n)
        p = len(self.L)
        penalty = np.full(p, ridge)
        penalty[p - free :] = 0.0
        half = scipy.linalg.solve_triangular(self.L, np.diag(np.sqrt(penalty)), lower=True)
        system, target = self.inner.G / self.inner.n + half @ half.T, self.inner.R / self.inner.n
        factor, failed = scipy.linalg.lapack.dpotrf(system, lower=0)
        reciprocal = 0.0 if failed else float(scipy.linalg.lapack.dtrcon(np.triu(factor) @ self.L.T)[0])
        if reciprocal > np.finfo(float).eps:  # below, rounding alone decides: 1e15 may stand where 0 belongs
            whitened = scipy.linalg.lapack.dpotrs(factor, target, lower=0)[0]
            shrunk = scipy.linalg.solve_triangular(factor, half, trans="T")
            return Solution(self._back(whitened), "whitened", 1.0 / reciprocal, p - float(np.sum(shrunk**2)))
        values, vectors = np.linalg.eigh(system)  # directions without any data or penalty: the smallest solution
        keep = values > p * np.finfo(float).eps * values[-1]
        root = vectors[:, keep] / np.sqrt(values[keep])
        effective = float(keep.sum()) - float(np.sum((root.T @ half) ** 2))
        return Solution(self._back(root @ (root.T @ target)), "eigen", np.inf, effective)

    def _back(self, whitened: Array) -> Array:
        theta = scipy.linalg.solve_triangular(self.L, whitened, lower=True, trans="T")
        return np.ascontiguousarray(theta.T)

    def information(self, ridge: float, free: int = 1) -> Array:
        """Return Phi^T Phi / n + ridge (p, p), the curvature of what `solve` minimises."""
        penalty = np.full(len(self.L), ridge)
        penalty[len(self.L) - free :] = 0.0
        return np.asarray(self.L @ (self.inner.G / self.inner.n) @ self.L.T + np.diag(penalty))

    def residual(self, theta: Array) -> Array:
        """Return the mean outer product (m, m) of the residuals Y - Phi Theta^T."""
        return self.inner.residual(theta @ self.L)

    def moments(self) -> tuple[Array, Array, Array]:
        """Return Phi^T Phi (p, p), Phi^T Y (p, m) and Y^T Y (m, m), with the digits the squares leave."""
        G, R, yy = self.inner.moments()
        return np.asarray(self.L @ G @ self.L.T), self.L @ R, yy

    def arrays(self) -> dict[str, Array]:
        """Return everything needed to go on later."""
        inner = {name.replace("gram_", "whitened_"): array for name, array in self.inner.arrays().items()}
        return inner | {"whitened_L": self.L}

    @classmethod
    def restore(cls, arrays: dict[str, Array]) -> Whitened:
        """Rebuild from `arrays`."""
        inner = {name.replace("whitened_", "gram_"): array for name, array in arrays.items()}
        return cls(arrays["whitened_L"], Gram.restore(inner))

"""Streaming least squares by QR, for problems whose normal equations would lose the digits that matter."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.regression.solution import Solution, check_ridge

_BLOCKS = 4  # rows gathered before a factorisation, in multiples of the triangle's


class Triangle:
    """The triangular factor of [Phi, Y], accumulated over blocks of samples.

    It holds what `Gram` holds, T^T T = [Phi, Y]^T [Phi, Y], without squaring the condition number (sequential tall
    skinny QR, Demmel et al., SIAM J. Sci. Comput. 2012). The same verbs; about four times the time.

    Attributes:
        n: Samples seen, or the sum of their weights.
        T: Upper triangular, (p + m, p + m), after `fold`.
    """

    def __init__(self, p: int, m: int) -> None:
        """Start empty, for p regressors and m targets."""
        self.n = 0.0
        self.p, self.m = p, m
        self.T = np.zeros((p + m, p + m))
        self._rows: list[Array] = []

    def add(self, Phi: Array, Y: Array, weight: Array | None = None) -> Self:
        """Add samples Phi (n, p), Y (n, m), each counting as often as its weight (n,) says."""
        rows = np.concatenate([Phi, Y], axis=1)
        if weight is None:
            self.n += len(rows)
        else:
            self.n += float(weight.sum())
            rows *= np.sqrt(weight)[:, None]
        self._rows.append(rows)
        if sum(map(len, self._rows)) >= _BLOCKS * len(self.T):
            self.fold()
        return self

    def fold(self) -> Self:
        """Take the gathered rows into the triangle."""
        if self._rows:
            self.T = _triangular(np.concatenate([self.T, *self._rows]))
            self._rows = []
        return self

    def merge(self, other: Triangle) -> Self:
        """Add what another accumulator of the same problem has seen."""
        self.n += other.n
        self._rows += [other.T, *other._rows]
        return self.fold()

    def forget(self, factor: float) -> Self:
        """Let everything seen so far count `factor` times as much, 0 < factor <= 1."""
        self.fold()
        self.n *= factor
        self.T *= np.sqrt(factor)
        return self

    def solve(self, ridge: float, free: int = 1) -> Solution:
        """Minimise |Y - Phi Theta^T|^2 / n + ridge |Theta|^2; see `Gram.solve`.

        Raises:
            DataError: ridge is negative or not finite.
        """
        check_ridge(ridge)
        self.fold()
        p = self.p
        penalty = np.full(p, np.sqrt(ridge))
        penalty[p - free :] = 0.0
        stack = np.zeros((2 * p, p + self.m))
        stack[:p] = self.T[:p] / np.sqrt(self.n)
        stack[p:, :p] = np.diag(penalty)
        whole = _triangular(stack) if ridge else stack[:p]
        factor, target = whole[:p, :p], whole[:p, p:]
        reciprocal = float(scipy.linalg.lapack.dtrcon(factor)[0])
        if reciprocal > p * np.finfo(float).eps:
            theta = scipy.linalg.solve_triangular(factor, target, check_finite=False)
            shrunk = scipy.linalg.solve_triangular(factor, np.diag(penalty), trans="T", check_finite=False)
            effective = p - float(np.sum(shrunk**2))
            return Solution(np.ascontiguousarray(theta.T), "qr", 1.0 / reciprocal, effective)
        left, values, right = np.linalg.svd(factor)
        keep = values > p * np.finfo(float).eps * values[0]
        theta = (right[keep].T / values[keep]) @ (left[:, keep].T @ target)
        condition = float(values[0] / values[-1]) if values[-1] > 0.0 else np.inf
        return Solution(np.ascontiguousarray(theta.T), "svd", condition, float(keep.sum()))

    def information(self, ridge: float, free: int = 1) -> Array:
        """Return Phi^T Phi / n + ridge (p, p), the curvature of what `solve` minimises."""
        self.fold()
        penalty = np.full(self.p, ridge)
        penalty[self.p - free :] = 0.0
        factor = self.T[: self.p, : self.p]
        return np.asarray(factor.T @ factor / self.n + np.diag(penalty))

    def residual(self, theta: Array) -> Array:
        """Return the mean outer product (m, m) of the residuals Y - Phi Theta^T."""
        self.fold()
        E = self.T[:, self.p :] - self.T[:, : self.p] @ theta.T
        return np.asarray(E.T @ E / self.n)

    def arrays(self) -> dict[str, Array]:
        """Return everything needed to go on later."""
        self.fold()
        return {"triangle_n": np.array(self.n), "triangle_T": self.T, "triangle_p": np.array(self.p)}

    @classmethod
    def restore(cls, arrays: dict[str, Array]) -> Triangle:
        """Rebuild from `arrays`."""
        T, p = arrays["triangle_T"], int(arrays["triangle_p"])
        triangle = cls(p, len(T) - p)
        triangle.n, triangle.T = float(arrays["triangle_n"]), T
        return triangle


def _triangular(rows: Array) -> Array:
    return np.asarray(np.triu(scipy.linalg.lapack.dgeqrf(rows)[0])[: rows.shape[1]])

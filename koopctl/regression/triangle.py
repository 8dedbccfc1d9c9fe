"""Streaming least squares by QR, for problems whose normal equations would lose the digits that matter."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.errors import DataError
from koopctl.regression.solution import Solution, check_mergeable, check_ridge, check_samples, unusable

_BLOCKS = 4  # rows gathered before a factorisation, in multiples of the triangle's


class Triangle:
    """The triangular factor of [Phi, Y], accumulated over blocks of samples.

    It holds what `Gram` holds, T^T T = [Phi, Y]^T [Phi, Y], without squaring the condition number (sequential tall
    skinny QR, Demmel et al., SIAM J. Sci. Comput. 2012). The same verbs; three to six times the time.

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
        """Add samples Phi (n, p), Y (n, m), each counting as often as its weight (n,) says.

        Raises:
            DataError: A number is not finite, or too large to be squared; nothing was added.
        """
        rows = np.concatenate([Phi, Y], axis=1)
        if weight is not None:
            rows *= np.sqrt(weight)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(np.vdot(rows, rows)):
                raise DataError(unusable(Phi, Y))
        self.n += float(len(rows)) if weight is None else float(weight.sum())
        self._rows.append(rows)
        if sum(map(len, self._rows)) >= _BLOCKS * len(self.T):
            self.fold()
        return self

    def fold(self) -> Self:
        """Take the gathered rows into the triangle."""
        if self._rows:
            self.T = _triangular([self.T, *self._rows])
            self._rows = []
        return self

    def merge(self, other: Triangle, share: float = 1.0) -> Self:
        """Add what another accumulator of the same problem has seen, counting `share` times as much.

        Raises:
            ShapeError: The other one is of another kind or size.
        """
        theirs = (getattr(other, "p", self.p), getattr(other, "m", self.m))
        check_mergeable(self, other, (self.p, self.m), theirs)
        self.n += share * other.n
        self._rows += [np.sqrt(share) * rows for rows in (other.T, *other._rows)]
        return self.fold()

    def emptied(self) -> Triangle:
        """Return an empty accumulator of the same problem."""
        return Triangle(self.p, self.m)

    def forget(self, factor: float) -> Self:
        """Let everything seen so far count `factor` times as much, 0 < factor <= 1."""
        self.fold()
        self.n *= factor
        self.T *= np.sqrt(factor)
        return self

    def solve(self, ridge: float, free: int = 1) -> Solution:
        """Minimise |Y - Phi Theta^T|^2 / n + ridge |Theta|^2; see `Gram.solve`.

        Raises:
            DataError: ridge is negative or not finite, or nothing was added.
        """
        check_ridge(ridge)
        check_samples(self.n)
        self.fold()
        p = self.p
        penalty = np.full(p, np.sqrt(ridge))
        penalty[p - free :] = 0.0
        whole = self.T[:p] / np.sqrt(self.n)
        if ridge:
            whole = _triangular([whole, np.concatenate([np.diag(penalty), np.zeros((p, self.m))], axis=1)])
        factor, target = whole[:p, :p], whole[:p, p:]
        reciprocal = float(scipy.linalg.lapack.dtrcon(factor)[0])
        if reciprocal > p * np.finfo(float).eps:
            theta = scipy.linalg.solve_triangular(factor, target, check_finite=False)
            shrunk = scipy.linalg.solve_triangular(factor, np.diag(penalty), trans="T", check_finite=False)
            effective = p - float(np.sum(shrunk**2))
            return Solution(np.ascontiguousarray(theta.T), "qr", 1.0 / reciprocal, effective)
        left, values, right = np.linalg.svd(factor)
        keep = values > p * np.finfo(float).eps * values[0]
        inverse = right[keep].T / values[keep]
        theta = inverse @ (left[:, keep].T @ target)
        condition = float(values[0] / values[-1]) if values[-1] > 0.0 else np.inf
        effective = float(keep.sum() - np.sum((penalty[:, None] * inverse) ** 2))
        return Solution(np.ascontiguousarray(theta.T), "svd", condition, effective)

    def information(self, ridge: float, free: int = 1) -> Array:
        """Return Phi^T Phi / n + ridge (p, p), the curvature of what `solve` minimises."""
        self.fold()
        penalty = np.full(self.p, ridge)
        penalty[self.p - free :] = 0.0
        factor = self.T[: self.p, : self.p]
        return np.asarray(factor.T @ factor / self.n + np.diag(penalty))

    def residual(self, theta: Array) -> Array:
        """Return the mean outer product (k, k) of the residuals of the first k targets, theta (k, p)."""
        self.fold()
        E = self.T[:, self.p : self.p + len(theta)] - self.T[:, : self.p] @ theta.T
        return np.asarray(E.T @ E / self.n)

    def moments(self) -> tuple[Array, Array, Array]:
        """Return Phi^T Phi (p, p), Phi^T Y (p, m) and Y^T Y (m, m), with the digits the squares leave."""
        self.fold()
        Phi, Y = self.T[:, : self.p], self.T[:, self.p :]
        return Phi.T @ Phi, Phi.T @ Y, Y.T @ Y

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


def _triangular(parts: list[Array]) -> Array:
    """Return the triangular factor of some parts one above the other, at most as many rows as columns."""
    n, width = sum(map(len, parts)), parts[0].shape[1]
    stack, start = np.empty((n, width), order="F"), 0  # LAPACK's order: factorised in place
    for part in parts:
        stack[start : start + len(part)] = part
        start += len(part)
    work = int(scipy.linalg.lapack.dgeqrf_lwork(n, width)[0])  # scipy's default is too small for blocks of columns
    factor = scipy.linalg.lapack.dgeqrf(stack, lwork=work, overwrite_a=1)[0]
    return np.triu(factor[:width])

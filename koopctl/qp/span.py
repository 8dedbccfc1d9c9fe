"""The rows an active-set method has met, as a factorisation that follows every change of them."""

from __future__ import annotations

import numpy as np
from scipy.linalg import qr_delete
from scipy.linalg.lapack import dtrtrs

from koopctl.arrays import Array

_DEPENDENT = 1e-10  # a row of unit length this close to the span of the others says nothing new


class Span:
    """Independent rows of unit length, kept as rows^T = Q R.

    Products of the rows with each other are never formed, so that rows a millionth of a degree apart are told apart.
    """

    def __init__(self, n: int) -> None:
        """Start with no row of n entries."""
        self._Q, self._R = np.zeros((n, n)), np.zeros((n, n), order="F")  # Q by rows; the first k of both are in use
        self.size = 0

    def add(self, row: Array) -> Array | None:
        """Add a row and return None; or, where it is a sum of the others, return its coefficients (k,)."""
        k = self.size
        Q = self._Q[:k]
        along = Q @ row
        rest = row - along @ Q
        length = float(rest @ rest) ** 0.5
        if length < 0.5:  # a second pass makes up for what cancelled in the first
            again = Q @ rest
            rest -= again @ Q
            along += again
            length = float(rest @ rest) ** 0.5
        if k == len(self._Q) or length <= _DEPENDENT:
            return np.asarray(dtrtrs(self._R[:k, :k], along)[0] if k else along)
        self._Q[k] = rest / length
        self._R[:k, k], self._R[k, k] = along, length
        self.size = k + 1
        return None

    def drop(self, i: int) -> None:
        """Take out row i; those after it move up."""
        k = self.size
        if i < k - 1:
            Q, R = qr_delete(self._Q[:k].T, self._R[:k, :k], i, which="col", check_finite=False)
            self._Q[: k - 1], self._R[: k - 1, : k - 1] = Q.T[: k - 1], R[: k - 1]
        self.size = k - 1

    def rebuild(self, rows: Array) -> list[int]:
        """Start anew from rows (k, n), k <= n; return which of them are independent and were taken."""
        self.size = k = len(rows)
        Q, R = np.linalg.qr(rows.T)
        if (np.abs(np.diag(R)) > _DEPENDENT).all():
            self._Q[:k], self._R[:k, :k] = Q.T, R
            return list(range(k))
        self.size = 0
        return [i for i, row in enumerate(rows) if self.add(row) is None]

    def shortest(self, bounds: Array) -> tuple[Array, Array]:
        """Return the forces (k,) and the shortest v = forces @ rows with rows @ v = bounds (k,)."""
        k = self.size
        if not k:
            return np.zeros(0), np.zeros(len(self._Q))
        R = self._R[:k, :k]
        along = dtrtrs(R, bounds, trans=1)[0]
        return np.asarray(dtrtrs(R, along)[0]), along @ self._Q[:k]

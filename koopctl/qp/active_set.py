"""An exact dual active-set method that starts from the last solution; it needs nothing but numpy and scipy."""

from __future__ import annotations

import time

import numpy as np

from koopctl.arrays import Array
from koopctl.qp.backend import Answer, Outcome
from koopctl.qp.span import Span

_MET = 1e-10, 1e-13  # a row is met within these shares of its own bound and of the farthest row's distance
_ROUNDING = 1e-13  # a sum of rows met that is missed by no more, against its terms, only shows their rounding
_CONFLICT = 1e-6  # a sum of rows met that is missed by more of its bound contradicts them, where none can give way


class ActiveSet:
    r"""Goldfarb and Idnani's method on the least-distance form of a strictly convex program.

    With P = L L^T and :math:`v = L^T (x + P^{-1} q)` the program asks for the shortest v with :math:`G v \ge h`, the
    rows of G being :math:`\pm A L^{-T}` scaled to unit length. Rows are met one after the other, always the one that v
    misses most, and let go where they would have to pull. The search starts from the rows the last solution met, so
    that a horizon moved by one sample needs a few steps. (Goldfarb and Idnani, Mathematical Programming 1983; with the
    least distance: Arnstrom, Bemporad and Axehill, IEEE TAC 2022.)
    """

    def __init__(self, P: Array, A: Array, tolerance: float, max_iterations: int | None, definite: bool) -> None:
        """Factorise P, which must be definite (else see `Proximal`); the arguments are those of `Backend`."""
        del tolerance, definite  # the method is exact
        self._n, self._most = len(P), max_iterations or 20 + 10 * len(P)
        diagonal = np.diag(P)
        self._diagonal = bool((P == np.diag(diagonal)).all())
        self._inverse = 1.0 / np.sqrt(diagonal) if self._diagonal else np.linalg.inv(np.linalg.cholesky(P))
        self._span = Span(self._n)
        self._met = np.zeros(self._n, dtype=int)  # numbers of rows of [G; -G]; the first `span.size` are in use
        self._force = np.zeros(self._n)  # v = force @ rows met
        self._take(A)

    def reset(self) -> None:
        """Forget the rows the last solution met."""
        self._span.size = 0

    @property
    def idle(self) -> bool:
        """Whether the last solution met no row."""
        return self._span.size == 0

    def solve(self, q: Array, lower: Array, upper: Array, A: Array) -> Answer:
        """Solve from the last solution's rows, as `Backend.solve` says."""
        start = time.perf_counter()
        if A is not self._A:
            self._take(A)
        centre = -self._from_v(self._to_v(q))
        free = A @ centre
        np.multiply(lower - free, self._unit, out=self._bounds[0])
        np.multiply(free - upper, self._unit, out=self._bounds[1])
        # Rows are looked for with this much less than their bounds, and met at their bounds.
        sizes = self._sizes = 1.0 + np.minimum(np.abs(lower), np.abs(upper))
        slack = _MET[0] * sizes * self._unit + _MET[1] * max(_largest(self._bounds.reshape(-1)), 0.0)
        np.subtract(self._bounds, slack, out=self._search_bounds)
        equal = lower == upper
        self._fixed = np.concatenate([equal, equal]) if equal.any() else None
        v, outcome, iterations = self._search()
        x, k = centre + self._from_v(v), self._span.size
        y = np.zeros((2, len(lower)))
        y.reshape(-1)[self._met[:k]] = self._force[:k]
        return Answer(x, (y[1] - y[0]) * self._unit, outcome, iterations, time.perf_counter() - start)

    # ------------------------------------------------------------------ coordinates
    def _to_v(self, q: Array) -> Array:
        return self._inverse * q if self._diagonal else self._inverse @ q

    def _from_v(self, v: Array) -> Array:
        return self._inverse * v if self._diagonal else v @ self._inverse

    def _take(self, A: Array) -> None:
        """Scale the rows of a new matrix, and start from the same rows of it."""
        rows = A * self._inverse if self._diagonal else A @ self._inverse.T
        length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        self._unit = 1.0 / np.where(length > 1e-14 * length.max(initial=1e-300), length, 1.0)
        rows *= self._unit[:, None]
        self._A, self._rows = A, rows
        self._bounds, self._search_bounds, self._missed = (np.zeros((2, len(A))) for _ in range(3))
        if self._span.size:
            met, force = self._met[: self._span.size].copy(), self._force[: self._span.size].copy()
            kept = self._span.rebuild(np.array([self._row(j) for j in met]))
            self._met[: len(kept)], self._force[: len(kept)] = met[kept], force[kept]

    def _row(self, j: int) -> Array:
        m = len(self._rows)
        return np.asarray(self._rows[j] if j < m else -self._rows[j - m])

    # ------------------------------------------------------------------ search
    def _search(self) -> tuple[Array, Outcome, int]:
        """Return v, what it is and the number of steps."""
        bounds, v = self._bounds.reshape(-1), np.zeros(self._n)
        for step in range(1, self._most + 1):
            k = self._span.size
            force, v = self._span.shortest(bounds[self._met[:k]])
            if k and force.min() < 0.0 and self._pulls(force):
                continue
            self._force[:k] = force
            outcome = self._meet_worst(v)
            if outcome is not None:
                return v, outcome, step
        return v, "stopped", self._most

    def _pulls(self, force: Array) -> bool:
        """Move towards these forces; where one would pull, stop at the first that does and let its row go."""
        k = self._span.size
        pulling = force < -1e-12 * np.abs(force).max()
        if self._fixed is not None:
            pulling &= ~self._fixed[self._met[:k]]
        at = np.flatnonzero(pulling)
        if not len(at):
            return False
        have = self._force[:k]
        share = have[at] / (have[at] - force[at])
        first = int(share.argmin())
        have += share[first] * (force - have)
        self._let_go(int(at[first]))
        return True

    def _let_go(self, i: int) -> None:
        self._span.drop(i)
        k = self._span.size
        self._met[i:k], self._force[i:k] = self._met[i + 1 : k + 1], self._force[i + 1 : k + 1]

    def _meet_worst(self, v: Array) -> Outcome | None:
        """Meet the row that v misses most; return an outcome, or None where the search goes on."""
        z, (low, high), missed = self._rows @ v, self._search_bounds, self._missed
        np.subtract(low, z, out=missed[0])
        np.add(high, z, out=missed[1])
        j = int(missed.argmax()) if missed.size else -1
        if j < 0 or not missed.reshape(-1)[j] > 0.0:
            return "stopped" if j >= 0 and np.isnan(missed.reshape(-1)[j]) else "solved"
        row, force = self._row(j), 0.0
        sums = self._span.add(row)
        if sums is not None:
            miss, rounding = self._against(j, sums)
            shifted = self._exchange(sums) if miss > rounding else None
            if shifted is None:
                i = j % len(z)
                if miss > max(1e3 * rounding, _CONFLICT * self._sizes[i] * self._unit[i]):
                    return "infeasible"
                self._search_bounds.reshape(-1)[j] = -np.inf  # met as well as it can be; the verification sees how well
                return None
            force = shifted
            if self._span.add(row) is not None:
                return "stopped"
        self._met[self._span.size - 1], self._force[self._span.size - 1] = j, force
        return None

    def _against(self, j: int, sums: Array) -> tuple[float, float]:
        """Return by how much a sum of the rows met, row j, is missed, and how much of that may be rounding."""
        bounds = self._bounds.reshape(-1)
        terms, bound = sums * bounds[self._met[: self._span.size]], float(bounds[j])
        return bound - float(terms.sum()), _ROUNDING * (abs(bound) + float(np.abs(terms).sum()))

    def _exchange(self, sums: Array) -> float | None:
        """Shift force from the rows met to a sum of them, a further row, until one has none left and is let go.

        Returns the force shifted, or None where no row can give way: rows and sum contradict each other.
        """
        k = self._span.size
        gives = sums > 1e-9 * np.abs(sums).max(initial=0.0)
        if self._fixed is not None:
            gives &= ~self._fixed[self._met[:k]]
        at = np.flatnonzero(gives)
        if not len(at):
            return None
        share = self._force[at] / sums[at]
        first = int(share.argmin())
        force = max(float(share[first]), 0.0)
        self._force[:k] -= force * sums
        self._let_go(int(at[first]))
        return force


def _largest(numbers: Array) -> float:
    return float(numbers[numbers.argmax()]) if len(numbers) else 0.0

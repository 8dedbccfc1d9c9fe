"""Whether a point solves a quadratic program, judged by the program's own numbers, row by row and entry by entry."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from koopctl.arrays import Array

Verdict: TypeAlias = Literal["optimal", "feasible", "failed"]
_ROUNDING = 1e-12  # of the terms that make up a row: what no solver can be blamed for


class Judgement(NamedTuple):
    """What is known about a point.

    Attributes:
        verdict: "optimal", "feasible" (the constraints hold) or "failed".
        primal: Largest violation of a constraint.
        dual: Largest entry of P x + q + A^T y.
    """

    verdict: Verdict
    primal: float
    dual: float


class Verification:
    """Checks the optimality conditions of one program structure.

    Absolutely first, which mostly is enough. Where a residual is larger, each row is judged against its own bound and
    each entry of the gradient against the terms it is a sum of, because rows of a program may differ by powers of ten,
    and what is nothing to the largest may be all there is of the smallest.
    """

    def __init__(self, P: Array, m: int, tolerance: float) -> None:
        """Take the structure.

        Args:
            P: Hessian, (n, n).
            m: Number of rows.
            tolerance: Absolute, and relative to the sizes above.
        """
        diagonal = np.diag(P)
        self._P, self._tolerance = P, tolerance
        self._diagonal = diagonal.copy() if (np.diag(diagonal) == P).all() else None
        self._slack, self._both = np.zeros((2, m)), np.zeros((2, m))
        self._flat_slack, self._flat_both = self._slack.reshape(-1), self._both.reshape(-1)

    def judge(self, x: Array, y: Array, q: Array, low: Array, high: Array, A: Array, claimed: bool = True) -> Judgement:
        """Judge a point x (n,) with multipliers y (m,), positive at upper and negative at lower bounds.

        Where nobody claims that it is optimal (`claimed`) only the constraints are looked at.
        """
        z, slack, tolerance = A.dot(x), self._slack, self._tolerance
        np.subtract(z, low, out=slack[0])
        np.subtract(high, z, out=slack[1])
        cost = self._diagonal * x if self._diagonal is not None else self._P.dot(x)
        gradient = y.dot(A)
        gradient += cost
        gradient += q
        # argmin and argmax are faster than min and max, and find NaN too.
        primal = max(0.0, -float(self._flat_slack[self._flat_slack.argmin()])) if slack.size else 0.0
        dual = max(float(gradient[gradient.argmax()]), -float(gradient[gradient.argmin()])) if len(x) else 0.0
        if not math.isfinite(primal + dual):
            return Judgement("failed", math.inf, math.inf)
        if primal > tolerance and not self._within(primal, z, x, low, high, A):
            return Judgement("failed", primal, dual)
        if not claimed:
            return Judgement("feasible", primal, dual)
        unmet = self._unmet(y)
        if (dual <= tolerance and not unmet) or self._balanced(unmet, gradient, x, y, q, low, high, A):
            return Judgement("optimal", primal, dual)
        return Judgement("feasible", primal, dual)

    def _within(self, primal: float, z: Array, x: Array, low: Array, high: Array, A: Array) -> bool:
        """Tell whether every row is violated by little compared with its own bound."""
        room, tolerance, m = self._both, self._tolerance, len(low)
        far = np.abs(z)
        if primal > 2.0 * tolerance * (1.0 + float(far[far.argmax()])):  # too much for any row
            return False
        np.abs(low, out=room[0])
        np.abs(high, out=room[1])
        room += 1.0
        room *= tolerance
        room += self._slack
        worst, size = int(self._flat_both.argmin()), np.abs(x)
        if self._flat_both[worst] >= 0.0:
            return True
        if -self._flat_both[worst] > _ROUNDING * np.abs(A[worst % m]).dot(size):
            return False
        beyond = np.flatnonzero(self._flat_both < 0.0)
        return bool((-self._flat_both[beyond] <= _ROUNDING * np.abs(A[beyond % m]).dot(size)).all())

    def _unmet(self, y: Array) -> bool:
        """Tell whether a multiplier and the slack of its bound both are large."""
        np.negative(y, out=self._both[0])
        self._both[1] = y
        np.minimum(self._both, self._slack, out=self._both)
        return bool(len(y)) and not self._flat_both[self._flat_both.argmax()] <= self._tolerance

    def _balanced(
        self, unmet: bool, gradient: Array, x: Array, y: Array, q: Array, low: Array, high: Array, A: Array
    ) -> bool:
        """Tell whether the multipliers of the rows that are met, alone, balance every entry of the cost's gradient."""
        pushing = np.flatnonzero(y)
        y, A = y[pushing], A[pushing]
        if unmet:
            slack = np.where(y > 0.0, self._slack[1, pushing], self._slack[0, pushing])
            bound = np.abs(np.where(y > 0.0, high[pushing], low[pushing]))
            gradient = gradient - np.where(slack > self._tolerance * (1.0 + bound), y, 0.0).dot(A)
        size = np.abs(y).dot(np.abs(A))
        size += np.abs(q)
        size += np.abs(self._diagonal * x) if self._diagonal is not None else np.abs(self._P).dot(np.abs(x))
        return bool((np.abs(gradient) <= self._tolerance * (1.0 + size)).all())

"""DAQP: a dual active-set method in C, exact and the fastest on condensed horizons (Arnstrom et al., IEEE TAC 2022)."""

from __future__ import annotations

import time
from typing import Any

import daqp
import numpy as np

from koopctl.arrays import Array
from koopctl.qp.backend import NO_BOUND, Answer, Outcome


class DAQPBackend:
    """DAQP with all rows as general constraints: it finds those with equal bounds, which are equalities, by itself.

    Bounds on single variables as such would save it a product each, on programs that have hardly any. The rows active
    at the last solution are where the next search starts, which saves two thirds of its steps on horizons that move by
    one sample.
    """

    def __init__(self, P: Array, A: Array, tolerance: float, max_iterations: int | None, definite: bool) -> None:
        """Set up the structure; the arguments are those of `Backend`."""
        self._P, self._definite = np.ascontiguousarray(P), definite
        # DAQP reads one bound at least: without rows it gets one of zeros.
        self._none = np.zeros((1, len(P))) if not len(A) else None
        self._first = np.ascontiguousarray(A) if self._none is None else self._none
        # The tolerance is absolute and costs an exact method nothing.
        self._settings = {"primal_tol": 0.1 * tolerance, "iter_limit": max_iterations or 20 + 10 * sum(A.shape)}
        self.reset()

    def reset(self) -> None:
        """Forget the rows active at the last solution."""
        m, n = self._first.shape
        self._model: Any = daqp.Model()
        self._model.settings = self._settings
        ones = np.ones(m)
        self._model.setup(self._P, np.zeros(n), self._first, ones, -ones, np.zeros(m, dtype=np.intc))
        self._A = self._first

    def solve(self, q: Array, lower: Array, upper: Array, A: Array) -> Answer:
        """Solve from the last solution's rows, as `Backend.solve` says."""
        start = time.perf_counter()
        m = len(lower)
        if self._none is not None:
            A, lower, upper = self._none, np.zeros(1), np.zeros(1)
        if not self._definite:  # where x may run away, it must not stop at a bound that is none
            lower, upper = np.where(lower > -NO_BOUND, lower, -1e30), np.where(upper < NO_BOUND, upper, 1e30)
        code = self._model.update(f=q, A=None if A is self._A else A, bupper=upper, blower=lower)
        self._A = A
        x, y, iterations = np.full(len(q), np.nan), np.zeros(m), 0
        if code >= 0:
            x, _, code, info = self._model.solve()
            y, iterations = info["lam"][:m], info["iterations"]
        if code <= 0:  # the rows it was left with are no place to start from
            self.reset()
        return Answer(x, y, _outcome(code), iterations, time.perf_counter() - start)


def _outcome(code: int) -> Outcome:
    if code > 0:
        return "solved"
    return "infeasible" if code == -1 else "unbounded" if code == -3 else "stopped"

"""PIQP: a proximal interior-point method, steady in its number of iterations (Schwan et al., CDC 2023)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import piqp

from koopctl.arrays import Array
from koopctl.qp.backend import NO_BOUND, Answer, Outcome

_OUTCOMES: dict[Any, Outcome] = {
    piqp.PIQP_SOLVED: "solved",
    piqp.PIQP_PRIMAL_INFEASIBLE: "infeasible",
    piqp.PIQP_DUAL_INFEASIBLE: "unbounded",
}


class PIQPBackend:
    """PIQP's dense solver with two-sided rows; it has no warm start.

    A row without bounds is passed as a row of zeros between -1 and 1: PIQP prints about rows without bounds, clears
    them in its own copy of the matrix, and leaves them cleared when later bounds come without a matrix.
    """

    def __init__(self, P: Array, A: Array, tolerance: float, max_iterations: int | None, definite: bool) -> None:
        """Set up the structure; the arguments are those of `Backend`."""
        del definite
        self._P, self._first = P, A
        # A gap of g in cost leaves an error of up to sqrt(2 g) in x; each iteration gains a digit or more.
        self._tolerance, self._gap, self._most = 1e-3 * tolerance, tolerance**2, max_iterations or 100
        self.reset()

    def reset(self) -> None:
        """Start with a fresh solver."""
        m, n = self._first.shape
        self._solver: Any = piqp.DenseSolver()
        settings = self._solver.settings
        settings.eps_abs = settings.eps_rel = self._tolerance
        settings.eps_duality_gap_abs = settings.eps_duality_gap_rel = self._gap
        settings.max_iter = self._most
        self._solver.setup(self._P, np.zeros(n), None, None, self._first, -np.ones(m), np.ones(m))
        self._A, self._free = self._first, np.zeros(m, dtype=bool)

    def solve(self, q: Array, lower: Array, upper: Array, A: Array) -> Answer:
        """Solve from scratch, as `Backend.solve` says."""
        start = time.perf_counter()
        no_lower, no_upper = lower <= -NO_BOUND, upper >= NO_BOUND
        low, high = np.where(no_lower, -np.inf, lower), np.where(no_upper, np.inf, upper)
        free = no_lower & no_upper
        some = bool(free.any())
        if some:
            low[free], high[free] = -1.0, 1.0
        if A is self._A and np.array_equal(free, self._free):
            self._solver.update(c=q, h_l=low, h_u=high)
        else:
            self._solver.update(c=q, G=np.where(free[:, None], 0.0, A) if some else A, h_l=low, h_u=high)
            self._A, self._free = A, free
        status = self._solver.solve()
        result = self._solver.result
        x, y, iterations = result.x.copy(), result.z_u - result.z_l, result.info.iter
        if some:
            y[free] = 0.0
        outcome = _OUTCOMES.get(status, "stopped")
        return Answer(x, y, outcome, iterations, time.perf_counter() - start)

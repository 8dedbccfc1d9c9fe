"""OSQP: operator splitting on the sparse program (Stellato et al., Mathematical Programming Computation 2020)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import osqp
import scipy.sparse as sparse

from koopctl.arrays import Array
from koopctl.qp.backend import NO_BOUND, Answer, Outcome

_INFINITY = 1e30  # what OSQP takes for no bound; beyond it, it prints and keeps the old bounds
_CAP = 200  # the exact method that stands by needs less time than further iterations would
_LONG = 4000  # the same where P is semidefinite, and the exact method exact only after a small change of P


class OSQPBackend:
    """OSQP on the program with unit rows and, where P allows, a unit diagonal of the Hessian.

    Learnt horizons have rows that differ by powers of ten; rows of one length halve the iterations. OSQP's own scaling
    gains no more there, and it is redone with every matrix; it is left to semidefinite programs.
    """

    def __init__(self, P: Array, A: Array, tolerance: float, max_iterations: int | None, definite: bool) -> None:
        """Set up scaling and structure; the arguments are those of `Backend`."""
        self._m, self._n = A.shape
        diagonal = np.diag(P)
        self._columns = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0)) if definite else np.ones(self._n)
        self._P = sparse.csc_matrix(np.triu(P * np.outer(self._columns, self._columns)))
        self._first = A
        columns, rows = np.nonzero(A.T)  # column-major, the order of a CSC matrix
        self._flat = rows * self._n + columns
        self._index = rows, np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=self._n))])
        self._settings: dict[str, Any] = {
            "eps_abs": tolerance,
            "eps_rel": tolerance,
            "eps_prim_inf": 0.1 * tolerance,
            "eps_dual_inf": 0.1 * tolerance,
            "max_iter": max_iterations or (_CAP if definite else _LONG),
            "check_termination": 10,
            "adaptive_rho_interval": 50,
            "scaling": 0 if definite else 10,
            "warm_starting": True,
            "verbose": False,
        }
        self.reset()

    def reset(self) -> None:
        """Forget the last solution and the step size that went with it."""
        rows, starts = self._index
        entries = (self._entries(self._first), rows, starts)
        wrapper: Any = osqp.OSQP()
        wrapper.setup(
            self._P,
            np.zeros(self._n),
            sparse.csc_matrix(entries, shape=(self._m, self._n)),
            -np.ones(self._m),
            np.ones(self._m),
            **self._settings,
        )
        # The wrapper copies every field of the solver at every call, which takes longer than a few iterations.
        self._solver: Any = wrapper._solver

    def _entries(self, A: Array) -> Array:
        """Scale the rows and return the entries of the pattern."""
        scaled = A * self._columns
        length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
        self._rows = 1.0 / np.where(length > 1e-12 * length.max(initial=1e-300), length, 1.0)
        scaled *= self._rows[:, None]
        self._A = A
        return np.asarray(scaled.ravel()[self._flat])

    def solve(self, q: Array, lower: Array, upper: Array, A: Array) -> Answer:
        """Solve from the last solution, as `Backend.solve` says."""
        start = time.perf_counter()
        fault = 0
        if A is not self._A:
            fault = self._solver.update_data_mat(P_x=None, P_i=None, A_x=self._entries(A), A_i=None)
        low, high = lower * self._rows, upper * self._rows
        low[lower <= -NO_BOUND], high[upper >= NO_BOUND] = -_INFINITY, _INFINITY
        np.maximum(low, -_INFINITY, out=low)
        np.minimum(high, _INFINITY, out=high)
        # Always both bounds: OSQP compares one alone with the other's last value.
        fault = fault or self._solver.update_data_vec(q=q * self._columns, l=low, u=high)
        if fault:  # it has kept the old numbers
            nothing = np.full(self._n, np.nan), np.full(self._m, np.nan)
            return Answer(*nothing, "stopped", 0, time.perf_counter() - start)
        self._solver.solve()
        info, solution = self._solver.info, self._solver.solution
        x, y = solution.x * self._columns, solution.y * self._rows
        return Answer(x, y, _outcome(info.status), info.iter, time.perf_counter() - start)


def _outcome(status: str) -> Outcome:
    if status == "solved":
        return "solved"
    if status.startswith("primal infeasible"):
        return "infeasible"
    return "unbounded" if status.startswith("dual infeasible") else "stopped"

"""Quadratic programs: validate, solve with OSQP, verify. The only file that imports a QP solver."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import osqp
import scipy.linalg
import scipy.sparse as sparse
from scipy.optimize import nnls

from koopctl.arrays import Array
from koopctl.errors import ShapeError, SolverError

_INFINITY = 1e20  # OSQP treats anything beyond 1e20 or so as no bound


@dataclass(frozen=True)
class QPSolution:
    """An answer that can judge itself.

    Attributes:
        x: Minimiser, (n,).
        y: Multipliers of l <= A x <= u, (m,).
        status: "solved" (residuals verified), "feasible" (stopped early, constraints hold), "infeasible" or "failed".
        iterations: Iterations of the solver.
        primal_residual: Largest violation of a constraint.
        dual_residual: Largest entry of P x + q + A^T y.
        solve_time: Time inside the solver [s].
        problem: (P, q, A, l, u), dense.
    """

    x: Array
    y: Array
    status: str
    iterations: int
    primal_residual: float
    dual_residual: float
    solve_time: float
    problem: tuple[Array, Array, Array, Array, Array]

    @property
    def usable(self) -> bool:
        """Whether x satisfies the constraints."""
        return self.status in ("solved", "feasible")

    @cached_property
    def complementarity(self) -> float:
        """Largest product of a multiplier with the slack of its bound; 0 at an optimum."""
        _, _, A, lower, upper = self.problem
        slack_high = np.where(upper < _INFINITY, upper - A @ self.x, 0.0)
        slack_low = np.where(lower > -_INFINITY, A @ self.x - lower, 0.0)
        products = np.abs(np.where(self.y > 0, self.y * slack_high, self.y * slack_low))
        return float(products.max(initial=0.0))


class QP:
    r"""Minimise :math:`\tfrac12 x^T P x + q^T x` subject to :math:`l \le A x \le u`, many times with one structure.

    The structure (sizes, which entries of A may be nonzero) is fixed; each `solve` passes the numbers. Every number
    is checked before OSQP sees it, because OSQP accepts NaN, crossed bounds and wrong lengths, and every answer is
    checked against the constraints afterwards, because an infeasible problem also returns a finite x. Where OSQP stops
    early (many active constraints of an unstable plant make its operator splitting crawl) the program is solved as a
    least-distance problem by non-negative least squares (Lawson and Hanson 1974, chapter 23), exactly and in a finite
    number of steps.
    """

    def __init__(self, P: Array, pattern: Array, *, tolerance: float = 1e-7, max_iterations: int = 300) -> None:
        """Set up the structure.

        Args:
            P: Hessian (n, n), positive definite, constant.
            pattern: (m, n), nonzero where A may be.
            tolerance: Absolute and relative tolerance of the solver; residuals up to 100 times it are accepted.
            max_iterations: Where OSQP stops and the least-distance form takes over.

        Raises:
            ShapeError: The sizes do not fit.
            SolverError: P is not positive definite.
        """
        self.n, self.m = P.shape[0], pattern.shape[0]
        if P.shape != (self.n, self.n) or pattern.shape != (self.m, self.n):
            raise ShapeError(f"P has shape {P.shape} and A {pattern.shape}; expected (n, n) and (m, n).")
        self.tolerance = tolerance
        self._P = np.array(P, dtype=float)
        try:
            self._root = np.linalg.cholesky(self._P)
        except np.linalg.LinAlgError:
            raise SolverError(
                "not_convex", "P is not positive definite; give every variable a positive cost."
            ) from None
        columns, rows = np.nonzero(np.asarray(pattern).T)  # column-major, the order of a CSC matrix
        self._rows, self._columns = rows, columns
        starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=self.n))])
        A = sparse.csc_matrix((np.ones(len(rows)), rows, starts), shape=(self.m, self.n))
        self._solver: Any = osqp.OSQP()
        self._solver.setup(
            sparse.csc_matrix(np.triu(self._P)),
            np.zeros(self.n),
            A,
            -np.ones(self.m),
            np.ones(self.m),
            verbose=False,
            eps_abs=tolerance,
            eps_rel=tolerance,
            max_iter=max_iterations,
            check_termination=10,
            warm_starting=True,
        )
        self._A = np.zeros((self.m, self.n))

    def solve(self, q: Array, lower: Array, upper: Array, A: Array | None = None) -> QPSolution:
        """Solve for these numbers.

        Args:
            q: Linear cost, (n,).
            lower: Lower bounds of A x, (m,); -inf allowed.
            upper: Upper bounds of A x, (m,); inf allowed.
            A: Constraint matrix (m, n), zero outside the pattern; None keeps the last one.

        Raises:
            SolverError: A number is NaN, a size is wrong or bounds cross; the solver was not called.
        """
        self._check(q, lower, upper, A)
        update: dict[str, Any] = {
            "q": q,
            "l": np.maximum(lower, -_INFINITY),
            "u": np.minimum(upper, _INFINITY),
        }
        if A is not None:
            self._A = A
            update["Ax"] = A[self._rows, self._columns]
        start = time.perf_counter()
        self._solver.update(**update)
        result = self._solver.solve(raise_error=False)
        elapsed = time.perf_counter() - start
        solution = self._judge(result, q, lower, upper, elapsed)
        return solution if solution.status == "solved" else self._exact(solution)

    def _check(self, q: Array, lower: Array, upper: Array, A: Array | None) -> None:
        if q.shape != (self.n,) or lower.shape != (self.m,) or upper.shape != (self.m,):
            raise SolverError(
                "shape", f"q, l, u have shapes {q.shape}, {lower.shape}, {upper.shape}; n={self.n}, m={self.m}."
            )
        if A is not None and A.shape != (self.m, self.n):
            raise SolverError("shape", f"A has shape {A.shape}, expected ({self.m}, {self.n}).")
        # A sum is NaN or inf exactly when an entry is (or on overflow, which is refused just as well).
        if not np.isfinite(q.sum() + (0.0 if A is None else A.sum())) or np.isnan(lower).any() or np.isnan(upper).any():
            raise SolverError("not_finite", "the quadratic program holds NaN or inf; it was not passed to the solver.")
        if (lower > upper).any():
            row = int(np.argmax(lower - upper))
            raise SolverError("infeasible", f"bounds of row {row} cross: {lower[row]:g} > {upper[row]:g}.")

    def _judge(self, result: Any, q: Array, lower: Array, upper: Array, elapsed: float) -> QPSolution:
        x, y = np.asarray(result.x, dtype=float), np.asarray(result.y, dtype=float)
        problem = (self._P, q, self._A, lower, upper)
        code = str(result.info.status)
        if "infeasible" in code or not np.isfinite(x).all() or not np.isfinite(y).all():
            status = "infeasible" if "infeasible" in code else "failed"
            return QPSolution(x, y, status, int(result.info.iter), np.inf, np.inf, elapsed, problem)
        return self._verified(x, y, code == "solved", int(result.info.iter), elapsed, problem)

    def _verified(
        self, x: Array, y: Array, finished: bool, iterations: int, elapsed: float, problem: tuple[Array, ...]
    ) -> QPSolution:
        P, q, A, lower, upper = problem
        z = A @ x
        primal = float(max((lower - z).max(initial=0.0), (z - upper).max(initial=0.0)))
        dual = float(np.abs(P @ x + q + A.T @ y).max(initial=0.0))
        scale = 100 * self.tolerance
        feasible = primal <= scale * (1.0 + np.abs(z).max(initial=0.0))
        optimal = finished and dual <= scale * (1.0 + np.abs(q).max(initial=0.0) + np.abs(y).max(initial=0.0))
        status = "solved" if feasible and optimal else "feasible" if feasible else "failed"
        return QPSolution(x, y, status, iterations, primal, dual, elapsed, (P, q, A, lower, upper))

    def _exact(self, stopped: QPSolution) -> QPSolution:
        """Solve as min |v|^2 subject to G v >= h, with v = L^T (x + P^-1 q) and P = L L^T."""
        _, q, A, lower, upper = stopped.problem
        start = time.perf_counter()
        centre = -scipy.linalg.cho_solve((self._root, True), q)
        rows = scipy.linalg.solve_triangular(self._root, A.T, lower=True).T
        offset = A @ centre
        low, high = np.flatnonzero(lower > -_INFINITY), np.flatnonzero(upper < _INFINITY)
        G = np.concatenate([rows[low], -rows[high]])
        h = np.concatenate([(lower - offset)[low], (offset - upper)[high]])
        try:
            weights, distance = nnls(np.concatenate([G.T, h[None]]), np.append(np.zeros(self.n), 1.0))
        except RuntimeError:  # its iteration limit
            return stopped
        residual = np.append(weights @ G, weights @ h - 1.0)
        if distance**2 < 1e-12:  # a separating direction exists: nothing satisfies the constraints
            return replace(stopped, status="infeasible", solve_time=stopped.solve_time + time.perf_counter() - start)
        x = centre + scipy.linalg.solve_triangular(self._root.T, -residual[:-1] / residual[-1], lower=False)
        multipliers = np.zeros(self.m)
        multipliers[low] -= -weights[: len(low)] / residual[-1]
        multipliers[high] += -weights[len(low) :] / residual[-1]
        elapsed = stopped.solve_time + time.perf_counter() - start
        return self._verified(x, multipliers, True, stopped.iterations, elapsed, stopped.problem)

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

_INFINITY = 1e20  # a bound this far out is no bound
_OSQP_INFINITY = 1e30  # what OSQP itself takes for no bound; beyond it, it prints an error and keeps the old bounds


@dataclass(frozen=True)
class QPSolution:
    """An answer that can judge itself.

    Attributes:
        x: Minimiser, (n,); NaN where there is none.
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

    def __init__(
        self, P: Array, pattern: Array, *, tolerance: float = 1e-7, max_iterations: int = 300, solver: str = "osqp"
    ) -> None:
        """Set up the structure.

        Args:
            P: Hessian (n, n), positive definite, constant.
            pattern: (m, n), nonzero where A may be; also the first A.
            tolerance: Absolute and relative tolerance of the solver; residuals up to 100 times it are accepted.
            solver: "osqp".
            max_iterations: Where OSQP stops and the least-distance form takes over.

        Raises:
            ShapeError: The sizes do not fit.
            SolverError: A number is NaN or inf, or P is not symmetric and positive definite.
        """
        self.n, self.m = P.shape[0], pattern.shape[0]
        if P.shape != (self.n, self.n) or pattern.shape != (self.m, self.n):
            raise ShapeError(f"P has shape {P.shape} and A {pattern.shape}; expected (n, n) and (m, n).")
        self.tolerance = tolerance
        self._P, self._root = _convex(P)
        self._A = np.array(pattern, dtype=float)
        if not np.isfinite(self._A).all():
            raise SolverError("not_finite", "the pattern holds NaN or inf; every entry must be finite.")
        self._pattern = self._A
        self._columns, self._rows = np.nonzero(self._A.T)  # column-major, the order of a CSC matrix
        self._max_iterations = max_iterations
        self.reset()

    def reset(self) -> None:
        """Forget the last solution, which the next `solve` would start from, and the last A."""
        self._A = self._pattern
        starts = np.concatenate([[0], np.cumsum(np.bincount(self._columns, minlength=self.n))])
        entries = (self._A[self._rows, self._columns], self._rows, starts)
        self._solver: Any = osqp.OSQP()
        self._solver.setup(
            sparse.csc_matrix(np.triu(self._P)),
            np.zeros(self.n),
            sparse.csc_matrix(entries, shape=(self.m, self.n)),
            -np.ones(self.m),
            np.ones(self.m),
            verbose=False,
            eps_abs=self.tolerance,
            eps_rel=self.tolerance,
            max_iter=self._max_iterations,
            check_termination=10,
            scaling=0,  # a Hessian near the identity needs none, and it would be redone at every update
            warm_starting=True,
        )

    def solve(self, q: Array, lower: Array, upper: Array, A: Array | None = None) -> QPSolution:
        """Solve for these numbers.

        Args:
            q: Linear cost, (n,).
            lower: Lower bounds of A x, (m,); -inf allowed, below -1e20 the same.
            upper: Upper bounds of A x, (m,); inf allowed, above 1e20 the same.
            A: Constraint matrix (m, n), zero outside the pattern; None keeps the last one.

        Raises:
            SolverError: A number is NaN, a size is wrong, bounds cross or ask for values beyond 1e20; the solver was
                not called.
        """
        self._check(q, lower, upper, A)
        update: dict[str, Any] = {
            "q": q,
            "l": np.where(lower > -_INFINITY, lower, -_OSQP_INFINITY),
            "u": np.where(upper < _INFINITY, upper, _OSQP_INFINITY),
        }
        if A is not None:
            self._A = np.array(A, dtype=float)
            update["Ax"] = A[self._rows, self._columns]
        start = time.perf_counter()
        self._solver.update(**update)
        result = self._solver.solve(raise_error=False)
        elapsed = time.perf_counter() - start
        with np.errstate(all="ignore"):  # what overflows is found out by its residuals
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
        with np.errstate(all="ignore"):
            total = q.sum() + (0.0 if A is None else A.sum())
        if not np.isfinite(total) or np.isnan(lower).any() or np.isnan(upper).any():
            raise SolverError("not_finite", "the quadratic program holds NaN or inf; it was not passed to the solver.")
        if (lower > upper).any():
            row = int(np.argmax(lower - upper))
            raise SolverError("infeasible", f"bounds of row {row} cross: {lower[row]:g} > {upper[row]:g}.")
        beyond = (lower >= _INFINITY) | (upper <= -_INFINITY)
        if beyond.any():
            row = int(np.argmax(beyond))
            raise SolverError(
                "out_of_range",
                f"row {row} must lie between {lower[row]:g} and {upper[row]:g}, beyond what the solver can tell from "
                f"infinity ({_INFINITY:g}); scale the problem.",
            )

    def _judge(self, result: Any, q: Array, lower: Array, upper: Array, elapsed: float) -> QPSolution:
        x, y = np.asarray(result.x, dtype=float), np.asarray(result.y, dtype=float)
        problem = (self._P, q, self._A, lower, upper)
        code = str(result.info.status)
        if "infeasible" in code or not np.isfinite(x).all() or not np.isfinite(y).all():
            status = "infeasible" if "infeasible" in code else "failed"
            return QPSolution(
                np.full(self.n, np.nan), y, status, int(result.info.iter), np.inf, np.inf, elapsed, problem
            )
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
            v, weights = _least_distance(G, h)
        except (RuntimeError, ValueError):  # its iteration limit; a number that overflowed
            return stopped
        elapsed = stopped.solve_time + time.perf_counter() - start
        if v is None:
            return replace(stopped, x=np.full(self.n, np.nan), status="infeasible", solve_time=elapsed)
        x = centre + scipy.linalg.solve_triangular(self._root.T, v, lower=False)
        multipliers = np.zeros(self.m)
        multipliers[low] -= weights[: len(low)]
        multipliers[high] += weights[len(low) :]
        exact = self._verified(x, multipliers, True, stopped.iterations, elapsed, stopped.problem)
        return exact if exact.usable or not stopped.usable else stopped


def _convex(P: Array) -> tuple[Array, Array]:
    """Return P and its Cholesky factor, or raise a SolverError."""
    P = np.array(P, dtype=float)
    if not np.isfinite(P).all():
        raise SolverError("not_finite", "P holds NaN or inf; every entry must be finite.")
    if np.abs(P - P.T).max(initial=0.0) > 1e-9 * np.abs(P).max(initial=0.0):
        raise SolverError("not_symmetric", "P differs from its transpose; pass (P + P.T) / 2.")
    try:
        return P, np.asarray(np.linalg.cholesky(P), dtype=float)
    except np.linalg.LinAlgError:
        raise SolverError("not_convex", "P is not positive definite; give every variable a positive cost.") from None


def _least_distance(G: Array, h: Array) -> tuple[Array | None, Array]:
    """Return the shortest v with G v >= h, None where there is none, and its multipliers: v = G^T multipliers.

    Rows are scaled to unit length and v by the farthest single row, so that what counts as no solution does not depend
    on the problem's units.
    """
    length = np.maximum(np.linalg.norm(G, axis=1), 1e-300)
    unit, far = G / length[:, None], h / length
    scale = float(far.max(initial=0.0))
    if scale <= 0.0:
        return np.zeros(G.shape[1]), np.zeros(len(h))
    weights, distance = nnls(np.concatenate([unit.T, far[None] / scale]), np.append(np.zeros(G.shape[1]), 1.0))
    if distance < 1e-6:  # a separating direction exists: nothing satisfies the constraints
        return None, weights
    last = weights @ far / scale - 1.0
    v, multipliers = -(weights @ unit) / last * scale, -weights / last * scale
    # The rows that are met are known now; solving for them again makes up for the digits that were lost on the way.
    met = weights > 0
    sharper = np.linalg.lstsq(unit[met], far[met], rcond=None)[0]
    pushes = np.linalg.lstsq(unit[met].T, sharper, rcond=None)[0]
    if (pushes >= 0.0).all():
        v, multipliers[met] = sharper, pushes
    return v, multipliers / length

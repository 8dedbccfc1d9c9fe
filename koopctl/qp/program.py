"""A quadratic program of one structure, solved many times: every number is checked before, every answer after."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import numpy as np

from koopctl.arrays import Array
from koopctl.errors import ShapeError, SolverError
from koopctl.qp.active_set import ActiveSet
from koopctl.qp.backend import NO_BOUND, Answer, Backend
from koopctl.qp.backends import backend
from koopctl.qp.proximal import Proximal
from koopctl.qp.solution import QPSolution
from koopctl.qp.verification import Verification

Problem: TypeAlias = tuple[Array, Array, Array, Array, Array]
_Kind = TypeVar("_Kind", bound=Backend)
_PAST = ("_first", "_exact", "_exact_leads", "_verification", "_strays")  # made anew in a copy
_SLACK = 10.0  # residuals up to so many tolerances are accepted: solvers measure theirs in scaled rows


class QP:
    r"""Minimise :math:`\tfrac12 x^T P x + q^T x` subject to :math:`l \le A x \le u`, many times with one structure.

    The structure (sizes, which entries of A may be nonzero) is fixed; each `solve` passes the numbers. Every number
    is checked before the solver sees it, because solvers accept NaN, crossed bounds, wrong lengths and entries outside
    the structure, and every answer is checked against the optimality conditions afterwards, because an infeasible
    program also returns a finite x. Where the solver stops early or says that there is no solution, an exact active-set
    method has the last word. It then goes first in the solves that follow, from the rows it has found, for as long as
    bounds are active: programs that make an operator splitting crawl come in a row.
    """

    def __init__(
        self,
        P: Array,
        pattern: Array,
        *,
        solver: str = "osqp",
        tolerance: float = 1e-5,
        max_iterations: int | None = None,
    ) -> None:
        """Set up the structure.

        Args:
            P: Hessian (n, n), positive semidefinite, constant.
            pattern: (m, n), nonzero where A may be; also the first A.
            solver: "osqp" (operator splitting), "daqp" (active set in C), "piqp" (interior point) or "active_set"
                (the exact method from the start, without any package).
            tolerance: Absolute and relative tolerance of the solver; residuals up to 10 times it are accepted.
            max_iterations: Where the solver stops; None for its own choice.

        Raises:
            ShapeError: The sizes do not fit.
            SolverError: A number is NaN or inf, or P is not symmetric and positive semidefinite.
            UnknownNameError: There is no such solver.
            KoopctlError: The solver's package is not installed.
        """
        self.n, self.m = P.shape[0], pattern.shape[0]
        if P.shape != (self.n, self.n) or pattern.shape != (self.m, self.n):
            raise ShapeError(f"P has shape {P.shape} and A {pattern.shape}; expected (n, n) and (m, n).")
        self.solver, self.tolerance, self.max_iterations = solver, tolerance, max_iterations
        self._P, self._definite = _convex(P)
        self._pattern = np.array(pattern, dtype=float)
        if not np.isfinite(self._pattern).all():
            raise SolverError("not_finite", "the pattern holds NaN or inf; every entry must be finite.")
        outside = self._pattern == 0.0
        self._outside = outside.astype(float) if outside.any() else None
        self._A = self._pattern
        self._set_up()

    def __getstate__(self) -> dict[str, Any]:
        """Return the numbers: solvers cannot be copied or pickled, so that a copy starts with an empty past."""
        return {name: value for name, value in self.__dict__.items() if name not in _PAST}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the solver anew from the numbers; the last A stays."""
        self.__dict__.update(state)
        self._set_up()

    def _set_up(self) -> None:
        self._strays = np.zeros(self._pattern.shape)
        self._verification = Verification(self._P, self.m, _SLACK * self.tolerance)
        self._forget()

    def reset(self) -> None:
        """Forget the last solution, which the next `solve` would start from, and the last A."""
        self._A = self._pattern
        self._forget()

    def _forget(self) -> None:
        kind = backend(self.solver)
        if kind is ActiveSet and not self._definite:
            kind = Proximal
        self._first: Backend = self._made(kind, self.max_iterations)
        self._exact: ActiveSet | Proximal | None = None
        self._exact_leads = False

    def _made(self, kind: type[_Kind], max_iterations: int | None) -> _Kind:
        return kind(self._P, self._pattern, self.tolerance, max_iterations, self._definite)

    def _stand_by(self) -> ActiveSet | Proximal:
        """Return the exact method that has the last word."""
        if self._exact is None:
            self._exact = self._made(ActiveSet, None) if self._definite else self._made(Proximal, None)
        return self._exact

    def solve(self, q: Array, lower: Array, upper: Array, A: Array | None = None) -> QPSolution:
        """Solve for these numbers.

        Args:
            q: Linear cost, (n,).
            lower: Lower bounds of A x, (m,); -inf allowed, below -1e20 the same.
            upper: Upper bounds of A x, (m,); inf allowed, above 1e20 the same.
            A: Constraint matrix (m, n), zero where the pattern is; None keeps the last one, at no cost.

        Raises:
            SolverError: A number is NaN, a size is wrong, bounds cross or ask for values beyond 1e20, or A has an entry
                where the pattern has none; the solver was not called.
        """
        with np.errstate(all="ignore"):  # what overflows is found out by its residuals
            self._check(q, lower, upper, A)
            if A is not None:
                self._A = np.array(A, dtype=float)
            problem = (self._P, q, self._A, lower, upper)
            low, high = np.maximum(lower, -NO_BOUND), np.minimum(upper, NO_BOUND)
            if self._exact_leads:
                return self._in_turn(("active_set", self.solver), problem, low, high)
            return self._in_turn((self.solver, "active_set"), problem, low, high)

    # ------------------------------------------------------------------ before
    def _check(self, q: Array, lower: Array, upper: Array, A: Array | None) -> None:
        n, m = self.n, self.m
        if q.shape != (n,) or lower.shape != (m,) or upper.shape != (m,):
            raise SolverError("shape", f"q, l, u have shapes {q.shape}, {lower.shape}, {upper.shape}; n={n}, m={m}.")
        if not math.isfinite(float(np.add.reduce(q))):  # NaN or inf exactly when an entry is, or on overflow
            raise SolverError("not_finite", "q holds NaN or inf; the program was not passed to the solver.")
        if A is not None:
            self._check_matrix(A)
        # Written so that NaN, which argmin and argmax find and which compares as false, is refused.
        width = upper - lower
        if m and not (
            width[width.argmin()] >= 0.0 and lower[lower.argmax()] < NO_BOUND and upper[upper.argmin()] > -NO_BOUND
        ):
            _refuse(lower, upper)

    def _check_matrix(self, A: Array) -> None:
        if A.shape != (self.m, self.n):
            raise SolverError("shape", f"A has shape {A.shape}, expected ({self.m}, {self.n}).")
        if not math.isfinite(float(np.vdot(A, A))) and not np.isfinite(A).all():  # the square may overflow alone
            raise SolverError("not_finite", "A holds NaN or inf; the program was not passed to the solver.")
        if self._outside is not None:
            strays = np.multiply(A, self._outside, out=self._strays)
            if np.vdot(strays, strays) > 0.0:
                row, column = (int(i) for i in np.argwhere(strays)[0])
                raise SolverError(
                    "pattern",
                    f"A[{row}, {column}] = {A[row, column]:g}, where the pattern has no entry, which the solver would "
                    "not see; make the pattern nonzero there.",
                )

    # ------------------------------------------------------------------ solve
    def _in_turn(self, names: tuple[str, str], problem: Problem, low: Array, high: Array) -> QPSolution:
        """Ask one solver, and where its answer cannot be verified the other."""
        first = self._ask(names[0], problem, low, high)
        if first.status == "solved" or self.solver == "active_set":
            return self._led_by(first)
        second = self._ask(names[1], problem, low, high)
        # The exact method knows best whether there is a solution; a usable point is better than none.
        exact, other = (first, second) if names[0] == "active_set" else (second, first)
        decided = exact.status in ("solved", "infeasible", "unbounded") and other.status != "solved"
        best = exact if decided or (exact.usable and not other.usable) else other
        iterations, seconds = first.iterations + second.iterations, first.solve_time + second.solve_time
        return self._led_by(replace(best, iterations=iterations, solve_time=seconds))

    def _led_by(self, solution: QPSolution) -> QPSolution:
        """Let the exact method go first next time where it has just found active rows."""
        exact = self._exact
        self._exact_leads = (
            exact is not None and solution.method == "active_set" and solution.status == "solved" and not exact.idle
        )
        return solution

    def _ask(self, name: str, problem: Problem, low: Array, high: Array) -> QPSolution:
        """Let one solver solve and verify its answer."""
        _, q, A, _, _ = problem
        if name == self.solver:
            solver: Backend = self._first
        else:
            solver = self._stand_by()
        answer = solver.solve(q, low, high, A)
        solution = self._verified(answer, name, problem, low, high)
        if solution.status == "failed" and not (np.isfinite(answer.x).all() and np.isfinite(answer.y).all()):
            solver.reset()  # it would start from these numbers
        return solution

    def _verified(self, answer: Answer, name: str, problem: Problem, low: Array, high: Array) -> QPSolution:
        """Judge an answer by the program's own numbers, whatever the solver says of it."""
        _, q, A, _, _ = problem
        x, y, outcome, iterations, seconds = answer
        if outcome in ("infeasible", "unbounded"):
            nothing = np.full(self.n, np.nan)
            return QPSolution(nothing, y, outcome, iterations, np.inf, np.inf, seconds, problem, name)
        verdict, primal, dual = self._verification.judge(x, y, q, low, high, A, outcome == "solved")
        if primal == np.inf:
            x = np.full(self.n, np.nan)
        status = "solved" if verdict == "optimal" else verdict
        return QPSolution(x, y, status, iterations, primal, dual, seconds, problem, name)


def _refuse(lower: Array, upper: Array) -> None:
    """Say what is wrong with bounds that are no bounds."""
    if np.isnan(lower).any() or np.isnan(upper).any():
        raise SolverError("not_finite", "l or u holds NaN; the program was not passed to the solver.")
    beyond = (lower >= NO_BOUND) | (upper <= -NO_BOUND)
    if beyond.any():
        row = int(np.argmax(beyond))
        raise SolverError(
            "out_of_range",
            f"row {row} must lie between {lower[row]:g} and {upper[row]:g}, beyond what the solver can tell from "
            f"infinity ({NO_BOUND:g}); scale the problem.",
        )
    row = int(np.argmax(lower - upper))
    raise SolverError("infeasible", f"bounds of row {row} cross: {lower[row]:g} > {upper[row]:g}.")


def _convex(P: Array) -> tuple[Array, bool]:
    """Return a copy of P and whether it is safely positive definite, or raise a SolverError."""
    P = np.array(P, dtype=float)
    if not np.isfinite(P).all():
        raise SolverError("not_finite", "P holds NaN or inf; every entry must be finite.")
    largest = float(np.abs(P).max(initial=0.0))
    if np.abs(P - P.T).max(initial=0.0) > 1e-9 * largest:
        raise SolverError("not_symmetric", "P differs from its transpose; pass (P + P.T) / 2.")
    try:
        if np.diag(np.linalg.cholesky(P)).min(initial=np.inf) > 1e-6 * math.sqrt(largest):
            return P, True
    except np.linalg.LinAlgError:
        pass
    smallest = float(np.linalg.eigvalsh(P)[0])
    if smallest < -1e-9 * largest:
        raise SolverError("not_convex", f"P has the eigenvalue {smallest:.3g}; a cost must not fall without bound.")
    return P, False

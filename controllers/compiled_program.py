"""A stated problem on the plans of a linear horizon: one small dense quadratic program."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.controllers.stated_problem import StatedProblem
from koopctl.errors import SolverError
from koopctl.qp import QP, QPSolution
from koopctl.qp.recession import Recession

_PRICE = 1e-6  # of the largest entry: added to a Hessian that is only semidefinite, as that of slacks is
_DEFINITE = 1e-10  # of the largest eigenvalue: a Hessian that needs no more
_PULL = 1e-5  # of the gradient's terms: what that addition may change
_ROUNDS = 10
_RANK = 1e-10
_LOST = 1e-7  # of its terms: an equality that no plan meets


class Compiled(NamedTuple):
    """An answer: corrections w (n_w,), the cost and what the solver said."""

    w: Array
    cost: float
    solution: QPSolution


class CompiledProgram:
    r"""The stated problem for plans :math:`f + M w`, with further rows :math:`l \le R [w, s] \le h` and slacks s.

    The plan replaces the problem's coordinates and inputs, and its equality rows, which define most of CVXPY's own
    variables, are eliminated (null-space method), so that a call solves a program of the size of the inputs. A Hessian
    that is only semidefinite gets a small price on moving away from the last point, which then moves (proximal point
    iterations), so that the answer is the stated problem's, and a cost without bound is found out.
    """

    def __init__(self, stated: StatedProblem, moves: Array, rows: Array, price: Array, solver: str) -> None:
        """Substitute and eliminate.

        Args:
            stated: The problem.
            moves: M: coordinates and then inputs of the plan by w, (n_plan, n_w).
            rows: R, (m, n_w + n_s).
            price: Prices of the slacks, linear and quadratic, (n_s,).
            solver: Name of the quadratic programming solver.
        """
        self._stated, self._price, n_w = stated, price, moves.shape[1]
        self._at = np.concatenate([stated.x_at, stated.u_at])
        self._of = np.arange(len(moves))
        if not len(stated.x_at):
            self._of = self._of[stated.x.size :]
        if not len(stated.u_at):
            self._of = self._of[: len(self._of) - stated.u.size]
        others = np.setdiff1d(np.arange(stated.P.shape[0]), self._at)
        self._M = np.zeros((stated.P.shape[0], n_w + len(others)))
        self._M[self._at, :n_w], self._M[others, n_w + np.arange(len(others))] = moves[self._of], 1.0
        self._eliminate(stated.A @ self._M)
        self._by, self._rows, self._n_w = self._M @ self._Z, rows[:, :n_w], n_w
        size, n_s = self._Z.shape[1], len(price)
        P = scipy.linalg.block_diag(self._by.T @ (stated.P @ self._by), np.diag(price))
        self._P = (P + P.T) / 2.0
        self._A = np.zeros((stated.F.shape[0] + len(rows), size + n_s))
        self._A[: stated.F.shape[0], :size] = stated.F @ self._by
        self._A[stated.F.shape[0] :, :size] = self._rows @ self._Z[:n_w]
        self._A[stated.F.shape[0] :, size:] = rows[:, n_w:]
        self._none = np.full(stated.F.shape[0], -np.inf)
        curvature, largest = np.linalg.eigvalsh(self._P), float(np.abs(self._P).max(initial=0.0))
        definite = not len(curvature) or curvature[0] > _DEFINITE * curvature[-1]
        self._move = 0.0 if definite else _PRICE * (largest or 1.0)
        self._recession: Recession | None = None
        # Without rows there is nothing to iterate over.
        self._qp = QP(
            self._P + self._move * np.eye(len(self._P)), self._A, solver=solver if len(self._A) else "active_set"
        )

    def _eliminate(self, E: Array) -> None:
        """Write t with E t = r as particular r + Z free, and find which sums of r must be zero."""
        m, n = E.shape
        Q, R, order = scipy.linalg.qr(E.T, pivoting=True)
        entries = np.abs(np.diag(R))
        rank = int((entries > _RANK * entries.max(initial=0.0)).sum()) if m else 0
        self._Z = Q[:, rank:]
        inverse = scipy.linalg.solve_triangular(R[:rank, :rank], np.eye(rank), trans="T")
        self._particular, self._lost = np.zeros((n, m)), np.zeros((m - rank, m))
        self._particular[:, order[:rank]] = Q[:, :rank] @ inverse
        self._lost[:, order[:rank]] = -R[:rank, rank:].T @ inverse
        self._lost[np.arange(m - rank), order[rank:]] = 1.0

    def reset(self) -> None:
        """Forget the last solution."""
        self._qp.reset()

    def solve(self, p: Array, plan: Array, low: Array, high: Array) -> Compiled:
        """Solve for the problem's parameters p, the plan f (n_plan,) and the rows' bounds l, h (m,).

        Raises:
            SolverError: The program holds NaN, no plan satisfies it, or its cost falls without bound.
        """
        stated = self._stated
        base = np.zeros(len(self._M))
        base[self._at] = plan[self._of]
        equal = stated.b.at(p) - stated.A @ base
        lost = np.abs(self._lost @ equal) > _LOST * (1.0 + np.abs(self._lost) @ np.abs(equal))
        if lost.any():
            raise SolverError("infeasible", "no plan from here satisfies the problem's equalities.")
        t = self._particular @ equal
        base += self._M @ t
        gradient = stated.q.at(p) + stated.P @ base
        q = np.concatenate([gradient @ self._by, self._price])
        shift = self._rows @ t[: self._n_w]
        lower = np.concatenate([self._none, low - shift])
        upper = np.concatenate([stated.h.at(p) - stated.F @ base, high - shift])
        solution = self._iterate(q, lower, upper)
        free, s = np.split(solution.x, [self._Z.shape[1]])
        chi = base + self._by @ free
        cost = chi @ (stated.P @ chi) / 2.0 + stated.q.at(p) @ chi + stated.c.at(p)[0] + self._price @ (s + s * s / 2.0)
        return Compiled(t[: self._n_w] + self._Z[: self._n_w] @ free, float(cost), solution)

    def _iterate(self, q: Array, lower: Array, upper: Array) -> QPSolution:
        """Solve, and where the Hessian was added to, until that changes nothing."""
        centre = np.zeros(len(q))
        falls: bool | None = None
        for number in range(_ROUNDS):
            solution = self._qp.solve(q - self._move * centre, lower, upper)
            if not self._move or solution.status != "solved":
                return solution
            terms = np.abs(q).max(initial=0.0) + np.abs(self._P @ solution.x).max(initial=0.0)
            if not self._move * np.abs(solution.x - centre).max(initial=0.0) > _PULL * terms:
                return solution
            if number == 0:
                self._recession = self._recession or Recession(self._P, self._A)
                falls = self._recession.falls(q, lower, upper, self._A)
                if falls:
                    raise SolverError("unbounded", "the cost falls without bound; bound what it falls with.")
            centre = solution.x
        if falls is None:
            raise SolverError("failed", "whether the cost falls without bound could not be told.")
        return replace(solution, status="feasible")

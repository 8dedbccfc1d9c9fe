"""The bounds of a task as rows of the condensed program: inputs and rates hard, coordinates soft."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.riccati import Condensed
from koopctl.errors import SolverError
from koopctl.qp import QP, QPSolution
from koopctl.task import ResolvedTask

_SLACK = 1e-9  # how far the unconstrained optimum may touch a bound


class Constraints:
    """Input, rate and soft output bounds over a horizon, in the variables [w, s].

    w (N * nu,) are the scaled corrections of `Condensed`, s one slack for each bounded coordinate, shared by all
    stages. The Hessian is the identity for w, so that the structure never changes and only rows and bounds do.
    """

    def __init__(self, task: ResolvedTask, nu: int) -> None:
        """Choose the rows that exist and set up the solver.

        Args:
            task: Bounds, horizon and slack price.
            nu: Number of inputs.
        """
        self.task, self.N, self.nu = task, task.horizon, nu
        self.has_input = bool(np.isfinite(task.u_min).any() or np.isfinite(task.u_max).any())
        self.has_rate = bool(np.isfinite(task.du_max).any())
        self.soft = np.flatnonzero(np.isfinite(task.y_min) | np.isfinite(task.y_max))
        self.n_w, self.n_s = self.N * nu, len(self.soft)
        self.empty = not (self.has_input or self.has_rate or self.n_s)
        self._linear = np.concatenate([np.zeros(self.n_w), np.full(self.n_s, task.slack_price)])
        self._qp = None if self.empty else self._make_solver()

    def _make_solver(self) -> QP:
        hessian = np.diag(np.concatenate([np.ones(self.n_w), np.full(self.n_s, self.task.slack_price)]))
        triangle = np.kron(np.tri(self.N), np.ones((self.nu, self.nu)))
        blocks = [np.pad(triangle, ((0, 0), (0, self.n_s)))] * (self.has_input + self.has_rate)
        if self.n_s:
            response = np.repeat(np.kron(np.tri(self.N), np.ones((1, self.nu))), self.n_s, axis=0)
            slack = np.tile(np.eye(self.n_s), (self.N, 1))
            rows = np.concatenate([response, slack], axis=1)
            sign = np.concatenate([np.zeros((self.n_s, self.n_w)), np.eye(self.n_s)], axis=1)
            blocks += [rows, rows, sign]
        return QP(hessian, np.concatenate(blocks))

    def reset(self) -> None:
        """Forget the last solution, which the solver would start from: a run must not depend on the one before."""
        if self._qp is not None:
            self._qp.reset()

    def rows(
        self, plan: Condensed, X: Array, U: Array, u_last: Array, reserve: Array | float = 0.0
    ) -> tuple[Array, Array, Array]:
        """Return A (m, n), lower (m,), upper (m,) around the plan X (N + 1, nq or more), U (N, nu).

        The inputs stay `reserve`, (N, nu) or 0, inside their bounds.
        """
        task, n, n_w = self.task, self.n_w + self.n_s, self.n_w
        free = U + plan.free_u
        parts, lows, highs = [], [], []
        if self.has_input:
            parts.append(plan.T.reshape(n_w, n_w))
            lows.append((task.u_min + reserve - free).ravel())
            highs.append((task.u_max - reserve - free).ravel())
        if self.has_rate:
            change = np.diff(free, axis=0, prepend=u_last[None])
            step = plan.T.copy()
            step[1:] -= plan.T[:-1]
            parts.append(step.reshape(n_w, n_w))
            lows.append((-task.du_max - change).ravel())
            highs.append((task.du_max - change).ravel())
        A = np.zeros((sum(len(part) for part in parts) + (2 * self.N + 1) * self.n_s, n))
        A[: len(A) - (2 * self.N + 1) * self.n_s, :n_w] = np.concatenate(parts) if parts else 0.0
        if self.n_s:
            low, high = self._soft_rows(A, plan, X)
            lows, highs = lows + low, highs + high
        return A, np.concatenate(lows), np.concatenate(highs)

    def _soft_rows(self, A: Array, plan: Condensed, X: Array) -> tuple[list[Array], list[Array]]:
        """Fill response - s <= high and response + s >= low, then s >= 0, into the last rows of A."""
        N, n_s, n_w, soft = self.N, self.n_s, self.n_w, self.soft
        free = (X[1:, soft] + plan.free_x[1:, soft]).ravel()
        response = plan.S[1:, soft].reshape(N * n_s, n_w)
        high_rows, low_rows = A[-(2 * N + 1) * n_s : -(N + 1) * n_s], A[-(N + 1) * n_s : -n_s]
        high_rows[:, :n_w], low_rows[:, :n_w] = response, response
        slack = np.tile(np.eye(n_s), (N, 1))
        high_rows[:, n_w:], low_rows[:, n_w:] = -slack, slack
        A[-n_s:, n_w:] = np.eye(n_s)
        nothing = np.full(N * n_s, np.inf)
        lows = [-nothing, np.tile(self.task.y_min[soft], N) - free, np.zeros(n_s)]
        return lows, [np.tile(self.task.y_max[soft], N) - free, nothing, np.full(n_s, np.inf)]

    def solve(
        self, plan: Condensed, X: Array, U: Array, u_last: Array, reserve: Array | float = 0.0
    ) -> tuple[Array, QPSolution | None]:
        """Return the corrections w (N * nu,) and the solver's answer, None when no bound is touched.

        Args:
            plan: The condensed horizon.
            X: Planned states, (N + 1, nq or more).
            U: Planned inputs, (N, nu).
            u_last: Input applied before, (nu,).
            reserve: How far inside their bounds the inputs stay, (N, nu) or 0.

        Raises:
            SolverError: The program holds NaN or has no feasible point.
        """
        if self._qp is None:
            return np.zeros(self.n_w), None
        A, lower, upper = self.rows(plan, X, U, u_last, reserve)
        if (lower <= _SLACK).all() and (upper >= -_SLACK).all():
            return np.zeros(self.n_w), None
        solution = self._qp.solve(self._linear, lower, upper, A)
        if not solution.usable:
            raise SolverError(solution.status, "the quadratic program of the horizon has no verified solution.")
        return solution.x[: self.n_w], solution

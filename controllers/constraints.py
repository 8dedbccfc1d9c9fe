"""The bounds of a task as rows of the condensed program: inputs and rates hard, coordinates and terminal set soft."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.riccati import Condensed
from koopctl.controllers.terminal_set import TerminalSet
from koopctl.errors import SolverError
from koopctl.qp import QP, QPSolution
from koopctl.task import ResolvedTask

_SLACK = 1e-9  # how far the unconstrained optimum may touch a bound


class Constraints:
    """Input, rate and soft output bounds over a horizon, in the variables [w, s].

    w (n_w,) are the scaled corrections of `Condensed`, s one slack for each bounded coordinate, shared by all stages,
    and one for the terminal set. The Hessian is the identity for w, so that the structure never changes and only rows
    and bounds do. Where a plan has fewer moves than steps, inputs have rows where they may change only.
    """

    def __init__(self, task: ResolvedTask, nu: int, terminal: TerminalSet | None = None, solver: str = "osqp") -> None:
        """Choose the rows that exist and set up the solver.

        Args:
            task: Bounds, horizon, moves and slack prices.
            nu: Number of inputs.
            terminal: Bounds on what comes after the horizon, or None.
            solver: Name of the quadratic programming solver.

        Raises:
            UnknownNameError: There is no such solver.
        """
        self.task, self.terminal, self.solver = task, terminal, solver
        self.N, self.nu, self.at = task.horizon, nu, task.moves
        self.has_input, self.has_rate = _any(task.u_min, task.u_max), _any(task.du_max)
        self.above, self.below = _columns(task.y_max), _columns(task.y_min)
        self.soft = np.union1d(self.above, self.below)
        self.n_w, self.n_soft = len(self.at) * nu, len(self.soft)
        self.n_end = 0 if terminal is None else len(terminal.G)
        self.n_s = self.n_soft + (self.n_end > 0)
        self.empty = not (self.has_input or self.has_rate or self.n_s)
        price = task.slack_price[self.soft]
        self.price = np.append(price, task.slack_price.max()) if self.n_end else price
        self._linear = np.concatenate([np.zeros(self.n_w), self.price])
        self._qp = None if self.empty else self._make_solver()
        self._A: Array | None = None
        self._limits: tuple[ResolvedTask, Array | float, tuple[Array, Array]] | None = None

    def _make_solver(self) -> QP:
        """Set the program up with every entry that can be nonzero."""
        N, nu, n_w = self.N, self.nu, self.n_w
        T = (np.arange(N)[:, None] >= self.at[None]).astype(float)
        growing = T * np.arange(1.0, N + 1.0)[:, None]  # so that no difference of two rows is zero
        inputs = np.kron(growing, np.ones((nu, nu))).reshape(N, nu, n_w)
        states = np.concatenate([np.zeros((1, n_w)), np.kron(T, np.ones((1, nu)))])[:, None]
        plan = Condensed(np.zeros((N, nu)), inputs, np.zeros((N + 1, 1)), states, np.zeros((N, nu, 0)))
        self._every = np.zeros(self.n_soft, dtype=int)  # the pattern has one column for all coordinates
        A = self._matrix(plan, self._every, np.ones((self.n_end, n_w)))
        return QP(np.diag(np.concatenate([np.ones(n_w), self.price])), A, solver=self.solver)

    def reset(self) -> None:
        """Forget the last solution, which the solver would start from: a run must not depend on the one before."""
        self._A = None
        if self._qp is not None:
            self._qp.reset()

    def suits(self, task: ResolvedTask) -> bool:
        """Tell whether a task with changed numbers still has these rows; bounds may go, but not come."""
        return (
            (self.has_input or not _any(task.u_min, task.u_max))
            and (self.has_rate or not _any(task.du_max))
            and bool(
                np.isin(_columns(task.y_max), self.above).all() and np.isin(_columns(task.y_min), self.below).all()
            )
        )

    # ------------------------------------------------------------------ rows
    def matrix(self, plan: Condensed, end: Array | None = None) -> Array:
        """Return A (m, n) of the rows, for responses of the plan and of the terminal set's rows to w, (n_end, n_w)."""
        return self._matrix(plan, self.soft, end)

    def _matrix(self, plan: Condensed, soft: np.ndarray, end: Array | None) -> Array:
        n_w, at = self.n_w, self.at
        parts = []
        if self.has_input:
            parts.append(plan.T[at].reshape(n_w, n_w))
        if self.has_rate:
            step = plan.T[at]
            step[1:] -= plan.T[at[1:] - 1]
            parts.append(step.reshape(n_w, n_w))
        high, low = (np.searchsorted(self.soft, side) for side in (self.above, self.below))
        hard, n_high, n_low = sum(len(part) for part in parts), self.N * len(high), self.N * len(low)
        A = np.zeros((hard + n_high + n_low + 2 * self.n_end + self.n_s, n_w + self.n_s))
        if parts:
            A[:hard, :n_w] = np.concatenate(parts)
        if self.n_soft:
            rows, slack = plan.S[1:][:, soft], np.eye(self.n_soft)
            A[hard : hard + n_high, :n_w] = rows[:, high].reshape(n_high, n_w)
            A[hard : hard + n_high, n_w : n_w + self.n_soft] = np.tile(-slack[high], (self.N, 1))
            A[hard + n_high : hard + n_high + n_low, :n_w] = rows[:, low].reshape(n_low, n_w)
            A[hard + n_high : hard + n_high + n_low, n_w : n_w + self.n_soft] = np.tile(slack[low], (self.N, 1))
        if self.n_end and end is not None:
            first = hard + n_high + n_low
            A[first : first + self.n_end, :n_w] = A[first + self.n_end : first + 2 * self.n_end, :n_w] = end
            A[first : first + self.n_end, -1], A[first + self.n_end : first + 2 * self.n_end, -1] = -1.0, 1.0
        if self.n_s:
            A[-self.n_s :, n_w:] = np.eye(self.n_s)
        return A

    def bounds(
        self, free_u: Array, free_x: Array, u_last: Array, reserve: Array | float = 0.0, end: Array | None = None
    ) -> tuple[Array, Array]:
        """Return lower (m,) and upper (m,) of the rows around planned inputs (N, nu) and states (N + 1, nq or more).

        The inputs stay `reserve`, (N, nu) or 0, inside their bounds; `end` (n_end,) are the terminal rows as planned.
        """
        values, (low, high) = self.values(free_u, free_x, u_last, end), self.limits(reserve)
        return low - values, high - values

    def values(self, U: Array, X: Array, u_last: Array, end: Array | None = None) -> Array:
        """Return what the rows bound (m,), of inputs (N, nu), states (N + 1, nq or more), terminal rows (n_end,)."""
        parts = list[Array]()
        if self.has_input:
            parts.append(U[self.at].ravel())
        if self.has_rate:
            change = U.copy()
            change[0] -= u_last
            change[1:] -= U[:-1]
            parts.append(change[self.at].ravel())
        if self.n_soft:
            parts += [X[1:, self.above].ravel(), X[1:, self.below].ravel()]
        if self.n_end and end is not None:
            parts += [end, end]
        return np.concatenate([*parts, np.zeros(self.n_s)])

    def limits(self, reserve: Array | float = 0.0) -> tuple[Array, Array]:
        """Return the lowest (m,) and highest (m,) the rows' values may be; the last result is kept."""
        if self._limits is not None and self._limits[0] is self.task and self._limits[1] is reserve:
            return self._limits[2]
        task, N = self.task, self.N
        lows, highs = list[Array](), list[Array]()
        if self.has_input:
            every = np.zeros((N, self.nu))
            lows.append(self._tightest(np.maximum, task.u_min + reserve + every))
            highs.append(self._tightest(np.minimum, task.u_max - reserve + every))
        if self.has_rate:
            limit = np.broadcast_to(task.du_max, (N, self.nu))[self.at].ravel()
            lows.append(-limit)
            highs.append(limit)
        if self.n_soft:
            high = np.broadcast_to(task.y_max, (N, task.y_max.shape[-1]))[:, self.above].ravel()
            low = np.broadcast_to(task.y_min, (N, task.y_min.shape[-1]))[:, self.below].ravel()
            lows += [np.full(high.size, -np.inf), low]
            highs += [high, np.full(low.size, np.inf)]
        if self.n_end and self.terminal is not None:
            nothing = np.full(self.n_end, np.inf)
            lows += [-nothing, self.terminal.low]
            highs += [self.terminal.high, nothing]
        found = np.concatenate([*lows, np.zeros(self.n_s)]), np.concatenate([*highs, np.full(self.n_s, np.inf)])
        self._limits = (task, reserve, found)
        return found

    def _tightest(self, pick: np.ufunc, rows: Array) -> Array:
        """Return the bounds (n_w,) of the moves, each the tightest of the steps it is held for."""
        return np.asarray(rows if len(self.at) == self.N else pick.reduceat(rows, self.at, axis=0)).ravel()

    # ------------------------------------------------------------------ solving
    def solve(self, A: Array, lower: Array, upper: Array) -> tuple[Array, QPSolution | None]:
        """Return the corrections w (n_w,) and the solver's answer, None when no bound is touched.

        Args:
            A: Rows, (m, n); the same object as before says that nothing in it has changed.
            lower: Lower bounds, (m,).
            upper: Upper bounds, (m,).

        Raises:
            SolverError: The program holds NaN or has no feasible point.
        """
        if self._qp is None or ((lower <= _SLACK).all() and (upper >= -_SLACK).all()):
            return np.zeros(self.n_w), None
        solution = self._qp.solve(self._linear, lower, upper, None if A is self._A else A)
        self._A = A
        if not solution.usable:
            raise SolverError(solution.status, "the quadratic program of the horizon has no verified solution.")
        return solution.x[: self.n_w], solution


def _any(*bounds: Array) -> bool:
    return any(bool(np.isfinite(bound).any()) for bound in bounds)


def _columns(bound: Array) -> np.ndarray:
    """Return the coordinates with a finite bound at some step."""
    return np.flatnonzero(np.isfinite(bound).reshape(-1, bound.shape[-1]).any(axis=0))

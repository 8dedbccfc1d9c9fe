"""The bounds of a task as rows of the condensed program: inputs and rates hard, coordinates and terminal set soft."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.terminal_set import TerminalSet
from koopctl.errors import SolverError, UnknownNameError
from koopctl.qp import QP, QPSolution
from koopctl.qp.backends import SOLVERS
from koopctl.task import ResolvedTask

_ZERO = np.zeros(1)
_SLACK = 1e-9  # how far the unconstrained optimum may touch a bound


class Constraints:
    """Input, rate and soft output bounds over a horizon, in the variables [w, s].

    w (n_w,) are the scaled corrections of `Condensed`, s one slack for each bounded coordinate, shared by all stages,
    and one for the terminal set. The Hessian is the identity for w, so that the structure never changes and only rows
    and bounds do. Where a plan has fewer moves than steps, inputs have rows where they may change only.

    A plan enters flat: its states, its inputs, its terminal rows (n_end,). Every row bounds an entry of it or the
    difference of two, so that rows and their values are found by picking.

    Attributes:
        solution: The last program's answer, None before the first one.
    """

    def __init__(
        self, task: ResolvedTask, nu: int, width: int, terminal: TerminalSet | None = None, solver: str = "osqp"
    ) -> None:
        """Choose the rows that exist and set up the solver.

        Args:
            task: Bounds, horizon, moves and slack prices.
            nu: Number of inputs.
            width: Entries of a planned state, coordinates first.
            terminal: Bounds on what comes after the horizon, or None.
            solver: Name of the quadratic programming solver.

        Raises:
            UnknownNameError: There is no such solver.
        """
        if solver not in SOLVERS:  # also where nothing binds and none is made
            raise UnknownNameError("solver", solver, SOLVERS)
        self.task, self.terminal, self.solver = task, terminal, solver
        self.N, self.nu, self.width, self.at = task.horizon, nu, width, task.moves
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
        self._pick()
        self._qp = None if self.empty else self._make_solver()
        self._A: Array | None = None
        self.solution: QPSolution | None = None
        self._limits: tuple[ResolvedTask, Array | float, tuple[Array, Array]] | None = None

    def _pick(self) -> None:
        """Find the entries of the flat plan, u_last and a zero that the rows bound, and what the rates subtract."""
        N, nu, n_x = self.N, self.nu, (self.N + 1) * self.width
        moves = n_x + (self.at[:, None] * nu + np.arange(nu)).ravel()
        end = n_x + N * nu + np.arange(self.n_end)
        self._zero = n_x + N * nu + self.n_end + nu
        stages = np.arange(1, N + 1)[:, None] * self.width
        inputs = moves if self.has_input else moves[:0]
        rates = moves if self.has_rate else moves[:0]
        high, low = (stages + self.above).ravel(), (stages + self.below).ravel()
        self._rows = np.concatenate([inputs, rates, high, low, end, end, np.full(self.n_s, self._zero)])
        self._rates = slice(len(inputs), len(inputs) + len(rates))
        self._before = np.concatenate([self._zero - nu + np.arange(nu), rates[nu:] - nu])[: len(rates)]
        self._slacks = np.zeros((len(self._rows), self.n_s))
        hard = len(inputs) + len(rates)
        for column, first, sign in ((self.above, hard, -1.0), (self.below, hard + len(high), 1.0)):
            rows = first + np.arange(N * len(column))
            self._slacks[rows, np.tile(np.searchsorted(self.soft, column), N)] = sign
        if self.n_end:
            first = hard + len(high) + len(low)
            self._slacks[first : first + self.n_end, -1] = -1.0
            self._slacks[first + self.n_end : first + 2 * self.n_end, -1] = 1.0
        self._slacks[len(self._rows) - self.n_s :] = np.eye(self.n_s)

    def _make_solver(self) -> QP:
        """Set the program up with every entry that can be nonzero."""
        N, nu, n_w = self.N, self.nu, self.n_w
        T = (np.arange(N)[:, None] >= self.at[None]).astype(float)
        growing = T * np.arange(1.0, N + 1.0)[:, None]  # so that no difference of two rows is zero
        states = np.repeat(np.concatenate([np.zeros((1, n_w)), np.kron(T, np.ones((1, nu)))]), self.width, axis=0)
        A = self.matrix(np.concatenate([states, np.kron(growing, np.ones((nu, nu))), np.ones((self.n_end, n_w))]))
        return QP(np.diag(np.concatenate([np.ones(n_w), self.price])), A, solver=self.solver)

    def reset(self) -> None:
        """Forget the last solution, which the solver would start from: a run must not depend on the one before."""
        self._A = None
        if self._qp is not None:
            self._qp.reset()

    def aim(self, task: ResolvedTask, terminal: TerminalSet | None) -> None:
        """Take the numbers of another task and terminal set that have these rows."""
        self.task = task
        if terminal is not self.terminal:
            self.terminal, self._limits = terminal, None

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
    def matrix(self, moves: Array) -> Array:
        """Return A (m, n) of the rows for the response of the flat plan to w, (n_flat, n_w)."""
        whole = np.concatenate([moves, np.zeros((self.nu + 1, self.n_w))])
        A = np.empty((len(self._rows), self.n_w + self.n_s))
        A[:, : self.n_w] = whole[self._rows]
        if self.has_rate:
            A[self._rates, : self.n_w] -= whole[self._before]
        A[:, self.n_w :] = self._slacks
        return A

    def values(self, flat: Array, u_last: Array) -> Array:
        """Return what the rows bound (m,), of a flat plan (n_flat,) after the input u_last (nu,)."""
        whole = np.concatenate((flat, u_last, _ZERO))
        values: Array = whole[self._rows]
        if self.has_rate:
            values[self._rates] -= whole[self._before]
        return values

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
    def touched(self, lower: Array, upper: Array) -> bool:
        """Tell whether no correction, w = 0, is beyond one of these bounds (m,), or one is NaN."""
        if self._qp is None:
            return False
        return not (lower[lower.argmax()] <= _SLACK and upper[upper.argmin()] >= -_SLACK)

    def solve(self, A: Array, lower: Array, upper: Array) -> tuple[Array, QPSolution]:
        """Return the corrections w (n_w,) and the solver's answer, for bounds that are touched.

        Args:
            A: Rows, (m, n); the same object as before says that nothing in it has changed.
            lower: Lower bounds, (m,).
            upper: Upper bounds, (m,).

        Raises:
            SolverError: The program holds NaN or has no feasible point.
        """
        if self._qp is None:
            raise SolverError("empty", "nothing is bounded, so there is no program to solve.")
        self.solution = solution = self._qp.solve(self._linear, lower, upper, None if A is self._A else A)
        self._A = A
        if not solution.usable:
            raise SolverError(solution.status, "the quadratic program of the horizon has no verified solution.")
        return solution.x[: self.n_w], solution


def _any(*bounds: Array) -> bool:
    return any(bool(np.isfinite(bound).any()) for bound in bounds)


def _columns(bound: Array) -> np.ndarray:
    """Return the coordinates with a finite bound at some step."""
    return np.flatnonzero(np.isfinite(bound).reshape(-1, bound.shape[-1]).any(axis=0))

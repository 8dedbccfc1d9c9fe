"""Model predictive control with a convex problem of the user's own, stated in CVXPY and compiled once."""

# mypy: disable-error-code="attr-defined"
# cvxpy re-exports its functions with star imports, which mypy does not follow.

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import cvxpy as cp
import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.answer import Answer, RefusedError
from koopctl.controllers.compiled_program import CompiledProgram
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.observer import Observer
from koopctl.controllers.stated_problem import Formulate, StatedProblem, use_up_numbers
from koopctl.errors import DesignError, SolverError
from koopctl.models.base import Model
from koopctl.qp.backends import backend
from koopctl.task import Task

_YOURS = "the cost of this law is formulate's own; put what changes into a cp.Parameter there and set its value"


class ConvexMPC(LiftedMPC):
    """The lifted MPC with any convex cost, and further constraints, in place of the task's cost.

    `formulate(x, u, y)` gets CVXPY expressions of the plan: the coordinates x (N + 1, nq), the inputs u (N, nu) and
    the measured states y (N + 1, ny; the coordinates where an observation holds angles), row 0 of x and y being now.
    It returns a cost and a list of constraints, e.g. with `price = cp.Parameter(N, nonneg=True)`

        def formulate(x, u, y):
            return price @ cp.abs(u[:, 0]) + cp.sum_squares(x[1:, 0] - 20.0), [cp.sum(cp.pos(u)) <= 5.0]

    The dynamics, the task's bounds on inputs, rates (hard) and coordinates (soft, at `slack_price`), its terminal set
    and the held inputs of `control_horizon` are there already, at a call with the bounds of its preview. Target and
    weights of the task make the fallback and the steady pair only: a reference, a path or weights at a call are
    refused, the reason says so, and the law goes on with the cost as stated. CVXPY parameters are vectors (or
    scalars); they may be added and be prices, but multiply nothing that is squared or bounded, and are set through
    their `value` before a call. The problem is compiled at the design: a call is one small quadratic program, and
    CVXPY is not called. Where the constraints cannot be met, or the cost falls without bound, the ladder goes on;
    state constraints with slacks (`cp.pos`) where that may happen.
    """

    kind: ClassVar[str] = "convex"
    _stated: StatedProblem | None = None
    _compiled: tuple[_Compiled, ...] = ()
    _written: _Written | None = None

    def __init__(
        self,
        model: Model,
        task: Task,
        formulate: Formulate,
        observer: Observer | None = None,
        offset_free: float = False,
        solver: str = "osqp",
    ) -> None:
        """Design the law: state the problem and compile it.

        Args:
            model: A fitted `EDMDc` with linear inputs.
            task: Horizon, bounds, moves; target and weights of the fallback and the steady pair.
            formulate: States cost and constraints.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.
            offset_free: True, or the gain of the estimate of what the plant adds to the lifted model at every step.
            solver: Of the quadratic programs.

        Raises:
            DesignError: The problem is not convex, no quadratic program, or its parameters do more than add; or the
                task prices what only `formulate` can; or the model has no linear lifted recursion.
            KoopctlError: There is no such solver, or it is not installed.
        """
        backend(solver)
        self.formulate = formulate
        super().__init__(model, task, observer, offset_free, solver)

    # ------------------------------------------------------------------ design
    def _tune(self) -> None:
        super()._tune()
        task = self.goal.home
        for name, given in (
            ("y_price", task.y_price.any()),
            ("u_price", task.u_price.any()),
            ("terminal_cost", task.terminal_cost is not None),
        ):
            if given:
                raise DesignError(f"the task has a {name}, but {_YOURS}, and leave {name} out.")
        if self._stated is None:
            self._stated = self._state()

    def _state(self) -> StatedProblem:
        use_up_numbers(self.formulate, *self._symbols())
        return StatedProblem(self.formulate, *self._symbols())

    def _symbols(self) -> tuple[cp.Variable, cp.Variable, cp.Expression]:
        """Return a plan's coordinates (N + 1, nq), inputs (N, nu) and measured states (N + 1, ny)."""
        N, nq, nu = self.goal.home.horizon, self.prediction.nq, self.prediction.nu
        x, u = cp.Variable((N + 1, nq), name="x"), cp.Variable((N, nu), name="u")
        if len(self.model.window_.chart.angles):
            return x, u, x  # cos and sin of an angle are no affine functions of it
        return x, u, x @ self.system.C_[:, :nq].T + np.tile(self.system.y_offset_, (N + 1, 1))

    def _target_moved(self) -> None:
        """Take the bounds of the call, and refuse what would change the cost."""
        task, home = self.wanted, self.goal.home
        for name in ("Q", "R", "dR", "y_price", "u_price"):
            if getattr(task, name) is not getattr(home, name):
                raise DesignError(f"the preview changes {name}, but {_YOURS}.")
        if task.path is not None or not np.array_equal(task.target, home.target):
            raise DesignError(f"a reference was given, but {_YOURS}.")
        super()._target_moved()
        self._program = self._compile()

    def _compile(self) -> CompiledProgram:
        """Return the program of the rows and moves of the moment; two are kept: a preview's rows may come and go."""
        of = self._constraints, self._weighed
        kept = [each for each in self._compiled if each.moves is self._weighed]
        for each in kept:
            if each.constraints is self._constraints:
                return each.program
        if self._stated is None:
            raise DesignError("the problem has not been stated yet.")
        moves, price = self._weighed.moves[: self._split[1]], self._constraints.price
        program = CompiledProgram(self._stated, moves, self._rows, price, self.solver)
        self._compiled = (*kept[:1], _Compiled(*of, program))
        return program

    # ------------------------------------------------------------------ one call
    def set_parameters(self, x: Array) -> Array:
        """Take the state x (nx,) for `problem` and return the user's parameters as one vector.

        Raises:
            RefusedError: A parameter of the user's has no value, or one that is not finite.
        """
        near = self.steady.x + self.model.window_.difference(x, self.steady.x)
        plan = self._by_state.dot(self.system.lift_state(near) - self._z_steady)
        plan += self._still
        if self._rate_cost:
            plan += self._by_last.dot(self._channel.last - self.steady.u)
        values, (low, high) = self._constraints.values(plan, self._channel.last), self._constraints.limits()
        self._now = plan[: self._split[1]], low - values, high - values
        parts = [np.zeros(0)]
        for each in self._stated.parameters if self._stated else ():
            if each.value is None or not np.isfinite(each.value).all():
                raise RefusedError(f"parameter:{each.name()}")
            parts.append(np.ravel(each.value, order="F"))
        return np.concatenate(parts)

    def _act(self, x: Array) -> Answer:
        p = self.set_parameters(x)
        plan, low, high = self._now
        try:
            w, cost, solution = self._program.solve(p, plan, low, high)
        except SolverError as error:
            raise RefusedError(f"qp_{error.status}") from None
        if not solution.usable:
            raise RefusedError(f"qp_{solution.status}")
        plan = plan + self._weighed.moves[: len(plan)] @ w
        first, N, nu = self._split[0], self.wanted.horizon, self.prediction.nu
        X, U = plan[:first].reshape(N + 1, -1), plan[first:].reshape(N, nu)
        detail = {"qp_time": solution.solve_time, "qp_iterations": solution.iterations}
        reason = "" if solution.status == "solved" else "stopped_early"
        return Answer(U[0], solution.status, reason, cost, X, U, detail)

    @property
    def problem(self) -> cp.Problem:
        """The problem of the last call in CVXPY; any of its solvers can solve it."""
        plan, low, high = self._now
        at = np.isfinite(low), np.isfinite(high)
        if self._written is None or not self._written.suits(self._program, at):
            self._written = self._write(at)
        for parameter, value in zip(self._written.parameters, (plan, low[at[0]], high[at[1]]), strict=True):
            parameter.value = value
        return self._written.problem

    def _write(self, at: tuple[Array, Array]) -> _Written:
        stated, price = self._stated, self._constraints.price
        if stated is None:
            raise DesignError("the problem has not been stated yet.")
        w, s = cp.Variable(self._constraints.n_w, name="w"), cp.Variable(len(price), name="slack")
        sizes = (self._split[1], int(at[0].sum()), int(at[1].sum()))
        plan, low, high = (cp.Parameter(n, name=name) for n, name in zip(sizes, ("plan", "low", "high"), strict=True))
        moved = plan + self._weighed.moves[: sizes[0]] @ w
        rows = [cp.vec(stated.x, order="C") == moved[: stated.x.size]]
        rows += [cp.vec(stated.u, order="C") == moved[stated.x.size :]]
        value, cost = self._rows[:, : w.size] @ w, stated.cost
        if s.size:
            value = value + self._rows[:, w.size :] @ s
            cost = cost + price @ s + cp.sum(cp.multiply(price / 2.0, cp.square(s)))
        rows += [value[np.flatnonzero(at[0])] >= low] if sizes[1] else []
        rows += [value[np.flatnonzero(at[1])] <= high] if sizes[2] else []
        problem = cp.Problem(cp.Minimize(cost), [*rows, *stated.constraints])
        return _Written(self._program, at, (plan, low, high), problem)

    def reset(self) -> None:
        """Forget the past."""
        super().reset()
        for each in self._compiled:
            each.program.reset()

    # ------------------------------------------------------------------ copies and files
    def options(self) -> dict[str, Any]:
        """Return the options of the design."""
        return {"formulate": self.formulate} | super().options()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return `fresh()`: the problem speaks of the parameters that are set from outside, which stay the same."""
        return self.fresh()

    def __reduce__(self) -> tuple[Any, ...]:
        """Design the law again where it is unpickled; its function must be one that can be imported there."""
        return _designed, (type(self), self.model, self.task, self.options())

    def save(self, path: str | Path) -> Path:
        """Refuse: a function of the user's is in no file.

        Raises:
            DesignError: Always.
        """
        raise DesignError(
            f"this law holds a function of yours, which {path} cannot; save the model and design the law again."
        )


class _Compiled(NamedTuple):
    """A program, and what it was compiled of."""

    constraints: object
    moves: object
    program: CompiledProgram


class _Written(NamedTuple):
    """A program written in CVXPY: what of, which rows have bounds, and the parameters of a call."""

    program: CompiledProgram
    at: tuple[Array, Array]
    parameters: tuple[cp.Parameter, ...]
    problem: cp.Problem

    def suits(self, program: CompiledProgram, at: tuple[Array, Array]) -> bool:
        """Tell whether this is the program, with bounds on the same rows."""
        same = all(np.array_equal(one, other) for one, other in zip(at, self.at, strict=True))
        return same and program is self.program


def _designed(kind: type[ConvexMPC], model: Model, task: Task, options: dict[str, Any]) -> ConvexMPC:
    return kind(model, task, **options)

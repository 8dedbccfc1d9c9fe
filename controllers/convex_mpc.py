"""Model predictive control with a convex problem of the user's own, stated in CVXPY and compiled once."""

# mypy: disable-error-code="attr-defined"
# cvxpy re-exports its functions with star imports, which mypy does not follow.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import cvxpy as cp
import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.answer import Answer, RefusedError
from koopctl.controllers.compiled_program import CompiledProgram
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.observer import Observer
from koopctl.errors import DesignError, SolverError
from koopctl.models.base import Model
from koopctl.task import Task

Formulate = Callable[[cp.Expression, cp.Expression, cp.Expression], tuple[cp.Expression, list[cp.Constraint]]]


class ConvexMPC(LiftedMPC):
    """The lifted MPC with any convex cost and constraints in place of the task's.

    `formulate(x, u, y)` gets CVXPY expressions of the plan: the coordinates x (N + 1, nq), the inputs u (N, nu) and
    the measured states y (N + 1, ny; the coordinates where an observation holds angles), row 0 of x and y being now.
    It returns a cost and a list of constraints, e.g. with `price = cp.Parameter(N, nonneg=True)`

        def formulate(x, u, y):
            return price @ cp.abs(u[:, 0]) + cp.sum_squares(x[1:, 0] - 20.0), [cp.sum(cp.pos(u)) <= 5.0]

    The dynamics, the task's input and rate bounds and the held inputs of `control_horizon` are there already. CVXPY
    parameters are vectors (or scalars); they may be added and be prices, but multiply nothing that is squared or
    bounded, and are set through their `value` before a call. The problem is compiled at the design: a call is one
    small quadratic program, and CVXPY is not called. Where the constraints cannot be met the ladder goes on; state
    them with slacks (`cp.pos`) where that may happen.

    Attributes:
        problem: The problem in CVXPY; after `set_parameters` any of its solvers can solve it.
    """

    kind: ClassVar[str] = "convex"

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
            task: Horizon, input and rate bounds, moves; target and weights of the fallback and the steady pair.
            formulate: States cost and constraints.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.
            offset_free: True, or the gain of the estimate of what the plant adds to the lifted model at every step.
            solver: Of the quadratic programs.

        Raises:
            DesignError: The problem is not convex, no quadratic program, or its parameters do more than add; or the
                model has no linear lifted recursion.
        """
        self.formulate = formulate
        super().__init__(model, task, observer, offset_free, solver)
        self._compile()

    # ------------------------------------------------------------------ design
    def _compile(self) -> None:
        horizon, nu, nq, N = self._horizon, self.prediction.nu, self.prediction.nq, self.wanted.horizon
        chart = self.model.window_.chart
        v = cp.Variable(horizon.n_v)
        self._free_x = cp.Parameter((N + 1) * nq, name="free motion")
        self._free_u = cp.Parameter(N * nu, name="free inputs")
        self._u_before = cp.Parameter(nu, name="last input")
        # Variables of their own, so that a parameter may be a price of them; the program eliminates them again.
        x, u = cp.Variable((N + 1, nq), name="x"), cp.Variable((N, nu), name="u")
        dynamics = [
            cp.vec(x, order="C") == self._free_x + horizon.S.reshape(-1, horizon.n_v) @ v,
            cp.vec(u, order="C") == self._free_u + horizon.T.reshape(-1, horizon.n_v) @ v,
        ]
        y = x  # cos and sin of an angle are no affine functions of it
        if not len(chart.angles):
            y = x @ self.system.C_[:, :nq].T + np.tile(self.system.y_offset_, (N + 1, 1))
        stated = self.formulate(x, u, y)
        if not (isinstance(stated, tuple) and len(stated) == 2):
            raise DesignError(f"formulate returned {stated!r}; expected the pair (cost, list of constraints).")
        cost, constraints = stated
        self.problem = cp.Problem(cp.Minimize(cost), [*dynamics, *constraints, *self._input_bounds(u)])
        self._program = CompiledProgram(self.problem, v, self.solver)
        self._x, self._u = x, u

    def _input_bounds(self, u: cp.Expression) -> list[cp.Constraint]:
        task, rows = self.goal.home, list[cp.Constraint]()
        change = u - cp.vstack([cp.reshape(self._u_before, (1, self.prediction.nu), order="C"), u[:-1]])
        for value, low, high in ((u, task.u_min, task.u_max), (change, -task.du_max, task.du_max)):
            for j in range(self.prediction.nu):
                rows += [value[:, j] >= low[j]] if np.isfinite(low[j]) else []
                rows += [value[:, j] <= high[j]] if np.isfinite(high[j]) else []
        return rows

    # ------------------------------------------------------------------ one call
    def set_parameters(self, x: Array) -> Array:
        """Set the problem's own parameters for the state x (nx,) and return all parameters as one vector.

        Raises:
            RefusedError: A parameter of the user's has no value, or one that is not finite.
        """
        near = self.steady.x + self.model.window_.difference(x, self.steady.x)
        zeta = self.system.lift_state(near) - self._z_steady
        free_x, free_u = self._planned = self._free(zeta)
        for parameter, value in ((self._free_x, free_x), (self._free_u, free_u), (self._u_before, self._channel.last)):
            parameter.value = value.ravel()
        parts = []
        for each in self._program.parameters:
            if each.value is None or not np.isfinite(each.value).all():
                raise RefusedError(f"parameter:{each.name()}")
            parts.append(np.ravel(each.value, order="F"))
        return np.concatenate(parts)

    def _free(self, zeta: Array) -> tuple[Array, Array]:
        """Return coordinates (N + 1, nq) and inputs (N, nu) as they come where v is zero."""
        state, drift, told = self._horizon.state, self._horizon.drift, self._horizon.foretold
        w = (self.prediction.W - self.prediction.W[-1]).ravel()
        x = state.x @ zeta + drift.x @ self.drift + told.x @ w
        u = state.u @ zeta + drift.u @ self.drift + told.u @ w
        return x + self.steady.x[: self.prediction.nq], u + self.steady.u

    def _act(self, x: Array) -> Answer:
        p = self.set_parameters(x)
        try:
            v, solution = self._program.solve(p)
        except SolverError as error:
            raise RefusedError(f"qp_{error.status}") from None
        if solution is not None and not solution.usable:
            raise RefusedError(f"qp_{solution.status}")
        X, U = self._planned[0] + self._horizon.S @ v, self._planned[1] + self._horizon.T @ v
        status, detail = "solved", {"qp_time": 0.0, "qp_iterations": 0}
        if solution is not None:
            status, detail = solution.status, {"qp_time": solution.solve_time, "qp_iterations": solution.iterations}
        self._x.value, self._u.value = X, U
        cost = float(self.problem.objective.value)
        return Answer(U[0], status, "" if status == "solved" else "stopped_early", cost, X, U, detail)

    def reset(self) -> None:
        """Forget the past."""
        super().reset()
        if hasattr(self, "_program"):
            self._program.reset()

    # ------------------------------------------------------------------ copies and files
    def options(self) -> dict[str, Any]:
        """Return the options of the design."""
        return {"formulate": self.formulate} | super().options()

    def save(self, path: str | Path) -> Path:
        """Refuse: a function of the user's is in no file.

        Raises:
            DesignError: Always.
        """
        raise DesignError(
            f"this law holds a function of yours, which {path} cannot; save the model and design the law again."
        )

"""Model predictive control on a linear lift: one quadratic program with a fixed Hessian."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.answer import Answer, RefusedError
from koopctl.controllers.checks import check_parts
from koopctl.controllers.lifted_horizon import LiftedHorizon
from koopctl.controllers.observer import Observer
from koopctl.controllers.offset import LiftedOffset, Offset
from koopctl.controllers.planner import Planner
from koopctl.controllers.riccati import infinite_horizon
from koopctl.controllers.terminal_set import TerminalSet, terminal_set
from koopctl.controllers.weights import stage_weights, weighted
from koopctl.errors import DesignError, SolverError
from koopctl.models.base import Model
from koopctl.models.edmdc import lifted_system
from koopctl.models.state_space import state_names
from koopctl.task import ResolvedTask, Task


class LiftedMPC(Planner):
    r"""The linear MPC of a lifted model, condensed once.

    With :math:`\zeta = z - \psi(x_s)` the problem is

    .. math:: \min \sum_{k<N} |q_k - r_k|_Q^2 + |u_k - u_s|_R^2 + |u_k - u_{k-1}|_{dR}^2 + |\zeta_N|_P^2
        \quad\text{s.t.}\quad \zeta_{k+1} = A \zeta_k + B (u_k - u_s) + B_w (w_k - w_s) + d,

    plus linear prices, the input and rate bounds hard, the bounds on q and the terminal set soft; r_k is the steady
    state where no path is given, and d what the lifted recursion drifts by at the steady pair, or the estimated offset
    on top of it. Working with differences keeps the constant observable out. P is the lifted LQR's cost-to-go where
    there is one, else the weight Q. Inputs and slacks are the only variables, so the solver's time does not depend on
    the lift; `koopctl.controllers.lifted_cvxpy` states the same problem in CVXPY, and the tests hold the two equal.
    (Korda and Mezic, Automatica 2018.)
    """

    kind: ClassVar[str] = "lifted"
    _rows_of: tuple[object, object] = (None, None)

    def __init__(
        self,
        model: Model,
        task: Task,
        observer: Observer | None = None,
        offset_free: float = False,
        solver: str = "osqp",
    ) -> None:
        """Design the law.

        Args:
            model: A fitted `EDMDc` with linear inputs.
            task: Target, weights, bounds, horizon.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.
            offset_free: True, or the gain of the estimate of what the plant adds to the lifted model at every step.
            solver: Of the quadratic programs: "osqp", "active_set", or "daqp" or "piqp" from the extra `fast`.

        Raises:
            DesignError: The model has no single linear lifted recursion, or the observer was made for another model.
            KoopctlError: There is no such solver, or it is not installed.
        """
        check_parts(model, task, observer)
        self.system, self.solver = lifted_system(model), solver
        super().__init__(model, task, observer, offset_free)
        self._tune()
        self._target_moved()

    def options(self) -> dict[str, Any]:
        """Return the options of the design."""
        return {"solver": self.solver} | super().options()

    # ------------------------------------------------------------------ design
    def _tune(self) -> None:
        """What no target changes: the gain, the terminal cost and the responses of the horizon."""
        system, task, nz = self.system, self.goal.home, self.system.nz
        A, B = system.A_, system.B_[:, self.prediction.free]
        self.Q, K = stage_weights(nz, task.Q), np.zeros((B.shape[1], nz))
        self.K_lifted: Array | None = None
        try:
            self.K_lifted, self.P = infinite_horizon(A, B, self.Q, task.R + task.dR, state_names(system))
            K = K if task.blocked else self.K_lifted
        except DesignError as error:
            self.P = self.Q
            note = f"no lifted LQR, so the terminal cost is the stage cost alone: {error}"
            self.notes += [note] if note not in self.notes else []
        if not isinstance(self.task.terminal_cost, str) or self.task.terminal_cost == "none":
            self.P = np.zeros((nz, nz)) if task.terminal_cost is None else stage_weights(nz, task.terminal_cost)
        self.terminal = self._terminal_set(A, B)
        G = np.zeros((0, nz)) if self.terminal is None else self.terminal.G
        self._horizon = LiftedHorizon(A, B, system.B_[:, self.prediction.measured], K, self.P, task, G)
        self._weigh()
        self._fallback_gain()

    def _terminal_set(self, A: Array, B: Array) -> TerminalSet | None:
        if not self.task.terminal_set:
            return None
        if self.K_lifted is None:
            raise DesignError("terminal_set needs a lifted LQR, and there is none; see the notes without it.")
        x, u = self.steady.x, self.steady.u
        return terminal_set(self.goal.home, A, B, self.K_lifted, x, u, self.task.terminal_set)

    def _weigh(self) -> None:
        task = self.wanted
        self._weights = task.Q, task.R, task.dR
        self._stage_Q = stage_weights(self.prediction.nq, task.Q)
        try:
            self._weighed = self._horizon.weigh(self._stage_Q, task.R, task.dR)
        except np.linalg.LinAlgError:
            radius, N = float(np.abs(np.linalg.eigvals(self.system.A_)).max()), task.horizon
            raise DesignError(
                f"the lifted recursion has spectral radius {radius:.3g}, which grows to {radius**N:.1g} over the "
                f"horizon of {N} steps and drowns the cost; use fewer features, more ridge, more data or fewer steps."
            ) from None
        weighed, horizon, nu = self._weighed, self._horizon, self.prediction.nu
        self._by_state, self._by_drift = weighed.optimum(horizon.state), weighed.optimum(horizon.drift)
        self._by_last = weighed.moves @ (weighed.to_w @ weighed.change_cost[:, :nu])
        self._rate_cost = bool(task.dR.any())
        self._split = (len(horizon.S) * horizon.nq, len(horizon.S) * horizon.nq + horizon.N * nu)

    def condensed_hessian(self) -> Array:
        """Return the Hessian of the condensed problem by the corrections of the feedback."""
        Q = stage_weights(self.prediction.nq, self.wanted.Q)
        return self._horizon.hessian(Q, self.wanted.R, self.wanted.dR)

    def _fallback_gain(self) -> None:
        """The LQR of the re-lifted model's Jacobian stands by; without one the ladder goes on to the safe input."""
        A, B = self.prediction.linearize(self.steady.x, self.steady.u)
        task, Q = self.goal.home, stage_weights(self.model.nx, self.goal.home.Q)
        try:
            self.K = infinite_horizon(A, B, Q, task.R + task.dR, self.prediction.window.names)[0]
        except DesignError:
            self.K = None

    def _target_moved(self) -> None:
        """What a target changes: the drift there, and for a while the weights and bounds."""
        system, task = self.system, self.wanted
        if not all(one is other for one, other in zip((task.Q, task.R, task.dR), self._weights, strict=True)):
            self._weigh()
        self._z_steady = system.lift_state(self.steady.x)
        inputs = self.prediction.full(self.steady.u, -1)
        self.drift = system.A_ @ self._z_steady + system.B_ @ inputs + system.c_ - self._z_steady
        if self._offset is not None:
            self.drift = self.drift + self._offset.value
        still = self._by_drift @ self.drift + self._known_ahead(task)
        aim = [np.tile(self.steady.x[: self.prediction.nq], task.horizon + 1), np.tile(self.steady.u, task.horizon)]
        self._aim = np.concatenate([*aim, np.zeros(len(still) - self._split[1])])
        still += self._aim
        if task.path is not None:
            self._aim[: task.path[:-1].size] = task.path[:-1].ravel()
        self._prices = self._priced(task)
        if self.terminal is not None:
            self.terminal = self.terminal.at(task, self.steady.x, self.steady.u)
        self._bound(self.prediction.nq, self.terminal)
        of = self._constraints, self._weighed
        if not all(one is other for one, other in zip(of, self._rows_of, strict=True)):
            self._rows_of = of
            self._rows = self._constraints.matrix(self._weighed.moves)
        self._still = still

    def _priced(self, task: ResolvedTask) -> Array | None:
        """Return the linear cost of a flat plan, None where nothing has a price."""
        if not (task.y_price.any() or task.u_price.any()):
            return None
        N, nq, nu = task.horizon, self.prediction.nq, self.prediction.nu
        prices = np.zeros(len(self._aim))
        first, last_input = self._split
        prices[nq:first] = np.broadcast_to(task.y_price, (N, nq)).ravel()
        prices[first:last_input] = np.broadcast_to(task.u_price, (N, nu)).ravel()
        return prices

    def _known_ahead(self, task: ResolvedTask) -> Array | float:
        """What the path, the prices and the disturbances ahead do to the optimum, flat."""
        prices = task.y_price.any() or task.u_price.any()
        if task.path is None and not prices and not len(self.prediction.measured):
            return 0.0
        nq, W = self.prediction.nq, self.prediction.W
        aim = np.repeat(self.steady.x[None], task.horizon, axis=0)
        if task.path is not None:
            aim[:, :nq] = task.path[:-1]
        away = self.model.difference(aim, self.steady.x)[:, :nq]
        return self._horizon.ahead(self._weighed, away, task, W - W[-1])

    def _redesign(self) -> None:
        self._tune()
        self._target_moved()

    def _ahead_moved(self) -> None:
        self._target_moved()

    def _make_offset(self, gain: float) -> Offset:
        return LiftedOffset(self.prediction, gain, self.system)

    # ------------------------------------------------------------------ one call
    def _act(self, x: Array) -> Answer:
        near = self.steady.x + self.model.window_.difference(x, self.steady.x)
        # An observer's x is lifted anew, though a KalmanFilter has a z: off the manifold of the lift it controls worse.
        flat = self._by_state.dot(self.system.lift_state(near) - self._z_steady)
        flat += self._still
        if self._rate_cost:
            flat += self._by_last.dot(self._channel.last - self.steady.u)
        values = self._constraints.values(flat, self._channel.last)
        low, high = self._constraints.limits()
        low, high = low - values, high - values
        status, detail = "solved", {"qp_time": 0.0, "qp_iterations": 0}
        if self._constraints.touched(low, high):
            try:
                w, solution = self._constraints.solve(self._rows, low, high)
            except SolverError as error:
                raise RefusedError(f"qp_{error.status}") from None
            flat += self._weighed.moves.dot(w)
            status, detail = solution.status, {"qp_time": solution.solve_time, "qp_iterations": solution.iterations}
        first, last_input = self._split
        N, nq, nu = self.wanted.horizon, self.prediction.nq, self.prediction.nu
        Q, U = flat[:first].reshape(N + 1, nq), flat[first:last_input].reshape(N, nu)
        return Answer(U[0], status, "" if status == "solved" else "stopped_early", self._cost(flat, U), Q, U, detail)

    def _cost(self, flat: Array, U: Array) -> float:
        """Return the stage costs of a plan; the lifted terminal cost is left out, as its state is not formed."""
        _, R, dR = self._weights
        off, (first, last_input) = flat - self._aim, self._split
        nq = self.prediction.nq
        e, du = off[: first - nq].reshape(-1, nq), off[first:last_input].reshape(U.shape)
        cost = np.vdot(weighted(e, self._stage_Q), e) + np.vdot(weighted(du, R), du)
        if self._rate_cost:
            change = np.diff(U, axis=0, prepend=self._channel.last[None])
            cost += np.vdot(weighted(change, dR), change)
        if self._prices is not None:
            cost += self._prices.dot(flat)
        return float(cost)

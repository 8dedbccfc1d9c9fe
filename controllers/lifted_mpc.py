"""Model predictive control on a linear lift: one quadratic program with a fixed Hessian."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.constraints import Constraints
from koopctl.controllers.law import Answer, Law, RefusedError
from koopctl.controllers.lqr import state_weight
from koopctl.controllers.observer import Observer
from koopctl.controllers.riccati import Condensed, condense, infinite_horizon, stage_hessian, with_last_input
from koopctl.errors import DesignError, SolverError
from koopctl.models.base import Model
from koopctl.models.edmdc import lifted_system
from koopctl.task import Task


class LiftedMPC(Law):
    r"""The linear MPC of a lifted model, condensed once.

    With :math:`\zeta = z - \psi(x_s)` the problem is

    .. math:: \min \sum_{k<N} |q_k - q_s|_Q^2 + |u_k - u_s|_R^2 + |u_k - u_{k-1}|_{dR}^2 + |\zeta_N|_P^2
        \quad\text{s.t.}\quad \zeta_{k+1} = A \zeta_k + B (u_k - u_s) + d,

    with d what the lifted recursion drifts by at the steady pair, the input and rate bounds hard and the bounds on q
    soft. Working with differences keeps the constant observable out. P is the lifted LQR's cost-to-go where there is
    one, else the weight Q. Inputs and slacks are the only variables, so the solver's time does not depend on the
    lift; `koopctl.controllers.lifted_cvxpy` states the same problem in CVXPY, and the tests hold the two equal.
    (Korda and Mezic, Automatica 2018.)
    """

    kind: ClassVar[str] = "lifted"

    def __init__(self, model: Model, task: Task, observer: Observer | None = None) -> None:
        """Design the law.

        Args:
            model: A fitted `EDMDc` with linear inputs.
            task: Target, weights, bounds, horizon.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.

        Raises:
            DesignError: The model has no single linear lifted recursion, or the observer was made for another model.
        """
        self.system = lifted_system(model)
        super().__init__(model, task, observer)
        self._constraints = Constraints(self.wanted, model.nu)
        self._target_moved()

    # ------------------------------------------------------------------ design
    def _target_moved(self) -> None:
        system, task = self.system, self.wanted
        nz, nu, nq = system.nz, system.nu, system.window_.nq
        self._z_steady = system.lift_state(self.steady.x)
        self.drift = system.A_ @ self._z_steady + system.B_ @ self.steady.u + system.c_ - self._z_steady
        self.Q = np.zeros((nz, nz))
        self.Q[:nq, :nq] = task.Q
        try:
            self.K_lifted, self.P = infinite_horizon(system.A_, system.B_, self.Q, task.R + task.dR)
        except DesignError as error:
            self.P = self.Q
            note = f"no lifted LQR, so the terminal cost is the stage cost alone: {error}"
            self.notes += [note] if note not in self.notes else []
        self._fallback_gain()
        self._condense(nz, nu)

    def _fallback_gain(self) -> None:
        """The LQR of the re-lifted model's Jacobian stands by; without one the ladder goes on to the safe input."""
        A, B = self.model.linearize(self.steady.x, self.steady.u)
        Q = state_weight(self.model, self.wanted.Q)
        try:
            self.K = infinite_horizon(A, B, Q, self.wanted.R + self.wanted.dR)[0]
        except DesignError:
            self.K = None

    def _condense(self, nz: int, nu: int) -> None:
        """Solve the horizon once for a unit of everything that changes from call to call: the problem is linear."""
        task, system = self.wanted, self.system
        N = task.horizon
        A, B, d = (np.repeat(part[None], N, 0) for part in (system.A_, system.B_, self.drift))
        if task.dR.any():
            A, B, d = with_last_input(A, B, d)
        n = A.shape[1]
        P = np.zeros((n, n))
        P[:nz, :nz] = self.P
        H = stage_hessian(self.Q, task.R, task.dR)
        # The free response to the drift alone, then to each entry of the initial state through the same gains.
        try:
            self._base = condense(A, B, d, H, np.zeros((N, n + nu)), P, np.zeros(n), np.zeros(n))
        except np.linalg.LinAlgError:
            radius = float(np.abs(np.linalg.eigvals(self.system.A_)).max())
            raise DesignError(
                f"the lifted recursion has spectral radius {radius:.3g}, which grows to {radius**N:.1g} over the "
                f"horizon of {N} steps and drowns the cost; use fewer features, more ridge, more data or fewer steps."
            ) from None
        self._propagate(A, B, n)

    def _propagate(self, A: Array, B: Array, n: int) -> None:
        N, nq = self.wanted.horizon, self.model.window_.nq
        response = np.eye(n)
        self._x_of_z, self._u_of_z = np.zeros((N + 1, nq, n)), np.zeros((N, B.shape[2], n))
        self._x_of_z[0] = response[:nq]
        for k in range(N):
            self._u_of_z[k] = self._base.gains[k] @ response
            response = (A[k] + B[k] @ self._base.gains[k]) @ response
            self._x_of_z[k + 1] = response[:nq]
        self._base = Condensed(
            self._base.free_u, self._base.T, self._base.free_x[:, :nq], self._base.S[:, :nq], self._base.gains
        )

    # ------------------------------------------------------------------ one call
    def _act(self, x: Array) -> Answer:
        near = self.steady.x + self.model.window_.difference(x, self.steady.x)
        # An observer's x is lifted anew, though a KalmanFilter has a z: off the manifold of the lift it controls worse.
        zeta = self.system.lift_state(near) - self._z_steady
        if self.wanted.dR.any():
            zeta = np.concatenate([zeta, self._u_last - self.steady.u])
        free_u = self._base.free_u + self._u_of_z @ zeta
        free_x = self._base.free_x + self._x_of_z @ zeta
        plan = Condensed(free_u, self._base.T, free_x, self._base.S, self._base.gains)
        home_x = np.broadcast_to(self.steady.x[: free_x.shape[1]], free_x.shape)
        home_u = np.broadcast_to(self.steady.u, free_u.shape)
        try:
            w, solution = self._constraints.solve(plan, home_x, home_u, self._u_last)
        except SolverError as error:
            raise RefusedError(f"qp_{error.status}") from None
        U = home_u + free_u + plan.T @ w
        Q = home_x + free_x + plan.S @ w
        status = "solved" if solution is None else solution.status
        detail = {
            "qp_time": 0.0 if solution is None else solution.solve_time,
            "qp_iterations": 0 if solution is None else solution.iterations,
        }
        reason = "" if status == "solved" else "stopped_early"
        return Answer(U[0], status, reason, self._cost(Q, U), Q, U, detail)

    def _cost(self, Q: Array, U: Array) -> float:
        """Return the stage costs of a plan; the lifted terminal cost is left out, as its state is not formed."""
        e, du = Q[:-1] - self.steady.x[: Q.shape[1]], U - self.steady.u
        change = np.diff(U, axis=0, prepend=self._u_last[None])
        pairs = ((e, self.wanted.Q), (du, self.wanted.R), (change, self.wanted.dR))
        return float(sum(((v @ weight) * v).sum() for v, weight in pairs))

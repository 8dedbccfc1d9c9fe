"""The quadratic program of a plan's corrections."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.constraints import Constraints
from koopctl.controllers.plans import Plans
from koopctl.controllers.prediction import Expansion
from koopctl.controllers.riccati import Condensed, condense, with_last_input
from koopctl.controllers.stabilised import stabilised
from koopctl.qp import QPSolution


class LocalProgram:
    """The problem linearised along a plan, condensed around feedback gains and solved within the bounds."""

    def __init__(self, plans: Plans, constraints: Constraints) -> None:
        """Choose the gains: the LQR's, none where inputs are held, each stage's own where there is no LQR.

        Args:
            plans: Cost and task.
            constraints: Bounds.
        """
        self.plans, self.constraints = plans, constraints
        nu, nx, task = plans.prediction.nu, plans.prediction.nx, plans.task
        more = nu if plans.has_rate_cost else 0  # columns for the last input
        home = np.zeros((nu, nx)) if plans.K is None or task.blocked else plans.K
        self._gain = None if plans.K is None and not task.blocked else np.pad(home, ((0, 0), (0, more)))

    def solve(
        self, X: Array, U: Array, local: Expansion, u_last: Array, searching: bool
    ) -> tuple[Array, Array, Array, QPSolution | None]:
        """Return the corrections dX (N + 1, nx) and dU (N, nu), the gains (N, nu, n), and the solver's answer.

        Args:
            X: Planned states, (N + 1, nx).
            U: Planned inputs, (N, nu).
            local: The linearisation along them.
            u_last: Input sent before, (nu,).
            searching: Whether the plan is far from home, where each stage needs its own gain.

        Raises:
            SolverError: There is no verified solution.
            numpy.linalg.LinAlgError: The Hessian is not positive definite.
        """
        plan, nx = self._condensed(X, U, local, u_last, searching), X.shape[1]
        dX, dU = plan.free_x[:, :nx], plan.free_u
        free_x, constraints, terminal = X + dX, self.constraints, self.constraints.terminal
        parts = [free_x.ravel(), (U + dU).ravel()]
        if terminal is not None:
            parts.append(terminal.G @ self.plans.window.difference(free_x[-1], self.plans.steady.x))
        values = constraints.values(np.concatenate(parts), u_last)
        low, high = constraints.limits(self.plans.reserve)
        low, high = low - values, high - values
        if not constraints.touched(low, high):
            return dX, dU, plan.gains, None
        n_w = plan.T.shape[2]
        moves = [plan.S[:, :nx].reshape(-1, n_w), plan.T.reshape(-1, n_w)]
        if terminal is not None:
            moves.append(terminal.G @ plan.S[-1][:nx])
        whole = np.concatenate(moves)
        w, solution = constraints.solve(constraints.matrix(whole), low, high)
        change = whole.dot(w)
        dX = dX + change[: X.size].reshape(X.shape)
        return dX, dU + change[X.size : X.size + U.size].reshape(U.shape), plan.gains, solution

    def _condensed(self, X: Array, U: Array, local: Expansion, u_last: Array, searching: bool) -> Condensed:
        F, A, B = local
        d, task = F - X[1:], self.plans.task
        H, h, P, p = self.plans.quadratic(X, U, u_last)
        if self.plans.has_rate_cost:
            A, B, d = with_last_input(A, B, d)
        # Near home the LQR's gain is good at every stage; on the way there each stage needs its own.
        if self._gain is None or (searching and not task.blocked):
            return condense(A, B, d, H, h, P, p, np.zeros(len(P)))
        return stabilised(A, B, d, H, h, P, p, self._gain, task.moves)

"""The lifted MPC as a careful user of CVXPY would write it: the states predicted by numpy, the inputs variables."""

# mypy: disable-error-code="attr-defined"
# cvxpy re-exports its functions with star imports, which mypy does not follow.

from __future__ import annotations

import cvxpy as cp
import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.lifted_mpc import LiftedMPC

Given = Array | cp.Parameter


class NaturalProblem:
    """Input, rate and soft output bounds, weights the same at all stages; the lifted states are no variables.

    Were they, a program with 200 lifted states would take CVXPY's solvers seconds; this form is the kinder rival.
    """

    def __init__(self, law: LiftedMPC) -> None:
        """Propagate the responses of the horizon.

        Args:
            law: The law.
        """
        self.law, system, N = law, law.system, law.wanted.horizon
        nz, nu = system.B_.shape
        S, power = np.zeros((N + 1, nz, N * nu)), np.eye(nz)
        self._of_state, self._of_drift = np.zeros((N + 1, nz, nz)), np.zeros((N + 1, nz))
        for k in range(N):
            self._of_state[k] = power
            S[k + 1] = system.A_ @ S[k]
            S[k + 1][:, k * nu : (k + 1) * nu] += system.B_
            self._of_drift[k + 1] = system.A_ @ self._of_drift[k] + law.drift
            power = system.A_ @ power
        self._of_state[N] = power
        values, vectors = np.linalg.eigh(law.P)
        keep = values > 1e-12 * values.max()
        self._root = vectors[:, keep] * np.sqrt(values[keep])
        self._S, self._end = S[:, : law.prediction.nq], self._root.T @ S[N]

    def given(self, x: Array) -> tuple[Array, Array]:
        """Return the free motion of the coordinates ((N + 1) nq,) and of the terminal cost's root for a state x."""
        zeta = self.law.system.lift_state(x) - self.law.system.lift_state(self.law.steady.x)
        free = self._of_state @ zeta + self._of_drift
        nq = self.law.prediction.nq
        return (free[:, :nq] + self.law.steady.x[:nq]).ravel(), self._root.T @ free[-1]

    def state(self, free: Given, end: Given, last: Given) -> tuple[cp.Problem, cp.Variable]:
        """State the problem for what `given` returns and the input sent before; with parameters it obeys DPP.

        Returns:
            `(problem, u)`, u (N nu,).
        """
        task, steady, N = self.law.wanted, self.law.steady, self.law.wanted.horizon
        nq, nu = self.law.prediction.nq, self.law.prediction.nu
        u, slack = cp.Variable(N * nu), cp.Variable(nq, nonneg=True)
        du, every = u - np.tile(steady.u, N), np.tile(np.eye(nq), (N, 1))
        q = free + self._S.reshape(-1, N * nu) @ du
        change = u - cp.hstack([last, u[:-nu]])
        away = q[: N * nq] - np.tile(steady.x[:nq], N)
        rows = [
            u >= np.tile(task.u_min, N),
            u <= np.tile(task.u_max, N),
            cp.abs(change) <= np.tile(task.du_max, N),
            q[nq:] + every @ slack >= np.tile(task.y_min, N),
            q[nq:] - every @ slack <= np.tile(task.y_max, N),
        ]
        cost = cp.sum_squares(cp.multiply(np.tile(np.sqrt(np.diag(task.Q)), N), away))
        cost += cp.sum_squares(cp.multiply(np.tile(np.sqrt(np.diag(task.R)), N), du))
        cost += cp.sum_squares(end + self._end @ du)
        cost += 2 * task.slack_price @ slack + cp.sum_squares(cp.multiply(np.sqrt(task.slack_price), slack))
        return cp.Problem(cp.Minimize(cost), rows), u

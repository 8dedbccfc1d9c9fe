"""A linear lifted recursion over a horizon, condensed once: everything a call needs is a few small products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtri

from koopctl.arrays import Array
from koopctl.controllers.riccati import Condensed
from koopctl.task import ResolvedTask


@dataclass(frozen=True)
class Response:
    """How a horizon answers to something (n columns) while the free inputs v do nothing.

    Attributes:
        x: Coordinates, (N + 1, nq, n).
        u: Inputs, (N, nu, n).
        end: Gradient of the terminal cost by v, (n_v, n).
        rows: Rows of the terminal set, (m, n).
    """

    x: Array
    u: Array
    end: Array
    rows: Array

    def flat(self) -> Array:
        """Return coordinates, inputs and rows below each other, ((N + 1) nq + N nu + m, n)."""
        n = self.x.shape[2]
        return np.concatenate([self.x.reshape(-1, n), self.u.reshape(-1, n), self.rows])


@dataclass(frozen=True)
class Weighed:
    """A horizon with weights: free inputs w = 0 at the optimum, in the scale in which the Hessian is the identity.

    Attributes:
        plan: Responses T, S to w; the free parts are zero.
        moves: All responses to w as `Response.flat` has them.
        to_w: w = -to_w g for a gradient g by v, (n_w, n_v).
        x_cost: Gradient by v of deviations of the coordinates at stages 0 to N - 1, (n_v, N nq).
        u_cost: Gradient by v of deviations of the inputs, (n_v, N nu).
        change_cost: Gradient by v of changes of the inputs, (n_v, N nu).
    """

    plan: Condensed
    moves: Array
    to_w: Array
    x_cost: Array
    u_cost: Array
    change_cost: Array

    def optimum(self, of: Response, more: Array | float = 0.0) -> Array:
        """Return what `of` becomes, flat, once the inputs have done what pays; `more` is added to its gradient."""
        N, nu, n = of.u.shape
        change = np.diff(of.u, axis=0, prepend=np.zeros((1, nu, n))).reshape(N * nu, n)
        g = self.x_cost @ of.x[:-1].reshape(-1, n) + self.u_cost @ of.u.reshape(N * nu, n)
        g += self.change_cost @ change + of.end + more
        return of.flat() - self.moves @ (self.to_w @ g)


class LiftedHorizon:
    r"""The responses of :math:`\zeta_{k+1} = A \zeta_k + B u_k + B_w w_k + d` under :math:`u_k = -K \zeta_k + v`.

    A gain K keeps the responses of an unstable recursion small over any horizon; with fewer moves than steps it must
    be zero. Nothing of size nz x nz is formed, so many lifted states cost little.

    Attributes:
        state: Response to the lifted state at the start, nz columns.
        drift: Response to a constant d, nz columns.
        foretold: Response to the measured disturbances of all stages, N nd columns.
    """

    def __init__(self, A: Array, B: Array, Bw: Array, K: Array, P: Array, task: ResolvedTask, G: Array) -> None:
        """Propagate everything once.

        Args:
            A: (nz, nz).
            B: Of the chosen inputs, (nz, nu).
            Bw: Of the measured disturbances, (nz, nd).
            K: (nu, nz).
            P: Terminal cost, (nz, nz).
            task: Horizon, moves, number of coordinates.
            G: Rows of the terminal set, (m, nz).
        """
        self.N, self.at, self.nq, (self.nz, self.nu) = task.horizon, task.moves, len(task.target), B.shape
        self.n_v = len(self.at) * self.nu
        self._closed, self._B, self._K = A - B @ K, B, K
        self._to_moves(P, G)
        self.state, self.drift = self._to_state_and_drift(P, G)
        self.foretold = self._to_inputs(Bw, P, G)

    def _to_moves(self, P: Array, G: Array) -> None:
        """Responses of coordinates S, inputs T, the last lifted state and the terminal rows to v."""
        N, nu, n_v = self.N, self.nu, self.n_v
        block = np.searchsorted(self.at, np.arange(N), side="right") - 1
        self.S, self.T = np.zeros((N + 1, self.nq, n_v)), np.zeros((N, nu, n_v))
        M = np.zeros((self.nz, n_v))
        for k in range(N):
            now = slice(block[k] * nu, (block[k] + 1) * nu)
            self.T[k] = -self._K @ M
            self.T[k, :, now] += np.eye(nu)
            M = self._closed @ M
            M[:, now] += self._B
            self.S[k + 1] = M[: self.nq]
        self._last, self._rows, self._value = M, G @ M, M.T @ P @ M

    def _to_state_and_drift(self, P: Array, G: Array) -> tuple[Response, Response]:
        """Take rows through the recursion backwards: row A^k, and the sum of row A^i over i < k."""
        N, nq, nu, nz = self.N, self.nq, self.nu, self.nz
        row = np.concatenate([np.eye(nq, nz), -self._K, self._last.T @ P, G])
        total = np.zeros_like(row)
        last = nq + nu + self.n_v
        x, u = np.zeros((2, N + 1, nq, nz)), np.zeros((2, N, nu, nz))
        for k in range(N):
            x[:, k], u[:, k] = (row[:nq], total[:nq]), (row[nq : nq + nu], total[nq : nq + nu])
            total, row = total + row, row @ self._closed
        x[:, N] = row[:nq], total[:nq]
        state, drift = (Response(x[i], u[i], w[nq + nu : last], w[last:]) for i, w in enumerate((row, total)))
        return state, drift

    def _to_inputs(self, Bw: Array, P: Array, G: Array) -> Response:
        N, nd = self.N, Bw.shape[1]
        x, u = np.zeros((N + 1, self.nq, N * nd)), np.zeros((N, self.nu, N * nd))
        M = np.zeros((self.nz, N * nd))
        for k in range(N if nd else 0):
            u[k] = -self._K @ M
            M = self._closed @ M
            M[:, k * nd : (k + 1) * nd] += Bw
            x[k + 1] = M[: self.nq]
        return Response(x, u, self._last.T @ (P @ M), G @ M)

    def hessian(self, Q: Array, R: Array, dR: Array) -> Array:
        """Return the Hessian by v, (n_v, n_v), for weights of stages 0 to N - 1, one for all or one each."""
        return self._hessian(Q, R, dR)[0]

    def _hessian(self, Q: Array, R: Array, dR: Array) -> tuple[Array, list[Array]]:
        S, T, n_v = self.S[:-1], self.T, self.n_v
        parts = (S, T, np.diff(T, axis=0, prepend=np.zeros((1, self.nu, n_v))))
        costs = [_weighed(part, weight) for part, weight in zip(parts, (Q, R, dR), strict=True)]
        H = self._value + sum(cost @ part.reshape(-1, n_v) for cost, part in zip(costs, parts, strict=True))
        return np.asarray(H), costs

    def weigh(self, Q: Array, R: Array, dR: Array) -> Weighed:
        """Scale the inputs for weights of stages 0 to N - 1, one for all or one each.

        Raises:
            numpy.linalg.LinAlgError: The Hessian is not positive definite or not finite.
        """
        n_v, (H, costs) = self.n_v, self._hessian(Q, R, dR)
        if not np.isfinite(H).all():
            raise np.linalg.LinAlgError("the condensed Hessian is not finite")
        # Backwards, from the last input to the first, so that each input depends on its own w and earlier ones only.
        lower, fault = dpotrf(H[::-1, ::-1], lower=1)
        if fault:
            raise np.linalg.LinAlgError("the condensed Hessian is not positive definite")
        scale = np.ascontiguousarray(dtrtri(lower, lower=1)[0][::-1, ::-1].T)
        plan = Condensed(
            np.zeros((self.N, self.nu)), self.T @ scale, np.zeros((self.N + 1, self.nq)), self.S @ scale, _NO_GAINS
        )
        moves = np.concatenate([plan.S.reshape(-1, n_v), plan.T.reshape(-1, n_v), self._rows @ scale])
        return Weighed(plan, moves, scale.T, *costs)

    def ahead(self, weighed: Weighed, away: Array, task: ResolvedTask, w: Array) -> Array:
        """Return, flat, what is known of the steps ahead does to the optimum.

        Args:
            weighed: The horizon with its weights.
            away: The path's distance from the steady state at stages 0 to N - 1, (N, nq).
            task: Prices of coordinates and inputs.
            w: The disturbances' distance from their last values, (N, nd).
        """
        N, w = self.N, w.reshape(-1, 1)
        of = Response(*(part @ w for part in (self.foretold.x, self.foretold.u, self.foretold.end, self.foretold.rows)))
        y_price = np.broadcast_to(task.y_price, (N, self.nq)).ravel() / 2
        u_price = np.broadcast_to(task.u_price, (N, self.nu)).ravel() / 2
        g = self.S[1:].reshape(-1, self.n_v).T @ y_price + self.T.reshape(-1, self.n_v).T @ u_price
        return weighed.optimum(of, (g - weighed.x_cost @ away.ravel())[:, None])[:, 0]


_NO_GAINS = np.zeros((0, 0, 0))


def _weighed(part: Array, weight: Array) -> Array:
    """Return (weight part)^T of responses (N, n, n_v) as (n_v, N n), for one weight or one a stage."""
    return np.ascontiguousarray((weight @ part).reshape(-1, part.shape[2]).T)

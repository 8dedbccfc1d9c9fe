"""What plans of states and inputs over a horizon cost."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array, largest
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.riccati import stage_hessian
from koopctl.controllers.steady import Steady
from koopctl.controllers.steady_problem import half_ranges
from koopctl.controllers.terminal_set import TerminalSet
from koopctl.controllers.value import ValueFunction
from koopctl.controllers.weights import stage_weights, weighted
from koopctl.task import ResolvedTask

_TOUCH = 1e-6  # how far an input may be beyond its bound by rounding


class PlanCost:
    """Cost of plans X (N + 1, nx), U (N, nu) for one prediction, task and steady pair."""

    def __init__(
        self,
        prediction: Prediction,
        task: ResolvedTask,
        steady: Steady,
        P: Array,
        terminal: TerminalSet | None = None,
        value: ValueFunction | None = None,
    ) -> None:
        """Keep what every plan is measured by.

        Args:
            prediction: The model as it is planned with.
            task: Weights and bounds, maybe by stage.
            steady: Where the plans should lead.
            P: Terminal cost, (nx, nx).
            terminal: Where plans should end, or None.
            value: Terminal cost in place of P, or None.
        """
        self.prediction, self.task, self.steady, self.P = prediction, task, steady, P
        self.window, self.terminal, self.value = prediction.window, terminal, value
        self.Q = stage_weights(prediction.nx, task.Q)
        self.has_rate_cost = bool(task.dR.any())
        bounded = np.isfinite(task.y_min).any() or np.isfinite(task.y_max).any()
        self.has_soft_bounds = bool(bounded) or terminal is not None
        self.has_prices = bool(task.y_price.any() or task.u_price.any())
        self.half = half_ranges(prediction.model)
        self._per_half, self._per_width = 1.0 / self.half, 1.0 / np.maximum(prediction.high - prediction.low, 1e-9)
        # Without a terminal cost, deviations are worth what they cost over a horizon.
        self._worth = P if P.any() else (self.Q if self.Q.ndim == 2 else self.Q[-1]) * task.horizon
        self._H = stage_hessian(self.Q, task.R, task.dR)
        self.aim = self._aim()
        every = (task.horizon, prediction.nu)
        self._u_min, self._u_max = np.broadcast_to(task.u_min, every), np.broadcast_to(task.u_max, every)
        if task.blocked and (task.u_min.ndim == 2 or task.u_max.ndim == 2):  # an input that is held meets the tightest
            self._u_min = self.held(np.maximum.reduceat(self._u_min, task.moves, axis=0), by_move=True)
            self._u_max = self.held(np.minimum.reduceat(self._u_max, task.moves, axis=0), by_move=True)
        self._varying = task.u_min.ndim == 2 or task.u_max.ndim == 2

    def _aim(self) -> Array:
        """Return the states (N + 1, nx) or the one state (nx,) that plans are compared with."""
        if self.task.path is None:
            return self.steady.x
        aim = np.repeat(self.steady.x[None], len(self.task.path), axis=0)
        aim[:-1, : self.prediction.nq] = self.task.path[:-1]
        return aim

    # ------------------------------------------------------------------ cost
    def quadratic(self, X: Array, U: Array, u_last: Array) -> tuple[Array, Array, Array, Array]:
        """Return stage Hessians, stage gradients, terminal Hessian and gradient of half the cost at a plan."""
        nx, nu = X.shape[1], U.shape[1]
        e = self.window.difference(X, self.aim)
        du = U - self.steady.u
        along_x, along_u = weighted(e[:-1], self.Q), weighted(du, self.task.R)
        H_end, end = self.P, self.P @ e[-1]
        if self.value is not None:
            _, slope, curve = self.value.expand(X[-1])
            H_end, end = curve / 2.0, slope / 2.0
        if self.has_prices:
            along_u = along_u + self.task.u_price / 2
            nq = self.prediction.nq
            price = np.broadcast_to(self.task.y_price, (len(U), nq)) / 2
            along_x[1:, :nq] += price[:-1]
            end[:nq] += price[-1]
        if not self.has_rate_cost:
            return self._H, np.concatenate([along_x, along_u], axis=1), H_end, end
        change = weighted(np.diff(U, axis=0, prepend=u_last[None]), self.task.dR)
        h = np.concatenate([along_x, -change, along_u + change], axis=1)
        P = np.zeros((nx + nu, nx + nu))
        P[:nx, :nx] = H_end
        return self._H, h, P, np.concatenate([end, np.zeros(nu)])

    def cost(self, X: Array, U: Array, u_last: Array) -> Array:
        """Return the cost (n,) of plans X (n, N + 1, nx), U (n, N, nu); inf where a plan is not finite.

        So it is where input bounds that change along the horizon are not met: the rate bounds did not let it.
        """
        task = self.task
        e = self.window.difference(X, self.aim)
        du = U - self.steady.u
        total = (weighted(e[:, :-1], self.Q) * e[:, :-1]).sum((1, 2)) + (weighted(du, task.R) * du).sum((1, 2))
        total += self._end_cost(X[:, -1], e[:, -1])
        if self.has_rate_cost:
            change = np.diff(U, axis=1, prepend=np.broadcast_to(u_last, (len(U), 1, len(u_last))))
            total += (weighted(change, task.dR) * change).sum((1, 2))
        if self.has_prices:
            total += (U * task.u_price).sum((1, 2)) + (X[:, 1:, : self.prediction.nq] * task.y_price).sum((1, 2))
        if self.has_soft_bounds:
            total += self._soft_cost(X)
        possible = np.isfinite(total)
        if self._varying:
            possible &= ((U >= self._u_min - _TOUCH) & (U <= self._u_max + _TOUCH)).all(axis=(1, 2))
        return np.where(possible, total, np.inf)

    def merit(self, X: Array, U: Array, F: Array, u_last: Array) -> tuple[float, float]:
        """Return the cost of one plan plus an exact penalty on its defects F - X[1:], and the cost alone.

        A defect d met at a deviation e costs about 2 |e^T P d| later, which is at most 2 |e|_P |d|_P.
        """
        d, e = F - X[1:], self.window.difference(X, self.aim)
        size = np.sqrt(max(float(((e @ self._worth) * e).sum(axis=1).max()), 1e-12))
        defects = np.sqrt(np.maximum(((d @ self._worth) * d).sum(axis=1), 0.0)).sum()
        cost = self.cost_of(X, U, u_last)
        return float(cost + 2.0 * size * defects), cost

    def cost_of(self, X: Array, U: Array, u_last: Array) -> float:
        """Return the cost of one plan X (N + 1, nx), U (N, nu)."""
        e, du = self.window.difference(X, self.aim), U - self.steady.u
        cost = np.vdot(weighted(e[:-1], self.Q), e[:-1]) + np.vdot(weighted(du, self.task.R), du)
        end = e[-1]
        cost += end.dot(self.P).dot(end) if self.value is None else self._end_cost(X[-1:], e[-1:])[0]
        if self.has_rate_cost:
            change = np.diff(U, axis=0, prepend=u_last[None])
            cost += np.vdot(weighted(change, self.task.dR), change)
        if self.has_prices:
            cost += (U * self.task.u_price).sum() + (X[1:, : self.prediction.nq] * self.task.y_price).sum()
        if self.has_soft_bounds:
            cost += self._soft_cost(X[None])[0]
        return float(cost)

    def _end_cost(self, X: Array, e: Array) -> Array:
        """Return what the rest of the way costs (n,) from last states X (n, nx) at deviations e."""
        if self.value is None:
            return np.asarray(((e @ self.P) * e).sum(axis=1))
        finite: np.ndarray = np.asarray(np.isfinite(X).all(axis=1))
        return np.where(finite, self.value(np.where(finite[:, None], X, self.steady.x)), np.inf)

    def _soft_cost(self, X: Array) -> Array:
        q = X[:, 1:, : self.prediction.nq]
        beyond = np.maximum(q - self.task.y_max, 0.0) + np.maximum(self.task.y_min - q, 0.0)
        worst = beyond.max(axis=1)
        cost = (self.task.slack_price * (2 * worst + worst**2)).sum(axis=1)
        if self.terminal is not None:
            end = self.terminal.beyond(self.window.difference(X[:, -1], self.steady.x))
            cost += self.task.slack_price.max() * (2 * end + end**2)
        return np.asarray(cost)

    def share(self, dx: Array) -> float:
        """Return the largest entry of a difference of states (nx,), in half ranges of the data."""
        return largest(np.abs(dx[: self.prediction.nq] * self._per_half))

    def sizes(self, dX: Array, dU: Array) -> tuple[float, float]:
        """Return the largest change of a coordinate and of an input of a plan, in half ranges of the data."""
        states = np.abs(dX[:, : self.prediction.nq] * self._per_half)
        inputs = np.abs(dU * self._per_width)
        return largest(states), 2.0 * largest(inputs)

    def held(self, U: Array, by_move: bool = False) -> Array:
        """Return inputs (..., N, nu) that change only where the plan may move; U may have one row a move instead."""
        if not self.task.blocked:
            return U
        N, at = self.task.horizon, self.task.moves
        block = np.searchsorted(at, np.arange(N), side="right") - 1
        return np.asarray(U[..., block if by_move else at[block], :])

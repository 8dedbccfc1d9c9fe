"""Plans of states and inputs over a horizon: their cost, their roll-outs, and the search among many of them."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.lqr import state_weight
from koopctl.controllers.riccati import stage_hessian
from koopctl.controllers.steady import Steady, half_ranges
from koopctl.models.base import Model
from koopctl.task import ResolvedTask

_REACH = 1.5  # how far a random change reaches, in half ranges of the input; beyond 1 the bounds are met more often


class Plans:
    """Cost and roll-outs of plans X (N + 1, nx), U (N, nu) for one model, task and steady pair."""

    def __init__(
        self, model: Model, task: ResolvedTask, steady: Steady, P: Array, K: Array | None, reserve: float = 0.0
    ) -> None:
        """Keep what every plan is measured by.

        Args:
            model: A fitted model.
            task: Weights and bounds.
            steady: Where the plans should lead.
            P: Terminal cost, (nx, nx).
            K: LQR gain at the steady pair, or None.
            reserve: Share of the input range that plans leave to the feedback at their end, nothing at their start.
        """
        self.model, self.task, self.steady, self.P, self.K = model, task, steady, P, K
        self.Q = state_weight(model, task.Q)
        self.has_rate_cost = bool(task.dR.any())
        self.has_soft_bounds = bool(np.isfinite(task.y_min).any() or np.isfinite(task.y_max).any())
        self.half = half_ranges(model)
        self.input_low = np.where(np.isfinite(task.u_min), task.u_min, model.input_range_.low)
        self.input_high = np.where(np.isfinite(task.u_max), task.u_max, model.input_range_.high)
        self._H = stage_hessian(self.Q, task.R, task.dR)
        # (N, nu): how far inside the bounds plans stay, as the model's error grows along them; nothing where the rate
        # bounds could not follow.
        width = task.u_max - task.u_min
        room = reserve * np.where(np.isfinite(width), width, 0.0) / 2
        grown = np.arange(task.horizon) / task.horizon
        self.reserve = grown[:, None] * np.where(room <= task.du_max, room, 0.0)
        self._low, self._high = task.u_min + self.reserve, task.u_max - self.reserve

    # ------------------------------------------------------------------ cost
    def quadratic(self, X: Array, U: Array, u_last: Array) -> tuple[Array, Array, Array, Array]:
        """Return stage Hessian, stage gradients, terminal Hessian and gradient of half the cost at a plan."""
        nx, nu = self.model.nx, self.model.nu
        e = self.model.window_.difference(X, self.steady.x)
        du = U - self.steady.u
        if not self.has_rate_cost:
            h = np.concatenate([e[:-1] @ self.Q, du @ self.task.R], axis=1)
            return self._H, h, self.P, self.P @ e[-1]
        change = np.diff(U, axis=0, prepend=u_last[None]) @ self.task.dR
        h = np.concatenate([e[:-1] @ self.Q, -change, du @ self.task.R + change], axis=1)
        P = np.zeros((nx + nu, nx + nu))
        P[:nx, :nx] = self.P
        return self._H, h, P, np.concatenate([self.P @ e[-1], np.zeros(nu)])

    def cost(self, X: Array, U: Array, u_last: Array) -> Array:
        """Return the cost (n,) of plans X (n, N + 1, nx), U (n, N, nu); inf where a plan is not finite."""
        task = self.task
        e = self.model.window_.difference(X, self.steady.x)
        du = U - self.steady.u
        total = ((e[:, :-1] @ self.Q) * e[:, :-1]).sum((1, 2)) + ((du @ task.R) * du).sum((1, 2))
        total += ((e[:, -1] @ self.P) * e[:, -1]).sum(1)
        if self.has_rate_cost:
            change = np.diff(U, axis=1, prepend=np.broadcast_to(u_last, (len(U), 1, len(u_last))))
            total += ((change @ task.dR) * change).sum((1, 2))
        if self.has_soft_bounds:
            total += self._soft_cost(X)
        return np.where(np.isfinite(total), total, np.inf)

    def merit(self, X: Array, U: Array, F: Array, u_last: Array) -> tuple[float, float]:
        """Return the cost of one plan plus an exact penalty on its defects F - X[1:], and the cost alone.

        A defect d met at a deviation e costs about 2 |e^T P d| later, which is at most 2 |e|_P |d|_P.
        """
        d, e = F - X[1:], self.model.window_.difference(X, self.steady.x)
        size = np.sqrt(max(float(((e @ self.P) * e).sum(axis=1).max()), 1e-12))
        defects = np.sqrt(np.maximum(((d @ self.P) * d).sum(axis=1), 0.0)).sum()
        cost = self.cost_of(X, U, u_last)
        return float(cost + 2.0 * size * defects), cost

    def cost_of(self, X: Array, U: Array, u_last: Array) -> float:
        """Return the cost of one plan X (N + 1, nx), U (N, nu)."""
        e, du = self.model.window_.difference(X, self.steady.x), U - self.steady.u
        cost = np.vdot(e[:-1] @ self.Q, e[:-1]) + np.vdot(du @ self.task.R, du) + np.vdot(self.P @ e[-1], e[-1])
        if self.has_rate_cost:
            change = np.diff(U, axis=0, prepend=u_last[None])
            cost += np.vdot(change @ self.task.dR, change)
        if self.has_soft_bounds:
            cost += self._soft_cost(X[None])[0]
        return float(cost)

    def _soft_cost(self, X: Array) -> Array:
        nq = self.model.window_.nq
        beyond = np.maximum(X[:, 1:, :nq] - self.task.y_max, 0.0) + np.maximum(self.task.y_min - X[:, 1:, :nq], 0.0)
        worst = beyond.max(axis=1)
        return np.asarray(self.task.slack_price * (2 * worst + worst**2).sum(axis=1))

    # ------------------------------------------------------------------ roll-outs
    def clip(self, U: Array) -> Array:
        """Return U inside the input bounds."""
        # np.clip takes three times as long
        return np.asarray(np.minimum(np.maximum(U, self.task.u_min), self.task.u_max))

    def _inside(self, u: Array, k: int) -> Array:
        """Return the inputs (n, nu) of stage k inside the bounds less the reserve."""
        return np.asarray(np.minimum(np.maximum(u, self._low[k]), self._high[k]))

    def _near(self, u: Array, last: Array) -> Array:
        """Return u as far as the rate bounds allow after the inputs `last`."""
        return np.asarray(np.minimum(np.maximum(u, last - self.task.du_max), last + self.task.du_max))

    def roll_out(self, x0: Array, U: Array, u_last: Array) -> tuple[Array, Array]:
        """Return states (n, N + 1, nx) and inputs (n, N, nu) from x0 under input sequences (n, N, nu).

        A plan that comes to where the LQR stays inside the bounds is handed to the LQR there: in open loop an
        unstable target can be reached but never held.
        """
        X = np.empty((len(U), U.shape[1] + 1, len(x0)))
        X[:, 0] = x0
        last = np.broadcast_to(u_last, U[:, 0].shape)
        for k in range(U.shape[1]):
            u = self._inside(U[:, k], k)
            if self.K is not None:
                e = self.model.window_.difference(X[:, k], self.steady.x)
                lqr = self.steady.u - e @ self.K.T
                caught = ((lqr >= self.task.u_min) & (lqr <= self.task.u_max)).all(axis=1)
                caught &= (np.abs(e[:, : len(self.half)]) <= self.half).all(axis=1)
                u[caught] = lqr[caught]
            last = self._near(u, last)
            U[:, k], X[:, k + 1] = last, self.model.step(X[:, k], last)
        return X, U

    def home(self, x0: Array) -> tuple[Array, Array]:
        """Return the plan of the LQR from x0, or of the steady input where there is no LQR."""
        N = self.task.horizon
        X, U = np.empty((N + 1, len(x0))), np.tile(self.clip(self.steady.u), (N, 1))
        X[0] = x0
        for k in range(N):
            if self.K is not None:
                U[k] = self.clip(self.steady.u - self.K @ self.model.window_.difference(X[k], self.steady.x))
            X[k + 1] = self.model.step(X[k], U[k])
        return X, U

    def shift(self, X: Array, U: Array, steps: int) -> tuple[Array, Array]:
        """Return the plan `steps` later, filled up at the end by the LQR."""
        X, U = X[steps:], U[steps:]
        for _ in range(self.task.horizon - len(U)):
            u = self.steady.u
            if self.K is not None:
                u = u - self.K @ self.model.window_.difference(X[-1], self.steady.x)
            u = self.clip(u)
            U = np.concatenate([U, u[None]])
            X = np.concatenate([X, self.model.step(X[-1], u)[None]])
        return X, U

    def at_home(self, x: Array) -> bool:
        """Tell whether the LQR could take over at the state x (nx,) without meeting the input bounds."""
        if self.K is None or not np.isfinite(x).all():
            return False
        u = self.steady.u - self.K @ self.model.window_.difference(x, self.steady.x)
        return bool((u >= self.task.u_min).all() and (u <= self.task.u_max).all())

    # ------------------------------------------------------------------ search
    def candidates(self, X: Array, U: Array, count: int, rng: np.random.Generator) -> Array:
        """Return input sequences (count + 3, N, nu): the plan, the LQR's, the steady input, and `count` random ones.

        The random ones are piecewise constant with 1 to about 9 pieces. Half of them are added to the plan; half
        start from scratch and only switch between the bounds, which is where the inputs of a swing-up lie.
        """
        N, nu = U.shape
        fixed = np.stack([U, self.home(X[0])[1], np.broadcast_to(self.clip(self.steady.u), U.shape)])
        half, middle = (self.input_high - self.input_low) / 2, (self.input_high + self.input_low) / 2
        rate = 3.0 ** rng.uniform(0.0, 2.0, size=(count, 1, 1)) / N
        piece = np.cumsum(rng.random((count, N, nu)) < rate, axis=1)
        change = np.take_along_axis(rng.uniform(-1.0, 1.0, size=(count, N + 1, nu)), piece, axis=1)
        added = U + _REACH * half * change[::2]
        switched = middle + half * np.sign(change[1::2])
        return np.concatenate([fixed, added, switched])

    def best_of(self, x0: Array, U: Array, u_last: Array) -> tuple[Array, Array, float]:
        """Return the cheapest of the input sequences (n, N, nu) with its roll-out and cost."""
        with np.errstate(all="ignore"):
            X, U = self.roll_out(x0, U, u_last)
            cost = self.cost(X, U, u_last)
        best = int(np.argmin(cost))
        return X[best], U[best], float(cost[best])

    def follow(
        self,
        X: Array,
        U: Array,
        gains: Array,
        u_last: Array,
        lengths: Array,
        dX: Array | float = 0.0,
        dU: Array | float = 0.0,
    ) -> tuple[Array, Array, float]:
        """Roll out U + length dU, held to X + length dX by gains (N, nu, nx); return the cheapest plan and its cost."""
        window, N, nx = self.model.window_, len(U), X.shape[1]
        states = np.empty((len(lengths), N + 1, nx))
        inputs = np.empty((len(lengths), N, U.shape[1]))
        aim = X + lengths[:, None, None] * dX
        feed = U + lengths[:, None, None] * dU
        states[:, 0] = X[0]
        last = np.broadcast_to(u_last, inputs[:, 0].shape)
        with np.errstate(all="ignore"):
            for k in range(N):
                off = window.difference(states[:, k], aim[:, k])
                u = self._inside(feed[:, k] + off @ gains[k, :, :nx].T, k)
                last = self._near(u, last)
                inputs[:, k], states[:, k + 1] = last, self.model.step(states[:, k], last)
            cost = self.cost(states, inputs, u_last)
        best = int(np.argmin(cost))
        return states[best], inputs[best], float(cost[best])

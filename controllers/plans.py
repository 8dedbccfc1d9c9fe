"""Plans of states and inputs over a horizon: their roll-outs, and the search among many of them."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.plan_cost import PlanCost
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady import Steady
from koopctl.controllers.steady_problem import last, on_turn
from koopctl.controllers.terminal_set import TerminalSet
from koopctl.controllers.value import ValueFunction
from koopctl.task import ResolvedTask

_REACH = 1.5  # how far a random change reaches, in half ranges of the input; beyond 1 the bounds are met more often


class Plans(PlanCost):
    """Cost and roll-outs of plans X (N + 1, nx), U (N, nu) for one prediction, task and steady pair."""

    def __init__(
        self,
        prediction: Prediction,
        task: ResolvedTask,
        steady: Steady,
        P: Array,
        K: Array | None,
        reserve: float = 0.0,
        terminal: TerminalSet | None = None,
        value: ValueFunction | None = None,
    ) -> None:
        """Keep what every plan is measured by.

        Args:
            prediction: The model as it is planned with.
            task: Weights and bounds, maybe by stage.
            steady: Where the plans should lead.
            P: Terminal cost, (nx, nx).
            K: LQR gain at the steady pair, or None.
            reserve: Share of the input range that plans leave to the feedback at their end, nothing at their start.
            terminal: Where plans should end, or None.
            value: Terminal cost in place of P, or None.
        """
        super().__init__(prediction, task, steady, P, terminal, value)
        self.K = K
        self.input_low = np.where(np.isfinite(task.u_min), task.u_min, prediction.low)
        self.input_high = np.where(np.isfinite(task.u_max), task.u_max, prediction.high)
        # (N, nu): how far inside the bounds plans stay, as the model's error grows along them; nothing where the rate
        # bounds could not follow.
        width = task.u_max - task.u_min
        room = reserve * np.where(np.isfinite(width), width, 0.0) / 2
        grown = np.arange(task.horizon) / task.horizon
        self.reserve = grown[:, None] * np.where(room <= task.du_max, room, 0.0)
        self._du_max = np.broadcast_to(task.du_max, (task.horizon, prediction.nu))
        self._low, self._high = self._u_min + self.reserve, self._u_max - self.reserve

    # ------------------------------------------------------------------ roll-outs
    def clip(self, U: Array) -> Array:
        """Return inputs (N, nu) inside their bounds."""
        # np.clip takes three times as long
        return np.asarray(np.minimum(np.maximum(U, self._u_min), self._u_max))

    def _clip_at(self, u: Array, k: int) -> Array:
        k = min(k, len(self._u_min) - 1)
        return np.asarray(np.minimum(np.maximum(u, self._u_min[k]), self._u_max[k]))

    def _inside(self, u: Array, k: int) -> Array:
        """Return the inputs (n, nu) of stage k inside the bounds less the reserve."""
        return np.asarray(np.minimum(np.maximum(u, self._low[k]), self._high[k]))

    def _near(self, u: Array, last: Array, k: int) -> Array:
        """Return the inputs u of stage k as far as the rate bounds allow after the inputs `last`."""
        limit = self._du_max[k]
        return np.asarray(np.minimum(np.maximum(u, last - limit), last + limit))

    def roll_out(self, x0: Array, U: Array, u_last: Array) -> tuple[Array, Array]:
        """Return states (n, N + 1, nx) and inputs (n, N, nu) from x0 under input sequences (n, N, nu).

        A plan that comes to where the LQR stays inside the bounds is handed to the LQR there: in open loop an
        unstable target can be reached but never held. Plans with fewer moves than steps only hold their inputs.
        """
        X = np.empty((len(U), U.shape[1] + 1, len(x0)))
        X[:, 0] = x0
        last = np.broadcast_to(u_last, U[:, 0].shape)
        for k in range(U.shape[1]):
            u = self._inside(U[:, k], k)
            if self.K is not None and not self.task.blocked:
                e = self.window.difference(X[:, k], self.steady.x)
                lqr = self.steady.u - e @ self.K.T
                caught = ((lqr >= self._u_min[k]) & (lqr <= self._u_max[k])).all(axis=1)
                caught &= (np.abs(e[:, : len(self.half)]) <= self.half).all(axis=1)
                u[caught] = lqr[caught]
            last = self._near(u, last, k)
            U[:, k], X[:, k + 1] = last, self.prediction.step(X[:, k], last, k)
        return X, U

    def turns(self, x: Array) -> Array:
        """Return what takes a state (nx,) to the turns of the bounds on its angles, (nx,)."""
        q, task, window = x[: len(self.half)], self.task, self.window
        if not (self.has_soft_bounds and len(window.chart.angles)):
            return np.zeros(len(x))
        low, high = last(task.y_min, 1), last(task.y_max, 1)
        return window.turned(on_turn(q, low, high, window.chart.angles) - q)

    def home(self, x0: Array) -> tuple[Array, Array]:
        """Return the plan of the LQR from x0, or of the steady input where there is no LQR or inputs are held."""
        N = self.task.horizon
        X, U = np.empty((N + 1, len(x0))), self.clip(np.tile(self.steady.u, (N, 1)))
        X[0] = x0
        for k in range(N):
            if self.K is not None and not self.task.blocked:
                U[k] = self._clip_at(self.steady.u - self.K @ self.window.difference(X[k], self.steady.x), k)
            X[k + 1] = self.prediction.step(X[k], U[k], k)
        return X, U

    def shift(self, X: Array, U: Array, steps: int) -> tuple[Array, Array]:
        """Return the states (N, nx) and inputs (N, nu) of the plan `steps` later, filled up at the end by the LQR.

        Its last state is left out: it follows from the last stage's linearisation. Held inputs stay held.
        """
        X, U, N = X[steps:].copy(), U[steps:], self.task.horizon
        while True:
            k, u = len(U), self.steady.u
            if self.K is not None:
                u = u - self.K.dot(self.window.difference(X[-1], self.steady.x))
            u = self._clip_at(u, k)
            U = np.concatenate((U, u[None]))
            if k + 1 == N:
                return X, self.held(U)
            X = np.concatenate((X, self.prediction.step(X[-1], u, k)[None]))

    def at_home(self, x: Array) -> bool:
        """Tell whether the LQR could take over at the state x (nx,) without meeting the input bounds."""
        if self.K is None or not np.isfinite(x).all():
            return False
        u = self.steady.u - self.K @ self.window.difference(x, self.steady.x)
        return bool((u >= self._u_min[-1]).all() and (u <= self._u_max[-1]).all())

    # ------------------------------------------------------------------ search
    def candidates(self, X: Array, U: Array, count: int, rng: np.random.Generator) -> Array:
        """Return input sequences (count + 3, N, nu): the plan, the LQR's, the steady input, and `count` random ones.

        The random ones are piecewise constant with 1 to about 9 pieces. Half of them are added to the plan; half
        start from scratch and only switch between the bounds, which is where the inputs of a swing-up lie.
        """
        N, nu = U.shape
        fixed = np.stack([U, self.home(X[0])[1], self.clip(np.broadcast_to(self.steady.u, U.shape))])
        half, middle = (
            (self.input_high - self.input_low) / 2,
            (self.input_high + self.input_low) / 2,
        )  # (nu,) or (N, nu)
        rate = 3.0 ** rng.uniform(0.0, 2.0, size=(count, 1, 1)) / N
        piece = np.cumsum(rng.random((count, N, nu)) < rate, axis=1)
        change = np.take_along_axis(rng.uniform(-1.0, 1.0, size=(count, N + 1, nu)), piece, axis=1)
        added = U + _REACH * half * change[::2]
        switched = middle + half * np.sign(change[1::2])
        return self.held(np.concatenate([fixed, added, switched]))

    def greedy(self, x0: Array) -> Array:
        """Return the inputs (1, N, nu) of the value's greedy law from x0, or none (0, N, nu) without a value."""
        N = self.task.horizon
        if self.value is None:
            return np.empty((0, N, self.prediction.nu))
        return self.held(self.value.roll_out(x0, N)[1][None])

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
        N, nx = len(U), X.shape[1]
        states = np.empty((len(lengths), N + 1, nx))
        inputs = np.empty((len(lengths), N, U.shape[1]))
        aim = X + lengths[:, None, None] * dX
        feed = U + lengths[:, None, None] * dU
        states[:, 0] = X[0]
        last = np.broadcast_to(u_last, inputs[:, 0].shape)
        with np.errstate(all="ignore"):
            for k in range(N):
                off = self.window.difference(states[:, k], aim[:, k])
                u = self._inside(feed[:, k] + off @ gains[k, :, :nx].T, k)
                last = self._near(u, last, k)
                inputs[:, k], states[:, k + 1] = last, self.prediction.step(states[:, k], last, k)
            cost = self.cost(states, inputs, u_last)
        best = int(np.argmin(cost))
        return states[best], inputs[best], float(cost[best])

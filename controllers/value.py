"""A value function on a learnt model: what the best continuation costs, where the LQR's cost-to-go no longer holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array
from koopctl.features.sampled import SampledFeatures
from koopctl.models.base import Model

_INNER, _OUTER = 0.8, 2.0  # of the LQR's reach, up to which its cost-to-go counts alone, and not at all


@dataclass(frozen=True)
class Home:
    """The surroundings of the steady pair, where the LQR's cost-to-go is the value.

    Attributes:
        x: Steady state, (nx,).
        u: Steady input, (nu,).
        P: Cost-to-go of the LQR, (nx, nx).
        K: Its gain, (nu, nx).
        Q: Stage weight of the state, (nx, nx).
        R: Stage weight of the input, (nu, nu).
        u_min: Lower input bounds, (nu,).
        u_max: Upper input bounds, (nu,).
        low: Lower ends of the box that held the data, (nx,); -inf for angles.
        high: Upper ends, (nx,).
        reach: |reach e| = 1 is where the gain meets a bound or a coordinate half the data's range, (m, nx).
    """

    x: Array
    u: Array
    P: Array
    K: Array
    Q: Array
    R: Array
    u_min: Array
    u_max: Array
    low: Array
    high: Array
    reach: Array


@dataclass(frozen=True)
class ValueReport:
    """How a value iteration went.

    Attributes:
        change: Mean change of the value in its last sweep, relative to the mean value.
        residual: Mean of |V - min_u (cost + V(successor))| on fresh states, relative to the mean value.
        fallen: Share of the sampled states whose value is lower after a round than after the one before, by more than
            a tenth of the mean value; exact value iteration from below never falls.
        clipped: Share of the last sweep's targets that met a limit.
        dead: Share of the sampled states that every input leads out of the data.
    """

    change: float
    residual: float
    fallen: float
    clipped: float
    dead: float


class ValueFunction:
    r"""V(x) = b(x) |x - x_s|_P^2 + (1 - b(x)) theta^T psi(x), never below the stage cost; made by `fitted_value`.

    psi holds sampled hidden units, linear and quadratic terms of the model's regressors, b is 1 near the steady pair
    and 0 where the LQR meets its bounds. Outside the box that held the data, V is that of the nearest point inside.

    Attributes:
        model: The learnt model.
        home: The steady pair and the LQR there.
        features: Sampled hidden layer on standardised regressors.
        mean: Centre of the regressors, (nw,).
        scale: Their spread, (nw,).
        theta: Coefficients, (nf + nw + 1 + nw (nw + 1) / 2,).
        inputs: Inputs the greedy law compares, (m, nu).
        hold: Steps for which they are held.
        settings: Arguments of `fitted_value` that make this value again.
        report: How the iteration went.
    """

    settings: dict[str, int]
    report: ValueReport

    def __init__(
        self,
        model: Model,
        home: Home,
        features: SampledFeatures,
        mean: Array,
        scale: Array,
        theta: Array,
        inputs: Array,
        hold: int,
    ) -> None:
        """Keep the parts; see the class.

        Args:
            model: The learnt model, without delays.
            home: The steady pair and the LQR there.
            features: Sampled hidden layer.
            mean: Centre of the regressors.
            scale: Their spread.
            theta: Coefficients.
            inputs: Inputs the greedy law compares.
            hold: Steps for which they are held.
        """
        self.model, self.window, self.home = model, model.window_, home
        self.features, self.mean, self.scale = features, mean, scale
        self.theta, self.inputs, self.hold = theta, inputs, hold
        self._upper = np.triu_indices(len(mean))

    def __call__(self, X: Array) -> Array:
        """Return the value (n,) of states X (n, nx)."""
        inside = self.inside(X)
        share, e = self.share_of_home(inside)
        fitted = self.basis(inside) @ self.theta
        value = share * ((e @ self.home.P) * e).sum(axis=1) + (1.0 - share) * fitted
        return np.asarray(np.maximum(value, ((e @ self.home.Q) * e).sum(axis=1)))

    def inside(self, X: Array) -> Array:
        """Return the nearest points of the data's box."""
        return np.asarray(np.minimum(np.maximum(X, self.home.low), self.home.high))

    def basis(self, X: Array) -> Array:
        """Return psi, (n, number of coefficients)."""
        Z = (self.window.embed(X) - self.mean) / self.scale
        i, j = self._upper
        return np.concatenate([self.features.transform(Z), Z, np.ones((len(Z), 1)), Z[:, i] * Z[:, j]], axis=1)

    def share_of_home(self, X: Array) -> tuple[Array, Array]:
        """Return b (n,) and the deviations from the steady state (n, nx)."""
        e = self.window.difference(X, self.home.x)
        t = np.clip((np.abs(e @ self.home.reach.T).max(axis=1) - _INNER) / (_OUTER - _INNER), 0.0, 1.0)
        return 1.0 - t * t * (3.0 - 2.0 * t), e

    def stage(self, X: Array, U: Array) -> Array:
        """Return the stage cost (n,) of states X (n, nx) and inputs U (n, nu)."""
        e, du = self.window.difference(X, self.home.x), U - self.home.u
        return np.asarray(((e @ self.home.Q) * e).sum(axis=1) + ((du @ self.home.R) * du).sum(axis=1))

    def expand(self, x: Array) -> tuple[float, Array, Array]:
        """Return value, gradient (nx,) and a positive semidefinite Hessian (nx, nx) at a state.

        The Hessian is the Gauss-Newton one of the value's root, plus that of the stage cost; near home the LQR's.
        """
        home, inside = self.home, self.inside(x[None])
        share, e = (part[0] for part in self.share_of_home(inside))
        if share == 1.0:
            return float(e @ home.P @ e), 2.0 * home.P @ e, 2.0 * home.P
        value, least = float(self(x[None])[0]), float(e @ home.Q @ e)
        near, fitted = float(e @ home.P @ e), float(self.basis(inside)[0] @ self.theta)
        gradient = share * 2.0 * home.P @ e + (1.0 - share) * self._slope(inside)
        gradient += (near - fitted) * self._slope_of_share(e)
        if value <= least:
            gradient = 2.0 * home.Q @ e
        gradient = np.where(inside[0] == x, gradient, 0.0)  # constant along coordinates beyond the box
        H = 2.0 * share * home.P + (1.0 - share) * (
            2.0 * home.Q + np.outer(gradient, gradient) / (2 * max(value, 1e-9))
        )
        return value, gradient, H

    def _slope(self, X: Array) -> Array:
        """Return the gradient (nx,) of the fitted part at one state (1, nx)."""
        W = self.window.embed(X)
        Z = (W - self.mean) / self.scale
        nf, nw = len(self.features.biases_), len(self.mean)
        i, j = self._upper
        weights = self.theta[nf + nw + 1 :]
        by_z = self.features.jacobian(Z)[0].T @ self.theta[:nf] + self.theta[nf : nf + nw]
        np.add.at(by_z, i, weights * Z[0, j])
        np.add.at(by_z, j, weights * Z[0, i])
        return np.asarray(self.window.chain((by_z / self.scale)[None, None], W)[0, 0])

    def _slope_of_share(self, e: Array) -> Array:
        """Return the gradient (nx,) of b at one deviation."""
        along = self.home.reach @ e
        worst = int(np.argmax(np.abs(along)))
        t = np.clip((abs(along[worst]) - _INNER) / (_OUTER - _INNER), 0.0, 1.0)
        return np.asarray(-6.0 * t * (1.0 - t) / (_OUTER - _INNER) * np.sign(along[worst]) * self.home.reach[worst])

    # ------------------------------------------------------------------ greedy law
    def held(self, X: Array) -> tuple[Array, Array, np.ndarray]:
        """Return what each of the inputs, held, costs from states X (n, nx), where it leads, and whether inside.

        Returns:
            Costs (n, m), states (n m, nx), and (n, m) whether the motion stays in the data's box.
        """
        n, m, home = len(X), len(self.inputs), self.home
        U, x = np.tile(self.inputs, (n, 1)), np.repeat(X, m, axis=0)
        cost = np.zeros(n * m)
        allowed: np.ndarray = np.ones(n * m, dtype=bool)
        for _ in range(self.hold):
            cost += self.stage(x, U)
            x = self.model.step(x, U)
            allowed &= ((x >= home.low) & (x <= home.high)).all(axis=1)
            x = self.inside(x)
        return cost.reshape(n, m), x, allowed.reshape(n, m)

    def greedy(self, X: Array) -> Array:
        """Return the inputs (n, nu) with the least cost, held, plus value of where they lead; near home the LQR's."""
        cost, after, allowed = self.held(X)
        allowed[~allowed.any(axis=1)] = True
        total = np.where(allowed, cost + self(after).reshape(cost.shape), np.inf)
        best = self.inputs[np.where(np.isnan(total), np.inf, total).argmin(axis=1)]
        e = self.window.difference(X, self.home.x)
        lqr = self.home.u - e @ self.home.K.T
        near = np.asarray(np.abs(e @ self.home.reach.T).max(axis=1) < 1.0)
        return np.asarray(np.where(near[:, None], lqr, best))

    def roll_out(self, x0: Array, steps: int) -> tuple[Array, Array]:
        """Return states (steps + 1, nx) and inputs (steps, nu) of the greedy law on the model, from x0 (nx,).

        Away from home it decides anew only every `hold` steps.
        """
        X, U = np.empty((steps + 1, len(x0))), np.empty((steps, len(self.home.u)))
        X[0], left = x0, 0
        for k in range(steps):
            e = self.window.difference(X[k], self.home.x)
            if (np.abs(self.home.reach @ e) < 1.0).all():
                U[k], left = self.home.u - self.home.K @ e, 0
            elif left:
                U[k], left = U[k - 1], left - 1
            else:
                U[k], left = self.greedy(X[k][None])[0], self.hold - 1
            X[k + 1] = self.model.step(X[k], U[k])
        return X, U

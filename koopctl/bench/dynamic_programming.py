"""The best return on Gymnasium's Pendulum-v1, by dynamic programming on the true equations."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse

from koopctl.arrays import Array

_G, _M, _L, _DT, _SPEED, _TORQUE = 10.0, 1.0, 1.0, 0.05, 8.0, 2.0
_STEPS = 200


class PendulumOracle:
    """Backward induction over the 200 steps of Pendulum-v1 on a grid of angle and speed.

    The equations, bounds and reward are those of the environment's source. The value of each time-to-go is kept; the
    policy looks one step ahead with a fine grid of torques and multilinear interpolation, and is then run on the
    real environment, so that its return is one that can be had, not a bound that interpolation might flatter.
    """

    def __init__(self, n_angle: int = 601, n_speed: int = 601, n_torque: int = 31) -> None:
        """Compute the value functions; the defaults take about a minute, a grid of 301 x 301 five seconds.

        Args:
            n_angle: Grid points over a full turn.
            n_speed: Grid points over the speeds within +-8 rad/s.
            n_torque: Torques tried in the induction.
        """
        self.angles = np.linspace(-np.pi, np.pi, n_angle, endpoint=False)
        self.speeds = np.linspace(-_SPEED, _SPEED, n_speed)
        grid = np.stack(np.meshgrid(self.angles, self.speeds, indexing="ij"), axis=-1).reshape(-1, 2)
        torques = np.linspace(-_TORQUE, _TORQUE, n_torque)
        moves = [self._interpolation(step(grid, np.full(len(grid), u))) for u in torques]
        costs = [stage_cost(grid, np.full(len(grid), u)) for u in torques]
        value = np.zeros(len(grid))
        self.values = [value]
        for _ in range(_STEPS):
            best = np.full(len(grid), np.inf)
            for move, cost in zip(moves, costs, strict=True):
                np.minimum(best, cost + move @ value, out=best)
            value = best
            self.values.append(value.astype(np.float32))

    def torque(self, angle: float, speed: float, steps_left: int) -> float:
        """Return the best torque at a state with so many steps to go."""
        torques = np.linspace(-_TORQUE, _TORQUE, 401)
        here = np.tile([angle, speed], (len(torques), 1))
        future = self._interpolation(step(here, torques)) @ self.values[steps_left - 1]
        return float(torques[np.argmin(stage_cost(here, torques) + future)])

    def total_reward(self, seed: int) -> float:
        """Return what the policy earns on the real environment reset with this seed."""
        import gymnasium

        env = gymnasium.make("Pendulum-v1")
        y, _ = env.reset(seed=seed)
        total = 0.0
        for k in range(_STEPS):
            u = self.torque(float(np.arctan2(y[1], y[0])), float(y[2]), _STEPS - k)
            y, reward, _, _, _ = env.step(np.array([u], dtype=np.float32))
            total += float(reward)
        env.close()
        return total

    def _interpolation(self, X: Array) -> sparse.csr_array:
        """Return the matrix that reads the value at states X (n, 2) from the grid."""
        n_angle, n_speed = len(self.angles), len(self.speeds)
        a = ((X[:, 0] + np.pi) / (2 * np.pi) % 1.0) * n_angle
        s = (X[:, 1] + _SPEED) / (2 * _SPEED) * (n_speed - 1)
        i, j = np.floor(a).astype(int), np.minimum(np.floor(s).astype(int), n_speed - 2)
        fa, fs = a - i, s - j
        rows, columns, weights = [], [], []
        for di, wa in ((0, 1 - fa), (1, fa)):
            for dj, ws in ((0, 1 - fs), (1, fs)):
                rows.append(np.arange(len(X)))
                columns.append((i + di) % n_angle * n_speed + j + dj)
                weights.append(wa * ws)
        shape = (len(X), n_angle * n_speed)
        entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
        return sparse.csr_array(entries, shape=shape)


def step(X: Array, u: Array) -> Array:
    """Return the next states (n, 2) of Pendulum-v1 at X = [angle from upright, speed] under torques u (n,)."""
    speed = X[:, 1] + (3 * _G / (2 * _L) * np.sin(X[:, 0]) + 3.0 / (_M * _L**2) * u) * _DT
    speed = np.clip(speed, -_SPEED, _SPEED)
    return np.stack([X[:, 0] + speed * _DT, speed], axis=1)


def stage_cost(X: Array, u: Array) -> Array:
    """Return minus the reward of Pendulum-v1, (n,)."""
    angle = (X[:, 0] + np.pi) % (2 * np.pi) - np.pi
    return np.asarray(angle**2 + 0.1 * X[:, 1] ** 2 + 0.001 * u**2)

"""Motion of small plants whose truth is known, for the tests of data, models and scores."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm

from koopctl.data.rollouts import Rollouts

DT = 0.05  # [s]


def pendulum(episodes: int = 8, steps: int = 40, seed: int = 0) -> Rollouts:
    """Return a swinging pendulum observed as Gymnasium does: cos, sin, rate; it turns over the top now and then."""
    rng = np.random.default_rng(seed)
    X, U = [], []
    for _ in range(episodes):
        theta, rate = rng.uniform(-3, 3), rng.uniform(-4, 4)
        inputs = rng.uniform(-2, 2, size=(steps, 1))
        path = [(np.cos(theta), np.sin(theta), rate)]
        for u in inputs[:, 0]:
            rate += DT * (15 * np.sin(theta) + 3 * u)
            theta += DT * rate
            path.append((np.cos(theta), np.sin(theta), rate))
        X.append(np.array(path))
        U.append(inputs)
    return Rollouts(X, U, DT, ["cos(theta)", "sin(theta)", "thetadot"], ["torque"])


def oscillator(episodes: int = 6, steps: int = 50, seed: int = 0) -> Rollouts:
    """Return a nonlinear oscillator of two states and two inputs whose input gain depends on the state."""
    rng = np.random.default_rng(seed)
    X, U = [], []
    for _ in range(episodes):
        inputs = rng.uniform(-1, 1, size=(steps, 2))
        path = [rng.uniform(-1.5, 1.5, size=2)]
        for u in inputs:
            p, v = path[-1]
            path.append(np.array([p + DT * (v + 0.3 * u[1]), v + DT * (v * (1 - p * p) - p + (2 + p) * u[0])]))
        X.append(np.array(path))
        U.append(inputs)
    return Rollouts(X, U, DT, ["pos", "vel"], ["push", "nudge"])


def exact_linear() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the exact (Ad, Bd, offset) of two coupled masses on springs, held about a point that is not zero."""
    k, d = np.array([[3.0, -1.0], [-1.0, 2.0]]), np.array([[0.4, -0.1], [-0.1, 0.3]])
    A = np.block([[np.zeros((2, 2)), np.eye(2)], [-k, -d]])
    B = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.5], [0.0, 2.0]])
    whole = expm(np.block([[A, B], [np.zeros((2, 6))]]) * DT)
    Ad, Bd = whole[:4, :4], whole[:4, 4:]
    x_rest, u_rest = np.array([5.0, -3.0, 0.0, 0.0]), np.array([4.0, 1.0])
    return Ad, Bd, x_rest - Ad @ x_rest - Bd @ u_rest


def linear(episodes: int = 5, steps: int = 40, seed: int = 0) -> Rollouts:
    """Return motion of the plant `exact_linear`, exact to rounding, with means far from zero."""
    Ad, Bd, c = exact_linear()
    rng = np.random.default_rng(seed)
    X, U = [], []
    for _ in range(episodes):
        inputs = rng.uniform(-1, 1, size=(steps, 2)) + [4.0, 1.0]
        path = [rng.uniform(-1, 1, size=4) + [5.0, -3.0, 0.0, 0.0]]
        for u in inputs:
            path.append(Ad @ path[-1] + Bd @ u + c)
        X.append(np.array(path))
        U.append(inputs)
    return Rollouts(X, U, DT, ["p1", "p2", "v1", "v2"], ["f1", "f2"])


def without_inputs(data: Rollouts) -> Rollouts:
    """Return the same motion as if it had no inputs."""
    return Rollouts(data.X, [np.zeros((len(u), 0)) for u in data.U], data.dt, data.x_names)


def central_differences(f, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the Jacobian of f at x by central differences."""
    return np.stack([(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(len(x))], axis=-1)

"""Motion with gaps, for the tests of models that bear them."""

from __future__ import annotations

import numpy as np

from koopctl.data.rollouts import Rollouts

DT = 0.15  # [s]


def hanging(episodes: int = 24, steps: int = 60, seed: int = 0) -> Rollouts:
    """Return a damped pendulum that hangs and is driven, seen as cos, sin, rate; it moves a lot between samples."""
    rng = np.random.default_rng(seed)
    X, U = [], []
    for _ in range(episodes):
        angle, rate = rng.uniform(-1.5, 1.5, 2)
        inputs, path = np.repeat(rng.uniform(-2.0, 2.0, (steps // 3 + 1, 1)), 3, axis=0)[:steps], []
        path.append((np.cos(angle), np.sin(angle), rate))
        for u in inputs[:, 0]:
            for _ in range(5):
                rate += 0.2 * DT * (-4.0 * np.sin(angle) - 0.3 * rate + u)
                angle += 0.2 * DT * rate
            path.append((np.cos(angle), np.sin(angle), rate))
        X.append(np.array(path))
        U.append(inputs)
    return Rollouts(X, U, DT, ["cos", "sin", "rate"], ["torque"])


def forecast_error(model, shown, truth: Rollouts, horizon: int) -> float:
    """Return the error of forecasts from windows of what is shown, in deviations, against what was really there."""
    d, window, squares = model.delays, model.window_, []
    spread = np.concatenate([window.chart.to_coordinates(Y) for Y in truth.X]).std(axis=0)
    for Y, whole, U in zip(shown.X, truth.X, truth.U, strict=True):
        starts = range(d, len(U) - horizon + 1, 5)
        x0 = np.array([model.encode(Y[k - d : k + 1], U[k - d : k]) for k in starts])
        path = model.predict(x0, np.array([U[k : k + horizon] for k in starts]))[:, 1:, : window.nq]
        there = window.chart.to_coordinates(np.array([whole[k + 1 : k + 1 + horizon] for k in starts]))
        squares.append((window.difference_of_coordinates(path, there) / spread) ** 2)
    return float(np.sqrt(np.mean(np.concatenate(squares))))

"""The share of recorded motion that predictions explain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.window import Window


def share_explained(
    predict: Callable[[Array, Array], Array], window: Window, rollouts: Rollouts, horizon: int
) -> float:
    """Return 1 - error / motion, averaged over the coordinates and over 1..horizon steps from every sample.

    Args:
        predict: Rolls out states (n, nx) under inputs (n, T, nu), giving (n, T + 1, nx).
        window: How states are made from observations.
        rollouts: The recorded motion.
        horizon: Steps of each prediction.

    Raises:
        DataError: No episode is long enough, or nothing moves.
    """
    error, motion = np.zeros(window.nq), np.zeros(window.nq)
    for Y, U in rollouts:
        n = len(U) - window.delays - horizon + 1
        if n < 1:
            continue
        X, inputs = window.states(Y, U), U[window.delays :]
        path = predict(X[:n], np.stack([inputs[k : k + n] for k in range(horizon)], axis=1))
        for k in range(1, horizon + 1):
            error += np.square(window.difference(path[:, k], X[k : k + n])[:, : window.nq]).sum(axis=0)
            motion += np.square(window.difference(X[k : k + n], X[:n])[:, : window.nq]).sum(axis=0)
    if not motion.any():
        raise DataError(
            f"no episode holds {window.delays + horizon} transitions of motion to score {horizon} steps on."
        )
    moving = motion > 0
    return float(1.0 - np.mean(error[moving] / motion[moving]))

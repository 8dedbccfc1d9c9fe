"""Roll-outs that cannot run away from the training data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from koopctl.arrays import Array

if TYPE_CHECKING:
    from koopctl.models.base import Model

_ROOM = 1.0  # widths of the data's box by which a guarded roll-out may leave it


def guarded_roll_out(model: Model, X: Array, U: Array) -> Array:
    """Return the path (n, T + 1, nx) from states X (n, nx) under inputs U (n, T, nu), kept within the guard."""
    path = np.empty((len(X), U.shape[1] + 1, model.nx))
    path[:, 0] = X
    nq, (low, high) = model.window_.nq, guard(model, X)
    for k in range(U.shape[1]):
        X = path[:, k]
        following = model._next(X, U[:, k])
        Q = np.clip(following[:, :nq], low, high)
        if not np.isfinite(Q).all():  # beyond the range of doubles: it stays where it was
            Q = np.where(np.isfinite(Q), Q, X[:, :nq])
        following[:, :nq] = Q
        path[:, k + 1] = following
    return path


def guard(model: Model, X: Array) -> tuple[Array, Array]:
    """Return the ends between which roll-outs from states X (n, nx) are kept, (n, nq) each."""
    window, box = model.window_, model.envelope_
    Q = X[:, : window.nq]
    low, high = np.full(window.nq, -np.inf), np.full(window.nq, np.inf)
    position, column = window.chart.linear
    room = _ROOM * (box.high - box.low)[column]
    low[position], high[position] = box.low[column] - room, box.high[column] + room
    free = [window.chart.names.index(name) for name in model.cyclic_]
    low[free], high[free] = -np.inf, np.inf
    return np.minimum(low, Q), np.maximum(high, Q)  # a start outside stays where it is

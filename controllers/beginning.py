"""The state an observer begins with, and how far it may be off."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.models.base import Model
from koopctl.models.memory import Memory


def beginning(model: Model, Q: Array, U: Array, variance: Array) -> tuple[Array, Array]:
    """Return the state (nx,) of a measured window, and the variance of its entries' errors, taken as independent.

    What a network remembers is driven by the window's errors: their variance is led through its linearisation at the
    end of the window, as often as there are samples before.

    Args:
        model: The model.
        Q: Coordinates, newest first, (delays + 1, nq).
        U: Inputs between them, newest first, (delays, nu); known exactly.
        variance: Of the errors of Q, (delays + 1, nq).
    """
    window, nq = model.window_, model.window_.nq
    if not isinstance(window, Memory):
        return np.concatenate([Q.ravel(), U.ravel()]), np.concatenate([variance.ravel(), np.zeros(U.size)])
    h = window._recall(Q[:0:-1][None], U[::-1][None])[0]
    x = np.concatenate([Q[0], h])
    A = model.linearize(x, U[0])[0]
    by_q, by_h = A[nq:, :nq], A[nq:, nq:]
    driven, P = (by_q * variance[1:].mean(axis=0)) @ by_q.T, np.zeros((len(h), len(h)))
    for _ in range(window.delays):
        P = by_h @ P @ by_h.T + driven
    return x, np.concatenate([variance[0], np.diag(P)])

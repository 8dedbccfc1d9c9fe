"""Weights of coordinates and inputs, one for all stages or one each."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array


def weighted(v: Array, W: Array) -> Array:
    """Return W v for rows v (..., N, n) and a symmetric weight W, (n, n) or one a stage (N, n, n)."""
    if W.ndim == 2:
        return v @ W
    return np.asarray((v[..., None, :] @ W)[..., 0, :])


def stage_weights(nx: int, Q: Array) -> Array:
    """Return the weight of the state (nx, nx), or of the states of all stages (N, nx, nx), for weights of q.

    Weights by stage begin with the state after the first input; the first state is what it is at any weight.
    """
    nq = Q.shape[-1]
    weight = np.zeros((*Q.shape[:-2], nx, nx))
    weight[..., :nq, :nq] = Q
    return weight if Q.ndim == 2 else np.concatenate([weight[:1], weight[:-1]])

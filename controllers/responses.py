"""Responses of a linear time-varying horizon to what its inputs are corrected by."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from koopctl.arrays import Array


def responses(steps: Array, known: Array) -> Array:
    """Return z and the known rows r of every stage, (N + 1, nz + nr, columns), where z_(k+1) = steps[k] [z_k, r_k].

    One product a stage, into its place: what is known beforehand stands in the same array.

    Args:
        steps: (N, nz, nz + nr).
        known: Holds the first z, and r of every stage, (N + 1, nz + nr, columns); it is filled in and returned.
    """
    dot = np.dot
    for step, before, after in zip(steps, known, known[1:, : steps.shape[1]], strict=False):
        dot(step, before, out=after)
    return known


@lru_cache(maxsize=16)
def corrections(N: int, nu: int, moves: tuple[int, ...] | None) -> Array:
    """Return how the inputs' corrections follow from all corrections v, zeros and ones (N, nu, n_v); not to be changed.

    Args:
        N: Stages.
        nu: Inputs.
        moves: Stages at which v may change, from 0 on; None for every stage.
    """
    at = np.arange(N) if moves is None else np.array(moves)
    block = np.searchsorted(at, np.arange(N), side="right") - 1
    chosen = np.zeros((N, nu, len(at), nu))
    chosen[range(N), :, block] = np.eye(nu)
    return chosen.reshape(N, nu, -1)

"""Split conformal prediction when samples come in episodes: which score a new episode's window will not exceed."""

from __future__ import annotations

import math

import numpy as np

from koopctl.arrays import Array

_ROUNDING = 1e-9  # of sums of weights


def episodes_needed(coverage: float) -> int:
    """Return how many calibration episodes a finite bound of this coverage takes: K + 1 >= 1 / (1 - coverage)."""
    return math.ceil(1.0 / (1.0 - coverage) - _ROUNDING) - 1


def conformal_quantile(scores: Array, weight: Array, n_episodes: int, coverage: float) -> Array:
    """Return the bound on the score of a window drawn from a new episode, one for each column of scores.

    The windows of one episode depend on each other, so the episodes are what is exchangeable (Lee, Barber and
    Willett, "Distribution-free inference with hierarchical data", 2023; Dunn, Wasserman and Ramdas, "Distribution-free
    prediction sets for two-layer hierarchical models", JASA 2023): each of K episodes has the mass 1 / (K + 1), shared
    by its windows, and the new one's 1 / (K + 1) lies at infinity. The bound is the smallest score with at least
    `coverage` of the mass at or below it.

    Args:
        scores: (n, ...), not negative; inf where a prediction ran away.
        weight: Share of each window among all, (n,), sum 1.
        n_episodes: K.
        coverage: Wanted probability.

    Returns:
        (...); inf where the scores that are finite do not have that much mass.
    """
    flat = scores.reshape(len(scores), -1)
    order = np.argsort(flat, axis=0, kind="stable")
    mass = np.cumsum(weight[order] * (n_episodes / (n_episodes + 1)), axis=0)
    enough = mass >= coverage - _ROUNDING
    first = np.take_along_axis(flat, np.take_along_axis(order, enough.argmax(axis=0)[None], axis=0), axis=0)[0]
    return np.asarray(np.where(enough[-1], first, np.inf)).reshape(scores.shape[1:])

"""A reservoir driven by recorded motion: what it remembers after each sample, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.models.reservoir import Reservoir

_BESIDE = 32  # episodes that run side by side
_ROWS = 4096  # samples whose units exist at one time, about

Driven = tuple[Array, Array, Array, Array | None]


def driven(reservoir: Reservoir, rollouts: Rollouts, weight: Sequence[Array] | None) -> Iterator[Driven]:
    """Yield the units after each sample (n, N), its regressors (n, ns), its increments (n, nq), its weights (n,).

    The reservoir starts each episode at rest, and the first `washout` samples only warm it up.

    Args:
        reservoir: The reservoir.
        rollouts: The motion.
        weight: How much each transition counts, one array (T_i,) an episode, or None.
    """
    order = sorted(range(len(rollouts)), key=lambda i: -len(rollouts.U[i]))
    order = [i for i in order if len(rollouts.U[i]) > reservoir.washout]
    for first in range(0, len(order), _BESIDE):
        yield from _side_by_side(reservoir, rollouts, weight, order[first : first + _BESIDE])


def _side_by_side(
    reservoir: Reservoir, rollouts: Rollouts, weight: Sequence[Array] | None, episodes: list[int]
) -> Iterator[Driven]:
    window = reservoir.window
    lengths = np.array([len(rollouts.U[i]) for i in episodes])
    parts = [_samples(reservoir, rollouts.X[i], rollouts.U[i]) for i in episodes]
    S = np.zeros((len(episodes), lengths[0], parts[0][0].shape[1]))
    dQ, w = np.zeros((*S.shape[:2], window.nq)), np.ones(S.shape[:2])
    for row, (i, (s, dq)) in enumerate(zip(episodes, parts, strict=True)):
        S[row, : len(s)], dQ[row, : len(s)] = s, dq
        if weight is not None:
            w[row, : len(s)] = weight[i]
    R, chunk = np.zeros((len(episodes), reservoir.size)), max(1, _ROWS // len(episodes))
    for start in range(0, int(lengths[0]), chunk):
        steps = np.arange(start, min(start + chunk, int(lengths[0])))
        H = np.empty((len(episodes), len(steps), reservoir.size))
        for k, step in enumerate(steps):
            R = H[:, k] = reservoir.after(R, S[:, step])
        used = (steps >= reservoir.washout) & (steps < lengths[:, None])
        here = (slice(None), slice(start, start + chunk))
        yield H[used], S[here][used], dQ[here][used], None if weight is None else w[here][used]


def _samples(reservoir: Reservoir, Y: Array, U: Array) -> tuple[Array, Array]:
    Q, dQ = reservoir.window.states_and_increments(Y, U)
    return reservoir.regressors(Q, U), dQ

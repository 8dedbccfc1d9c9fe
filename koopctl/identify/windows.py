"""Stretches of held-out motion, weighed so that every episode counts the same."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.window import Window

_MOST = 2000  # windows in all
_PIECES = 50  # of a single episode, at most


@dataclass(frozen=True)
class Windows:
    """Starts all over the episodes, with the inputs and the coordinates that followed.

    Attributes:
        x0: States at the starts, (n, nx).
        U: Inputs from there on, (n, H, nu).
        truth: Coordinates one to H steps later, (n, H, nq).
        weight: Share of each window, (n,): 1 / K shared equally by the windows of each of K episodes.
        n_episodes: K, episodes that hold a window.
    """

    x0: Array
    U: Array
    truth: Array
    weight: Array
    n_episodes: int

    @classmethod
    def of(cls, window: Window, rollouts: Rollouts, horizon: int) -> Windows:
        """Take every window of `horizon` steps, random ones of each episode where they are many.

        Only windows drawn at random stand for all of an episode: any pattern of starts favours a phase of the motion.

        Raises:
            DataError: No episode holds one.
        """
        d = window.delays
        counts = np.array([len(U) - d - horizon + 1 for U in rollouts.U])
        held = np.flatnonzero(counts > 0)
        if not len(held):
            raise DataError(
                f"no episode holds {horizon} steps beyond the {d} delays; the longest has "
                f"{max(len(U) for U in rollouts.U)}: lower horizon or record longer episodes."
            )
        room = max(1, _MOST // len(held))
        x0, U, truth, weight = [], [], [], []
        for i in held:
            starts = _drawn(counts[i], room, rollouts.X[i], rollouts.U[i])
            states, q = window.states(rollouts.X[i], rollouts.U[i]), window.chart.to_coordinates(rollouts.X[i])
            ahead = starts[:, None] + d + np.arange(horizon)
            x0.append(states[starts])
            U.append(rollouts.U[i][ahead])
            truth.append(q[ahead + 1])
            weight.append(np.full(len(starts), 1.0 / (len(held) * len(starts))))
        parts = [np.concatenate(part) for part in (x0, U, truth, weight)]
        return cls(parts[0], parts[1], parts[2], parts[3], len(held))


def _drawn(count: int, room: int, X: Array, U: Array) -> np.ndarray:
    """Return at most `room` of `count` starts, the same ones wherever the episode stands among others."""
    if count <= room:
        return np.arange(count)
    rng = np.random.default_rng([crc32(np.ascontiguousarray(part).tobytes()) for part in (X, U)])
    return np.sort(rng.choice(count, room, replace=False))


def pieces(rollouts: Rollouts, length: int, fewest: int) -> Rollouts:
    """Return a single episode as pieces of at least `length` transitions with gaps of `length` between.

    Raises:
        DataError: There are fewer than `fewest`.
    """
    (Y, U), T = next(iter(rollouts)), len(rollouts.U[0])
    count = min(_PIECES, (T + length) // (2 * length))
    if count < fewest:
        raise DataError(
            f"one episode of {T} transitions gives {count} pieces of {length} with gaps as long, {fewest} are needed: "
            f"record {(2 * fewest - 1) * length} transitions or better {fewest} episodes, or lower horizon or coverage."
        )
    each = (T - (count - 1) * length) // count
    starts = [i * (each + length) for i in range(count)]
    X, inputs = [Y[k : k + each + 1] for k in starts], [U[k : k + each] for k in starts]
    return Rollouts(X, inputs, rollouts.dt, rollouts.x_names, rollouts.u_names, rollouts.sensors)

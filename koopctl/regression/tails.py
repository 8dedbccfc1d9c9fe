"""A few long stretches of the data, on which a recursion shows how it goes on beyond the horizon it was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from koopctl.arrays import Array

_KEPT = 128
_HORIZONS = 10  # length of a tail ...
_STEPS = 100  # ... and at least this many steps, where the episodes hold them


class Tails:
    """Up to 128 stretches of ten horizons, a hundred steps at least, or as much as the episodes hold.

    Which ones is decided by a hash of their values, whatever order they come in.
    """

    def __init__(self, horizon: int, measured: int) -> None:
        """Start empty.

        Args:
            horizon: Steps the recursion is fitted to; shorter stretches are left out.
            measured: How many of the first entries of r count.
        """
        self.horizon, self.measured = horizon, measured
        self._kept: list[tuple[int, Array, Array, Array]] = []

    def add(self, r: Array, v: Array) -> None:
        """Look at an episode r (T + 1, nr), v (T, nu)."""
        length = max(_HORIZONS * self.horizon, _STEPS)
        for k in range(0, len(v) - self.horizon + 1, length):
            key = crc32(np.ascontiguousarray(r[k]).tobytes())
            if len(self._kept) < _KEPT or key < self._kept[-1][0]:
                end = min(k + length, len(v))
                self._kept.append((key, r[k].copy(), v[k:end].copy(), r[k + 1 : end + 1, : self.measured].copy()))
                self._kept.sort(key=lambda tail: tail[0])
                del self._kept[_KEPT:]

    def joined(self, others: Sequence[Tails]) -> Tails:
        """Return the tails of several parts of the data."""
        whole = Tails(self.horizon, self.measured)
        whole._kept = sorted((tail for part in (self, *others) for tail in part._kept), key=lambda tail: tail[0])[
            :_KEPT
        ]
        return whole

    def error(self, A: Array, B: Array) -> float:
        """Return the mean square error of the roll-outs of r+ = A r + B [v, 1]; inf where they overflow."""
        if not self._kept:
            return 0.0
        longest_first = sorted(self._kept, key=lambda tail: -len(tail[2]))
        R, total = np.array([tail[1] for tail in longest_first]), 0.0
        lengths = np.array([len(tail[2]) for tail in longest_first])
        V, truth = _stacked([tail[2] for tail in longest_first]), _stacked([tail[3] for tail in longest_first])
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(lengths[0]):
                going = int(np.count_nonzero(lengths > k))
                R = R[:going] @ A.T + V[:going, k] @ B[:, :-1].T + B[:, -1]
                total += float(np.square(R[:, : self.measured] - truth[:going, k]).sum())
        mean = total / (int(lengths.sum()) * self.measured)
        return mean if np.isfinite(mean) else np.inf


def _stacked(parts: list[Array]) -> Array:
    """Return parts (T_i, m), the longest first, as one array (n, T, m) filled up with zeros."""
    whole = np.zeros((len(parts), *parts[0].shape))
    for row, part in zip(whole, parts, strict=True):
        row[: len(part)] = part
    return whole

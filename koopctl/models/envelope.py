"""Where the training data was: outside it a learnt model extrapolates to anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from koopctl.arrays import Array

_STILL = 1e-12, 1e-14  # share of its size, and half width, up to which a box has none ...
_WIDTH = 1e-9  # ... and is given this one


@dataclass(frozen=True)
class Envelope:
    """The box that held every training sample of the regressors w.

    Attributes:
        low: Smallest value seen, (nw,).
        high: Largest value seen, (nw,).
    """

    low: Array
    high: Array

    @classmethod
    def around(cls, W: Array) -> Envelope:
        """Return the box around samples W (n, nw)."""
        return cls(W.min(axis=0), W.max(axis=0))

    def union(self, other: Envelope) -> Envelope:
        """Return the box around both."""
        return Envelope(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def excess(self, W: Array) -> Array:
        """Return how far each sample (n, nw) lies outside, in half widths of the box; 0 inside, (n,)."""
        outside = np.maximum(self.low - W, W - self.high)
        outside *= self._per_half
        return np.asarray(outside.max(axis=-1, initial=0.0))

    @cached_property
    def _per_half(self) -> Array:
        """1 / half width, of a box that is not flat."""
        half, size = (self.high - self.low) / 2, np.maximum(np.abs(self.low), np.abs(self.high))
        return np.asarray(1.0 / np.where(half > _STILL[0] * size + _STILL[1], half, _WIDTH * (1.0 + size)))

"""Where the training data was: outside it a learnt model extrapolates to anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array


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
        half = np.maximum((self.high - self.low) / 2, 1e-9 * (1.0 + np.abs(self.high)))
        outside = np.maximum((self.low - W) / half, (W - self.high) / half)
        return np.asarray(outside.max(axis=-1, initial=0.0))

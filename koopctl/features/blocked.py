"""Lifts evaluated block by block, in the processor's cache."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from koopctl.arrays import Array
from koopctl.features.base import Lift

CACHE = 2**15  # features worked on at one time (256 KiB): passes over them then run at the cache's speed
_FEW = 32  # samples lifted at once, without looking at the size


class BlockedLift(Lift):
    """A lift whose features are a few elementwise passes over one matrix product.

    Passes over many samples wait for memory; over a block in the cache they do not, so a batch takes half the time
    and one array (n, nf).
    """

    @abstractmethod
    def _features(self, W: Array) -> Array:
        """Return the features (n, nf) of W (n, nw) in an array of its own."""

    def transform(self, W: Array) -> Array:
        """Return the features (n, nf) of W (n, nw).

        Raises:
            NotFittedError: The lift is not fitted.
            ShapeError: W has another width.
        """
        if W.shape == self._one:  # the control loop's case: a tenth of a microsecond for the check
            return self._features(W)
        self._check(W)
        if len(W) <= _FEW:
            return self._features(W)
        out = np.empty((len(W), self.n_out))
        self.transform_into(W, out)
        return out

    def transform_into(self, W: Array, out: Array) -> None:
        """Write the features of W (n, nw) into `out` (n, nf), e.g. some columns of a regressor matrix.

        Raises:
            ShapeError: W has another width or `out` another shape.
        """
        self._check(W)
        self._check_out(W, out)
        rows = max(1, CACHE // out.shape[1])
        for start in range(0, len(W), rows):
            out[start : start + rows] = self._features(W[start : start + rows])

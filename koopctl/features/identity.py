"""No features beyond the state itself: EDMD becomes DMD with control."""

from __future__ import annotations

from typing import Self

import numpy as np

from koopctl.arrays import Array
from koopctl.features.base import Lift


class Identity(Lift):
    """The lift without features; with it `EDMDc` is ordinary DMDc least squares.

    It learns nothing, so `transform` and `jacobian` work on any width, fitted or not.
    """

    def fit(self, W: Array, F: Array) -> Self:
        """Remember the width of W."""
        self._adopt(W, F)
        return self

    @property
    def n_out(self) -> int:
        """Zero."""
        return 0

    def transform(self, W: Array) -> Array:
        """Return an (n, 0) array."""
        return np.zeros((len(W), 0))

    def jacobian(self, W: Array) -> Array:
        """Return an (n, 0, nw) array."""
        return np.zeros((len(W), 0, W.shape[1]))

    def arrays(self) -> dict[str, Array]:
        """Return nothing to keep."""
        return {}

    def restore(self, arrays: dict[str, Array]) -> Self:
        """Need nothing."""
        del arrays
        return self

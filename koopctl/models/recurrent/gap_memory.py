"""The state of a recurrent model that bears gaps in what it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from koopctl.arrays import Array, as_array
from koopctl.errors import DataError
from koopctl.models.memory import Memory, Recall


@dataclass(frozen=True)
class GapMemory(Memory):
    """A `Memory` of windows in which NaN stands for what was not measured, the newest observation included.

    What is missing of the newest coordinates is predicted from the samples before.

    Attributes:
        complete: Makes states (n, nx) of coordinates (n, delays + 1, nq) and inputs (n, delays, nu) with gaps.
    """

    complete: Recall | None = field(default=None, repr=False, compare=False)

    def encode(self, Y: Array, U: Array) -> Array:
        """Return the state (nx,) from the last delays + 1 observations Y, NaN where there are none, and the inputs U.

        Raises:
            ShapeError: Y or U has another shape.
            DataError: A value is infinite, an input is missing, or nothing was measured.
        """
        Y = as_array("Y", Y, (self.delays + 1, len(self.chart.y_names)), finite=False)
        U = self._inputs(U)
        if np.isinf(Y).any():
            raise DataError("Y holds inf; every value must be finite, or NaN where nothing was measured.")
        if np.isnan(Y).all():
            raise DataError(f"none of the last {len(Y)} observations holds a measurement; a state needs at least one.")
        return np.asarray(self.states(Y, U)[0])

    def states(self, Y: Array, U: Array) -> Array:
        """Return the states (T + 1 - d, nx) along an episode Y (T + 1, ny), NaN where nothing is, and U (T, nu)."""
        if not np.isnan(Y).any():
            return super().states(Y, U)
        if self.complete is None:
            raise AttributeError("a memory without its network recalls nothing.")
        Q = sliding_window_view(self.chart.to_coordinates(Y), self.delays + 1, axis=0).swapaxes(1, 2)
        return self.complete(Q, sliding_window_view(U, self.delays, axis=0).swapaxes(1, 2))

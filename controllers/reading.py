"""How observations are read: with suspicion, by name, and never with an exception."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, index_of
from koopctl.models.base import Model


class Reading:
    """Finds a model's measured states in whatever arrives."""

    def __init__(self, model: Model) -> None:
        """Find the model's measured states among the sensors.

        Args:
            model: A fitted model.
        """
        self.model = model
        self._columns = [index_of(name, model.sensors_) for name in model.window_.chart.y_names]

    def read(self, y: ArrayLike) -> tuple[Array | None, str]:
        """Return a copy of the measured states (ny,), which may hold NaN and inf, or None and the reason code.

        Args:
            y: The full observation, the measured states alone, or anything else.
        """
        value = as_numbers(y)
        if value is None:
            return None, "not_numeric"
        value = self._selected(value)
        return value, "wrong_shape" if value is None else ""

    def target(self, reference: ArrayLike) -> Array | None:
        """Return a copy of a reference as coordinates (nq,), or of rows of them (n, nq); None where it is neither.

        Args:
            reference: Coordinates (nq,), measured states (ny,), a full observation, or rows of one of them.
        """
        value, chart = as_numbers(reference), self.model.window_.chart
        if value is None or value.ndim not in (1, 2) or not value.size:
            return None
        measured = value.shape[-1] != chart.nq
        if measured and value.shape[-1] == len(self.model.sensors_):
            value = value[..., self._columns]
        if not np.isfinite(value).all() or measured and value.shape[-1] != len(self._columns):
            return None
        return chart.to_coordinates(value) if measured else value

    def _selected(self, value: Array) -> Array | None:
        """Return the measured states (ny,) of a full or a selected observation, None where it is neither."""
        if value.shape == (len(self.model.sensors_),):
            return value[self._columns]
        return value if value.shape == (len(self._columns),) else None


def as_numbers(value: ArrayLike) -> Array | None:
    """Return a copy as real numbers (loops reuse their buffers), None where it holds anything else."""
    if type(value) is np.ndarray and value.dtype == np.float64:  # what a loop mostly has
        return value.copy()
    try:
        return None if np.iscomplexobj(value) else np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None

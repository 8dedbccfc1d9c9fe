"""The integral of q - target, which takes out what is left of a constant disturbance at rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, ByName, as_vector
from koopctl.controllers.reading import Reading
from koopctl.controllers.steady_problem import half_ranges
from koopctl.errors import DesignError
from koopctl.models.base import Model


class Integral:
    r"""States :math:`s_{k+1} = s_k + \Delta t\,(q_k - q^*)` of some coordinates, to be weighed by an LQR.

    While the inputs are held back by their bounds, an integral whose growth would push mostly further into these
    bounds stops (conditional integration; Astrom and Hagglund, Advanced PID Control, 2006, section 3.5). An error
    counts up to the width of the training data, so that one wild observation does no lasting harm.

    Attributes:
        weights: Weights of the integrals by name.
        rows: Positions of their coordinates in q, (ni,).
        value: s, (ni,).
    """

    def __init__(self, model: Model, weights: ByName, n_inputs: int) -> None:
        """Start at zero.

        Args:
            model: A fitted model.
            weights: Weights of the integrals [1/s^2 of those of q]; what is left out or 0 has no integral.
            n_inputs: How many inputs the law chooses.

        Raises:
            DesignError: No weight is positive, one is negative, or there are more of them than inputs.
            UnknownNameError: A name is no coordinate of the model.
        """
        names = model.state_names
        vector = as_vector("integral", weights, names)
        self.rows = np.flatnonzero(vector)
        self.weights = {names[i]: float(vector[i]) for i in self.rows}
        if not len(self.rows) or (vector < 0).any():
            raise DesignError(f"integral is {weights!r}; weights must not be negative, and one must be positive.")
        if len(self.rows) > n_inputs:
            raise DesignError(
                f"integral has {len(self.rows)} coordinates ({', '.join(self.weights)}), but {n_inputs} inputs can "
                f"hold no more of them at a target; keep what matters most, e.g. {{'{names[self.rows[0]]}': 1.0}}."
            )
        self._dt, self._reading, self._chart = model.dt, Reading(model), model.window_.chart
        self._most = 2.0 * half_ranges(model)[self.rows]
        self.reset()

    def reset(self) -> None:
        """Start at zero again."""
        self.value = np.zeros(len(self.rows))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the integrals."""
        return tuple(f"integral of {name}" for name in self.weights)

    def appended(self, A: Array, B: Array, Q: Array) -> tuple[Array, Array, Array]:
        """Return a recursion, whose first states are q, and its weight with the integrals appended."""
        n, m, ni = len(A), B.shape[1], len(self.rows)
        wide_A, wide_B, wide_Q = np.eye(n + ni), np.zeros((n + ni, m)), np.zeros((n + ni, n + ni))
        wide_A[:n, :n], wide_B[:n], wide_Q[:n, :n] = A, B, Q
        wide_A[range(n, n + ni), self.rows] = self._dt
        wide_Q[range(n, n + ni), range(n, n + ni)] = list(self.weights.values())
        return wide_A, wide_B, wide_Q

    def measured(self, y: ArrayLike, x: Array) -> Array:
        """Return the coordinates (nq,) of an observation; those of the state x (nx,) where nothing was measured.

        An observer's estimate lies between measurement and prediction: its integral would leave an offset.
        """
        value, _ = self._reading.read(y)
        q = np.array(x[: self._chart.nq])
        return q if value is None else np.where(np.isfinite(found := self._chart.to_coordinates(value)), found, q)

    def grown(self, value: Array, error: Array, gain: Array, held_back: Array) -> Array:
        """Return the integrals (ni,) one step after `value` (ni,).

        Args:
            value: s.
            error: q - q*, (nq,).
            gain: Of the integrals, (nu, ni), u = ... - gain s, inputs in units of their ranges.
            held_back: What the bounds have taken off the inputs, (nu,).
        """
        growth = self._dt * np.clip(error[self.rows], -self._most, self._most)
        push = -gain * growth
        size = np.abs(push)
        into = np.where(push * held_back[:, None] > 0, size, 0.0).sum(axis=0)
        stop = (into > 0.5 * size.sum(axis=0)) | ~np.isfinite(growth)
        return np.where(stop, value, value + growth)

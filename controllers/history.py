"""What a law without an observer remembers of observations and inputs, and how it makes a state of them."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, all_finite
from koopctl.controllers.reading import Reading
from koopctl.models.base import Model


class History:
    """The last observations and inputs of one run, each observation taken at its word."""

    def __init__(self, model: Model) -> None:
        """Start with an empty past.

        Args:
            model: A fitted model.
        """
        self.model = model
        self._reading = Reading(model)
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        delays, nu = self.model.window_.delays, self.model.nu
        self._ys: deque[Array] = deque(maxlen=delays + 1)
        self._us: deque[Array] = deque([np.zeros(nu)] * delays, maxlen=delays)
        self._x: Array | None = None

    def observe(self, y: ArrayLike, u_last: Array) -> tuple[Array | None, str]:
        """Return the state (nx,) made from y and the history, or None and the reason code.

        Args:
            y: An observation, or anything else.
            u_last: Input applied since the last observation, (nu,).
        """
        window = self.model.window_
        value, fault = self._reading.read(y)
        if value is None or not all_finite(value):
            self._bridge(u_last)
            return None, fault or "not_finite"
        if not window.delays:
            self._x = window.chart.to_coordinates(value)
            return self._x, ""
        while len(self._ys) < window.delays:  # at the start the plant is taken to have stood still
            self._ys.append(value)
        self._ys.append(value)
        past = np.array(self._us).reshape(window.delays, window.nu)
        self._x = window.encode(np.array(self._ys), past)
        return self._x, ""

    def remember(self, u: Array) -> None:
        """Note the input (nu,) that is applied now."""
        if self.model.window_.delays:
            self._us.append(u)

    def target(self, reference: ArrayLike) -> Array | None:
        """Return a copy of a reference as coordinates (nq,) or measured states (ny,), None where it is neither."""
        return self._reading.target(reference)

    def _bridge(self, u_last: Array) -> None:
        """Where an observation is missing, put the model's own prediction into the history."""
        if self._x is None:
            return
        nxt = self.model.step(self._x, u_last)
        if np.isfinite(nxt).all():
            self._x = nxt
            self._ys.append(self.model.output(nxt))

"""The way of the inputs from the law to the plant."""

from __future__ import annotations

from collections import deque

import numpy as np

from koopctl.arrays import Array, all_finite
from koopctl.controllers.prediction import Prediction
from koopctl.task import ResolvedTask


class Channel:
    """Keeps inputs inside bounds and rates whatever comes, and knows which one acts when: `delay` samples later.

    Attributes:
        last: The input sent last, (nu,).
        acting: What acts on the plant until the next observation, (nu of the model,), measured inputs included.
        pending: Inputs sent but not yet acting, (nu of the model,) each, oldest first.
    """

    def __init__(self, prediction: Prediction, delay: int) -> None:
        """Keep whose inputs these are; `reset` comes before the first use.

        Args:
            prediction: Completes chosen inputs by the measured ones.
            delay: Samples from an input's sending to its acting.
        """
        self.prediction, self.delay = prediction, delay
        self._limits: tuple[ResolvedTask, Array, Array, Array | None] | None = None

    def reset(self, u: Array) -> None:
        """Start as if the input u (nu,) had always been sent."""
        self.last = u.copy()
        self.acting = self.prediction.full(self.last, 0)
        self.pending = deque(self.acting.copy() for _ in range(self.delay))

    def inside(self, u: Array, task: ResolvedTask) -> Array:
        """Return the nearest input (nu,) that keeps rates and bounds; bounds come first, and u_safe replaces NaN."""
        if self._limits is None or self._limits[0] is not task:
            low, high, rate = (v if v.ndim == 1 else v[0] for v in (task.u_min, task.u_max, task.du_max))
            self._limits = task, low, high, rate if np.isfinite(rate).any() else None
        _, low, high, limit = self._limits
        near = u if u.shape == task.u_safe.shape and all_finite(u) else task.u_safe
        if limit is not None:
            near = np.minimum(np.maximum(near, self.last - limit), self.last + limit)
        return np.asarray(np.minimum(np.maximum(near, low), high))

    def send(self, u: Array) -> None:
        """Note the input (nu,) that is sent now, and which one acts until the next observation."""
        self.last = u
        self.acting = self.prediction.full(u, 0)
        if self.delay:
            self.pending.append(self.acting)
            self.acting = self.pending.popleft()

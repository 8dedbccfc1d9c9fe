"""What a plant adds to the model at every step, estimated from the difference of both, for control without offset."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array, is_finite
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady_problem import half_ranges
from koopctl.errors import DesignError
from koopctl.models.edmdc import EDMDc

_GAIN = 0.1  # of True: forgets noise over about ten samples
_OUTLIER = 0.25  # a step off by more, in half ranges of the data, is a jump and not a disturbance


class Offset:
    r"""Filter :math:`d \leftarrow d + g\,(x_{k+1} - \hat x_{k+1})` of the prediction's error, d included in it.

    A disturbance on every state that is measured: together with a steady pair that is steady under d it leaves no
    offset under constant disturbances, wherever they act, once the loop has settled (Pannocchia and Rawlings, AIChE
    Journal 2003; Maeder, Borrelli and Morari, Automatica 2009).

    Attributes:
        gain: g, the share of an error that is taken for the disturbance's.
        value: d, the offset of the newest coordinates (nq,).
    """

    def __init__(self, prediction: Prediction, gain: float) -> None:
        """Start at zero.

        Args:
            prediction: Where the offset goes.
            gain: Share of an error that counts, above 0 and at most 1; True for 0.1.

        Raises:
            DesignError: The gain is out of range.
        """
        if not (is_finite(gain) and 0.0 < gain <= 1.0):
            raise DesignError(f"offset_free is {gain!r}; it is False, True, or a gain above 0 and at most 1.")
        self.prediction, self.gain = prediction, _GAIN if gain is True else float(gain)
        self._half = half_ranges(prediction.model)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.value = np.zeros(self._size())
        self._seen: Array | None = None
        self._expected: Array | None = None

    def learn(self, x: Array | None) -> bool:
        """Compare the state (nx,) that came with what was predicted for it; tell whether the offset has changed.

        Differences that are not finite or belong to a jump are left out.
        """
        self._seen = None if x is None else self._lifted(x)
        if self._seen is None or self._expected is None:
            return False
        difference = self._difference(self._seen, self._expected)
        far = np.abs(difference[: len(self._half)]) > _OUTLIER * self._half
        if not np.isfinite(difference).all() or far.any():
            return False
        self.value = self.value + self.gain * difference
        self.prediction.set_offset(self.value[: self.prediction.nq])
        return True

    def expect(self, inputs: Array) -> None:
        """Predict what comes after the state last seen under the model's inputs, (nu of the model,)."""
        with np.errstate(all="ignore"):
            self._expected = None if self._seen is None else self._predicted(self._seen, inputs)

    def _size(self) -> int:
        return self.prediction.nq

    def _lifted(self, x: Array) -> Array:
        return x

    def _difference(self, came: Array, expected: Array) -> Array:
        return np.asarray(self.prediction.window.difference(came, expected)[: self.prediction.nq])

    def _predicted(self, seen: Array, inputs: Array) -> Array:
        return self.prediction.advance(seen, inputs)


class LiftedOffset(Offset):
    """The offset of a whole lifted recursion, (nz,): at rest it, not its coordinates alone, must be at rest."""

    def __init__(self, prediction: Prediction, gain: float, system: EDMDc) -> None:
        """Start at zero.

        Args:
            prediction: Where the offset of the coordinates goes.
            gain: Share of an error that counts.
            system: The lifted recursion.

        Raises:
            DesignError: The gain is out of range.
        """
        self.system = system
        super().__init__(prediction, gain)

    def _size(self) -> int:
        return self.system.nz

    def _lifted(self, x: Array) -> Array:
        return self.system.lift_state(x)

    def _difference(self, came: Array, expected: Array) -> Array:
        nx, difference = self.system.nx, came - expected
        difference[:nx] = self.prediction.window.difference(came[:nx], expected[:nx])
        return difference

    def _predicted(self, seen: Array, inputs: Array) -> Array:
        return self.system.A_ @ seen + self.system.B_ @ inputs + self.system.c_ + self.value

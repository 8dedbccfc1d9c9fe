"""What a plant adds to the model at every step, estimated from the difference of both, for control without offset."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array, is_finite
from koopctl.errors import DesignError

_OUTLIER = 0.25  # a step off by more, in half ranges of the data, is a jump and not a disturbance


class Offset:
    r"""Filter :math:`d \leftarrow d + g\,(x_{k+1} - \hat x_{k+1})` of the prediction's error, d included in it.

    A disturbance on every state that is measured: together with a steady pair that is steady under d it leaves no
    offset under constant disturbances, wherever they act, once the loop has settled (Pannocchia and Rawlings, AIChE
    Journal 2003; Maeder, Borrelli and Morari, Automatica 2009).

    Attributes:
        gain: g, the share of an error that is taken for the disturbance's.
        value: d.
    """

    def __init__(self, gain: float, size: int, half: Array) -> None:
        """Start at zero.

        Args:
            gain: Share of an error that counts, above 0 and at most 1; 0.1 forgets noise over about ten samples.
            size: Length of d.
            half: Half ranges of the first entries in the data, (nq,).

        Raises:
            DesignError: The gain is out of range.
        """
        if not (is_finite(gain) and 0.0 < gain <= 1.0):
            raise DesignError(f"offset_free is {gain!r}; it is False, True, or a gain above 0 and at most 1.")
        self.gain, self._half = float(gain), half
        self.value = np.zeros(size)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.value = np.zeros_like(self.value)
        self._expected: Array | None = None

    def expect(self, predicted: Array | None) -> None:
        """Note the prediction (size,) of what the next sample shows, d included; None where there is none."""
        self._expected = predicted

    def learn(self, difference: Array | None) -> bool:
        """Take the difference (size,) of the sample and its prediction; tell whether d has changed.

        Differences that are not finite or belong to a jump are left out.
        """
        if difference is None or not np.isfinite(difference).all():
            return False
        if (np.abs(difference[: len(self._half)]) > _OUTLIER * self._half).any():
            return False
        self.value = self.value + self.gain * difference
        return True

    @property
    def expected(self) -> Array | None:
        """The prediction of the next sample."""
        return self._expected

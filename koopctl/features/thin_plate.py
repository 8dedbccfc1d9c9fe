"""Thin-plate splines."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array
from koopctl.features.radial import RadialLift

# As arrays they cost a ufunc half of what Python floats do.
_TINY = np.array(1e-300)  # in place of a squared distance of 0, whose logarithm is infinite
_HALF = np.array(0.5)


class ThinPlate(RadialLift):
    r"""Features :math:`\psi_i(w) = r^2 \log r` with :math:`r = |w - c_i|`; value and slope are 0 at r = 0.

    The lift of Korda and Mezic (Automatica 2018), there with `centers="uniform"`. It needs no width, and grows
    without bound away from the data.

    Attributes:
        centers_: (nf, nw).
    """

    def __init__(
        self,
        n_centers: int = 100,
        centers: Literal["data", "uniform"] | ArrayLike = "data",
        random_state: int = 0,
    ) -> None:
        """Set the parameters.

        Args:
            n_centers: Number of centres, unless they are given.
            centers: "data": samples far from each other; "uniform": random in the box of the samples; or an array
                (n, nw) in standardised coordinates.
            random_state: Seed; the same seed and data give the same bytes.
        """
        self.n_centers = n_centers
        self.centers = centers
        self.random_state = random_state

    def fit(self, W: Array, F: Array) -> Self:
        """Choose centres from W (n, nw); F (n, m) only breaks ties of the order.

        Raises:
            DataError: A parameter has an impossible value, or there are fewer distinct samples than centres.
            ShapeError: The centres given have another width.
        """
        _, centers, _ = self._choose(W, F)
        self._place(centers, 1.0)
        return self

    def _features(self, W: Array) -> Array:
        H = self._squares(W)
        np.maximum(H, _TINY, out=H)
        H *= np.log(H)
        H *= _HALF
        return H

    def jacobian(self, W: Array) -> Array:
        """Return d psi / d w, (n, nf, nw)."""
        self._check(W)
        D = W[:, None] - self.centers_
        D *= (1.0 + np.log(np.maximum(np.einsum("nfi,nfi->nf", D, D), _TINY)))[:, :, None]
        return D

    def arrays(self) -> dict[str, Array]:
        """Return the centres."""
        return {"centers": self.centers_}

    def restore(self, arrays: dict[str, Array]) -> Self:
        """Set the centres."""
        self._place(arrays["centers"], 1.0)
        return self

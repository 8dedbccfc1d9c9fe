"""Gaussian radial basis functions."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array
from koopctl.features.pool import choose_width
from koopctl.features.radial import RadialLift


class GaussianRBF(RadialLift):
    r"""Features :math:`\psi_i(w) = \exp(-|w - c_i|^2 / (2\,\text{width}^2))`.

    They fade to zero far from the data: there a model falls back to its linear part.

    Attributes:
        centers_: (nf, nw).
        width_: The width used.
    """

    def __init__(
        self,
        n_centers: int = 100,
        width: Literal["auto"] | float = "auto",
        random_state: int = 0,
        centers: Literal["data", "uniform"] | ArrayLike = "data",
    ) -> None:
        """Set the parameters.

        Args:
            n_centers: Number of centres, unless they are given.
            width: Width in standardised coordinates; "auto" is half the median distance of the data
                points.
            random_state: Seed; the same seed and data give the same bytes.
            centers: "data": samples far from each other; "uniform": random in the box of the samples; or an array
                (n, nw) in standardised coordinates.
        """
        self.n_centers = n_centers
        self.width = width
        self.random_state = random_state
        self.centers = centers

    def fit(self, W: Array, F: Array) -> Self:
        """Choose centres and width from W (n, nw); F (n, m) only breaks ties of the order.

        Raises:
            DataError: A parameter has an impossible value, or there are fewer distinct samples than centres.
            ShapeError: The centres given have another width.
        """
        pool, centers, rng = self._choose(W, F)
        self._finish(centers, choose_width(self.width, pool, rng))
        return self

    def _features(self, W: Array) -> Array:
        H = self._squares(W)
        np.exp(H, out=H)
        return H

    def jacobian(self, W: Array) -> Array:
        """Return d psi / d w, (n, nf, nw)."""
        H = self.transform(W)
        H /= self.width_**2
        return np.asarray(H[:, :, None] * (self.centers_ - W[:, None]))

    def arrays(self) -> dict[str, Array]:
        """Return centres and width."""
        return {"centers": self.centers_, "width": np.array(self.width_)}

    def restore(self, arrays: dict[str, Array]) -> Self:
        """Set centres and width."""
        self._finish(arrays["centers"], float(arrays["width"]))
        return self

    def _finish(self, centers: Array, width: float) -> None:
        self.width_ = width
        self._place(centers, -0.5 / width**2)

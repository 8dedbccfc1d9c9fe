"""What radial basis functions share: centres, and distances to them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_array, as_whole
from koopctl.errors import DataError
from koopctl.features.blocked import CACHE, BlockedLift
from koopctl.features.pool import POOL, stable_order

_ONES = np.broadcast_to(1.0, (CACHE, 1))  # a column for as many samples as are lifted at once
_SAME = 1e-18  # of the squared distances: points so close are one point and its rounding


class RadialLift(BlockedLift):
    """A lift whose features depend on the distances |w - c| to centres.

    Attributes:
        centers_: (nf, nw).
    """

    n_centers: int
    centers: Literal["data", "uniform"] | ArrayLike
    random_state: int
    centers_: Array

    @property
    def n_out(self) -> int:
        """Number of centres."""
        return len(self.centers_)

    def _choose(self, W: Array, F: Array) -> tuple[Array, Array, np.random.Generator]:
        """Return the pool of data points, the centres and the generator, after checks of the parameters."""
        rng = np.random.default_rng(as_whole("random_state", self.random_state, 0))
        W, F = self._adopt(W, F)
        pool = W[stable_order(W, F, rng)[:POOL]]
        if not isinstance(self.centers, str):
            centers = as_array("centers", self.centers, ("n", self.n_in_))
            if not len(centers):
                raise DataError("centers holds no centre; give at least one row, or 'data'.")
            return pool, centers.copy(), rng
        count = as_whole("n_centers", self.n_centers, 1)
        if self.centers == "data":
            return pool, spread_points(pool, count, rng), rng
        if self.centers == "uniform":
            return pool, rng.uniform(W.min(axis=0), W.max(axis=0), size=(count, self.n_in_)), rng
        raise DataError(f"centers is {self.centers!r}; it is 'data', 'uniform' or an array (n, {self.n_in_}).")

    def _place(self, centers: Array, scale: float) -> None:
        """Set the centres and what `_squares` needs to return `scale` times the squared distances."""
        self.centers_ = centers
        self._set_width(centers.shape[1])
        ones = np.ones_like(centers.T)
        squares = np.einsum("ij,ij->i", centers, centers)[None]
        self._square = np.ascontiguousarray(scale * np.concatenate([-2.0 * centers.T, ones, squares]))

    def _squares(self, W: Array) -> Array:
        """Return the squared distances times the scale, (n, nf), which rounding may turn just beyond 0.

        |w|^2 - 2 <w, c> + |c|^2 is one matrix product.
        """
        squares: Array = np.concatenate((W, W * W, _ONES[: len(W)]), 1).dot(self._square)
        return squares


def spread_points(W: Array, count: int, rng: np.random.Generator) -> Array:
    """Return `count` of the points W (n, nw), far from each other: each drawn in proportion to its squared distance.

    The seeding of k-means++ (Arthur and Vassilvitskii, SODA 2007): a point that is a centre already is never drawn.

    Raises:
        DataError: There are fewer distinct points.
    """
    chosen = np.empty(count, dtype=np.intp)
    squares, extent = np.full(len(W), np.inf), 0.0
    chosen[0] = rng.integers(len(W))
    for i in range(1, count):
        D = W - W[chosen[i - 1]]
        np.minimum(squares, np.einsum("ij,ij->i", D, D), out=squares)
        total = np.cumsum(squares)
        extent = total[-1] if i == 1 else extent
        if total[-1] <= _SAME * extent:
            raise DataError(
                f"{count} centres are wanted but only {i} distinct samples exist; "
                "lower n_centers, record more, or choose centers='uniform'."
            )
        chosen[i] = np.searchsorted(total, (1.0 - rng.random()) * total[-1])  # in (0, total]: never a square of 0
    return np.ascontiguousarray(W[chosen] + 0.0)  # turns -0.0 into 0.0

"""Random Fourier features."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np

from koopctl.arrays import Array, as_whole
from koopctl.features.blocked import BlockedLift
from koopctl.features.pool import POOL, choose_width, stable_order


class RandomFourier(BlockedLift):
    r"""Features :math:`\psi_i(w) = \cos(\langle\omega_i, w\rangle + b_i)` with random frequencies and phases.

    With :math:`\omega \sim N(0, 1/\text{width}^2)` and b uniform on a turn, :math:`(2/n_f)\,\psi(v)^T\psi(w)`
    approximates the Gaussian kernel :math:`\exp(-|v-w|^2 / (2\,\text{width}^2))` (Rahimi and Recht, "Random features
    for large-scale kernel machines", NIPS 2007). They never leave [-1, 1], wherever a plan goes.

    Attributes:
        frequencies_: (nw, nf).
        phases_: (nf,).
        width_: The width used.
    """

    def __init__(self, n_features: int = 100, width: Literal["auto"] | float = "auto", random_state: int = 0) -> None:
        """Set the parameters.

        Args:
            n_features: Number of features nf.
            width: Width of the kernel in standardised coordinates; "auto" is half the median distance of the
                data points.
            random_state: Seed; the same seed and data give the same bytes.
        """
        self.n_features = n_features
        self.width = width
        self.random_state = random_state

    def fit(self, W: Array, F: Array) -> Self:
        """Draw frequencies for the width of W (n, nw); F (n, m) only breaks ties of the order.

        Raises:
            DataError: A parameter has an impossible value, or all samples are one point.
        """
        nf = as_whole("n_features", self.n_features, 1)
        rng = np.random.default_rng(as_whole("random_state", self.random_state, 0))
        W, F = self._adopt(W, F)
        self.width_ = choose_width(self.width, W[stable_order(W, F, rng)[:POOL]], rng)
        self.frequencies_ = rng.normal(size=(self.n_in_, nf)) / self.width_
        self.phases_ = rng.uniform(0.0, 2.0 * np.pi, size=nf)
        return self

    @property
    def n_out(self) -> int:
        """Number of features."""
        return len(self.phases_)

    def _features(self, W: Array) -> Array:
        H: Array = W.dot(self.frequencies_)
        H += self.phases_
        np.cos(H, out=H)
        return H

    def jacobian(self, W: Array) -> Array:
        """Return d psi / d w, (n, nf, nw)."""
        self._check(W)
        slope = -np.sin(W.dot(self.frequencies_) + self.phases_)
        return np.asarray(slope[:, :, None] * self.frequencies_.T)

    def arrays(self) -> dict[str, Array]:
        """Return frequencies, phases and width."""
        return {"frequencies": self.frequencies_, "phases": self.phases_, "width": np.array(self.width_)}

    def restore(self, arrays: dict[str, Array]) -> Self:
        """Set frequencies, phases and width."""
        self.frequencies_, self.phases_ = arrays["frequencies"], arrays["phases"]
        self.width_ = float(arrays["width"])
        self._set_width(len(self.frequencies_))
        return self

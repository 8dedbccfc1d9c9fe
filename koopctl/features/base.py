"""The contract of a lift."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from sklearn.base import BaseEstimator

from koopctl.arrays import Array


class Lift(BaseEstimator, ABC):
    """A map psi from standardised coordinates w (nw,) to features (nf,).

    Parameters follow scikit-learn's grammar (`get_params`, `clone`); what `fit` learns ends in an underscore.
    """

    @abstractmethod
    def fit(self, W: Array, F: Array) -> Self:
        """Choose the features from data.

        Args:
            W: Standardised coordinates, (n, nw).
            F: What is to be explained at the same samples, (n, nf_target); guides the sampling.
        """

    @property
    @abstractmethod
    def n_out(self) -> int:
        """Number of features nf after `fit`."""

    @abstractmethod
    def transform(self, W: Array) -> Array:
        """Return the features (n, nf) of W (n, nw)."""

    @abstractmethod
    def jacobian(self, W: Array) -> Array:
        """Return d psi / d w, (n, nf, nw), at W (n, nw)."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Return the fitted arrays by name, enough for `restore`."""

    @abstractmethod
    def restore(self, arrays: dict[str, Array]) -> Self:
        """Set the fitted arrays read from a file."""

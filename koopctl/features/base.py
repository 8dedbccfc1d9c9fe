"""The contract of a lift."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator

from koopctl.arrays import Array, as_array
from koopctl.errors import DataError, NotFittedError, ShapeError

if TYPE_CHECKING:
    from koopctl.features.sum import LiftSum

_SHOWN = 8  # samples at which `verify` looks


class Lift(BaseEstimator, ABC):
    """A map psi from standardised coordinates w (nw,) to features (nf,).

    Parameters follow scikit-learn's grammar (`get_params`, `clone`); what `fit` learns ends in an underscore. Lifts
    add up: `SampledFeatures(100) + Polynomial(3)` has the features of both. A lift of one's own needs the six methods
    and properties below, nothing more.

    Attributes:
        n_in_: Number of coordinates nw after `fit`.
    """

    n_in_: int
    _one: tuple[int, ...] = ()  # shape of one sample, (1, nw), once fitted

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

    def transform_into(self, W: Array, out: Array) -> None:
        """Write the features of W (n, nw) into `out` (n, nf), e.g. some columns of a regressor matrix.

        Raises:
            ShapeError: `out` has another shape.
        """
        self._check_out(W, out)
        out[...] = self.transform(W)

    def verify(self, W: Array) -> None:
        """Look at the first rows of W (n, nw) whether a lift of one's own keeps its promises.

        Raises:
            ShapeError: `transform` or `jacobian` returns another shape than `n_out` says.
            DataError: A feature is not a finite number.
        """
        W = W[:_SHOWN]
        H, J = np.asarray(self.transform(W)), np.asarray(self.jacobian(W))
        for what, array, shape in (("transform", H, (len(W), self.n_out)), ("jacobian", J, (*H.shape, W.shape[1]))):
            if array.shape != shape:
                raise ShapeError(
                    f"{type(self).__name__}.{what} returned shape {array.shape} for W of shape {W.shape}, expected "
                    f"{shape}: one row a sample, n_out = {self.n_out} features; change {what} or n_out."
                )
        if not np.isfinite(H).all():
            raise DataError(f"{type(self).__name__} returned numbers that are not finite on the data it was fitted to.")

    def __add__(self, other: Lift) -> LiftSum:
        """Return the lift with the features of both."""
        from koopctl.features.sum import LiftSum  # a LiftSum is a Lift: imported late

        if not isinstance(other, Lift):
            return NotImplemented
        parts = [lift.lifts if isinstance(lift, LiftSum) else [lift] for lift in (self, other)]
        return LiftSum([*parts[0], *parts[1]])

    def _adopt(self, W: Array, F: Array) -> tuple[Array, Array]:
        """Return W and F checked, and remember the width of W."""
        W = as_array("W", W, ("n", "nw"))
        F = as_array("F", F, (len(W), "nf"))
        if not len(W):
            raise DataError("W holds no samples; a lift is fitted to at least one.")
        self._set_width(W.shape[1])
        return W, F

    def _set_width(self, n_in: int) -> None:
        self.n_in_, self._one = n_in, (1, n_in)

    def _check_out(self, W: Array, out: Array) -> None:
        if out.shape != (len(W), self.n_out):
            raise ShapeError(f"out has shape {out.shape}, expected ({len(W)}, {self.n_out}), samples and features.")

    def _check(self, W: Array) -> None:
        """Raise unless this lift is fitted and W is (n, nw) of its width."""
        try:
            if W.shape[1:] == (self.n_in_,):
                return
        except AttributeError:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit(W, F) first.") from None
        raise ShapeError(
            f"W has shape {W.shape}, expected (n, {self.n_in_}), the width {type(self).__name__} was fitted to."
        )

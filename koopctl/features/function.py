"""Features of one's own, as a function."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array
from koopctl.errors import DataError, NotFittedError, ShapeError
from koopctl.features.base import Lift
from koopctl.features.pool import stable_order

_SHOWN = 16  # samples on which `fit` tries the function
_STEP = 6e-6  # of central differences, the cube root of the rounding error
_COMPLEX_STEP = 1e-30  # no difference is taken, so it can be as small as it likes
_AGREEMENT = 1e-4  # of two derivatives, relative to the largest entry of the sample


class Function(Lift):
    """Features given by a function of the standardised coordinates.

    The function receives W (n, nw), one row a sample, and returns (n, nf), each row from its own row alone. Careful:
    w is standardised, (value - mean of the data) / standard deviation; angles appear as their cos and sin, and each
    delay has columns of its own. The function sees w, not the state in physical units.

    A model with such a lift is used like any other but cannot be saved, since a file holds no Python code.

    Attributes:
        complex_: Whether derivatives come from complex steps.
    """

    def __init__(self, function: Callable[[Array], Array], derivative: Callable[[Array], Array] | None = None) -> None:
        """Set the parameters.

        Args:
            function: Maps W (n, nw) to features (n, nf).
            derivative: Maps W (n, nw) to d psi / d w, (n, nf, nw). Without it derivatives are complex steps where the
                function takes complex numbers rightly, else central differences.
        """
        self.function = function
        self.derivative = derivative

    def fit(self, W: Array, F: Array) -> Self:
        """Try the function on some of W (n, nw) and choose how to differentiate it.

        Raises:
            DataError: The function changes its argument, mixes the samples, or returns something else than finite
                numbers; or the derivative given is not the function's.
            ShapeError: It returns another shape than (n, nf), or its derivative another than (n, nf, nw).
        """
        W, F = self._adopt(W, F)
        if not callable(self.function) or not (self.derivative is None or callable(self.derivative)):
            raise DataError("function and derivative must be callable: Function(lambda W: np.sin(W)).")
        shown = W[stable_order(W, F, np.random.default_rng(0))[:_SHOWN]]
        self._n_out = self._try(shown)
        numeric = self._central(shown)
        if self.derivative is not None and not _most_agree(self._given(self.derivative, shown), numeric):
            raise DataError(
                "derivative disagrees with differences of the function; entry [s, i, j] is the derivative of feature i "
                "by coordinate j at sample s. Correct it, or leave it out."
            )
        self.complex_ = self.derivative is None and self._takes_complex(shown, numeric)
        return self

    @property
    def n_out(self) -> int:
        """Number of columns the function returns."""
        if not hasattr(self, "_n_out"):
            raise NotFittedError("this Function is not fitted; its number of features is known after fit(W, F).")
        return self._n_out

    def transform(self, W: Array) -> Array:
        """Return the features (n, nf) at W (n, nw).

        Raises:
            ShapeError: The function returns another shape, or W has another width.
            DataError: It returns NaN or inf for finite W.
        """
        self._check(W)
        return self._call(W, self._n_out)

    def jacobian(self, W: Array) -> Array:
        """Return d psi / d w, (n, nf, nw); raises like `transform`."""
        self._check(W)
        if self.derivative is not None:
            return self._given(self.derivative, W)
        return self._complex(W) if self.complex_ else self._central(W)

    def arrays(self) -> dict[str, Array]:
        """Refuse.

        Raises:
            DataError: Always.
        """
        raise DataError(
            "a lift Function cannot be saved: a file holds plain numbers, no Python code. Use koopctl's own lifts in a "
            "model to keep, or save the data and fit again."
        )

    def restore(self, arrays: dict[str, Array]) -> Self:
        """Refuse, as `arrays` does."""
        del arrays
        self.arrays()
        return self

    # ------------------------------------------------------------------ trials
    def _try(self, W: Array) -> int:
        """Return the number of features, after checks that hold for every sample."""
        given = W.copy()
        H = self._call(given, None)
        if not np.array_equal(given, W):
            raise DataError("the lift's function changes its argument W in place; let it work on a copy.")
        alone = np.concatenate([self._call(w[None], H.shape[1]) for w in W])
        if not np.allclose(alone, H, rtol=1e-9, atol=1e-9 * np.abs(H).max(initial=1.0)):
            raise DataError(
                "the lift's function gives a sample other features alone than among others; each row of its result "
                "must depend on the same row of W alone (no means or sorting over samples, nothing random)."
            )
        return int(H.shape[1])

    def _takes_complex(self, W: Array, numeric: Array) -> bool:
        """Tell whether complex steps give the derivative: abs, real and comparisons often do not."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                steps = self._complex(W)
        except Exception:  # whatever a function of real numbers says to complex ones
            return False
        return bool(_agreeing(steps, numeric).all())

    # ------------------------------------------------------------------ evaluation
    def _call(self, W: Array, width: int | None) -> Array:
        H = _as_numbers("function", self.function(W))
        if H.ndim != 2 or len(H) != len(W) or width not in (None, H.shape[1]):
            expected = f"({len(W)}, {'nf' if width is None else width})"
            raise ShapeError(
                f"the lift's function returned shape {H.shape} for W of shape {W.shape}, expected {expected}: one row "
                "a sample and the same number of features every time."
            )
        _check_finite("function", H, W)
        return H

    def _given(self, derivative: Callable[[Array], Array], W: Array) -> Array:
        J = _as_numbers("derivative", derivative(W))
        if J.shape != (len(W), self._n_out, W.shape[1]):
            raise ShapeError(
                f"the lift's derivative returned shape {J.shape} for W of shape {W.shape}, expected "
                f"({len(W)}, {self._n_out}, {W.shape[1]}): sample, feature, coordinate."
            )
        _check_finite("derivative", J, W)
        return J

    def _complex(self, W: Array) -> Array:
        n, nw = W.shape
        shifted = W[:, None, :] + 1j * _COMPLEX_STEP * np.eye(nw)
        slopes = np.imag(self.function(shifted.reshape(n * nw, nw))) / _COMPLEX_STEP
        return np.swapaxes(np.reshape(slopes, (n, nw, self._n_out)), 1, 2)

    def _central(self, W: Array) -> Array:
        n, nw = W.shape
        step = _STEP * np.maximum(1.0, np.abs(W))
        shift = step[:, :, None] * np.eye(nw)
        ends = [self._call((W[:, None, :] + s * shift).reshape(n * nw, nw), self._n_out) for s in (1.0, -1.0)]
        return np.swapaxes((ends[0] - ends[1]).reshape(n, nw, self._n_out), 1, 2) / (2.0 * step[:, None, :])


def _as_numbers(what: str, value: ArrayLike) -> Array:
    try:
        if np.iscomplexobj(value):
            raise TypeError("it is complex, features are real")
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the lift's {what} returned {type(value).__name__}, not an array of real numbers ({error})."
        ) from None


def _check_finite(what: str, value: Array, W: Array) -> None:
    if np.isfinite(value).all():
        return
    bad = ~np.isfinite(value).reshape(len(W), -1).all(axis=1) & np.isfinite(W).all(axis=1)
    if bad.any():
        raise DataError(
            f"the lift's {what} returned NaN or inf at w = {np.round(W[np.argmax(bad)], 4).tolist()}; it must be "
            "finite for every finite w (standardised coordinates are negative half of the time)."
        )


def _agreeing(J: Array, other: Array) -> np.ndarray:
    """Return which samples' derivatives (n, nf, nw) agree."""
    scale = 1.0 + np.abs(other).max(axis=(1, 2), initial=0.0)
    return np.asarray(np.abs(J - other).max(axis=(1, 2), initial=0.0) <= _AGREEMENT * scale)


def _most_agree(J: Array, other: Array) -> bool:
    """Tell whether more than half do; at a kink of the function they need not."""
    return bool(2 * np.count_nonzero(_agreeing(J, other)) > len(J))

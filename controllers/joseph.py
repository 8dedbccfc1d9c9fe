"""The correction of a covariance by a measurement, shared by the filters."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv

from koopctl.arrays import Array


def gain_of(P: Array, rows: np.ndarray, R: Array) -> Array:
    """Return the gain (n, m) for measuring the entries `rows` (m,) with variances R (m,).

    Raises:
        numpy.linalg.LinAlgError: The innovations' covariance is not positive definite.
    """
    at = _view(rows)
    PH = P[:, at]
    S = PH[at].copy()
    S.flat[:: len(S) + 1] += R
    _, K, failed = dposv(S, PH.T)  # by Cholesky, at a third of the time of np.linalg.solve
    if failed:
        raise np.linalg.LinAlgError("the innovations' covariance is not positive definite")
    return np.asarray(K.T)


def corrected(P: Array, rows: np.ndarray, R: Array) -> tuple[Array, Array]:
    """Return the gain (n, m) and the covariance (n, n) after measuring the entries `rows` with variances R (m,).

    Joseph's form, symmetric and positive whatever the gain's rounding.
    """
    K, n = gain_of(P, rows, R), len(P)
    rest = np.zeros((n, n))
    rest.flat[:: n + 1] = 1.0
    rest[:, _view(rows)] -= K
    after = rest @ P @ rest.T + (K * R) @ K.T
    return K, (after + after.T) * 0.5


def _view(rows: np.ndarray) -> np.ndarray | slice:
    """Return neighbouring rows as a slice, which numpy takes in a fraction of the time."""
    return slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] == len(rows) - 1 else rows

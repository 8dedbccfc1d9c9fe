"""The steady covariance of a linear filter, and which mode is to blame where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctl.arrays import Array
from koopctl.errors import DesignError

_DOUBLINGS = 60
_RESIDUAL = 1e-6  # of the Riccati equation, relative to its solution
_INVISIBLE = 1e-8  # what a mode may show in the measurements, relative to its size in z


def steady_covariance(A: Array, rows: np.ndarray, Q: Array, R: Array, names: Sequence[str]) -> Array:
    r"""Return the steady covariance P of the prediction where the entries `rows` of z+ = A z + w are measured.

    P solves :math:`P = A P A^T - A P H^T (H P H^T + R)^{-1} H P A^T + Q`, by structure-preserving doubling (Chu, Fan,
    Lin and Wang, Int. J. Control 2004), an order of magnitude faster than the ordered QZ at hundreds of entries.

    Args:
        A: Recursion (nz, nz), in coordinates of about equal size.
        rows: Positions of the measured entries in z, (m,).
        Q: Covariance of w, (nz, nz).
        R: Variances of the measurements, (m,).
        names: Names of the entries of z.

    Raises:
        DesignError: A mode that does not decay cannot be seen in the measurements; the text says which.
    """
    mode = hidden_mode(A, rows)
    if mode is not None and mode[1] <= _INVISIBLE:
        raise DesignError(
            f"the filter cannot see the {_describe(mode, names)}, in the measured "
            f"{', '.join(names[i] for i in rows)}; measure more coordinates, or take an ExtendedKalmanFilter."
        )
    with np.errstate(all="ignore"):  # what is not finite is refused next
        P = _double(A, rows, Q, R)
    if mode is not None and not _solves(A, rows, Q, R, P):
        raise DesignError(
            f"the filter's Riccati equation has no trustworthy solution: the {_describe(mode, names)}, hardly shows in "
            f"the measured {', '.join(names[i] for i in rows)}. Measure more coordinates, use fewer features or more "
            "ridge, or take an ExtendedKalmanFilter."
        )
    return P


def _double(A: Array, rows: np.ndarray, Q: Array, R: Array) -> Array:
    """Return the limit of P after 1, 2, 4, ... steps of the Riccati recursion."""
    n = len(A)
    E, P, G = A.T, Q, np.zeros((n, n))
    G[rows, rows] = 1.0 / R
    for _ in range(_DOUBLINGS):
        parts = np.linalg.solve(np.eye(n) + G @ P, np.concatenate([E, G], axis=1))
        step = E.T @ P @ parts[:, :n]
        G = G + E @ parts[:, n:] @ E.T
        E, P = E @ parts[:, :n], P + step
        G, P = (G + G.T) * 0.5, (P + P.T) * 0.5
        if not np.abs(step).max() > 1e-15 * np.abs(P).max():  # NaN ends it too
            break
    return P


def _solves(A: Array, rows: np.ndarray, Q: Array, R: Array, P: Array) -> bool:
    """Tell whether P solves the equation and its filter is stable."""
    if not np.isfinite(P).all():
        return False
    gain = np.linalg.solve(P[np.ix_(rows, rows)] + np.diag(R), P[rows]).T
    closed = A.copy()
    closed[:, rows] -= A @ gain
    residual = np.abs(closed @ P @ A.T + Q - P).max()
    return bool(residual <= _RESIDUAL * np.abs(P).max() and np.abs(np.linalg.eigvals(closed)).max() < 1.0 + 1e-9)


def hidden_mode(A: Array, rows: np.ndarray) -> tuple[complex, float, Array] | None:
    """Return the mode that does not decay and shows least in the entries `rows`; None where all modes decay.

    Returns:
        Its eigenvalue, what it shows relative to its size (the smallest singular value of Popov, Belevitch and
        Hautus' test), and the size of each of its entries (nz,).
    """
    H = np.eye(len(A))[rows]
    found: list[tuple[complex, float, Array]] = []
    values = np.linalg.eigvals(A)
    for value in values[(np.abs(values) >= 1.0 - 1e-9) & (values.imag >= 0)]:
        _, sizes, V = np.linalg.svd(np.concatenate([A - value * np.eye(len(A)), H]))
        found.append((complex(value), float(sizes[-1]), np.abs(V[-1])))
    return min(found, key=lambda mode: mode[1]) if found else None


def _describe(mode: tuple[complex, float, Array], names: Sequence[str]) -> str:
    value, _, size = mode
    number = f"{value.real:.4g}" if abs(value.imag) < 1e-9 else f"{value.real:.4g}{value.imag:+.4g}i"
    most = [names[i] for i in np.argsort(-size)[:3] if size[i] > 0.3 * size.max()]
    return f"mode with eigenvalue {number}, which does not decay and lies mostly in {', '.join(most)}"

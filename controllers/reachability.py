"""Hautus' test: which modes that do not decay the inputs do not move, and which ones the weights do not see."""

from __future__ import annotations

import numpy as np
from scipy.linalg import schur

from koopctl.arrays import Array

_EDGE = 1.0 - 1e-9  # modulus from which a mode does not decay
_LOST = 1e-8  # smallest singular value of [A - lambda I, B], B of norm one: what rounding makes of nothing
_ROUNDING = 1e-13  # share of the largest entry of A that is rounding too
_CLUSTER = 1e-4  # eigenvalues nearer than this may be one repeated eigenvalue that rounding has split


def lasting_modes(A: Array) -> list[complex]:
    """Return the eigenvalues of A (n, n) that do not decay."""
    return [complex(value) for value in np.linalg.eigvals(A) if abs(value) >= _EDGE]


def unmoved_modes(A: Array, B: Array, states: Array, inputs: Array) -> list[complex]:
    """Return the eigenvalues that do not decay and at which [A - lambda I, B] has not full rank, in their scales.

    A combination of several modes of one eigenvalue that no input moves counts as much as a mode that none moves.
    (Popov, Belevitch and Hautus; Kailath, Linear Systems, 1980, section 2.4.)

    Args:
        A: (n, n).
        B: (n, m); its size does not matter, unless it is nothing at all.
        states: What is much of each state, (n,).
        inputs: What is much of each input, (m,).
    """
    return _lost(A * states / states[:, None], B * inputs / states[:, None])


def unseen_modes(A: Array, Q: Array, states: Array) -> list[complex]:
    """Return the eigenvalues that do not decay and at which [A - lambda I; C] has not full rank, Q = C^T C.

    Args:
        A: (n, n).
        Q: (n, n), symmetric, positive semidefinite; its size does not matter, unless it is nothing at all.
        states: What is much of each state, (n,).
    """
    values, vectors = np.linalg.eigh(Q * np.outer(states, states))
    seen = values > len(Q) * 1e-15 * max(values.max(initial=0.0), 0.0)  # the root of rounding is no rounding
    return _lost((A * states / states[:, None]).T, vectors[:, seen] * np.sqrt(values[seen]))


def _lost(A: Array, B: Array) -> list[complex]:
    """Return the eigenvalues of the lasting part of (A, B) that B does not move."""
    T, B = _lasting_part(A, B)
    size = np.abs(B).max(initial=0.0)
    B = B / (np.linalg.norm(B / size) * size) if size > 0.0 else B
    values = np.diag(T)
    tolerance = max(_LOST, _ROUNDING * np.abs(T).max(initial=0.0))
    lost = []
    for value in values[values.imag > -_CLUSTER]:  # of a pair one is enough
        # Rounding splits a repeated eigenvalue by much more than it moves the mean of the parts.
        middle = values[np.abs(values - value) <= _CLUSTER].mean()
        margins = [_rank_margin(T, B, at) for at in {value, middle} if abs(at) >= _EDGE]
        if margins and min(margins) <= tolerance:
            lost.append(complex(middle))
    return lost


def _lasting_part(A: Array, B: Array) -> tuple[Array, Array]:
    """Return A and B of the states that hardly decay or do not, (k, k) and (k, m), transposed and complex."""
    try:
        T, Z, k = schur(A.T, output="complex", sort=lambda value: abs(value) >= _EDGE - _CLUSTER)
    except np.linalg.LinAlgError:  # modes at the edge that cannot be put in order
        (T, Z), k = schur(A.T, output="complex"), len(A)
    return T[:k, :k], Z[:, :k].T @ B


def _rank_margin(T: Array, B: Array, value: complex) -> float:
    """Return the smallest singular value of [T - value I; B^T]: its distance from a pair that has lost this mode."""
    pencil = np.concatenate([T - value * np.eye(len(T)), B.T])
    return float(np.linalg.svd(pencil, compute_uv=False)[-1])

"""Modes that do not decay: which of them a regulator may leave out, and which one to blame where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eig

from koopctl.arrays import Array

LASTING = 1e-6  # share of a matrix, or distance from the unit circle, that counts as the rounding of a fit


def regulated(A: Array, B: Array, Q: Array) -> Array | None:
    """Return an orthonormal basis (n, n - k) of the states that are left once k lasting modes are left out.

    Two kinds have no bearing on the law, but a Riccati equation with them has no stabilising solution:

    - constants: combinations of states that keep their value whatever the inputs do and that no weight falls on, as
      a constant feature among the observables. Their deviation from the steady state is zero at all times.
    - what goes on for ever and never shows in Q, as a position nobody weighs. The cheapest law lets it go on.

    With the basis Z, K_Z Z^T is the gain and Z P_Z Z^T the cost for the gain and cost of (Z^T A Z, Z^T B, Z^T Q Z).

    Args:
        A: (n, n).
        B: (n, m).
        Q: (n, n), symmetric, positive semidefinite.

    Returns:
        The basis; None where nothing can be left out.
    """
    Z = np.eye(len(A))
    while Z.shape[1]:
        out = _idle(Z.T @ A @ Z, Z.T @ B, Z.T @ Q @ Z)
        if not out.shape[1]:
            break
        Z = Z @ np.linalg.qr(out, mode="complete")[0][:, out.shape[1] :]
    return Z if Z.shape[1] < len(A) else None


def out_of_reach(A: Array, B: Array, names: Sequence[str]) -> str:
    """Describe the mode that does not decay and that the inputs reach least; empty where all modes decay.

    Args:
        A: (n, n).
        B: (n, m).
        names: Of the states; x[0], x[1], ... where there are fewer names.
    """
    values, left = eig(A, left=True, right=False)
    lasting = np.flatnonzero(np.abs(values) >= 1.0 - 1e-9)
    if not len(lasting):
        return ""
    reach = np.linalg.norm(left[:, lasting].conj().T @ B, axis=1)
    value = values[lasting[np.argmin(reach)]]
    # Anew, as the eigenvectors of several equal eigenvalues are anything.
    size = np.abs(np.linalg.svd(np.concatenate([A.T - value * np.eye(len(A)), B.T]))[2][-1])
    number = f"{value.real:.4g}" if abs(value.imag) < 1e-9 else f"{value.real:.4g}{abs(value.imag):+.4g}i"
    full = [*names, *(f"x[{i}]" for i in range(len(names), len(A)))]
    most = [full[i] for i in np.argsort(-size)[:3] if size[i] > 0.3 * size.max()]
    return f"the mode with eigenvalue {number}, which lies mostly in {', '.join(most)}"


def _idle(A: Array, B: Array, Q: Array) -> Array:
    """Return an orthonormal basis (n, k) of the modes that may be left out, of one kind at a time."""
    values = np.linalg.eigvals(A)
    unit = np.eye(len(A))
    if (np.abs(values - 1.0) <= LASTING).any():
        constants = _null(A.T - unit, [B.T, Q])
        if constants.shape[1]:
            return constants
    lasting = values[(np.abs(np.abs(values) - 1.0) <= LASTING) & (values.imag >= 0.0)]
    for value in lasting:
        modes = _null(A - (value if value.imag > LASTING else value.real) * unit, [Q])
        if modes.shape[1]:
            return modes
    return np.zeros((len(A), 0))


def _null(dynamics: Array, more: Sequence[Array]) -> Array:
    """Return a real orthonormal basis (n, k) of what all the matrices map to nothing, up to rounding."""
    parts = [dynamics / max(1.0, float(np.abs(dynamics).max()))]
    parts += [part / size for part in more if (size := np.abs(part).max()) > 0.0]
    _, sizes, V = np.linalg.svd(np.concatenate(parts))
    found = V[sizes <= LASTING].conj().T
    basis, spread, _ = np.linalg.svd(np.concatenate([found.real, found.imag], axis=1), full_matrices=False)
    return np.asarray(basis[:, spread > 1e-3])

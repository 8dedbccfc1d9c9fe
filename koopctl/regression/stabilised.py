"""The least-squares recursion closest to a given one whose eigenvalues stay inside a circle."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.optimize import nnls

from koopctl.arrays import Array
from koopctl.errors import DataError

_STEPS = 200
_NEAR = 0.03  # eigenvalues this close to the circle are kept from leaving it while others are moved in
_MARGIN = 1e-9  # relative distance inside the circle that is aimed at


def stabilised(theta: Array, S: Array, E: Array, H: Array, nu: int, radius: float) -> Array:
    """Return the coefficients that lose least in the regression and keep the spectral radius.

    The regression's loss around its solution is tr(D H D^T) exactly, D the change. Each step linearises the moduli of
    the eigenvalues near and beyond the circle (first-order perturbation, by left and right eigenvectors) and solves
    that small quadratic program through its dual; no semidefinite program is needed. Input and offset coefficients are
    part of theta, so they adapt to the changed A.

    Args:
        theta: Solution of the regression, (m, p), on [v (nu), r (nr), 1].
        S: The recursion r+ = (S + E theta) [v, r, 1]: its fixed part, (nr, p).
        E: Where theta enters, (nr, m).
        H: Curvature of the regression, (p, p).
        nu: Number of inputs.
        radius: The spectral radius that is allowed.

    Raises:
        DataError: The circle cannot be reached (delays alone may need a larger one).
    """
    cut = slice(nu, nu + len(S))
    aim = radius * (1.0 - _MARGIN)
    best, inverse = theta, scipy.linalg.inv(H)
    worst = _excess(S + E @ best, cut, aim)
    for _ in range(_STEPS):
        if worst <= 0.0:
            return best
        D = _cheapest_change(best - theta, S, E, inverse, cut, aim, best)
        step = theta + D - best
        for halving in range(8):
            trial = best + step / 2**halving
            excess = _excess(S + E @ trial, cut, aim)
            if excess < worst:
                break
        if not excess < worst:
            break
        best, worst = trial, excess
    return _shrunk(best, S, E, H, cut, aim)


def _excess(M: Array, cut: slice, aim: float) -> float:
    """Return the sum of what the eigenvalues' moduli have beyond the circle."""
    moduli = np.abs(np.linalg.eigvals(M[:, cut]))
    return float(np.maximum(moduli - aim, 0.0).sum())


def _cheapest_change(D: Array, S: Array, E: Array, inverse: Array, cut: slice, aim: float, theta: Array) -> Array:
    """Return the D of least tr(D H D^T) that brings the linearised moduli to the circle."""
    values, left, right = scipy.linalg.eig((S + E @ theta)[:, cut], left=True, right=True)
    near = (np.abs(values) > aim * (1.0 - _NEAR)) & (values.imag >= 0.0)
    rows, bounds = [], []
    for value, w, v in zip(values[near], left.T[near], right.T[near], strict=True):
        turn = np.conj(value) / abs(value) / (w.conj() @ v)
        C = np.zeros_like(theta)
        C[:, cut] = np.real(turn * np.outer(E.T @ w.conj(), v))
        rows.append(C)
        bounds.append(aim - abs(value) + float(np.sum(C * D)))
    C = np.array(rows)
    CH = C @ inverse
    K = np.einsum("imp,jmp->ij", CH, C)
    # min |D|_H^2 / 2 with <C_i, D> <= b_i has the dual min mu K mu / 2 + b mu, mu >= 0, a least squares in K's root.
    values_K, vectors = np.linalg.eigh(K)
    keep = values_K > 1e-12 * values_K[-1]
    root = np.sqrt(values_K[keep])[:, None] * vectors[:, keep].T
    mu = nnls(root, -np.linalg.lstsq(root.T, np.array(bounds), rcond=None)[0])[0]
    return np.asarray(-np.einsum("i,imp->mp", mu, CH))


def _shrunk(theta: Array, S: Array, E: Array, H: Array, cut: slice, aim: float) -> Array:
    """Scale all of A, where the eigenvalues resist being moved one by one (clustered, defective)."""
    A = (S + E @ theta)[:, cut]
    radius = float(np.abs(np.linalg.eigvals(A)).max())
    if radius <= aim:
        return theta
    if np.linalg.matrix_rank(E) < len(A):
        raise DataError(
            f"A has spectral radius {radius:.6g} and could not be brought to {aim:.6g}; "
            "allow a larger spectral_radius, raise the ridge or lower delays."
        )
    change = np.zeros_like(theta)
    change[:, cut] = np.linalg.lstsq(E, A * (aim / radius - 1.0), rcond=None)[0]
    rest = np.setdiff1d(np.arange(theta.shape[1]), np.arange(cut.start, cut.stop))
    change[:, rest] = -np.linalg.solve(H[np.ix_(rest, rest)], H[rest] @ change.T).T
    return theta + change

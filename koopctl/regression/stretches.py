"""Multi-step least squares of a linear recursion, from second moments of stretches of motion."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.linalg
from numpy.lib.stride_tricks import sliding_window_view
from scipy.optimize import minimize

from koopctl.arrays import Array

_STARTS = 4  # stretches begun within one horizon
_ITERATIONS = 200
_BLOCK = 2048


class Stretches:
    """Moments of eta = [r_k, v_k, ..., v_(k+h-1), 1] with each other and with r_(k+1), ..., r_(k+h).

    Every h-step prediction of a linear recursion is linear in eta, so these moments hold its error over all stretches
    exactly; they do not grow with the data, and the recursion is refined without looking at the data again.

    Attributes:
        n: Stretches seen.
        G: Mean products of eta, not yet divided by n, (ne, ne).
        T: Products of r_(k+j) with eta, (h, nr, ne).
        rr: Sums of squares of r_(k+j), (h, nr).
    """

    def __init__(self, nr: int, nu: int, horizon: int, measured: int) -> None:
        """Start empty.

        Args:
            nr: Length of r.
            nu: Number of inputs.
            horizon: Steps of a stretch.
            measured: How many of the first entries of r are measured; the others are features.
        """
        self.nr, self.nu, self.horizon, self.measured = nr, nu, horizon, measured
        ne = nr + nu * horizon + 1
        self.n = 0
        self.G, self.T, self.rr = np.zeros((ne, ne)), np.zeros((horizon, nr, ne)), np.zeros((horizon, nr))

    def add(self, r: Array, v: Array) -> Self:
        """Add the stretches of an episode r (T + 1, nr), v (T, nu)."""
        h = self.horizon
        starts = np.arange(0, len(v) - h + 1, max(1, h // _STARTS))
        windows = sliding_window_view(v, h, axis=0)  # (T - h + 1, nu, h)
        for first in range(0, len(starts), _BLOCK):
            k = starts[first : first + _BLOCK]
            inputs = windows[k].transpose(0, 2, 1).reshape(len(k), -1)
            eta = np.concatenate([r[k], inputs, np.ones((len(k), 1))], axis=1)
            self.n += len(k)
            self.G += eta.T @ eta
            for j in range(h):
                self.T[j] += r[k + j + 1].T @ eta
                self.rr[j] += np.square(r[k + j + 1]).sum(axis=0)
        return self

    def fit(self, theta: Array, S: Array, E: Array, ridge: float) -> Array:
        """Return coefficients that minimise the squared errors of 1 to h steps, starting from `theta`.

        A nonlinear least squares in few unknowns whose gradient the adjoint recursion gives; limited-memory BFGS, in
        coordinates in which the one-step problem has unit curvature.

        Args:
            theta: One-step solution, (m, p), on [v (nu), r (nr), 1].
            S: Fixed part of the recursion r+ = (S + E theta) [v, r, 1], (nr, p).
            E: Where theta enters, (nr, m).
            ridge: Penalty on theta, as in the one-step problem.
        """
        penalty = np.full(theta.shape[1], ridge)
        penalty[-1] = 0.0
        root, targets = self._whitened(ridge)
        nr, nu = self.nr, self.nu
        order = [*range(nr, nr + nu), *range(nr), len(root) - 1]  # [v, r, 1] in eta
        L = scipy.linalg.cholesky(root[order] @ root[order].T + np.diag(np.maximum(penalty, 1e-14)), lower=True)
        rows, weight = np.linalg.norm(E, axis=0), self._weights()

        def unpack(flat: Array) -> Array:
            change = scipy.linalg.solve_triangular(L, flat.reshape(theta.shape).T, lower=True, trans="T").T
            return theta + change / rows[:, None]

        def loss(flat: Array) -> tuple[float, Array]:
            trial = unpack(flat)
            value, slope = self._loss(S + E @ trial, weight, root, targets)
            slope = (E.T @ slope + 2.0 * penalty * trial) / rows[:, None]
            return value + float(np.sum(penalty * trial**2)), scipy.linalg.solve_triangular(
                L, slope.T, lower=True
            ).T.ravel()

        options = {"maxiter": _ITERATIONS, "maxcor": 20, "ftol": 1e-13, "gtol": 1e-12}
        found = minimize(loss, np.zeros(theta.size), jac=True, method="L-BFGS-B", options=options)
        return unpack(found.x)

    def _whitened(self, ridge: float) -> tuple[Array, Array]:
        """Return a root of eta's second moment and the targets in its coordinates, in which nothing cancels."""
        G = self.G / self.n
        values, vectors = np.linalg.eigh(G)
        keep = values > max(ridge, 1e-13) * values[-1]
        root = vectors[:, keep] * np.sqrt(values[keep])
        return root, self.T / self.n @ (vectors[:, keep] / np.sqrt(values[keep]))

    def _weights(self) -> Array:
        """Measured entries count by their spread; the features together count as much as one of them."""
        mean = self.T[:, :, -1].sum(axis=0) / (self.n * self.horizon)
        variance = np.maximum(self.rr.sum(axis=0) / (self.n * self.horizon) - mean**2, 1e-12)
        weight = 1.0 / variance
        weight[self.measured :] /= max(self.nr - self.measured, 1)
        return np.asarray(weight / self.horizon)

    def _loss(self, M: Array, weight: Array, root: Array, targets: Array) -> tuple[float, Array]:
        """Return the weighted mean square error over 1 to h steps, but for a constant, and its slope by M = [B, A, c]."""
        h, nr, nu = self.horizon, self.nr, self.nu
        B, A, c = M[:, :nu], M[:, nu : nu + nr], M[:, -1:]
        with np.errstate(over="ignore", invalid="ignore"):
            maps = np.empty((h + 1, nr, root.shape[1]))
            maps[0] = root[:nr]
            for j in range(h):
                maps[j + 1] = A @ maps[j] + B @ root[nr + j * nu : nr + (j + 1) * nu] + c @ root[-1:]
            errors = maps[1:] - targets
            value = float(np.einsum("i,jie->", weight, errors**2))
            slope, back = np.zeros_like(M), np.zeros_like(maps[0])
            for j in range(h - 1, -1, -1):
                back = 2.0 * weight[:, None] * errors[j] + A.T @ back
                slope[:, :nu] += back @ root[nr + j * nu : nr + (j + 1) * nu].T
                slope[:, nu : nu + nr] += back @ maps[j].T
                slope[:, -1] += back @ root[-1]
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            return 1e300, np.zeros_like(M)
        return value, slope

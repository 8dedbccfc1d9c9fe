"""The error of a linear recursion over 1 to h steps as a least-squares problem in its coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from koopctl.arrays import Array

_FLOOR = 1e-8  # of the largest curvature; directions below it are not told from rounding
_GROWTH = 1e6  # powers of A beyond it say no more about the curvature


@dataclass(frozen=True)
class MultiStep:
    """Weighted mean square errors of r+ = (S + E theta) [v, r, 1] after 1 to h steps, plus a ridge.

    The h-step prediction is linear in eta = [r_0, v_0, ..., v_(h-1), 1], whose second moment is root root^T: instead
    of samples, the columns of the root are rolled out. Gradients come from the adjoint recursion.

    Attributes:
        S: Fixed part of the recursion, (nr, p).
        E: Where theta enters, (nr, m).
        root: A root of the second moment of eta, (nr + h nu + 1, k).
        targets: Mean products of r_1, ..., r_h with eta in the coordinates of the root, (h, nr, k).
        unexplained: What no prediction can explain: it makes `loss` the mean square error, ridge included.
        weight: How much the error of each entry of r counts, (nr,).
        penalty: Ridge on each column of theta, (p,).
    """

    S: Array
    E: Array
    root: Array
    targets: Array
    unexplained: float
    weight: Array
    penalty: Array

    @property
    def horizon(self) -> int:
        """Steps h."""
        return len(self.targets)

    @property
    def nr(self) -> int:
        """Length of r."""
        return len(self.S)

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return int(self.S.shape[1] - self.nr - 1)

    @cached_property
    def one_step(self) -> Array:
        """Second moment of [v_0, r_0, 1], with the ridge: the curvature of one-step least squares, (p, p)."""
        order = [*range(self.nr, self.nr + self.nu), *range(self.nr), len(self.root) - 1]
        return np.asarray(self.root[order] @ self.root[order].T + np.diag(self.penalty))

    @cached_property
    def _drives(self) -> Array:
        """[v_j, 1] of every step in the coordinates of the root, (h, nu + 1, k)."""
        v = self.root[self.nr : -1].reshape(self.horizon, self.nu, self.root.shape[1])
        return np.concatenate([v, np.broadcast_to(self.root[-1:], (self.horizon, 1, self.root.shape[1]))], axis=1)

    def matrices(self, theta: Array) -> tuple[Array, Array]:
        """Return A (nr, nr) and [B, c] (nr, nu + 1)."""
        return self._parts(self.S + self.E @ theta)

    def _parts(self, M: Array) -> tuple[Array, Array]:
        nu = self.nu
        return M[:, nu:-1], np.concatenate([M[:, :nu], M[:, -1:]], axis=1)

    def roll_out(self, theta: Array) -> Array:
        """Return r_0, ..., r_h in the coordinates of the root, (h + 1, nr, k)."""
        A, B = self.matrices(theta)
        path = np.empty((self.horizon + 1, self.nr, self.root.shape[1]))
        path[0] = self.root[: self.nr]
        with np.errstate(over="ignore", invalid="ignore"):
            for j in range(self.horizon):
                np.matmul(A, path[j], out=path[j + 1])
                path[j + 1] += B @ self._drives[j]
        return path

    def loss(self, theta: Array, path: Array | None = None) -> float:
        """Return the loss at theta, whose roll-out may be given; inf where it overflows."""
        path = self.roll_out(theta) if path is None else path
        with np.errstate(over="ignore", invalid="ignore"):
            errors = path[1:] - self.targets
            value = float(np.sum(self.weight[:, None] * errors * errors) + np.sum(self.penalty * theta**2))
        return value + self.unexplained if np.isfinite(value) else np.inf

    def slope(self, theta: Array, path: Array) -> Array:
        """Return half the gradient of the loss by theta, (m, p)."""
        return self._adjoint(theta, path, path[1:] - self.targets) + self.penalty * theta

    def curvature(self, theta: Array, path: Array, D: Array) -> Array:
        """Return the Gauss-Newton matrix, half the Hessian of the linearised predictions, times a direction D."""
        (A, _), (dA, dB) = self.matrices(theta), self._parts(self.E @ D)
        change = np.zeros_like(path)
        for j in range(self.horizon):
            np.matmul(A, change[j], out=change[j + 1])
            change[j + 1] += dA @ path[j]
            change[j + 1] += dB @ self._drives[j]
        return self._adjoint(theta, path, change[1:]) + self.penalty * D

    def metric(self, theta: Array) -> tuple[Array, Array]:
        """Return R (m, m) and H (p, p): R D H is roughly the curvature, as if errors of all steps added up."""
        A, _ = self.matrices(theta)
        power, total, R = np.eye(self.nr), np.zeros((self.nr, self.nr)), np.zeros((self.nr, self.nr))
        for _ in range(self.horizon):
            total += power
            R += total.T @ (self.weight[:, None] * total)
            power = A @ power
            if np.abs(power).max() > _GROWTH:
                break
        return _lifted(self.E.T @ R @ self.E), _lifted(self.one_step)

    def _adjoint(self, theta: Array, path: Array, errors: Array) -> Array:
        A, _ = self.matrices(theta)
        slope, back = np.zeros_like(self.S), np.zeros_like(path[0])
        for j in range(self.horizon - 1, -1, -1):
            back = self.weight[:, None] * errors[j] + A.T @ back
            drive = back @ self._drives[j].T
            slope[:, self.nu : -1] += back @ path[j].T
            slope[:, : self.nu] += drive[:, :-1]
            slope[:, -1] += drive[:, -1]
        return self.E.T @ slope


def _lifted(M: Array) -> Array:
    return M + _FLOOR * float(np.trace(M)) / len(M) * np.eye(len(M))

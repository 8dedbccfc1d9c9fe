"""Streaming ridge regression: accumulate Gram matrices block by block, solve at the end."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from koopctl.arrays import Array, is_finite
from koopctl.errors import DataError


def check_ridge(ridge: object) -> None:
    """Raise a DataError unless `ridge` can be a penalty."""
    if not is_finite(ridge) or ridge < 0.0:
        raise DataError(f"ridge is {ridge!r}; it must be a finite number >= 0, usually 1e-12 to 1e-2.")


class Gram:
    """Normal equations of Y = Phi Theta^T, accumulated over blocks of samples.

    Attributes:
        n: Samples seen.
        G: Phi^T Phi, (p, p).
        R: Phi^T Y, (p, m).
        yy: Sum of squares of each column of Y, (m,).
    """

    def __init__(self, p: int, m: int) -> None:
        """Start empty, for p regressors and m targets."""
        self.n = 0
        self.G = np.zeros((p, p))
        self.R = np.zeros((p, m))
        self.yy = np.zeros(m)

    def add(self, Phi: Array, Y: Array) -> None:
        """Add samples Phi (n, p), Y (n, m)."""
        self.n += len(Phi)
        self.G += Phi.T @ Phi
        self.R += Phi.T @ Y
        self.yy += np.einsum("ij,ij->j", Y, Y)

    def solve(self, ridge: float, free: int = 1) -> Array:
        """Return Theta (m, p) minimising |Y - Phi Theta^T|^2 / n + ridge |Theta|^2.

        Args:
            ridge: Penalty relative to regressors of unit size, so it scales with the sample count.
            free: How many of the last regressors (the constant) are not penalised.

        Raises:
            DataError: ridge is negative or not finite.
        """
        check_ridge(ridge)
        penalty = np.full(len(self.G), ridge)
        penalty[len(self.G) - free :] = 0.0
        system = self.G / self.n + np.diag(penalty)
        try:
            factor = scipy.linalg.cho_factor(system, lower=True)
            theta = scipy.linalg.cho_solve(factor, self.R / self.n)
            if np.isfinite(theta).all():
                return np.ascontiguousarray(theta.T)
        except np.linalg.LinAlgError:
            pass
        # Not positive definite to rounding (ridge 0, fewer samples than regressors): the minimum-norm solution.
        values, vectors = np.linalg.eigh(system)
        keep = values > len(values) * np.finfo(float).eps * values[-1]
        theta = (vectors[:, keep] / values[keep]) @ (vectors[:, keep].T @ (self.R / self.n))
        return np.ascontiguousarray(theta.T)

    def arrays(self) -> dict[str, Array]:
        """Return everything needed to go on later."""
        return {"gram_n": np.array(self.n), "gram_G": self.G, "gram_R": self.R, "gram_yy": self.yy}

    @classmethod
    def restore(cls, arrays: dict[str, Array]) -> Gram:
        """Rebuild from `arrays`."""
        gram = cls(*arrays["gram_R"].shape)
        gram.n, gram.G, gram.R, gram.yy = int(arrays["gram_n"]), arrays["gram_G"], arrays["gram_R"], arrays["gram_yy"]
        return gram

"""Recursive least squares: one sample at a time, without solving anew."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.regression.gram import Gram


class Recursive:
    """The solution of a ridge regression, kept up to date sample by sample.

    Forgetting is directional (Cao and Schwartz, "Directional forgetting algorithm based on the decomposition of the
    information matrix", Automatica 36, 2000): of the information R only the part along the new sample is discounted,
    so that the gain does not wind up while the plant stands still.

    Attributes:
        theta: Coefficients, (m, p).
        R: Information, (p, p).
        P: Its inverse.
    """

    def __init__(self, theta: Array, R: Array, P: Array) -> None:
        """Start from a solution and its information."""
        self.theta, self.R, self.P = theta, R, P

    @classmethod
    def start(cls, gram: Gram, ridge: float, free: int = 1) -> Self:
        """Go on from accumulated normal equations."""
        penalty = np.full(len(gram.G), ridge)
        penalty[len(penalty) - free :] = 0.0
        # A direction the data never moved in would have an infinite gain without a ridge.
        floor = 1e-12 * float(np.trace(gram.G)) / len(gram.G)
        R = gram.G + np.diag(np.maximum(gram.n * penalty, floor))
        P = scipy.linalg.inv(R)
        return cls(gram.solve(ridge, free).theta.copy(), R, (P + P.T) / 2)

    def add(self, phi: Array, y: Array, forgetting: float = 1.0) -> Array:
        """Take in one sample, phi (p,) and y (m,), and return theta."""
        informed = self.R @ phi
        size = float(phi @ informed)
        if forgetting < 1.0 and size > 0.0:
            self.P += (1.0 - forgetting) / forgetting / size * np.outer(phi, phi)
            self.R -= (1.0 - forgetting) / size * np.outer(informed, informed)
        direction = self.P @ phi
        gain = direction / (1.0 + float(phi @ direction))
        self.theta = self.theta + np.outer(y - self.theta @ phi, gain)
        self.P -= np.outer(gain, direction)
        self.R += np.outer(phi, phi)
        return self.theta

    def to_gram(self, gram: Gram, ridge: float, free: int = 1) -> Gram:
        """Return normal equations with this solution, to accumulate blocks again."""
        renewed = Gram(*gram.R.shape)
        penalty = np.full(len(gram.G), gram.n * ridge)
        penalty[len(penalty) - free :] = 0.0
        renewed.n, renewed.G, renewed.R, renewed.yy = gram.n, self.R - np.diag(penalty), self.R @ self.theta.T, gram.yy
        return renewed

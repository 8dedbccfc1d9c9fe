"""What the readout of an echo-state network is learnt from: sums that more motion adds to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from koopctl.arrays import Array
from koopctl.errors import DataError
from koopctl.models.with_reservoirpy import ridge_readout

_NAMES = ("XX", "XY", "x", "y", "n")


@dataclass
class Readout:
    """Weighted sums over samples of regressors x (p,) and targets y (m,).

    Attributes:
        XX: Of x x^T, (p, p).
        XY: Of x y^T, (p, m).
        x: Of x, (p,).
        y: Of y, (m,).
        n: Of the weights.
    """

    XX: Array
    XY: Array
    x: Array
    y: Array
    n: float = 0.0

    @classmethod
    def of(cls, p: int, m: int) -> Self:
        """Return empty sums for p regressors and m targets."""
        return cls(np.zeros((p, p)), np.zeros((p, m)), np.zeros(p), np.zeros(m))

    def add(self, Phi: Array, Y: Array, weight: Array | None) -> None:
        """Add samples Phi (n, p), Y (n, m) with weights (n,), or None for all alike."""
        heavy = Phi if weight is None else Phi * weight[:, None]
        self.XX += heavy.T @ Phi
        self.XY += heavy.T @ Y
        self.x += heavy.sum(axis=0)
        self.y += Y.sum(axis=0) if weight is None else weight @ Y
        self.n += len(Phi) if weight is None else float(weight.sum())

    def merge(self, other: Readout, share: float = 1.0) -> Self:
        """Add the sums of other samples, each of which counts `share` times as much."""
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + share * getattr(other, name))
        return self

    def forget(self, factor: float) -> Self:
        """Let everything seen so far count `factor` times as much."""
        for name in _NAMES:
            setattr(self, name, factor * getattr(self, name))
        return self

    def solve(self, ridge: float) -> tuple[Array, Array]:
        """Return weights (m, p) and constant (m,) of a ridge regression, the penalty for regressors of unit size.

        Raises:
            DataError: Nothing was added, or the equations are singular.
        """
        if not self.n > 0.0:
            raise DataError("there is nothing to learn from behind the washout; lower washout, or give other weights.")
        weights, constant = ridge_readout((self.XX.copy(), self.XY.copy(), self.x, self.y, self.n), ridge * self.n)
        return np.ascontiguousarray(weights.T), constant

    def judge(self, ridge: float) -> tuple[float, float]:
        """Return the effective number of regressors, constant included, and their condition number as penalised."""
        mean = self.x / self.n
        values = np.maximum(np.linalg.eigvalsh(self.XX / self.n - np.outer(mean, mean)), 0.0)
        penalised = values + ridge
        smallest = max(float(penalised[0]), 1e-300)
        return 1.0 + float(np.sum(values / np.maximum(penalised, 1e-300))), float(np.sqrt(penalised[-1] / smallest))

    def arrays(self) -> dict[str, Array]:
        """Return the sums by name."""
        return {f"readout_{name}": np.asarray(getattr(self, name)) for name in _NAMES}

    @classmethod
    def restore(cls, arrays: dict[str, Array]) -> Self:
        """Return the sums that `arrays` gave."""
        parts = [arrays[f"readout_{name}"] for name in _NAMES]
        return cls(parts[0], parts[1], parts[2], parts[3], float(parts[4]))

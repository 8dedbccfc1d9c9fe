"""A reservoir of leaky units, evaluated: what an echo-state network remembers, and the derivatives of that."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from koopctl.arrays import Array
from koopctl.models.window import Window

_DENSE = 150  # units up to which the product with a full matrix is the faster one


class Reservoir:
    r"""Units :math:`r_{k+1} = (1-a)\,r_k + a\tanh(W r_k + V s_k + b)`, s = [w, u] the regressors of one sample.

    Nothing here changes after it was made.

    Attributes:
        W: Recurrent weights, (N, N).
        V: Input weights in physical units, (N, nw + nu).
        b: Biases, (N,).
        leak: a, 1 for units that do not remember by themselves.
        window: Makes w of the coordinates of one sample.
        washout: Samples a memory is made of.
    """

    def __init__(self, W: Array, V: Array, b: Array, leak: float, window: Window, washout: int) -> None:
        """Keep the matrices.

        Args:
            W: Recurrent weights, (N, N).
            V: Input weights in physical units, (N, nw + nu).
            b: Biases, (N,).
            leak: a, above 0 and at most 1.
            window: Makes w of the coordinates of one sample, without delays.
            washout: Samples a memory is made of.
        """
        self.W, self.V, self.b, self.leak, self.window, self.washout = W, V, b, leak, window, washout

    @property
    def size(self) -> int:
        """Number of units N."""
        return len(self.b)

    def regressors(self, Q: Array, U: Array) -> Array:
        """Return s (n, nw + nu) of coordinates Q (n, nq) and inputs U (n, nu)."""
        return np.concatenate([self.window.embed(Q), U], axis=1)

    def after(self, R: Array, S: Array) -> Array:
        """Return the units (n, N) that follow units R (n, N) under regressors S (n, nw + nu)."""
        active = np.tanh(self._excite(R, S))
        active *= self.leak
        active += (1.0 - self.leak) * R
        return active

    def slopes(self, R: Array, S: Array) -> Array:
        """Return the derivative a (1 - tanh^2) of each unit by what excites it, (n, N)."""
        return np.asarray(self.leak * (1.0 - np.tanh(self._excite(R, S)) ** 2))

    def by_coordinates(self, Q: Array) -> Array:
        """Return the derivatives of V s by the coordinates, (n, N, nq), at Q (n, nq)."""
        nw = self.window.nw
        V = np.broadcast_to(self.V[:, :nw], (len(Q), self.size, nw))
        return self.window.chain(V, self.window.embed(Q))

    def recall(self, Q: Array, U: Array) -> Array:
        """Return the units (n, N) after samples Q (n, T, nq), U (n, T, nu), begun at rest."""
        R = np.zeros((len(Q), self.size))
        for k in range(Q.shape[1]):
            R = self.after(R, self.regressors(Q[:, k], U[:, k]))
        return R

    def recall_slopes(self, q: Array, u: Array) -> tuple[Array, Array]:
        """Return the derivatives of the memory of constant q (n, nq), u (n, nu), by q and by u."""
        S, nq = self.regressors(q, u), self.window.nq
        by_u = np.broadcast_to(self.V[:, self.window.nw :], (len(q), self.size, u.shape[1]))
        direct = np.concatenate([self.by_coordinates(q), by_u], axis=2)
        R, slope = np.zeros((len(q), self.size)), np.zeros_like(direct)
        for _ in range(self.washout):
            D = self.slopes(R, S)
            slope = (1.0 - self.leak) * slope + D[:, :, None] * (self.W @ slope + direct)
            R = self.after(R, S)
        return slope[:, :, :nq], slope[:, :, nq:]

    def _excite(self, R: Array, S: Array) -> Array:
        H = S @ self.V.T
        H += self.b
        H += (self._product @ R.T).T
        return np.asarray(H)

    @cached_property
    def _product(self) -> Any:
        """What multiplies by W: reservoirs are sparse."""
        return self.W if self.size <= _DENSE else csr_array(self.W)

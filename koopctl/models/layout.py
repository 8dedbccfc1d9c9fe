"""Where things stand in a lifted state, and how a standardised regression becomes matrices on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from koopctl.arrays import Array
from koopctl.models.window import Window

Matrices = tuple[Array, Array, Array, Array]


@dataclass(frozen=True)
class Layout:
    """z = [x, cos and sin of every angle in x, psi]; the regression reads all of it but angles and cyclic coordinates.

    Attributes:
        window: The layout of x and its regressors w.
        n_features: Length of psi.
        unseen: (2, n) positions in x and in w of what the model must not see.
        mean: Means of w, (nw,).
        scale: Spreads of w, (nw,); inf where unseen.
        gain: Spreads of the increments of q, (nq,).
        u_mean: Means of the inputs, (nu,).
        u_scale: Spreads of the inputs, (nu,).
    """

    window: Window
    n_features: int
    unseen: np.ndarray
    mean: Array
    scale: Array
    gain: Array
    u_mean: Array
    u_scale: Array

    @cached_property
    def on_circle(self) -> np.ndarray:
        """Columns of w that are the cos or sin of an angle, in the order z holds them."""
        return np.sort(self.window.circle[1:].ravel())

    @cached_property
    def to_circle(self) -> Array:
        """Rows of the identity of w that pick `on_circle`, (n, nw)."""
        return np.asarray(np.eye(self.window.nw)[self.on_circle])

    @cached_property
    def nz(self) -> int:
        """Length of z."""
        return self.window.nx + len(self.on_circle) + self.n_features

    @cached_property
    def read(self) -> np.ndarray:
        """Positions in z of what the regression reads."""
        return np.setdiff1d(np.arange(self.nz), [*self.window.circle[0], *self.unseen[0]])

    @cached_property
    def learnt(self) -> np.ndarray:
        """Positions in z of what the regression predicts: the newest q, cos and sin of its angles, and psi."""
        nx, newest = self.window.nx, np.sort(self.window.chart.circle[1:].ravel())
        features = np.arange(nx + len(self.on_circle), self.nz)
        return np.concatenate([np.arange(self.window.nq), nx + np.searchsorted(self.on_circle, newest), features])

    @cached_property
    def z_mean(self) -> Array:
        """Means of what is read: those of w, then 0 for the features."""
        return np.concatenate([self.mean[self._w_order], np.zeros(self.n_features)])

    @cached_property
    def z_scale(self) -> Array:
        """Spreads of what is read: those of w, then 1 for the features."""
        return np.concatenate([self.scale[self._w_order], np.ones(self.n_features)])

    @cached_property
    def _w_order(self) -> np.ndarray:
        linear = self.window.linear[:, np.argsort(self.window.linear[0])]
        return np.concatenate([np.setdiff1d(linear[1], self.unseen[1], assume_unique=True), self.on_circle])

    @cached_property
    def row_gain(self) -> Array:
        """What the regression's targets are multiplied by to become rows of z, (m,)."""
        return np.concatenate([self.gain, np.ones(len(self.learnt) - len(self.gain))])

    def matrices(self, theta: Array, bilinear: bool) -> Matrices:
        """Return A, B, N, c of z+ = A z + B u + sum_j u_j N_j z + c.

        Args:
            theta: Coefficients (m, p) on [v (nu), r, 1], or on [v_1 (r, 1), ..., v_nu (r, 1), (r, 1)] when bilinear,
                with v and r the standardised inputs and read part of z.
            bilinear: Which of the two.
        """
        nu, nr = len(self.u_mean), len(self.read)
        theta = theta * self.row_gain[:, None]
        if not bilinear:  # nothing of size (nu, nz, nz) is touched: an update in the loop comes through here
            a, b = theta[:, nu:-1] / self.z_scale, theta[:, :nu] / self.u_scale
            return self._placed(a, b, theta[:, -1] - a @ self.z_mean - b @ self.u_mean, None)
        blocks = theta.reshape(len(theta), nu + 1, nr + 1)
        blocks[:, :, :nr] /= self.z_scale
        blocks[:, :, nr] -= blocks[:, :, :nr] @ self.z_mean
        blocks[:, :nu] /= self.u_scale[:, None]
        blocks[:, nu] -= np.einsum("mjr,j->mr", blocks[:, :nu], self.u_mean)
        return self._placed(blocks[:, nu, :nr], blocks[:, :nu, nr], blocks[:, nu, nr], blocks[:, :nu, :nr])

    def _placed(self, a: Array, b: Array, offset: Array, n: Array | None) -> Matrices:
        """Put the learnt rows a (m, nr), b (m, nu), offset (m,) and n (m, nu, nr) where they stand in z."""
        nq, nz, nu = self.window.nq, self.nz, len(self.u_mean)
        A, B, N, c = np.zeros((nz, nz)), np.zeros((nz, nu)), np.zeros((nu, nz, nz)), np.zeros(nz)
        A[self.learnt] = self._spread(a)
        A[range(nq), range(nq)] += 1.0
        B[self.learnt], c[self.learnt] = b, offset
        if n is not None:
            for j in range(nu):
                N[j][self.learnt] = self._spread(n[:, j])
        if self.window.delays:
            self._shift(A, B)
        return A, B, N, c

    def _spread(self, rows: Array) -> Array:
        """Return rows on what is read (m, nr) as rows on z, (m, nz)."""
        if len(self.read) == self.nz:
            return rows
        wide = np.zeros((len(rows), self.nz))
        wide[:, self.read] = rows
        return wide

    def _shift(self, A: Array, B: Array) -> None:
        """Older samples move back one place; so do the cos and sin of their angles."""
        nx, nq, ne = self.window.nx, self.window.nq, self.window.chart.ne
        A[nq:nx, :nx], B[nq:nx] = self.window.shift
        for i, column in enumerate(self.on_circle):
            if column >= ne:
                A[nx + i, nx + int(np.searchsorted(self.on_circle, column - ne))] = 1.0

    def output(self) -> tuple[Array, Array]:
        """Return C (ny, nz) and the offset (ny,) of y = C z + offset."""
        chart, nx = self.window.chart, self.window.nx
        E = np.zeros((chart.ne, self.nz))
        E[chart.linear[1], chart.linear[0]] = 1.0
        for column in chart.circle[1:].ravel():
            E[column, nx + int(np.searchsorted(self.on_circle, column))] = 1.0
        C, offset = np.zeros((len(chart.y_names), self.nz)), np.zeros(len(chart.y_names))
        C[chart.kept], C[chart.dropped] = E, chart.D @ E
        offset[chart.dropped] = chart.offset
        return C, offset

    @cached_property
    def recursion(self) -> tuple[Array, Array]:
        """S (nr, p) and E (nr, m): r+ = (S + E theta) [v, r, 1] is the recursion of the read part, standardised.

        Only what is read matters to itself, so the spectrum and every roll-out of the rest follow from this part.
        """
        A, B, _, c = self.matrices(np.zeros((len(self.learnt), len(self.u_mean) + len(self.read) + 1)), False)
        A, B, c, scale = A[np.ix_(self.read, self.read)], B[self.read], c[self.read], self.z_scale[:, None]
        rest = (A @ self.z_mean + B @ self.u_mean + c - self.z_mean)[:, None]
        S = np.concatenate([B * self.u_scale, A * self.z_scale, rest], axis=1) / scale
        E = (self.read[:, None] == self.learnt[None]) * self.row_gain / scale
        return S, E

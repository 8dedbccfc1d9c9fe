"""A cell with its scales and its readout: the increment of the coordinates, and the next hidden state."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from koopctl.arrays import Array
from koopctl.models.recurrent.cell import Cell, Key, placed, uniform


class Scales(eqx.Module):
    """How samples are standardised; nothing of it is trained.

    Attributes:
        mean: Of the regressors [w, u], (n_in,).
        per_scale: One over their deviation, 0 for what the network must not see, (n_in,).
        gain: Deviation of the increments, (nq,).
        spread: Deviation of the coordinates, (nq,), the unit of the training error.
        linear: Positions of coordinates in q and w that appear as themselves, (2, nl).
        circle: Positions of angles in q and of their cos and sin in w, (3, na).
    """

    mean: Array
    per_scale: Array
    gain: Array
    spread: Array
    linear: np.ndarray = eqx.field(converter=np.asarray)
    circle: np.ndarray = eqx.field(converter=np.asarray)

    def embed(self, q: jax.Array) -> jax.Array:
        """Return w (ne,) of coordinates q (nq,)."""
        w = jnp.zeros(self.linear.shape[1] + 2 * self.circle.shape[1], q.dtype)
        w = w.at[self.linear[1]].set(q[self.linear[0]])
        if not self.circle.shape[1]:
            return w
        angle = q[self.circle[0]]
        return w.at[self.circle[1]].set(jnp.cos(angle)).at[self.circle[2]].set(jnp.sin(angle))

    def standard(self, q: jax.Array, u: jax.Array) -> jax.Array:
        """Return the standardised regressors (n_in,) of coordinates (nq,) and inputs (nu,)."""
        mean, per_scale = (jax.lax.stop_gradient(jnp.asarray(v, q.dtype)) for v in (self.mean, self.per_scale))
        return (jnp.concatenate([self.embed(q), u]) - mean) * per_scale

    def difference(self, q: jax.Array, other: jax.Array) -> jax.Array:
        """Return q - other (..., nq) with angles wrapped."""
        delta = q - other
        if not self.circle.shape[1]:
            return delta
        angles = self.circle[0]
        return delta.at[..., angles].set((delta[..., angles] + jnp.pi) % (2 * jnp.pi) - jnp.pi)

    def reading(self, n_out: int) -> tuple[Array, Array]:
        """Return C (nq, n_out) and L (nq, n_in) that read the next coordinates off z (n_out,), which begins with w.

        What appears as itself is z's prediction of it. Of an angle, the place of its cosine holds the increment in
        deviations, and so does the place of a coordinate that the network must not see.
        """
        C, L = np.zeros((len(self.gain), n_out)), np.zeros((len(self.gain), len(self.mean)))
        (q, w), per_scale = self.linear, self.per_scale[self.linear[1]]
        seen = per_scale > 0.0
        C[q, w] = np.where(seen, 1.0 / (np.where(seen, per_scale, 1.0) * self.gain[q]), 1.0)
        L[q, w] = np.where(seen, -C[q, w], 0.0)
        C[self.circle[0], self.circle[1]] = 1.0
        return C, L


class Network(eqx.Module):
    """dq = gain (C readout(h_next) + L s + c): the increment is learnt and not the coordinate, as in all models here.

    C, L and c are trained, unless the cell `holds_coordinates`: then they are what makes its readout the prediction.
    """

    cell: Cell
    C: jax.Array
    L: jax.Array
    c: jax.Array
    scales: Scales

    @classmethod
    def around(cls, cell: Cell, scales: Scales, rng: Generator) -> Network:
        """Give a cell a readout that starts small, or the one that reads coordinates off a cell that holds them."""
        n_out = jax.eval_shape(lambda: cell.readout(cell.start())).shape[0]
        nq, n_in = len(scales.gain), len(scales.mean)
        if cell.holds_coordinates:
            C, L = map(placed, scales.reading(n_out))
        else:
            C, L = uniform(rng, (nq, n_out), n_out), placed(np.zeros((nq, n_in)))
        return cls(cell, C, L, placed(np.zeros(nq)), scales)

    @property
    def n_inputs(self) -> int:
        """Inputs of the plant."""
        return int(len(self.scales.mean) - self.scales.linear.shape[1] - 2 * self.scales.circle.shape[1])

    def __call__(self, q: jax.Array, h: jax.Array, u: jax.Array, key: Key | None = None) -> tuple[jax.Array, jax.Array]:
        """Return the next coordinates (nq,) and hidden state of one sample."""
        s = self.scales.standard(q, u)
        h = self.cell(h, s, key)
        gain = jax.lax.stop_gradient(jnp.asarray(self.scales.gain, q.dtype))
        return q + gain * (self.C @ self.cell.readout(h) + self.L @ s + self.c), h

    def recall(self, Q: jax.Array, U: jax.Array) -> jax.Array:
        """Return the hidden state after samples Q (T, nq), U (T, nu)."""

        def seen(h: jax.Array, sample: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            return self.cell(h, self.scales.standard(*sample), None), None

        return jax.lax.scan(seen, self.cell.start().astype(Q.dtype), (Q, U))[0]

"""Gated recurrent unit with decay: a recording may hold gaps, and how long they last is told to the network."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.models.recurrent.cell import Cell, Key, drawn, uniform
from koopctl.models.recurrent.gap_model import GapModel
from koopctl.models.recurrent.gaps import GapCell


class GRUDCell(GapCell):
    r"""The GRU-D of Che, Purushotham, Cho, Sontag and Liu (Scientific Reports 8:6085, 2018).

    x are the entries of a sample that can be missing, the embedding w, standardised, so that their mean is 0; u are the
    inputs, always known; m is 1 where x was measured and 0 where not; delta [samples] is the time since x was last
    measured, before this sample; l is the value it had then.

    .. math:: \gamma_x = e^{-\max(0, w_x \odot \delta + b_x)}, \quad \gamma_a = e^{-\max(0, W_a \delta + b_a)}, \quad
        \hat x = m \odot x + (1 - m) \odot \gamma_x \odot l, \quad \hat a = \gamma_a \odot a

    .. math:: z, r = \sigma(W_{z,r} [\hat x, u] + V_{z,r} \hat a + M_{z,r} m + b_{z,r}), \quad
        n = \tanh(W_n [\hat x, u] + V_n (r \odot \hat a) + M_n m + b_n), \quad a^+ = (1 - z) \odot \hat a + z \odot n

    W (3, n_units, n_in), V (3, n_units, n_units), M (3, n_units, ne), w_x and b_x (ne,), W_a (n_units, ne). The state
    is h = [a, l, since, m], (n_units + 3 ne,): `since` is 0 where the last sample was measured and delta where not; m
    belongs to the coming sample and is 1 unless the cell is told otherwise, so that predictions count as measured. a is
    read out.

    Ours: what is predicted is the increment from the last measurement, or in a gap from the prediction, and L s reads
    the same; the mask of u is left out, as it never changes. b_z starts at -log(T - 1) with T uniform in 2 to `longest`
    samples (chrono initialisation, Tallec and Ollivier, ICLR 2018); the decays start within 1 / `longest` a sample.
    """

    n_hidden: int = eqx.field(static=True)
    n_units: int = eqx.field(static=True)
    n_seen: int = eqx.field(static=True)
    W: jax.Array
    V: jax.Array
    M: jax.Array
    b: jax.Array
    w_x: jax.Array
    b_x: jax.Array
    W_a: jax.Array
    b_a: jax.Array

    def __init__(self, n_in: int, n_seen: int, n_units: int, longest: float, rng: Generator) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_seen: How many of them, the first, can be missing.
            n_units: Units.
            longest: Longest time constant that gates and decays start with [samples].
            rng: Where they are drawn from.
        """
        keys = rng.spawn(7)
        self.n_units, self.n_seen, self.n_hidden = n_units, n_seen, n_units + 3 * n_seen
        self.W = uniform(keys[0], (3, n_units, n_in), n_units)
        self.V = uniform(keys[1], (3, n_units, n_units), n_units)
        self.M = uniform(keys[2], (3, n_units, n_seen), n_units)
        lasting = drawn(keys[3], (n_units,), 1.0, max(longest - 1.0, 1.0))
        self.b = uniform(keys[4], (3, n_units), n_units).at[0].set(-jnp.log(lasting))
        self.w_x = drawn(keys[5], (n_seen,), 0.0, 1.0 / longest)
        self.W_a = drawn(keys[6], (n_units, n_seen), 0.0, 1.0 / (longest * n_seen))
        self.b_x, self.b_a = jnp.zeros(n_seen), jnp.zeros(n_units)

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next state, (n_units + 3 ne,), told that the coming sample is measured."""
        a, last, since, m = self._parts(h)
        x, delta = s[: self.n_seen], since + 1.0
        decayed = jnp.exp(-jax.nn.relu(self.w_x * delta + self.b_x)) * last
        a = jnp.exp(-jax.nn.relu(self.W_a @ delta + self.b_a)) * a
        sample = jnp.concatenate([m * x + (1.0 - m) * decayed, s[self.n_seen :]])
        v = self.W @ sample + self.M @ m + self.b
        z, r = jax.nn.sigmoid(v[:2] + self.V[:2] @ a)
        new = jnp.tanh(v[2] + self.V[2] @ (r * a))
        return jnp.concatenate([(1.0 - z) * a + z * new, m * x + (1.0 - m) * last, (1.0 - m) * delta, jnp.ones_like(m)])

    def start(self) -> jax.Array:
        """Return the state before anything was seen: delta is 0 at the first sample, as in the paper."""
        ones = jnp.ones(self.n_seen)
        return jnp.concatenate([jnp.zeros(self.n_units + self.n_seen), -ones, ones])

    def readout(self, h: jax.Array) -> jax.Array:
        """Return a, (n_units,)."""
        return h[: self.n_units]

    def told(self, h: jax.Array, measured: jax.Array) -> jax.Array:
        """Return the state with the mask of the coming sample."""
        return h.at[-self.n_seen :].set(measured)

    def _parts(self, h: jax.Array) -> list[jax.Array]:
        n, ne = self.n_units, self.n_seen
        return jnp.split(h, [n, n + ne, n + 2 * ne])


class GRUD(GapModel):
    """A gated recurrent unit with decay as a model; see `GRUDCell` for its equations.

    It is fitted to `GappedRollouts`, or to `Rollouts`, and `encode` takes windows with NaN. The state holds n_hidden
    units and three numbers for each regressor of the coordinates.
    """

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        return GRUDCell(n_in, self.window_.chart.ne, self.n_hidden, self.longest, rng)

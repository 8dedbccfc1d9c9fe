"""Gated recurrent unit, with gates that start at the plant's time constants."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.models.recurrent.cell import Cell, Key, drawn, uniform
from koopctl.models.recurrent.recurrent_model import RecurrentModel


class GRUCell(Cell):
    r"""The gated recurrent unit of Cho et al. (EMNLP 2014), in the form with the reset gate inside the product.

    .. math:: z = \sigma(W_z s + V_z h + b_z), \quad r = \sigma(W_r s + V_r h + b_r), \quad
        n = \tanh(W_n s + b_n + r \odot (V_n h + c_n)), \quad h^+ = (1 - z) \odot n + z \odot h

    W (3, n_hidden, n_in) and V (3, n_hidden, n_hidden) in the order z, r, n; all weights uniform within
    +-1/sqrt(n_hidden), c at zero. The bias b_z starts at log(T - 1) with T uniform in 2 to `longest` samples, so that
    unit i forgets over T_i samples (chrono initialisation, Tallec and Ollivier, ICLR 2018).
    """

    n_hidden: int = eqx.field(static=True)
    W: jax.Array
    V: jax.Array
    b: jax.Array
    c: jax.Array

    def __init__(self, n_in: int, n_hidden: int, longest: float, rng: Generator) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_hidden: Hidden units.
            longest: Longest time constant [samples].
            rng: Where they are drawn from.
        """
        keys = rng.spawn(4)
        self.n_hidden = n_hidden
        self.W = uniform(keys[0], (3, n_hidden, n_in), n_hidden)
        self.V = uniform(keys[1], (3, n_hidden, n_hidden), n_hidden)
        b = uniform(keys[2], (3, n_hidden), n_hidden)
        lasting = drawn(keys[3], (n_hidden,), 1.0, max(longest - 1.0, 1.0))
        self.b, self.c = b.at[0].set(jnp.log(lasting)), jnp.zeros(n_hidden)

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next hidden state, (n_hidden,)."""
        from_s, from_h = self.W @ s + self.b, self.V @ h
        z, r = jax.nn.sigmoid(from_s[0] + from_h[0]), jax.nn.sigmoid(from_s[1] + from_h[1])
        new = jnp.tanh(from_s[2] + r * (from_h[2] + self.c))
        return (1.0 - z) * new + z * h


class GRU(RecurrentModel):
    """A gated recurrent unit as a model; see `GRUCell` for its equations."""

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        return GRUCell(n_in, self.n_hidden, self.longest, rng)

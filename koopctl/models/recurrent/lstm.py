"""Long short-term memory, with gates that start at the plant's time constants."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.models.recurrent.cell import Cell, Key, drawn, uniform
from koopctl.models.recurrent.recurrent_model import RecurrentModel


class LSTMCell(Cell):
    r"""The long short-term memory of Hochreiter and Schmidhuber (Neural Computation 1997) with forget gate.

    .. math:: i, f, o = \sigma(W_{i,f,o} s + V_{i,f,o} a + b_{i,f,o}), \quad g = \tanh(W_g s + V_g a + b_g), \quad
        c^+ = f \odot c + i \odot g, \quad a^+ = o \odot \tanh(c^+)

    The state is h = [a, c], (2 n_units,); a is read out. W (4, n_units, n_in) and V (4, n_units, n_units) in the order
    i, f, o, g, uniform within +-1/sqrt(n_units). b_f starts at log(T - 1) with T uniform in 2 to `longest` samples, b_i
    at -b_f (chrono initialisation, Tallec and Ollivier, ICLR 2018).
    """

    n_hidden: int = eqx.field(static=True)
    n_units: int = eqx.field(static=True)
    W: jax.Array
    V: jax.Array
    b: jax.Array

    def __init__(self, n_in: int, n_units: int, longest: float, rng: Generator) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_units: Units.
            longest: Longest time constant that forget gates start with [samples].
            rng: Where they are drawn from.
        """
        keys = rng.spawn(4)
        self.n_units, self.n_hidden = n_units, 2 * n_units
        self.W, self.V = uniform(keys[0], (4, n_units, n_in), n_units), uniform(keys[1], (4, n_units, n_units), n_units)
        b = uniform(keys[2], (4, n_units), n_units)
        forget = jnp.log(drawn(keys[3], (n_units,), 1.0, max(longest - 1.0, 1.0)))
        self.b = b.at[0].set(-forget).at[1].set(forget)

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next hidden and cell state, (2 n_units,)."""
        a, c = h[: self.n_units], h[self.n_units :]
        v = self.W @ s + self.V @ a + self.b
        i, f, o = jax.nn.sigmoid(v[:3])
        c = f * c + i * jnp.tanh(v[3])
        return jnp.concatenate([o * jnp.tanh(c), c])

    def readout(self, h: jax.Array) -> jax.Array:
        """Return a, (n_units,)."""
        return h[: self.n_units]


class LSTM(RecurrentModel):
    """A long short-term memory as a model; see `LSTMCell` for its equations."""

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        return LSTMCell(n_in, self.n_hidden, self.longest, rng)

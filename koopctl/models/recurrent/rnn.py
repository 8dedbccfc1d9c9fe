"""The plain recurrent network with tanh units."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.models.recurrent.cell import Cell, Key, orthogonal, uniform
from koopctl.models.recurrent.recurrent_model import RecurrentModel


class RNNCell(Cell):
    r"""The network of Elman (Cognitive Science 1990): :math:`h^+ = \tanh(W s + V h + b)`.

    W (n_hidden, n_in) and b (n_hidden,) are uniform within +-1/sqrt(n_hidden); V (n_hidden, n_hidden) starts
    orthogonal, so that neither states nor gradients shrink or grow at first (Saxe, McClelland and Ganguli, ICLR 2014).
    """

    n_hidden: int = eqx.field(static=True)
    W: jax.Array
    V: jax.Array
    b: jax.Array

    def __init__(self, n_in: int, n_hidden: int, rng: Generator) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_hidden: Hidden units.
            rng: Where they are drawn from.
        """
        keys = rng.spawn(3)
        self.n_hidden = n_hidden
        self.W, self.b = uniform(keys[0], (n_hidden, n_in), n_hidden), uniform(keys[1], (n_hidden,), n_hidden)
        self.V = orthogonal(keys[2], n_hidden)

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next hidden state, (n_hidden,)."""
        return jnp.tanh(self.W @ s + self.V @ h + self.b)


class RNN(RecurrentModel):
    """The plain recurrent network as a model; see `RNNCell` for its equation. `longest` does nothing here."""

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        return RNNCell(n_in, self.n_hidden, rng)

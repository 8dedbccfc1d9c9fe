"""The learnt field of a controlled differential equation."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.models.recurrent.cell import uniform


class VectorField(eqx.Module):
    r""":math:`f(z) = \tanh(W_2\,\mathrm{softplus}(W_1 z + b_1) + b_2)` as a matrix (n_state, n_channels).

    One hidden layer and a final tanh, which bounds how fast z can follow the path, as in the papers; theirs is of ReLU
    units, the softplus is ours, so that the Jacobian is continuous.
    """

    shape: tuple[int, int] = eqx.field(static=True)
    W1: jax.Array
    b1: jax.Array
    W2: jax.Array
    b2: jax.Array

    def __init__(self, n_state: int, n_channels: int, width: int, rng: Generator) -> None:
        """Draw the weights uniformly, within one over the root of the fan-in.

        Args:
            n_state: Length of z.
            n_channels: Channels of the path.
            width: Hidden units.
            rng: Where they are drawn from.
        """
        keys = rng.spawn(4)
        self.shape = n_state, n_channels
        self.W1, self.b1 = uniform(keys[0], (width, n_state), n_state), uniform(keys[1], (width,), n_state)
        n_out = n_state * n_channels
        self.W2, self.b2 = uniform(keys[2], (n_out, width), width), uniform(keys[3], (n_out,), width)

    def __call__(self, z: jax.Array) -> jax.Array:
        """Return f(z), (n_state, n_channels), of z (n_state,)."""
        hidden = jax.nn.softplus(self.W1 @ z + self.b1)
        return jnp.tanh(self.W2 @ hidden + self.b2).reshape(self.shape)

"""Shallow piecewise-linear recurrent network: made to be trained on chaotic motion by teacher forcing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.arrays import as_whole
from koopctl.models.recurrent.cell import Cell, Key, uniform
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.training import Training


class ShPLRNNCell(Cell):
    r"""The clipped shallow PLRNN of Hess, Monfared, Brenner and Durstewitz (ICML 2023), with inputs.

    .. math:: z_{t+1} = A z_t + W_1 \big(\max(0, W_2 z_t + h_2) - \max(0, W_2 z_t)\big) + h_1 + B u_t

    A is diagonal, (M,); W_1 (M, n_units), W_2 (n_units, M), h_1 (M,), h_2 (n_units,), B (M, nu). A unit is at most
    |h_2|, so that every orbit with bounded u stays bounded where all |A_i| < 1.

    How it is a cell: z = [w, latents] begins with the standardised regressors w of the coordinates, and h = z. The
    first places of z_t are taken from the sample s_t = [w_t, u_t], which is the last prediction in a free run, the
    measurement where it is shown, and their mixture under generalised teacher forcing; the latents are not forced.
    That is the paper's identity observation with forcing of the observed part. Nothing is trained between z and the
    coordinates (`Scales.reading`): z_{t+1} holds the next coordinates themselves, and of an angle, which it sees as
    cos and sin, the increment in the place of the cosine; the place of its sine is not used.

    A starts at 1 - 1/`longest`, for increments at 0, W_1 and B within +-1/`longest` of what is usual, 1/sqrt(their
    inputs), and h_1 at zero, so that things nearly stay as they are at first; W_2 starts uniform within +-1/sqrt(M),
    h_2 within +-1. The start is ours.
    """

    holds_coordinates: ClassVar[bool] = True

    n_hidden: int = eqx.field(static=True)
    A: jax.Array
    W1: jax.Array
    W2: jax.Array
    B: jax.Array
    h1: jax.Array
    h2: jax.Array

    def __init__(
        self,
        n_seen: int,
        n_inputs: int,
        n_latents: int,
        n_units: int,
        longest: float,
        rng: Generator,
        still: Sequence[int] = (),
    ) -> None:
        """Draw the weights.

        Args:
            n_seen: Regressors w of a sample.
            n_inputs: Inputs u of a sample.
            n_latents: Elements of z besides w.
            n_units: Rectified units.
            longest: Time constant that all elements of z start with [samples].
            rng: Where they are drawn from.
            still: Places of z that hold increments.
        """
        keys = rng.spawn(4)
        self.n_hidden = size = n_seen + n_latents
        self.A = jnp.full(size, 1.0 - 1.0 / max(longest, 1.0)).at[jnp.array(still, dtype=int)].set(0.0)
        share = 1.0 / max(longest, 1.0)
        self.W1 = share * uniform(keys[0], (size, n_units), n_units)
        self.W2 = uniform(keys[1], (n_units, size), size)
        self.B = share * uniform(keys[2], (size, n_inputs), n_inputs)
        self.h1, self.h2 = jnp.zeros(size), uniform(keys[3], (n_units,), 1)

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next z, (n_hidden,)."""
        n_seen = s.shape[0] - self.B.shape[1]
        z, u = jnp.concatenate([s[:n_seen], h[n_seen:]]), s[n_seen:]
        v = self.W2 @ z
        units = jax.nn.relu(v + self.h2) - jax.nn.relu(v)
        return self.A * z + self.W1 @ units + self.h1 + self.B @ u


class ShPLRNN(RecurrentModel):
    """A clipped shallow PLRNN as a model; see `ShPLRNNCell` for its equation.

    Its authors train it with `Training(forcing="generalised", forcing_share=...)`, a share that grows with how chaotic
    the motion is.
    """

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        n_latents: int = 0,
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Rectified units.
            longest: Time constant that the state starts with [samples].
            training: As in every recurrent model.
            manifold: As in every recurrent model.
            cyclic: As in every recurrent model.
            n_latents: Elements of the state besides the coordinates.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.n_latents = n_latents

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        n_inputs, n_latents = len(self.u_names_), as_whole("n_latents", self.n_latents, 0)
        cosines = self.window_.chart.circle[1]
        return ShPLRNNCell(n_in - n_inputs, n_inputs, n_latents, self.n_hidden, self.longest, rng, cosines)

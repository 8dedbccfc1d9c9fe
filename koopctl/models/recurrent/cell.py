"""What every recurrent cell is to the trainer and to the model around it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, DTypeLike

Key = jax.Array


class Cell(eqx.Module):
    """h_{k+1} = cell(h_k, s_k): s are the standardised regressors [w, u] of a sample, h everything that is remembered.

    What is read out may be less than h, as with the LSTM, whose h holds hidden and cell state.

    Attributes:
        n_hidden: Length of h.
        holds_coordinates: Whether the readout begins with the next regressors w themselves, so that nothing is left to
            train between it and the coordinates (`Scales.reading`).
    """

    holds_coordinates: ClassVar[bool] = False

    n_hidden: eqx.AbstractVar[int]

    @abstractmethod
    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next hidden state, (n_hidden,).

        Args:
            h: Hidden state, (n_hidden,).
            s: Regressors of one sample, (n_in,).
            key: Randomness of cells that train with noise; None where they predict.
        """

    def start(self) -> jax.Array:
        """Return the hidden state before anything was seen, (n_hidden,)."""
        return jnp.zeros(self.n_hidden)

    def readout(self, h: jax.Array) -> jax.Array:
        """Return what predictions are made of, (n_out,)."""
        return h

    def penalty(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return what training adds to the loss for one step, besides its error.

        Args:
            h: Hidden state before the step, (n_hidden,).
            s: Regressors of the sample, (n_in,).
            key: The one that the step is called with.
        """
        return jnp.zeros(())


def uniform(rng: Generator, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    """Return weights drawn from within +-1 / sqrt(fan_in)."""
    bound = 1.0 / max(fan_in, 1) ** 0.5
    return drawn(rng, shape, -bound, bound)


def drawn(rng: Generator, shape: tuple[int, ...], low: float, high: float) -> jax.Array:
    """Return numbers drawn evenly from between two; by numpy, as JAX compiles its generator for every shape."""
    return placed(rng.uniform(low, high, shape))


def orthogonal(rng: Generator, n: int, shape: tuple[int, ...] = ()) -> jax.Array:
    """Return orthogonal matrices (*shape, n, n), drawn evenly (Mezzadri, Notices of the AMS 2007)."""
    Q, R = np.linalg.qr(rng.normal(size=(*shape, n, n)))
    return placed(Q * np.sign(np.diagonal(R, axis1=-2, axis2=-1))[..., None, :])


def placed(numbers: ArrayLike, dtype: DTypeLike | None = None) -> jax.Array:
    """Return numpy's numbers as JAX's, in single precision where double is off; `jnp.asarray` compiles every shape."""
    found: jax.Array = jax.device_put(np.asarray(numbers, dtype))
    return found

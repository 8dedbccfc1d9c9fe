"""Recurrent network whose state is a mixture of a few learnt ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
from numpy.random import Generator

from koopctl.arrays import as_whole, is_finite
from koopctl.errors import DataError
from koopctl.models.recurrent.cell import Cell, Key, drawn
from koopctl.models.recurrent.gru import GRUCell
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.rnn import RNNCell
from koopctl.models.recurrent.training import Training

_SPREAD = 0.5  # centroids start within +- this
_BASES = ("gru", "tanh")


class StateRegularisedCell(Cell):
    r"""The state-regularised network of Wang and Niepert (State-regularized recurrent neural networks, ICML 2019).

    Between two applications of a base cell f the state is replaced by a mixture of k centroids c_i with temperature T:

    .. math:: v = f(h, s), \quad p_i = \frac{\exp(v \cdot c_i / T)}{\sum_j \exp(v \cdot c_j / T)}, \quad
        h^+ = \sum_i p_i c_i

    This is the paper's differentiable form; its other one draws a single centroid with the probabilities p, which this
    one comes to as T falls to 0. The centroids (k, n_hidden) are trained with the rest and start uniform within +-0.5;
    T is fixed. f is the GRU of `GRUCell` or the tanh network of `RNNCell`. The state starts at zero, as does f's.
    """

    n_hidden: int = eqx.field(static=True)
    temperature: float = eqx.field(static=True)
    base: Cell
    centroids: jax.Array

    def __init__(self, base: Cell, n_centroids: int, temperature: float, rng: Generator) -> None:
        """Draw the centroids.

        Args:
            base: The cell between two mixtures.
            n_centroids: k, how many states are mixed.
            temperature: T; the lower, the closer each state is to one centroid.
            rng: Where they are drawn from.
        """
        self.n_hidden, self.temperature, self.base = base.n_hidden, temperature, base
        self.centroids = drawn(rng, (n_centroids, base.n_hidden), -_SPREAD, _SPREAD)

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next hidden state, (n_hidden,)."""
        return self.shares(h, s, key) @ self.centroids

    def shares(self, h: jax.Array, s: jax.Array, key: Key | None = None) -> jax.Array:
        """Return how much of each centroid the next state holds, (k,)."""
        return jax.nn.softmax(self.centroids @ self.base(h, s, key) / self.temperature)


class StateRegularisedRNN(RecurrentModel):
    """A state-regularised recurrent network as a model; see `StateRegularisedCell` for its equations."""

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        n_centroids: int = 16,
        temperature: float = 0.2,
        base: Literal["gru", "tanh"] = "gru",
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Hidden units.
            longest: Longest time constant that gates start with [samples], where the base cell has gates.
            training: How it is trained; `Training()` by default.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            n_centroids: How many states are mixed.
            temperature: The lower, the closer each state is to one centroid.
            base: The cell between two mixtures.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.n_centroids = n_centroids
        self.temperature = temperature
        self.base = base

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        n_centroids = as_whole("n_centroids", self.n_centroids, 2)
        if not (is_finite(self.temperature) and self.temperature > 0):
            raise DataError(f"temperature is {self.temperature!r}; it must be positive.")
        if self.base not in _BASES:
            raise DataError(f"base is {self.base!r}; it is one of {', '.join(map(repr, _BASES))}.")
        base_rng, rng = rng.spawn(2)
        base: Cell = (
            GRUCell(n_in, self.n_hidden, self.longest, base_rng)
            if self.base == "gru"
            else RNNCell(n_in, self.n_hidden, base_rng)
        )
        return StateRegularisedCell(base, n_centroids, float(self.temperature), rng)

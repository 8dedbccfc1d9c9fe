"""A recurrent network over p lags: the nonlinear counterpart of an autoregression with inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.arrays import as_whole
from koopctl.errors import DataError
from koopctl.models.recurrent.cell import Cell, Key, orthogonal, uniform
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.training import Training


class RNNpCell(Cell):
    r"""RNN(p), the network with p feedbacks of Baviera and Manzoni ("RNN(p) for power consumption forecasting", 2022).

    .. math:: a_{k+1} = \tanh\Big(\sum_{i=0}^{p-1} (V_i a_{k-i} + W_i s_{k-i}) + b\Big)

    Theirs is Jordan's network: the outputs of the last p steps are fed back, so that with linear units it is an ARX(p).
    Here outputs come back as coordinates in the regressors s of later samples, measured or predicted, through W_i: with
    `feedback="output"` all V_i are zero and the network is an autoregression. With "hidden" the hidden units of the
    last p steps are fed back besides; with p = 1 that is the plain network `RNNCell`.

    The state holds what the lags need, newest first: h = [a_k, ..., a_{k-p+1}, s_{k-1}, ..., s_{k-p+1}], with the
    older a left out for "output"; it starts at zero, the mean of the data. a is read out. W (p, n_units, n_in) and
    b (n_units,) are uniform within +-1/sqrt(n_units), V (p, n_units, n_units) orthogonal over p.
    """

    n_hidden: int = eqx.field(static=True)
    n_units: int = eqx.field(static=True)
    W: jax.Array
    V: jax.Array | None
    b: jax.Array

    def __init__(self, n_in: int, n_units: int, p: int, hidden: bool, rng: Generator) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_units: Hidden units.
            p: Lags.
            hidden: Feed the hidden units back, besides the outputs.
            rng: Where they are drawn from.
        """
        keys = rng.spawn(3)
        self.n_units, self.n_hidden = n_units, (p if hidden else 1) * n_units + (p - 1) * n_in
        self.W, self.b = uniform(keys[0], (p, n_units, n_in), n_units), uniform(keys[1], (n_units,), n_units)
        self.V = orthogonal(keys[2], n_units, (p,)) / p if hidden else None

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next units and lags, (n_hidden,)."""
        p, _, n_in = self.W.shape
        lagged = 1 if self.V is None else p
        units, samples = h[: lagged * self.n_units].reshape(lagged, self.n_units), h[lagged * self.n_units :]
        seen = jnp.concatenate([s, samples]).reshape(p, n_in)
        v = jnp.einsum("ijk,ik->j", self.W, seen) + self.b
        if self.V is not None:
            v = v + jnp.einsum("ijk,ik->j", self.V, units)
        kept = units[:-1].ravel(), seen[:-1].ravel()
        return jnp.concatenate([jnp.tanh(v), *kept])

    def readout(self, h: jax.Array) -> jax.Array:
        """Return a, (n_units,)."""
        return h[: self.n_units]


class RNNp(RecurrentModel):
    """A recurrent network over p lags as a model; see `RNNpCell` for its equation. `longest` does nothing here."""

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        p: int = 3,
        feedback: Literal["hidden", "output"] = "hidden",
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Hidden units.
            longest: As in every recurrent model.
            training: As in every recurrent model.
            manifold: As in every recurrent model.
            cyclic: As in every recurrent model.
            p: Lags, at most the washout.
            feedback: What is fed back of the last p steps: "output", or "hidden" for the hidden units besides.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.p = p
        self.feedback = feedback

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        p = as_whole("p", self.p, 1)
        if p > self.delays:
            raise DataError(f"p is {p} but a state is made of {self.delays} samples; lower p, or raise the washout.")
        if self.feedback not in ("hidden", "output"):
            raise DataError(f"feedback is {self.feedback!r}; it is 'hidden' or 'output'.")
        return RNNpCell(n_in, self.n_hidden, p, self.feedback == "hidden", rng)

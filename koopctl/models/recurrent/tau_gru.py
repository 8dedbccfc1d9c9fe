"""Gated recurrent unit with weighted feedback of an older state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.arrays import as_whole, is_finite
from koopctl.errors import DataError
from koopctl.models.recurrent.cell import Cell, Key, drawn, uniform
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.training import Training


class TauGRUCell(Cell):
    r"""The tau-GRU of Erichson, Lim and Mahoney (Gated recurrent neural networks with weighted time-delay feedback).

    arXiv 2212.00228. With a the state now and d the state `lag` samples ago,

    .. math:: u = \tanh(V_1 a + W_1 s + b_1), \quad z = \tanh(V_2 d + W_2 s + b_2), \quad
        g = \sigma(V_3 a + W_3 s + b_3), \quad e = \sigma(V_4 a + W_4 s + b_4), \quad
        a^+ = (1 - g) \odot a + g \odot (\beta u + \alpha e \odot z)

    The state is h = [a_n, a_(n-1), ..., a_(n-lag)], ((lag + 1) n_units,), zeros before the first sample; a_n is read
    out. W (4, n_units, n_in), V (4, n_units, n_units) and b (4, n_units) are uniform within +-1/sqrt(n_units). Ours:
    b_3 starts at -log(T - 1) with T uniform in 2 to `longest` samples, so that unit i forgets over T_i samples (chrono
    initialisation, Tallec and Ollivier, ICLR 2018).
    """

    n_hidden: int = eqx.field(static=True)
    n_units: int = eqx.field(static=True)
    alpha: float = eqx.field(static=True)
    beta: float = eqx.field(static=True)
    W: jax.Array
    V: jax.Array
    b: jax.Array

    def __init__(
        self, n_in: int, n_units: int, lag: int, alpha: float, beta: float, longest: float, rng: Generator
    ) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_units: Units.
            lag: Delay of the fed back state [samples].
            alpha: Weight of what is fed back.
            beta: Weight of what is not.
            longest: Longest time constant that gates start with [samples].
            rng: Where they are drawn from.
        """
        keys = rng.spawn(4)
        self.n_units, self.n_hidden, self.alpha, self.beta = n_units, n_units * (lag + 1), alpha, beta
        self.W = uniform(keys[0], (4, n_units, n_in), n_units)
        self.V = uniform(keys[1], (4, n_units, n_units), n_units)
        lasting = drawn(keys[3], (n_units,), 1.0, max(longest - 1.0, 1.0))
        self.b = uniform(keys[2], (4, n_units), n_units).at[2].set(-jnp.log(lasting))

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next state and those before it, ((lag + 1) n_units,)."""
        a, d = h[: self.n_units], h[-self.n_units :]
        v = self.W @ s + jnp.einsum("gij,gj->gi", self.V, jnp.stack([a, d, a, a])) + self.b
        (u, z), (g, e) = jnp.tanh(v[:2]), jax.nn.sigmoid(v[2:])
        new = (1.0 - g) * a + g * (self.beta * u + self.alpha * e * z)
        return jnp.concatenate([new, h[: -self.n_units]])

    def readout(self, h: jax.Array) -> jax.Array:
        """Return the newest state, (n_units,)."""
        return h[: self.n_units]


class TauGRU(RecurrentModel):
    """A gated recurrent unit with delayed feedback as a model; see `TauGRUCell` for its equations.

    The state holds (lag + 1) n_hidden numbers, and a law expands all of them.
    """

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        lag: int = 5,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Units.
            longest: Longest time constant that gates start with [samples].
            training: How it is trained; `Training()` by default.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            lag: Delay of the fed back state [samples]; 0 feeds back the newest one.
            alpha: Weight of what is fed back; 0 takes the delay out.
            beta: Weight of what is not.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.lag = lag
        self.alpha = alpha
        self.beta = beta

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        settings, lag = self._settings(), as_whole("lag", self.lag, 0)
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            if not is_finite(value):
                raise DataError(f"{name} is {value!r}; it must be a finite number.")
        seen = settings.washout + settings.horizon
        if lag > seen - 2:  # the first state that is not zero comes after one sample, and must be `lag` samples old
            raise DataError(
                f"lag is {lag}, but training sees washout + horizon = {seen} samples at a time, in which no state gets "
                f"that old; lower lag to {max(seen - 2, 0)} or less, or raise washout or horizon."
            )
        return TauGRUCell(n_in, self.n_hidden, lag, float(self.alpha), float(self.beta), self.longest, rng)

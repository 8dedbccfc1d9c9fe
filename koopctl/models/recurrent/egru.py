"""Event-based gated recurrent unit: units speak only where their state passes a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from koopctl.arrays import is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.intake import joined
from koopctl.models.recurrent.cell import Cell, Key, drawn, uniform
from koopctl.models.recurrent.network import Network
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.training import Training


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def event(v: jax.Array, height: float, width: float) -> jax.Array:
    """Return 1 where v > 0 and 0 elsewhere; its derivative is said to be height max(0, 1 - |v| / width)."""
    return (v > 0).astype(v.dtype)


@event.defjvp
def _event_jvp(
    height: float, width: float, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (v,), (dv,) = primals, tangents
    return event(v, height, width), height * jnp.maximum(0.0, 1.0 - jnp.abs(v) / width) * dv


class EGRUCell(Cell):
    r"""The event-based gated recurrent unit of Subramoney, Nazeer, Schoene, Mayr and Kappel (ICLR 2023).

    .. math:: y = c \odot \Theta(c - \vartheta), \quad u = \sigma(W_u s + V_u y + b_u), \quad
        r = \sigma(W_r s + V_r y + b_r), \quad z = \tanh(W_z s + V_z (r \odot y) + b_z), \quad
        c^+ = u \odot z + (1 - u) \odot (c - \vartheta \odot \Theta(c - \vartheta))

    c is the state (n_hidden,), y is what other units and the readout see of it: 0 but at events. At an event the
    threshold is taken off the state, as in the authors' code; the preprint's equation takes off y, outside the gate.
    The step function's derivative is taken to be height max(0, 1 - \|c - theta\| / width) (the surrogate).

    W (3, n_hidden, n_in) and V (3, n_hidden, n_hidden) start uniform within +-1/sqrt(n_hidden). The thresholds are
    sigmoid(t), t (n_hidden,), and trained. b_u starts at -log(T - 1) with T uniform in 1 to `longest` samples, as in
    the `GRUCell` here (chrono initialisation). The penalty is the share of units with an event.
    """

    n_hidden: int = eqx.field(static=True)
    height: float = eqx.field(static=True)
    width: float = eqx.field(static=True)
    W: jax.Array
    V: jax.Array
    b: jax.Array
    t: jax.Array

    def __init__(
        self, n_in: int, n_hidden: int, longest: float, threshold: float, height: float, width: float, rng: Generator
    ) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_hidden: Hidden units.
            longest: Longest time constant [samples].
            threshold: That all units start with, between 0 and 1.
            height: Of the surrogate derivative at the threshold.
            width: Distance from the threshold at which it is 0.
            rng: Where they are drawn from.
        """
        keys = rng.spawn(4)
        self.n_hidden, self.height, self.width = n_hidden, height, width
        self.W = uniform(keys[0], (3, n_hidden, n_in), n_hidden)
        self.V = uniform(keys[1], (3, n_hidden, n_hidden), n_hidden)
        b = uniform(keys[2], (3, n_hidden), n_hidden)
        lasting = drawn(keys[3], (n_hidden,), 1.0, max(longest - 1.0, 1.0))
        self.b = b.at[0].set(-jnp.log(lasting))
        self.t = jnp.full(n_hidden, np.log(threshold / (1.0 - threshold)))

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next state before its reset, (n_hidden,)."""
        events = self.events(h)
        y, from_s = h * events, self.W @ s + self.b
        gates = jax.nn.sigmoid(from_s[:2] + self.V[:2] @ y)
        u, z = gates[0], jnp.tanh(from_s[2] + self.V[2] @ (gates[1] * y))
        return u * z + (1.0 - u) * (h - jax.nn.sigmoid(self.t) * events)

    def readout(self, h: jax.Array) -> jax.Array:
        """Return y, (n_hidden,)."""
        return h * self.events(h)

    def penalty(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the share of units with an event."""
        return jnp.mean(self.events(h))

    def events(self, h: jax.Array) -> jax.Array:
        """Return 1 for the units with an event and 0 for the others, (n_hidden,)."""
        return event(h - jax.nn.sigmoid(self.t), self.height, self.width)


class EGRU(RecurrentModel):
    """An event-based gated recurrent unit as a model; see `EGRUCell` for its equations.

    `step` jumps where an event comes or goes, and between the jumps the step function's true derivative is 0.
    `linearize` is automatic differentiation as everywhere, so its Jacobians hold the surrogate derivative within
    `width` of the thresholds: they are what training descends and what an MPC plans with, and agree with differences of
    `step` only where every unit, before and after the step, is farther than `width` from its threshold.
    """

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        threshold: float = 0.1,
        height: float = 0.7,
        width: float = 1.0,
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Hidden units.
            longest: Longest time constant that gates start with [samples].
            training: How it is trained; `Training()` by default. Its `penalty` weighs the share of units with an event.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            threshold: That all units start with, between 0 and 1; thresholds are trained.
            height: Of the surrogate derivative at the threshold.
            width: Distance from the threshold at which it is 0.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.threshold = threshold
        self.height = height
        self.width = width

    def active_units(self, rollouts: Rollouts | Sequence[Rollouts]) -> list[np.ndarray]:
        """Return how many units have an event after each sample of each episode, (T_i,), shown what was measured.

        Raises:
            DataError: The columns are not the model's.
            NotFittedError: There is no fit.
            SamplingTimeError: The data was sampled at another rate.
        """
        data = joined(rollouts)
        self.check_data(data)
        Q = [self.window_.chart.to_coordinates(Y[:-1]) for Y in data.X]
        with jax.enable_x64(True):
            pairs = [(jnp.asarray(q), jnp.asarray(u)) for q, u in zip(Q, data.U, strict=True)]
            return [np.array(_active(self.network_, q, u)) for q, u in pairs]

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        if not (is_finite(self.threshold) and 0.0 < self.threshold < 1.0):
            raise DataError(f"threshold is {self.threshold!r}; it lies between 0 and 1, within which states stay.")
        for name, value in (("height", self.height), ("width", self.width)):
            if not (is_finite(value) and value > 0):
                raise DataError(f"{name} is {value!r}; it must be positive.")
        numbers = float(self.threshold), float(self.height), float(self.width)
        return EGRUCell(n_in, self.n_hidden, self.longest, *numbers, rng)


@eqx.filter_jit
def _active(network: Network, Q: jax.Array, U: jax.Array) -> jax.Array:
    """Return how many units have an event after each sample, (T,), of an episode Q (T, nq), U (T, nu)."""
    cell = cast(EGRUCell, network.cell)

    def seen(h: jax.Array, sample: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h = cell(h, network.scales.standard(*sample), None)
        return h, jnp.sum(cell.events(h) > 0)

    return jax.lax.scan(seen, cell.start().astype(Q.dtype), (Q, U))[1]

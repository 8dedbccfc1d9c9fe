"""Attentive neural controlled differential equation: the memory is driven along the path of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.arrays import as_whole
from koopctl.errors import DataError
from koopctl.models.recurrent.cell import Cell, Key, uniform
from koopctl.models.recurrent.gap_model import GapModel
from koopctl.models.recurrent.gaps import GapCell
from koopctl.models.recurrent.training import Training
from koopctl.models.recurrent.vector_field import VectorField

Attention = Literal["element", "time", "none"]
Solver = Literal["euler", "heun", "midpoint", "tsit5"]

# Their stages in a loop of known length ("bounded"), which can be differentiated forwards as well as backwards.
_SOLVERS: dict[str, diffrax.AbstractSolver[Any]] = {
    "euler": diffrax.Euler(),
    "heun": diffrax.Heun(scan_kind="bounded"),
    "midpoint": diffrax.Midpoint(scan_kind="bounded"),
    "tsit5": diffrax.Tsit5(scan_kind="bounded"),
}


class NCDECell(GapCell):
    r"""Two controlled differential equations along the path X(t) of the samples, t in samples.

    .. math:: db = f(b)\,d[\kappa t, X], \quad a = \sigma(A b + a_0), \quad Y = a \odot X, \quad
        dz = g(z)\,d[\kappa t, Y] \quad\text{with}\quad dY = a \odot dX + X \odot da, \quad
        da = a \odot (1 - a) \odot A\,db

    From Kidger, Morrill, Foster and Lyons ("Neural controlled differential equations for irregular time series",
    NeurIPS 2020): a memory z with dz = g(z) dX, time as one channel of the path, missing values bridged by
    interpolation of their channel, a linear readout of z. From Jhin et al. ("Attentive neural controlled differential
    equations for time-series classification and forecasting", ICDM 2021): the lower equation, whose b yields the
    attention a, one for each channel (`attention="element"`) or one for all ("time"), and Y as the path of the upper
    one; "none" leaves Kidger's equation.

    A cell's call is one segment of the path, from the sample before to this one. The state is h = [z, b, X],
    (n_units + n_attention + n_in,); z is read out. f and g are `VectorField`s, A (n_in or 1, n_attention).

    What differs: X is the straight line between samples instead of a natural cubic spline, which would need the future;
    it starts from the mean of the data, one sample before the first, in place of a learnt map from the first sample to
    z(0) = 0. Absolute time enters nowhere, so the time channel is neither scaled by the attention nor part of Y's
    product; kappa = 1 / `longest`. A gap that ends within a window is bridged, channel by channel; one that lasts to
    its end, and all of a forecast, is filled by the model's own predictions. There are no channels of observation
    counts, no hard attention. Each segment takes `substeps` steps of equal length of an explicit solver of diffrax, and
    gradients go through them (discretise, then optimise).
    """

    bridges: ClassVar[bool] = True

    n_hidden: int = eqx.field(static=True)
    n_units: int = eqx.field(static=True)
    n_attention: int = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    solver: Solver = eqx.field(static=True)
    rate: float = eqx.field(static=True)
    g: VectorField
    f: VectorField
    A: jax.Array
    a0: jax.Array

    def __init__(
        self,
        n_in: int,
        n_units: int,
        n_attention: int,
        attention: Attention,
        width: int,
        substeps: int,
        solver: Solver,
        longest: float,
        rng: Generator,
    ) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_units: Length of z.
            n_attention: Length of b, where there is attention.
            attention: "element", "time" or "none".
            width: Hidden units of f and of g.
            substeps: Steps of the solver from one sample to the next.
            solver: "euler", "heun", "midpoint" or "tsit5".
            longest: Samples in which the time channel moves by 1.
            rng: Where they are drawn from.
        """
        keys = rng.spawn(4)
        self.n_units, self.substeps, self.solver, self.rate = n_units, substeps, solver, 1.0 / longest
        self.g = VectorField(n_units, n_in + 1, width, keys[0])
        n_b, n_out = (0, 0) if attention == "none" else (n_attention, n_in if attention == "element" else 1)
        self.f = VectorField(n_b, n_in + 1, width if n_b else 0, keys[1])
        self.A, self.a0 = uniform(keys[2], (n_out, n_b), n_b), jnp.zeros(n_out)
        self.n_attention, self.n_hidden = n_b, n_units + n_b + n_in

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the state at this sample, (n_hidden,), from the one at the sample before."""
        n = self.n_units + self.n_attention
        return jnp.concatenate([self._along(h[:n], h[n:], s), s])

    def readout(self, h: jax.Array) -> jax.Array:
        """Return z, (n_units,)."""
        return h[: self.n_units]

    def slope(self, y: jax.Array, X: jax.Array, dX: jax.Array) -> jax.Array:
        """Return the derivative of y = [z, b] (n,) by time, at a place X (n_in,) of the path with slope dX (n_in,)."""
        z, b = y[: self.n_units], y[self.n_units :]
        time = jnp.full(1, self.rate, dX.dtype)
        if not self.n_attention:
            return self.g(z) @ jnp.concatenate([time, dX])
        db = self.f(b) @ jnp.concatenate([time, dX])
        a = jax.nn.sigmoid(self.A @ b + self.a0)
        dY = a * dX + X * a * (1.0 - a) * (self.A @ db)
        return jnp.concatenate([self.g(z) @ jnp.concatenate([time, dY]), db])

    def _along(self, y: jax.Array, start: jax.Array, stop: jax.Array) -> jax.Array:
        """Return y = [z, b] at the end of the segment from start to stop, (n_in,) each."""

        def field(t: Any, y: jax.Array, args: Any) -> jax.Array:
            return self.slope(y, start + t * (stop - start), stop - start)

        term, solver = diffrax.ODETerm(field), _SOLVERS[self.solver]
        ends = jnp.linspace(0.0, 1.0, self.substeps + 1, dtype=y.dtype)

        def step(carry: tuple[jax.Array, Any], part: jax.Array) -> tuple[tuple[jax.Array, Any], None]:
            y, state = carry
            y, _, _, state, _ = solver.step(term, part[0], part[1], y, None, state, made_jump=False)
            return (y, state), None

        carry = y, solver.init(term, ends[0], ends[1], y, None)
        parts = jnp.stack([ends[:-1], ends[1:]], axis=1)
        return jax.lax.scan(step, carry, parts)[0][0]


class NCDE(GapModel):
    """An attentive neural controlled differential equation as a model; see `NCDECell` for its equations.

    It is fitted to `GappedRollouts`, or to `Rollouts`, and `encode` takes windows with NaN: samples at uneven times are
    missing rows of the grid of step dt.
    """

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        n_attention: int = 16,
        attention: Attention = "element",
        width: int = 32,
        substeps: int = 1,
        solver: Solver = "heun",
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Length of the memory that is read out.
            longest: Samples in which the time channel moves by 1, a deviation of the others.
            training: How it is trained; `Training()` by default.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            n_attention: Length of the memory that attention is made of.
            attention: "element" (a weight a channel), "time" (one for all) or "none" (a plain neural CDE).
            width: Hidden units of each vector field.
            substeps: Steps of the solver from one sample to the next.
            solver: "euler", "heun", "midpoint" or "tsit5", of orders 1, 2, 2 and 5.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.n_attention = n_attention
        self.attention = attention
        self.width = width
        self.substeps = substeps
        self.solver = solver

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        for name in ("n_attention", "width", "substeps"):
            as_whole(name, getattr(self, name), 1)
        for name, kind in (("attention", Attention), ("solver", Solver)):
            value, offered = getattr(self, name), get_args(kind)
            if value not in offered:
                raise DataError(f"{name} is {value!r}; it is {' or '.join(map(repr, offered))}.")
        return NCDECell(
            n_in,
            self.n_hidden,
            self.n_attention,
            self.attention,
            self.width,
            self.substeps,
            self.solver,
            self.longest,
            rng,
        )

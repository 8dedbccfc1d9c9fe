"""Stacked layers of independent undamped oscillators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.arrays import as_whole, is_finite
from koopctl.errors import DataError
from koopctl.models.recurrent.cell import Cell, Key, drawn
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.training import Training


class UnICORNNCell(Cell):
    r"""The undamped independent controlled oscillators of Rusch and Mishra (ICML 2021), with damping if asked for.

    .. math:: z^l_n = z^l_{n-1} - \delta\, \sigma(c^l) \odot [\tanh(w^l \odot y^l_{n-1} + V^l y^{l-1}_n + b^l)
        + \alpha y^l_{n-1} + \gamma z^l_{n-1}], \quad y^l_n = y^l_{n-1} + \delta\, \sigma(c^l) \odot z^l_n

    with y^0_n = s_n. :math:`\delta` is `time_step`, :math:`\alpha` is `alpha`; :math:`\gamma` is `damping`, which the
    published cell has not (0): undamped oscillators ring for ever, plants seldom do. Without it the step is symplectic
    in each oscillator's (y, z), so that it keeps volume and is undone exactly by the same inputs.

    The state is h = [y^1, z^1, ..., y^L, z^L], (2 n_layers n_units,); the last layer's y is read out. V^l (n_units,
    n_in) or (n_units, n_units); w, c, b (n_layers, n_units). As in the authors' code w starts uniform in 0 to 1, c
    within +-0.1, V^l within +-sqrt(6 / (65 columns)), b at 0.
    """

    n_hidden: int = eqx.field(static=True)
    n_units: int = eqx.field(static=True)
    time_step: float = eqx.field(static=True)
    alpha: float = eqx.field(static=True)
    damping: float = eqx.field(static=True)
    V: tuple[jax.Array, ...]
    w: jax.Array
    c: jax.Array
    b: jax.Array

    def __init__(
        self, n_in: int, n_units: int, n_layers: int, time_step: float, alpha: float, damping: float, rng: Generator
    ) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_units: Oscillators of a layer.
            n_layers: Layers.
            time_step: Largest step of the integration, dt in the paper.
            alpha: Stiffness of all oscillators besides w.
            damping: Of all oscillators; 0 is the published cell.
            rng: Where they are drawn from.
        """
        keys = rng.spawn(n_layers + 2)
        self.n_units, self.n_hidden = n_units, 2 * n_layers * n_units
        self.time_step, self.alpha, self.damping = time_step, alpha, damping
        fans = [n_in] + [n_units] * (n_layers - 1)
        self.V = tuple(_drawn(k, (n_units, fan)) for k, fan in zip(keys[2:], fans, strict=True))
        self.w = drawn(keys[0], (n_layers, n_units), 0.0, 1.0)
        self.c = drawn(keys[1], (n_layers, n_units), -0.1, 0.1)
        self.b = jnp.zeros((n_layers, n_units))

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next positions and velocities of all layers, (2 n_layers n_units,)."""
        after, below, pace = [], s, self.time_step * jax.nn.sigmoid(self.c)
        for (y, z), V, w, b, p in zip(h.reshape(-1, 2, self.n_units), self.V, self.w, self.b, pace, strict=True):
            z = z - p * (jnp.tanh(w * y + V @ below + b) + self.alpha * y + self.damping * z)
            y = y + p * z
            after += [y, z]
            below = y
        return jnp.concatenate(after)

    def readout(self, h: jax.Array) -> jax.Array:
        """Return y of the last layer, (n_units,)."""
        return h[-2 * self.n_units : -self.n_units]


class UnICORNN(RecurrentModel):
    """Stacked oscillators as a model; see `UnICORNNCell` for their equations. `longest` does nothing here."""

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        n_layers: int = 2,
        time_step: float = 1.0,
        alpha: float = 1.0,
        damping: float = 0.0,
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Oscillators of a layer; each remembers two numbers.
            longest: Does nothing here.
            training: How it is trained; `Training()` by default.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            n_layers: Layers.
            time_step: Largest step of the integration.
            alpha: Stiffness of all oscillators besides their own.
            damping: Of all oscillators; 0 is the published cell.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.n_layers = n_layers
        self.time_step = time_step
        self.alpha = alpha
        self.damping = damping

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        layers = as_whole("n_layers", self.n_layers, 1)
        if not (is_finite(self.time_step) and self.time_step > 0):
            raise DataError(f"time_step is {self.time_step!r}; it must be positive.")
        for name, value in (("alpha", self.alpha), ("damping", self.damping)):
            if not (is_finite(value) and value >= 0):
                raise DataError(f"{name} is {value!r}; it must not be negative.")
        numbers = float(self.time_step), float(self.alpha), float(self.damping)
        return UnICORNNCell(n_in, self.n_hidden, layers, *numbers, rng)


def _drawn(rng: Generator, shape: tuple[int, int]) -> jax.Array:
    bound = (6.0 / (65.0 * shape[1])) ** 0.5  # He et al. for leaky units of slope 8
    return drawn(rng, shape, -bound, bound)

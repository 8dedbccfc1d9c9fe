"""Recurrent network whose latent state changes only where a gate opens, and which is trained to open few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from koopctl.models.recurrent.cell import Cell, Key, uniform
from koopctl.models.recurrent.network import Network
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.training import Training


class GateL0RDCell(Cell):
    r"""GateL0RD of Gumbsch, Butz and Martius (Sparsely changing latent states, NeurIPS 2021; arXiv 2110.15949).

    With v = [s, a], a the latent state, and eps normal with deviation `noise` in training, zero otherwise,

    .. math:: g = \max(0, \tanh(W_g v + b_g + \epsilon)), \quad r = \tanh(W_r v + b_r), \quad
        a^+ = g \odot r + (1 - g) \odot a, \quad v^+ = [s, a^+], \quad
        y = \tanh(W_p v^+ + b_p) \odot \sigma(W_o v^+ + b_o)

    Where g is zero the latent state stays as it is, to the last bit. The penalty of a step is the share of gates that
    open, (1/n_units) sum Theta(g), Theta the step function; its derivative is taken to be 1 (straight through), so that
    it reaches open gates only. `Training.penalty` is its weight, the paper's lambda.

    The state is h = [a, s], (n_units + n_in,), as what is read out, y (n_units,), needs the sample that led to a. All
    W (n_units, n_in + n_units) and b (n_units,) are uniform within +-1/sqrt(n_in + n_units).

    Ours: one layer each for g, r, p and o; the latent state starts at zero instead of being guessed from the first
    sample; y passes a linear readout.
    """

    n_hidden: int = eqx.field(static=True)
    n_units: int = eqx.field(static=True)
    noise: float = eqx.field(static=True)
    W: jax.Array
    b: jax.Array

    def __init__(self, n_in: int, n_units: int, noise: float, rng: Generator) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_units: Latent units.
            noise: Deviation of the noise on the gates in training.
            rng: Where they are drawn from.
        """
        keys = rng.spawn(2)
        width = n_in + n_units
        self.n_units, self.n_hidden, self.noise = n_units, width, noise
        self.W, self.b = uniform(keys[0], (4, n_units, width), width), uniform(keys[1], (4, n_units), width)

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next latent state and the sample that led to it, (n_units + n_in,)."""
        a = h[: self.n_units]
        g, r = self.gates(h, s, key), jnp.tanh(self._layer(1, a, s))
        return jnp.concatenate([g * r + (1.0 - g) * a, s])

    def gates(self, h: jax.Array, s: jax.Array, key: Key | None = None) -> jax.Array:
        """Return how far each gate opens, (n_units,), within 0 and 1; with noise where there is a key."""
        v = self._layer(0, h[: self.n_units], s)
        if key is not None:
            v = v + self.noise * jax.random.normal(key, v.shape, v.dtype)
        return jax.nn.relu(jnp.tanh(v))

    def readout(self, h: jax.Array) -> jax.Array:
        """Return y, (n_units,)."""
        a, s = h[: self.n_units], h[self.n_units :]
        return jnp.tanh(self._layer(2, a, s)) * jax.nn.sigmoid(self._layer(3, a, s))

    def penalty(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the share of gates that open, with the step's own noise."""
        g = self.gates(h, s, key)
        return jnp.mean(g + jax.lax.stop_gradient((g > 0).astype(g.dtype) - g))

    def _layer(self, i: int, a: jax.Array, s: jax.Array) -> jax.Array:
        return self.W[i] @ jnp.concatenate([s, a]) + self.b[i]


class GateL0RD(RecurrentModel):
    """A network of sparse latent changes as a model; see `GateL0RDCell` for its equations.

    Without `Training.penalty` nothing keeps its gates shut. `longest` does nothing here.
    """

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        gate_noise: float = 0.1,
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Latent units.
            longest: Does nothing here.
            training: How it is trained; `Training()` by default.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            gate_noise: Deviation of the noise on the gates in training.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.gate_noise = gate_noise

    def gate_openings(self, rollouts: Rollouts | Sequence[Rollouts]) -> list[np.ndarray]:
        """Return how many gates open at each sample of each episode, (T_i,), the network being shown what was measured.

        Raises:
            DataError: The columns are not the model's.
            NotFittedError: There is no fit.
            SamplingTimeError: The data was sampled at another rate.
        """
        data = joined(rollouts)
        self.check_data(data)
        lengths = [len(U) for U in data.U]
        longest, chart = max(lengths), self.window_.chart
        Q = np.stack([_filled(chart.to_coordinates(Y[:-1]), longest) for Y in data.X])
        U = np.stack([_filled(U, longest) for U in data.U])
        with jax.enable_x64(True):
            counts = np.array(_open_gates(self.network_, jnp.asarray(Q), jnp.asarray(U)))
        return [row[:n] for row, n in zip(counts, lengths, strict=True)]

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        if not (is_finite(self.gate_noise) and self.gate_noise >= 0):
            raise DataError(f"gate_noise is {self.gate_noise!r}; it must not be negative.")
        return GateL0RDCell(n_in, self.n_hidden, float(self.gate_noise), rng)


def _filled(rows: np.ndarray, length: int) -> np.ndarray:
    """Return rows (n, ...) with zeros after them, so that all episodes are of one length."""
    return np.concatenate([rows, np.zeros((length - len(rows), *rows.shape[1:]))])


@eqx.filter_jit
def _open_gates(network: Network, Q: jax.Array, U: jax.Array) -> jax.Array:
    """Return how many gates open at each sample, (m, T), of episodes Q (m, T, nq), U (m, T, nu)."""
    cell = cast(GateL0RDCell, network.cell)

    def seen(h: jax.Array, sample: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        s = network.scales.standard(*sample)
        return cell(h, s, None), jnp.sum(cell.gates(h, s) > 0)

    return jax.vmap(lambda q, u: jax.lax.scan(seen, cell.start().astype(Q.dtype), (q, u))[1])(Q, U)

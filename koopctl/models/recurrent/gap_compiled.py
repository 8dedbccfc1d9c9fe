"""One trained network that bears gaps, as compiled functions of numpy arrays."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from koopctl.arrays import Array
from koopctl.models.recurrent.compiled import Compiled
from koopctl.models.recurrent.gaps import recalled
from koopctl.models.recurrent.network import Network


class GapCompiled(Compiled):
    """A `Compiled` that also makes states of windows in which something was not measured."""

    def complete(self, Q: Array, U: Array) -> Array:
        """Return states (n, nx) of coordinates (n, washout + 1, nq), NaN where missing, and inputs (n, washout, nu)."""
        return self._evaluated(_complete, Q, U)[0]

    def prepare(self) -> None:
        """Compile now what a control loop evaluates, for batches up to the largest of the fixed sizes."""
        super().prepare()
        nq, nu = len(self.network.scales.gain), self.network.n_inputs
        self.complete(np.zeros((1, self.washout + 1, nq)), np.zeros((1, self.washout, nu)))


@jax.jit
def _complete(network: Network, Q: jax.Array, U: jax.Array) -> jax.Array:
    return jnp.concatenate(jax.vmap(partial(recalled, network))(Q, U), axis=1)

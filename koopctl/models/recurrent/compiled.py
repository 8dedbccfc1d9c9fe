"""One trained network as compiled functions of numpy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from koopctl.arrays import Array
from koopctl.models.recurrent.network import Network

_SIZES = (1, 16, 64, 256)  # of a batch, beyond which it grows in steps of the last: each size is compiled once


class Compiled:
    """Step, expansion and recall in double precision, whatever the network was trained in.

    They are compiled when they are first used, for each size of a batch, a second or so each; once for all networks of
    one cell and size. Nothing here changes, so that copies share it.

    Attributes:
        network: The network, its numbers as numpy arrays.
        washout: Samples that a state is made of.
    """

    def __init__(self, network: Network, washout: int) -> None:
        """Compile nothing yet.

        Args:
            network: The network.
            washout: Samples that a state is made of.
        """
        self.network, self.washout = network, washout
        with jax.enable_x64(True):
            self._network = jax.device_put(network)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        """Return the same object."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes it anew."""
        return type(self), (self.network, self.washout)

    def step(self, X: Array, U: Array) -> Array:
        """Return the next states (n, nx) of states (n, nx) and inputs (n, nu)."""
        return self._evaluated(_step, X, U)[0]

    def expand(self, X: Array, U: Array) -> tuple[Array, Array, Array]:
        """Return the next states and their derivatives by state (n, nx, nx) and input (n, nx, nu)."""
        F, A, B = self._evaluated(_expand, X, U)
        return F, A, B

    def recall(self, Q: Array, U: Array) -> Array:
        """Return what is remembered (n, hidden) of coordinates (n, washout, nq) and inputs (n, washout, nu)."""
        return self._evaluated(_recall, Q, U)[0]

    def recall_slopes(self, q: Array, u: Array) -> tuple[Array, Array]:
        """Return the derivatives of what is remembered of constant q (n, nq), u (n, nu), by q and by u."""
        by_q, by_u = self._evaluated(_recall_slopes(self.washout), q, u)
        return by_q, by_u

    def prepare(self) -> None:
        """Compile now what a control loop evaluates, for batches up to the largest of the fixed sizes."""
        nq, nu, washout = len(self.network.scales.gain), self.network.n_inputs, self.washout
        x, u = np.zeros((1, nq + self.network.cell.n_hidden)), np.zeros((1, nu))
        self.recall(np.zeros((1, washout, nq)), np.zeros((1, washout, nu)))
        for size in _SIZES:
            self.step(np.repeat(x, size, axis=0), np.repeat(u, size, axis=0))
            self.expand(np.repeat(x, size, axis=0), np.repeat(u, size, axis=0))

    def _evaluated(self, function: Callable[..., Any], *rows: Array) -> list[Array]:
        """Evaluate rows (n, ...) filled up to the next of the sizes; return the results without what was filled up."""
        n = len(rows[0])
        size = next((size for size in _SIZES if size >= n), -(-n // _SIZES[-1]) * _SIZES[-1])
        filled = [np.concatenate([part, np.zeros((size - n, *part.shape[1:]))]) if size > n else part for part in rows]
        with jax.enable_x64(True):
            return [np.array(part)[:n] for part in jax.tree.leaves(function(self._network, *filled))]


def _one(network: Network, x: jax.Array, u: jax.Array) -> jax.Array:
    nq = len(network.scales.gain)
    return jnp.concatenate(network(x[:nq], x[nq:], u))


@jax.jit
def _step(network: Network, X: jax.Array, U: jax.Array) -> jax.Array:
    return jax.vmap(partial(_one, network))(X, U)


@jax.jit
def _expand(network: Network, X: jax.Array, U: jax.Array) -> Any:
    one = partial(_one, network)
    return jax.vmap(lambda x, u: (one(x, u), *jax.jacfwd(one, argnums=(0, 1))(x, u)))(X, U)


@jax.jit
def _recall(network: Network, Q: jax.Array, U: jax.Array) -> jax.Array:
    return jax.vmap(network.recall)(Q, U)


@lru_cache
def _recall_slopes(washout: int) -> Callable[..., Any]:
    """Return the function for windows of one length: so many times the same sample."""

    def slopes(network: Network, q: jax.Array, u: jax.Array) -> Any:
        def recalled(q: jax.Array, u: jax.Array) -> jax.Array:
            return network.recall(jnp.tile(q, (washout, 1)), jnp.tile(u, (washout, 1)))

        return jax.vmap(jax.jacfwd(recalled, argnums=(0, 1)))(q, u)

    compiled: Callable[..., Any] = jax.jit(slopes)
    return compiled

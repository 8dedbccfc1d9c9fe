"""Samples of which some coordinates were not measured: what a network is shown in their place."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from koopctl.models.recurrent.cell import Cell
from koopctl.models.recurrent.network import Network, Scales


class GapCell(Cell):
    """A cell that is told which entries of the coming sample were measured, and keeps that in its state.

    The sample it is then called with holds the network's own prediction wherever nothing was measured.

    Attributes:
        bridges: Whether gaps that end within what is shown are filled by straight lines beforehand.
    """

    bridges: ClassVar[bool] = False

    def told(self, h: jax.Array, measured: jax.Array) -> jax.Array:
        """Return the hidden state that knows which entries of the coming sample were measured.

        Args:
            h: Hidden state, (n_hidden,).
            measured: 1 where an entry of the embedding w was measured, 0 where not, (ne,).
        """
        del measured
        return h


def show(
    network: Network, q: jax.Array, h: jax.Array, seen: jax.Array, share: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Return coordinates and hidden state after a measurement: where it is NaN the prediction stays.

    Args:
        network: The network.
        q: Predicted coordinates, (nq,).
        h: Hidden state, (n_hidden,).
        seen: Measured coordinates, (nq,), NaN where there are none.
        share: How much of the prediction is replaced, all of it by default; a cell is told of what is missing only
            where all would have been.
    """
    missing = jnp.isnan(seen)
    nearer = seen if share is None else q + share * network.scales.difference(seen, q)
    if isinstance(network.cell, GapCell):
        absent = missing if share is None else missing & (share == 1.0)
        h = network.cell.told(h, _measured(network.scales, absent, q.dtype))
    return jnp.where(missing, q, nearer), h


def recalled(network: Network, Q: jax.Array, U: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return coordinates and hidden state at the end of a window, whatever of it was measured.

    Args:
        network: The network; one whose cell knows no gaps needs a whole window.
        Q: Coordinates, (T + 1, nq), NaN where nothing was measured.
        U: Inputs between them, (T, nu).
    """
    if not isinstance(network.cell, GapCell):
        return Q[-1], network.recall(Q[:-1], U)
    Q = bridged(network, Q, len(Q))

    def step(
        carry: tuple[jax.Array, jax.Array], sample: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        seen, u = sample
        return network(*show(network, *carry, seen), u), None

    start = first(network, Q[0]), network.cell.start().astype(Q.dtype)
    return show(network, *jax.lax.scan(step, start, (Q[:-1], U))[0], Q[-1])


def first(network: Network, q: jax.Array) -> jax.Array:
    """Return the first coordinates of a window (nq,), the mean of the data where nothing was measured."""
    return jnp.where(jnp.isnan(q), _middle(network.scales, q.dtype), q)


def bridged(network: Network, Q: jax.Array, count: int) -> jax.Array:
    """Return coordinates (T, nq) whose first `count` hold straight lines over the gaps, where the cell wants them.

    Only what was measured among these is used. What comes before the first measurement equals it; what comes after the
    last stays NaN, to be predicted. Angles go the shorter way round.
    """
    if not (isinstance(network.cell, GapCell) and network.cell.bridges):
        return Q
    part, k = Q[:count], jnp.arange(count)[:, None]
    known = ~jnp.isnan(part)
    before = jax.lax.cummax(jnp.where(known, k, -1), axis=0)
    after = jax.lax.cummin(jnp.where(known, k, count), axis=0, reverse=True)
    start, stop = jnp.where(before < 0, after, before), jnp.minimum(after, count - 1)
    low, high = (jnp.take_along_axis(part, jnp.minimum(place, count - 1), axis=0) for place in (start, stop))
    share = ((k - start) / jnp.maximum(after - start, 1)).astype(Q.dtype)
    line = low + share * network.scales.difference(high, low)
    return Q.at[:count].set(jnp.where(known, part, jnp.where(after < count, line, jnp.nan)))


def mean_square(off: jax.Array, truth: jax.Array) -> jax.Array:
    """Return the mean square of errors (..., nq) over what was measured of the truth (..., nq), 0 where nothing was."""
    known = ~jnp.isnan(truth)
    return jnp.sum(jnp.where(known, off, 0.0) ** 2) / jnp.maximum(jnp.sum(known), 1)


def _measured(scales: Scales, missing: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Return which entries of w (ne,) belong to coordinates that are not missing (nq,), as numbers."""
    there = (~missing).astype(dtype)
    entries = jnp.ones(scales.linear.shape[1] + 2 * scales.circle.shape[1], dtype)
    entries = entries.at[scales.linear[1]].set(there[scales.linear[0]])
    if not scales.circle.shape[1]:
        return entries
    angles = there[scales.circle[0]]
    return entries.at[scales.circle[1]].set(angles).at[scales.circle[2]].set(angles)


def _middle(scales: Scales, dtype: jnp.dtype) -> jax.Array:
    """Return the coordinates (nq,) at the mean of the data."""
    mean = jnp.asarray(scales.mean, dtype)
    q = jnp.zeros(len(scales.gain), dtype).at[scales.linear[0]].set(mean[scales.linear[1]])
    if not scales.circle.shape[1]:
        return q
    return q.at[scales.circle[0]].set(jnp.arctan2(mean[scales.circle[2]], mean[scales.circle[1]]))

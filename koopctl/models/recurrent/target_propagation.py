"""Target propagation: each step learns what it should have been told, by inversion, instead of how the error grows."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from koopctl.models.recurrent.network import Network

Carried = tuple[jax.Array, jax.Array]
Step = Callable[[Network, jax.Array, jax.Array], Carried]


def by_inversion(step: Step, network: Network, carry: Carried, inversion: float) -> Carried:
    r"""Return what a step makes of a carry; differentiated, it hands targets and not gradients back to that carry.

    A network's state :math:`x_{t+1} = f(x_t)`, x the coordinates in deviations and the hidden state, is to be displaced
    by :math:`d_{t+1}`, the downhill direction at first. Its predecessor is told the displacement that brings it there,

    .. math:: d_t = (1 + r) (J^\top J + r I)^{-1} J^\top d_{t+1}, \quad J = \partial f / \partial x_t,

    and the weights descend :math:`\frac{1}{2} |f(x_t) - x_{t+1} - d_{t+1}|^2` at every step (Roulet and Harchaoui,
    "Target propagation via regularized inversion", 2021). r -> 0 leaves the pseudo-inverse of a step, which neither
    shrinks nor grows what the step grows or shrinks; r -> infinity leaves the gradient. Where ours differs: the authors
    invert the affine part of a plain network with regularisation and its activation exactly, ours inverts the
    linearised step of any cell; the factor 1 + r, which gives both limits, is ours.

    J costs as many backward passes as x has entries, at each sample, and is differentiated no further.

    Args:
        step: The step, of network, coordinates (nq,) and hidden state (n_hidden,).
        network: The network.
        carry: Coordinates and hidden state before the step.
        inversion: r, to be compared with the squares of J's singular values.
    """
    spread = jnp.asarray(network.scales.spread, carry[0].dtype)
    nq = len(spread)

    def joined(q: jax.Array, h: jax.Array) -> jax.Array:
        return jnp.concatenate([q / spread, h])

    def advance(network: Network, x: jax.Array) -> jax.Array:
        return joined(*step(network, x[:nq] * spread, x[nq:]))

    x = joined(*carry)
    still = jax.lax.stop_gradient(x)
    fixed = jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, network)
    J = jax.jacrev(lambda x: advance(fixed, x))(still)
    back = (1.0 + inversion) * jnp.linalg.solve(J.T @ J + inversion * jnp.eye(len(x), dtype=x.dtype), J.T)
    after = advance(network, still) + back.T @ (x - still)  # the last term is zero, but not its derivative
    return after[:nq] * spread, after[nq:]

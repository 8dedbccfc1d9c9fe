"""Hamiltonian recurrent network: a Hamiltonian layer shared in time, with input and damping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from numpy.random import Generator

from koopctl.arrays import is_finite
from koopctl.errors import DataError
from koopctl.models.recurrent.cell import Cell, Key, uniform
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.training import Training


class HamiltonianCell(Cell):
    r"""The Hamiltonian layer of Galimberti, Furieri, Xu and Ferrari-Trecate (IEEE TAC 2023), one for all times.

    .. math:: \dot y = (J - \gamma D)\, \nabla H(y) + B s, \quad H(y) = \sum_i \log\cosh(K y + b)_i, \quad
        \nabla H(y) = K^T \tanh(K y + b), \quad J = \begin{pmatrix} 0 & -I \\ I & 0 \end{pmatrix}

    with y = [p, q] and K block-diagonal, so that H = H_p(p) + H_q(q) and the semi-implicit Euler step is explicit:

    .. math:: p^+ = p + \delta\, (-\nabla H_q(q) - \gamma D_p \nabla H_p(p) + B_p s), \quad
        q^+ = q + \delta\, (\nabla H_p(p^+) - \gamma D_q \nabla H_q(q) + B_q s)

    :math:`\delta` is `time_step`, :math:`\gamma` is `damping`. The published layers have neither input nor damping
    (`damping` = 0) and weights of their own each. Without damping the step is symplectic whatever the inputs, which is
    what keeps gradients from vanishing; without inputs as well, H changes by O(time_step^2) a step and, where steps are
    small, stays near where it was.

    The state is h = y, (n_hidden,), all of it read out. K (2, n_hidden / 2, n_hidden / 2) and b (2, n_hidden / 2) hold
    the blocks of p and of q, B (n_hidden, n_in); all start uniform within +-1/sqrt(columns). D = diag(softplus(d)), d
    (n_hidden,), is trained too and starts as the identity.
    """

    n_hidden: int = eqx.field(static=True)
    time_step: float = eqx.field(static=True)
    damping: float = eqx.field(static=True)
    K: jax.Array
    b: jax.Array
    B: jax.Array
    d: jax.Array

    def __init__(self, n_in: int, n_hidden: int, time_step: float, damping: float, rng: Generator) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_hidden: Hidden units, an even number.
            time_step: Step of the integration.
            damping: Scale of the damping; 0 is the published layer.
            rng: Where they are drawn from.
        """
        keys, half = rng.spawn(3), n_hidden // 2
        self.n_hidden, self.time_step, self.damping = n_hidden, time_step, damping
        self.K, self.b = uniform(keys[0], (2, half, half), half), uniform(keys[1], (2, half), half)
        self.B = uniform(keys[2], (n_hidden, n_in), n_in)
        self.d = jnp.full(n_hidden, jnp.log(jnp.e - 1.0))

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next hidden state, (n_hidden,)."""
        p, q = h.reshape(2, -1)
        push_p, push_q = (self.B @ s).reshape(2, -1)
        loss_p, loss_q = self.damping * jax.nn.softplus(self.d).reshape(2, -1)
        slope = self._slope(1, q)
        p = p + self.time_step * (push_p - slope - loss_p * self._slope(0, p))
        q = q + self.time_step * (push_q + self._slope(0, p) - loss_q * slope)
        return jnp.concatenate([p, q])

    def _slope(self, block: int, v: jax.Array) -> jax.Array:
        """Return the gradient of H by p (block 0) or by q (block 1)."""
        K = self.K[block]
        return K.T @ jnp.tanh(K @ v + self.b[block])


class HamiltonianRNN(RecurrentModel):
    """A Hamiltonian recurrent network as a model; see `HamiltonianCell` for its equations."""

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        time_step: float = 0.2,
        damping: float = 0.0,
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Hidden units, an even number: half of them positions, half momenta.
            longest: Does nothing here.
            training: How it is trained; `Training()` by default.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            time_step: Step of the integration.
            damping: Scale of the trained damping; 0 is the published layer, whose energy stays.
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.time_step = time_step
        self.damping = damping

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        if self.n_hidden % 2:
            raise DataError(f"n_hidden is {self.n_hidden}; positions and momenta need an even number.")
        if not (is_finite(self.time_step) and self.time_step > 0):
            raise DataError(f"time_step is {self.time_step!r}; it must be positive.")
        if not (is_finite(self.damping) and self.damping >= 0):
            raise DataError(f"damping is {self.damping!r}; it must not be negative.")
        return HamiltonianCell(n_in, self.n_hidden, float(self.time_step), float(self.damping), rng)

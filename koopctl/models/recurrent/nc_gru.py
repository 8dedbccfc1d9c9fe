"""Gated recurrent unit whose candidate sees the state through an orthogonal matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from koopctl.arrays import Array, as_array, as_whole, is_finite
from koopctl.errors import DataError
from koopctl.models.recurrent.cell import Cell, Key, drawn, uniform
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.training import Training


class NCGRUCell(Cell):
    r"""The Neumann-Cayley gated recurrent unit of Mucllari, Zadorozhnyy, Pospisil, Nguyen and Ye (2022).

    .. math:: z = \sigma(W_z s + V_z h + b_z), \quad r = \sigma(W_r s + V_r h + b_r), \quad
        n = \phi(W_n s + U (r \odot h)), \quad h^+ = (1 - z) \odot n + z \odot h, \quad U = (I + A)^{-1} (I - A) D

    U is orthogonal by the scaled Cayley transform (Helfrich, Willmott and Ye, ICML 2018): A is skew-symmetric, D
    diagonal, its first `flips` entries -1 and the others 1, which reaches matrices with eigenvalue -1 as well. The
    activation is modReLU, phi(v) = sign(v) relu(\|v\| + b_n), as in the authors' code, or phi(v) = tanh(v + b_n).

    A is what is trained: a (n_hidden (n_hidden - 1) / 2,) holds its upper triangle, so that U stays orthogonal to
    rounding whatever the descent does. The authors instead correct the last known inverse by a Neumann series
    (`neumann_inverse`) after each step of the descent; here I + A, whose condition is good, is solved exactly.

    W (3, n_hidden, n_in) and V (2, n_hidden, n_hidden) start uniform within +-1/sqrt(n_hidden); A starts with blocks
    that turn pairs of units by 0 to pi / 2, as the authors' does; b_z as in the `GRUCell` here (chrono initialisation).
    """

    n_hidden: int = eqx.field(static=True)
    flips: int = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    W: jax.Array
    V: jax.Array
    a: jax.Array
    b: jax.Array

    def __init__(self, n_in: int, n_hidden: int, longest: float, flips: int, activation: str, rng: Generator) -> None:
        """Draw the weights.

        Args:
            n_in: Regressors of a sample.
            n_hidden: Hidden units.
            longest: Longest time constant [samples].
            flips: Entries of D that are -1.
            activation: "modrelu" or "tanh".
            rng: Where they are drawn from.
        """
        keys = rng.spawn(5)
        self.n_hidden, self.flips, self.activation = n_hidden, flips, activation
        self.W = uniform(keys[0], (3, n_hidden, n_in), n_hidden)
        self.V = uniform(keys[1], (2, n_hidden, n_hidden), n_hidden)
        rows, columns = np.triu_indices(n_hidden, 1)
        turns = drawn(keys[2], (n_hidden,), 0.0, jnp.pi / 2.0)
        paired = (columns == rows + 1) & (rows % 2 == 0)
        self.a = jnp.where(paired, -jnp.tan(turns[rows] / 2.0), 0.0)
        lasting = drawn(keys[3], (n_hidden,), 1.0, max(longest - 1.0, 1.0))
        b = drawn(keys[4], (3, n_hidden), -0.1, 0.1)
        self.b = b.at[0].set(jnp.log(lasting))

    def __call__(self, h: jax.Array, s: jax.Array, key: Key | None) -> jax.Array:
        """Return the next hidden state, (n_hidden,)."""
        from_s = self.W @ s
        gates = jax.nn.sigmoid(from_s[:2] + self.V @ h + self.b[:2])
        z, v = gates[0], from_s[2] + self.orthogonal() @ (gates[1] * h)
        if self.activation == "tanh":
            new = jnp.tanh(v + self.b[2])
        else:
            new = jnp.sign(v) * jax.nn.relu(jnp.abs(v) + self.b[2])
        return (1.0 - z) * new + z * h

    def skew(self) -> jax.Array:
        """Return A, (n_hidden, n_hidden)."""
        empty = jnp.zeros((self.n_hidden, self.n_hidden), self.a.dtype)
        upper = empty.at[np.triu_indices(self.n_hidden, 1)].set(self.a)
        return upper - upper.T

    def orthogonal(self) -> jax.Array:
        """Return U, (n_hidden, n_hidden): the same for all samples, so that compiled loops factorise I + A once."""
        A = self.skew()
        unit, signs = jnp.eye(self.n_hidden, dtype=A.dtype), np.where(np.arange(self.n_hidden) < self.flips, -1.0, 1.0)
        U: jax.Array = jnp.linalg.solve(unit + A, unit - A) * jnp.asarray(signs, A.dtype)
        return U


class NCGRU(RecurrentModel):
    """A gated recurrent unit with orthogonal recurrence as a model; see `NCGRUCell` for its equations."""

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        flipped: float = 0.5,
        activation: Literal["modrelu", "tanh"] = "modrelu",
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Hidden units.
            longest: Longest time constant that gates start with [samples].
            training: How it is trained; `Training()` by default.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            flipped: Share of the entries of D that are -1.
            activation: "modrelu", the published one, or "tanh".
        """
        super().__init__(n_hidden, longest, training, manifold, cyclic)
        self.flipped = flipped
        self.activation = activation

    def _cell(self, n_in: int, rng: Generator) -> Cell:
        if not (is_finite(self.flipped) and 0.0 <= self.flipped <= 1.0):
            raise DataError(f"flipped is {self.flipped!r}; it is a share between 0 and 1.")
        if self.activation not in ("modrelu", "tanh"):
            raise DataError(f"activation is {self.activation!r}; it is 'modrelu' or 'tanh'.")
        flips = round(self.flipped * self.n_hidden)
        return NCGRUCell(n_in, self.n_hidden, self.longest, flips, self.activation, rng)


def neumann_inverse(inverse: Array, change: Array, order: int = 2) -> Array:
    r"""Return (I + A + change)^{-1} approximately, from inverse = (I + A)^{-1}: a Neumann series cut off.

    .. math:: \sum_{k=0}^{m} E^k (I + A)^{-1}, \quad E = -(I + A)^{-1}\, \mathrm{change}

    Its error is at most \|E\|^{m+1} / (1 - \|E\|), as \|(I + A)^{-1}\| <= 1 for skew-symmetric A: third order in the
    change with the authors' m = 2. It pays where the last inverse is known and the descent has moved A a little.

    Args:
        inverse: Of I + A, (n, n).
        change: What was added to A since, (n, n).
        order: m, the last power of the series.

    Raises:
        DataError: The series does not converge, or the order is no whole number.
    """
    inverse = as_array("inverse", inverse, ("n", "n"))
    E = -inverse @ as_array("change", change, inverse.shape)
    size = float(np.linalg.norm(E, 2))
    if size >= 1.0:
        raise DataError(f"the change is {size:.3g} times what the inverse bears; invert anew, or change less (< 1).")
    total = term = inverse
    for _ in range(as_whole("order", order, 0)):
        term = E @ term
        total = total + term
    return total

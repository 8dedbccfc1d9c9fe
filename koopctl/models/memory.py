"""The state of a recurrent model: the newest coordinates, and what its network remembers of the samples before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from koopctl.arrays import Array, as_array
from koopctl.models.window import Window

Recall = Callable[[Array, Array], Array]
RecallSlopes = Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Memory(Window):
    """State x = [q_k, h_k], h the hidden state a network comes to when it is shown the `delays` samples before.

    The regressors w are the embedded q and h. A window of measurements makes a state as with any other model, so that
    laws, scores and roll-outs need not know that there is a network.

    Attributes:
        hidden: Length of h.
        recall: Makes h (n, hidden) of coordinates (n, delays, nq) and inputs (n, delays, nu) before the newest sample.
        slopes: Derivatives of the h that constant q (k, nq) and u (k, nu) lead to, (k, hidden, nq), (k, hidden, nu).
    """

    affine: ClassVar[bool] = False

    hidden: int = 0
    recall: Recall | None = field(default=None, repr=False, compare=False)
    slopes: RecallSlopes | None = field(default=None, repr=False, compare=False)

    @property
    def nx(self) -> int:
        """Length of the state."""
        return self.nq + self.hidden

    @property
    def nw(self) -> int:
        """Length of the regressors."""
        return self.chart.ne + self.hidden

    @cached_property
    def linear(self) -> np.ndarray:
        """(2, nl): positions in x and in w of everything that appears as itself."""
        h = np.arange(self.hidden)
        return np.concatenate([self.chart.linear, np.array([self.nq + h, self.chart.ne + h])], axis=1)

    @cached_property
    def circle(self) -> np.ndarray:
        """(3, na): positions of each angle in x and of its cos and sin in w."""
        return np.asarray(self.chart.circle)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the state."""
        return (*self.chart.names, *(f"h{i}" for i in range(self.hidden)))

    def encode(self, Y: Array, U: Array) -> Array:
        """Return the state (nx,) from the last delays + 1 observations Y and the delays inputs U between them.

        Raises:
            ShapeError: Y or U has another shape.
        """
        Y = as_array("Y", Y, (self.delays + 1, len(self.chart.y_names)))
        return np.asarray(self.states(Y, self._inputs(U))[0])

    def encode_each(self, Y: Array, U: Array) -> Array:
        """Return the states (n, nx) after many whole windows Y (n, delays + 1, ny) and U (n, delays, nu)."""
        Q = self.chart.to_coordinates(Y)
        return np.concatenate([Q[:, -1], self._recall(Q[:, :-1], U)], axis=1)

    def states(self, Y: Array, U: Array) -> Array:
        """Return the states (T + 1 - d, nx) along an episode Y (T + 1, ny), U (T, nu)."""
        Q = self.chart.to_coordinates(Y)
        before = sliding_window_view(Q[:-1], self.delays, axis=0).swapaxes(1, 2)
        inputs = sliding_window_view(U, self.delays, axis=0).swapaxes(1, 2)
        return np.concatenate([Q[self.delays :], self._recall(before, inputs)], axis=1)

    def standing(self, q: Array, u: Array) -> Array:
        """Return the states (..., nx) after coordinates q (..., nq) and inputs u (..., nu) that have long stood."""
        Q, U = np.atleast_2d(q), np.atleast_2d(u)
        h = self._recall(np.repeat(Q[:, None], self.delays, axis=1), np.repeat(U[:, None], self.delays, axis=1))
        return np.concatenate([q, h.reshape(*np.shape(q)[:-1], self.hidden)], axis=-1)

    def standing_slopes(self, q: Array, u: Array) -> tuple[Array, Array]:
        """Return the derivatives of `standing` by q (k, nx, nq) and by u (k, nx, nu) at q (k, nq) and u (k, nu)."""
        if self.slopes is None:
            raise AttributeError("a memory without its network recalls nothing.")
        by_q, by_u = self.slopes(q, u)
        unit = np.broadcast_to(np.eye(self.nq), (len(q), self.nq, self.nq))
        return np.concatenate([unit, by_q], axis=1), np.concatenate(
            [np.zeros((len(u), self.nq, self.nu)), by_u], axis=1
        )

    def turned(self, turns: Array) -> Array:
        """Return what adding whole turns to the coordinates (nq,) adds to a state, (nx,): networks see cos and sin."""
        return np.concatenate([turns, np.zeros(self.hidden)])

    def _inputs(self, U: Array) -> Array:
        """Return the inputs of a window, (delays, nu), of as many numbers in any shape."""
        shape = (self.delays, self.nu)
        return as_array("U", np.reshape(U, shape) if np.size(U) == self.delays * self.nu else U, shape)

    def _recall(self, before: Array, inputs: Array) -> Array:
        if self.recall is None:
            raise AttributeError("a memory without its network recalls nothing.")
        return self.recall(before, inputs)

"""The state of a model: coordinates of the newest observation, and of older ones where delays are asked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from koopctl.arrays import Array, as_array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.chart import Chart


@dataclass(frozen=True)
class Window:
    """State x = [q_k, q_(k-1), ..., q_(k-d), u_(k-1), ..., u_(k-d)] with q the chart's coordinates, d the delays.

    The regressors w are the same with every q replaced by its embedding (an angle by its cos and sin).

    Attributes:
        chart: Coordinates of one observation.
        delays: d, the number of older samples in the state.
        nu: Number of inputs.
    """

    affine: ClassVar[bool] = True  # whether `standing` is, so that its slopes are the same everywhere

    chart: Chart
    delays: int
    nu: int

    @property
    def nq(self) -> int:
        """Coordinates of one observation."""
        return self.chart.nq

    @property
    def nx(self) -> int:
        """Length of the state."""
        return (self.delays + 1) * self.nq + self.delays * self.nu

    @property
    def nw(self) -> int:
        """Length of the regressors."""
        return (self.delays + 1) * self.chart.ne + self.delays * self.nu

    @cached_property
    def linear(self) -> np.ndarray:
        """(2, nl): positions in x and in w of everything that appears as itself."""
        blocks = [self.chart.linear + np.array([[i * self.nq], [i * self.chart.ne]]) for i in range(self.delays + 1)]
        past = np.arange(self.delays * self.nu)
        starts = np.array([[(self.delays + 1) * self.nq], [(self.delays + 1) * self.chart.ne]])
        return np.concatenate([*blocks, past + starts], axis=1)

    @cached_property
    def circle(self) -> np.ndarray:
        """(3, na): positions of each angle in x and of its cos and sin in w."""
        step = np.array([[self.nq], [self.chart.ne], [self.chart.ne]])
        return np.concatenate([self.chart.circle + i * step for i in range(self.delays + 1)], axis=1)

    @cached_property
    def _is_plain(self) -> bool:
        return self.circle.shape[1] == 0 and bool((self.linear[0] == self.linear[1]).all())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the state: `theta`, `theta[-1]`, ..."""
        lag = [""] + [f"[-{i}]" for i in range(1, self.delays + 1)]
        states = [name + suffix for suffix in lag for name in self.chart.names]
        return (*states, *(f"input{j}{suffix}" for suffix in lag[1:] for j in range(self.nu)))

    def embed(self, X: Array) -> Array:
        """Return the regressors W (n, nw) of states X (n, nx)."""
        if self._is_plain:
            return X
        W = np.empty((len(X), self.nw))
        W[:, self.linear[1]] = X[:, self.linear[0]]
        angle = X[:, self.circle[0]]
        W[:, self.circle[1]] = np.cos(angle)
        W[:, self.circle[2]] = np.sin(angle)
        return W

    def chain(self, J: Array, W: Array) -> Array:
        """Turn derivatives by w, J (n, m, nw) at regressors W (n, nw), into derivatives by x (n, m, nx)."""
        if self._is_plain:
            return J
        out = np.empty((*J.shape[:2], self.nx))
        out[:, :, self.linear[0]] = J[:, :, self.linear[1]]
        _, c, s = self.circle
        out[:, :, self.circle[0]] = J[:, :, s] * W[:, None, c] - J[:, :, c] * W[:, None, s]
        return out

    def advance(self, X: Array, Q_next: Array, U: Array) -> Array:
        """Return the next states (n, nx): Q_next (n, nq) in front, everything else one sample older."""
        if not self.delays:
            return Q_next
        past = self.nq * (self.delays + 1)
        older = X[:, : past - self.nq]
        return np.concatenate([Q_next, older, U, X[:, past : X.shape[1] - self.nu]], axis=1)

    @cached_property
    def shift(self) -> tuple[Array, Array]:
        """Matrices (nx - nq, nx) and (nx - nq, nu): how x and u become the older part of the next state."""
        eye_x, eye_u = np.eye(self.nx), np.eye(self.nu)
        part_x = self.advance(eye_x, np.zeros((self.nx, self.nq)), np.zeros((self.nx, self.nu)))
        part_u = self.advance(np.zeros((self.nu, self.nx)), np.zeros((self.nu, self.nq)), eye_u)
        return part_x.T[self.nq :], part_u.T[self.nq :]

    def difference(self, Xa: Array, Xb: Array) -> Array:
        """Return Xa - Xb with angles wrapped into [-pi, pi)."""
        delta = Xa - Xb
        angles = self.circle[0]
        if len(angles):
            delta[..., angles] = (delta[..., angles] + np.pi) % (2 * np.pi) - np.pi
        return delta

    def difference_of_coordinates(self, Qa: Array, Qb: Array) -> Array:
        """Return Qa - Qb (..., nq) with angles wrapped into [-pi, pi)."""
        delta = Qa - Qb
        angles = self.chart.angles
        if len(angles):
            delta[..., angles] = (delta[..., angles] + np.pi) % (2 * np.pi) - np.pi
        return delta

    def encode(self, Y: Array, U: Array) -> Array:
        """Return the state (nx,) from the last delays + 1 observations Y and the delays inputs U between them.

        Raises:
            ShapeError: Y or U has another shape.
        """
        Y = as_array("Y", Y, (self.delays + 1, len(self.chart.y_names)))
        shape = (self.delays, self.nu)
        U = as_array("U", np.reshape(U, shape) if np.size(U) == self.delays * self.nu == 0 else U, shape)
        q = self.chart.to_coordinates(Y[::-1])
        return np.concatenate([q.ravel(), U[::-1].ravel()])

    def encode_each(self, Y: Array, U: Array) -> Array:
        """Return the states (n, nx) after many whole windows Y (n, delays + 1, ny) and U (n, delays, nu)."""
        n, Q = len(Y), self.chart.to_coordinates(Y[:, ::-1])
        return np.concatenate([Q.reshape(n, -1), U[:, ::-1].reshape(n, -1)], axis=1)

    def standing(self, q: Array, u: Array) -> Array:
        """Return the states (..., nx) after coordinates q (..., nq) and inputs u (..., nu) that have long stood."""
        return np.concatenate([q] * (self.delays + 1) + [u] * self.delays, axis=-1)

    def standing_slopes(self, q: Array, u: Array) -> tuple[Array, Array]:
        """Return the derivatives of `standing` by q (k, nx, nq) and by u (k, nx, nu) at q (k, nq) and u (k, nu)."""
        past = self.delays * self.nu
        by_q = np.concatenate([np.tile(np.eye(self.nq), (self.delays + 1, 1)), np.zeros((past, self.nq))])
        by_u = np.concatenate([np.zeros((self.nx - past, self.nu)), np.tile(np.eye(self.nu), (self.delays, 1))])
        return np.broadcast_to(by_q, (len(q), *by_q.shape)), np.broadcast_to(by_u, (len(u), *by_u.shape))

    def turned(self, turns: Array) -> Array:
        """Return what adding whole turns to the coordinates (nq,) adds to a state, (nx,)."""
        return self.standing(turns, np.zeros(self.nu))

    def states(self, Y: Array, U: Array) -> Array:
        """Return the states (T + 1 - d, nx) along an episode Y (T + 1, ny), U (T, nu)."""
        Q = self.chart.to_coordinates(Y)
        if not self.delays:
            return Q
        q = sliding_window_view(Q, self.delays + 1, axis=0)[:, :, ::-1]  # (T + 1 - d, nq, d + 1), newest first
        u = sliding_window_view(U, self.delays, axis=0)[:, :, ::-1]
        flat = [np.swapaxes(part, 1, 2).reshape(len(q), -1) for part in (q, u)]
        return np.concatenate(flat, axis=1)

    def states_and_increments(self, Y: Array, U: Array) -> tuple[Array, Array]:
        """Return the states (T - d, nx) that something follows in an episode, and the increments (T - d, nq) to it."""
        X = self.states(Y, U)
        return X[:-1], self.difference_of_coordinates(X[1:, : self.nq], X[:-1, : self.nq])

    def transitions(self, rollouts: Rollouts) -> tuple[Array, Array, Array]:
        """Return states (n, nx), inputs (n, nu) and increments of the coordinates (n, nq); no pair spans two episodes.

        Raises:
            DataError: Every episode is too short for the delays.
        """
        check_lengths(self.delays, rollouts)
        long = [(Y, U) for Y, U in rollouts if len(U) > self.delays]
        parts = [(*self.states_and_increments(Y, U), U[self.delays :]) for Y, U in long]
        X, dQ, inputs = (np.concatenate(part) for part in zip(*parts, strict=True))
        return X, inputs, dQ


def check_lengths(delays: int, rollouts: Rollouts, warn: bool = True, name: str = "delays") -> None:
    """Warn of episodes too short for the delays, and raise a DataError, which calls them `name`, where all are."""
    lengths = [len(U) for U in rollouts.U]
    short = sum(length <= delays for length in lengths)
    if short == len(lengths):
        raise DataError(
            f"every episode is too short: {name}={delays} needs at least {delays + 1} transitions an "
            f"episode, the longest has {max(lengths)}; record longer episodes or lower {name}."
        )
    if short and warn:
        warnings.warn(
            f"{short} of {len(lengths)} episodes are shorter than {delays + 1} "
            f"transitions, too short for the {name}; they were left out.",
            stacklevel=5,
        )

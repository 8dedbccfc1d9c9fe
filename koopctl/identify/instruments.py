"""Model and known controller simulated together: states and inputs free of the recorded noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.base import Model
from koopctl.models.roll_out import guard

_PIECE = 100  # transitions of a controller without memory that are simulated in a row, beside all others


@dataclass(frozen=True)
class Piece:
    """A stretch of the recording.

    Attributes:
        X: Measured states, (n + 1, nx).
        U: Recorded inputs, (n, nu).
        r: What was added to the controller's answer, (n, nu).
        before: The observations from the controller's reset to the first state, (d, ny).
    """

    X: Array
    U: Array
    r: Array
    before: Array


@dataclass(frozen=True)
class Simulated:
    """The loop of model and controller along the pieces, end to end.

    Attributes:
        X: States, (n, nx).
        U: Inputs, (n, nu).
        age: Steps since the simulation last took a measured state, (n,).
        strayed: Whether the loop had left the surroundings of the data by then, (n,).
    """

    X: Array
    U: Array
    age: np.ndarray
    strayed: np.ndarray


class Loop:
    """A recording and the controller that ran while it was made.

    Attributes:
        pieces: Episodes, or shorter stretches of them where the controller has no memory, the longest first.
    """

    def __init__(self, model: Model, data: Rollouts, feedback: Callable[..., Any]) -> None:
        """Find what was added to the controller's answers.

        Args:
            model: Says what a state is.
            data: The recording.
            feedback: Maps an observation (ny,) to u (nu,) or (u, info); with a `reset` it is taken to have a memory.

        Raises:
            DataError: `feedback` gives something else.
        """
        if not callable(feedback):
            raise DataError(f"feedback is {feedback!r}; it is a function u = feedback(y) or a law.")
        self.window, self.feedback, self.nu = model.window_, feedback, data.nu
        self.remembers = hasattr(feedback, "reset")
        self.pieces = sorted((piece for Y, U in data for piece in self._cut(Y, U)), key=lambda piece: -len(piece.U))

    def _cut(self, Y: Array, U: Array) -> Iterator[Piece]:
        d = self.window.delays
        if len(U) <= d:
            return
        self._reset()
        r = np.array([u - self._answer(y) for y, u in zip(Y, U, strict=False)])
        X = self.window.states(Y, U)
        length = len(U) if self.remembers else _PIECE
        for first in range(0, len(U) - d, length):
            end = min(first + length, len(U) - d)
            yield Piece(X[first : end + 1], U[d + first : d + end], r[d + first : d + end], Y[:d])

    def simulate(self, model: Model, restart: int) -> Simulated:
        """Drive model and controller by what was added to its answers, from the measured state every `restart` steps.

        A restart brings in the noise of the newest d + 1 samples, d the delays; from an age of d + 1 on no transition
        was measured with any of it.
        """
        groups = [[piece] for piece in self.pieces] if self.remembers else [self.pieces]
        parts = [self._lockstep(model, group, restart) for group in groups]
        return Simulated(*(np.concatenate([np.asarray(part[i]) for part in parts]) for i in range(4)))

    def _lockstep(self, model: Model, pieces: list[Piece], restart: int) -> tuple[Array, Array, np.ndarray, np.ndarray]:
        """Simulate pieces, the longest first, side by side; the rows of the result follow each other piece by piece."""
        lengths = np.array([len(piece.U) for piece in pieces])
        X, U = np.zeros((len(pieces), lengths[0], model.nx)), np.zeros((len(pieces), lengths[0], self.nu))
        strayed = np.zeros(X.shape[:2], dtype=bool)
        low, high = guard(model, np.concatenate([piece.X for piece in pieces]))
        low, high = low.min(axis=0), high.max(axis=0)
        self._start(pieces[0])
        x, outside = np.empty((len(pieces), model.nx)), np.zeros(len(pieces), dtype=bool)
        for k in range(lengths[0]):
            n = int(np.count_nonzero(lengths > k))
            x, outside = x[:n], outside[:n]
            if k % restart == 0:
                x, outside = np.array([piece.X[k] for piece in pieces[:n]]), np.zeros(n, dtype=bool)
            Y = model.output(x)
            u = np.array([self._answer(y) + piece.r[k] for y, piece in zip(Y, pieces[:n], strict=True)])
            X[:n, k], U[:n, k], strayed[:n, k] = x, u, outside
            with np.errstate(over="ignore", invalid="ignore"):
                Q = x[:, : self.window.nq] + model._increment(x, u)
            inside = np.clip(np.nan_to_num(Q), low, high)
            outside = outside | (inside != Q).any(axis=1)
            x = self.window.advance(x, inside, u)
        filled = np.arange(lengths[0]) < lengths[:, None]
        age = np.broadcast_to(np.arange(lengths[0]) % restart, filled.shape)
        return X[filled], U[filled], age[filled], strayed[filled]

    def _start(self, piece: Piece) -> None:
        """Bring a controller with a memory to where it was at the first state of an episode."""
        if self.remembers:
            self._reset()
            for y in piece.before:
                self._answer(y)

    def _reset(self) -> None:
        if self.remembers:
            self.feedback.reset()  # type: ignore[attr-defined]

    def _answer(self, y: Array) -> Array:
        answer = self.feedback(y)
        try:
            u = np.asarray(answer[0] if isinstance(answer, tuple) else answer, dtype=np.float64).ravel()
        except (TypeError, ValueError):
            raise DataError(f"feedback returned {answer!r}; it must give {self.nu} finite inputs.") from None
        if u.shape != (self.nu,) or not np.isfinite(u).all():
            raise DataError(f"feedback returned {u} for an observation; it must give {self.nu} finite inputs.")
        return u

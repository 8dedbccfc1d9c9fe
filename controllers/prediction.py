"""The model as a law plans with it: some inputs free, the others foretold, a constant offset of each step added."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array, index_of
from koopctl.models.base import Model
from koopctl.task import Task

Expansion = tuple[Array, Array, Array]  # f, A, B at every stage of a plan


class Prediction:
    """x_{k+1} = f(x_k, [u_k, w_k]) + offset: u is chosen, w measured and foretold, the offset estimated.

    Attributes:
        model: The learnt model.
        free: Which of the model's inputs are chosen, (nu,).
        measured: Which are measured disturbances, (nd,).
        W: The disturbances over the horizon, (N, nd).
        offset: What every step adds to the newest coordinates, (nq,).
    """

    def __init__(self, model: Model, task: Task) -> None:
        """Split the inputs; disturbances start in the middle of the training data.

        Args:
            model: A fitted model.
            task: Names the disturbances and has the horizon.

        Raises:
            UnknownNameError: A disturbance is no input of the model.
        """
        self.model, self.window = model, model.window_
        self.measured = np.array([index_of(name, model.u_names_, "input") for name in task.disturbances], dtype=int)
        self.free = np.setdiff1d(np.arange(model.nu), self.measured)
        self.names = tuple(model.u_names_[i] for i in self.free)
        middle = (model.input_range_.low + model.input_range_.high) / 2
        self._middle = np.tile(middle[self.measured], (int(task.horizon), 1))
        self.low, self.high = model.input_range_.low[self.free], model.input_range_.high[self.free]
        self.nx, self.nu, self.nq = model.nx, len(self.free), model.window_.nq
        self.reset()

    def reset(self) -> None:
        """Forget the disturbances and the offset."""
        self.W, self.offset = self._middle.copy(), np.zeros(self.nq)
        self._shifted = False

    def set_offset(self, offset: Array) -> None:
        """Take an offset (nq,) of every step."""
        self.offset, self._shifted = offset, bool(np.count_nonzero(offset))

    def full(self, U: Array, stage: int | slice = slice(None)) -> Array:
        """Return the model's inputs (..., nu of the model) for chosen ones (..., nu).

        Args:
            U: Chosen inputs, (n, nu) or (nu,).
            stage: Which stages' disturbances belong to the rows: one for all of them, or a slice of as many.
        """
        if not len(self.measured):
            return U
        whole = np.empty((*U.shape[:-1], self.nu + len(self.measured)))
        whole[..., self.free], whole[..., self.measured] = U, self.W[stage]
        return whole

    def step(self, X: Array, U: Array, stage: int = 0) -> Array:
        """Return the states after stage `stage`, (n, nx) or (nx,), for inputs (n, nu) or (nu,)."""
        nxt = self.model.step(X, self.full(U, min(stage, len(self.W) - 1)))
        if self._shifted:
            nxt[..., : self.nq] += self.offset
        return nxt

    def advance(self, x: Array, inputs: Array) -> Array:
        """Return the state (nx,) after a step with all of the model's inputs given, (nu of the model,)."""
        nxt = self.model.step(x, inputs)
        if self._shifted:
            nxt[: self.nq] += self.offset
        return nxt

    def expand(self, X: Array, U: Array, stages: slice | np.ndarray = slice(None)) -> Expansion:
        """Return f (n, nx), A (n, nx, nx), B (n, nx, nu) at states (n, nx) and inputs (n, nu) of these stages."""
        F, A, B = self.model.expand(X, self.full(U, stages))  # type: ignore[arg-type]
        if self._shifted:
            F[:, : self.nq] += self.offset
        return F, A, B[:, :, self.free] if len(self.measured) else B

    def linearize(self, x: Array, u: Array, stage: int = -1) -> tuple[Array, Array]:
        """Return A (nx, nx), B (nx, nu) at one state and input."""
        A, B = self.model.linearize(x, self.full(u, stage))
        return A, B[:, self.free]

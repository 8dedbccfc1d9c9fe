"""Models that differ in their outer layer only, rolled out as one: the hidden layer is evaluated in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctl.arrays import Array
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc
from koopctl.models.roll_out import guard
from koopctl.models.sampled_rnn import SampledRNN


class Stacked:
    """The outer layers of models that share everything else.

    Attributes:
        first: One of the models, for what they share.
        weights: What each makes of the hidden layer's values: increments of the coordinates, (K, p, nq).
    """

    def __init__(self, first: Model, weights: Array) -> None:
        """Keep the layers."""
        self.first, self.weights = first, weights

    @classmethod
    def of(cls, members: Sequence[Model]) -> Stacked | None:
        """Stack resampled copies of one model; None for a kind of model whose outer layer is not known here."""
        if not all(isinstance(member, SampledRNN | EDMDc) for member in members):
            return None
        return cls(members[0], np.stack([_outer(member) for member in members]))

    def roll_out(self, X: Array, U: Array) -> Array:
        """Return the re-lifted paths of all models from X (n, nx) under U (n, T, nu), (K, n, T + 1, nx)."""
        K, (n, T) = len(self.weights), U.shape[:2]
        window, nq = self.first.window_, self.first.window_.nq
        X, U = np.tile(X, (K, 1)), np.tile(U, (K, 1, 1))
        path = np.empty((K * n, T + 1, window.nx))
        path[:, 0] = X
        low, high = guard(self.first, X)
        for k in range(T):
            values = _values(self.first, X, U[:, k]).reshape(K, n, -1)
            Q = X[:, :nq] + (values @ self.weights).reshape(K * n, nq)
            X = path[:, k + 1] = window.advance(X, np.clip(Q, low, high), U[:, k])
        return path.reshape(K, n, T + 1, -1)


def _outer(model: Model) -> Array:
    """Return what maps `_values` to increments, (p, nq)."""
    if isinstance(model, SampledRNN):
        return np.concatenate([model._Ct, model._Lt, model._offset[None]])
    if not isinstance(model, EDMDc):
        raise TypeError(type(model).__name__)
    nq = model.window_.nq
    A = model.A_[:nq].T - np.eye(model.nz, nq)
    rows = [A, model.B_[:nq].T, model.c_[None, :nq]]
    return np.concatenate([*rows, *(N[:nq].T for N in model.N_)] if model.inputs == "bilinear" else rows)


def _values(model: Model, X: Array, U: Array) -> Array:
    """Return what the outer layer reads of states X (n, nx) and inputs U (n, nu), (n, p)."""
    one = np.ones((len(X), 1))
    if isinstance(model, SampledRNN):
        S = np.concatenate([model.window_.embed(X), U], axis=1)
        return np.concatenate([model._hidden(S), S, one], axis=1)
    if not isinstance(model, EDMDc):
        raise TypeError(type(model).__name__)
    Z = model.lift_state(X)
    parts = [Z, U, one]
    if model.inputs == "bilinear":
        parts.append((U[:, :, None] * Z[:, None, :]).reshape(len(X), -1))
    return np.concatenate(parts, axis=1)

"""What a model knows of the data it was fitted to: names, sampling time, boxes, coordinates it must not see."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator

from koopctl.arrays import Array
from koopctl.data.missing import Missing
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, NotFittedError, SamplingTimeError
from koopctl.models.envelope import Envelope
from koopctl.models.window import Window


class Identified(BaseEstimator, ABC):
    """Something fitted to rollouts; `Model` lists the attributes."""

    cyclic_: tuple[str, ...]
    _unseen: np.ndarray
    window_: Window
    dt_: float
    u_names_: tuple[str, ...]
    sensors_: tuple[str, ...]
    envelope_: Envelope
    input_range_: Envelope
    notes_: tuple[str, ...]

    @property
    def dt(self) -> float:
        """Sampling time [s]."""
        self._fitted  # noqa: B018  raises where there is no fit
        return self.dt_

    def check_dt(self, dt: float, what: str = "this") -> None:
        """Raise SamplingTimeError unless `dt` [s] is the model's own."""
        if not abs(dt - self.dt) <= 1e-6 * self.dt:
            raise SamplingTimeError(what, self.dt, dt)

    def check_data(self, rollouts: Rollouts) -> None:
        """Raise DataError or SamplingTimeError unless `rollouts` have the columns and the dt of the first fit."""
        mine, theirs = (self._fitted.chart.y_names, self.u_names_), (rollouts.x_names, rollouts.u_names)
        if mine != theirs:
            raise DataError(f"the data has columns {theirs}, the model was fitted to {mine}; see Rollouts.select.")
        self.check_dt(rollouts.dt, "the data")

    @property
    def _fitted(self) -> Window:
        if not hasattr(self, "window_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit(rollouts) first.")
        return self.window_

    # ------------------------------------------------------------------ steps of a fit
    def _name(self, rollouts: Rollouts, window: Window) -> None:
        """Take over names and sampling time, and how states are made."""
        self.window_ = window
        self.dt_, self.u_names_, self.sensors_ = rollouts.dt, rollouts.u_names, rollouts.sensors

    def _forget(self) -> None:
        for name in [n for n in vars(self) if n.endswith("_")]:
            delattr(self, name)

    def _note(self, rollouts: Rollouts, *found: str) -> None:
        """Keep what is known of the data in words; what was missing is counted over all of it."""
        self._lost_ = getattr(self, "_lost_", {}) | rollouts._lost
        self._said_ = (*getattr(self, "_said_", getattr(self, "notes_", ())), *rollouts._notes, *found)
        lost = sum(self._lost_.values(), Missing()).describe()
        self.notes_ = tuple(dict.fromkeys((*self._said_, lost) if lost else self._said_))

    def _widen(self, X: Array, U: Array, dQ: Array) -> None:
        """Let the boxes hold states X (n, nx), inputs U (n, nu) and the states that increments dQ (n, nq) lead to."""
        if len(X):
            nxt = self.window_.advance(X, X[:, : self.window_.nq] + dQ, U)
            for name, S in (("envelope_", self.window_.embed(np.concatenate([X, nxt]))), ("input_range_", U)):
                box = Envelope.around(S)
                setattr(self, name, box.union(getattr(self, name)) if hasattr(self, name) else box)

    def _hide(self, cyclic: Sequence[str]) -> None:
        """Set the cyclic coordinates and their positions in x and in w, (2, n), at every lag."""
        self.cyclic_ = tuple(cyclic)
        positions = [self.window_.chart.names.index(name) for name in self.cyclic_]
        linear = self.window_.linear
        lags = linear[0] < (self.window_.delays + 1) * self.window_.nq
        self._unseen = linear[:, lags & np.isin(linear[0] % self.window_.nq, positions)]

"""How a model learns: once or block by block, one ridge regression on features fixed by the first data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator

from koopctl.arrays import Array, as_whole
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, NotFittedError, SamplingTimeError
from koopctl.models.chart import Chart
from koopctl.models.cyclic import find_cyclic
from koopctl.models.envelope import Envelope
from koopctl.models.gram import Gram, check_ridge
from koopctl.models.window import Window

_BLOCK = 8192  # samples whose features exist at one time


class Learner(BaseEstimator, ABC):
    """The learning half of a `Model`, which lists the attributes; each kind of model supplies four steps of it."""

    delays: int
    ridge: float
    manifold: bool
    cyclic: str | Sequence[str]
    cyclic_: tuple[str, ...]
    _unseen: np.ndarray
    window_: Window
    dt_: float
    u_names_: tuple[str, ...]
    sensors_: tuple[str, ...]
    envelope_: Envelope
    input_range_: Envelope
    notes_: tuple[str, ...]
    _gram_: Gram

    def fit(self, rollouts: Rollouts, y: None = None) -> Self:
        """Learn from rollouts and return self.

        Args:
            rollouts: The recorded motion.
            y: Ignored; present for scikit-learn's grammar.

        Raises:
            DataError: The data cannot carry the model (too short, never moving, ...).
        """
        del y
        self._forget()
        return self.partial_fit(rollouts)

    def partial_fit(self, rollouts: Rollouts, y: None = None) -> Self:
        """Add rollouts to what was learnt; the first call fixes coordinates, scales and hidden units."""
        del y
        if not isinstance(rollouts, Rollouts):
            raise DataError(f"fit takes Rollouts, not {type(rollouts).__name__}; wrap arrays as Rollouts(X, U, dt).")
        as_whole("delays", self.delays, 0)
        check_ridge(self.ridge)
        if hasattr(self, "window_"):
            self._go_on(rollouts)
            return self
        try:
            self._begin(rollouts)
        except BaseException:
            self._forget()  # half a fit would pass for a whole one
            raise
        return self

    def _forget(self) -> None:
        for name in [n for n in vars(self) if n.endswith("_")]:
            delattr(self, name)

    def _begin(self, rollouts: Rollouts) -> None:
        self._adopt(rollouts)
        X, U, dQ = self.window_.transitions(rollouts)
        self._hide(find_cyclic(self.cyclic, self.window_, X, U, dQ))
        self.notes_ += tuple(
            f"the motion does not depend on {name}: the model does not see it." for name in self.cyclic_
        )
        self._sample(X, U, dQ)
        self.envelope_, self.input_range_ = Envelope.around(self.window_.embed(X)), Envelope.around(U)
        self._gram_ = Gram(*self._problem_size())
        self._learn(X, U, dQ)

    def _go_on(self, rollouts: Rollouts) -> None:
        self.check_data(rollouts)
        if not hasattr(self, "_gram_"):
            raise NotFittedError("this model came without what it learnt from (inside a law's file); fit a new one.")
        X, U, dQ = self.window_.transitions(rollouts)
        self.envelope_ = self.envelope_.union(Envelope.around(self.window_.embed(X)))
        self.input_range_ = self.input_range_.union(Envelope.around(U))
        self._learn(X, U, dQ)

    def _learn(self, X: Array, U: Array, dQ: Array) -> None:
        for start in range(0, len(X), _BLOCK):
            block = slice(start, start + _BLOCK)
            self._gram_.add(*self._regression(X[block], U[block], dQ[block]))
        self._construct(self._gram_.solve(self.ridge))

    def _adopt(self, rollouts: Rollouts) -> None:
        chart = Chart.plain(rollouts.x_names)
        if self.manifold:
            chart = Chart.detect(np.concatenate(rollouts.X), rollouts.x_names)
        self.window_ = Window(chart, int(self.delays), rollouts.nu)
        self.dt_, self.u_names_, self.sensors_ = rollouts.dt, rollouts.u_names, rollouts.sensors
        self.notes_ = tuple(chart.describe())

    def _hide(self, cyclic: Sequence[str]) -> None:
        """Set the cyclic coordinates and their positions in x and in w, (2, n), at every lag."""
        self.cyclic_ = tuple(cyclic)
        positions = [self.window_.chart.names.index(name) for name in self.cyclic_]
        linear = self.window_.linear
        lags = linear[0] < (self.window_.delays + 1) * self.window_.nq
        self._unseen = linear[:, lags & np.isin(linear[0] % self.window_.nq, positions)]

    @abstractmethod
    def _sample(self, X: Array, U: Array, dQ: Array) -> None:
        """Fix scales and hidden units from states (n, nx), inputs (n, nu) and increments (n, nq)."""

    @abstractmethod
    def _problem_size(self) -> tuple[int, int]:
        """Return the numbers of regressors and targets."""

    @abstractmethod
    def _regression(self, X: Array, U: Array, dQ: Array) -> tuple[Array, Array]:
        """Return regressors (n, p) and targets (n, m) of samples."""

    @abstractmethod
    def _construct(self, theta: Array) -> None:
        """Build the model's matrices from the least-squares solution (m, p)."""

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

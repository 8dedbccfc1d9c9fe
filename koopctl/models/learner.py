"""How a model learns: once or block by block, one ridge regression on features fixed by the first data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Self, cast

import numpy as np
from sklearn.base import BaseEstimator

from koopctl.arrays import Array, as_whole, is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.data.weaknesses import weaknesses
from koopctl.errors import DataError, NotFittedError, SamplingTimeError
from koopctl.models.blocks import Block, ahead, blocks, check_weight, pool
from koopctl.models.chart import Chart
from koopctl.models.cyclic import find_cyclic
from koopctl.models.envelope import Envelope
from koopctl.models.probe import Probe
from koopctl.models.window import Window, check_lengths
from koopctl.regression.gram import Gram
from koopctl.regression.recursive import Recursive
from koopctl.regression.solution import Solution, check_ridge
from koopctl.regression.triangle import Triangle

_ILL_CONDITIONED = 1e7  # beyond it the normal equations, which square it, keep fewer than two digits

Weights = Sequence[Array] | None


class Learner(BaseEstimator, ABC):
    """The learning half of a `Model`, which lists the attributes; each kind of model supplies four steps of it."""

    delays: int
    ridge: float
    solver: Literal["auto", "cholesky", "qr"]
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
    solution_: Solution
    residual_covariance_: Array
    _learnt_: Gram | Triangle
    _probe_: Probe

    def fit(self, rollouts: Rollouts | Iterable[Rollouts], y: None = None, sample_weight: Weights = None) -> Self:
        """Learn from rollouts and return self.

        Args:
            rollouts: The recorded motion. A list of Rollouts is joined; an iterator of Rollouts is read one by one, so
                that the whole recording need not fit into memory: its first item fixes coordinates, scales and hidden
                units, so let it be rich.
            y: Ignored; present for scikit-learn's grammar.
            sample_weight: How much each transition counts, one array (T_i,) an episode, not negative.

        Raises:
            DataError: The data cannot carry the model (too short, never moving, ...).
        """
        del y
        self._forget()
        try:
            if isinstance(rollouts, Iterator):
                self._stream(rollouts, sample_weight)
            else:
                data = joined(rollouts)
                self.accumulate(data, sample_weight).solve(data, sample_weight)
        except BaseException:
            self._forget()  # half a fit would pass for a whole one
            raise
        return self

    def accumulate(self, rollouts: Rollouts, sample_weight: Weights = None) -> Self:
        """Take in rollouts without solving: the first half of `fit`, of which one pass serves many values of ridge."""
        self._check_parameters()
        self._forget()
        self._begin(rollouts)
        self._take(rollouts, sample_weight)
        return self

    def solve(self, rollouts: Rollouts | None = None, sample_weight: Weights = None) -> Self:
        """Solve for what was accumulated, the second half of `fit`.

        Args:
            rollouts: The same data again, to go through once more where the normal equations have lost the digits.
            sample_weight: Its weights.
        """
        solution = self._learnt_.solve(self.ridge)
        if self.solver == "auto" and rollouts is not None and solution.condition > _ILL_CONDITIONED:
            triangle, weight = Triangle(*self._problem_size()), check_weight(rollouts, sample_weight)
            for (*_, w), (Phi, Y) in ahead(self._regressed, blocks(self.window_, rollouts, weight)):
                triangle.add(Phi, Y, w)
            self._learnt_, solution = triangle, triangle.solve(self.ridge)
        self._adopt(solution)
        return self

    def partial_fit(
        self, rollouts: Rollouts, y: None = None, sample_weight: Weights = None, forgetting: float = 1.0
    ) -> Self:
        """Add rollouts to what was learnt; the first call fixes coordinates, scales and hidden units.

        Args:
            rollouts: More of the recorded motion.
            y: Ignored.
            sample_weight: As in `fit`.
            forgetting: By how much each new transition makes all earlier ones count less; 1 forgets nothing, 0.999
                remembers about the last thousand.
        """
        del y
        if not hasattr(self, "window_"):
            return self.fit(rollouts, sample_weight=sample_weight)
        self._check_parameters()
        data = joined(rollouts)
        self.check_data(data)
        if not hasattr(self, "_learnt_"):
            raise NotFittedError("this model came without what it learnt from (inside a law's file); fit a new one.")
        if not is_finite(forgetting) or not 0.0 < forgetting <= 1.0:
            raise DataError(f"forgetting is {forgetting!r}; it is a factor above 0 and at most 1, such as 0.999.")
        if hasattr(self, "_recursive_"):
            self._learnt_ = self._recursive_.to_gram(cast(Gram, self._learnt_), self.ridge)
            del self._recursive_
        self._take(data, sample_weight, forgetting)
        self.solve()
        return self

    def update(self, x: Array, u: Array, x_next: Array, forgetting: float = 1.0) -> Self:
        """Learn from one transition, recursively; cheap enough for the loop, as nothing is solved anew.

        Forgetting acts only in the direction the transition informs about, so that what is not excited is not
        forgotten (Cao and Schwartz, Automatica 2000).

        Args:
            x: State before, (nx,), as `encode` makes it.
            u: Input, (nu,).
            x_next: State after, (nx,).
            forgetting: Factor by which earlier knowledge in this direction counts less.
        """
        window = self._fitted
        if not hasattr(self, "_recursive_"):
            learnt = getattr(self, "_learnt_", None)
            if not isinstance(learnt, Gram):
                raise NotFittedError("update() goes on from the normal equations; fit with solver='cholesky' first.")
            self._recursive_ = Recursive.start(learnt, self.ridge)
        X, U, nxt = (np.atleast_2d(np.asarray(v, dtype=float)) for v in (x, u, x_next))
        if X.shape != (1, window.nx) or nxt.shape != X.shape or U.shape != (1, window.nu):
            raise DataError(f"update takes x ({window.nx},), u ({window.nu},) and x_next ({window.nx},).")
        if not (np.isfinite(X).all() and np.isfinite(U).all() and np.isfinite(nxt).all()):
            raise DataError("update was given NaN or inf; leave such transitions out.")
        Phi, Y = self._regression(X, U, window.difference(nxt, X)[:, : window.nq])
        self._construct(self._refined(self._recursive_.add(Phi[0], Y[0], forgetting)))
        self.__dict__.pop("_report_", None)
        return self

    # ------------------------------------------------------------------ steps of a fit
    def _check_parameters(self) -> None:
        as_whole("delays", self.delays, 0)
        check_ridge(self.ridge)
        if self.solver not in ("auto", "cholesky", "qr"):
            raise DataError(f"solver is {self.solver!r}; it is 'auto', 'cholesky' or 'qr'.")

    def _forget(self) -> None:
        for name in [n for n in vars(self) if n.endswith("_")]:
            delattr(self, name)

    def _stream(self, parts: Iterator[Rollouts], sample_weight: Weights) -> None:
        if sample_weight is not None:
            raise DataError("sample_weight needs the rollouts at once; give a list instead of an iterator.")
        self._check_parameters()
        for part in parts:
            if hasattr(self, "window_"):
                self.check_data(part)
            else:
                self._begin(joined(part))
            self._take(part, None)
        if not hasattr(self, "window_"):
            raise DataError("the iterator of rollouts is empty; it may have been read before.")
        self.solve()

    def _begin(self, rollouts: Rollouts) -> None:
        """Fix coordinates, scales and hidden units."""
        chart = Chart.plain(rollouts.x_names)
        if self.manifold:
            chart = Chart.detect(np.concatenate(rollouts.X), rollouts.x_names)
        self.window_ = Window(chart, int(self.delays), rollouts.nu)
        self.dt_, self.u_names_, self.sensors_ = rollouts.dt, rollouts.u_names, rollouts.sensors
        X, U, dQ = pool(self.window_, rollouts)
        self._hide(find_cyclic(self.cyclic, self.window_, X, U, dQ))
        self._sample(X, U, dQ)
        hidden = tuple(f"the motion does not depend on {name}: the model does not see it." for name in self.cyclic_)
        self.notes_ = (*rollouts.notes, *weaknesses(rollouts), *chart.describe(), *hidden)
        self._learnt_ = (Triangle if self.solver == "qr" else Gram)(*self._problem_size())

    def _take(self, rollouts: Rollouts, sample_weight: Weights, forgetting: float = 1.0) -> None:
        """Add rollouts to the normal equations, the envelope and the probe."""
        check_lengths(self.window_.delays, rollouts)
        weight = check_weight(rollouts, sample_weight)
        for (X, U, _, w), (Phi, Y) in ahead(self._regressed, blocks(self.window_, rollouts, weight)):
            if forgetting < 1.0:
                fading = np.asarray(forgetting ** np.arange(len(X) - 1, -1, -1), dtype=np.float64)
                self._learnt_.forget(float(fading[0]) * forgetting)
                w = fading if w is None else w * fading
            W, box = self.window_.embed(X), Envelope.around(U)
            known = hasattr(self, "envelope_")
            self.envelope_ = Envelope.around(W).union(self.envelope_) if known else Envelope.around(W)
            self.input_range_ = box.union(self.input_range_) if known else box
            self._learnt_.add(Phi, Y, w)
        self._take_stretches(rollouts)
        probe = Probe.of(self.window_, rollouts)
        self._probe_ = probe if not hasattr(self, "_probe_") else self._probe_.joined(probe)

    def _adopt(self, solution: Solution) -> None:
        """Build the model from a solution of its regression."""
        self.solution_ = solution
        nq = self.window_.nq
        gain = np.outer(self.gain_, self.gain_)
        self.residual_covariance_ = self._learnt_.residual(solution.theta)[:nq, :nq] * gain
        self._construct(self._refined(solution.theta))
        self.__dict__.pop("_report_", None)

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
        """Return the numbers of regressors and targets; the first nq targets are the increments over `gain_`."""

    @abstractmethod
    def _regression(self, X: Array, U: Array, dQ: Array) -> tuple[Array, Array]:
        """Return regressors (n, p) and targets (n, m) of samples."""

    @abstractmethod
    def _construct(self, theta: Array) -> None:
        """Build the model's matrices from the least-squares solution (m, p)."""

    def _regressed(self, block: Block) -> tuple[Array, Array]:
        return self._regression(*block[:3])

    def _take_stretches(self, rollouts: Rollouts) -> None:
        """Learn from stretches of motion, where a model does so."""

    def _refined(self, theta: Array) -> Array:
        """Return the solution after what is asked beyond one-step least squares."""
        return theta

    # ------------------------------------------------------------------ checks
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


def joined(rollouts: object) -> Rollouts:
    """Return rollouts as one, which scikit-learn's splitters cut into lists of single episodes.

    Raises:
        DataError: It is neither.
    """
    if isinstance(rollouts, Rollouts | list | tuple):
        return Rollouts.join(rollouts)
    raise DataError(f"fit takes Rollouts, not {type(rollouts).__name__}; wrap arrays as Rollouts(X, U, dt).")

"""How a model learns: once or block by block, one ridge regression on features fixed by the first data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np

from koopctl.arrays import Array, as_whole
from koopctl.data.rollouts import Rollouts
from koopctl.data.weaknesses import weaknesses
from koopctl.errors import DataError, NotFittedError
from koopctl.models.base import Model
from koopctl.models.blocks import Block, ahead, blocks, pool
from koopctl.models.chart import Chart
from koopctl.models.cyclic import find_cyclic
from koopctl.models.intake import Weights, check_size, check_weight, counted_parts, counted_rows, faded, joined
from koopctl.models.probe import Probe
from koopctl.models.updating import NO_SUMS, extended, updated
from koopctl.models.window import Window, check_lengths
from koopctl.regression.gram import Gram
from koopctl.regression.recursive import Recursive
from koopctl.regression.solution import Solution, check_forgetting, check_ridge
from koopctl.regression.triangle import Triangle
from koopctl.regression.whitened import Whitened


class Learner(Model):
    """A `Model` whose coefficients are one ridge regression; each kind of model supplies four steps of it.

    Attributes:
        solution_: The least squares behind it: coefficients, path, condition number.
    """

    delays: int
    ridge: float
    solver: Literal["auto", "cholesky", "qr"]
    manifold: bool
    cyclic: str | Sequence[str]
    horizon: int = 1
    solution_: Solution
    _learnt_: Gram | Triangle | Whitened
    _recursive_: Recursive
    _probe_: Probe

    def fit(self, rollouts: Rollouts | Iterable[Rollouts], y: None = None, sample_weight: Weights = None) -> Self:
        """Learn from rollouts and return self.

        Args:
            rollouts: The recorded motion. A list of Rollouts is joined; an iterator of Rollouts is read one by one, so
                that the whole recording need not fit into memory: its first item fixes coordinates, scales and hidden
                units, so let it be rich.
            y: Ignored; present for scikit-learn's grammar.
            sample_weight: How much each transition counts, one array (T_i,) or one number an episode, not negative;
                0 or 1 for a model with horizon > 1. What counts nothing shapes no scales and hidden units either.

        Raises:
            DataError: The data cannot carry the model (too short, never moving, ...).
        """
        del y
        self._forget()
        try:
            if isinstance(rollouts, Rollouts | Sequence | np.ndarray) or not isinstance(rollouts, Iterable):
                data = joined(rollouts)
                self.accumulate(data, sample_weight).solve(data, sample_weight)
            else:
                self._stream(iter(rollouts), sample_weight)
        except BaseException:
            self._forget()  # half a fit would pass for a whole one
            raise
        return self

    def accumulate(self, rollouts: Rollouts, sample_weight: Weights = None) -> Self:
        """Take in rollouts without solving: the first half of `fit`, of which one pass serves many values of ridge."""
        self._check_parameters()
        self._forget()
        weight = check_weight(rollouts, sample_weight, self.horizon)
        self._begin(rollouts, weight)
        self._take(rollouts, weight)
        return self

    def solve(self, rollouts: Rollouts | None = None, sample_weight: Weights = None) -> Self:
        """Solve for what was accumulated, the second half of `fit`.

        Args:
            rollouts: The same data again, to go through once more where the normal equations have lost the digits.
            sample_weight: Its weights.
        """
        learnt, solution = self._learnt_, self._learnt_.solve(self.ridge)
        if self.solver == "auto" and rollouts is not None and isinstance(learnt, Gram) and solution.is_lossy:
            second, weight = Whitened.after(learnt), check_weight(rollouts, sample_weight)
            for (*_, w), (Phi, Y) in ahead(self._regressed, blocks(self.window_, rollouts, weight)):
                second.add(Phi, Y, w)
            self._learnt_, solution = second, second.solve(self.ridge)
        self._adopt(solution)
        return self

    def partial_fit(
        self, rollouts: Rollouts, y: None = None, sample_weight: Weights = None, forgetting: float = 1.0
    ) -> Self:
        """Add rollouts to what was learnt; the first call fixes coordinates, scales and hidden units.

        A model with horizon > 1 that was loaded from a file cannot go on: its stretches are not saved.

        Args:
            rollouts: More of the recorded motion.
            y: Ignored.
            sample_weight: As in `fit`.
            forgetting: By how much each new transition makes all earlier ones count less; 1 forgets nothing, 0.999
                remembers about the last thousand. A model with horizon > 1 cannot forget.

        Raises:
            DataError: The data cannot be used; nothing was changed.
            NotFittedError: There is nothing to go on from.
        """
        del y
        self._check_parameters()
        check_forgetting(forgetting, self.horizon)
        data = joined(rollouts)
        weight = check_weight(data, sample_weight, self.horizon)
        if forgetting < 1.0:
            weight = faded(data, int(self.delays), forgetting, weight)
        if not hasattr(self, "window_"):
            return self.fit(data, sample_weight=weight)
        self.check_data(data)
        self.__dict__ = extended(self, data, weight, forgetting).__dict__
        return self

    def update(self, x: Array, u: Array, x_next: Array, forgetting: float = 1.0) -> Self:
        """Learn from one transition, recursively; cheap enough for the loop, as nothing is solved anew.

        Forgetting acts only in the direction the transition informs about, so that what is not excited is not
        forgotten (Cao and Schwartz, Automatica 2000): p regressors moved alike fade over p / (1 - forgetting) updates.

        Args:
            x: State before, (nx,), as `encode` makes it.
            u: Input, (nu,).
            x_next: State after, (nx,).
            forgetting: Factor by which earlier knowledge in this direction counts less.

        Raises:
            DataError: A vector has another length or holds NaN, or the model was fitted over a horizon.
        """
        theta = updated(self, x, u, x_next, forgetting)
        self.solution_ = replace(self.solution_, theta=theta)
        self.residual_covariance_ = self._recursive_.covariance(len(self.gain_)) * np.outer(self.gain_, self.gain_)
        self._construct(self._refined(theta))
        self.__dict__.pop("_report_", None)
        return self

    def discount(self, memory: int, floor: float = 1e-3) -> Self:
        """Let all that was learnt count as `memory` transitions, where it is more: `update` then changes more.

        Args:
            memory: Transitions.
            floor: Least information along any direction, as a share of the mean: what the data hardly showed stays
                as it was fitted instead of being what gives way first.

        Raises:
            DataError: memory is no positive whole number.
            NotFittedError: The model came without what it learnt from.
        """
        as_whole("memory", memory, 1)
        if not hasattr(self, "_learnt_"):
            raise NotFittedError(NO_SUMS)
        if self._learnt_.n > memory:
            self._learnt_.forget(memory / self._learnt_.n)
        self._recursive_ = Recursive.start(self._learnt_, self.ridge, floor=floor)
        return self

    # ------------------------------------------------------------------ steps of a fit
    def _check_parameters(self) -> None:
        as_whole("delays", self.delays, 0)
        as_whole("horizon", self.horizon, 1)
        check_ridge(self.ridge)
        if self.solver not in ("auto", "cholesky", "qr"):
            raise DataError(f"solver is {self.solver!r}; it is 'auto', 'cholesky' or 'qr'.")

    def _stream(self, parts: Iterator[Rollouts], sample_weight: Weights) -> None:
        if sample_weight is not None:
            raise DataError("sample_weight needs the rollouts at once; give a list instead of an iterator.")
        self._check_parameters()
        for part in parts:
            data = joined(part)
            if hasattr(self, "window_"):
                self.check_data(data)
                self._note(data)
            else:
                self._begin(data, None)
            self._take(data, None)
        if not hasattr(self, "window_"):
            raise DataError("the iterator of rollouts is empty; it may have been read before.")
        self.solve()

    def _begin(self, rollouts: Rollouts, weight: list[Array] | None) -> None:
        """Fix coordinates, scales and hidden units."""
        check_size(rollouts)
        names = rollouts.x_names
        chart = Chart.detect(counted_rows(rollouts, weight), names) if self.manifold else Chart.plain(names)
        self._name(rollouts, Window(chart, int(self.delays), rollouts.nu))
        X, U, dQ = pool(self.window_, rollouts, weight)
        if not dQ.any():
            raise DataError("every sample is the same point; record motion before fitting a model.")
        self._hide(find_cyclic(self.cyclic, self.window_, X, U, dQ))
        self._sample(X, U, dQ)
        hidden = tuple(f"the motion does not depend on {name}: the model does not see it." for name in self.cyclic_)
        self._note(rollouts, *weaknesses(rollouts), *chart.describe(), *hidden)
        self._learnt_ = (Triangle if self.solver == "qr" else Gram)(*self._problem_size())

    def _take(self, rollouts: Rollouts, weight: list[Array] | None) -> None:
        """Add rollouts to the normal equations, the envelope and the probe."""
        check_lengths(self.window_.delays, rollouts)
        for (X, U, dQ, w), (Phi, Y) in ahead(self._regressed, blocks(self.window_, rollouts, weight)):
            self._learnt_.add(Phi, Y, w)
            counts = slice(None) if w is None or w.all() else w > 0.0
            self._widen(X[counts], U[counts], dQ[counts])
        seen = counted_parts(rollouts, weight, self.window_.delays)
        self._take_stretches(seen)
        probe = Probe.of(self.window_, seen)
        self._probe_ = probe if not hasattr(self, "_probe_") else self._probe_.joined(probe)

    def _adopt(self, solution: Solution) -> None:
        """Build the model from a solution of its regression."""
        self.solution_ = solution
        gain = self.gain_
        self.residual_covariance_ = self._learnt_.residual(solution.theta[: len(gain)]) * np.outer(gain, gain)
        self._construct(self._refined(solution.theta))
        self.__dict__.pop("_report_", None)

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

    @abstractmethod
    def _increment(self, X: Array, U: Array) -> Array:
        """Return the increments of the coordinates (n, nq) at a batch."""

    def _next(self, X: Array, U: Array) -> Array:
        return self.window_.advance(X, X[:, : self.window_.nq] + self._increment(X, U), U)

    def _regressed(self, block: Block) -> tuple[Array, Array]:
        return self._regression(*block[:3])

    def _take_stretches(self, rollouts: Rollouts) -> None:
        """Learn from stretches of motion, where a model does so."""

    def _refined(self, theta: Array) -> Array:
        """Return the solution after what is asked beyond one-step least squares."""
        return theta

    def _fitting(self) -> tuple[int, float, str, float]:
        solution = self.solution_
        return solution.theta.shape[1], solution.effective, solution.path, solution.condition

    # ------------------------------------------------------------------ files
    def _sums(self) -> dict[str, Array]:
        if self.horizon > 1 or not hasattr(self, "_learnt_"):
            return {}
        # with what was learnt since from single transitions
        return (self._recursive_.to_gram() if hasattr(self, "_recursive_") else self._learnt_).arrays()

    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a JSON-able header and the arrays that rebuild this model (without its Gram matrices)."""
        header, arrays = super().pack()
        header |= {"solution": {k: v for k, v in vars(self.solution_).items() if k != "theta"}}
        return header, arrays | {"theta": self.solution_.theta}

    def unpack(self, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Set everything `pack` wrote on a freshly constructed model."""
        self.solution_ = Solution(arrays["theta"], **header["solution"])
        for kind in (Gram, Triangle, Whitened):
            if f"{kind.__name__.lower()}_n" in arrays:
                self._learnt_ = kind.restore(arrays)
        return super().unpack(header, arrays)

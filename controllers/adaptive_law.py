"""A law whose model goes on learning from the loop it runs in."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_whole, is_finite
from koopctl.controllers.checks import shown
from koopctl.controllers.law import Law
from koopctl.controllers.steady_problem import half_ranges
from koopctl.errors import DataError, DesignError, NotFittedError
from koopctl.models.base import Model
from koopctl.models.learner import Learner
from koopctl.preview import Preview

_JUMP = 0.25  # a step off by more, in half ranges of the data, is a kick or a bad sample
_MOVED = 1e-3  # of the ranges: a transition nearer than this to the last one learnt says nothing new
_EXACT = 1e-3  # of the spread of a step: errors of a model without noise that are not worth learning from
_WATCH = 0.95  # forgetting of the errors that the two models are compared by
_WORSE = 4.0  # times the mean squared error of the first model at which the learnt one is given up
_PATIENCE = 20  # samples before that is judged


class AdaptiveLaw:
    """Recursive least squares around a law: every sample teaches its model, every so often the law is designed anew.

    A transition is learnt from only where there is something to learn: the step was predicted worse than the model's
    own error (`dead_zone`), the motion has moved on since the last one, and it is no jump. Forgetting acts along the
    transition only, so that standing still does not forget what was learnt in motion. The model as it was fitted runs
    beside: where it predicts much better than the learnt one, the law goes back to it. A law that cannot be designed
    for the new coefficients keeps the gains it has. `info["adaptation"]` says what was done with each sample.

    Attributes:
        law: The law, on a model of its own.
        counts: How often each thing was done since `reset`: "learnt", "quiet" (predicted well), "still" (no
            excitation), "jump", "missing", "gave_up" (back to the model as fitted).
    """

    def __init__(
        self, law: Law, forgetting: float = 0.9, memory: int = 200, dead_zone: float = 2.0, redesign: int = 20
    ) -> None:
        """Copy the law and let its model's knowledge count as little as asked.

        Args:
            law: A designed law; it and its model stay as they are.
            forgetting: Factor by which earlier knowledge along a new transition counts less.
            memory: Transitions that all that was fitted counts as: a plant that has changed is believed sooner.
            dead_zone: Errors of a step, in standard deviations of the fit, below which nothing is learnt.
            redesign: Transitions learnt between two designs of the law.

        Raises:
            DesignError: It is no law, an option is out of range, the model is of a kind that does not learn from single
                transitions, or it came without what it learnt from.
            DataError: memory or redesign is no whole number.
        """
        if not isinstance(law, Law):
            raise DesignError(
                f"AdaptiveLaw got {shown(law)}; expected a designed law: AdaptiveLaw(koopctl.design(model, task))."
            )
        if not (is_finite(forgetting) and 0.0 < forgetting <= 1.0 and is_finite(dead_zone) and dead_zone >= 0.0):
            raise DesignError(
                f"forgetting={forgetting!r}, dead_zone={dead_zone!r}; expected above 0 and at most 1, and at least 0."
            )
        self.forgetting, self.dead_zone = float(forgetting), float(dead_zone)
        self.memory, self.redesign = as_whole("memory", memory, 1), as_whole("redesign", redesign, 1)
        if not isinstance(law.model, Learner):
            raise DesignError(
                f"AdaptiveLaw teaches its model from single transitions, which {type(law.model).__name__} cannot learn "
                "from; design the law on SampledRNN or EDMDc, or leave slow changes of the plant to offset_free."
            )
        self._first = law.fresh()
        try:
            self._first.model.discount(self.memory)
        except NotFittedError as error:
            raise DesignError(f"the law's model cannot learn any more: {error}") from None
        self._half = half_ranges(law.model)
        deviation = np.sqrt(np.diag(law.model.residual_covariance_)[: len(self._half)])
        self._noise = np.maximum(deviation, _EXACT * law.model.gain_)
        self.reset()

    @property
    def dt(self) -> float:
        """Sampling time [s]."""
        return self.law.dt

    @property
    def model(self) -> Model:
        """The model as it is now."""
        return self.law.model

    def reset(self) -> None:
        """Forget the run: the model is again what was fitted."""
        self.law = self._first.fresh()
        self._before: tuple[Array, Array] | None = None
        self._last: Array | None = None
        self._errors, self._watched, self._new = np.zeros(2), 0, 0
        self.counts: Counter[str] = Counter()

    def __call__(
        self, y: ArrayLike, reference: ArrayLike | None = None, preview: Preview | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Return the law's input and info for an observation, after learning from the step that led to it."""
        u, info = self.law(y, reference, preview)
        before, after = self._before, self.law.state
        self._before = None if after is None else (after, self.law.acting.copy())
        with np.errstate(all="ignore"):
            what = "missing" if before is None or after is None else self._learn(*before, after)
        self.counts[what] += 1
        info["adaptation"] = what
        return u, info

    def _learn(self, x: Array, u: Array, after: Array) -> str:
        nq, model = len(self._half), self.law.model
        error = model.difference(after, model.step(x, u))[:nq]
        first = model.difference(after, self._first.model.step(x, u))[:nq]
        if not np.isfinite(error).all() or (np.abs(error) > _JUMP * self._half).any():
            return "jump"
        if self._given_up(error, first):
            return "gave_up"
        if (np.abs(error) <= self.dead_zone * self._noise).all():
            return "quiet"
        here = np.concatenate([x[:nq] / self._half, u])
        if self._last is not None and (np.abs(here - self._last) < _MOVED).all():
            return "still"
        try:
            model.update(x, u, after, self.forgetting)
        except DataError:  # what the transition lifts to is not finite
            return "jump"
        self._last, self._new = here, self._new + 1
        if self._new >= self.redesign:
            self._new = 0
            self.law.remodel()
        return "learnt"

    def _given_up(self, error: Array, first: Array) -> bool:
        """Compare the learnt model with the fitted one, and go back to that where it is much the better one."""
        squares = np.array([np.sum((e / self._noise) ** 2) for e in (error, first)])
        self._errors = _WATCH * self._errors + (1 - _WATCH) * squares
        self._watched += 1
        if self._watched < _PATIENCE or self._errors[0] <= _WORSE * max(self._errors[1], 1.0):
            return False
        self.law.model.__dict__.update(copy.deepcopy(self._first.model.__dict__))
        self.law.remodel()
        self._errors, self._watched, self._new = np.zeros(2), 0, 0
        return True

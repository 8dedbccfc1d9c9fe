"""What every law does around its own mathematics: read the observation, climb down the ladder, clamp, report."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, all_finite
from koopctl.controllers.answer import Answer, RefusedError
from koopctl.controllers.channel import Channel
from koopctl.controllers.checks import check_parts, shown
from koopctl.controllers.designed import Designed
from koopctl.controllers.goal import Goal
from koopctl.controllers.history import History
from koopctl.controllers.observer import Observer
from koopctl.controllers.offset import Offset
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady import Steady
from koopctl.controllers.trust import within_trust
from koopctl.errors import DesignError, KoopctlError
from koopctl.models.base import Model
from koopctl.preview import Preview, filled
from koopctl.task import ResolvedTask, Task

_LOG = logging.getLogger("koopctl")


class Law(Designed):
    """A controller made from a model and a task, with a ladder of fallbacks under it.

    `law(y, reference=None, preview=None)` returns `(u, info)` and never raises: the rungs are "solved" (verified),
    "feasible" (stopped early), "shifted" (the last plan, a step further), "lqr" (the gain at the target, clipped) and
    "safe" (the task's safe input). u always keeps the input and rate bounds; rates count from the safe input at the
    start. `info` holds `status` (the rung), `reason` (why), `solve_time` [s], `cost`, `plan`, `plan_u`, `excess` (how
    far the state lies outside the training data, in half widths of its box; NaN where there is no state), `refused`
    (what was wrong with the reference or the preview, in words; "" where nothing was, whatever `reason` says) and
    `note` (where it steers to instead of a target, of the task or of this call, at which the model cannot stand still).

    The state is made of the last observations as they are, or by an observer. Then single missing values do no harm,
    and where a whole observation is missing the law goes on from the observer's prediction, for as many samples as
    its horizon has; `reason` says so.

    With `offset_free` the law estimates what the plant adds to the model at every step, plans with it, and steers to
    the steady pair that belongs to it: constant disturbances and errors of the model then leave no offset.

    Attributes:
        model: The learnt model.
        task: What is wanted.
        prediction: The model as the law plans with it: disturbances foretold, offset added.
        goal: What the law steers to.
        observer: The law's own copy of the observer it was given, or None.
        state: The state made of the last observation, (nx,); None where there is none.
        K: Gain of the fallback, u = u_s - K (x - x_s), (nu, nx); None where none exists.
        notes: What the user should know about this design, in words.
        rungs: How often each rung was used since `reset`.
    """

    def __init__(self, model: Model, task: Task, observer: Observer | None = None, offset_free: float = False) -> None:
        """Resolve the task's names against the model and find the steady pair.

        Args:
            model: A fitted model.
            task: Target, weights, bounds, horizon.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.
            offset_free: True, or the gain of the offset's estimate: the share of a step's error that counts.

        Raises:
            DesignError: The model has no inputs, or the observer was made for another model.
            UnknownNameError: The task speaks of names the model does not have.
        """
        check_parts(model, task, observer)
        if model.nu == 0:
            raise DesignError("the model has no inputs, so there is nothing to control; record data with inputs.")
        if observer is not None and observer.model is not model:
            raise DesignError(
                f"the observer was made for another {type(observer.model).__name__} than the law's; make it with the "
                "same model object."
            )
        task, cut = within_trust(model, task, linear=self.kind == "lifted")
        super().__init__(model, task, observer, offset_free)
        self.prediction = Prediction(model, task)
        self.goal = Goal(model, task, self.prediction, exact=offset_free is not False)
        self.notes = [note for note in (cut, self.steady.note) if note]
        self.K: Array | None = None
        self._offset = None if offset_free is False else self._make_offset(offset_free)
        self._history = History(model)
        self._channel = Channel(self.prediction, task.delay)
        self.reset()

    @property
    def wanted(self) -> ResolvedTask:
        """The task in numbers, with what the last call asked for."""
        return self.goal.wanted

    @property
    def steady(self) -> Steady:
        """The steady pair the law steers to."""
        return self.goal.steady

    @property
    def dt(self) -> float:
        """Sampling time the law must run at [s]."""
        return self.model.dt

    @property
    def acting(self) -> Array:
        """What acts on the plant until the next observation, (nu of the model,), measured inputs included."""
        return self._channel.acting

    def reset(self) -> None:
        """Forget the past: history, plan, last input, counts of the rungs."""
        self._history.reset()
        if self.observer is not None:
            self.observer.reset()
        self._plan: tuple[Array, Array] | None = None
        self._age = 0
        self.prediction.reset()
        if self._offset is not None:
            self._offset.reset()
        if self.goal.reset():
            self._target_moved()
        self._channel.reset(self.wanted.u_safe)
        self._hard: ResolvedTask | None = None
        self._said = ""
        self.state: Array | None = None
        self.rungs: Counter[str] = Counter()

    def __call__(
        self, y: ArrayLike, reference: ArrayLike | None = None, preview: Preview | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Return the input for the observation y and what there is to know about it.

        Args:
            y: The full observation (as long as the model's sensors), or just the selected measured states (ny,).
            reference: Another target for this call, as long as y or (nq,); or one row a step from now on, the last
                one kept; None keeps the task's.
            preview: Measured disturbances, and weights and bounds that differ from the task's at this call.

        Returns:
            `(u, info)`, u (nu,) inside the bounds whatever y is.
        """
        start = time.perf_counter()
        self._refused = ""
        try:
            with np.errstate(all="ignore"):  # what overflows is refused by its value
                answer = self._ladder(y, reference, preview)
        # A loop must get an input whatever happens here; the reason code carries the fault to the log.
        except Exception as error:
            answer = Answer(self.wanted.u_safe, "safe", f"fault:{type(error).__name__}")
            _LOG.exception("law fell to the safe input")
        u = self._channel.inside(answer.u, self._hard or self.wanted)
        self._send(u.copy())  # u itself is the caller's from here on
        self.rungs[answer.status] += 1
        if answer.reason:
            _LOG.debug("rung %s: %s", answer.status, answer.reason)
        info = {
            "status": answer.status,
            "reason": answer.reason,
            "solve_time": time.perf_counter() - start,
            "cost": answer.cost,
            "plan": None if answer.plan is None else answer.plan.copy(),
            "plan_u": None if answer.plan_u is None else answer.plan_u.copy(),
            "excess": float("nan"),
            "refused": self._refused,
            "note": self.steady.note,
            **answer.detail,
        }
        return u, info

    @abstractmethod
    def _act(self, x: Array) -> Answer:
        """Return the law's own answer at the state x (nx,).

        Raises:
            RefusedError: There is none; its text is the reason code.
        """

    # ------------------------------------------------------------------ the ladder
    def _ladder(self, y: ArrayLike, reference: ArrayLike | None, preview: Preview | None) -> Answer:
        self.state, fault = self._observe(y)
        x = self.state
        corrected = self._offset is not None and self._offset.learn(x)
        if corrected and self.observer is not None:
            self.observer.offset = self.prediction.offset
        reason = self._retarget(reference, preview, corrected)
        if x is None:  # only the plan is left; it was made for exactly these steps
            return self._shifted(fault) or Answer(self.wanted.u_safe, "safe", fault)
        reason = reason or fault
        for u in self._channel.pending:
            x = self.prediction.advance(x, u)
        detail = {"excess": float(self.model.excess(x[None])[0])}
        if detail["excess"] > 1.0 and not reason:
            reason = "outside_data"
        try:
            answer = self._act(x)
            if not all_finite(answer.u):
                raise RefusedError("not_finite")
        except RefusedError as refusal:
            fault = str(refusal)
        except (np.linalg.LinAlgError, ArithmeticError, ValueError) as error:
            fault = f"numerics:{type(error).__name__}"
        else:
            answer.reason = answer.reason or reason
            answer.detail |= detail
            if answer.plan is not None and answer.plan_u is not None:
                self._plan, self._age = (answer.plan, answer.plan_u), 0
            return answer
        answer = self._shifted(fault) or self._gain(x, fault) or Answer(self.wanted.u_safe, "safe", fault)
        answer.detail |= detail
        return answer

    def _observe(self, y: ArrayLike) -> tuple[Array | None, str]:
        """Return the state (nx,) and what was wrong with the observation; None where there is no state to act on."""
        if self.observer is None:
            return self._history.observe(y, self.acting)
        x = self.observer.update(y, self.acting)
        if self.observer.blind > self.wanted.horizon:  # as long as a plan would have lasted
            x = self._plan = None
        return x, self.observer.fault

    def _shifted(self, reason: str) -> Answer | None:
        if self._plan is None or self._age + 1 >= len(self._plan[1]):
            return None
        self._age += 1
        plan, plan_u = self._plan[0][self._age :], self._plan[1][self._age :]
        return Answer(plan_u[0], "shifted", reason, plan=plan, plan_u=plan_u)

    def _gain(self, x: Array, reason: str) -> Answer | None:
        if self.K is None:
            return None
        u = self.steady.u - self.K @ self.model.difference(x, self.steady.x)
        return Answer(u, "lqr", reason) if np.isfinite(u).all() else None

    def _make_offset(self, gain: float) -> Offset:
        """Return the estimator of the offset; a law of a lifted recursion has one of its own."""
        return Offset(self.prediction, gain)

    # ------------------------------------------------------------------ in and out
    def _send(self, u: Array) -> None:
        """Note the input (nu,) that is sent now, and what follows from it."""
        self._channel.send(u)
        self._history.remember(self.acting)
        if len(self.prediction.measured):
            W = filled(self.prediction.W[1:], len(self.prediction.W))
            moved, self.prediction.W = not np.array_equal(W, self.prediction.W), W
            if moved:
                self._ahead_moved()
        if self._offset is not None:
            self._offset.expect(self.acting)

    def _retarget(self, reference: ArrayLike | None, preview: Preview | None, corrected: bool) -> str:
        """Take the reference and the preview of this call; without either, the task's own come back.

        Where they are refused the last goal stays, but hard bounds of the preview are kept all the same.
        """
        target = None if reference is None else self._history.target(reference)
        fault = ""
        if reference is not None and target is None:
            fault = self._refuse("bad_reference", "the reference is neither q nor an observation, nor rows of them")
        if preview is not None and not isinstance(preview, Preview):
            fault = fault or self._refuse("bad_preview", f"the preview is {shown(preview)}; expected koopctl.Preview")
            preview = None
        if not fault and not corrected and not self.goal.asks(target, preview):
            return ""
        asked = [] if fault else [(target, preview)]
        if preview is not None:
            asked.append((self.goal.target, preview.hard(self.goal.home, self.prediction.names)))
        before = self.goal.keep()
        for attempt in asked:
            try:
                self.goal.take(*attempt, self._channel.pending)
                self._target_moved()
                break
            except (KoopctlError, ArithmeticError, ValueError, TypeError) as error:
                fault = fault or self._refuse("bad_preview" if preview is not None else "bad_reference", str(error))
                self.goal.restore(before)
                self._target_moved()
        self._hard = self.wanted if preview is None else preview.hard_bounds(self.wanted, self.prediction.names)
        return fault

    def _refuse(self, code: str, why: str) -> str:
        """Keep for `info` why something asked for was refused, tell the log once, and return the reason code."""
        if why != self._said:  # once, not at every tick
            _LOG.warning("%s: %s", code, why)
        self._refused = self._said = why
        return code

    def _ahead_moved(self) -> None:
        """Recompute whatever depends on the disturbances foretold, which are a step nearer now."""

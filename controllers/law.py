"""What every law does around its own mathematics: read the observation, climb down the ladder, clamp, report."""

from __future__ import annotations

import copy
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from koopctl.archive import write_archive
from koopctl.arrays import Array
from koopctl.controllers.constraints import Constraints
from koopctl.controllers.history import History
from koopctl.controllers.observer import Observer
from koopctl.controllers.steady import Steady, nearest_steady, resolve
from koopctl.errors import DesignError, KoopctlError
from koopctl.models.base import Model
from koopctl.task import Task

_LOG = logging.getLogger("koopctl")


@dataclass
class Answer:
    """What a law's own mathematics found.

    Attributes:
        u: Input to apply, (nu,).
        status: "solved", "feasible" (stopped early) or "lqr".
        reason: Why the status is not "solved", or empty.
        cost: Predicted cost of the plan.
        plan: Planned states, (N + 1, nx).
        plan_u: Planned inputs, (N, nu).
        detail: More numbers for `info`.
    """

    u: Array
    status: str = "solved"
    reason: str = ""
    cost: float = float("nan")
    plan: Array | None = None
    plan_u: Array | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class RefusedError(Exception):
    """A law has no answer of its own this time; its text is the reason code."""


class Law(ABC):
    """A controller made from a model and a task, with a ladder of fallbacks under it.

    `law(y, reference=None)` returns `(u, info)` and never raises: the rungs are "solved" (verified), "feasible"
    (stopped early), "shifted" (the last plan, one step further), "lqr" (the gain at the target, clipped) and "safe"
    (the task's safe input). u always keeps the input and rate bounds; rate bounds count from the safe input at the
    start. `info` holds `status` (the rung), `reason` (why), `solve_time` [s], `cost`, `plan`, `plan_u` and `excess`
    (how far the state lies outside the training data, in half widths of its box; NaN where there is no state).

    The state is made of the last observations as they are, or by an observer. Then single missing values do no harm,
    and where a whole observation is missing the law goes on from the observer's prediction, for as many samples as
    its horizon has; `reason` says so.

    Attributes:
        model: The learnt model.
        task: What is wanted.
        observer: The law's own copy of the observer it was given, or None.
        steady: The steady pair the law steers to.
        K: Gain of the fallback, u = u_s - K (x - x_s), (nu, nx); None where none exists.
        notes: What the user should know about this design, in words.
        rungs: How often each rung was used since `reset`.
    """

    kind: ClassVar[str]
    _constraints: Constraints  # of the laws that plan

    def __init__(self, model: Model, task: Task, observer: Observer | None = None) -> None:
        """Resolve the task's names against the model and find the steady pair.

        Args:
            model: A fitted model.
            task: Target, weights, bounds, horizon.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.

        Raises:
            DesignError: The model has no inputs, or the observer was made for another model.
            UnknownNameError: The task speaks of names the model does not have.
        """
        if model.nu == 0:
            raise DesignError("the model has no inputs, so there is nothing to control; record data with inputs.")
        if observer is not None and observer.model is not model:
            raise DesignError(
                f"the observer was made for another {type(observer.model).__name__} than the law's; make it with the "
                "same model object."
            )
        self.model = model
        self.task = task
        self.observer = None if observer is None else observer.fresh()  # laws that share one would share its past
        self.wanted = resolve(model, task)
        self.steady: Steady = nearest_steady(model, self.wanted)
        self.notes: list[str] = [self.steady.note] if self.steady.note else []
        self.K: Array | None = None
        self._history = History(model)
        self._reference: Array | None = None
        self._home = (self.wanted, self.steady)
        self.reset()

    @property
    def dt(self) -> float:
        """Sampling time the law must run at [s]."""
        return self.model.dt

    def reset(self) -> None:
        """Forget the past: history, plan, last input, counts of the rungs."""
        self._history.reset()
        if self.observer is not None:
            self.observer.reset()
        self._plan: tuple[Array, Array] | None = None
        self._age = 0
        self._u_last = self.wanted.u_safe.copy()
        self.rungs: Counter[str] = Counter()
        if hasattr(self, "_constraints"):
            self._constraints.reset()

    def __call__(self, y: ArrayLike, reference: ArrayLike | None = None) -> tuple[Array, dict[str, Any]]:
        """Return the input for the observation y and what there is to know about it.

        Args:
            y: The full observation (as long as the model's sensors), or just the selected measured states (ny,).
            reference: Another target for this step, as long as y or (nq,); None keeps the task's.

        Returns:
            `(u, info)`, u (nu,) inside the bounds whatever y is.
        """
        start = time.perf_counter()
        try:
            with np.errstate(all="ignore"):  # what overflows is refused by its value
                answer = self._ladder(y, reference)
        # A loop must get an input whatever happens here; the reason code carries the fault to the log.
        except Exception as error:
            answer = Answer(self.wanted.u_safe, "safe", f"fault:{type(error).__name__}")
            _LOG.exception("law fell to the safe input")
        u = self._clamp(answer.u)
        self._u_last = u.copy()  # u itself is the caller's from here on
        self._history.remember(self._u_last)
        self.rungs[answer.status] += 1
        if answer.status not in ("solved",) or answer.reason:
            _LOG.debug("rung %s: %s", answer.status, answer.reason)
        info = {
            "status": answer.status,
            "reason": answer.reason,
            "solve_time": time.perf_counter() - start,
            "cost": answer.cost,
            "plan": None if answer.plan is None else answer.plan.copy(),
            "plan_u": None if answer.plan_u is None else answer.plan_u.copy(),
            "excess": float("nan"),
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
    def _ladder(self, y: ArrayLike, reference: ArrayLike | None) -> Answer:
        reason = self._retarget(reference)
        x, fault = self._observe(y)
        if x is None:
            return self._without_state(fault)
        reason = reason or fault
        excess = float(self.model.excess(x[None])[0])
        detail = {"excess": excess}
        if excess > 1.0 and not reason:
            reason = "outside_data"
        try:
            answer = self._act(x)
            if not np.isfinite(answer.u).all():
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
            return self._history.observe(y, self._u_last)
        x = self.observer.update(y, self._u_last)
        if self.observer.blind > self.wanted.horizon:  # as long as a plan would have lasted
            x = self._plan = None
        return x, self.observer.fault

    def _without_state(self, fault: str) -> Answer:
        """Without an observation only the plan is left; it was made for exactly these steps."""
        return self._shifted(fault) or Answer(self.wanted.u_safe, "safe", fault)

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

    # ------------------------------------------------------------------ in and out
    def _clamp(self, u: Array) -> Array:
        task = self.wanted
        safe = u if u.shape == task.u_safe.shape and np.isfinite(u).all() else task.u_safe
        near = np.minimum(np.maximum(safe, self._u_last - task.du_max), self._u_last + task.du_max)
        return np.asarray(np.minimum(np.maximum(near, task.u_min), task.u_max))

    def _retarget(self, reference: ArrayLike | None) -> str:
        """Move the steady pair to another target; the task's own comes back when no reference is given."""
        if reference is None:
            if self._reference is not None:
                self._reference, (self.wanted, self.steady) = None, self._home
                self._target_moved()
            return ""
        target = self._history.target(reference)
        if target is None:
            return "bad_reference"
        if self._reference is None or not np.array_equal(target, self._reference):
            before = self.wanted, self.steady
            try:
                self.wanted = resolve(self.model, self.task.replace(target=target))
                self.steady = nearest_steady(self.model, self.wanted)
                self._target_moved()
            except (KoopctlError, ArithmeticError, ValueError):  # no law for this target: stay with the one there is
                self.wanted, self.steady = before
                self._target_moved()
                return "bad_reference"
            self._reference = target
        return ""

    @abstractmethod
    def _target_moved(self) -> None:
        """Recompute whatever depends on the steady pair."""

    # ------------------------------------------------------------------ copies and files
    def options(self) -> dict[str, Any]:
        """Return the options this law was designed with, beside model and task: JSON-able ones, and the observer."""
        return {} if self.observer is None else {"observer": self.observer}

    def fresh(self) -> Law:
        """Return an independent law with the same design and an empty past."""
        model, options = copy.deepcopy((self.model, self.options()))  # together: the observer's model is the law's
        return type(self)(model, self.task, **options)

    def __copy__(self) -> Law:
        """Return a law of the same design and model with a past of its own, as solvers and observers have one."""
        return type(self)(self.model, self.task, **self.options())

    def save(self, path: str | Path) -> Path:
        """Write model, task, options and observer to one .npz; `koopctl.load` designs the same law from it."""
        header, arrays = self.model.pack()
        options = {name: value for name, value in self.options().items() if name != "observer"}
        full: dict[str, Any] = {"kind": self.kind, "task": self.task.to_dict(), "options": options, "model": header}
        if self.observer is not None:
            own, noises = self.observer.pack()
            full["observer"] = {"kind": self.observer.kind, "options": own}
            arrays = arrays | {f"observer_{name}": array for name, array in noises.items()}
        return write_archive(path, "law", full, arrays)

"""What a law is given, looked at before anything is computed with it."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Mapping
from math import isnan
from typing import TypeGuard

from koopctl.controllers.observer import Observer
from koopctl.controllers.value import ValueFunction
from koopctl.controllers.value_fitting import fitted_value
from koopctl.errors import DesignError, UnknownNameError
from koopctl.models.base import Model
from koopctl.task import Task


def check_parts(model: object, task: object, observer: object = None) -> None:
    """Refuse what is no model, no task or no observer.

    Args:
        model: Should be a model.
        task: Should be a task.
        observer: Should be an observer, or None.

    Raises:
        DesignError: One of them is something else; the text says what is expected in its place.
    """
    if isinstance(model, Task) and isinstance(task, Model):
        raise DesignError("a task came where the model belongs, and the model after it; the order is (model, task).")
    if not isinstance(model, Model):
        raise DesignError(f"the model is {shown(model)}; expected a fitted one: model = koopctl.fit(data, EDMDc(...)).")
    if not isinstance(task, Task):
        advice = "koopctl.Task.from_dict(task)" if isinstance(task, Mapping) else "koopctl.Task(target, Q, R, ...)"
        raise DesignError(f"the task is {shown(task)}; expected a Task: {advice}.")
    if observer is not None and not isinstance(observer, Observer):
        raise DesignError(
            f"the observer is {shown(observer)}; expected None or an observer of the same model, e.g. "
            "koopctl.ExtendedKalmanFilter(model, sensor_noise)."
        )


def check_value(value: object) -> None:
    """Refuse what is no terminal value of a plan.

    Args:
        value: Should be None, a `ValueFunction` or a mapping of arguments of `fitted_value`.

    Raises:
        DesignError: It is something else.
        UnknownNameError: `fitted_value` has no argument of that name.
    """
    if isinstance(value, Mapping):
        known = tuple(inspect.signature(fitted_value).parameters)[2:]
        for name in value:
            if name not in known:
                raise UnknownNameError("argument of fitted_value in value", name, known)
    elif value is not None and not isinstance(value, ValueFunction):
        raise DesignError(
            f"value is {shown(value)}; expected None, koopctl.fitted_value(model, task), or its arguments in a "
            "mapping ({} for the defaults)."
        )


def check_search(
    iterations: object,
    tolerance: object,
    candidates: object,
    step_bound: object,
    reserve: object,
    random_state: object,
    rival_rounds: object,
) -> None:
    """Refuse options of a `RelinearizedMPC` that are out of range.

    Args:
        iterations: Should be a whole number >= 1.
        tolerance: Should be a number >= 0.
        candidates: Should be a whole number >= 0.
        step_bound: Should be a number > 0.
        reserve: Should be a number in [0, 1).
        random_state: Should be a whole number >= 0.
        rival_rounds: Should be a whole number >= 0.

    Raises:
        DesignError: One of them is not; the text has them all.
    """
    whole = is_whole(iterations, 1) and all(is_whole(n, 0) for n in (candidates, random_state, rival_rounds))
    tolerates, bounded = is_real(tolerance) and tolerance >= 0, is_real(step_bound) and step_bound > 0
    if not (whole and tolerates and bounded and is_real(reserve) and 0 <= reserve < 1):
        raise DesignError(
            f"iterations={iterations!r}, candidates={candidates!r}, step_bound={step_bound!r}, "
            f"tolerance={tolerance!r}, reserve={reserve!r}, rival_rounds={rival_rounds!r}, "
            f"random_state={random_state!r}; expected >= 1, >= 0, > 0, >= 0, in [0, 1), >= 0 and >= 0, whole numbers "
            "for all but step_bound, tolerance and reserve."
        )


def is_whole(value: object, smallest: int) -> TypeGuard[int]:
    """Tell whether a value is a whole number, numpy's included, and at least `smallest`."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= smallest


def is_real(value: object) -> TypeGuard[float]:
    """Tell whether a value is one real number; inf is one, NaN and truth values are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not isnan(value)


def shown(value: object) -> str:
    """Return a few words for what was given: a short value as it is written, else its type."""
    text, plain = repr(value), value is None or isinstance(value, str | numbers.Number)
    return text if plain and len(text) <= 40 else f"an instance of {type(value).__name__}"

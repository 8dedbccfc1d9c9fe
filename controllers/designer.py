"""The verb that turns a model and a task into a control law, and what makes a law of its file again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from koopctl.arrays import Array
from koopctl.controllers.extended_kalman_filter import ExtendedKalmanFilter
from koopctl.controllers.kalman_filter import KalmanFilter
from koopctl.controllers.law import Law
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.lqr import LQR
from koopctl.controllers.observer import Observer
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.errors import UnknownNameError
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc
from koopctl.task import Task

KINDS: dict[str, type[Law]] = {"lqr": LQR, "lifted": LiftedMPC, "relinearized": RelinearizedMPC}
OBSERVERS: dict[str, Callable[..., Observer]] = {"lifted": KalmanFilter, "extended": ExtendedKalmanFilter}


def design(
    model: Model,
    task: Task,
    kind: Literal["lqr", "lifted", "relinearized"] | None = None,
    observer: Observer | None = None,
) -> Law:
    """Return a control law for `task` on a learnt `model`.

    For options of a law use its class, e.g. `RelinearizedMPC(model, task, candidates=32)`.

    Args:
        model: A fitted model.
        task: Target, weights, bounds, horizon.
        kind: "relinearized", "lifted" or "lqr"; by default "lifted" for a linear lift, else "relinearized".
        observer: Estimates the state from noisy or incomplete observations, e.g. `ExtendedKalmanFilter(model, 0.01)`;
            without one the law takes the last observations at their word.

    Raises:
        UnknownNameError: There is no such kind.
        DesignError: The law cannot be designed for this model and task.
    """
    if kind is None:
        kind = "lifted" if isinstance(model, EDMDc) and model.inputs == "linear" else "relinearized"
    if kind not in KINDS:
        raise UnknownNameError("kind of law", kind, tuple(KINDS))
    return KINDS[kind](model, task, observer=observer)


def restore(model: Model, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Law:
    """Design a law again from what `Law.save` wrote.

    Args:
        model: The law's model, read from the same file.
        header: The file's header.
        arrays: The file's arrays.

    Raises:
        UnknownNameError: A newer koopctl wrote a kind of law or observer that this one does not know.
        DesignError: The law cannot be designed again.
    """
    kind, options, saved = header["kind"], dict(header["options"]), header.get("observer")
    if kind not in KINDS:
        raise UnknownNameError("kind of law", kind, tuple(KINDS))
    if saved is not None:
        if saved["kind"] not in OBSERVERS:
            raise UnknownNameError("kind of observer", saved["kind"], tuple(OBSERVERS))
        noises = {name.removeprefix("observer_"): a for name, a in arrays.items() if name.startswith("observer_")}
        options["observer"] = OBSERVERS[saved["kind"]](model, **noises, **saved["options"])
    return KINDS[kind](model, Task.from_dict(header["task"]), **options)

"""The verb that turns a model and a task into a control law."""

from __future__ import annotations

from typing import Literal

from koopctl.controllers.law import Law
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.lqr import LQR
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.errors import UnknownNameError
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc
from koopctl.task import Task

KINDS: dict[str, type[Law]] = {"lqr": LQR, "lifted": LiftedMPC, "relinearized": RelinearizedMPC}


def design(model: Model, task: Task, kind: Literal["lqr", "lifted", "relinearized"] | None = None) -> Law:
    """Return a control law for `task` on a learnt `model`.

    For options of a law use its class, e.g. `RelinearizedMPC(model, task, candidates=32)`.

    Args:
        model: A fitted model.
        task: Target, weights, bounds, horizon.
        kind: "relinearized", "lifted" or "lqr"; by default "lifted" for a linear lift, else "relinearized".

    Raises:
        UnknownNameError: There is no such kind.
        DesignError: The law cannot be designed for this model and task.
    """
    if kind is None:
        kind = "lifted" if isinstance(model, EDMDc) and model.inputs == "linear" else "relinearized"
    if kind not in KINDS:
        raise UnknownNameError("kind of law", kind, tuple(KINDS))
    return KINDS[kind](model, task)

"""The verb that turns a model and a task into a control law, and what makes a law of its file again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

from koopctl.arrays import Array, ByName
from koopctl.controllers.extended_kalman_filter import ExtendedKalmanFilter
from koopctl.controllers.kalman_filter import KalmanFilter
from koopctl.controllers.law import Law
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.lqr import LQR
from koopctl.controllers.observer import Observer
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.controllers.value import ValueFunction
from koopctl.controllers.value_fitting import fitted_value
from koopctl.errors import DesignError, UnknownNameError
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc
from koopctl.qp.backends import backend
from koopctl.task import Task

KINDS: dict[str, type[Law]] = {"lqr": LQR, "lifted": LiftedMPC, "relinearized": RelinearizedMPC}
OBSERVERS: dict[str, Callable[..., Observer]] = {"lifted": KalmanFilter, "extended": ExtendedKalmanFilter}


def design(
    model: Model,
    task: Task,
    kind: Literal["lqr", "lifted", "relinearized"] | None = None,
    observer: Observer | None = None,
    *,
    offset_free: float = False,
    solver: str | None = None,
    iterations: int | None = None,
    tolerance: float | None = None,
    candidates: int | None = None,
    step_bound: float | None = None,
    reserve: float | None = None,
    random_state: int | None = None,
    rival_rounds: int | None = None,
    value: ValueFunction | Mapping[str, int] | None = None,
    lifted: bool | None = None,
    integral: ByName | None = None,
    finite_horizon: int | None = None,
) -> Law:
    """Return a control law for `task` on a learnt `model`.

    What is left out is as the law's class has it by default. A cost of your own needs `ConvexMPC`.

    Args:
        model: A fitted model.
        task: Target, weights, bounds, horizon.
        kind: "relinearized", "lifted" or "lqr"; by default "lifted" for a linear lift, else "relinearized".
        observer: Estimates the state from noisy or incomplete observations, e.g. `ExtendedKalmanFilter(model, 0.01)`;
            without one the law takes the last observations at their word.
        offset_free: True, or the gain of the estimate of what the plant adds to the model at every step: constant
            disturbances then leave no offset.
        solver: Of the quadratic programs of "relinearized" and "lifted": "osqp", "active_set", "daqp" or "piqp".
        iterations: Linearise-and-solve rounds a call of "relinearized", at most.
        tolerance: Change of the plan, in half ranges of the data, that ends these rounds.
        candidates: Plans that "relinearized" compares while the target is out of the LQR's reach.
        step_bound: Largest change of a planned state in one round of "relinearized", in half ranges of the data.
        reserve: Share of the input range that plans of "relinearized" leave to the feedback.
        random_state: Seed of the candidates of "relinearized".
        rival_rounds: Calls for which "relinearized" improves a rival plan before another takes its place.
        value: Terminal value of "relinearized", or arguments for `fitted_value`, {} for its defaults.
        lifted: Whether "lqr" works on the lifted system of an `EDMDc`.
        integral: Weights of the integrals of q - target of "lqr", by name.
        finite_horizon: Steps from `reset` on whose cost "lqr" minimises, its `horizon`; the task's is that of the
            other laws.

    Raises:
        UnknownNameError: There is no such kind, solver or setting of the value.
        DesignError: The law cannot be designed for this model and task, or takes no such option.
        KoopctlError: The solver is not installed.
    """
    chosen = kind
    if chosen is None:
        chosen = "lifted" if isinstance(model, EDMDc) and model.inputs == "linear" else "relinearized"
    if chosen not in KINDS:
        raise UnknownNameError("kind of law", chosen, tuple(KINDS))
    options: dict[str, Any] = {
        "offset_free": None if offset_free is False else offset_free,
        "solver": solver,
        "iterations": iterations,
        "tolerance": tolerance,
        "candidates": candidates,
        "step_bound": step_bound,
        "reserve": reserve,
        "random_state": random_state,
        "rival_rounds": rival_rounds,
        "value": value,
        "lifted": lifted,
        "integral": integral,
        "horizon": finite_horizon,
    }
    given = {name: option for name, option in options.items() if option is not None}
    _check_options(chosen, given, "" if kind is not None else ", which suits this model,")
    return KINDS[chosen](model, task, observer=observer, **given)


def _check_options(kind: str, given: Mapping[str, Any], why: str) -> None:
    takes = {each: set(inspect.signature(law).parameters) for each, law in KINDS.items()}
    for name in given:
        if name not in takes[kind]:
            other = next(each for each, names in takes.items() if name in names)
            own = sorted(takes[kind] - {"model", "task", "observer"})
            called, names = (
                ["finite_horizon" if each == "horizon" else each for each in part] for part in ([name], own)
            )
            raise DesignError(
                f"the law '{kind}'{why} has no option '{called[0]}'; leave it out or choose kind='{other}'. Options of "
                f"'{kind}' are {', '.join(names)}."
            )
    if "solver" in given:
        backend(given["solver"])  # a law without bounds would never ask for it
    if isinstance(given.get("value"), Mapping):
        settings = tuple(inspect.signature(fitted_value).parameters)[2:]
        for name in given["value"]:
            if name not in settings:
                raise UnknownNameError("setting of the value", name, settings)


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

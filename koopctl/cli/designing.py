"""`koopctl design`."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopctl.cli.files import Target, read, read_task, writable
from koopctl.cli.output import Json, Output

if TYPE_CHECKING:
    from koopctl.controllers.observer import Observer
    from koopctl.models.base import Model
    from koopctl.task import Task


class Kind(StrEnum):
    """Laws by name."""

    RELINEARIZED = "relinearized"
    LIFTED = "lifted"
    LQR = "lqr"


class QPSolver(StrEnum):
    """Solvers of quadratic programs by name."""

    OSQP = "osqp"
    ACTIVE_SET = "active_set"
    DAQP = "daqp"
    PIQP = "piqp"


class Filter(StrEnum):
    """Observers by name."""

    EXTENDED = "extended"
    LIFTED = "lifted"


def design(
    model: Annotated[Path, typer.Argument(help="Model, written by fit.")],
    output: Target,
    env: Annotated[str | None, typer.Option(help="Take the usual task of this known plant.")] = None,
    task: Annotated[Path | None, typer.Option(help="Task as JSON: target, Q, R, u_min, u_max, horizon, ...")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Kind of law; by default the one that suits the model.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps the law looks ahead, in place of the task's.")] = None,
    sensor_noise: Annotated[
        str | None,
        typer.Option(
            help="Standard deviation of the sensors, one number or theta=0.01,thetadot=0.1; names left out are not "
            "measured. An observer then estimates the state."
        ),
    ] = None,
    observer: Annotated[
        Filter | None, typer.Option(help="Observer: extended (the default), or lifted for an edmdc with linear inputs.")
    ] = None,
    offset_free: Annotated[
        float | None,
        typer.Option(
            metavar="GAIN", help="No offset under constant disturbances: gain of their estimate, up to 1; 0.1 is usual."
        ),
    ] = None,
    solver: Annotated[
        QPSolver | None, typer.Option(help="Of the quadratic programs; daqp and piqp come with the extra fast.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="relinearized: rounds a call, at most; 1 by default.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="relinearized: change of the plan that ends the rounds; 1e-4 by default.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="relinearized: plans compared far from the target; 16 by default.")
    ] = None,
    step_bound: Annotated[
        float | None, typer.Option(help="relinearized: largest change of a planned state in a round; 2 by default.")
    ] = None,
    reserve: Annotated[
        float | None, typer.Option(help="relinearized: share of the inputs left to the feedback; 0.03 by default.")
    ] = None,
    random_state: Annotated[int | None, typer.Option(help="relinearized: seed of the candidates.")] = None,
    rival_rounds: Annotated[
        int | None, typer.Option(help="relinearized: calls for which a rival plan is improved; 4 by default.")
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(
            metavar="auto|NAME=N,..",
            help="relinearized: terminal value by fitted value iteration (takes seconds), as it is by default or with "
            "settings such as n_features=200,sweeps=30.",
        ),
    ] = None,
    lifted: Annotated[bool | None, typer.Option("--lifted", help="lqr: on the lifted system of an edmdc.")] = None,
    integral: Annotated[
        str | None, typer.Option(metavar="NAME=WEIGHT,..", help="lqr: weights of the integrals of the error.")
    ] = None,
    finite_horizon: Annotated[
        int | None, typer.Option(help="lqr: steps from the start on whose cost counts, with gains of their own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn a model and a task into a control law.

    Options that begin with the name of a kind are of that kind of law alone.
    """
    from koopctl.controllers.designer import design as make
    from koopctl.models.base import Model

    say = Output(as_json)
    target = writable(output, model, task)
    wanted = _task(env, task)
    if horizon is not None:
        wanted = wanted.replace(horizon=horizon)
    learnt = read(model, Model, "a model", "fit")  # type: ignore[type-abstract]
    noise = _noise(sensor_noise, observer)
    options = _given(
        offset_free=offset_free,
        solver=None if solver is None else solver.value,
        iterations=iterations,
        tolerance=tolerance,
        candidates=candidates,
        step_bound=step_bound,
        reserve=reserve,
        random_state=random_state,
        rival_rounds=rival_rounds,
        value=_settings(value),
        lifted=lifted,
        integral=None if integral is None else _numbers(integral, "--integral"),
        finite_horizon=finite_horizon,
    )
    with say.working("designing"):
        start = time.perf_counter()
        estimator = None if noise is None else _observer(learnt, noise, observer)
        law = make(learnt, wanted, None if kind is None else kind.value, estimator, **options)
        seconds = time.perf_counter() - start
    law.save(target)
    steady = dict(zip(learnt.state_names, law.steady.x, strict=False))
    held_by = dict(zip(law.prediction.names, law.steady.u, strict=True))
    say.say(
        f"{type(law).__name__} designed in {seconds:.2f} s, to run every {law.dt:g} s",
        f"steers to {_pairs(steady)} with {_pairs(held_by)}",
        f"wrote {target}",
    )
    say.notes(law.notes)
    say.result(
        output=target,
        kind=law.kind,
        task=wanted.to_dict(),
        dt=law.dt,
        seconds=seconds,
        steady_x=steady,
        steady_u=held_by,
        observer=None if estimator is None else estimator.kind,
        options=options,
        notes=law.notes,
    )


def _noise(text: str | None, observer: Filter | None) -> float | dict[str, float] | None:
    if text is None:
        if observer is not None:
            raise typer.BadParameter("needs --sensor-noise.", param_hint="--observer")
        return None
    return _numbers(text, "--sensor-noise")


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that were given; for the others the law has its own defaults."""
    return {name: option for name, option in options.items() if option is not None}


def _numbers(text: str, option: str) -> float | dict[str, float]:
    try:
        if "=" not in text:
            return float(text)
        pairs = (part.split("=") for part in text.split(","))
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither a number nor names with numbers such as pos=0.01,vel=0.1.", param_hint=option
        ) from None


def _settings(text: str | None) -> dict[str, int] | None:
    if text is None or text == "auto":
        return None if text is None else {}
    try:
        pairs = (part.split("=") for part in text.split(","))
        return {name.strip(): int(value) for name, value in pairs}
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither auto nor settings with whole numbers such as n_features=200,sweeps=30.",
            param_hint="--value",
        ) from None


def _observer(model: Model, noise: float | dict[str, float], kind: Filter | None) -> Observer:
    from koopctl.controllers.designer import OBSERVERS

    return OBSERVERS[str(kind or Filter.EXTENDED)](model, noise)


def _task(env: str | None, task: Path | None) -> Task:
    if (env is None) == (task is None):
        raise typer.BadParameter("give exactly one of --env (a known plant) and --task (a JSON file).")
    if task is not None:
        return read_task(task)
    from koopctl.envs.tasks import task as usual_task

    return usual_task(str(env))


def _pairs(values: dict[str, float]) -> str:
    return ", ".join(f"{name}={value + 0.0:.4g}" for name, value in values.items())

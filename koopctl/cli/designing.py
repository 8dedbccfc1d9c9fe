"""`koopctl design`."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    as_json: Json = False,
) -> None:
    """Turn a model and a task into a control law."""
    from koopctl.controllers.designer import design as make
    from koopctl.models.base import Model

    say = Output(as_json)
    target = writable(output, model, task)
    wanted = _task(env, task)
    if horizon is not None:
        wanted = wanted.replace(horizon=horizon)
    learnt = read(model, Model, "a model", "fit")  # type: ignore[type-abstract]
    noise = _noise(sensor_noise, observer)
    with say.working("designing"):
        start = time.perf_counter()
        estimator = None if noise is None else _observer(learnt, noise, observer)
        law = make(learnt, wanted, None if kind is None else kind.value, estimator)
        seconds = time.perf_counter() - start
    law.save(target)
    steady = dict(zip(learnt.state_names, law.steady.x, strict=False))
    held_by = dict(zip(learnt.u_names_, law.steady.u, strict=True))
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
        notes=law.notes,
    )


def _noise(text: str | None, observer: Filter | None) -> float | dict[str, float] | None:
    if text is None:
        if observer is not None:
            raise typer.BadParameter("needs --sensor-noise.", param_hint="--observer")
        return None
    try:
        if "=" not in text:
            return float(text)
        pairs = (part.split("=") for part in text.split(","))
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither a number nor names with numbers such as pos=0.01,vel=0.1.",
            param_hint="--sensor-noise",
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

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
    from koopctl.task import Task


class Kind(StrEnum):
    """Laws by name."""

    RELINEARIZED = "relinearized"
    LIFTED = "lifted"
    LQR = "lqr"


def design(
    model: Annotated[Path, typer.Argument(help="Model, written by fit.")],
    output: Target,
    env: Annotated[str | None, typer.Option(help="Take the usual task of this known plant.")] = None,
    task: Annotated[Path | None, typer.Option(help="Task as JSON: target, Q, R, u_min, u_max, horizon, ...")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Kind of law; by default the one that suits the model.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps the law looks ahead, in place of the task's.")] = None,
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
    with say.working("designing"):
        start = time.perf_counter()
        law = make(learnt, wanted, None if kind is None else kind.value)
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
        notes=law.notes,
    )


def _task(env: str | None, task: Path | None) -> Task:
    if (env is None) == (task is None):
        raise typer.BadParameter("give exactly one of --env (a known plant) and --task (a JSON file).")
    if task is not None:
        return read_task(task)
    from koopctl.envs.tasks import task as usual_task

    return usual_task(str(env))


def _pairs(values: dict[str, float]) -> str:
    return ", ".join(f"{name}={value + 0.0:.4g}" for name, value in values.items())

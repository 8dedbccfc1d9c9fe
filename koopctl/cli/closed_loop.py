"""`koopctl simulate` and `koopctl compare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koopctl.cli.files import Target, read, read_task, writable
from koopctl.cli.output import Json, Output

if TYPE_CHECKING:
    from koopctl.controllers.law import Law

Env = Annotated[str, typer.Argument(help="Gymnasium id, e.g. Pendulum-v1.")]
Steps = Annotated[int | None, typer.Option(help="Most steps; by default until the environment ends.")]
Dt = Annotated[float | None, typer.Option(help="Sampling time \\[s], if the environment does not say it.")]


def simulate(
    env: Env,
    law: Annotated[Path, typer.Argument(help="Law, written by design.")],
    output: Target,
    seed: Annotated[int, typer.Option(help="Seed of the environment's reset.")] = 0,
    steps: Steps = None,
    dt: Dt = None,
    reference: Annotated[
        str | None, typer.Option(help="Another target, as numbers with commas between them, for the whole run.")
    ] = None,
    initial_state: Annotated[
        str | None, typer.Option(help="Where to start, as numbers with commas between them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a law on the real environment and record what happens."""
    from koopctl.loop import simulate as run_loop

    say = Output(as_json)
    target = writable(output, law)
    goal, start = _vector("--reference", reference), _vector("--initial-state", initial_state)
    controller = _law(law)
    with say.working("running"):
        run = run_loop(env, controller, seed=seed, steps=steps, dt=dt, reference=goal, initial_state=start)
    run.save(target)
    end = "terminated" if run.terminated else "truncated" if run.truncated else "steps"
    rungs = dict(Counter(str(info.get("status")) for info in run.infos))
    milliseconds = 1e3 * run.info("solve_time")
    answers = ", ".join(f"{count} {status}" for status, count in rungs.items())
    say.say(
        f"{run.steps} steps of {run.dt:g} s, return {run.total_reward:.2f}, ended by: {end}",
        f"answers: {answers}; {milliseconds.mean():.2f} ms a step, {milliseconds.max():.2f} at most",
        f"wrote {target}",
    )
    say.result(
        output=target,
        seed=seed,
        steps=run.steps,
        dt=run.dt,
        total_reward=run.total_reward,
        end=end,
        statuses=rungs,
        solve_time_mean=milliseconds.mean() / 1e3,
        solve_time_max=milliseconds.max() / 1e3,
        final=dict(zip(run.x_names, run.X[-1], strict=True)),
    )


def compare(
    env: Env,
    laws: Annotated[list[str], typer.Argument(help="NAME=FILE for each law; without a name it is the file's.")],
    seeds: Annotated[str, typer.Option(help="100:110 (without 110), or 3,5,8, or one.")] = "0:10",
    jobs: Annotated[int, typer.Option(help="Worker processes; -1 takes every core.")] = 1,
    task: Annotated[Path | None, typer.Option(help="Task as JSON to judge by; by default that of the laws.")] = None,
    steps: Steps = None,
    dt: Dt = None,
    report: Annotated[Path | None, typer.Option(help="Folder for an HTML report and its numbers.")] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Bar on stderr; by default only in a terminal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run laws on the same seeds of the real environment, side by side."""
    from koopctl.comparison import compare as run_all

    say = Output(as_json)
    numbers = _seeds(seeds)
    files = _named(laws)
    wanted = None if task is None else read_task(task)
    controllers = {name: _law(path) for name, path in files.items()}
    comparison = run_all(env, controllers, numbers, jobs=jobs, task=wanted, steps=steps, dt=dt, progress=progress)
    say.console().print(comparison.table())
    say.notes(comparison.notes)
    page = None
    if report is not None:
        with say.working("drawing the report"):
            page = comparison.report(report)
        say.say(f"wrote {page}")
    say.result(report=page, **comparison.to_dict())


def _law(path: Path) -> Law:
    from koopctl.controllers.law import Law

    return read(path, Law, "a law", "design")  # type: ignore[type-abstract]


def _vector(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no list of numbers such as 0.5,0.", param_hint=option) from None


def _seeds(text: str) -> Sequence[int]:
    try:
        if ":" in text:
            first, last = (int(part) for part in text.split(":"))
            chosen: Sequence[int] = range(first, last)
        else:
            chosen = [int(part) for part in text.split(",")]
    except ValueError:
        chosen = []
    if not chosen or min(chosen) < 0:
        raise typer.BadParameter(f"'{text}' names no seeds; write 100:110, or 3,5,8.", param_hint="--seeds")
    return chosen


def _named(laws: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for text in laws:
        name, found, path = text.partition("=")
        name, path = (name, path) if found else (Path(text).stem, text)
        if not name or not path or name in files:
            raise typer.BadParameter(f"'{text}': every law needs a file and a name of its own, NAME=FILE.")
        files[name] = Path(path)
    return files

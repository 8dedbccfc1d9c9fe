"""`koopctl simulate` and `koopctl compare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopctl.cli.contest import Contest
from koopctl.cli.files import Target, read, read_task, writable
from koopctl.cli.kinds import NAMES
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
    laws: Annotated[
        list[str] | None,
        typer.Argument(help="NAME=FILE for each law; without a name it is the file's. None with --models."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,..",
            help=f"Kinds of models to fit to the same data and put under the same controller: {NAMES}.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="100:110 (without 110), or 3,5,8, or one.")] = "0:10",
    jobs: Annotated[int, typer.Option(help="Worker processes; -1 takes every core.")] = 1,
    task: Annotated[Path | None, typer.Option(help="Task as JSON to judge by; by default that of the laws.")] = None,
    steps: Steps = None,
    dt: Dt = None,
    report: Annotated[Path | None, typer.Option(help="Folder for an HTML report and its numbers.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="--models: recorded motion to fit to; by default some is recorded here.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="--models: episodes to record; 100 by default.")] = None,
    episode_steps: Annotated[
        int | None, typer.Option(min=1, help="--models: most transitions of an episode; 60 by default.")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(help="--models: share of the episodes kept from all fits; 0.2 by default.")
    ] = None,
    n_features: Annotated[
        int | None, typer.Option(help="--models: hidden units or features of those that have them.")
    ] = None,
    hidden: Annotated[int | None, typer.Option(help="--models: hidden units of trained networks.")] = None,
    washout: Annotated[
        int | None, typer.Option(help="--models: samples that networks with a memory are shown; 20 by default.")
    ] = None,
    train_steps: Annotated[
        int | None, typer.Option(help="--models: steps of gradient descent, at most; 3000 by default.")
    ] = None,
    train_horizon: Annotated[
        int | None, typer.Option(help="--models: steps that trained networks predict in training; 30 by default.")
    ] = None,
    random_state: Annotated[
        int | None, typer.Option(help="--models: seed of the motion to record and of every model; 0 by default.")
    ] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Bar on stderr; by default only in a terminal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run laws on the same seeds of the real environment, side by side; or models, each under the same controller."""
    say = Output(as_json)
    numbers = _seeds(seeds)
    sizes = {"n_features": n_features, "hidden": hidden, "washout": washout, "steps": train_steps}
    sizes["horizon"] = train_horizon
    contest = Contest(models, data, episodes, episode_steps, held_out, random_state, sizes)
    contest.check(laws)
    files = _named(laws or ())
    shared: dict[str, Any] = {"jobs": jobs, "task": task and read_task(task), "steps": steps, "dt": dt}
    if models is not None:
        comparison = contest.run(env, numbers, progress, shared)
    else:
        from koopctl.comparison import compare as run_all

        controllers = {name: _law(path) for name, path in files.items()}
        comparison = run_all(env, controllers, numbers, progress=progress, **shared)
    say.console().print(comparison.table())  # the notes are in its caption
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

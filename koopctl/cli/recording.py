"""`koopctl collect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopctl.cli.files import Target, read, writable
from koopctl.cli.output import Json, Output

if TYPE_CHECKING:
    from koopctl.data.rollouts import Rollouts


def collect(
    env: Annotated[str, typer.Argument(help="Gymnasium id, e.g. Pendulum-v1 or koopctl.envs:VanDerPol-v0.")],
    output: Target,
    episodes: Annotated[int, typer.Option(help="Number of episodes.")] = 100,
    steps: Annotated[int, typer.Option(help="Most transitions an episode.")] = 60,
    excitation: Annotated[
        str, typer.Option(help="prbs, multisine, chirp, piecewise, ou; 'none' applies the law alone.")
    ] = "piecewise",
    law: Annotated[Path | None, typer.Option(help="Law to run; the excitation is added to its input.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    jobs: Annotated[int, typer.Option(help="Worker processes; -1 takes every core.")] = 1,
    dt: Annotated[float | None, typer.Option(help="Sampling time \\[s], if the environment does not say it.")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Observation to keep, by name; repeat it, or give 'all'.")
    ] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Bar on stderr; by default only in a terminal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Record excited motion of an environment.

    Ctrl-C keeps the episodes that are finished, and exits with status 1.
    """
    import koopctl as kc
    from koopctl.controllers.law import Law

    say = Output(as_json)
    target = writable(output, law)
    data = kc.collect(
        env,
        episodes=episodes,
        steps=steps,
        excitation=None if excitation == "none" else excitation,
        law=None if law is None else read(law, Law, "a law", "design"),  # type: ignore[type-abstract]
        seed=seed,
        jobs=jobs,
        dt=dt,
        select="all" if select == ["all"] else select,
        progress=progress,
    )
    data.save(target)
    interrupted = any(note.startswith("interrupted") for note in data.notes)
    say.say(f"{data}", f"wrote {target}")
    say.notes([note for note in data.notes if not note.startswith("interrupted")])
    say.result(output=target, interrupted=interrupted, **described(data))
    if interrupted:  # collect's warning has said how many were kept
        raise typer.Exit(1)


def described(data: Rollouts) -> dict[str, Any]:
    """Return what JSON says of recorded motion."""
    names = {"x_names": data.x_names, "u_names": data.u_names, "sensors": data.sensors, "notes": data.notes}
    return {"episodes": len(data), "n_samples": data.n_samples, "dt": data.dt} | names

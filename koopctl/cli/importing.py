"""`koopctl import`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from koopctl.cli.files import Target, writable
from koopctl.cli.output import Json, Output
from koopctl.cli.recording import described


def import_recording(
    recording: Annotated[Path, typer.Argument(help="Text file: a line of column names, then one line a sample.")],
    output: Target,
    x: Annotated[list[str], typer.Option("--x", help="Columns of the measured state, with commas between them.")],
    u: Annotated[
        list[str] | None, typer.Option("--u", help="Columns of the inputs; left out for a plant without.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of time stamps \\[s]; without it the rows are --dt apart.")
    ] = None,
    dt: Annotated[float | None, typer.Option(help="Sampling time \\[s]; by default from the time stamps.")] = None,
    episode: Annotated[str | None, typer.Option(help="Column that labels the episodes, if any.")] = None,
    delimiter: Annotated[str, typer.Option(help="What stands between two cells; '\\t' is a tab.")] = ",",
    jitter: Annotated[float, typer.Option(help="Share of dt by which a time step may differ from it.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Take recorded motion from a CSV file, cut where something is missing, and say what was dropped.

    Empty cells and nan are missing values. A row acts from its time stamp on: its inputs lead to the next row's state.
    """
    from koopctl.data.rollouts import Rollouts
    from koopctl.data.weaknesses import weaknesses

    say = Output(as_json)
    target = writable(output, recording)
    if time is None and dt is None:
        raise typer.BadParameter("give the column of time stamps, or --dt.", param_hint="--time")
    with say.working("reading"):
        data = Rollouts.from_csv(
            recording,
            x=_names(x),
            u=_names(u or ()),
            time=time,
            dt=dt,
            episode=episode,
            delimiter="\t" if delimiter == "\\t" else delimiter,
            jitter=jitter,
        )
        found = weaknesses(data)
    data.save(target)
    lost = data.missing.describe()  # is in the line about the data already
    say.say(f"{data}", f"wrote {target}")
    say.notes([*(note for note in data.notes if note != lost), *found])
    say.result(output=target, **described(data), missing=asdict(data.missing), weaknesses=found)


def _names(texts: Sequence[str]) -> list[str]:
    return [name.strip() for text in texts for name in text.split(",")]

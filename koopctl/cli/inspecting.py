"""`koopctl inspect`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from koopctl.cli.files import Picture, draw, picture, read
from koopctl.cli.modelling import described
from koopctl.cli.output import Json, Output
from koopctl.cli.scoring import Scores

if TYPE_CHECKING:
    from koopctl.identify.spectrum import Spectrum


class Order(StrEnum):
    """What orders the table of eigenvalues."""

    RESIDUAL = "residual"
    AMPLITUDE = "amplitude"
    DECAY = "decay"


def inspect(
    model: Annotated[Path, typer.Argument(help="Model, written by fit.")],
    data: Annotated[
        Path | None, typer.Option(help="Motion the model was not fitted to: measures its errors and its spectrum.")
    ] = None,
    by: Annotated[
        Order | None, typer.Option(help="Order of the eigenvalues; by default residual with --data, else decay.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Eigenvalues to print; a complex pair is one.")] = 8,
    score_horizon: Annotated[int, typer.Option(min=1, help="Longest prediction to score, in steps.")] = 50,
    plot: Picture = None,
    plot_spectrum: Annotated[
        Path | None, typer.Option(metavar="FILE.png|svg|pdf", help="Draw the eigenvalues of an edmdc.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a model's fit found: report, errors on other data, and the spectrum of an edmdc."""
    from koopctl.data.rollouts import Rollouts
    from koopctl.identify.spectrum import spectrum
    from koopctl.models.base import Model
    from koopctl.models.edmdc import EDMDc

    say = Output(as_json)
    if data is None and by in (Order.RESIDUAL, Order.AMPLITUDE):
        raise typer.BadParameter(f"ordering by {by} needs --data.", param_hint="--by")
    drawings = picture(plot), picture(plot_spectrum, "--plot-spectrum")
    learnt = read(model, Model, "a model", "fit")  # type: ignore[type-abstract]
    motion = None if data is None else read(data, Rollouts, "recorded motion", "collect", "import")
    lifted = isinstance(learnt, EDMDc) or by is not None or plot_spectrum is not None  # else spectrum() says why not
    with say.working("scoring"):
        scores = None if motion is None else Scores.of(learnt, motion, score_horizon)
        found = spectrum(learnt, motion) if lifted else None
    say.say(str(learnt.report_))
    if scores is not None:
        say.say("", f"share of the motion explained in one step: 1 - {1 - scores.score:.1e}")
        scores.print(say, "other")
    if found is not None:
        order = cast('Literal["residual", "amplitude", "decay"] | None', None if by is None else str(by))
        say.say("", found.table(order, rows))
        draw(say, found.plot, drawings[1])
    draw(say, learnt.plot, drawings[0])
    say.result(
        **described(learnt),
        scores=None if scores is None else scores.numbers(),
        spectrum=None if found is None else _numbers(found),
        plot=drawings[0],
        plot_spectrum=drawings[1],
    )


def _numbers(spectrum: Spectrum) -> dict[str, Any]:
    """Return every eigenvalue with what the table says of it, in the order of the spectrum."""
    values = spectrum.eigenvalues
    columns = {
        "real": values.real,
        "imag": values.imag,
        "kind": spectrum.kinds,
        "time_constant": spectrum.time_constants,
        "frequency": spectrum.frequencies,
        "damping": spectrum.damping,
        "amplitude": spectrum.amplitudes,
        "residual": spectrum.residuals,
        "condition": spectrum.conditions,
    }
    return {**columns, "notes": spectrum.notes}

"""`koopctl export`, `koopctl demo` and `koopctl bench`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from koopctl.cli.files import read
from koopctl.cli.output import Json, Output

_BENCHES = {
    "closed-loop": "koopctl.bench.closed_loop",
    "identification": "koopctl.bench.identification",
    "mpc": "koopctl.bench.mpc",
    "paper": "koopctl.bench.paper",
    "recurrent": "koopctl.bench.recurrent",
}


def export(
    law: Annotated[Path, typer.Argument(help="Law, written by design.")],
    folder: Annotated[Path, typer.Argument(help="Folder for the C sources.")],
    check: Annotated[bool, typer.Option("--check", help="Compile them and compare them with Python.")] = False,
    as_json: Json = False,
) -> None:
    """Write a law as C sources that need no library."""
    from koopctl.codegen.exporting import export as write
    from koopctl.controllers.law import Law

    say = Output(as_json)
    controller = read(law, Law, "a law", "design")  # type: ignore[type-abstract]
    with say.working("compiling and comparing" if check else "writing"):
        exported = write(controller, folder, check=check)
    say.say(*(f"wrote {path}" for path in exported.files))
    if exported.difference is not None:
        say.say(
            f"compiled and compared with Python on {exported.n_checked} observations, NaN and inf among them: "
            f"largest difference {exported.difference:.1e}"
        )
    say.result(
        folder=exported.folder,
        files=exported.files,
        difference=exported.difference,
        n_checked=exported.n_checked,
    )


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for files, pictures and report.")] = Path(
        "koopctl-demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    as_json: Json = False,
) -> None:
    """Go the whole way on one plant: record, learn, design, compare, draw. Takes about half a minute."""
    from koopctl.demo import run

    say = Output(as_json)
    say.result(**run(output, seed, say.console()))


def bench(
    name: Annotated[str, typer.Argument(help=f"Which: {', '.join(_BENCHES)}.")],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer seeds and plants: a look, not the numbers.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the recordings; by default $KOOPCTL_DATA, then ../shared/data.", exists=True),
    ] = None,
    rivals: Annotated[bool, typer.Option(help="Run other packages too, each in an environment of its own.")] = True,
    part: Annotated[list[str] | None, typer.Option(help="Only this part, such as 'motor'; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Measure again what the documentation claims."""
    from koopctl.bench.options import Options

    if name not in _BENCHES:
        raise typer.BadParameter(f"there is no '{name}'; known: {', '.join(_BENCHES)}.", param_hint="NAME")

    say = Output(as_json)
    options = Options.of(quick, data, rivals, part or ())
    say.result(**importlib.import_module(_BENCHES[name]).run(options, say.console()))

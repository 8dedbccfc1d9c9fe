"""The command line: one command a verb, each of which reads one file and writes the next.

The commands import what they need when they run, so that `koopctl --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from koopctl import __version__
from koopctl.cli.closed_loop import compare, simulate
from koopctl.cli.designing import design
from koopctl.cli.fitting import fit
from koopctl.cli.importing import import_recording
from koopctl.cli.inspecting import inspect
from koopctl.cli.recording import collect
from koopctl.cli.reviewing import review
from koopctl.cli.shipping import bench, demo, export
from koopctl.cli.statuses import Verbs

app = typer.Typer(
    name="koopctl",
    cls=Verbs,
    help="From recorded motion to a running controller, in seconds and without gradient descent.",
    epilog="Start with: koopctl demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"koopctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    del version  # its callback has answered


app.command()(collect)
app.command("import")(import_recording)
for _verb in (fit, inspect, design, review, simulate, compare, export, demo, bench):
    app.command()(_verb)


def main() -> None:
    """Run the command line; the exit status is 0, or 1 for a failure, or 2 for a wrong command."""
    app(prog_name="koopctl")

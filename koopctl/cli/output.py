"""Where a verb's words go: the result to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from rich.console import Console

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, the rest on stderr.")]

_PIPED_WIDTH = 140  # columns of a table where nobody's terminal says how wide it is


class Output:
    """The words of one verb.

    Attributes:
        as_json: Whether stdout gets one JSON object and nothing else.
    """

    def __init__(self, as_json: bool) -> None:
        """Choose the streams.

        Args:
            as_json: Keep stdout for one JSON object.
        """
        self.as_json = as_json

    def console(self) -> Console:
        """Return the console for words to a reader: stdout, or stderr where stdout is kept for JSON."""
        from rich.console import Console

        stream = sys.stderr if self.as_json else sys.stdout
        width = None if stream.isatty() else _PIPED_WIDTH
        return Console(stderr=self.as_json, highlight=False, width=width)

    def say(self, *lines: str) -> None:
        """Print lines as they are."""
        for line in lines:
            typer.echo(line, err=self.as_json)

    def notes(self, notes: Sequence[str]) -> None:
        """Print remarks, one a line."""
        self.say(*(f"note: {note}" for note in notes))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows of words under columns; all but the first are numbers and flush right."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self.console().print(table)

    def working(self, what: str) -> AbstractContextManager[object]:
        """Show on stderr that something goes on, where somebody watches."""
        if not sys.stderr.isatty():
            return contextlib.nullcontext()
        from rich.console import Console

        return Console(stderr=True).status(what)

    def result(self, **fields: Any) -> None:
        """Print the JSON object, where it was asked for; numbers that are not finite become null."""
        if self.as_json:
            typer.echo(json.dumps(_plain(fields), allow_nan=False))


def _plain(value: Any) -> Any:
    import math

    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value

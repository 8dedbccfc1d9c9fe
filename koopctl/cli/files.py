"""What the verbs read and where they write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from koopctl.cli.output import Output
from koopctl.errors import FileFormatError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from koopctl.task import Task

T = TypeVar("T")

Target: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", help="File to write (.npz); an existing one is replaced when all is done.")
]
Picture: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE.png|svg|pdf", help="Draw the report: errors by horizon, range of the data.")
]

_PICTURES = (".png", ".svg", ".pdf")
_DPI = 150


def writable(output: Path, *inputs: Path | None) -> Path:
    """Return the file a verb will write, refused where it is one it reads, before any work is done."""
    target = output if output.suffix == ".npz" else output.with_name(output.name + ".npz")
    if output.is_dir() or target.is_dir():
        raise typer.BadParameter(f"{output} is a folder; name a file in it.", param_hint="--output")
    for source in inputs:
        if source is not None and source.exists() and target.exists() and source.samefile(target):
            raise typer.BadParameter(f"{target} is the input too; name another file.", param_hint="--output")
    return target


def picture(path: Path | None, option: str = "--plot") -> Path | None:
    """Return the file a picture goes to, refused where its name says no format, before any work is done."""
    if path is not None and (path.suffix.lower() not in _PICTURES or path.is_dir()):
        raise typer.BadParameter(f"{path} is no file that ends in {', '.join(_PICTURES)}.", param_hint=option)
    return path


def draw(say: Output, figure: Callable[[], Figure], path: Path | None) -> None:
    """Write the picture that `figure` draws, where one is wanted."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure().savefig(path, dpi=_DPI)
        say.say(f"wrote {path}")


def read(path: Path, kind: type[T], what: str, *verbs: str) -> T:
    """Return what a file holds, which must be a `kind`.

    Args:
        path: The file.
        kind: Class that is expected.
        what: The same in words.
        verbs: The verbs that write such files.

    Raises:
        FileFormatError: It holds something else.
    """
    from koopctl.store import load

    value = load(path)
    if not isinstance(value, kind):
        writers = " or ".join(f"'koopctl {verb}'" for verb in verbs)
        raise FileFormatError(f"{path} holds {_in_words(value)}, expected {what}; pass a file written by {writers}.")
    return value


def read_task(path: Path) -> Task:
    """Return the task in a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        FileFormatError: It holds no JSON object.
        DataError: A field is unknown or missing.
    """
    from koopctl.task import Task

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a JSON file with the fields of a Task.")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError(
            f"{path} is not JSON ({error}); write the fields of a Task, as Task.to_dict does."
        ) from None
    if not isinstance(fields, dict):
        raise FileFormatError(
            f'{path} holds a {type(fields).__name__}; expected an object such as {{"target": 0, "Q": 1, "R": 0.1}}.'
        )
    return Task.from_dict(fields)


def _in_words(value: object) -> str:
    from koopctl.controllers.law import Law
    from koopctl.data.rollouts import Rollouts
    from koopctl.identify.ensemble import Ensemble
    from koopctl.identify.error_bound import ErrorBound
    from koopctl.models.base import Model

    kinds: dict[type, str] = {Rollouts: "recorded motion", Model: "a model", Law: "a law"}
    kinds |= {Ensemble: "an ensemble", ErrorBound: "an error bound"}
    return next((words for kind, words in kinds.items() if isinstance(value, kind)), "the record of a run")

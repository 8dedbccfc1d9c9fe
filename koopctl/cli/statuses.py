"""What the shell gets back: exit status 1 and one line for whatever went wrong, one line for every warning."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from koopctl.errors import KoopctlError


class Verbs(TyperGroup):
    """The group of commands, with the failures of all of them turned into exit statuses in one place."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command; a failure becomes one line on stderr and status 1."""
        try:
            with _one_line_warnings():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("interrupted before there was a result to keep; nothing was written.")
        except BrokenPipeError:
            raise  # the reader of our output has left; typer ends quietly
        except OSError as error:
            fail(_in_words(error))
        except MemoryError as error:
            fail(f"not enough memory ({str(error) or 'nothing more is known'}); take fewer features, delays or jobs.")
        except KoopctlError as error:
            fail(str(error))


def fail(message: str) -> NoReturn:
    """Print one line on stderr and leave with status 1."""
    typer.echo(f"koopctl: {' '.join(message.split())}", err=True)
    raise typer.Exit(1)


def _in_words(error: OSError) -> str:
    if error.strerror is None:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; choose a file or folder that can be read or written, or free the disk."


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del category, filename, lineno, file, line  # where in our code it arose means nothing at a shell
        print(f"koopctl: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield

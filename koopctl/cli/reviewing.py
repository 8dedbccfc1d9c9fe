"""`koopctl review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koopctl.cli.files import read
from koopctl.cli.output import Json, Output


def review(law: Annotated[Path, typer.Argument(help="Law, written by design.")], as_json: Json = False) -> None:
    """Look at a law before it runs: can it hold the target, are its bounds and horizon sound, is it fast enough."""
    from koopctl.controllers.law import Law
    from koopctl.controllers.reviewing import review as look

    say = Output(as_json)
    found = look(read(law, Law, "a law", "design"))  # type: ignore[type-abstract]
    say.say(str(found))
    say.result(**found.to_dict())

"""How a bench is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koopctl.errors import UnknownNameError


@dataclass(frozen=True)
class Options:
    """What the command line says of a bench.

    Attributes:
        quick: Fewer seeds, plants and repetitions: a look, not the numbers.
        data: Folder of the recordings, None where there is none.
        rivals: Run other packages at the same work, each in a virtual environment of its own.
        parts: Names of the parts that are run; empty for all of them.
    """

    quick: bool = False
    data: Path | None = None
    rivals: bool = True
    parts: tuple[str, ...] = ()

    @classmethod
    def of(cls, quick: bool, data: Path | None, rivals: bool, parts: Sequence[str] = ()) -> Options:
        """Find the recordings: in `data`, in $KOOPCTL_DATA or in ../shared/data."""
        places = [data, os.environ.get("KOOPCTL_DATA"), Path("..", "shared", "data")]
        found = [Path(place) for place in places if place is not None and Path(place).is_dir()]
        return cls(quick, found[0] if found else None, rivals, tuple(parts))

    def run(self, parts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Run the chosen parts of a bench, in its own order, and return what each found.

        Raises:
            UnknownNameError: The bench has no part of a chosen name; nothing was run.
        """
        for name in self.parts:
            if name not in parts:
                raise UnknownNameError("part", name, tuple(parts))
        return {name: part() for name, part in parts.items() if not self.parts or name in self.parts}

"""How a bench is run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the command line says of a bench.

    Attributes:
        quick: Fewer seeds, plants and repetitions: a look, not the numbers.
        data: Folder of the recordings, None where there is none.
        rivals: Run other packages at the same work, each in a virtual environment of its own.
    """

    quick: bool = False
    data: Path | None = None
    rivals: bool = True

    @classmethod
    def of(cls, quick: bool, data: Path | None, rivals: bool) -> Options:
        """Find the recordings: in `data`, in $KOOPCTL_DATA or in ../shared/data."""
        places = [data, os.environ.get("KOOPCTL_DATA"), Path("..", "shared", "data")]
        found = [Path(place) for place in places if place is not None and Path(place).is_dir()]
        return cls(quick, found[0] if found else None, rivals)

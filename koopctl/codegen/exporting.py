"""The verb that writes a law as C."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from koopctl.codegen.agreement import N_CHECKED, largest_difference
from koopctl.codegen.sources import sources
from koopctl.controllers.law import Law
from koopctl.controllers.lqr import LQR
from koopctl.errors import DesignError
from koopctl.models.remembering import Remembering

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        folder: Where.
        files: The files, sorted by name.
        difference: Largest difference between C and Python in the check; None where none was asked for.
        n_checked: Number of observations compared.
    """

    folder: Path
    files: tuple[Path, ...]
    difference: float | None = None
    n_checked: int = 0


def export(law: Law, folder: str | Path, check: bool = False) -> Exported:
    """Write a law as self-contained C99: law.h, law.c, an example main.c and a Makefile.

    The code reads the coordinates out of the observation, keeps the input and rate bounds and answers observations
    that are not finite with the task's safe input, as the law does. It uses no heap, no files and no global state.
    The target is that of the law's task.

    Args:
        law: An `LQR` (not lifted) on a model without delays.
        folder: Where to write; made if missing, files of these names are replaced.
        check: Compile with the system's compiler and compare with Python, over observations that include NaN, inf and
            values far outside the data.

    Raises:
        DesignError: The law is of another kind; or the check found no compiler, or a difference above 1e-9.
    """
    lqr = _exportable(law).fresh()
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in sorted(sources(lqr).items()):
        path = target / name
        path.write_text(text, encoding="ascii", newline="\n")
        files.append(path)
    if not check:
        return Exported(target, tuple(files))
    difference = largest_difference(lqr, target)
    if not difference <= _TOLERANCE:
        raise DesignError(
            f"the C code in {target} differs from the law by {difference:.1e}, expected at most {_TOLERANCE:g}; "
            "do not use it, and report the law and the compiler."
        )
    return Exported(target, tuple(files), difference, N_CHECKED)


def _exportable(law: Law) -> Law:
    if not isinstance(law, Law):
        raise DesignError(f"export takes a law made by design, not a {type(law).__name__}.")
    remedy = "C export covers LQR on models without delays; design(model, task, kind='lqr') makes one"
    if not isinstance(law, LQR):
        raise DesignError(f"a {type(law).__name__} cannot be written as C: {remedy}.")
    if law.lifted:
        raise DesignError(f"a lifted LQR cannot be written as C: {remedy}.")
    if law.observer is not None:
        raise DesignError(f"a law with an observer cannot be written as C: {remedy}; leave the observer out.")
    if isinstance(law.model, Remembering):
        kind = type(law.model).__name__
        raise DesignError(f"{kind} needs its network to make a state of samples: {remedy}, of SampledRNN or EDMDc.")
    delays = law.model.window_.delays
    if delays:
        raise DesignError(f"the model has {delays} delays: {remedy} after a fit with delays=0.")
    return law

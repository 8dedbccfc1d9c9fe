"""A spectrum as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from koopctl.arrays import as_whole
from koopctl.errors import DataError

if TYPE_CHECKING:
    from koopctl.identify.spectrum import Spectrum

_HEAD = ("eigenvalue", "|.|", "time [s]", "freq. [Hz]", "damping", "amplitude", "residual", "condition")


def eigentable(spectrum: Spectrum, by: Literal["residual", "amplitude", "decay"] | None, rows: int) -> str:
    """Return the first eigenpairs of the motion, one a line, with the spectrum's notes.

    Args:
        spectrum: The spectrum.
        by: What orders them; None is the residual, or the decay where there was no data.
        rows: How many are shown; a complex pair is one.

    Raises:
        DataError: `by` is some other word, or needs data the spectrum was made without.
    """
    as_whole("rows", rows, 1)
    measured = not np.isnan(spectrum.residuals).all()
    by = by or ("residual" if measured else "decay")
    modulus = np.abs(spectrum.eigenvalues)
    # A pair that is gone within a step has a small residual whatever it is, so the residual counts against |l|.
    relative = spectrum.residuals / np.clip(modulus, 1e-300, 1.0)
    keys = {"residual": relative, "amplitude": -spectrum.amplitudes, "decay": -modulus}
    if by not in keys:
        raise DataError(f"by is {by!r}; it is one of {', '.join(keys)}.")
    if by != "decay" and not measured:
        raise DataError(f"ordering by {by} needs data: make the spectrum as spectrum(model, data).")
    shown = np.flatnonzero(spectrum.is_motion & (spectrum.eigenvalues.imag >= 0))
    order = shown[np.argsort(keys[by][shown], kind="stable")]
    lines = [_HEAD, *(_row(spectrum, int(i), measured) for i in order[:rows])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    text = ["  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)) for line in lines]
    if len(order) > rows:
        text.append(f"... and {len(order) - rows} more; the order is by {by}.")
    return "\n".join([spectrum.notes[0], *text, *spectrum.notes[1:]])


def _row(spectrum: Spectrum, i: int, measured: bool) -> tuple[str, ...]:
    value = spectrum.eigenvalues[i]
    pair = f" +- {value.imag:.4f}i" if value.imag > 0 else ""
    numbers = (spectrum.time_constants[i], spectrum.frequencies[i], spectrum.damping[i])
    words = [f"{value.real:.4f}{pair}", f"{abs(value):.4f}", *(_number(number, ".3g") for number in numbers)]
    measures = [_number(spectrum.amplitudes[i], ".2g"), _number(spectrum.residuals[i], ".1e")]
    return (*words, *(measures if measured else ("-", "-")), _number(spectrum.conditions[i], ".0e"))


def _number(value: float, form: str) -> str:
    return "-" if np.isnan(value) else format(value, form)

"""The errors koopctl raises: one root, each also a builtin, each carrying its data."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class KoopctlError(Exception):
    """Root of every error raised on purpose; its text says what happened, what was expected, what to change."""


class ShapeError(KoopctlError, ValueError):
    """An array has the wrong shape."""


class DataError(KoopctlError, ValueError):
    """Recorded data or an argument's value cannot be used."""


class UnknownNameError(KoopctlError, ValueError):
    """A name is not among the known ones.

    Attributes:
        name: The name asked for.
        known: The names that exist.
    """

    def __init__(self, what: str, name: str, known: Sequence[str]) -> None:
        """Build the message from the kind of thing (`what`), the name asked for and the known names."""
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        super().__init__(f"unknown {what} '{name}'{hint} Known: {', '.join(known) if known else '(none)'}.")
        self.name = name
        self.known = tuple(known)


class NotFittedError(KoopctlError, RuntimeError):
    """A model is used before `fit`."""


class SamplingTimeError(KoopctlError, ValueError):
    """Two parts disagree about the sampling time.

    Attributes:
        expected: Sampling time of the model or law [s].
        received: Sampling time of what it was used with [s].
    """

    def __init__(self, what: str, expected: float, received: float) -> None:
        """Build the message from what was used and the two sampling times [s]."""
        super().__init__(
            f"{what} runs at dt = {received:g} s but the model was fitted at dt = {expected:g} s; "
            "collect data at the rate the law will run at, or resample it before fit."
        )
        self.expected = expected
        self.received = received


class FileFormatError(KoopctlError, ValueError):
    """A file is corrupt, of another kind or of a newer version; nothing was loaded from it."""


class EnvironmentUnsupportedError(KoopctlError, ValueError):
    """A Gymnasium environment cannot be used (unknown id, discrete spaces, ...)."""


class DesignError(KoopctlError, ValueError):
    """A control law cannot be designed for this model and task."""


class SolverError(KoopctlError, RuntimeError):
    """A quadratic program was refused before the solver saw it.

    Attributes:
        status: Short reason code.
    """

    def __init__(self, status: str, message: str) -> None:
        """Keep the reason code beside the message."""
        super().__init__(message)
        self.status = status

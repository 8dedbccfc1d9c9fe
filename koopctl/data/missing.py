"""What recordings lacked, counted."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Missing:
    """Counts of what recordings lacked and of what was left out for it; all zero where nothing was.

    Attributes:
        rows_x: Rows of X that held NaN.
        rows_u: Rows of U that held NaN and drove a transition.
        gaps: Steps between time stamps that are not dt: pauses, hiccups of the logger.
        samples: Samples that the pauses lack.
        transitions: Transitions one dt long in the recordings that lacked something.
        dropped: Transitions among them that touched a NaN and were dropped.
        split: Recorded episodes that were split.
        parts: Episodes they were split into.
        vanished: Recorded episodes of which no transition is left.
    """

    rows_x: int = 0
    rows_u: int = 0
    gaps: int = 0
    samples: int = 0
    transitions: int = 0
    dropped: int = 0
    split: int = 0
    parts: int = 0
    vanished: int = 0

    def __bool__(self) -> bool:
        """Tell whether anything was missing."""
        return any((self.rows_x, self.rows_u, self.gaps, self.vanished))

    def __add__(self, other: Missing) -> Missing:
        """Return the counts of two recordings together."""
        return Missing(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def describe(self) -> str:
        """Return one sentence, empty where nothing was missing."""
        causes, effects = [], []
        if self.gaps:
            lost = f" ({_count(self.samples, 'sample')} missing)" if self.samples else ""
            causes.append(f"{_count(self.gaps, 'step')} between time stamps {_be(self.gaps)} not dt{lost}")
        if self.rows_x or self.rows_u:
            rows = [_count(self.rows_x, "row") + " of X"] if self.rows_x else []
            rows += [f"{self.rows_u} of U" if rows else _count(self.rows_u, "row") + " of U"] if self.rows_u else []
            causes.append(f"{' and '.join(rows)} held NaN")
            effects.append(f"{self.dropped} of {_count(self.transitions, 'transition')} {_be(self.dropped)} dropped")
        if self.split:
            effects.append(f"{_count(self.split, 'episode')} {_be(self.split)} split into {self.parts}")
        if self.vanished:
            effects.append(f"{_count(self.vanished, 'episode')} without a transition left vanished")
        return ": ".join(", ".join(part) for part in (causes, effects) if part)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _be(number: int) -> str:
    return "was" if number == 1 else "were"

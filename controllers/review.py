"""A designed law looked at as an experienced colleague would before it runs: findings in words and in a table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_WIDTH = 100
_MARKS = {"good": "ok", "note": "note", "warning": "WARNING"}


@dataclass(frozen=True)
class Finding:
    """One line of a review.

    Attributes:
        subject: What was looked at.
        value: What was found, in a few words or numbers.
        verdict: "good", "note" (worth knowing) or "warning" (likely to hurt).
        advice: What it means and what to change; empty where all is well.
    """

    subject: str
    value: str
    verdict: Literal["good", "note", "warning"] = "good"
    advice: str = ""


@dataclass(frozen=True)
class Review:
    """The findings of `koopctl.review(law)`; printing it gives the table and the advice.

    Attributes:
        title: The law in a line.
        findings: One a subject, in the order of a design.
    """

    title: str
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The advice of the findings that are likely to hurt."""
        return tuple(f"{each.subject}: {each.advice}" for each in self.findings if each.verdict == "warning")

    @property
    def passed(self) -> bool:
        """Whether nothing is likely to hurt."""
        return not self.warnings

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description."""
        return {"title": self.title, "passed": self.passed, "findings": [vars(each).copy() for each in self.findings]}

    def __str__(self) -> str:
        """Return the table, and below it what there is to do."""
        wide = max(len(each.subject) for each in self.findings)
        lines = [self.title, "-" * min(len(self.title), _WIDTH)]
        for each in self.findings:
            head = f"{_MARKS[each.verdict]:8}{each.subject:{wide}}  "
            lines += _wrapped(each.value, head)
        lines += _advice(each for each in self.findings if each.advice)
        return "\n".join(lines)


def _advice(findings: Iterable[Finding]) -> list[str]:
    lines = list[str]()
    for each in findings:
        lines += _wrapped(f"{each.subject}: {each.advice}", "! " if each.verdict == "warning" else "- ")
    return ["", *lines] if lines else []


def _wrapped(text: str, head: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))

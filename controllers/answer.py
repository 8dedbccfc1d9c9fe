"""What a law's own mathematics found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from koopctl.arrays import Array


@dataclass
class Answer:
    """What a law's own mathematics found.

    Attributes:
        u: Input to apply, (nu,).
        status: "solved", "feasible" (stopped early) or "lqr".
        reason: Why the status is not "solved", or empty.
        cost: Predicted cost of the plan.
        plan: Planned states, (N + 1, nx).
        plan_u: Planned inputs, (N, nu).
        detail: More numbers for `info`.
    """

    u: Array
    status: str = "solved"
    reason: str = ""
    cost: float = float("nan")
    plan: Array | None = None
    plan_u: Array | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class RefusedError(Exception):
    """A law has no answer of its own this time; its text is the reason code."""

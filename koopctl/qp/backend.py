"""What every solver of quadratic programs is to the rest of the package."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, TypeAlias

from koopctl.arrays import Array

Outcome: TypeAlias = Literal["solved", "infeasible", "unbounded", "stopped"]
NO_BOUND = 1e20  # a bound of this size is none


class Answer(NamedTuple):
    """What a solver says; nobody has checked it yet.

    Attributes:
        x: Point, (n,).
        y: Multipliers, (m,), positive at upper and negative at lower bounds.
        outcome: What the solver claims.
        iterations: Of the solver.
        seconds: Time inside the solver, its updates included [s].
    """

    x: Array
    y: Array
    outcome: Outcome
    iterations: int
    seconds: float


class Backend(Protocol):
    """Solves programs of one structure; all numbers have been validated before it sees them.

    It is made from P (n, n), a first A (m, n) whose zeros stay zero, the tolerance, the iteration limit (None for its
    own) and whether P is positive definite.
    """

    def __init__(self, P: Array, A: Array, tolerance: float, max_iterations: int | None, definite: bool) -> None:
        """Set up the structure."""

    def solve(self, q: Array, lower: Array, upper: Array, A: Array) -> Answer:
        """Solve, starting from the last solution where that pays.

        Args:
            q: Linear cost, (n,).
            lower: Lower bounds, (m,); -NO_BOUND where there is none.
            upper: Upper bounds, (m,); NO_BOUND where there is none.
            A: Constraint matrix, (m, n); the same object as before says that nothing in it has changed.
        """

    def reset(self) -> None:
        """Forget the last solution."""

"""What laws that plan within bounds have in common."""

from __future__ import annotations

from koopctl.controllers.constraints import Constraints
from koopctl.controllers.law import Law
from koopctl.controllers.terminal_set import TerminalSet


class Planner(Law):
    """A law whose plans are quadratic programs within the task's bounds.

    Attributes:
        solver: Name of the quadratic programs' solver.
    """

    solver: str
    _constraints: Constraints
    _home_constraints: Constraints | None = None

    def reset(self) -> None:
        """Forget the past, the solver's last solution included."""
        super().reset()
        if self._home_constraints is not None:
            self._constraints.reset()

    def _bound(self, width: int, terminal: TerminalSet | None) -> None:
        """Take constraints for what is wanted: the design's, or larger ones where those lack a row.

        Args:
            width: Entries of a planned state.
            terminal: Where plans should end, or None.
        """
        task, home = self.wanted, self._home_constraints
        if home is None:
            self._constraints = self._home_constraints = Constraints(
                task, self.prediction.nu, width, terminal, self.solver
            )
        elif home.suits(task):
            self._constraints = home
        elif not self._constraints.suits(task):
            self._constraints = Constraints(task, self.prediction.nu, width, terminal, self.solver)
        self._constraints.aim(task, terminal)

"""The answer to a quadratic program."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from koopctl.arrays import Array
from koopctl.qp.backend import NO_BOUND


@dataclass(eq=False)  # not frozen: that takes five times as long to make, at every tick
class QPSolution:
    """An answer that can judge itself.

    Attributes:
        x: Minimiser, (n,); NaN where there is none.
        y: Multipliers of l <= A x <= u, (m,), positive at upper and negative at lower bounds.
        status: "solved" (residuals verified), "feasible" (stopped early, constraints hold), "infeasible", "unbounded"
            or "failed".
        iterations: Iterations of all solvers that were asked.
        primal_residual: Largest violation of a constraint.
        dual_residual: Largest entry of P x + q + A^T y.
        solve_time: Time inside the solvers [s].
        problem: (P, q, A, l, u), dense.
        method: The solver whose answer this is: the one asked for, or "active_set" where it stood in.
    """

    x: Array
    y: Array
    status: str
    iterations: int
    primal_residual: float
    dual_residual: float
    solve_time: float
    problem: tuple[Array, Array, Array, Array, Array]
    method: str = ""

    @property
    def usable(self) -> bool:
        """Whether x satisfies the constraints."""
        return self.status in ("solved", "feasible")

    @cached_property
    def complementarity(self) -> float:
        """Largest product of a multiplier with the slack of its bound; 0 at an optimum."""
        _, _, A, lower, upper = self.problem
        slack_high = np.where(upper < NO_BOUND, upper - A @ self.x, 0.0)
        slack_low = np.where(lower > -NO_BOUND, A @ self.x - lower, 0.0)
        products = np.abs(np.where(self.y > 0, self.y * slack_high, self.y * slack_low))
        return float(products.max(initial=0.0))

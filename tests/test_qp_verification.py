"""What a solver says is checked: lies are found out, the truth is not doubted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from koopctl.qp import QP
from koopctl.qp.backend import Answer


class Liar:
    """A solver that claims whatever it was told to."""

    def __init__(self, *claim: Any) -> None:
        self.claim, self.resets = claim, 0

    def solve(self, q: Any, lower: Any, upper: Any, A: Any) -> Answer:
        x, y, outcome = self.claim
        return Answer(np.array(x), np.array(y), outcome, 1, 1e-6)

    def reset(self) -> None:
        self.resets += 1


LIES = {
    "outside the bounds": ([2.0, 0.0], [0.0, 0.0], "solved"),
    "inside, not optimal": ([0.5, 0.5], [0.0, 0.0], "solved"),
    "a multiplier where no bound is met": ([0.5, 0.0], [1.5, 0.0], "solved"),
    "a multiplier that pulls": ([-1.0, 0.0], [3.0, 0.0], "solved"),
    "NaN": ([np.nan, 0.0], [0.0, 0.0], "solved"),
    "inf": ([np.inf, 0.0], [0.0, 0.0], "solved"),
    "NaN multiplier": ([1.0, 0.0], [np.nan, 0.0], "solved"),
    "no solution": ([0.0, 0.0], [0.0, 0.0], "infeasible"),
    "no bound": ([0.0, 0.0], [0.0, 0.0], "unbounded"),
    "the truth, unfinished": ([0.9, 0.0], [1.0, 0.0], "stopped"),
}
INSIDE = (
    "inside, not optimal",
    "a multiplier where no bound is met",
    "a multiplier that pulls",
    "the truth, unfinished",
)


@pytest.mark.parametrize("lie", list(LIES))
def test_a_solver_is_never_believed(lie):
    """With a definite P the exact method puts it right; without one the answer is not called solved."""
    q, ones = np.array([-2.0, 0.0]), np.ones(2)
    definite, semidefinite = QP(np.eye(2), np.eye(2)), QP(np.diag([1.0, 0.0]), np.eye(2))
    definite._first = semidefinite._first = liar = Liar(*LIES[lie])
    right = definite.solve(q, -ones, ones)
    assert (right.status, right.method) == ("solved", "active_set") and np.abs(right.x - [1.0, 0.0]).max() < 1e-12
    alone = semidefinite.solve(q, -ones, ones)
    assert alone.status in ("feasible", "failed", "unbounded") and alone.method == "osqp"
    assert alone.usable == (lie in INSIDE)
    assert np.isfinite(alone.x).all() == (lie not in ("NaN", "inf", "NaN multiplier", "no solution", "no bound"))
    assert liar.resets == 2 * (lie in ("NaN", "inf", "NaN multiplier"))  # it would start from NaN


def test_the_truth_is_believed():
    """The right point with the right multipliers is verified, by whomever it was found."""
    qp = QP(np.eye(2), np.eye(2))
    qp._first = Liar([1.0, 0.0], [1.0, 0.0], "solved")
    solution = qp.solve(np.array([-2.0, 0.0]), -np.ones(2), np.ones(2))
    assert (solution.status, solution.method) == ("solved", "osqp")
    assert solution.primal_residual == solution.dual_residual == solution.complementarity == 0.0

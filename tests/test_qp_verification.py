"""What a solver says is checked: lies are found out, the truth is not doubted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from koopctl.qp import QP
from koopctl.qp.active_set import ActiveSet
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


INSIDE = (
    "inside, not optimal",
    "a multiplier where no bound is met",
    "a multiplier that pulls",
    "the truth, unfinished",
)
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


@pytest.mark.parametrize("lie", list(LIES))
@pytest.mark.parametrize("P", [np.eye(2), np.diag([1.0, 0.0])], ids=["definite", "semidefinite"])
def test_a_solver_is_never_believed(lie, P):
    """The exact method that stands by puts it right; where it gives up too, nothing is called solved."""
    q, ones = np.array([-2.0, 0.0]), np.ones(2)
    qp = QP(P, np.eye(2))
    qp._first = liar = Liar(*LIES[lie])
    right = qp.solve(q, -ones, ones)
    assert (right.status, right.method) == ("solved", "active_set") and np.abs(right.x - [1.0, 0.0]).max() < 1e-6
    assert liar.resets == (lie in ("NaN", "inf", "NaN multiplier"))  # it would start from NaN


@pytest.mark.parametrize("lie", list(LIES))
def test_where_nobody_can_help(lie, monkeypatch):
    """The status is what the numbers say, not what was claimed; a point outside the bounds is never usable."""
    monkeypatch.setattr(ActiveSet, "_search", lambda self: (np.full(self._n, np.nan), "stopped", 1))
    qp = QP(np.eye(2), np.eye(2))
    qp._first = Liar(*LIES[lie])
    alone = qp.solve(np.array([-2.0, 0.0]), -np.ones(2), np.ones(2))
    assert alone.status in ("feasible", "failed") or alone.status == LIES[lie][2] != "solved"
    assert alone.usable == (lie in INSIDE)
    assert np.isfinite(alone.x).all() == (lie in (*INSIDE, "outside the bounds"))


def test_the_truth_is_believed():
    """The right point with the right multipliers is verified, by whomever it was found."""
    qp = QP(np.eye(2), np.eye(2))
    qp._first = Liar([1.0, 0.0], [1.0, 0.0], "solved")
    solution = qp.solve(np.array([-2.0, 0.0]), -np.ones(2), np.ones(2))
    assert (solution.status, solution.method) == ("solved", "osqp")
    assert solution.primal_residual == solution.dual_residual == solution.complementarity == 0.0

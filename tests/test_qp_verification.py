"""What a solver says is checked: lies are found out, the truth is not doubted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import koopctl as kc
from koopctl.qp import QP, SOLVERS
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


# ---------------------------------------------------------------------------------------------- rows of all sizes
every_solver = pytest.mark.parametrize("solver", SOLVERS)


@every_solver
@pytest.mark.parametrize("big", [1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("scale", [1.0, 1e3], ids=["rows alike", "a long row"])
def test_what_is_nothing_to_a_large_row_is_not_nothing_to_a_small_one(solver, big, scale):
    """Two programs side by side, x0 near `big` and x1 at its bound of 1: solved means that x1 is 1."""
    pytest.importorskip("osqp" if solver == "active_set" else solver)
    A, far = np.diag([scale, 1.0]), np.array([1e3 * big * scale, 1.0])
    solution = QP(np.eye(2), A, solver=solver).solve(np.array([-big, -5.0]), -far, far)
    assert solution.status == "solved"
    assert abs(solution.x[1] - 1.0) <= 2e-4 and abs(solution.x[0] / big - 1.0) <= 1e-4


BESIDE = {
    "the small row violated": ([1e6, 1.1], [0.0, 3.9], False),
    "the small row not reached": ([1e6, 0.1], [0.0, 4.9], True),
    "the small entry of the gradient": ([1e6, 1.0], [0.0, 3.0], True),
    "the large entry off by a little": ([1e6 + 50.0, 1.0], [0.0, 4.0], True),
    "the truth": ([1e6, 1.0], [0.0, 4.0], True),
}


@pytest.mark.parametrize("lie", list(BESIDE))
def test_every_row_and_entry_is_judged_by_its_own_size(lie, monkeypatch):
    """The least |x|^2/2 - [1e6, 5] x with x1 <= 1 has x = (1e6, 1), multiplier 4; only near that is it solved."""
    monkeypatch.setattr(ActiveSet, "_search", lambda self: (np.full(self._n, np.nan), "stopped", 1))
    x, y, inside = BESIDE[lie]
    qp = QP(np.eye(2), np.eye(2))
    qp._first = Liar(x, y, "solved")
    far = np.array([1e9, 1.0])
    solution = qp.solve(np.array([-1e6, -5.0]), -far, far)
    right = lie in ("the truth", "the large entry off by a little")
    assert solution.status == ("solved" if right else "feasible" if inside else "failed")


@every_solver
@pytest.mark.parametrize("ratio", [1e4, 1e6, 1e8])
def test_two_plants_in_one_law(solver, ratio):
    """Two decoupled plants, one priced `ratio` times the other: the cheap one gets what it gets from a law alone."""
    pytest.importorskip("osqp" if solver == "active_set" else solver)
    alone, both = (integrators(n) for n in (1, 2))
    bounds = {"u_min": -1.0, "u_max": 1.0, "du_max": 0.5, "horizon": 8, "R": 0.1, "target": 0.0}
    one = kc.LiftedMPC(alone, kc.Task(Q=1.0, y_max=0.4, **bounds), solver="active_set")
    two = kc.LiftedMPC(both, kc.Task(Q=[ratio, 1.0], y_max={"x1": 0.4}, **bounds), solver=solver)
    x = np.array([10.0, 0.9])
    for _ in range(12):
        u, info = two(x)
        assert info["status"] == "solved" and abs(u[1] - one(x[1:])[0][0]) < 1e-4
        x = x + 0.1 * u


def integrators(n: int) -> kc.EDMDc:
    """Return n integrators side by side, x + 0.1 u, learnt from motion that shows nothing else."""
    rng = np.random.default_rng(0)
    X, U = rng.uniform(-10, 10, (40, 6, n)), rng.uniform(-1, 1, (40, 5, n))
    for k in range(5):
        X[:, k + 1] = X[:, k] + 0.1 * U[:, k]
    names = [f"x{i}" for i in range(n)], [f"u{i}" for i in range(n)]
    return kc.EDMDc(kc.Identity(), ridge=1e-13).fit(kc.Rollouts(list(X), list(U), 0.1, *names))

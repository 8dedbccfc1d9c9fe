"""Quadratic programs: right against an independent solver, and never silent about what cannot be done."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from koopctl.errors import ShapeError, SolverError
from koopctl.qp import QP
from koopctl.qp.active_set import ActiveSet

INF = np.inf


def random_problem(seed: int) -> tuple[np.ndarray, ...]:
    """Return a feasible, strictly convex problem with scales orders of magnitude apart; some rows are equalities."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 20)), int(rng.integers(1, 30))
    M = rng.normal(size=(n, n))
    P = M @ M.T + 10.0 ** rng.uniform(-4, 0) * np.eye(n)
    q = rng.normal(size=n) * 10.0 ** rng.uniform(-3, 4)
    A = rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-2, 2, size=(m, 1)) * (rng.random((m, n)) < 0.6)
    z = A @ (rng.normal(size=n) * 10.0 ** rng.uniform(-2, 2))
    lower = np.where(rng.random(m) < 0.6, z - rng.exponential(size=m) * (rng.random(m) < 0.7), -INF)
    upper = np.where(rng.random(m) < 0.6, z + rng.exponential(size=m), INF)
    lower[: m // 6] = upper[: m // 6] = z[: m // 6]
    return P, q, A, lower, upper


def reference_cost(P: Any, q: Any, A: Any, lower: Any, upper: Any) -> float:
    """Return the optimal cost that CLARABEL, an interior-point method, finds."""
    x = cp.Variable(len(q))
    low, high = np.isfinite(lower), np.isfinite(upper)
    rows = ([A[low] @ x >= lower[low]] if low.any() else []) + ([A[high] @ x <= upper[high]] if high.any() else [])
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, cp.psd_wrap(P)) / 2 + q @ x), rows)
    try:
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    except cp.SolverError:  # asked for more digits than it can find
        problem.solve(solver=cp.CLARABEL)
    assert problem.status == "optimal"
    return float(problem.value)


def assert_optimal(solution: Any, tolerance: float = 1e-4) -> None:
    """Check the KKT conditions from the problem's own numbers, not from what the solution says of itself."""
    P, q, A, lower, upper = solution.problem
    x, y = solution.x, solution.y
    z = A @ x
    size = 1 + np.abs(q).max() + np.abs(y).max(initial=0.0)
    assert np.abs(P @ x + q + A.T @ y).max() <= tolerance * size
    assert max((lower - z).max(initial=0.0), (z - upper).max(initial=0.0)) <= tolerance * (1 + np.abs(z).max())
    # A multiplier pushes away from the bound it belongs to, and only where that bound is met.
    slack = np.where(y > 0, np.minimum(upper - z, 1e9), np.minimum(z - lower, 1e9))
    assert np.abs(y * slack).max(initial=0.0) <= 10 * tolerance * size * (1 + np.abs(z).max())


@pytest.mark.parametrize("seed", range(20, 55))
def test_it_finds_what_an_interior_point_method_finds(seed):
    """Random convex programs: equal cost, KKT conditions, and residuals that tell the truth."""
    problem = random_problem(seed)
    P, q, A, lower, upper = problem
    solution = QP(P, A != 0).solve(q, lower, upper, A)
    assert solution.status == "solved" and solution.usable
    assert_optimal(solution)
    best = reference_cost(*problem)
    cost = float(solution.x @ P @ solution.x / 2 + q @ solution.x)
    assert abs(cost - best) <= 1e-4 * (1 + abs(best))
    z = A @ solution.x
    assert solution.primal_residual == max((lower - z).max(initial=0.0), (z - upper).max(initial=0.0))


def test_the_unconstrained_optimum():
    """Without rows, and with rows that do not bind, the answer is -P^-1 q."""
    P, q = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, -2.0])
    exact = -np.linalg.solve(P, q)
    empty = QP(P, np.zeros((0, 2))).solve(q, np.zeros(0), np.zeros(0), np.zeros((0, 2)))
    free = QP(P, np.eye(2)).solve(q, np.full(2, -INF), np.full(2, INF), np.eye(2))
    for solution in (empty, free):
        assert solution.status == "solved" and np.abs(solution.x - exact).max() < 1e-5


def test_one_structure_many_problems():
    """Numbers of one call do not leak into the next, whatever the one before was."""
    rng = np.random.default_rng(0)
    P, q, A, _, _ = random_problem(3)
    n, m = len(q), len(A)
    warm = QP(P, np.ones((m, n)), tolerance=1e-7)
    for k in range(12):
        A = rng.normal(size=(m, n))
        z = A @ rng.normal(size=n)
        lower, upper = z - rng.exponential(size=m), z + rng.exponential(size=m)
        if k % 3 == 1:  # infeasible in between
            B = np.concatenate([A[:1], A[:1], A[2:]])
            bad = warm.solve(q, np.concatenate([[5.0, -INF], lower[2:]]), np.concatenate([[INF, 4.0], upper[2:]]), B)
            assert bad.status == "infeasible"
        if k % 3 == 2:  # refused in between
            with pytest.raises(SolverError):
                warm.solve(q * np.nan, lower, upper, A)
        one = warm.solve(q, lower, upper, A)
        other = QP(P, np.ones((m, n)), tolerance=1e-7).solve(q, lower, upper, A)
        assert one.status == other.status == "solved"
        assert np.abs(one.x - other.x).max() < 1e-4 * (1 + np.abs(other.x).max())


def test_the_matrix_is_kept_until_the_next():
    """A=None means the last A (at first the pattern); changing the caller's array afterwards changes nothing."""
    q, ones = -np.ones(2), np.ones(2)
    qp = QP(np.eye(2), np.array([[2.0, 0.0], [0.0, 1.0]]))
    assert np.abs(qp.solve(q, -ones, ones).x - [0.5, 1.0]).max() < 1e-5
    A = np.array([[4.0, 0.0], [0.0, 1.0]])
    assert np.abs(qp.solve(q, -ones, ones, A).x - [0.25, 1.0]).max() < 1e-5
    A[0, 0] = 100.0
    assert np.abs(qp.solve(q, -ones, ones).x - [0.25, 1.0]).max() < 1e-5


@pytest.mark.parametrize("growth", [1.0, 1.2, 1.5, 2.0])
def test_where_the_splitting_crawls_the_answer_is_still_exact(growth):
    """Lower-triangular rows of an unstable plant, nearly all active: OSQP stops early, the active set does not."""
    n = 25
    k = np.arange(n)
    A = np.tril(growth ** (k[:, None] - k[None, :]))
    rng = np.random.default_rng(1)
    q = 100 * rng.normal(size=n)
    lower, upper = -0.1 * np.ones(n), 0.1 * np.ones(n)
    solution = QP(np.eye(n), A, max_iterations=20).solve(q, lower, upper, A)
    z = A @ solution.x
    assert solution.iterations > 20 and (solution.status, solution.method) == ("solved", "active_set")
    assert_optimal(solution, 1e-8 if growth < 2 else 1e-5)
    assert solution.complementarity < 1e-4 * np.abs(solution.y).max()
    assert (np.abs(z) > 0.1 - 1e-6).sum() > n / 2  # many rows are met
    if growth < 2:  # CLARABEL gives up beyond
        best = reference_cost(np.eye(n), q, A, lower, upper)
        assert abs(solution.x @ solution.x / 2 + q @ solution.x - best) < 1e-6 * abs(best)


@pytest.mark.parametrize("far", [1.0, 1e4, 1e7, 1e10])
def test_a_far_solution_is_not_taken_for_none(far):
    """Whether a point exists does not depend on the units: a least distance of 1e10 is one, too."""
    A = np.array([[1.0, 0.5], [-0.3, 1.0]])
    qp = QP(np.eye(2), A, max_iterations=10)
    solution = qp.solve(np.zeros(2), np.array([far, far]), np.full(2, INF), A)
    assert solution.status == "solved"
    assert np.abs(A @ solution.x / far - 1.0).max() < 1e-5  # both rows are met: the corner is the nearest point
    nothing = qp.solve(np.zeros(2), np.array([far, -INF]), np.array([INF, -far]), np.array([[1.0, 0.5], [1.0, 0.5]]))
    assert nothing.status == "infeasible"


@pytest.mark.parametrize("gap", [1e-3, 1.0, 1e6])
def test_infeasible_is_said_and_holds_no_number(gap):
    """OSQP's answer to an infeasible program is 2e9 in every entry; here it is NaN and the word."""
    A = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for iterations in (10, 300):
        qp = QP(np.eye(2), np.ones((3, 2)), max_iterations=iterations)
        lower, upper = np.array([gap, -INF, -1.0]), np.array([INF, 0.0, 1.0])
        solution = qp.solve(np.ones(2), lower, upper, A)
        assert solution.status == "infeasible" and not solution.usable
        assert np.isnan(solution.x).all()


BAD = {
    "NaN in q": ({"q": [np.nan, 0.0]}, "not_finite"),
    "inf in q": ({"q": [INF, 0.0]}, "not_finite"),
    "inf and -inf in q": ({"q": [INF, -INF]}, "not_finite"),
    "NaN in A": ({"A": [[np.nan, 0.0], [0.0, 1.0]]}, "not_finite"),
    "inf in A": ({"A": [[INF, 0.0], [0.0, 1.0]]}, "not_finite"),
    "NaN in l": ({"lower": [np.nan, 0.0]}, "not_finite"),
    "NaN in u": ({"upper": [np.nan, 2.0]}, "not_finite"),
    "q too long": ({"q": [0.0, 0.0, 0.0]}, "shape"),
    "l too short": ({"lower": [0.0]}, "shape"),
    "u too long": ({"upper": [1.0, 1.0, 1.0]}, "shape"),
    "A transposed": ({"A": [[1.0, 0.0]]}, "shape"),
    "l > u": ({"lower": [0.0, 2.0], "upper": [1.0, 1.0]}, "infeasible"),
    "l = inf": ({"lower": [INF, 0.0], "upper": [INF, 1.0]}, "out_of_range"),
    "u = -inf": ({"lower": [-INF, 0.0], "upper": [-INF, 1.0]}, "out_of_range"),
    "l = 1e21": ({"lower": [1e21, 0.0], "upper": [INF, 1.0]}, "out_of_range"),
    "l = 1e20": ({"lower": [1e20, 0.0], "upper": [INF, 1.0]}, "out_of_range"),
    "l, u beyond 1e30": ({"lower": [1e31, 0.0], "upper": [1e32, 1.0]}, "out_of_range"),
    "u = -1e25": ({"lower": [-INF, 0.0], "upper": [-1e25, 1.0]}, "out_of_range"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_numbers_are_refused_before_the_solver(name, capfd):
    """OSQP would accept them, or print and keep the old ones; here a SolverError names it; the next solve works."""
    change, code = BAD[name]
    numbers = {"q": np.zeros(2), "lower": np.zeros(2), "upper": np.ones(2), "A": np.eye(2)}
    qp = QP(np.eye(2), np.ones((2, 2)))
    with pytest.raises(SolverError) as error:
        qp.solve(**(numbers | {k: np.array(v) for k, v in change.items()}))
    assert error.value.status == code and str(error.value)
    after = qp.solve(np.array([-1.0, -3.0]), np.zeros(2), np.array([2.0, 2.0]), np.eye(2))
    assert after.status == "solved" and np.abs(after.x - [1.0, 2.0]).max() < 1e-5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("exponent", [9, 15, 19, 19.99, 20, 25, 29.9, 30, 31, 300])
def test_huge_bounds_are_no_bounds_and_nothing_is_printed(exponent, capfd):
    """One-sided, two-sided, straddling OSQP's own infinity (1e30) and ours (1e20)."""
    huge = 10.0**exponent
    qp = QP(np.eye(2), np.ones((2, 2)))
    q, exact = np.array([-1.0, 5.0]), np.array([1.0, -2.0])
    for low, high in ((-huge, INF), (-INF, huge), (-huge, huge), (-1e20, huge), (-huge, 1e20)):
        solution = qp.solve(q, np.array([low, -2.0]), np.array([high, 2.0]), np.eye(2))
        assert solution.status == "solved" and np.abs(solution.x - exact).max() < 1e-4
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("scale", [1e100, 1e200, 1e300])
def test_what_overflows_is_not_usable_and_nothing_is_printed(scale, capfd, recwarn):
    """Finite numbers whose products are not: an honest status, no exception, no print, no warning."""
    qp = QP(np.array([[2.0, 1.0], [1.0, 3.0]]), np.ones((2, 2)))
    ones = np.ones(2)
    for q, A in (
        (np.array([scale, -scale]), np.eye(2)),
        (ones, np.array([[scale, 1.0], [1.0, 1.0]])),
        (ones * scale, np.eye(2) * scale),
    ):
        solution = qp.solve(q, -ones, ones, A)
        if solution.usable:
            with np.errstate(all="ignore"):
                z = A @ solution.x
            assert max((-1 - z).max(), (z - 1).max()) <= 1e-4 * (1 + np.abs(z).max())
    after = qp.solve(np.zeros(2), np.array([0.5, -1.0]), ones, np.eye(2))
    assert after.status == "solved" and abs(after.x[0] - 0.5) < 1e-5
    assert capfd.readouterr() == ("", "") and not [str(w.message) for w in recwarn.list]


@pytest.mark.parametrize(
    ("P", "status"),
    [
        (np.diag([1.0, -1.0]), "not_convex"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "not_convex"),
        (np.array([[2.0, 1.0], [0.0, 2.0]]), "not_symmetric"),
        (np.full((2, 2), np.nan), "not_finite"),
        (np.diag([1.0, INF]), "not_finite"),
    ],
)
def test_a_hessian_that_is_none_is_refused(P, status, capfd):
    """Indefinite, skewed and NaN Hessians are refused with a reason code, and OSQP never prints."""
    with pytest.raises(SolverError) as error:
        QP(P, np.eye(2))
    assert error.value.status == status
    assert capfd.readouterr() == ("", "")


def test_sizes_of_the_structure_are_checked():
    """P must be square, A as wide as P; both shapes are in the text."""
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        QP(np.ones((2, 3)), np.ones((1, 2)))
    with pytest.raises(ShapeError, match=r"\(1, 3\)"):
        QP(np.eye(2), np.ones((1, 3)))
    with pytest.raises(SolverError):
        QP(np.eye(2), np.full((1, 2), np.nan))


def test_an_early_stop_that_keeps_the_constraints_is_called_feasible(monkeypatch):
    """When even the exact method gives up, a point inside the constraints is usable, one outside is not."""
    monkeypatch.setattr(ActiveSet, "_search", lambda self: (np.zeros(self._n), "stopped", 1))
    n = 20
    A = np.tril(np.ones((n, n)))
    seen = set()
    for seed in range(60):
        q = np.random.default_rng(seed).normal(size=n) * 10.0 ** (seed % 4 - 1)
        solution = QP(np.eye(n), A, max_iterations=2).solve(q, -np.ones(n), np.ones(n), A)
        seen.add(solution.status)
        z = A @ solution.x
        excess = max((-1 - z).max(), (z - 1).max())
        assert solution.usable == (solution.status in ("solved", "feasible"))
        assert (excess <= 1e-4 * (1 + np.abs(z).max())) == solution.usable
    assert {"feasible", "failed"} <= seen


# ---------------------------------------------------------------------------------------------- the pattern
def test_an_entry_outside_the_pattern_is_refused():
    """The solver would not see it: refused with its place, whatever its size; the last matrix stays."""
    pattern = np.array([[1.0, 0.0], [1.0, 1.0]])
    qp = QP(np.eye(2), pattern)
    q, ones = np.array([-3.0, -3.0]), np.ones(2)
    for entry in (1.0, -1e-9, 1e9):
        A = pattern.copy()
        A[0, 1] = entry
        with pytest.raises(SolverError, match=r"A\[0, 1\]") as error:
            qp.solve(q, -ones, ones, A)
        assert error.value.status == "pattern"
    assert np.abs(qp.solve(q, -ones, ones).x - [0.5, 0.5]).max() < 1e-4  # of the pattern itself, the first A
    inside = qp.solve(q, -ones, ones, np.array([[0.0, 0.0], [2.0, 0.0]]))  # zeros inside are no offence
    assert np.abs(inside.x - [0.5, 3.0]).max() < 1e-4

"""The exact method that stands by: its factorisation, its steps, and when it takes over."""

from __future__ import annotations

import numpy as np
import pytest

from koopctl.qp import QP
from koopctl.qp.active_set import ActiveSet
from koopctl.qp.span import Span

INF = np.inf


def test_the_factorisation_follows_every_change():
    """After any sequence of added and dropped rows, forces and shortest vector are those of a dense least squares."""
    rng = np.random.default_rng(0)
    n = 12
    span, rows = Span(n), np.zeros((0, n))
    for _ in range(300):
        if len(rows) == n or (len(rows) and rng.random() < 0.45):
            i = int(rng.integers(len(rows)))
            span.drop(i)
            rows = np.delete(rows, i, axis=0)
        else:
            row = rng.normal(size=n)
            row /= np.linalg.norm(row)
            assert span.add(row) is None
            rows = np.concatenate([rows, row[None]])
        bounds = rng.normal(size=len(rows))
        force, v = span.shortest(bounds)
        exact = np.linalg.lstsq(rows, bounds)[0] if len(rows) else np.zeros(n)
        scale = 1 + np.abs(exact).max()
        assert span.size == len(rows) and np.abs(v - exact).max() < 1e-7 * scale
        assert np.abs(force @ rows - v).max() < 1e-7 * scale


def test_a_sum_of_rows_is_not_taken_but_explained():
    """A dependent row comes back with its coefficients; one a millionth off is taken."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(4, 9))
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    span = Span(9)
    assert span.rebuild(rows) == [0, 1, 2, 3]
    total = rows[0] - 2.0 * rows[3]
    length = np.linalg.norm(total)
    sums = span.add(total / length)
    assert sums is not None and np.abs(sums - np.array([1, 0, 0, -2]) / length).max() < 1e-12
    assert span.size == 4 and span.add((total + 1e-6 * rng.normal(size=9)) / length) is None
    assert Span(9).rebuild(np.array([rows[0], rows[0], rows[1]])) == [0, 2]


def test_it_starts_from_the_rows_of_the_last_solution():
    """The same program again is one step; a program moved a little takes far fewer than from scratch."""
    rng = np.random.default_rng(2)
    n, m = 30, 90
    A = np.cumsum(rng.normal(size=(m, n)), axis=0) / 5
    q, ones = 3 * rng.normal(size=n), np.ones(m)
    warm = QP(np.eye(n), A, solver="active_set")
    first = warm.solve(q, -ones, ones)
    assert first.iterations > 10 and warm.solve(q, -ones, ones).iterations == 1
    moved, fresh = 0, 0
    for _ in range(20):
        q = q + 0.05 * rng.normal(size=n)
        moved += warm.solve(q, -ones, ones).iterations
        fresh += QP(np.eye(n), A, solver="active_set").solve(q, -ones, ones).iterations
    assert moved < fresh / 3


def test_rows_met_are_exchanged_for_their_sum():
    """x1 >= 1, x2 >= 1 met first, then x1 + x2 >= 4: one of the three must give way, and which depends on the cost."""
    A = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for solver in ("active_set", "osqp"):
        qp = QP(np.eye(2), A, solver=solver)
        solution = qp.solve(np.array([0.0, 9.0]), np.array([1.0, 1.0, 4.0]), np.full(3, INF))
        assert np.abs(solution.x - [3.0, 1.0]).max() < 1e-4 and solution.status == "solved"
        both = qp.solve(np.array([9.0, 0.0]), np.array([1.0, 1.0, 4.0]), np.full(3, INF))
        assert np.abs(both.x - [1.0, 3.0]).max() < 1e-4 and both.status == "solved"


def test_dependent_equalities():
    """Equalities that repeat each other are met once; ones that contradict each other have no solution."""
    rng = np.random.default_rng(3)
    A = rng.normal(size=(3, 6))
    A = np.concatenate([A, A[:1] + A[1:2], -3.0 * A[2:]])
    qp, x = QP(np.eye(6), A, solver="active_set"), rng.normal(size=6)
    z = A @ x
    q = rng.normal(size=6)
    solution = qp.solve(q, z, z)
    assert solution.status == "solved" and np.abs(A @ solution.x - z).max() < 1e-9
    null = np.linalg.svd(A)[2][3:]
    assert np.abs(null @ (solution.x + q)).max() < 1e-9  # the gradient has nothing left along the free directions
    z[3] += 1e-3
    assert qp.solve(q, z, z).status == "infeasible"
    z[3] -= 1e-3 - 1e-9
    assert qp.solve(q, z, z).status == "solved"  # a contradiction within the tolerance is rounding


@pytest.mark.parametrize("solver", ["osqp", "active_set"])
def test_a_limit_of_steps_is_kept(solver):
    """Stopped early is said, and the next solve is right again."""
    n = 25
    A, ones = np.tril(np.ones((n, n))), np.ones(n)
    q = 10 * np.random.default_rng(4).normal(size=n)
    stopped = ActiveSet(np.eye(n), A, 1e-5, 3, True).solve(q, -ones, ones, A)
    assert (stopped.outcome, stopped.iterations) == ("stopped", 3)
    qp = QP(np.eye(n), A, solver=solver, max_iterations=3)
    solution = qp.solve(q, -ones, ones)
    assert solution.status == ("solved" if solver == "osqp" else "failed")


def test_who_goes_first():
    """OSQP starts; where it crawls the exact method takes over and stays in front until no bound is active."""
    n = 25
    A, ones, rng = np.tril(1.2 ** np.subtract.outer(np.arange(n), np.arange(n))), np.ones(n), np.random.default_rng(5)
    qp = QP(np.eye(n), A)
    easy, hard = 1e-6 * rng.normal(size=n), 10 * rng.normal(size=n)
    assert qp.solve(easy, -ones, ones).method == "osqp"
    taken = qp.solve(hard, -ones, ones)
    assert (taken.status, taken.method) == ("solved", "active_set") and taken.iterations > 200
    again = qp.solve(1.01 * hard, -ones, ones)
    assert again.method == "active_set" and again.iterations < 20  # OSQP was not asked
    assert qp.solve(easy, -ones, ones).method == "active_set"  # nothing is active: the last time
    assert qp.solve(easy, -ones, ones).method == "osqp"
    qp.solve(hard, -ones, ones)
    qp.reset()
    assert qp.solve(easy, -ones, ones).method == "osqp"

"""Bounds as rows: hard inputs and rates, soft coordinates, nothing where there is nothing to bound."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

import koopctl as kc
from koopctl.controllers.constraints import Constraints
from koopctl.controllers.riccati import condense
from koopctl.controllers.steady import resolve
from koopctl.errors import SolverError

N = 6


def horizon(model, dx0, seed=0):
    """Return a condensed regulation problem around a random plan X, U of the model."""
    rng = np.random.default_rng(seed)
    nx, nu = model.nx, model.nu
    X, U = np.zeros((N + 1, nx)), 0.3 * rng.normal(size=(N, nu))
    X[0] = 0.3 * rng.normal(size=nx)
    for k in range(N):
        X[k + 1] = model.step(X[k], U[k])
    A, B = (np.repeat(M[None], N, 0) for M in (model.A_, model.B_))
    H = np.diag(np.concatenate([np.ones(nx), 0.1 * np.ones(nu)]))
    h = np.concatenate([X[:-1], 0.1 * U], axis=1)
    plan = condense(A, B, np.zeros((N, nx)), H, h, np.eye(nx), X[-1], dx0)
    return plan, X, U


BOUNDS = {
    "inputs": {"u_min": -0.2, "u_max": [0.1, 0.3]},
    "one side of one input": {"u_max": {"u1": 0.05}},
    "rates": {"du_max": [0.1, 0.05]},
    "one rate": {"du_max": {"u0": 0.05}},
    "inputs and rates": {"u_min": -0.2, "u_max": 0.2, "du_max": 0.1},
    "soft": {"y_min": {"x0": -0.1}, "y_max": {"x0": 0.05, "x2": 0.02}},
    "all": {"u_min": -0.2, "u_max": 0.2, "du_max": 0.1, "y_min": -0.1, "y_max": 0.1},
}


def solve(constraints, plan, X, U, u_last):
    """Solve the program around a plan."""
    values = constraints.values(np.concatenate([(X + plan.free_x).ravel(), (U + plan.free_u).ravel()]), u_last)
    rows = constraints.matrix(np.concatenate([part.reshape(-1, len(U) * 2) for part in (plan.S, plan.T)]))
    low, high = constraints.limits()
    low, high = low - values, high - values
    return constraints.solve(rows, low, high) if constraints.touched(low, high) else (np.zeros(len(U) * 2), None)


@pytest.mark.parametrize("name", list(BOUNDS))
@pytest.mark.parametrize("price", [1e3, 1e-2])
def test_the_rows_state_the_bounds(two_input_model, name, price):
    """The same bounds written in cvxpy on the plan itself, not on rows of w, give the same corrections."""
    task = resolve(two_input_model, kc.Task(target=0.0, Q=1.0, R=0.1, horizon=N, slack_price=price, **BOUNDS[name]))
    plan, X, U = horizon(two_input_model, np.array([0.4, -0.3, 0.2]))
    u_last = np.array([0.05, -0.1])
    w, solution = solve(Constraints(task, 2, 3), plan, X, U, u_last)
    assert solution is not None and solution.usable

    v, slack = cp.Variable(2 * N), cp.Variable(3, nonneg=True)
    u = cp.vstack([U[k] + plan.free_u[k] + plan.T[k] @ v for k in range(N)])
    q = cp.vstack([X[k] + plan.free_x[k] + plan.S[k] @ v for k in range(1, N + 1)])
    rows = []
    for j in range(2):
        before = cp.hstack([u_last[j], u[:-1, j]])
        for value, low, high in (
            (u[:, j], task.u_min[j], task.u_max[j]),
            (u[:, j] - before, -task.du_max[j], task.du_max[j]),
        ):
            rows += [value >= low] * bool(np.isfinite(low)) + [value <= high] * bool(np.isfinite(high))
    for i in range(3):
        rows += [q[:, i] >= task.y_min[i] - slack[i]] * bool(np.isfinite(task.y_min[i]))
        rows += [q[:, i] <= task.y_max[i] + slack[i]] * bool(np.isfinite(task.y_max[i]))
    cost = cp.sum_squares(v) / 2 + price * (cp.sum(slack) + cp.sum_squares(slack) / 2)
    problem = cp.Problem(cp.Minimize(cost), rows)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    assert np.abs(w - v.value).max() < 1e-4


def test_what_is_not_bounded_needs_no_solver(two_input_model):
    """No bound, infinite bounds, and bounds that are not met: zero corrections, no solution object."""
    plan, X, U = horizon(two_input_model, np.array([0.4, -0.3, 0.2]))
    for bounds in (
        {},
        {"u_min": -np.inf, "u_max": np.inf, "du_max": np.inf, "y_min": -np.inf, "y_max": np.inf},
        {"u_min": -50.0, "u_max": 50.0, "du_max": 90.0, "y_min": -70.0, "y_max": 70.0},
    ):
        task = resolve(two_input_model, kc.Task(target=0.0, Q=1.0, R=0.1, horizon=N, **bounds))
        w, solution = solve(Constraints(task, 2, 3), plan, X, U, np.zeros(2))
        assert solution is None and w.shape == (2 * N,) and not w.any()


def test_a_plan_that_is_not_finite_is_refused(two_input_model):
    """NaN and overflow never reach the solver."""
    task = resolve(two_input_model, kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-0.1, u_max=0.1, horizon=N))
    constraints = Constraints(task, 2, 3)
    plan, X, U = horizon(two_input_model, np.array([0.4, -0.3, 0.2]))
    for bad in (np.nan, 1e21, -1e30, np.inf):
        spoilt = U.copy()
        spoilt[2, 1] = bad
        with pytest.raises(SolverError):
            solve(constraints, plan, X, spoilt, np.zeros(2))
    w, solution = solve(constraints, plan, X, U, np.zeros(2))
    assert solution.status == "solved" and np.isfinite(w).all()


@pytest.mark.parametrize("distance", [1.0, 1e2, 1e4, 1e6])
def test_soft_bounds_give_way_however_far(two_input_model, distance):
    """Inputs stay inside, the coordinate comes as near as the inputs let it, the program is never infeasible."""
    task = resolve(two_input_model, kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-0.2, u_max=0.2, y_max=0.1, horizon=N))
    plan, X, U = horizon(two_input_model, distance * np.array([1.0, 1.0, 1.0]))
    w, solution = solve(Constraints(task, 2, 3), plan, X, U, np.zeros(2))
    u = U + plan.free_u + plan.T @ w
    assert solution.usable and np.abs(u).max() < 0.2 + 1e-4 * distance**0.5

"""A problem of the user's own: what CVXPY itself answers, what is refused, and what it costs."""

from __future__ import annotations

import time

import cvxpy as cp
import numpy as np
import pytest

import koopctl as kc
from koopctl.errors import DesignError

N = 10
TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=N, u_min=-0.4, u_max=0.3, du_max=0.2)


def plain(x, u, y):
    """Quadratic cost, no constraints."""
    return cp.sum_squares(x[1:]) + 0.1 * cp.sum_squares(u), []


def economic(x, u, y):
    """Absolute inputs, a zone for one coordinate with a priced slack, a budget of input."""
    beyond = cp.pos(cp.abs(x[1:, 0]) - 0.1)
    return cp.norm1(u) + 20.0 * cp.sum(beyond) + cp.max(cp.abs(x[1:, 1])), [cp.sum(cp.abs(u)) <= 1.5]


def terminal(x, u, y):
    """A point that must be reached, and an output that is bounded throughout."""
    return cp.sum_squares(u), [x[N, :2] == 0.0, y[1:, 1] <= 0.6]


PROBLEMS = {"plain": plain, "economic": economic, "terminal": terminal}


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_it_is_what_cvxpy_answers(two_input_model, name):
    """The compiled program against CVXPY's own solution of the same problem, call by call."""
    law = kc.ConvexMPC(two_input_model, TASK, PROBLEMS[name])
    rng, x = np.random.default_rng(0), (0.3 if name == "terminal" else 1.0) * np.array([0.3, -0.2, 0.25])
    for _ in range(4):
        u, info = law(x)
        assert (info["status"], info["reason"]) == ("solved", "")
        law.problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10)
        assert info["cost"] == pytest.approx(law.problem.value, rel=1e-4, abs=1e-6)
        X = two_input_model.predict(x, info["plan_u"])
        assert np.abs(X - info["plan"]).max() < 1e-8  # on a linear plant the plan is the motion
        assert np.abs(info["plan_u"]).max() < 0.4 + 1e-4 and (info["plan_u"] <= 0.3 + 1e-4).all()
        x = two_input_model.step(x, u) + 0.003 * rng.normal(size=3)


def test_the_built_in_law_is_one_of_these(two_input_model):
    """The task's own cost, stated by hand with the law's terminal weight, gives its inputs."""
    built_in = kc.LiftedMPC(two_input_model, TASK)

    def stated(x, u, y):
        return cp.sum_squares(x[:-1]) + 0.1 * cp.sum_squares(u) + cp.quad_form(x[N], cp.psd_wrap(built_in.P)), []

    law = kc.ConvexMPC(two_input_model, TASK, stated)
    for x in np.random.default_rng(1).uniform(-0.6, 0.6, (5, 3)):
        law.reset()
        built_in.reset()
        assert np.abs(law(x)[0] - built_in(x)[0]).max() < 2e-4


def test_parameters_are_set_between_calls(two_input_model):
    """A price of the input and a limit that move; each call is the problem with the values of the moment."""
    price, limit = cp.Parameter(N, name="price"), cp.Parameter(name="limit")

    def tariff(x, u, y):
        return cp.sum_squares(x[1:]) + 0.1 * cp.sum_squares(u) + cp.sum(cp.pos(u[:, 0] - price)), [x[1:, 2] <= limit]

    law = kc.ConvexMPC(two_input_model, TASK.replace(du_max=None), tariff)
    x, rng = np.array([0.2, -0.3, 0.1]), np.random.default_rng(0)
    u, info = law(x)
    assert info["status"] != "solved" and info["reason"] == "parameter:price"
    for _ in range(3):
        price.value, limit.value = rng.uniform(-0.2, 0.2, N), rng.uniform(0.05, 0.2)
        law.reset()
        u, info = law(x)
        assert info["status"] == "solved"
        law.problem.solve(solver=cp.CLARABEL)
        assert info["cost"] == pytest.approx(law.problem.value, rel=1e-4)


def test_what_cannot_be_met_goes_down_the_ladder(two_input_model):
    """No plan satisfies it: the LQR acts, inside the bounds, and the reason is said."""
    law = kc.ConvexMPC(two_input_model, TASK, lambda x, u, y: (cp.sum_squares(u), [x[1, 0] == 50.0]))
    u, info = law(np.array([0.1, 0.2, 0.0]))
    assert (info["status"], info["reason"]) == ("lqr", "qp_infeasible") and (np.abs(u) <= 0.4).all()


@pytest.mark.parametrize(
    ("formulate", "words"),
    [
        (lambda x, u, y: (cp.sum(cp.sqrt(cp.abs(u))), []), "not convex by CVXPY's rules"),
        (lambda x, u, y: (cp.sum_squares(u), [cp.norm2(x[1]) <= 1.0]), "no quadratic program"),
        (lambda x, u, y: (cp.Parameter(N, name="gain") @ u[:, 0] + cp.sum_squares(u), []), None),
        (lambda x, u, y: (cp.sum_squares(cp.multiply(cp.Parameter(N, name="gain"), u[:, 0])), []), "'gain' multiplies"),
        (lambda x, u, y: (cp.sum_squares(u), [cp.Parameter(N, name="gain") @ u[:, 0] <= 1.0]), "'gain' multiplies"),
        (lambda x, u, y: (cp.sum_squares(u - cp.Parameter((N, 2), name="path")), []), "parameters are vectors"),
        (lambda x, u, y: cp.sum_squares(u), "expected the pair"),
    ],
)
def test_what_cannot_be_compiled_is_named(two_input_model, formulate, words):
    """At the design; a linear price is one of the things that can."""
    if words is None:
        kc.ConvexMPC(two_input_model, TASK, formulate)
        return
    with pytest.raises(DesignError, match=words):
        kc.ConvexMPC(two_input_model, TASK, formulate)


def test_a_lift_and_an_unstable_plant_are_no_trouble(linear_model):
    """Sixty steps of an unstable plant: the plan is written around a gain."""
    law = kc.ConvexMPC(linear_model, kc.Task(target=0.0, Q=1.0, R=0.1, horizon=60, u_max=1.0, u_min=-1.0), plain)
    x = np.array([0.4, 0.2])
    for _ in range(80):
        u, info = law(x)
        assert info["status"] == "solved"
        x = linear_model.step(x, u)
    assert np.abs(x).max() < 0.02


def test_a_call_costs_what_its_program_costs(two_input_model):
    """CVXPY is not called in the loop: far faster than its own solution of the compiled problem."""
    law = kc.ConvexMPC(two_input_model, TASK, plain)
    x = np.array([0.5, -0.4, 0.3])
    ours, theirs = [], []
    for _ in range(20):
        start = time.perf_counter()
        law(x)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        law.problem.solve(solver=cp.OSQP)
        theirs.append(time.perf_counter() - start)
    assert np.median(ours) < 0.5 * np.median(theirs)


def test_it_is_not_written_to_files(two_input_model, tmp_path):
    """A function of the user's is in no file; copies are another matter."""
    law = kc.ConvexMPC(two_input_model, TASK, plain)
    with pytest.raises(DesignError, match="function of yours"):
        law.save(tmp_path / "law.npz")
    x = np.array([0.2, 0.1, 0.0])
    assert np.array_equal(law.fresh()(x)[0], law(x)[0])

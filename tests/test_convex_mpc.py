"""A problem of the user's own: what CVXPY itself answers, what is refused, and what it costs."""

from __future__ import annotations

import copy
import pickle
import sys
import time
from collections.abc import Callable
from types import FrameType

import cvxpy as cp
import numpy as np
import pytest

import koopctl as kc
from koopctl.errors import DesignError, UnknownNameError

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


# ---------------------------------------------------------------------------------------------- bounds of a call
def by_hand(model, task, x0, u_before, more):
    """Return the inputs of `plain` on a linear plant with bounds from `more(x, u, du)`, stated anew in CVXPY."""
    x, u = cp.Variable((N + 1, model.nx)), cp.Variable((N, model.nu))
    du = u - cp.vstack([u_before.reshape(1, -1), u[:-1]])
    rows = [x[0] == x0] + [x[k + 1] == model.A_ @ x[k] + model.B_ @ u[k] + model.c_ for k in range(N)]
    cost, bounds = more(x, u, du)
    problem = cp.Problem(cp.Minimize(plain(x, u, x)[0] + cost), rows + bounds)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return u.value, problem.value


STAGES = np.linspace(0.25, 0.05, N)[:, None] * np.ones(2)
PREVIEWS = {
    "tighter": (
        kc.Preview(u_min=-0.1, u_max=0.15, du_max=0.05),
        lambda x, u, du: (0.0, [u >= -0.1, u <= 0.15, cp.abs(du) <= 0.05]),
    ),
    "stage by stage": (
        kc.Preview(u_max=STAGES, u_min=-STAGES),
        lambda x, u, du: (0.0, [cp.abs(u) <= STAGES, cp.abs(du) <= 0.2]),
    ),
    "wider": (kc.Preview(u_max=2.0, du_max=3.0), lambda x, u, du: (0.0, [u >= -0.4, u <= 2.0, cp.abs(du) <= 3.0])),
    "outputs, which the task leaves free": (
        kc.Preview(y_max=[0.6, np.inf, 0.1], y_min=[-np.inf, -0.1, -np.inf]),
        lambda x, u, du: (
            sum(1e3 * cp.max(cp.pos(s)) + 500.0 * cp.square(cp.max(cp.pos(s))) for s in outside(x)),
            [u >= -0.4, u <= 0.3, cp.abs(du) <= 0.2],
        ),
    ),
}


def outside(x):
    """Return how far the plan leaves the output bounds of the last preview, one expression a coordinate."""
    return [x[1:, 0] - 0.6, -0.1 - x[1:, 1], x[1:, 2] - 0.1]


@pytest.mark.parametrize("solver", ["osqp", "active_set"])
@pytest.mark.parametrize("name", list(PREVIEWS))
def test_the_bounds_of_a_call_are_kept(two_input_model, name, solver):
    """Plan and cost are those of the problem written by hand with these bounds; without a preview the task's are."""
    preview, more = PREVIEWS[name]
    law, plainly = (kc.ConvexMPC(two_input_model, TASK, plain, solver=solver) for _ in range(2))
    x = np.array([0.6, -0.5, 0.45])
    for _ in range(3):
        before = law._channel.last.copy()
        u, info = law(x, preview=preview)
        assert (info["status"], info["reason"]) == ("solved", "")
        U, cost = by_hand(two_input_model, TASK, x, before, more)
        assert np.abs(info["plan_u"] - U).max() < 1e-3 and info["cost"] == pytest.approx(cost, rel=1e-4)
        law.problem.solve(solver=cp.CLARABEL)
        assert law.problem.value == pytest.approx(cost, rel=1e-4)
        x = two_input_model.step(x, u)
    law.reset()
    assert np.abs(law(x)[1]["plan_u"] - plainly(x)[1]["plan_u"]).max() < 1e-3


def test_the_bounds_of_the_task_on_outputs_are_kept(two_input_model):
    """Soft, as everywhere: the plan stays below where it can."""
    x, free = np.array([0.6, -0.5, 0.45]), kc.ConvexMPC(two_input_model, TASK, plain)
    name = two_input_model.state_names[0]
    law = kc.ConvexMPC(two_input_model, TASK.replace(y_min={name: 0.35}), plain)
    assert free(x)[1]["plan"][1:, 0].min() < 0.3
    info = law(x)[1]
    assert info["status"] == "solved" and info["plan"][1:, 0].min() > 0.35 - 1e-3


@pytest.mark.parametrize(
    ("reference", "preview", "reason"),
    [
        (None, kc.Preview(Q=5.0), "bad_preview"),
        (None, kc.Preview(R=np.ones((N, 2, 2)) * np.eye(2)), "bad_preview"),
        (None, kc.Preview(u_price=1.0), "bad_preview"),
        ([0.1, 0.0, 0.0], None, "bad_reference"),
        (np.zeros((4, 3)), None, "bad_reference"),
        ([0.0, 0.0, 0.0], None, ""),
    ],
)
def test_what_would_change_the_cost_is_refused(two_input_model, reference, preview, reason):
    """The cost is the user's own: the plan is as without, the reason says so; the task's target is no change."""
    x, law, same = np.array([0.3, -0.2, 0.25]), *(kc.ConvexMPC(two_input_model, TASK, plain) for _ in range(2))
    u, info = law(x, reference, preview)
    assert (info["status"], info["reason"]) == ("solved", reason) and np.array_equal(u, same(x)[0])
    assert law(x)[1]["reason"] == ""


@pytest.mark.parametrize("prices", [{"u_price": 1.0}, {"y_price": 0.1}, {"terminal_cost": 2.0}])
def test_a_task_that_prices_is_refused(two_input_model, prices):
    """At the design, by name: prices belong into the user's own cost."""
    with pytest.raises(DesignError, match=next(iter(prices))):
        kc.ConvexMPC(two_input_model, TASK.replace(**prices), plain)


# ---------------------------------------------------------------------------------------------- no minimum
@pytest.mark.parametrize("solver", ["osqp", "active_set"])
@pytest.mark.parametrize("slope", [1e-5, 1.0, 1e5])
def test_a_cost_that_falls_for_ever_is_refused(two_input_model, slope, solver):
    """Without input bounds there is no cheapest input; with them it is at its bound, whatever the slope."""
    free, x = TASK.replace(u_min=None, u_max=None, du_max=None), np.array([0.1, 0.0, 0.0])
    for cost in (lambda x, u, y: (slope * cp.sum(u), []), lambda x, u, y: (slope * cp.sum(u), [u <= 3.0])):
        info = kc.ConvexMPC(two_input_model, free, cost, solver=solver)(x)[1]
        assert (info["status"], info["reason"]) == ("lqr", "qp_unbounded")
        law = kc.ConvexMPC(two_input_model, free.replace(u_min=-0.4, u_max=0.3), cost, solver=solver)
        info = law(x)[1]
        assert info["status"] == "solved" and np.abs(info["plan_u"] + 0.4).max() < 1e-3


def test_an_equality_that_no_plan_meets(two_input_model):
    """The state of now cannot be chosen: infeasible, and no plan that misses it is called solved."""
    law = kc.ConvexMPC(two_input_model, TASK, lambda x, u, y: (cp.sum_squares(u), [x[0, 0] == 0.25]))
    assert law(np.array([0.1, 0.2, 0.0]))[1]["reason"] == "qp_infeasible"
    law.reset()
    assert law(np.array([0.25, 0.2, 0.0]))[1]["reason"] == ""


def test_variables_of_the_user_s_own(two_input_model):
    """Slacks with a sign, an epigraph: they are part of the program, and of its cost."""
    slack, peak = cp.Variable(N, nonneg=True), cp.Variable()

    def stated(x, u, y):
        return cp.sum_squares(u) + 50.0 * cp.sum(slack) + 2.0 * peak, [
            x[1:, 0] <= 0.1 + slack,
            cp.abs(x[1:, 1]) <= peak,
        ]

    law = kc.ConvexMPC(two_input_model, TASK, stated)
    info = law(np.array([0.3, -0.2, 0.25]))[1]
    law.problem.solve(solver=cp.CLARABEL)
    assert info["status"] == "solved" and info["cost"] == pytest.approx(law.problem.value, rel=1e-4)


# ---------------------------------------------------------------------------------------------- a model that changes
def calls_into(package: str, work: Callable[[], object]) -> int:
    """Return how many functions of a package are called, in this thread, while some work is done."""
    count = 0

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and f"/{package}/" in frame.f_code.co_filename

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_it_is_made_anew_for_a_new_model(two_input_model):
    """After `remodel` the law is, to rounding, the one designed for the new coefficients; CVXPY is not called."""
    model = copy.deepcopy(two_input_model)
    law = kc.ConvexMPC(model, TASK, economic)
    x = np.array([0.4, -0.3, 0.25])
    old = law(x)[1]["plan_u"]
    model.B_, model.A_ = 1.5 * model.B_, 0.97 * model.A_
    law.remodel()
    law.reset()
    again, new = law(x)[1], kc.ConvexMPC(model, TASK, economic)(x)[1]
    assert np.abs(again["plan_u"] - new["plan_u"]).max() < 1e-9 and again["cost"] == pytest.approx(new["cost"])
    assert np.abs(new["plan_u"] - old).max() > 0.02
    X = model.predict(x, again["plan_u"])
    assert np.abs(X - again["plan"]).max() < 1e-8
    again, anew = calls_into("cvxpy", law.remodel), calls_into("cvxpy", lambda: kc.ConvexMPC(model, TASK, economic))
    assert again == 0 < anew


def test_an_adaptive_law_plans_with_what_it_has_learnt(linear_model):
    """The plant's input acts three times as strongly as fitted: the inner law ends as one designed for its model."""
    task = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=N, u_min=-1.0, u_max=1.0)
    law = kc.AdaptiveLaw(kc.ConvexMPC(linear_model, task, plain), redesign=1, memory=20)
    rng, x = np.random.default_rng(0), np.zeros(2)
    for k in range(120):
        if k % 30 == 0:
            x = rng.uniform(-0.5, 0.5, 2)
        u, _ = law(x)
        x = linear_model.A_ @ x + 3.0 * linear_model.B_ @ u
    assert law.counts["learnt"] > 20
    inner = law.law
    inner.reset()
    fresh = kc.ConvexMPC(inner.model, task, plain)
    for at in ([0.3, 0.0], [0.1, 0.2]):
        assert np.abs(inner(at)[1]["plan_u"] - fresh(at)[1]["plan_u"]).max() < 1e-6


# ---------------------------------------------------------------------------------------------- what is no problem
@pytest.mark.parametrize(
    ("formulate", "words"),
    [
        (5, "cannot be called"),
        (lambda x: (cp.sum_squares(x), []), "does not take three arguments"),
        (lambda x, u, y: (cp.sum_squares(u), None), r"constraints None; expected a list"),
        (lambda x, u, y: (cp.sum_squares(u), [True]), "the constraint True"),
        (lambda x, u, y: (u, []), "one scalar expression"),
        (lambda x, u, y: ("cheap", []), "one scalar expression"),
        (lambda x, u, y: (3.0, []), "speak of no variable"),
        (lambda x, u, y: (cp.sum_squares(x[:, 9]), []), "raised IndexError"),
        (lambda x, u, y: (cp.sum_squares(u), [cp.Variable(integer=True, name="gear") >= u[0, 0]]), "gear are integer"),
        (lambda x, u, y: (cp.sum(cp.Variable(2, boolean=True, name="on")) + cp.sum_squares(u), []), "on are integer"),
    ],
)
def test_what_is_no_problem_is_said_in_words(two_input_model, formulate, words):
    """At the design, as a DesignError; nothing raw comes through."""
    with pytest.raises(DesignError, match=words):
        kc.ConvexMPC(two_input_model, TASK, formulate)


def test_a_solver_nobody_knows_is_refused_at_the_design(two_input_model):
    """Also where the task has no bounds, so that nothing would be solved yet."""
    free = TASK.replace(u_min=None, u_max=None, du_max=None)
    with pytest.raises(UnknownNameError, match="daqp"):
        kc.ConvexMPC(two_input_model, free, plain, solver="nope")


# ---------------------------------------------------------------------------------------------- copies
WANTED = cp.Parameter(name="wanted")


def follow(x, u, y):
    """Follow a number that is set from outside; a function that other processes can import."""
    return cp.sum_squares(x[1:, 0] - WANTED) + 0.01 * cp.sum_squares(u), []


def test_copies_share_what_is_set_from_outside(two_input_model):
    """By deepcopy and pickle: a law of the same design, whose parameter is still the user's."""
    law = kc.ConvexMPC(two_input_model, TASK, follow)
    x = np.array([0.2, 0.1, 0.0])
    for twin in (copy.deepcopy(law), copy.copy(law), pickle.loads(pickle.dumps(law))):
        for value in (0.3, -0.3):
            WANTED.value = value
            law.reset()
            twin.reset()
            assert np.array_equal(twin(x)[0], law(x)[0]) and twin.rungs["solved"] == 1

"""Every option of the predictive laws against the problem stated in CVXPY, and both laws against each other."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import koopctl as kc
from koopctl.controllers.lifted_cvxpy import lifted_problem
from koopctl.errors import DataError, DesignError, UnknownNameError

N = 8
TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=N)
TIGHT: dict[str, Any] = {"u_min": -0.3, "u_max": 0.25, "du_max": 0.15, "y_min": -0.3, "y_max": 0.25}
RNG = np.random.default_rng(3)


def spd(count: int, n: int) -> np.ndarray:
    """Return weights, one a stage."""
    root = RNG.normal(size=(count, n, n))
    return root @ root.swapaxes(1, 2) + 0.1 * np.eye(n)


TASKS: dict[str, dict[str, Any]] = {
    "prices": {"y_price": [0.3, -0.2, 0.1], "u_price": [0.1, -0.05], "u_min": -0.3, "u_max": 0.3},
    "priced bounds": {"y_max": 0.1, "slack_price": [0.02, 5.0, 100.0], "u_max": 0.4},
    "three moves": {"control_horizon": 3, **TIGHT},
    "blocks": {"control_horizon": [1, 2, 2], "dR": 0.3, **TIGHT},
    "one move": {"control_horizon": 1},
    "terminal weight": {"terminal_cost": [5.0, 1.0, 0.0], **TIGHT},
    "no terminal cost": {"terminal_cost": "none", "dR": 0.1, **TIGHT},
    "terminal set": {"terminal_set": 10, "horizon": 3, **TIGHT},
    "measured input": {"disturbances": ["u1"], "dR": 0.2, **TIGHT},
}
CALLS: dict[str, dict[str, Any]] = {
    "reference": {"reference": [0.2, 0.1, 0.0]},
    "path": {"reference": 0.2 * np.sin(np.arange(5 * 3).reshape(5, 3))},
    "long path": {"reference": 0.2 * np.sin(np.arange(30 * 3).reshape(30, 3))},
    "weights": {"preview": kc.Preview(Q=[3.0, 0.1, 1.0], R=0.5, dR=0.3)},
    "weights by stage": {"preview": kc.Preview(Q=spd(4, 3), R=spd(N, 2), dR=spd(2, 2))},
    "bounds": {"preview": kc.Preview(u_max=0.1, y_max={"x0": 0.05})},
    "bounds by stage": {
        "preview": kc.Preview(
            u_min=-RNG.uniform(0.05, 0.3, (N, 2)),
            u_max=RNG.uniform(0.05, 0.3, (N, 2)),
            du_max=RNG.uniform(0.05, 0.2, (3, 2)),
            y_max=RNG.uniform(0.05, 0.3, (N, 3)),
        )
    },
    "prices by stage": {"preview": kc.Preview(u_price=RNG.normal(size=(3, 2)), y_price=RNG.normal(size=(N, 3)))},
    "all": {
        "reference": 0.2 * np.cos(np.arange(6 * 3).reshape(6, 3)),
        "preview": kc.Preview(Q=spd(N, 3), R=spd(3, 2), u_max=RNG.uniform(0.1, 0.3, (4, 2)), y_price=[0.2, 0.0, 0.1]),
    },
}


def assert_is_its_statement(law: kc.LiftedMPC, states: np.ndarray, **call: Any) -> int:
    """Compare calls of the law with CVXPY; return how often the solver was needed."""
    bound, nq = 0, law.prediction.nq
    for x in states:
        u_last = law._channel.last.copy()
        u, info = law(x, **call)
        assert (info["status"], info["reason"]) == ("solved", "")
        if law.task.disturbances and "preview" in call:  # the law has gone on by a step since
            law.prediction.W = call["preview"].measured(tuple(law.task.disturbances), law.wanted.horizon)
        problem, inputs, zeta = lifted_problem(law, x, u_last)
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        assert problem.status in ("optimal", "optimal_inaccurate")
        assert np.abs(u - inputs.value[0]).max() < 1e-4
        assert np.abs(info["plan_u"] - inputs.value).max() < 2e-3
        assert np.abs(info["plan"] - law.steady.x[:nq] - zeta.value[:, :nq]).max() < 1e-3
        bound += info["qp_iterations"] > 0
    return bound


@pytest.mark.parametrize("name", list(TASKS))
def test_a_task_is_the_problem_cvxpy_states(two_input_model, name):
    """Prices, moves, terminal costs and sets, measured inputs; some bound is met in each that has bounds."""
    law = kc.LiftedMPC(two_input_model, TASK.replace(**TASKS[name]))
    bound = assert_is_its_statement(law, RNG.uniform(-0.6, 0.6, (3, 3)))
    assert bound or not set(TASKS[name]) & set(TIGHT)


@pytest.mark.parametrize("name", list(CALLS))
def test_a_call_is_the_problem_cvxpy_states(two_input_model, name):
    """References over the horizon, weights, bounds and prices that change at the call."""
    law = kc.LiftedMPC(two_input_model, TASK.replace(**TIGHT))
    assert assert_is_its_statement(law, RNG.uniform(-0.6, 0.6, (3, 3)), **CALLS[name])
    home, plain = kc.LiftedMPC(two_input_model, TASK.replace(**TIGHT)), RNG.uniform(-0.6, 0.6, 3)
    home._channel.last = law._channel.last
    assert np.abs(law(plain)[0] - home(plain)[0]).max() < 1e-6  # the task's own come back


def test_a_measured_disturbance_is_foretold(two_input_model):
    """The second input is known over the horizon; the first one answers before it comes."""
    law = kc.LiftedMPC(two_input_model, TASK.replace(disturbances=["u1"], u_min=-0.5, u_max=0.5))
    ahead = kc.Preview(disturbance=np.array([[0.0]] * 4 + [[0.6]]))
    assert_is_its_statement(law, RNG.uniform(-0.3, 0.3, (2, 3)), preview=ahead)
    law.reset()
    blind, told = law(np.zeros(3))[0], law(np.zeros(3), preview=ahead)[0]
    assert blind.shape == (1,) and np.abs(blind - told) > 1e-3


@pytest.mark.parametrize("name", [*TASKS, *CALLS])
def test_both_laws_solve_the_same_problem(two_input_model, name):
    """On a linear model the re-linearised law is the lifted one."""
    call = CALLS.get(name, {})
    task = TASK.replace(**(TASKS[name] if name in TASKS else TIGHT))
    lifted = kc.LiftedMPC(two_input_model, task)
    other = kc.RelinearizedMPC(two_input_model, task, candidates=0, reserve=0.0, step_bound=1e6, iterations=3)
    for x in RNG.uniform(-0.5, 0.5, (3, 3)):
        lifted.reset()
        other.reset()
        (u, told), (v, info) = lifted(x, **call), other(x, **call)
        assert info["status"] == told["status"] == "solved" and info["reason"] == told["reason"] == ""
        assert np.abs(u - v).max() < 5e-4
        assert np.abs(told["plan_u"] - info["plan_u"]).max() < 5e-3


def test_the_input_is_held_between_moves(two_input_model):
    """Blocks of 1, 2 and 2 steps, the last one held to the end."""
    for law in (kc.LiftedMPC, kc.RelinearizedMPC):
        _, info = law(two_input_model, TASK.replace(control_horizon=[1, 2, 2], u_max=0.3))(np.array([0.5, -0.4, 0.3]))
        changes = np.flatnonzero(np.abs(np.diff(info["plan_u"], axis=0)).max(axis=1) > 1e-9) + 1
        assert set(changes) <= {1, 3}
        assert len(changes)


@pytest.mark.parametrize("kind", ["lqr", "lifted", "relinearized"])
@pytest.mark.parametrize("delay", [1, 3])
def test_a_delay_is_planned_for(linear_model, kind, delay):
    """On the plant with this delay, the law that knows of it acts as the plain one does on the plant without."""
    task = TASK.replace(horizon=15, u_min=-1.0, u_max=1.0)
    law, ideal = (kc.design(linear_model, t, kind) for t in (task.replace(delay=delay), task))
    x, queue = np.array([0.2, 0.1]), [np.zeros(1)] * delay
    path, inputs = [x], []
    for _ in range(80):
        u, info = law(x)
        assert info["status"] == "solved"
        queue.append(u)
        inputs.append(u)
        x = linear_model.step(x, queue.pop(0))
        path.append(x)
    y = path[delay]
    for k in range(80 - delay):  # from the first input that acts, both see the same states
        u, _ = ideal(y)
        assert np.abs(u - inputs[k]).max() < 1e-3
        y = linear_model.step(y, inputs[k])
    assert np.abs(path[-1]).max() < 0.02


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"control_horizon": 9}, DataError, "longer than the horizon"),
        ({"control_horizon": [4, 5]}, DataError, "9 steps"),
        ({"control_horizon": 0}, DataError, "control_horizon is 0"),
        ({"terminal_cost": "riccati"}, DataError, "'lqr', 'none' or a weight"),
        ({"disturbances": "u1"}, DataError, "list of names"),
        ({"disturbances": ["wind"]}, UnknownNameError, "wind"),
        ({"disturbances": ["u0", "u1"]}, DataError, "at least one must be left"),
        ({"delay": -1}, DataError, "delay is -1"),
        ({"terminal_set": 1.5}, DataError, "terminal_set is 1.5"),
        ({"slack_price": {"x0": -1.0}}, DataError, "must be positive"),
    ],
)
def test_contradictions_are_named(two_input_model, fields, error, words):
    """At the design, not in the loop."""
    with pytest.raises(error, match=words):
        kc.LiftedMPC(two_input_model, TASK.replace(**fields))


@pytest.mark.parametrize(
    "preview",
    [
        kc.Preview(u_min=1.0, u_max=-1.0),
        kc.Preview(Q=-1.0),
        kc.Preview(R=0.0),
        kc.Preview(y_max=np.full((2, 2), 1.0)),
        kc.Preview(u_max=np.nan),
        kc.Preview(u_max={"throttle": 1.0}),
        kc.Preview(disturbance=1.0),
        kc.Preview(Q="high"),
    ],
)
@pytest.mark.parametrize("kind", ["lqr", "lifted", "relinearized"])
def test_a_bad_preview_is_left_out_and_said(two_input_model, kind, preview):
    """A law never raises in its loop: it goes on as before and gives the reason."""
    law, plain = (
        kc.design(two_input_model, TASK.replace(**TIGHT), kind),
        kc.design(two_input_model, TASK.replace(**TIGHT), kind),
    )
    x = np.array([0.2, -0.1, 0.1])
    u, info = law(x, preview=preview)
    assert info["reason"] == "bad_preview" and np.abs(u - plain(x)[0]).max() < 1e-9


def test_a_terminal_set_needs_a_gain(linear_rollouts):
    """A mode out of the input's reach: no LQR, no set."""
    model = kc.EDMDc(kc.Identity()).fit(linear_rollouts(np.diag([1.1, 0.9]), np.array([[0.0], [1.0]])))
    model.A_, model.B_ = np.diag([1.1, 0.9]), np.array([[0.0], [1.0]])  # without the rounding that lets a gain of 1e11
    with pytest.raises(DesignError, match="terminal_set needs"):
        kc.LiftedMPC(model, TASK.replace(terminal_set=5, u_max=1.0))

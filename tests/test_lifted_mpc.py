"""The lifted MPC: equal to LQR where nothing binds, and to its statement in CVXPY where something does."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import koopctl as kc
from koopctl.controllers.lifted_cvxpy import lifted_problem
from koopctl.errors import DesignError

TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=10)


@pytest.fixture(scope="module")
def van_der_pol_lift() -> kc.EDMDc:
    """A nonlinear plant with a genuine lift: A_ is not the plant's Jacobian, and the target drifts."""
    data = kc.collect("koopctl.envs:VanDerPol-v0", episodes=30, steps=30, seed=0)
    return kc.EDMDc(kc.SampledFeatures(15, random_state=1), ridge=1e-6).fit(data)


@pytest.mark.parametrize("horizon", [1, 2, 5, 12, 30])
def test_without_bounds_it_is_the_lqr(linear_model, two_input_model, horizon):
    """The terminal cost is the LQR's cost-to-go, so every horizon gives the LQR's input."""
    rng = np.random.default_rng(horizon)
    for model in (linear_model, two_input_model):
        mpc, lqr = kc.LiftedMPC(model, TASK.replace(horizon=horizon)), kc.LQR(model, TASK)
        for x in rng.uniform(-1, 1, (5, model.nx)):
            mpc.reset()
            (u, info), (v, _) = mpc(x), lqr(x)
            assert np.abs(u - v).max() < 1e-6 and info["status"] == "solved"
            assert info["plan"].shape == (horizon + 1, model.nx) and info["plan_u"].shape == (horizon, model.nu)
            # On a linear plant the plan is the motion.
            path = model.predict(x, info["plan_u"])
            assert np.abs(path - info["plan"]).max() < 1e-8


SETTINGS: dict[str, dict[str, Any]] = {
    "input bounds": {"u_min": -0.3, "u_max": 0.2},
    "rate bounds": {"du_max": 0.1},
    "rate cost": {"dR": 0.5},
    "rate cost at an input": {"dR": 0.5, "target": {"x0": 0.3}},
    "rate cost and bounds": {"dR": 0.5, "u_min": -0.3, "u_max": 0.3, "du_max": 0.1},
    "soft bounds": {"y_min": -0.15, "y_max": {"x0": 0.1}, "u_min": -0.4, "u_max": 0.4},
    "cheap soft bounds": {"y_max": 0.1, "slack_price": 0.05},
    "no equilibrium": {"target": {"x1": 0.3}, "u_min": -0.5, "u_max": 0.5},
    "everything": {
        "target": {"x0": 0.2},
        "dR": 0.2,
        "u_min": -0.3,
        "u_max": 0.3,
        "du_max": 0.2,
        "y_min": -0.3,
        "y_max": 0.3,
    },
}


def assert_equals_its_statement(law: kc.LiftedMPC, observations: np.ndarray, tolerance: float = 1e-4) -> int:
    """Compare a run of the law with CVXPY call by call; return how often something was bound."""
    u_last = law.wanted.u_safe
    bound = 0
    for y in observations:
        x = law.model.encode(y)
        problem, u, zeta = lifted_problem(law, x, u_last)
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
        assert problem.status in ("optimal", "optimal_inaccurate")
        got, info = law(y)
        assert info["status"] == "solved"
        assert np.abs(info["plan_u"] - u.value).max() < tolerance
        planned = law.steady.x[: law.model.window_.nq] + zeta.value[:, : law.model.window_.nq]
        assert np.abs(info["plan"] - planned).max() < tolerance
        bound += info["qp_iterations"] > 0
        u_last = got
    return bound


@pytest.mark.parametrize("name", list(SETTINGS))
def test_it_is_the_problem_cvxpy_states(linear_model, two_input_model, name):
    """One and two inputs; rates count from the input applied before."""
    rng = np.random.default_rng(0)
    for model in (linear_model, two_input_model):
        law = kc.LiftedMPC(model, TASK.replace(**SETTINGS[name]))
        bound = assert_equals_its_statement(law, 0.6 * rng.uniform(-1, 1, (3, model.nx)))
        assert bound > 0 or name.startswith("rate cost")


@pytest.mark.parametrize("name", ["input bounds", "rate cost and bounds"])
def test_a_genuine_lift_is_the_problem_cvxpy_states(van_der_pol_lift, name):
    """With features in the lifted state, and a drift at the target."""
    law = kc.LiftedMPC(van_der_pol_lift, TASK.replace(**SETTINGS[name]))
    rng = np.random.default_rng(1)
    assert assert_equals_its_statement(law, rng.uniform(-1.5, 1.5, (2, 2)), 1e-3) > 0


def test_infinite_bounds_are_no_bounds(linear_model):
    """To the last byte."""
    plain = kc.LiftedMPC(linear_model, TASK)
    free = kc.LiftedMPC(
        linear_model, TASK.replace(u_min=-np.inf, u_max=np.inf, du_max=np.inf, y_min=-np.inf, y_max=np.inf)
    )
    for x in np.random.default_rng(0).uniform(-2, 2, (10, 2)):
        assert np.array_equal(plain(x)[0], free(x)[0])


def test_bounds_that_are_never_met_change_nothing(linear_model):
    """Wide finite bounds give the unconstrained inputs."""
    plain = kc.LiftedMPC(linear_model, TASK)
    wide = kc.LiftedMPC(linear_model, TASK.replace(u_min=-50, u_max=50, du_max=90, y_min=-90, y_max=90))
    for x in np.random.default_rng(0).uniform(-1, 1, (10, 2)):
        assert np.abs(plain(x)[0] - wide(x)[0]).max() < 1e-9


def test_the_cost_is_the_plans(linear_model):
    """`info["cost"]` is the sum of the stage costs of the plan it comes with, the rate cost included."""
    law = kc.LiftedMPC(linear_model, TASK.replace(dR=0.4, u_min=-0.3, u_max=0.3))
    law(np.array([0.3, 0.3]))
    u_last, _ = law(np.array([0.2, 0.3]))
    _, info = law(np.array([-0.4, 0.5]))
    change = np.diff(info["plan_u"], axis=0, prepend=u_last[None])
    cost = np.square(info["plan"][:-1]).sum() + 0.1 * np.square(info["plan_u"]).sum() + 0.4 * np.square(change).sum()
    assert info["cost"] == pytest.approx(cost, rel=1e-9)


def test_soft_bounds_are_kept_where_they_can_be(linear_model):
    """In closed loop on the plant itself, a reachable bound is respected to the slack's price."""
    task = TASK.replace(target=[0.0, 0.0], y_min={"x1": -0.25}, u_min=-1.0, u_max=1.0, horizon=15)
    law, free = kc.LiftedMPC(linear_model, task), kc.LiftedMPC(linear_model, task.replace(y_min=None))
    lowest = {}
    for name, controller in (("bounded", law), ("free", free)):
        x, lowest[name] = np.array([0.8, 0.0]), 0.0
        for _ in range(60):
            u, _ = controller(x)
            x = linear_model.step(x, u)
            lowest[name] = min(lowest[name], x[1])
        assert np.abs(x).max() < 0.05
    assert lowest["free"] < -0.3 and lowest["bounded"] > -0.25 - 1e-3


def test_it_needs_one_linear_recursion(linear_network, linear_rollouts):
    """A network and a bilinear model are refused with what to do instead."""
    A, B = np.array([[0.9, 0.1], [0.0, 0.8]]), np.array([[0.0], [1.0]])
    bilinear = kc.EDMDc(kc.SampledFeatures(5), inputs="bilinear").fit(linear_rollouts(A, B))
    for model in (linear_network, bilinear):
        with pytest.raises(DesignError, match="kind='relinearized' or kind='lqr'"):
            kc.LiftedMPC(model, TASK)


def test_without_a_stabilising_gain_it_says_so_and_still_steers(linear_rollouts):
    """A constant the input cannot reach has no LQR: a note, another terminal cost, and still the right input."""
    A, B = np.diag([1.0, 0.9]), np.array([[0.0], [0.5]])
    model = kc.EDMDc(kc.Identity(), manifold=False).fit(linear_rollouts(A, B))
    model.A_[0], model.B_[0], model.c_[0] = [1.0, 0.0], 0.0, 0.0
    law = kc.LiftedMPC(model, TASK)
    assert any("terminal cost" in note for note in law.notes)
    u, info = law([0.5, 0.5])
    assert info["status"] == "solved" and u[0] < -0.1


def test_the_drift_of_a_lift_is_carried(van_der_pol_lift):
    """Where the lifted recursion does not rest at the steady pair, the plan from there moves as it says."""
    law = kc.LiftedMPC(van_der_pol_lift, TASK)
    _, info = law(van_der_pol_lift.output(law.steady.x))
    linear = van_der_pol_lift.predict(law.steady.x, info["plan_u"], relift=False)
    assert np.abs(info["plan"] - linear).max() < 1e-8

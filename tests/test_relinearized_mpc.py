"""The main controller: right where the answer is known, and good on real plants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import koopctl as kc
from koopctl.errors import DesignError

TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=10)


@pytest.mark.parametrize("horizon", [1, 2, 5, 12, 30])
def test_without_bounds_it_is_the_lqr(linear_model, two_input_model, linear_network, horizon):
    """The terminal cost is the LQR's cost-to-go, so every horizon gives the LQR's input; call after call."""
    rng = np.random.default_rng(horizon)
    for model in (linear_model, two_input_model, linear_network):
        mpc, lqr = kc.RelinearizedMPC(model, TASK.replace(horizon=horizon)), kc.LQR(model, TASK)
        for x in rng.uniform(-0.5, 0.5, (5, model.nx)):
            (u, info), (v, _) = mpc(x), lqr(x)
            assert np.abs(u - v).max() < 1e-6 and info["status"] == "solved"
            assert info["plan"].shape == (horizon + 1, model.nx) and info["plan_u"].shape == (horizon, model.nu)


@pytest.mark.parametrize(
    "bounds",
    [
        {"u_min": -0.3, "u_max": 0.2},
        {"dR": 0.5},
        {"dR": 0.5, "du_max": 0.1, "u_min": -0.4, "u_max": 0.4},
        {"u_min": -0.4, "u_max": 0.4, "y_min": -0.15, "y_max": {"x0": 0.1}},
        {"target": {"x0": 0.2}, "dR": 0.2, "u_min": -0.3, "u_max": 0.3, "du_max": 0.2, "y_min": -0.3, "y_max": 0.3},
    ],
)
def test_on_a_linear_plant_it_is_the_lifted_mpc(two_input_model, bounds: dict[str, Any]):
    """One quadratic program is exact there, whatever the plan it starts from; the two laws share no linearisation."""
    task = TASK.replace(**bounds)
    lifted = kc.LiftedMPC(two_input_model, task)
    mpc = kc.RelinearizedMPC(two_input_model, task, candidates=0, step_bound=1e6, reserve=0.0)
    for x in 0.5 * np.random.default_rng(0).uniform(-1, 1, (4, 3)):
        for law in (lifted, mpc):
            law.reset()
        (u, _), (v, info) = lifted(x), mpc(x)
        assert info["status"] == "solved"
        assert np.abs(u - v).max() < 1e-4


def test_the_plan_obeys_the_model_and_the_bounds(pendulum_rollouts):
    """After the search, the plan is a motion of the model; u is its first input."""
    model = kc.SampledRNN(60).fit(pendulum_rollouts[:60])
    law = kc.RelinearizedMPC(model, kc.envs.task("Pendulum-v1").replace(horizon=15, du_max=0.8))
    y = np.array([-1.0, 0.0, 0.5])
    u_last = np.zeros(1)
    for _ in range(10):
        u, info = law(y)
        assert np.abs(info["plan_u"]).max() <= 2.0 + 1e-9
        assert np.abs(u - info["plan_u"][0]).max() < 1e-4
        assert np.abs(np.diff(info["plan_u"], axis=0)).max() <= 0.8 + 1e-4
        assert np.abs(u - u_last).max() <= 0.8 + 1e-12
        if info["searching"]:
            assert np.abs(model.predict(info["plan"][0], info["plan_u"]) - info["plan"]).max() < 1e-6
        y, u_last = model.output(info["plan"][1]), u


def test_options_are_checked():
    """Out-of-range options name themselves before anything is computed."""
    for options in (
        {"iterations": 0},
        {"candidates": -1},
        {"step_bound": 0.0},
        {"step_bound": float("nan")},
        {"reserve": 1.0},
    ):
        with pytest.raises(DesignError, match=next(iter(options))):
            kc.RelinearizedMPC(None, TASK, **options)


def test_more_rounds_do_not_worsen_a_plan(pendulum_rollouts):
    """From hanging, three rounds a call end at a cost no higher than one round's."""
    model = kc.SampledRNN(60).fit(pendulum_rollouts[:60])
    task = kc.envs.task("Pendulum-v1").replace(horizon=20)
    costs = [
        kc.RelinearizedMPC(model, task, candidates=0, iterations=n)(np.array([-1.0, 0.05, 0.0]))[1]["cost"]
        for n in (1, 3, 8)
    ]
    assert costs[1] <= costs[0] * (1 + 1e-6) and costs[2] <= costs[1] * (1 + 1e-6)


def test_it_swings_the_pendulum_up_and_holds_it(pendulum_rollouts):
    """From hanging at rest, upright at the end of the environment's 200 steps; every input within the torque."""
    model = kc.SampledRNN(300).fit(pendulum_rollouts)
    law = kc.design(model, kc.envs.task("Pendulum-v1"))
    assert isinstance(law, kc.RelinearizedMPC)
    run = kc.simulate("Pendulum-v1", law, seed=0, initial_state=[np.pi, 0.0])
    angle = np.arctan2(run.X[:, 1], run.X[:, 0])
    assert abs(angle[0]) > 3.0 and np.abs(angle[-30:]).max() < 0.1
    assert np.abs(run.U).max() <= 2.0
    assert law.rungs["solved"] == 200


def test_it_keeps_the_inverted_pendulum_up():
    """Two hundred steps from random recordings of a falling pole; the reward is one a step."""
    pytest.importorskip("mujoco")
    data = kc.collect("InvertedPendulum-v5", episodes=100, steps=60, seed=0)
    law = kc.design(kc.SampledRNN(100).fit(data), kc.envs.task("InvertedPendulum-v5"))
    run = kc.simulate("InvertedPendulum-v5", law, seed=5, steps=200)
    assert run.steps == 200 and not run.terminated
    assert np.abs(run.X[-20:, 1]).max() < 0.02


def test_it_brings_van_der_pol_to_rest():
    """From (3, 3), outside the limit cycle, to the unstable origin, the force bounded by 3."""
    data = kc.collect("koopctl.envs:VanDerPol-v0", episodes=60, steps=50, seed=0)
    law = kc.design(kc.SampledRNN(100).fit(data), kc.envs.task("VanDerPol-v0"))
    run = kc.simulate("koopctl.envs:VanDerPol-v0", law, initial_state=[3.0, 3.0], steps=160)
    assert np.abs(run.X[-20:]).max() < 0.02 and np.abs(run.U).max() <= 3.0


def test_plans_keep_the_reserve_and_the_applied_input_has_the_whole_range(pendulum_rollouts):
    """Far from the target the first input may reach the bound, the last ones stay inside it by the reserve."""
    model = kc.fit(pendulum_rollouts, kc.SampledRNN(100))
    law = kc.RelinearizedMPC(model, kc.envs.task("Pendulum-v1").replace(horizon=20), reserve=0.2)
    u, info = law(np.array([np.cos(2.0), np.sin(2.0), 0.0]))
    share = np.abs(info["plan_u"][:, 0]) / 2.0
    assert (share <= 1.0 - 0.2 * np.arange(20) / 20 + 1e-6).all()
    assert abs(u[0]) == pytest.approx(2.0)  # the torque is too weak for anything gentler there

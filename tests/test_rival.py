"""Rival plans and a terminal value in the re-linearised MPC."""

from __future__ import annotations

import numpy as np
import pytest

import koopctl as kc
from koopctl.controllers.rival import Rival
from koopctl.errors import DesignError

TASK = kc.envs.task("Pendulum-v1").replace(horizon=25)
SMALL = {"n_features": 150, "n_states": 2000, "sweeps": 25}


@pytest.fixture(scope="module")
def pendulum(pendulum_rollouts) -> kc.SampledRNN:
    """Pendulum-v1, learnt."""
    return kc.SampledRNN(200, random_state=0).fit(pendulum_rollouts)


@pytest.fixture(scope="module")
def value_law(pendulum) -> kc.RelinearizedMPC:
    """The law with a small terminal value."""
    return kc.RelinearizedMPC(pendulum, TASK, value=SMALL)


def test_a_rival_that_is_cheaper_takes_over(pendulum):
    """From a plan that swings once too often, the cost of the plan falls to that of a good one."""
    law = kc.RelinearizedMPC(pendulum, TASK.replace(horizon=50))
    alone = kc.RelinearizedMPC(pendulum, TASK.replace(horizon=50), rival_rounds=0)
    hanging = np.array([np.cos(3.0), np.sin(3.0), 0.0])
    costs = {}
    for name, each in (("rivals", law), ("alone", alone)):
        each.reset()
        each(hanging)
        X, U = each._plans.home(each.model.encode(hanging))
        each._plan, each._age = (X, U), 0  # the LQR's plan, which never arrives
        costs[name] = [each(hanging)[1]["cost"] for _ in range(8)]
    assert costs["rivals"][-1] <= costs["alone"][-1] * 1.001
    assert all(np.isfinite(costs["rivals"]))


def test_a_rival_lasts_as_many_rounds_as_asked():
    """Kept for its rounds, then given up."""
    rival = Rival(rounds=3, candidates=4)
    plan = np.zeros((4, 2)), np.zeros((3, 1)), np.zeros((3, 1, 2))
    ages = []
    for _ in range(4):
        rival.keep(*plan)
        ages.append(rival._plan is not None)
    assert ages == [True, True, False, True]


def test_the_value_survives_files_and_copies(value_law, tmp_path):
    """A loaded law fits the same value again; a fresh one takes a copy."""
    loaded, fresh = kc.load(value_law.save(tmp_path / "law.npz")), value_law.fresh()
    y = np.array([np.cos(2.5), np.sin(2.5), 0.3])
    value_law.reset()
    first = value_law(y)[0]
    assert np.array_equal(loaded(y)[0], first) and np.array_equal(fresh(y)[0], first)
    assert fresh.value.model is fresh.model is not value_law.model


def test_another_target_falls_back_to_the_lqrs_cost(value_law):
    """The value was made for the upright pole: for another target or other weights it is left out."""
    value_law.reset()
    upright = np.array([1.0, 0.0, 0.0])
    assert value_law._plans.value is value_law.value
    value_law(upright, reference=[0.5, 0.0])
    assert value_law._plans.value is None
    value_law(upright, preview=kc.Preview(Q=[5.0, 0.1]))
    assert value_law._plans.value is None
    value_law(upright)
    assert value_law._plans.value is value_law.value


def test_the_value_says_what_the_way_costs(value_law, pendulum):
    """A short horizon swings up with it, on the plant itself, from hanging."""
    run = kc.simulate("Pendulum-v1", value_law, seed=1, initial_state=[np.pi, 0.0])
    assert np.abs(np.arctan2(run.X[-20:, 1], run.X[-20:, 0])).max() < 0.1


def test_options_out_of_range_are_refused(pendulum, linear_model):
    """At the design."""
    with pytest.raises(DesignError, match="rival_rounds=-1"):
        kc.RelinearizedMPC(pendulum, TASK, rival_rounds=-1)
    value = kc.fitted_value(pendulum, TASK, **SMALL)
    other = kc.SampledRNN(50).fit(kc.collect("Pendulum-v1", episodes=30, steps=30))
    with pytest.raises(DesignError, match="another model"):
        kc.RelinearizedMPC(other, TASK, value=value)

"""The tasks of the known plants: named by id, in the plant's own units, with the reward's own weights."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import koopctl as kc
from koopctl.errors import UnknownNameError

IDS = (
    "Pendulum-v1",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "koopctl.envs:VanDerPol-v0",
    "koopctl.envs:CartPoleSwingUp-v0",
    "koopctl.envs:DCMotor-v0",
)
# Where a plant's own starting states do not reach its target, recordings start elsewhere.
STARTS = {"koopctl.envs:CartPoleSwingUp-v0": lambda rng: rng.uniform([-1.0, -1.5, -1.0, -3.0], [1.0, 1.5, 1.0, 3.0])}


def test_an_id_with_or_without_its_module():
    """Both spellings Gymnasium takes."""
    assert kc.envs.task("koopctl.envs:VanDerPol-v0") is kc.envs.task("VanDerPol-v0")


def test_an_unknown_plant_lists_the_known():
    """With the nearest id as a suggestion."""
    with pytest.raises(UnknownNameError, match="did you mean 'Pendulum-v1'") as error:
        kc.envs.task("Pendulum-v0")
    assert set(error.value.known) == {name.rpartition(":")[2] for name in IDS}


@pytest.mark.parametrize("env_id", IDS)
def test_the_bounds_are_the_action_spaces(env_id):
    """What the law may ask for is what the environment applies unclipped."""
    if env_id.startswith("Inverted"):
        pytest.importorskip("mujoco")
    env = gymnasium.make(env_id)
    task = kc.envs.task(env_id)
    assert np.array_equal(np.broadcast_to(task.u_min, env.action_space.shape), env.action_space.low)
    assert np.array_equal(np.broadcast_to(task.u_max, env.action_space.shape), env.action_space.high)
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_names_and_weights_fit_a_recorded_model(env_id):
    """The task resolves against a model of the plant, its target is an equilibrium, and the LQR exists there."""
    if env_id.startswith("Inverted"):
        pytest.importorskip("mujoco")
    data = kc.collect(env_id, episodes=60, steps=40, seed=0, initial_states=STARTS.get(env_id))
    law = kc.LQR(kc.SampledRNN(60).fit(data), kc.envs.task(env_id))
    assert law.steady.moved < 0.05, law.notes
    weights = law.wanted.Q.diagonal()
    if "DCMotor" in env_id:  # its load asks for a field: 0 = 19.1 - 39.3 x1 = -3.33 + 22.9 x1 u
        assert law.steady.u == pytest.approx([0.2989], abs=0.01)
        assert (weights > 0).tolist() == [False, True]
    else:
        assert np.abs(law.steady.u).max() < 0.1 * np.max(law.wanted.u_max)
        assert weights.min() > 0  # every coordinate is wanted somewhere


@pytest.mark.parametrize(
    "env_id",
    ["Pendulum-v1", "koopctl.envs:VanDerPol-v0", "koopctl.envs:CartPoleSwingUp-v0", "koopctl.envs:DCMotor-v0"],
)
def test_the_cost_is_minus_the_reward(env_id):
    """Stage cost and the environment's own reward, step by step on recorded motion."""
    data = kc.collect(env_id, episodes=2, steps=40, seed=1)
    model = kc.EDMDc(kc.Identity()).fit(kc.collect(env_id, episodes=5, steps=40, seed=0))
    task = kc.envs.task(env_id).resolve(model.state_names, model.u_names_)
    env = gymnasium.make(env_id)
    for X, U in data:
        env.reset(seed=0)
        for y, u in zip(X[:20], U[:20], strict=True):
            q = model.difference(model.encode(y), np.zeros(model.nx))
            env.unwrapped.state = q.copy()
            _, reward, *_ = env.step(u.astype(env.action_space.dtype))
            assert float(q @ task.Q @ q + u @ task.R @ u) == pytest.approx(-reward, rel=1e-5, abs=1e-7)
    env.close()

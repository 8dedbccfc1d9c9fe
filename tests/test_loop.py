"""simulate() on real environments: what is recorded, what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from koopctl.environment import make_env, open_plant, place_state, sampling_time
from koopctl.envs import VanDerPol
from koopctl.errors import DataError, EnvironmentUnsupportedError, SamplingTimeError, ShapeError
from koopctl.loop import Controller, simulate


class Feedback:
    """u = -K y, with what it saw written down."""

    def __init__(self, K: Any, dt: float = 0.05) -> None:
        self.K, self.dt = np.atleast_2d(K), dt
        self.seen: list[Any] = []

    def reset(self) -> None:
        self.seen = []

    def __call__(self, y, reference=None):
        self.seen.append((y.copy(), reference))
        u = -self.K @ y
        y[:] = np.nan  # a careless law must not spoil the record
        return u, {"status": "fine", "call": len(self.seen)}


class Ramp(gymnasium.Env):
    """y counts the steps; bare: no spec, no dt, no time limit."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.k = 0
        return np.zeros(1), {}

    def step(self, action):
        self.k += 1
        return np.array([float(self.k)]), 1.0, False, False, {}


def test_the_record_is_the_environments_own_motion():
    """Replaying the recorded inputs on a second environment gives the recorded observations and rewards."""
    law = Feedback([0.0, 0.0, 5.0])
    run = simulate("Pendulum-v1", law, seed=3)
    assert run.X.shape == (201, 3) and run.U.shape == (200, 1) and run.rewards.shape == (200,)
    assert (run.dt, run.x_names, run.u_names) == (0.05, ("cos(theta)", "sin(theta)", "thetadot"), ("torque",))
    assert run.truncated and not run.terminated and run.seed == 3
    assert np.abs(run.U).max() <= 2.0
    env = gymnasium.make("Pendulum-v1")
    y, _ = env.reset(seed=3)
    for k, u in enumerate(run.U):
        assert np.array_equal(run.X[k], y) and np.array_equal(law.seen[k][0], y)
        y, reward, *_ = env.step(u.astype(np.float32))
        assert reward == run.rewards[k]
    assert [info["call"] for info in run.infos] == list(range(1, 201))
    assert isinstance(law, Controller)


def test_it_stops_where_the_environment_terminates():
    """An unbalanced inverted pendulum falls; the terminal observation is kept."""
    pytest.importorskip("mujoco")
    run = simulate("InvertedPendulum-v5", Feedback(np.zeros((1, 4)), 0.04), seed=0)
    assert run.terminated and not run.truncated
    assert abs(run.X[-1, 1]) > 0.2 >= np.abs(run.X[:-1, 1]).max()
    assert run.total_reward == run.steps - 1


def test_without_a_time_limit_a_thousand_steps_are_made():
    """A run is bounded by steps; the default where nothing else ends it is 1000."""
    law = Feedback([[0.0]], 0.1)
    assert simulate(Ramp, law, dt=0.1).steps == 1000
    assert simulate(Ramp, law, dt=0.1, steps=7).steps == 7
    limited = gymnasium.wrappers.TimeLimit(Ramp(), 1500)
    assert simulate(limited, law, dt=0.1).steps == 1500
    assert limited.unwrapped.k == 1500  # an environment that was handed in is used and stays open


def test_the_reference_reaches_the_law():
    """A constant and a function of the step number; None is not passed on."""
    law = Feedback([[0.0]], 0.1)
    simulate(Ramp, law, dt=0.1, steps=3)
    assert [r for _, r in law.seen] == [None] * 3
    simulate(Ramp, law, dt=0.1, steps=3, reference=[4.0])
    assert [float(r[0]) for _, r in law.seen] == [4.0] * 3
    simulate(Ramp, law, dt=0.1, steps=3, reference=lambda k: [10.0 * k])
    assert [float(r[0]) for _, r in law.seen] == [0.0, 10.0, 20.0]
    with pytest.raises(ShapeError, match="reference"):
        simulate(Ramp, law, dt=0.1, steps=3, reference=[1.0, 2.0])


def test_a_path_is_handed_on_from_each_step():
    """The rows still ahead, the last one for ever; a function may return a path too."""
    law, path = Feedback([[0.0]], 0.1), np.array([[1.0], [2.0], [3.0]])
    simulate(Ramp, law, dt=0.1, steps=5, reference=path)
    assert [goal.ravel().tolist() for _, goal in law.seen] == [[1, 2, 3], [2, 3], [3], [3], [3]]
    simulate(Ramp, law, dt=0.1, steps=2, reference=lambda k: path[k : k + 2])
    assert [goal.ravel().tolist() for _, goal in law.seen] == [[1, 2], [2, 3]]
    simulate(Ramp, law, dt=0.1, steps=2, reference=lambda k: path[k] if k else None)
    assert law.seen[0][1] is None and law.seen[1][1].tolist() == [2.0]
    for wrong, error in (
        (np.ones((3, 2)), ShapeError),
        (np.ones((0, 1)), DataError),
        (np.ones((1, 1, 1)), ShapeError),
        ([[1.0], [1.0, 2.0]], DataError),
    ):
        with pytest.raises(error, match="reference"):
            simulate(Ramp, law, dt=0.1, steps=3, reference=wrong)


@pytest.mark.parametrize(("u", "error"), [(np.nan, DataError), (np.inf, DataError), ([1.0, 2.0], ShapeError)])
def test_an_input_that_is_no_input_never_reaches_the_environment(u, error):
    """Gymnasium would pass NaN on; here it is an error that names the step."""

    class Bad(Feedback):
        def __call__(self, y, reference=None):
            return np.atleast_1d(u), {}

    env = Ramp()
    with pytest.raises(error, match="step 0"):
        simulate(env, Bad([[0.0]]), dt=0.05)
    assert env.k == 0


def test_sampling_times_must_agree():
    """A law made for 0.02 s refuses a plant of 0.05 s, and says both."""
    with pytest.raises(SamplingTimeError, match=r"0\.05.*0\.02"):
        simulate("Pendulum-v1", Feedback([0, 0, 1], dt=0.02))


def test_what_is_no_law_is_refused():
    """Neither an object without reset() nor an answer that is not (u, info)."""
    with pytest.raises(DataError, match="expected a controller"):
        simulate("Pendulum-v1", lambda y: (y, {}))  # type: ignore[arg-type]

    class Bare(Feedback):
        def __call__(self, y, reference=None):
            return np.zeros(1)

    with pytest.raises(DataError, match=r"pair \(u, info\)"):
        simulate("Pendulum-v1", Bare([0, 0, 0]))


def test_initial_states_of_every_kind_of_plant():
    """set_state(x), MuJoCo's set_state(qpos, qvel), a state attribute; through observation wrappers too."""
    zero = Feedback(np.zeros((1, 3)))
    run = simulate("Pendulum-v1", zero, steps=1, initial_state=[0.3, -0.5])
    assert run.X[0] == pytest.approx([np.cos(0.3), np.sin(0.3), -0.5], abs=1e-6)
    assert run.X[1, 2] == pytest.approx(-0.5 + 15 * np.sin(0.3) * 0.05, abs=1e-5)
    plant = open_plant("koopctl.envs:VanDerPol-v0")
    plant.env.reset(seed=0)
    assert place_state(plant, [1.0, 2.0]).tolist() == [1.0, 2.0]

    doubled = gymnasium.wrappers.TransformObservation(VanDerPol(), lambda y: 2 * y, None)
    plant = open_plant(doubled)
    doubled.reset(seed=0)
    assert place_state(plant, [1.0, 2.0]).tolist() == [2.0, 4.0]

    plant = open_plant("MountainCarContinuous-v0", dt=1.0)
    plant.env.reset(seed=0)
    assert place_state(plant, [-0.5, 0.01]) == pytest.approx([-0.5, 0.01])
    with pytest.raises(ShapeError, match="initial state"):
        place_state(plant, [0.0, 0.0, 0.0])
    plant = open_plant(Ramp, dt=1.0)
    plant.env.reset(seed=0)
    with pytest.raises(EnvironmentUnsupportedError, match="set_state"):
        place_state(plant, [0.0])


def test_initial_states_of_mujoco_plants():
    """Positions and velocities in one array; the observation is their own."""
    pytest.importorskip("mujoco")
    plant = open_plant("InvertedPendulum-v5")
    plant.env.reset(seed=0)
    assert place_state(plant, [0.1, 0.05, -0.2, 0.3]).tolist() == [0.1, 0.05, -0.2, 0.3]
    plant = open_plant("InvertedDoublePendulum-v5")
    plant.env.reset(seed=0)
    y = place_state(plant, [0.1, 0.2, 0.3, 1.0, 2.0, 3.0])
    assert y[:8] == pytest.approx([0.1, np.sin(0.2), np.sin(0.3), np.cos(0.2), np.cos(0.3), 1.0, 2.0, 3.0])
    assert "constraint_force" in plant.x_names and "constraint_force" not in (plant.state_names or ())


def test_the_sampling_time_is_never_the_frame_rate():
    """Pendulum-v1 renders at 30 Hz and steps by 0.05 s; MuJoCo's dt is a property; no dt is an error."""
    assert sampling_time(make_env("Pendulum-v1")) == 0.05
    assert sampling_time(make_env("CartPole-v1")) == 0.02  # tau
    assert sampling_time(make_env("Pendulum-v1"), 0.1) == 0.1
    with pytest.raises(EnvironmentUnsupportedError, match="pass dt="):
        sampling_time(make_env("MountainCarContinuous-v0"))
    with pytest.raises(DataError, match="positive"):
        sampling_time(make_env("Pendulum-v1"), -1.0)


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ("Pendulm-v1", "did you mean 'Pendulum-v1'.*koopctl.envs:VanDerPol-v0"),
        ("Pendulum-v0", "Pendulum-v1"),
        ("koopctl.envs:VanDerPoll-v0", "VanDerPol-v0"),
        ("no_such_module:Plant-v0", "no_such_module.*cannot be imported"),
        ("not an id at all!", "unknown environment"),
        ("CartPole-v1", "action space.*expected a Box"),
        (42, "expected an id"),
        (lambda: 42, "must return a gymnasium.Env"),
        (lambda: gymnasium.make_vec("Pendulum-v1", num_envs=2), "only collect"),
        (lambda: gymnasium.wrappers.ReshapeObservation(gymnasium.make("Pendulum-v1"), (3, 1)), "flatten"),
    ],
)
def test_what_cannot_be_controlled_is_refused_with_a_reason(env, text):
    """Each refusal says what was expected or which id was meant."""
    with pytest.raises(EnvironmentUnsupportedError, match=text):
        open_plant(env)


def test_an_instance_is_refused_where_fresh_ones_are_needed():
    """make_env asks for a factory instead."""
    with pytest.raises(EnvironmentUnsupportedError, match="pass its id or a function"):
        make_env(gymnasium.make("Pendulum-v1"))


def test_missing_mujoco_says_what_to_install():
    """In an interpreter where mujoco cannot be imported."""
    code = (
        "import sys; sys.modules['mujoco'] = None\n"
        "from koopctl.environment import make_env\nfrom koopctl.errors import EnvironmentUnsupportedError\n"
        "try:\n    make_env('InvertedPendulum-v5')\nexcept EnvironmentUnsupportedError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "gymnasium[mujoco]"' in run.stdout


@pytest.mark.parametrize("env_id", ["Reacher-v5", "Swimmer-v5", "HalfCheetah-v5", "Hopper-v5", "Walker2d-v5"])
def test_the_table_of_sensors_fits_the_installed_plants(env_id):
    """Names are there and the rates among them are those of qvel."""
    pytest.importorskip("mujoco")
    plant = open_plant(env_id)
    assert plant.state_names is not None and "x0" not in plant.x_names
    plant.env.reset(seed=0)
    raw = plant.env.unwrapped
    nq, nv = raw.model.nq, raw.model.nv
    rates = 0.01 * np.arange(1, nv + 1)
    y = dict(zip(plant.x_names, place_state(plant, np.concatenate([raw.init_qpos, rates])), strict=True))
    joints = [raw.model.joint(j).name for j in range(raw.model.njnt)]
    assert nq == nv == len(joints)
    moving = [name for name in plant.x_names if name.endswith("dot") or name.startswith("vel_")]
    observed = rates[:2] if env_id == "Reacher-v5" else rates
    assert [y[name] for name in moving] == pytest.approx(observed)


def test_names_given_win_over_the_plants_own():
    """Explicit names, then the environment's attributes, then the table, then x0, x1, ..."""
    assert open_plant("Pendulum-v1", x_names=["a", "b", "c"]).x_names == ("a", "b", "c")
    assert open_plant(VanDerPol).x_names == ("x1", "x2")
    assert open_plant(Ramp, dt=1.0).x_names == ("x0",)
    odd = open_plant(lambda: gymnasium.wrappers.TimeAwareObservation(gymnasium.make("Pendulum-v1")))
    assert odd.x_names == ("x0", "x1", "x2", "x3") and odd.state_names is None

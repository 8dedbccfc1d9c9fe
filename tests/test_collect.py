"""collect(): seeds, workers, vector environments, interrupts, broken observations."""

from __future__ import annotations

import functools
import threading
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from koopctl.collecting import collect
from koopctl.data.excitation import PRBS, PiecewiseConstant
from koopctl.envs import VanDerPol
from koopctl.errors import DataError, EnvironmentUnsupportedError, SamplingTimeError, ShapeError, UnknownNameError


class Leaky(gymnasium.Env):
    """x+ = 0.9 x + u, y = x; ends beyond +-2, and says NaN from step `broken` on."""

    observation_space = spaces.Box(-100.0, 100.0, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)
    dt = 0.1

    def __init__(self, broken: int = 10**9, patience: float = 0.0) -> None:
        self.broken, self.patience = broken, patience

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.k, self.x = 0, self.np_random.uniform(-1, 1, 1)
        return self.x.copy(), {}

    def step(self, action):
        time.sleep(self.patience)
        self.k, self.x = self.k + 1, 0.9 * self.x + action
        y = self.x * np.nan if self.k >= self.broken else self.x.copy()
        return y, 0.0, bool(abs(self.x[0]) > 2), False, {}


class Damper:
    """u = -0.5 y, with noise of its own that reset() does not rewind."""

    dt = 0.1

    def __init__(self) -> None:
        self.rng, self.resets = np.random.default_rng(0), 0

    def reset(self) -> None:
        self.resets += 1

    def __call__(self, y, reference=None):
        return -0.5 * y + 0.01 * self.rng.standard_normal(1), {}


def same(a, b) -> bool:
    """Tell whether two recordings agree byte for byte."""
    return len(a) == len(b) and all(
        x.tobytes() == z.tobytes() and u.tobytes() == w.tobytes() for (x, u), (z, w) in zip(a, b, strict=True)
    )


def test_pendulum_episodes_obey_the_pendulums_equation():
    """Physics the recorder knows nothing of: thetadot+ = clip(thetadot + (15 sin + 3 u) dt)."""
    data = collect("Pendulum-v1", episodes=5, steps=60, excitation="piecewise")
    assert len(data) == 5 and data.n_samples == 300
    assert (data.dt, data.x_names, data.u_names) == (0.05, ("cos(theta)", "sin(theta)", "thetadot"), ("torque",))
    for X, U in data:
        assert pendulum_residual(X, U) < 1e-5
        assert np.abs(U).max() <= 2.0 and U.std() > 0.5


def pendulum_residual(X, U) -> float:
    """Return the largest deviation of recorded transitions from Pendulum-v1's equations."""
    theta, rate = np.arctan2(X[:, 1], X[:, 0]), X[:, 2]
    nxt = np.clip(rate[:-1] + (15 * np.sin(theta[:-1]) + 3 * U[:, 0]) * 0.05, -8, 8)
    turn = theta[:-1] + nxt * 0.05 - theta[1:]
    return float(max(np.abs(nxt - rate[1:]).max(), np.abs(np.angle(np.exp(1j * turn))).max()))


@pytest.mark.parametrize("law", [None, Damper()])
def test_the_number_of_workers_never_changes_the_data(law):
    """One worker and two give the same bytes, for a factory of a local class and a law with a memory."""
    make = functools.partial(collect, episodes=70, steps=12, law=law, seed=5)

    def env():
        return Leaky()

    one = make(env)
    assert same(one, make(env, jobs=2))
    assert not same(one, collect(env, episodes=70, steps=12, law=law, seed=6))
    assert same(one[:3], make(env)[:3])


def test_workers_agree_on_registered_plants():
    """The same for an id, for initial states drawn at random, and for an id only this process knows."""
    draw = functools.partial(collect, episodes=40, steps=20, excitation="ou")
    states = lambda rng: rng.uniform(-1, 1, 2)  # noqa: E731
    assert same(draw("Pendulum-v1", initial_states=states), draw("Pendulum-v1", initial_states=states, jobs=2))
    gymnasium.register("OnlyHere-v0", entry_point=VanDerPol, max_episode_steps=15)
    try:
        assert same(draw("OnlyHere-v0"), draw("OnlyHere-v0", jobs=2))
        assert draw("OnlyHere-v0").n_samples == 40 * 15
    finally:
        del gymnasium.registry["OnlyHere-v0"]


def test_episode_number_i_is_the_same_in_a_longer_recording():
    """Seeds belong to episodes, not to their place in a batch."""
    short, long = (collect("Pendulum-v1", episodes=n, steps=30, seed=1) for n in (3, 50))
    assert same(short, long[:3])


def test_a_terminal_transition_is_kept_and_ends_the_episode():
    """The state beyond the limit is recorded, nothing after it, and a note counts such episodes."""
    data = collect(Leaky, episodes=20, steps=40, excitation=PRBS(hold=1.0), seed=2)
    short = [(X, U) for X, U in data if len(U) < 40]
    assert short and any("ended by the environment" in note for note in data.notes)
    for X, U in data:
        assert X[1:] == pytest.approx(0.9 * X[:-1] + U)
        assert (np.abs(X[:-1]) <= 2).all()
    assert all(abs(X[-1, 0]) > 2 for X, _ in short)


def test_the_law_sees_what_is_recorded_and_the_clipped_sum_is_applied():
    """Excitation on top of u = -y/2: the sum obeys the bounds, and the difference is the excitation's two levels."""

    class Minus(Damper):
        def __call__(self, y, reference=None):
            return -0.5 * y, {}

    law = Minus()
    data = collect(Leaky, episodes=10, steps=30, law=law, excitation=PRBS(amplitude=0.3))
    for X, U in data:
        assert np.abs(U + 0.5 * X[:-1]) == pytest.approx(0.3)
        assert X[1:] == pytest.approx(0.9 * X[:-1] + U)
    strong = collect(Leaky, episodes=10, steps=30, law=law, excitation=PRBS(amplitude=2.0))
    assert all(np.abs(U).max() == 1.0 for U in strong.U)
    named = collect(Leaky, episodes=10, steps=30, law=law, excitation="prbs")
    assert np.abs(named.U[0] + 0.5 * named.X[0][:-1]) == pytest.approx(0.25)
    alone = collect(Leaky, episodes=10, steps=30, law=law, excitation=None)
    assert all(U == pytest.approx(-0.5 * X[:-1]) for X, U in alone)
    assert law.resets == 0  # copies run, the law handed in is left alone


def test_initial_states_are_where_the_episodes_start():
    """An array, one row an episode; it must have that many rows."""
    start = np.array([[0.1, 0.2], [0.3, -0.4]])
    data = collect("koopctl.envs:VanDerPol-v0", episodes=2, steps=5, initial_states=start)
    assert [X[0].tolist() for X in data.X] == start.tolist()
    with pytest.raises(ShapeError, match="initial_states"):
        collect("koopctl.envs:VanDerPol-v0", episodes=3, steps=5, initial_states=start)


def test_what_is_no_state_is_dropped_with_a_note():
    """The double pendulum's constraint force goes by default, and can be kept or chosen."""
    pytest.importorskip("mujoco")
    take = functools.partial(collect, "InvertedDoublePendulum-v5", episodes=2, steps=3)
    data = take()
    assert "constraint_force" not in data.x_names and data.nx == 8 and data.sensors[-1] == "constraint_force"
    assert any("constraint_force" in note for note in data.notes)
    assert take(select="all").nx == 9
    assert take(select=["vel", "pos"]).x_names == ("vel", "pos")
    with pytest.raises(UnknownNameError):
        take(select=["velo"])


def test_an_observation_that_is_not_finite_ends_the_episode_before_it():
    """What came before is kept and noted; nothing at all before it is an error."""
    data = collect(lambda: Leaky(broken=5), episodes=3, steps=20, excitation=PRBS(amplitude=0.1))
    assert [len(U) for U in data.U] == [4, 4, 4]
    assert any("3 of 3 episodes ended before an observation that was not finite" in note for note in data.notes)
    with pytest.raises(DataError, match="none of 3 episodes"):
        collect(lambda: Leaky(broken=1), episodes=3, steps=20)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_environment_records_what_single_ones_do(mode):
    """Byte for byte, through early ends, in every autoreset mode; no transition spans a reset."""
    envs = SyncVectorEnv([Leaky] * 4, autoreset_mode=mode)
    options = {"episodes": 10, "steps": 40, "excitation": PRBS(hold=1.0), "seed": 2}
    data = collect(envs, **options)
    assert same(data, collect(Leaky, **options))
    assert min(len(U) for U in data.U) < 40
    for X, U in data:
        assert X[1:] == pytest.approx(0.9 * X[:-1] + U)
    envs.reset(seed=0)  # still open
    envs.close()


# Spawned, not forked: other tests of the same process may have started JAX, which has threads of its own.
@pytest.mark.parametrize(
    "kind", [SyncVectorEnv, functools.partial(AsyncVectorEnv, context="spawn")], ids=["sync", "async"]
)
def test_vector_pendulums_obey_the_pendulums_equation(kind):
    """Time limits shorter than the recording: ends are truncations, and still no transition spans a reset."""
    makers = [lambda: gymnasium.make("Pendulum-v1", max_episode_steps=12)] * 3
    data = collect(lambda: kind(makers), episodes=7, steps=30, law=None)
    assert [len(U) for U in data.U] == [12] * 7
    assert data.dt == 0.05 and data.x_names[0] == "cos(theta)"
    assert max(pendulum_residual(X, U) for X, U in data) < 1e-5


def test_a_vector_environment_refuses_what_it_cannot_do():
    """Neither workers nor initial states."""
    envs = gymnasium.make_vec("Pendulum-v1", num_envs=2)
    for extra in ({"jobs": 2}, {"initial_states": np.zeros((4, 2))}):
        with pytest.raises(EnvironmentUnsupportedError, match="vector environment"):
            collect(envs, episodes=4, steps=5, **extra)
    envs.close()


def test_a_law_that_cannot_travel_is_refused_by_workers_alone():
    """A lock can neither be copied nor pickled: one process runs the law itself, two say why not."""

    class Locked(Damper):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    assert collect(Leaky, episodes=2, steps=5, law=Locked()).n_samples == 10
    with pytest.raises(DataError, match="leave jobs at 1"):
        collect(Leaky, episodes=4, steps=5, law=Locked(), jobs=2)


def test_the_bar_goes_to_stderr_only_when_asked(capfd):
    """Not a terminal: silent; progress=True: a bar on stderr, nothing on stdout."""
    collect(Leaky, episodes=2, steps=3)
    assert capfd.readouterr() == ("", "")
    collect(Leaky, episodes=2, steps=3, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "2/2" in err


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        ({"episodes": 0}, DataError),
        ({"steps": 2.5}, DataError),
        ({"seed": -1}, DataError),
        ({"jobs": 0}, DataError),
        ({"excitation": None}, DataError),
        ({"excitation": "prbss"}, UnknownNameError),
        ({"excitation": 0.5}, DataError),
        ({"excitation": PiecewiseConstant(offset=7.0)}, DataError),
        ({"x_names": ["a", "b"]}, ShapeError),
        ({"dt": 0.2, "law": Damper()}, SamplingTimeError),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(extra, error):
    """Each with its own kind of error."""
    with pytest.raises(error):
        collect(Leaky, **{"episodes": 2, "steps": 5} | extra)

"""Plants that are python-control systems, laws that become ones, and LQG against its theory."""

from __future__ import annotations

import subprocess
import sys

import control
import gymnasium
import numpy as np
import pytest
import scipy.linalg
from gymnasium.utils.env_checker import check_env
from recorded import pendulum

import koopctl as kc
from koopctl.controllers.compensator import initial_memory
from koopctl.controllers.extended_kalman_filter import ExtendedKalmanFilter
from koopctl.controllers.kalman_filter import KalmanFilter
from koopctl.envs import ControlSystem
from koopctl.errors import DataError, DesignError, EnvironmentUnsupportedError, ShapeError, UnknownNameError
from koopctl.models.state_space import linear_model

DT = 0.1
A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
PLANT = control.ss(
    A, B, np.eye(2), 0, DT, states=["pos", "vel"], outputs=["pos", "vel"], inputs=["force"], name="plant"
)
TASK = kc.Task(target=0.0, Q={"pos": 2.0, "vel": 1.0}, R=0.3)


def model(system: control.StateSpace = PLANT) -> kc.EDMDc:
    """Return the plant as a model."""
    return linear_model(system, 1.0, 1.0)


def swing(t, x, u, params):
    """Return the next state of a pendulum."""
    return np.array([x[0] + DT * x[1], x[1] + DT * (np.sin(x[0]) + u[0])])


def tilt(t, x, u, params):
    """Return what the pendulum's sensors say."""
    return np.array([np.cos(x[0]), np.sin(x[0]), x[1]])


PENDULUM = control.NonlinearIOSystem(
    swing, tilt, inputs=["torque"], states=["theta", "rate"], outputs=["c", "s", "rate"], dt=DT, name="plant"
)


# ---------------------------------------------------------------------------------------------- plants
def test_it_is_an_environment_as_gymnasium_wants_it():
    """Its own checker, with and without states that nobody measures."""
    with pytest.warns(UserWarning):  # unbounded observations, as python-control knows no bounds
        check_env(ControlSystem(PLANT, 1.0, 0.5), skip_render_check=True)


@pytest.mark.parametrize("plant", [PLANT, PENDULUM], ids=["linear", "nonlinear"])
def test_a_discrete_system_moves_as_python_control_says(plant):
    """Recorded motion under random inputs is its forced response."""
    data = kc.collect(lambda: ControlSystem(plant, 2.0, [0.5, 0.3]), episodes=3, steps=25, seed=0)
    assert data.dt == DT and data.u_names == tuple(plant.input_labels) and data.x_names == tuple(plant.output_labels)
    for X, U in data:
        x0 = X[0] if plant is PLANT else [np.arctan2(X[0, 1], X[0, 0]), X[0, 2]]
        time = np.arange(len(X)) * DT
        found = control.input_output_response(plant, time, np.vstack([U, U[-1:]]).T, x0)
        assert pytest.approx(found.outputs.T, abs=1e-10) == X and np.abs(U).max() <= 2.0


def test_starts_come_from_the_seed_and_stay_in_range():
    """The same seed, the same start; by default at zero; set_state puts it anywhere."""
    env = ControlSystem(PLANT, 1.0, [0.5, 0.0])
    starts = np.array([env.reset(seed=k)[0] for k in range(20)])
    assert np.array_equal(env.reset(seed=3)[0], starts[3]) and 0.2 < np.abs(starts[:, 0]).max() <= 0.5
    assert not starts[:, 1].any() and not ControlSystem(PLANT, 1.0).reset()[0].any()
    run = kc.simulate(env, kc.LQR(model(), TASK), steps=3, initial_state=[7.0, -2.0])
    assert np.array_equal(run.X[0], [7.0, -2.0])


def test_a_continuous_system_is_integrated_with_the_input_held():
    """The exact answer of a linear one is expm's; a nonlinear one needs only dt."""
    Ac, Bc = np.array([[0.0, 1.0], [-4.0, -0.2]]), np.array([[0.0], [1.0]])
    env = ControlSystem(control.ss(Ac, Bc, np.eye(2), 0), 1.0, 1.0, dt=0.2)
    x = env.reset(seed=0)[0]
    exact = scipy.linalg.expm(0.2 * np.block([[Ac, Bc], [np.zeros((1, 3))]]))
    for u in (0.5, -1.0, 0.2):
        x = exact[:2, :2] @ x + exact[:2, 2] * u
        assert env.step(np.array([u]))[0] == pytest.approx(x, abs=1e-8)
    cubic = control.NonlinearIOSystem(lambda t, x, u, p: -(x**3) + u, states=1, inputs=1, outputs=1)
    env = ControlSystem(cubic, 1.0, dt=0.5)
    env.set_state([2.0])
    assert env.step(np.zeros(1))[0] == pytest.approx([1 / np.sqrt(2 * 0.5 + 0.25)], abs=1e-8)  # x' = -x^3


def test_rewards_inputs_and_hidden_states():
    """The reward sees the outputs before the step and the clipped input; nobody sees the hidden."""
    place = control.ss(A, B, np.eye(1, 2), 0, DT, outputs=["pos"])
    env = ControlSystem(place, 0.5, hidden=["vel"], reward=lambda y, u: -(y[0] ** 2) - 10 * u[0] ** 2)
    env.set_state([2.0, 0.0])
    y, reward, *_ = env.step(np.array([3.0]))
    assert reward == -4.0 - 10 * 0.25 and env.x_names == ("pos", "vel") and np.isnan(y[1])
    assert y[0] == pytest.approx(2.04 + 0.0025)
    assert env.u_names == ("u0",)


def test_what_cannot_be_a_plant_is_refused():
    """No system, no states, no sampling time or another one, wrong ranges."""
    flow = control.ss([[0.0]], [[1.0]], [[1.0]], 0)
    for system, dt, words in (
        (control.tf([1.0], [1.0, 0.5], DT), None, "control.ss"),
        (control.ss([], [], [], [[2.0]], DT), None, "0 states"),
        (flow, None, "continuous time; give dt"),
        (flow, -1.0, "give a positive dt, not -1.0, e.g. ControlSystem.system, u_range=1.0, dt=0.05"),
        (control.ss([[0.5]], [[1.0]], [[1.0]], 0, True), None, "without a sampling time"),
    ):
        with pytest.raises(EnvironmentUnsupportedError, match=words):
            ControlSystem(system, 1.0, dt=dt)
    with pytest.raises(DataError, match="own sampling time is 0.1 s"):
        ControlSystem(PLANT, 1.0, dt=0.2)
    with pytest.raises(ShapeError, match="u_range"):
        ControlSystem(PLANT, [1.0, 1.0])
    for ranges, words in (
        ((1.0, -1.0), "x_range is .* for pos, vel; a half range"),
        ((1.0, np.inf), "x_range is .*finite"),
        ((np.nan, 1.0), "u_range"),
        (("wide", 1.0), "u_range is not numeric"),
    ):
        with pytest.raises(DataError, match=words):
            ControlSystem(PLANT, *ranges)
    with pytest.raises(UnknownNameError, match="did you mean 'pos'"):
        ControlSystem(PLANT, 1.0, {"poss": 1.0})
    for hidden, words in (("rate", r"e.g. \['rate'\]"), (["pos"], "repeats pos")):
        with pytest.raises(DataError, match=words):
            ControlSystem(PLANT, 1.0, hidden=hidden)


def test_ranges_can_be_given_by_name():
    """Of the states and the inputs; what is left out starts at rest."""
    env = ControlSystem(PLANT, {"force": 2.0}, {"vel": 0.5})
    starts = np.array([env.reset(seed=k)[0] for k in range(20)])
    assert env.action_space.high == pytest.approx([2.0]) and not starts[:, 0].any()
    assert 0.25 < np.abs(starts[:, 1]).max() <= 0.5


def test_it_is_there_without_loading_what_learning_needs():
    """`koopctl.envs` is imported by every worker and by gymnasium for an id, so it must be quick."""
    heavy = "{'sklearn', 'scipy.integrate', 'control'}"
    code = f"import sys, koopctl.envs; koopctl.envs.ControlSystem; print({heavy} & {{*sys.modules}})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.strip() == "set()"


def test_the_way_from_a_nonlinear_system_to_a_law_on_it():
    """Collect, fit, design, simulate on one NonlinearIOSystem: the pendulum stands upright."""
    make = lambda: ControlSystem(PENDULUM, 3.0, [3.0, 2.0])  # noqa: E731  the factory that collect wants
    data = kc.collect(make, episodes=60, steps=40, seed=0)
    learnt = kc.SampledRNN(80).fit(
        kc.Rollouts(data.X, data.U, data.dt, ["cos(theta)", "sin(theta)", "rate"], ["torque"])
    )
    law = kc.LQR(learnt, kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0))
    run = kc.simulate(make, law, steps=80, initial_state=[0.4, 0.0])
    assert run.X[-1] == pytest.approx([1.0, 0.0, 0.0], abs=1e-2)


# ---------------------------------------------------------------------------------------------- laws
def closed_loop(law: kc.LQR, plant: control.NonlinearIOSystem, x0, steps: int, memory=None) -> tuple[np.ndarray, ...]:
    """Return outputs (steps + 1, ny) and inputs (steps + 1, nu) of python-control's own simulation."""
    system = law.to_iosystem()
    wires = [[f"law.{name}", f"plant.{name}"] for name in system.input_labels]
    wires += [[f"plant.{name}", f"law.{name}"] for name in system.output_labels]
    outputs = [f"plant.{name}" for name in plant.output_labels] + [f"law.{name}" for name in system.output_labels]
    loop = control.interconnect(
        [plant, system], connections=wires, inplist=[], outlist=outputs, dt=DT, check_unused=False
    )
    start = np.concatenate([x0, initial_memory(law) if memory is None else memory])
    # interconnect stacks the states in the order of the systems
    found = control.input_output_response(loop, np.arange(steps + 1) * DT, np.zeros((0, steps + 1)), start)
    both = np.asarray(found.outputs).T
    return both[:, : plant.noutputs], both[:, plant.noutputs :]


def test_the_static_gain_in_feedback_is_our_own_loop():
    """feedback(plant, law) has the states that simulate has, and the poles of A - B K."""
    law = kc.LQR(model(), TASK)
    gain = law.to_ss()
    assert gain.nstates == 0 and np.array_equal(gain.D, -law.K)
    assert gain.input_labels == ["pos", "vel"] and gain.output_labels == ["force"]
    loop = control.feedback(PLANT, gain, sign=1)
    assert np.sort(loop.poles()) == pytest.approx(np.sort(np.linalg.eigvals(A - B @ law.K)))
    run = kc.simulate(lambda: ControlSystem(PLANT, np.inf), law, steps=40, initial_state=[0.7, -0.3])
    found = control.initial_response(loop, np.arange(41) * DT, [0.7, -0.3])
    assert pytest.approx(found.outputs.T, abs=1e-12) == run.X


def test_bounds_rates_and_integral_are_in_the_iosystem():
    """In interconnect it gives the numbers of our own loop, saturated at first, the integral held meanwhile."""
    task = TASK.replace(target=[0.2, 0.0], u_min=-1.0, u_max=1.0, du_max=0.4, u_safe=0.1)
    pushed = control.NonlinearIOSystem(
        lambda t, x, u, p: A @ x + B @ (u + 0.3),
        inputs=["force"],
        states=["pos", "vel"],
        outputs=["pos", "vel"],
        dt=DT,
        name="plant",
    )
    law = kc.LQR(model(), task, integral={"pos": 0.5})
    run = kc.simulate(lambda: ControlSystem(pushed, np.inf), law, steps=120, initial_state=[0.6, -0.3])
    X, U = closed_loop(law, pushed, [0.6, -0.3], 120)
    assert pytest.approx(X, abs=1e-10) == run.X and pytest.approx(U[:-1], abs=1e-10) == run.U
    assert (run.U == -1.0).any() and np.abs(np.diff(run.U[:, 0])).max() == pytest.approx(0.4)
    assert abs(run.X[-1, 0] - 0.2) < 1e-3


def test_the_linear_form_of_the_integral():
    """Far from the bounds both forms are one, and its loop has the poles of dlqr with integral action."""
    law = kc.LQR(model(), TASK, integral={"pos": 0.5})
    loop = control.feedback(PLANT, law.to_ss(), sign=1)
    _, _, poles = control.dlqr(A, B, np.diag([2.0, 1.0, 0.5 * DT**2]), [[0.3]], integral_action=np.eye(1, 2))
    assert np.sort_complex(loop.poles()) == pytest.approx(np.sort_complex(poles), abs=1e-8)
    X, _ = closed_loop(law, PLANT, [0.7, -0.3], 50)
    found = control.initial_response(loop, np.arange(51) * DT, [0.7, -0.3, 0.0])
    assert np.asarray(found.outputs).T == pytest.approx(X, abs=1e-10)


def test_a_horizon_is_in_the_iosystem_and_no_state_space():
    """Its gains follow the time."""
    law = kc.LQR(model(), TASK.replace(terminal_cost="none"), horizon=8)
    with pytest.raises(DesignError, match="changes with time.*to_iosystem"):
        law.to_ss()
    run = kc.simulate(lambda: ControlSystem(PLANT, np.inf), law, steps=20, initial_state=[0.7, -0.3])
    X, U = closed_loop(law, PLANT, [0.7, -0.3], 20)
    assert pytest.approx(X, abs=1e-10) == run.X and pytest.approx(U[:-1], abs=1e-10) == run.U


def test_delays_are_states_of_both_forms():
    """The window of older samples, filled with the first one as our loop does."""
    data = kc.collect(lambda: ControlSystem(PLANT, 1.0, 1.0), episodes=20, steps=20, seed=0)
    law = kc.LQR(kc.EDMDc(kc.Identity(), delays=2, ridge=1e-8).fit(data), kc.Task(target=0.0, Q=1.0, R=0.3))
    x0 = np.array([0.7, -0.3])
    run = kc.simulate(lambda: ControlSystem(PLANT, np.inf), law, steps=40, initial_state=x0)
    memory = np.concatenate([x0, x0, np.zeros(2), np.zeros(1)])
    X, _ = closed_loop(law, PLANT, x0, 40, memory)
    assert pytest.approx(X, abs=1e-10) == run.X
    loop = control.feedback(PLANT, law.to_ss(), sign=1)
    found = control.initial_response(loop, np.arange(41) * DT, np.concatenate([x0, memory[:-1]]))
    assert np.asarray(found.outputs).T == pytest.approx(run.X, abs=1e-6)  # the learnt steady pair is 1e-8 off zero


def test_delays_start_as_in_the_law():
    """From the memory it starts with, and a safe input that is not zero: the law's numbers from the first sample on."""
    data = kc.collect(lambda: ControlSystem(PLANT, 1.0, 1.0), episodes=20, steps=20, seed=0)
    task = kc.Task(target=[0.1, 0.0], Q=1.0, R=0.3, u_min=-3.0, u_max=3.0, u_safe=0.2)
    law = kc.LQR(kc.EDMDc(kc.Identity(), delays=2, ridge=1e-8).fit(data), task, integral={"pos": 0.2})
    run = kc.simulate(lambda: ControlSystem(PLANT, np.inf), law, steps=40, initial_state=[0.7, -0.3])
    X, U = closed_loop(law, PLANT, [0.7, -0.3], 40)
    assert pytest.approx(X, abs=1e-10) == run.X and pytest.approx(U[:-1], abs=1e-10) == run.U


@pytest.mark.parametrize("lifted", [False, True])
def test_angles_and_features_are_in_the_iosystem_and_no_state_space(lifted):
    """Cos and sin in, an angle inside; with `lifted` the features of the lift too."""
    rename = {"x_names": ["cos(theta)", "sin(theta)", "rate"], "u_names": ["torque"]}
    data = kc.collect(lambda: ControlSystem(PENDULUM, 3.0, [3.0, 2.0]), episodes=40, steps=40, seed=0)
    data = kc.Rollouts(data.X, data.U, data.dt, **rename)
    learnt = kc.EDMDc(kc.SampledFeatures(30, random_state=0), ridge=1e-6, spectral_radius=1.0 if lifted else None).fit(
        data
    )
    law = kc.LQR(learnt, kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0), lifted=lifted)
    with pytest.raises(DesignError, match="angles or features.*to_iosystem"):
        law.to_ss()
    plant = control.NonlinearIOSystem(
        swing, tilt, inputs=["torque"], states=2, outputs=["cos(theta)", "sin(theta)", "rate"], dt=DT, name="plant"
    )
    run = kc.simulate(lambda: ControlSystem(plant, np.inf), law, steps=30, initial_state=[0.3, 0.0])
    X, U = closed_loop(law, plant, [0.3, 0.0], 30)
    assert pytest.approx(X, abs=1e-8) == run.X and pytest.approx(U[:-1], abs=1e-8) == run.U


def test_what_has_no_such_form_is_refused():
    """Observers with a past of their own, offset estimates, delays of the input, measured disturbances."""
    plain, learnt = model(), kc.SampledRNN(30).fit(pendulum(10))
    two = linear_model(control.ss(A, np.hstack([B, B]), np.eye(2), 0, DT), 1.0, 1.0)
    laws = {
        "ExtendedKalmanFilter": kc.LQR(learnt, kc.Task(0.0, 1.0, 1.0), observer=ExtendedKalmanFilter(learnt, 0.1)),
        "steady=True": kc.LQR(plain, TASK, observer=KalmanFilter(plain, 0.1, 0.1, steady=False)),
        "use integral": kc.LQR(plain, TASK, offset_free=True),
        "delay of 2": kc.LQR(plain, TASK.replace(delay=2)),
        "disturbances.*u1": kc.LQR(two, kc.Task(0.0, 1.0, 1.0, disturbances=["u1"])),
    }
    for words, law in laws.items():
        for out in (law.to_ss, law.to_iosystem):
            with pytest.raises(DesignError, match=words):
                out()


# ---------------------------------------------------------------------------------------------- LQG
W, V = np.diag([1e-4, 4e-4]), np.array([[0.03**2]])  # covariances of process and sensor
PLACE = control.ss(A, B, np.eye(1, 2), 0, DT, states=["pos", "vel"], outputs=["pos"], inputs=["force"], name="plant")


def lqg() -> kc.LQR:
    """Return LQR with a Kalman filter that sees the place alone."""
    seen = model(PLACE)
    return kc.LQR(seen, TASK, observer=KalmanFilter(seen, {"pos": 0.03}, W, gate=np.inf))


def test_separation_the_closed_loop_has_the_poles_of_regulator_and_estimator():
    """Python-control's dlqr and dlqe, each on its own, against the loop of the compensator with the plant."""
    law = lqg()
    K, _, regulator = control.dlqr(A, B, np.diag([2.0, 1.0]), [[0.3]])
    L, _, estimator = control.dlqe(A, np.eye(2), np.eye(1, 2), W, V)
    assert law.K == pytest.approx(np.asarray(K), rel=1e-8)
    assert A @ law.observer.gain == pytest.approx(np.asarray(L), rel=1e-8)
    part = law.to_ss()
    assert part.nstates == 2 and part.input_labels == ["pos"] and part.output_labels == ["force"]
    found = control.feedback(PLACE, part, sign=1).poles()
    assert np.sort_complex(found) == pytest.approx(np.sort_complex(np.concatenate([regulator, estimator])), abs=1e-7)


def theoretical_cost() -> float:
    """Return the mean stage cost of LQG, tr(P W) + tr(K^T (R + B^T P B) K S), S the estimate's covariance."""
    Q, R = np.diag([2.0, 1.0]), np.array([[0.3]])
    P = scipy.linalg.solve_discrete_are(A, B, Q, R)
    K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    predicted = scipy.linalg.solve_discrete_are(A.T, np.eye(2, 1), W, V)
    estimated = predicted - predicted[:, :1] @ predicted[:1] / (predicted[0, 0] + V[0, 0])
    return float(np.trace(P @ W) + np.trace(K.T @ (R + B.T @ P @ B) @ K @ estimated))


def test_the_loops_stationary_cost_is_the_theorys():
    """The covariance of plant and compensator together, from its Lyapunov equation."""
    part = lqg().to_ss()
    loop = np.block([[A + B @ part.D @ np.eye(1, 2), B @ part.C], [part.B @ np.eye(1, 2), part.A]])
    from_sensor = np.concatenate([B @ part.D, part.B])
    noise = scipy.linalg.block_diag(W, np.zeros((2, 2))) + from_sensor @ V @ from_sensor.T
    S = scipy.linalg.solve_discrete_lyapunov(loop, noise)
    to_u = np.concatenate([part.D @ np.eye(1, 2), part.C], axis=1)
    inputs = to_u @ S @ to_u.T + part.D @ V @ part.D.T
    cost = np.trace(np.diag([2.0, 1.0]) @ S[:2, :2]) + 0.3 * inputs[0, 0]
    assert cost == pytest.approx(theoretical_cost(), rel=1e-8)


@pytest.mark.slow
def test_a_long_noisy_run_costs_what_the_theory_says():
    """The law itself over 40 000 steps, within three standard errors."""
    law, theory, steps, rng = lqg(), theoretical_cost(), 40_000, np.random.default_rng(0)
    process, sensor = rng.normal(size=(steps, 2)) * np.sqrt(np.diag(W)), rng.normal(size=steps) * 0.03
    x, costs = np.zeros(2), np.empty(steps)
    for k in range(steps):
        u, _ = law([x[0] + sensor[k], np.nan])
        costs[k] = 2.0 * x[0] ** 2 + x[1] ** 2 + 0.3 * u[0] ** 2
        x = A @ x + B @ u + process[k]
    blocks = costs[1000:].reshape(39, 1000).mean(axis=1)  # far longer than the loop remembers
    margin = 3 * blocks.std() / np.sqrt(len(blocks))
    assert margin < 0.08 * theory and abs(blocks.mean() - theory) < margin
    assert law.rungs.total() == steps and set(law.rungs) == {"solved"}


def test_the_compensator_in_interconnect_is_our_own_loop_once_the_start_has_faded():
    """Our filter starts from the first sample; given its prediction, python-control's goes the same way."""
    law = lqg()
    noise = np.random.default_rng(1).normal(size=301) * 0.03
    x = np.array([0.5, 0.0])
    for k in range(200):
        u, _ = law([x[0] + noise[k], np.nan])
        x = A @ x + B @ u
    memory = np.concatenate([law.model.step(law.observer.x, u), u])
    noisy = control.NonlinearIOSystem(
        lambda t, s, v, p: A @ s + B @ v,
        lambda t, s, v, p: s[:1] + noise[200 + round(t / DT)],
        inputs=["force"],
        states=2,
        outputs=["pos"],
        dt=DT,
        name="plant",
    )
    _, U = closed_loop(law, noisy, x, 100, memory)
    for k in range(100):
        u, _ = law([x[0] + noise[200 + k], np.nan])
        assert u == pytest.approx(U[k], abs=1e-7)
        x = A @ x + B @ u


@pytest.mark.parametrize("delays", [0, 2])
def test_a_filter_starts_from_the_first_sample_as_in_the_law(delays):
    """The first input is the law's; the gains of its start fade, and then all are again."""
    data = kc.collect(lambda: ControlSystem(PLANT, 1.0, 1.0), episodes=20, steps=20, seed=0)
    seen = kc.EDMDc(kc.Identity(), delays=delays, ridge=1e-8).fit(data)
    filtered = KalmanFilter(seen, {"pos": 0.03}, 1e-4 * np.eye(2), gate=np.inf)
    law = kc.LQR(seen, TASK.replace(target=[0.2, 0.0], u_safe=0.1), observer=filtered)
    system, noise = law.to_iosystem(), np.random.default_rng(2).normal(size=300) * 0.03
    memory, x, off = initial_memory(law), np.array([0.5, 0.0]), []
    for k, v in enumerate(noise):
        u, _ = law([x[0] + v, np.nan])
        measured = np.array([x[0] + v])
        off.append(np.abs(system.output(k * DT, memory, measured) - u).max())
        memory = system.dynamics(k * DT, memory, measured)
        x = A @ x + B @ u
    assert off[0] < 1e-12 and max(off[200:]) < 1e-6 < max(off)
    X, U = closed_loop(law, PLACE, [0.5, 0.0], 100)  # and in python-control's own simulation
    assert np.isfinite(X).all() and abs(X[-1, 0] - 0.2) < 0.05


def test_an_integral_with_a_filter_has_a_linear_form_too():
    """LQG with integral action: one more pole, and the offset of a pushed plant is gone."""
    seen = model(PLACE)
    law = kc.LQR(seen, TASK, observer=KalmanFilter(seen, {"pos": 0.03}, W), integral={"pos": 0.5})
    loop = control.feedback(PLACE, law.to_ss(), sign=1)
    assert np.abs(loop.poles()).max() < 1.0 and loop.nstates == 5
    pushed = control.ss(A, np.hstack([B, B]), np.eye(1, 2), 0, DT, inputs=["force", "push"], outputs=["pos"])
    from_push = control.interconnect([pushed, law.to_ss()], inputs=["push"], outputs=["pos"])
    assert (
        abs(from_push.dcgain())
        < 1e-9
        < abs(control.interconnect([pushed, lqg().to_ss()], inputs=["push"], outputs=["pos"]).dcgain())
    )


def test_a_gymnasium_id_is_not_needed():
    """The environment itself will do, and stays open."""
    env = ControlSystem(PLANT, 1.0, 0.5)
    assert isinstance(env, gymnasium.Env)
    assert kc.simulate(env, kc.LQR(model(), TASK), steps=5).steps == 5
    env.reset()

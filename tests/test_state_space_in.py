"""A StateSpace of python-control as a model: the same matrices, names and motion, accepted by every law."""

from __future__ import annotations

import control
import numpy as np
import pytest
import scipy.linalg

import koopctl as kc
from koopctl.controllers.kalman_filter import KalmanFilter
from koopctl.errors import DataError, DesignError, ShapeError, UnknownNameError
from koopctl.models.state_space import linear_model

A = np.array([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1], [0.0, 0.0, 0.9]])
B = np.array([[0.0, 0.001], [0.0, 0.02], [0.1, 0.0]])
DT = 0.1


def system(C=None, states=("pos", "vel", "force"), outputs=None, dt=DT) -> control.StateSpace:
    """Return a cart behind a slow actuator, with a second input."""
    C = np.eye(3) if C is None else np.asarray(C, dtype=float)
    named = {} if states is None else {"states": list(states)}
    named |= {} if outputs is None else {"outputs": list(outputs)}
    return control.ss(A, B, C, 0, dt, inputs=["command", "push"], **named)


RANGES = {"pos": 2.0, "vel": 1.0, "force": 5.0}


def test_the_matrices_are_those_of_the_system_to_the_last_bit():
    """And the way out gives the system back."""
    model = linear_model(system(), RANGES, 1.0)
    assert np.array_equal(model.A_, A) and np.array_equal(model.B_, B)
    assert np.array_equal(model.C_, np.eye(3)) and not model.c_.any() and not model.y_offset_.any()
    assert model.dt == DT and model.state_names == ("pos", "vel", "force") and model.u_names_ == ("command", "push")
    back = model.to_ss()
    assert np.array_equal(back.A, A) and np.array_equal(back.B, B) and np.array_equal(back.C, np.eye(3))
    assert back.state_labels == ["pos", "vel", "force"] and back.input_labels == ["command", "push"]


def test_its_motion_is_python_controls():
    """Roll-out, single steps and Jacobians."""
    model, rng = linear_model(system(), RANGES, 1.0), np.random.default_rng(0)
    U, x0 = rng.uniform(-1, 1, (30, 2)), np.array([0.3, -0.2, 0.1])
    found = control.forced_response(system(), U=np.vstack([U, U[-1:]]).T, X0=x0).states.T
    for relift in (True, False):
        assert model.predict(x0, U, relift=relift) == pytest.approx(found, abs=1e-12)
    assert np.array_equal(model.linearize(x0, U[0])[0], A)
    assert model.step(x0, U[0]) == pytest.approx(found[1], abs=1e-14)


def test_every_law_and_observer_takes_it():
    """Each one brings the cart home; the gain is dlqr's."""
    model = linear_model(system(), RANGES, 1.0)
    task = kc.Task(target=0.0, Q={"pos": 1.0}, R=0.1, u_min=-1.0, u_max=1.0)
    K, _, _ = control.dlqr(A, B, np.diag([1.0, 0.0, 0.0]), 0.1 * np.eye(2))
    assert kc.LQR(model, task).K == pytest.approx(np.asarray(K), rel=1e-8)
    laws = [kc.design(model, task, kind) for kind in ("lqr", "lifted", "relinearized")]
    laws += [kc.LQR(model, task, observer=KalmanFilter(model, 0.01, 1e-4)), kc.LQR(model, task, integral={"pos": 0.1})]
    for law in laws:
        x = np.array([1.0, 0.0, 0.0])
        for _ in range(300):
            u, info = law(x)
            assert info["status"] == "solved"
            x = A @ x + B @ u
        assert np.abs(x).max() < 1e-3 and not law.notes


def test_it_is_saved_and_learns_on_as_any_model(tmp_path):
    """A file gives it back to the last bit; an update moves it towards what was seen."""
    model = linear_model(system(), RANGES, 1.0)
    again = kc.load(model.save(tmp_path / "cart"))
    assert np.array_equal(again.A_, A) and np.array_equal(again.B_, B) and again.notes_ == model.notes_
    assert np.array_equal(again.envelope_.high, [2.0, 1.0, 5.0]) and np.array_equal(
        again.input_range_.low, [-1.0, -1.0]
    )
    law = kc.load(kc.LQR(again, kc.Task(target=0.0, Q=1.0, R=1.0)).save(tmp_path / "law"))
    assert np.array_equal(law.model.A_, A)
    heavier = 0.5 * B
    rng = np.random.default_rng(0)
    for _ in range(400):
        x, u = rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 2)
        again.update(x, u, A @ x + heavier @ u, forgetting=0.97)
    assert np.abs(again.B_ - heavier).max() < 1e-3 and np.abs(again.A_ - A).max() < 1e-3


def test_outputs_in_another_order_are_the_coordinates_in_that_order():
    """So that an observation is what the system puts out."""
    C = np.eye(3)[[2, 0, 1]]
    model = linear_model(system(C), RANGES, 1.0)
    assert model.state_names == ("force", "pos", "vel")
    assert np.array_equal(model.A_, A[np.ix_([2, 0, 1], [2, 0, 1])]) and np.array_equal(model.B_, B[[2, 0, 1]])
    assert np.array_equal(model.envelope_.high, [5.0, 2.0, 1.0])


def test_states_without_a_sensor_come_last_and_are_estimated():
    """The note says what is needed; with an observer the law brings home a cart of which it sees the place alone."""
    model = linear_model(system([[1.0, 0.0, 0.0]]), RANGES, 1.0)
    assert model.state_names == ("pos", "vel", "force") and "vel, force" in model.notes_[1]
    task = kc.Task(target=0.0, Q={"pos": 1.0}, R=0.1)
    law = kc.LQR(model, task, observer=KalmanFilter(model, {"pos": 0.01}, 0.01))
    x = np.array([1.0, 0.3, 0.0])
    for _ in range(400):
        u, _ = law([x[0], np.nan, np.nan])
        x = A @ x + B @ u
    assert np.abs(x).max() < 1e-4


def test_other_outputs_become_states_by_the_recipe_of_the_error():
    """A sum of states is no coordinate; the change of coordinates that the text gives makes it one."""
    C = np.array([[1.0, 0.5, 0.0]])
    with pytest.raises(DesignError, match="similarity_transform"):
        linear_model(system(C), RANGES, 1.0)
    T = np.vstack([C, scipy.linalg.null_space(C).T])
    model = linear_model(control.similarity_transform(system(C), T), 1.0, 1.0)
    x = np.array([0.2, -0.4, 0.6])
    u = np.array([0.3, -0.7])
    assert model.step(T @ x, u) == pytest.approx(T @ (A @ x + B @ u), abs=1e-12)
    assert model.step(T @ x, u)[0] == pytest.approx((C @ (A @ x + B @ u))[0], abs=1e-12)


def test_names_are_the_ones_that_were_given():
    """Of the states first, else of the outputs; python-control's own x[0] becomes x0."""
    assert linear_model(system(states=None), 1.0, 1.0).state_names == ("x0", "x1", "x2")
    named = linear_model(system(states=None, outputs=["a", "b", "c"]), 1.0, 1.0)
    assert named.state_names == ("a", "b", "c")
    assert linear_model(system(outputs=["a", "b", "c"]), 1.0, 1.0).state_names == ("pos", "vel", "force")


def test_a_sampled_continuous_system_is_one():
    """The remedy that the error of a continuous system names."""
    slow = control.ss([[0.0, 1.0], [0.0, -0.5]], [[0.0], [1.0]], np.eye(2), 0)
    with pytest.raises(DesignError, match=r"system\.sample\(0\.05\)"):
        linear_model(slow, 1.0, 1.0)
    model = linear_model(slow.sample(0.05), 1.0, 1.0)
    assert pytest.approx(scipy.linalg.expm(np.array([[0.0, 1.0], [0.0, -0.5]]) * 0.05)) == model.A_
    assert model.dt == 0.05


@pytest.mark.parametrize("dt", [None, True])
def test_a_system_without_a_sampling_time_is_refused(dt):
    """None and True say nothing in seconds."""
    with pytest.raises(DesignError, match="no sampling time"):
        linear_model(system(dt=dt), 1.0, 1.0)


def test_what_is_no_linear_system_is_refused_with_the_way_out():
    """Nonlinear systems, transfer functions, matrices, outputs that follow the input at once."""
    nonlinear = control.NonlinearIOSystem(lambda t, x, u, p: -(x**3) + u, states=1, inputs=1, outputs=1, dt=0.1)
    for thing in (nonlinear, control.tf([1.0], [1.0, 0.5], 0.1), A):
        with pytest.raises(DesignError, match=r"control\.ss\(.*control\.linearize.*ControlSystem"):
            linear_model(thing, 1.0, 1.0)
    with pytest.raises(DesignError, match="D is not 0"):
        linear_model(control.ss(A, B, np.eye(3), np.ones((3, 2)), DT), 1.0, 1.0)


def test_ranges_are_positive_and_named():
    """Zero, missing and unknown ones are refused."""
    for wrong in (0.0, {"pos": 1.0}, [1.0, -1.0, 1.0]):
        with pytest.raises(DataError, match="x_range"):
            linear_model(system(), wrong, 1.0)
    with pytest.raises(UnknownNameError, match="did you mean 'pos'"):
        linear_model(system(), RANGES | {"poss": 1.0}, 1.0)
    with pytest.raises(ShapeError):
        linear_model(system(), RANGES, [1.0, 1.0, 1.0])

"""The lifted model in python-control: the same recursion, the same names, nothing a Riccati solver cannot take."""

from __future__ import annotations

import subprocess
import sys

import control
import numpy as np
import pytest
from recorded import DT, exact_linear, linear, oscillator, pendulum, without_inputs

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, DesignError, NotFittedError
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.models.state_space import state_names, state_space

LINEAR, PENDULUM, OSCILLATOR = linear(), pendulum(), oscillator()


def at_rest(units=1.0):
    """The plant of `exact_linear` about zero, without an offset, in other units."""
    Ad, Bd, _ = exact_linear()
    rng, X, U = np.random.default_rng(4), [], []
    for _ in range(6):
        inputs, path = rng.uniform(-1, 1, size=(40, 2)), [rng.uniform(-1, 1, size=4)]
        for u in inputs:
            path.append(Ad @ path[-1] + Bd @ u)
        X.append(units * np.array(path))
        U.append(inputs)
    return Rollouts(X, U, DT, ["p1", "p2", "v1", "v2"], ["f1", "f2"])


def response(model, data, steps=15):
    """Response of the StateSpace from a lifted start, with the prediction and the model's own recursion beside it."""
    d = model.delays
    x0, U = model.encode(data.X[0][: d + 1], data.U[0][:d]), data.U[0][d : d + steps]
    system = state_space(model)
    drive = np.concatenate([U, U[-1:]])
    if system.ninputs > model.nu:
        drive = np.column_stack([drive, np.ones(len(drive))])
    found = control.forced_response(system, U=drive.T, X0=model.lift_state(x0), squeeze=False)
    Z = [model.lift_state(x0)]
    for u in U:
        Z.append(model.A_ @ Z[-1] + model.B_ @ u + model.c_)
    Y = np.array(Z) @ model.C_.T + model.y_offset_
    return np.asarray(found.states).T, np.asarray(found.outputs).T, model.predict(x0, U, relift=False), Y


SETS = {"linear": LINEAR, "oscillator": OSCILLATOR, "pendulum": PENDULUM, "autonomous": without_inputs(PENDULUM)}


@pytest.mark.parametrize("delays", [0, 2])
@pytest.mark.parametrize("lift", [Identity(), SampledFeatures(20)], ids=["identity", "sampled"])
@pytest.mark.parametrize("name", SETS)
def test_the_response_is_the_linear_prediction(name, lift, delays):
    """States are those of predict(relift=False), angles included; outputs C z + y_offset; off angles output(x)."""
    data = SETS[name]
    model = EDMDc(lift, delays=delays, ridge=1e-8).fit(data)
    states, outputs, path, Y = response(model, data)
    assert states[:, : model.nx] == pytest.approx(path, abs=1e-10)
    assert outputs == pytest.approx(Y, abs=1e-10)
    plain = [i for i, y in enumerate(data.x_names) if "theta)" not in y]
    assert outputs[:, plain] == pytest.approx(model.output(path)[:, plain], abs=1e-10)


def test_cos_and_sin_are_the_recursions_own():
    """They start on the circle and leave it, while output() of the predicted angle stays on it."""
    model = EDMDc(SampledFeatures(20), ridge=1e-8).fit(PENDULUM)
    _, outputs, path, _ = response(model, PENDULUM)
    radius = np.hypot(outputs[:, 0], outputs[:, 1])
    assert outputs[:2] == pytest.approx(model.output(path)[:2], abs=0.05)
    assert radius[0] == pytest.approx(1.0) and abs(radius[-1] - 1.0) > 1e-3


def test_constant_and_dependent_outputs_come_with_their_offset():
    """A column that is 7 and one that is 3 + 2 cos + 4 rate, both made from the state by C z + y_offset."""
    data = Rollouts(
        [np.column_stack([3 + 2 * x[:, 0] + 4 * x[:, 2], x, np.full(len(x), 7.0)]) for x in PENDULUM.X],
        PENDULUM.U,
        DT,
        ["mixed", *PENDULUM.x_names, "seven"],
    )
    model = EDMDc(SampledFeatures(10), ridge=1e-8).fit(data)
    _, outputs, _, _ = response(model, data)
    assert outputs[:, 4] == pytest.approx(7.0)
    assert outputs[0] == pytest.approx(data.X[0][0], abs=1e-9)
    assert state_space(model).D[:, 0] == pytest.approx(0) and np.any(state_space(model).D[:, 1])


@pytest.mark.parametrize("units", [1.0, 1e-6, 1e6])
def test_a_plant_without_offset_has_its_own_inputs_only(units):
    """(A, B, C, 0) of the exact plant, whatever the units, though c is rounding; one more with 1e-4 of the motion."""
    Ad, Bd, _ = exact_linear()
    model = EDMDc(Identity(), ridge=0.0).fit(at_rest(units))
    system = state_space(model)
    assert system.input_labels == ["f1", "f2"] and system.dt == DT
    assert system.A == pytest.approx(Ad, abs=1e-8) and system.B == pytest.approx(units * Bd, abs=1e-8 * units)
    assert np.array_equal(system.C, np.eye(4)) and not system.D.any()
    model.c_ = np.full(4, 1e-14 * units)
    assert state_space(model).ninputs == 2
    model.c_ = np.full(4, 1e-4 * units)
    assert state_space(model).input_labels == ["f1", "f2", "one"]


def test_names_and_sampling_time():
    """States by the coordinates, the angle's cos and sin and the features; older samples by their lag."""
    model = EDMDc(SampledFeatures(2), delays=1, ridge=1e-8).fit(PENDULUM)
    system = state_space(model)
    states = ["theta", "thetadot", "theta[-1]", "thetadot[-1]", "input0[-1]"]
    circle = ["cos(theta)", "sin(theta)", "cos(theta[-1])", "sin(theta[-1])"]
    assert system.state_labels == [*states, *circle, "psi0", "psi1"] == list(state_names(model))
    assert system.output_labels == list(PENDULUM.x_names)
    assert system.input_labels == ["torque", "one"] and system.dt == DT
    z = model.lift_state(model.encode(PENDULUM.X[0][:2], PENDULUM.U[0][:1]))
    theta = dict(zip(system.state_labels, z, strict=True))
    for lag in ("", "[-1]"):
        assert theta[f"cos(theta{lag})"] == pytest.approx(np.cos(theta[f"theta{lag}"]))
        assert theta[f"sin(theta{lag})"] == pytest.approx(np.sin(theta[f"theta{lag}"]))


def test_names_python_control_refuses_are_changed():
    """Dots, an input called "one", and names that the change would make equal."""
    data = Rollouts(LINEAR.X, LINEAR.U, DT, ["a.x", "a_x", "v1", "v2"], ["one", "f.2"])
    system = state_space(EDMDc(Identity(), ridge=1e-12).fit(data))
    assert system.output_labels == ["a_x", "a_x_", "v1", "v2"]
    assert system.input_labels == ["one", "f_2", "one_"]


def test_a_gain_is_designed_without_the_offset():
    """`drop` leaves (A, B, C, 0), which dlqr takes; a state that stays at 1 is what it cannot take."""
    model = EDMDc(SampledFeatures(5), ridge=1e-6).fit(OSCILLATOR)
    system = state_space(model, offset="drop")
    assert system.ninputs == 2 and not system.D.any() and np.array_equal(system.A, model.A_)
    nz, Q, R = model.nz, model.C_.T @ model.C_, np.eye(2)
    K, _, poles = control.dlqr(system, Q, R)
    assert np.abs(np.linalg.eigvals(model.A_ - model.B_ @ K)).max() < 1.0 and np.abs(poles).max() < 1.0
    A = np.block([[model.A_, model.c_[:, None]], [np.zeros((1, nz)), np.ones((1, 1))]])
    B = np.vstack([model.B_, np.zeros((1, 2))])
    with pytest.raises(np.linalg.LinAlgError):
        control.dlqr(A, B, np.pad(Q, (0, 1)) + 1e-3 * np.eye(nz + 1), R)


def test_other_models_are_refused():
    """No linear recursion, no StateSpace; nor from an unfitted model or under another word."""
    for other in (EDMDc(SampledFeatures(5), inputs="bilinear"), SampledRNN(5)):
        with pytest.raises(DesignError, match="EDMDc"):
            state_space(other.fit(OSCILLATOR))
    with pytest.raises(NotFittedError):
        state_space(EDMDc(Identity()))
    with pytest.raises(DataError, match='"input" or "drop"'):
        state_space(EDMDc(Identity()).fit(OSCILLATOR), offset="state")


def test_it_is_not_needed_to_import_models():
    """python-control takes long to import; only who asks for a StateSpace waits for it."""
    code = "import sys, koopctl.models.state_space; sys.exit('control' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Control without offset: three plants under constant disturbances, against the same law without it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import koopctl as kc
from koopctl.errors import DesignError

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


def servo(x: np.ndarray, u: np.ndarray, load: float = 0.0, gain: float = 1.0) -> np.ndarray:
    """An unstable servo: angle and rate; a load torque, a drive that has become weaker."""
    return np.array([x[0] + 0.1 * x[1], x[1] + 0.08 * x[0] - 0.02 * x[1] + 0.1 * gain * u[0] + load])


def tanks(x: np.ndarray, u: np.ndarray, load: float = 0.0, gain: float = 1.0) -> np.ndarray:
    """Two tanks in line, outflow with the root of the level; a leak, a worn valve."""
    out = 0.2 * gain * np.sqrt(np.maximum(x + 1.5, 0.05))
    return np.array([x[0] + 0.2 * (u[0] + 1.1) - out[0], x[1] + out[0] - out[1] + load])


def reactor(x: np.ndarray, u: np.ndarray, load: float = 0.0, gain: float = 1.0) -> np.ndarray:
    """A stirred tank whose reaction quickens with temperature; colder feed, a dirty jacket."""
    rate = 0.1 * gain * np.exp(0.8 * x[1]) * (x[0] + 1.0)
    return np.array([x[0] + 0.1 * (0.5 - x[0]) - rate, x[1] + 0.5 * rate - 0.1 * x[1] + 0.2 * u[0] + load])


PLANTS: dict[str, tuple[Step, dict[str, object]]] = {
    "servo": (servo, {"target": [0.3, 0.0], "Q": [1.0, 0.1]}),
    "tanks": (tanks, {"target": {"x1": 0.2}, "Q": {"x1": 1.0}}),
    "reactor": (reactor, {"target": {"x1": 0.3}, "Q": {"x1": 1.0}}),
}
WRONG: dict[str, dict[str, float]] = {
    "input or load": {"load": 0.01},
    "parameter": {"gain": 0.9},
    "both": {"load": -0.01, "gain": 1.1},
    "sensor": {"bias": 0.05},
}


def recorded(step: Step) -> kc.Rollouts:
    """Motion of the undisturbed plant from random states under random inputs."""
    rng = np.random.default_rng(0)
    X, U = [], []
    for _ in range(60):
        x = [rng.uniform(-0.6, 0.6, 2)]
        u = np.repeat(rng.uniform(-1, 1, (10, 1)), 3, axis=0)
        for each in u:
            x.append(step(x[-1], each))
        X.append(np.array(x))
        U.append(u)
    return kc.Rollouts(X, U, 0.1)


@pytest.fixture(scope="module")
def models() -> dict[tuple[str, str], kc.EDMDc | kc.SampledRNN]:
    """A lifted model and a network of each plant."""
    found: dict[tuple[str, str], kc.EDMDc | kc.SampledRNN] = {}
    for name, (step, _) in PLANTS.items():
        data = recorded(step)
        # Squares of an unstable motion are unstable and out of the input's reach: no lift for the servo.
        lift = kc.Identity() if name == "servo" else kc.Polynomial(2)
        found[name, "lifted"] = kc.fit(data, kc.EDMDc(lift, ridge=1e-8))
        found[name, "relinearized"] = kc.fit(data, kc.SampledRNN(60, random_state=0))
    return found


def settled(law: kc.LQR, step: Step, bias: float = 0.0, steps: int = 300) -> np.ndarray:
    """Return the measured state at the end of a run from the origin."""
    law.reset()
    x = np.zeros(2)
    for _ in range(steps):
        u, info = law(x + bias)
        assert info["status"] == "solved"
        x = step(x, u)
    return x + bias


@pytest.mark.parametrize("wrong", list(WRONG))
@pytest.mark.parametrize("kind", ["lifted", "relinearized", "lqr"])
@pytest.mark.parametrize("plant", list(PLANTS))
def test_no_offset_is_left(models, plant, kind, wrong):
    """What the task weighs ends on the target to 1e-6; the same law without the estimate misses it."""
    step, fields = PLANTS[plant]
    model = models[plant, "relinearized" if kind == "lqr" else kind]
    task = kc.Task(R=0.05, horizon=20, u_min=-1.0, u_max=1.0, **fields)
    laws = {
        "plain": kc.LQR(model, task) if kind == "lqr" else kc.design(model, task, kind),
        "free": {"lqr": kc.LQR, "lifted": kc.LiftedMPC, "relinearized": kc.RelinearizedMPC}[kind](
            model, task, offset_free=True
        ),
    }
    given = dict(WRONG[wrong])
    bias = given.pop("bias", 0.0)
    weighed = np.flatnonzero(np.diag(laws["free"].wanted.Q))[:1]
    off = {}
    for name, law in laws.items():
        end = settled(law, lambda x, u: step(x, u, **given), bias)
        off[name] = np.abs(end - laws["free"].wanted.target)[weighed].max()
    assert off["free"] < 1e-6
    assert off["plain"] > 100 * off["free"] and off["plain"] > 5e-4


def test_a_reference_is_followed_without_offset(models):
    """Steps of the reference on the disturbed tanks."""
    law = kc.LiftedMPC(
        models["tanks", "lifted"],
        kc.Task(target=0.0, Q={"x1": 1.0}, R=0.05, u_min=-1.0, u_max=1.0),
        offset_free=True,
    )
    x = np.zeros(2)
    for goal in (0.3, -0.2, 0.1):
        for _ in range(200):
            u, _ = law(x, reference=[0.0, goal])
            x = tanks(x, u, load=0.02, gain=0.9)
        assert abs(x[1] - goal) < 1e-6


def test_a_jump_and_a_missing_sample_are_no_disturbance(models):
    """A kick and NaN leave the estimate where it was."""
    law = kc.RelinearizedMPC(models["servo", "relinearized"], kc.Task(target=0.0, Q=1.0, R=0.1), offset_free=0.5)
    x = np.zeros(2)
    for _ in range(30):
        u, _ = law(x)
        x = servo(x, u, load=0.01)
    before = law.prediction.offset.copy()
    assert abs(before[1] - 0.01) < 1e-4
    law(np.full(2, np.nan))
    law(x + [0.9, 0.0])
    assert np.array_equal(law.prediction.offset, before)


@pytest.mark.parametrize("gain", [0.0, -0.1, 1.5, np.nan, "yes"])
def test_a_gain_out_of_range_is_refused(linear_model, gain):
    """At the design."""
    with pytest.raises(DesignError, match="offset_free"):
        kc.LQR(linear_model, kc.Task(target=0.0, Q=1.0, R=0.1), offset_free=gain)


def test_it_is_kept_by_copies_and_files(models, tmp_path):
    """The option travels; what was learnt in a run does not."""
    law = kc.LiftedMPC(models["servo", "lifted"], kc.Task(target=0.0, Q=1.0, R=0.1), offset_free=0.2)
    again = kc.load(law.save(tmp_path / "law.npz"))
    assert law.fresh().offset_free == again.offset_free == 0.2
    x = np.array([0.1, 0.0])
    first = law(x)[0]
    law(x)
    law.reset()
    assert np.array_equal(law(x)[0], first) and np.array_equal(again(x)[0], first)

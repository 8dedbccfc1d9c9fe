"""Bounds at rest against plants whose steady states are known in closed form."""

from __future__ import annotations

import itertools

import control
import numpy as np
import pytest

import koopctl as kc
from koopctl.controllers.resting import nearest_rest

TASK = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, horizon=6)


def lag(slow: float) -> kc.EDMDc:
    """Return x+ = (1 - slow) x + slow u, which rests where x = u."""
    return kc.linear_model(control.ss([[1 - slow]], [[slow]], [[1.0]], 0, 0.1), 3.0, 3.0)


def rest(law):
    """Return what is found for a law."""
    return nearest_rest(law.prediction, law.wanted, law.steady)


@pytest.mark.parametrize("slow", [0.1, 1e-4])
@pytest.mark.parametrize(("y_min", "outside"), [(0.5, 0.0), (0.99, 0.0), (1.5, 0.5), (2.5, 1.5)])
def test_a_lag_rests_where_its_input_is(slow, y_min, outside):
    """The input reaches 1, and so does the state, however slowly; what is missing is said in half ranges."""
    found = rest(kc.RelinearizedMPC(lag(slow), TASK.replace(target=y_min + 0.1, y_min=y_min)))
    assert found.excess == pytest.approx([outside / 3.0], abs=3e-3)
    assert found.q[0] == pytest.approx(1.0, abs=1e-2) if outside else found.q[0] > y_min - 1e-6


@pytest.mark.parametrize("kind", ["lqr", "lifted", "relinearized"])
def test_two_inputs_reach_as_far_as_the_corners_of_their_box(two_input_model, kind):
    """What they hold at rest, (I - A)^-1 B u, is largest at a corner."""
    A, B = two_input_model.A_, two_input_model.B_
    gain = np.linalg.solve(np.eye(3) - A, B)
    most = max((gain @ u)[0] for u in itertools.product((-0.1, 0.1), repeat=2))
    half = (two_input_model.envelope_.high - two_input_model.envelope_.low)[0] / 2
    task = TASK.replace(u_min=-0.1, u_max=0.1)
    for beyond in (-0.05, 0.3):
        law = kc.design(two_input_model, task.replace(y_min={"x0": most + beyond}), kind)
        assert rest(law).excess[0] == pytest.approx(max(beyond, 0.0) / half, abs=5e-3)


def test_a_drift_no_input_can_hold_has_no_rest():
    """An integrator with a leak that is stronger than its input."""
    system = control.ss([[1.0]], [[0.1]], [[1.0]], 0, 0.1)
    model = kc.linear_model(system, 3.0, 3.0)
    law = kc.RelinearizedMPC(model, TASK.replace(u_min=1.0, u_max=2.0))
    assert rest(law) is None
    assert rest(kc.RelinearizedMPC(model, TASK)).excess == pytest.approx([0.0])


def test_a_speed_that_may_not_be_zero_has_no_rest_within_its_bounds():
    """A cart that must go on at 0.2 stands nowhere."""
    model = kc.linear_model(control.ss([[1.0, 0.1], [0.0, 1.0]], [[0.005], [0.1]], np.eye(2), 0, 0.1), 3.0, 3.0)
    law = kc.LiftedMPC(model, TASK.replace(y_min={"x1": 0.2}, target=[0.0, 0.3]))
    found = rest(law)
    assert found.excess == pytest.approx([0.0, 0.2 / 3.0], abs=2e-3)

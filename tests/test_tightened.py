"""Margins: bounds drawn in along the plan, and what that buys on a disturbed plant."""

from __future__ import annotations

import numpy as np
import pytest

import koopctl as kc
from koopctl.bench.tightened import _violations, recorded
from koopctl.controllers.steady import resolve
from koopctl.errors import DataError, ShapeError

TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=4, y_min={"x0": -1.0}, y_max={"x0": 1.0, "x1": 2.0})


def test_bounds_are_drawn_in_step_by_step(linear_model):
    """By each row, the last one kept; never by more than nine tenths of the room between two bounds."""
    margin = np.array([[0.1, 0.0], [0.3, 0.5], [5.0, 5.0]])
    task = resolve(linear_model, TASK.replace(margin=margin)).drawn_in()
    assert np.allclose(task.y_max[:, 0], [0.9, 0.7, 0.1, 0.1]) and np.allclose(
        task.y_min[:, 0], [-0.9, -0.7, -0.1, -0.1]
    )
    assert np.allclose(task.y_max[:, 1], [2.0, 1.5, -3.0, -3.0]) and np.isneginf(task.y_min[:, 1]).all()


def test_one_margin_is_for_all_steps(linear_model):
    """A vector or a mapping by name; none is no margin."""
    task = resolve(linear_model, TASK.replace(margin={"x0": 0.2})).drawn_in()
    assert np.allclose(task.y_max, [0.8, 2.0]) and np.allclose(task.y_min[0], -0.8)
    plain = resolve(linear_model, TASK)
    assert plain.drawn_in() is plain


@pytest.mark.parametrize(
    ("margin", "error"), [(-0.1, DataError), (np.ones((3, 5)), ShapeError), ([[np.nan, 0]], DataError)]
)
def test_margins_that_are_none_are_refused(linear_model, margin, error):
    """Negative, of a wrong width, not finite."""
    with pytest.raises(error):
        resolve(linear_model, TASK.replace(margin=margin))


def test_the_error_bounds_margin_keeps_a_disturbed_plant_inside():
    """Coupled pendulums told to stand beyond a bound, under noise: most runs leave it without the margin, few with."""
    rng = np.random.default_rng(3)
    model = kc.SampledRNN(80, random_state=0).fit(recorded(rng, 60))
    bound = kc.error_bound(model, recorded(rng, 40), 8, 0.9, joint=False)
    task = kc.Task(target=[0.4, 0.0, 0.0, 0.0], Q=[10.0, 0.0, 0.1, 0.1], R=0.05, u_min=-2.0, u_max=2.0, horizon=8)
    task = task.replace(y_max=[0.3, np.inf, np.inf, np.inf])
    left = _violations(kc.RelinearizedMPC(model, task), 12)
    kept = _violations(kc.RelinearizedMPC(model, task.replace(margin=bound.half_widths)), 12)
    assert left["runs"] > 0.5 and kept["runs"] <= 0.1 and kept["away"] > left["away"]

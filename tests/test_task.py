"""What is wanted: the same task however it is said, and every contradiction named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctl.errors import DataError, KoopctlError, UnknownNameError
from koopctl.task import Task

Q_NAMES, U_NAMES = ("pos", "theta", "vel"), ("force", "torque")
few = settings(max_examples=25, deadline=None)
inf = float("inf")


def resolved(**fields):
    """Return a task in numbers, with unit weights where none are given."""
    return Task(**({"target": 0, "Q": 1, "R": 1} | fields)).resolve(Q_NAMES, U_NAMES)


def equal(left, right) -> bool:
    """Tell whether two resolved tasks are equal in every number."""
    return all(np.array_equal(getattr(left, k), getattr(right, k)) for k in vars(left))


def test_names_arrays_and_scalars_say_the_same():
    """Three ways to one task, matrices included."""
    by_name = resolved(
        target={"theta": 2},
        Q={"pos": 3, "theta": 3, "vel": 3},
        R={"force": 2, "torque": 2},
        u_min={"force": -1, "torque": -1},
        u_max={"torque": 4, "force": 4},
        du_max={"force": 0.5},
        y_max={"vel": 9},
        u_safe={"torque": 1},
        u_target={"force": 0.5},
    )
    by_array = resolved(
        target=[0, 2, 0],
        Q=3 * np.eye(3),
        R=[2, 2],
        u_min=[-1, -1],
        u_max=np.array([4.0, 4.0]),
        du_max=[0.5, inf],
        y_max=[inf, inf, 9],
        u_safe=[0, 1],
        u_target=[0.5, 0],
    )
    by_scalar = resolved(
        target={"theta": 2}, Q=3, R=2, u_min=-1, u_max=4, du_max=[0.5, inf], y_max={"vel": 9}, u_safe=[0, 1]
    )
    assert equal(by_name, by_array)
    assert equal(by_name, replace(by_scalar, u_target=np.array([0.5, 0.0])))


def test_lists_tuples_and_arrays_are_lists():
    """Blocks of moves and measured inputs."""
    for blocks in ([2, 1, 3], (2, 1, 3), np.array([2, 1, 3])):
        assert np.array_equal(resolved(control_horizon=blocks).moves, [0, 2, 3])
    assert np.array_equal(resolved(control_horizon=np.int64(3)).moves, [0, 1, 2])
    for names in (["force"], ("force",), np.array(["force"])):
        assert resolved(disturbances=names).R.shape == (1, 1)


def test_what_is_left_out_is_free():
    """No bounds, no price on changes, no input target, a safe input of zero."""
    task = resolved()
    assert np.array_equal(task.u_min, [-inf] * 2) and np.array_equal(task.y_max, [inf] * 3)
    assert np.array_equal(task.du_max, [inf] * 2) and not task.dR.any() and not task.u_safe.any()
    assert task.u_target is None and task.horizon == 20 and (task.slack_price == 1e3).all()
    assert np.array_equal(resolved(u_min=[1, -5]).u_safe, [1, 0])  # clipped to the bounds


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"u_min": 1, "u_max": -1}, "bounds of 'force' cross: u_min 1 is not below u_max -1"),
        ({"u_min": 1, "u_max": 1}, "'force' cross"),
        ({"y_min": {"vel": 2}, "y_max": {"vel": 1}}, "bounds of 'vel' cross"),
        ({"u_min": np.nan}, "'force' cross"),
        ({"u_min": inf}, "'force' cross"),
        ({"R": 0}, "R has eigenvalue 0; it must be positive"),
        ({"R": {"force": 1}}, "R has eigenvalue 0"),
        ({"R": -1}, "^R has eigenvalue -1"),
        ({"Q": {"vel": -1}}, "^Q has eigenvalue -1"),
        ({"Q": np.triu(np.ones((3, 3)))}, "Q is not symmetric"),
        ({"Q": [1, 2]}, r"Q has shape \(2,\), expected \(3,\) for pos, theta, vel"),
        ({"dR": -1}, "^dR"),
        ({"target": [0, np.nan, 0]}, "target holds nan"),
        ({"target": inf}, "target holds inf"),
        ({"du_max": 0}, "du_max"),
        ({"du_max": np.nan}, "du_max"),
        ({"u_safe": np.nan}, "u_safe holds nan"),
        ({"horizon": 0}, "^horizon is 0"),
        ({"horizon": 2.5}, "^horizon is 2.5"),
        ({"horizon": True}, "^horizon is True"),
        ({"slack_price": 0}, "slack_price is 0"),
        ({"slack_price": np.nan}, "slack_price is nan"),
        ({"slack_price": inf}, "slack_price is inf"),
        ({"slack_price": "high"}, "slack_price is 'high'"),
        ({"control_horizon": {1: 2}}, r"control_horizon is \{1: 2\}"),
        ({"control_horizon": {1, 2}}, r"control_horizon is \{1, 2\}"),
        ({"control_horizon": [[1, 2]]}, r"control_horizon is \[1, 2\]"),
        ({"control_horizon": "12"}, "control_horizon is '12'"),
        ({"disturbances": None}, "disturbances is None; it is a list of names"),
        ({"disturbances": 5}, "disturbances is 5; it is a list of names"),
        ({"disturbances": {"force"}}, r"disturbances is \{'force'\}; it is a list"),
        ({"disturbances": [0]}, r"disturbances is \[0\]; it is a list of names"),
        ({"disturbances": ["force", "force"]}, r"disturbances \['force', 'force'\] repeats a name"),
        ({"margin": np.zeros((0, 3))}, "margin has no rows"),
    ],
    ids=str,
)
def test_contradictions_are_named(fields, says):
    """Field, numbers and what was expected stand in the text."""
    with pytest.raises(KoopctlError, match=says):
        resolved(**fields)


@pytest.mark.parametrize(
    ("fields", "nearest"),
    [({"target": {"tetha": 0}}, "theta"), ({"R": {"forces": 1}}, "force"), ({"y_max": {"velo": 1}}, "vel")],
)
def test_unknown_names_list_the_nearest(fields, nearest):
    """And all that are known."""
    with pytest.raises(UnknownNameError, match=f"did you mean '{nearest}'"):
        resolved(**fields)


bounds = st.none() | st.floats(-5, -1) | st.just(-inf) | st.dictionaries(st.sampled_from(U_NAMES), st.just(-inf))


@few
@given(
    bounds,
    st.lists(st.floats(0, 10), min_size=3, max_size=3),
    st.integers(1, 99),
    st.dictionaries(st.sampled_from(Q_NAMES), st.floats(-9, 9)),
)
def test_a_task_survives_json(u_min, Q, horizon, target):
    """Infinite bounds become words and come back as numbers; strict JSON, no NaN or Infinity in it."""
    task = Task(target=target, Q=np.array(Q), R=np.eye(2), u_min=u_min, y_max=[1, inf, 2], horizon=np.int64(horizon))
    text = json.dumps(task.to_dict(), allow_nan=False)
    back = Task.from_dict(json.loads(text))
    assert equal(back.resolve(Q_NAMES, U_NAMES), task.resolve(Q_NAMES, U_NAMES))
    assert json.dumps(back.to_dict()) == text


def test_a_mapping_written_by_hand_may_hold_arrays():
    """Not every mapping comes from JSON."""
    fields = {"target": np.zeros(3), "Q": np.ones(3), "R": (1, 1), "u_max": ["inf", 2]}
    assert np.array_equal(Task.from_dict(fields).resolve(Q_NAMES, U_NAMES).u_max, [inf, 2])


def test_fields_are_checked_by_name():
    """Unknown and missing ones are listed, in a mapping as in a change."""
    with pytest.raises(DataError, match="unknown here: horizn; missing: Q"):
        Task.from_dict({"target": 0, "R": 1, "horizn": 3})
    task = Task(target=0, Q=1, R=1)
    with pytest.raises(DataError, match="no field 'weight'; its fields are target, Q, R"):
        task.replace(weight=2)
    changed = task.replace(horizon=40, u_max=1)
    assert (changed.horizon, changed.u_max, task.horizon, task.u_max) == (40, 1, 20, None)
    with pytest.raises(DataError, match="horizon"):
        task.replace(horizon=-1)


def test_no_inputs_is_a_task_too():
    """An autonomous model has nothing to price."""
    task = Task(target=0, Q=1, R=1).resolve(Q_NAMES, ())
    assert task.R.shape == (0, 0) and task.u_min.shape == (0,)

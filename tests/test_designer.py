"""design(): which law for which model, and what it refuses."""

from __future__ import annotations

import pytest

import koopctl as kc
from koopctl.controllers.designer import KINDS
from koopctl.errors import DataError, DesignError, NotFittedError, ShapeError, UnknownNameError

TASK = kc.Task(target=0.0, Q=1.0, R=0.1)


def test_the_model_decides_the_kind(linear_model, linear_network, linear_rollouts):
    """A linear lift gets the one quadratic program, everything else is re-linearised."""
    bilinear = kc.EDMDc(kc.Identity(), inputs="bilinear").fit(linear_rollouts(linear_model.A_, linear_model.B_))
    assert type(kc.design(linear_model, TASK)) is kc.LiftedMPC
    assert type(kc.design(linear_network, TASK)) is kc.RelinearizedMPC
    assert type(kc.design(bilinear, TASK)) is kc.RelinearizedMPC


@pytest.mark.parametrize(
    ("kind", "law"), [("lqr", "LQR"), ("lifted", "LiftedMPC"), ("relinearized", "RelinearizedMPC")]
)
def test_the_kind_can_be_chosen(linear_model, kind, law):
    """By the name the law itself carries."""
    made = kc.design(linear_model, TASK, kind=kind)
    assert type(made) is getattr(kc, law) and made.kind == kind and KINDS[kind] is type(made)
    assert made.model is linear_model and made.task is TASK and made.dt == 0.1


def test_an_unknown_kind_lists_the_known(linear_model):
    """With the nearest one as a suggestion."""
    with pytest.raises(UnknownNameError, match="did you mean 'lifted'") as error:
        kc.design(linear_model, TASK, kind="liftd")
    assert set(error.value.known) == {"lqr", "lifted", "relinearized"} and all(k in str(error.value) for k in KINDS)


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_an_unfitted_model_is_refused(kind):
    """The message names fit()."""
    for model in (kc.SampledRNN(10), kc.EDMDc(kc.Identity())):
        if kind == "lifted" and isinstance(model, kc.SampledRNN):
            continue
        with pytest.raises(NotFittedError, match="fit"):
            kc.design(model, TASK, kind=kind)


def test_a_lifted_law_for_a_network_says_what_to_do(linear_network):
    """The other kinds, or another model."""
    with pytest.raises(DesignError, match=r"SampledRNN.*kind='relinearized'.*fit an EDMDc"):
        kc.design(linear_network, TASK, kind="lifted")


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"target": {"speed": 0.0}}, UnknownNameError),
        ({"Q": {"x7": 1.0}}, UnknownNameError),
        ({"target": [0.0, 0.0, 0.0]}, ShapeError),
        ({"R": 0.0}, DataError),
        ({"Q": [1.0, -1.0]}, DataError),
        ({"u_min": 1.0, "u_max": 0.0}, DataError),
        ({"du_max": 0.0}, DataError),
        ({"target": float("nan")}, DataError),
    ],
)
def test_a_task_that_does_not_fit_the_model_is_refused(linear_model, kind, changes, error):
    """Whatever the law, the same error."""
    with pytest.raises(error):
        kc.design(linear_model, TASK.replace(**changes), kind=kind)

"""design(): which law for which model, and what it refuses."""

from __future__ import annotations

import importlib.util
import inspect

import numpy as np
import pytest

import koopctl as kc
from koopctl.cli.designing import design as verb
from koopctl.controllers.designer import KINDS
from koopctl.errors import DataError, DesignError, KoopctlError, NotFittedError, ShapeError, UnknownNameError

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


# ---------------------------------------------------------------------------------------------- options by name
RENAMED = {"horizon": "finite_horizon"}  # beside the task's horizon, which the verb's --horizon changes


def test_every_option_of_every_law_can_be_given_by_name():
    """To design() and to the command line; an option added to a law and forgotten there would show here."""
    offered, typed = set(inspect.signature(kc.design).parameters), set(inspect.signature(verb).parameters)
    for law in KINDS.values():
        own = {RENAMED.get(name, name) for name in inspect.signature(law).parameters} - {"model", "task"}
        assert own <= offered and own <= typed


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lifted", {"solver": "active_set"}),
        ("lifted", {"offset_free": 0.3}),
        ("relinearized", {"solver": "active_set", "offset_free": True, "iterations": 3, "tolerance": 1e-6}),
        ("relinearized", {"candidates": 0, "step_bound": 0.5, "reserve": 0.0, "random_state": 4, "rival_rounds": 0}),
        ("lqr", {"lifted": True, "offset_free": True}),
        ("lqr", {"integral": {"x0": 2.0}}),
        ("lqr", {"finite_horizon": 7}),
    ],
)
def test_options_reach_the_law(linear_model, kind, options):
    """What was given is what the law says of itself, in its file too; the rest is its own default."""
    law = kc.design(linear_model, TASK, kind, **options)
    plain = KINDS[kind](linear_model, TASK).options()
    given = {next((own for own, new in RENAMED.items() if new == name), name): value for name, value in options.items()}
    assert law.options() == plain | given
    assert law.options() != plain


def test_a_value_is_fitted_with_the_settings_given(linear_network):
    """As the law's class does it; {} stands for the defaults."""
    settings = {"n_features": 150, "n_states": 1500, "sweeps": 20}
    task = TASK.replace(u_min=-1.0, u_max=1.0)
    law = kc.design(linear_network, task, value=settings, candidates=0)
    assert law.value.settings | settings == law.value.settings
    same = kc.RelinearizedMPC(linear_network, task, value=settings, candidates=0)
    for x in np.random.default_rng(0).uniform(-1, 1, (3, 2)):
        assert (law(x)[0] == same(x)[0]).all()
    assert kc.design(linear_network, task, value=law.value).value is law.value


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (None, {"candidates": 3}, "law 'lifted', which suits this model, has no option 'candidates'.*'relinearized'"),
        ("lqr", {"solver": "osqp"}, "law 'lqr' has no option 'solver'; leave it out or choose kind='lifted'"),
        ("lqr", {"iterations": 2}, "Options of 'lqr' are finite_horizon, integral, lifted, offset_free"),
        ("relinearized", {"finite_horizon": 5}, "no option 'finite_horizon'.*choose kind='lqr'"),
        ("lifted", {"integral": 1.0}, "no option 'integral'.*kind='lqr'.*'lifted' are offset_free, solver"),
        ("relinearized", {"lifted": False}, "no option 'lifted'"),
        ("relinearized", {"iterations": 0}, "iterations=0.*expected >= 1"),
        ("lifted", {"offset_free": 0.0}, "offset_free is 0.0; it is False, True, or a gain above 0"),
        ("lqr", {"integral": 1.0, "offset_free": True}, "leave one out"),
    ],
)
def test_an_option_the_law_does_not_take_says_which_law_does(linear_model, kind, options, words):
    """Nothing is left out silently."""
    with pytest.raises(DesignError, match=words):
        kc.design(linear_model, TASK, kind, **options)


@pytest.mark.parametrize("kind", ["lifted", "relinearized"])
def test_an_unknown_solver_is_refused_at_the_design(linear_model, kind):
    """Also by a law without bounds, which would never ask for it; the known ones are listed."""
    with pytest.raises(UnknownNameError, match="unknown solver 'osqpp'; did you mean 'osqp'"):
        kc.design(linear_model, TASK, kind, solver="osqpp")


@pytest.mark.skipif(importlib.util.find_spec("daqp") is not None, reason="daqp is installed")
def test_a_solver_that_is_not_installed_says_how_to_get_it(linear_model):
    """The extra that brings it."""
    with pytest.raises(KoopctlError, match="koopctl\\[fast\\]"):
        kc.design(linear_model, TASK, solver="daqp")


def test_an_unknown_setting_of_the_value_is_refused(linear_network):
    """With the nearest one."""
    with pytest.raises(UnknownNameError, match="setting of the value 'n_feature'; did you mean 'n_features'"):
        kc.design(linear_network, TASK, value={"n_feature": 30})

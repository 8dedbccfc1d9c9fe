"""What is given to a law in the place of something else is named before anything is computed."""

from __future__ import annotations

import re

import numpy as np
import pytest

import koopctl as kc
from koopctl.controllers.checks import check_parts, check_search, check_value, is_real, is_whole, shown
from koopctl.errors import DesignError, KoopctlError, UnknownNameError

TASK = kc.Task(target=0.0, Q=1.0, R=0.1)


def test_model_task_and_observer_are_what_they_should_be(linear_model):
    """And what they should be stands in the text."""
    check_parts(linear_model, TASK)
    check_parts(linear_model, TASK, kc.ExtendedKalmanFilter(linear_model, 0.1))
    wrong = {
        r"order is \(model, task\)": (TASK, linear_model),
        "model is None; expected a fitted one": (None, TASK),
        "model is an instance of LQR": (kc.LQR(linear_model, TASK), TASK),
        "task is None; expected a Task": (linear_model, None),
        r"task is an instance of dict.*Task\.from_dict": (linear_model, {"target": 0.0}),
        "observer is 'kalman'": (linear_model, TASK, "kalman"),
        "observer is an instance of EDMDc.*ExtendedKalmanFilter": (linear_model, TASK, linear_model),
    }
    for words, parts in wrong.items():
        with pytest.raises(DesignError, match=words):
            check_parts(*parts)
        with pytest.raises(DesignError, match=words):
            kc.LQR(*parts[:2], observer=parts[2] if len(parts) > 2 else None)


def test_a_value_is_one_or_says_how_to_make_one():
    """Arguments of fitted_value go by their names."""
    for value in (None, {}, {"sweeps": 3, "hold": 1}):
        check_value(value)
    with pytest.raises(UnknownNameError, match="did you mean 'sweeps'"):
        check_value({"sweep": 3})
    for value in (5, "fitted", [1]):
        with pytest.raises(DesignError, match="value is .*fitted_value"):
            check_value(value)


GOOD = {
    "iterations": 1,
    "tolerance": 1e-4,
    "candidates": 16,
    "step_bound": 2.0,
    "reserve": 0.03,
    "random_state": 0,
    "rival_rounds": 4,
}


@pytest.mark.parametrize("name", list(GOOD))
def test_options_of_a_search_are_checked(name):
    """Numbers of the right kind within their range; everything else is shown beside what was expected."""
    check_search(**GOOD)
    check_search(**GOOD | {"iterations": np.int64(3), "step_bound": np.inf, "reserve": np.float32(0.0)})
    whole = isinstance(GOOD[name], int)
    for value in (-1, "a", None, np.nan, True, [1], *([1.5] if whole else [])):
        with pytest.raises(DesignError, match=rf"{name}={re.escape(repr(value))}.*expected >= 1"):
            check_search(**GOOD | {name: value})


def test_numbers_are_told_from_what_only_looks_like_them():
    """Whole ones, real ones."""
    assert all(is_whole(n, 1) for n in (1, np.int64(3))) and not any(is_whole(n, 1) for n in (0, 1.0, True, "1", None))
    reals, others = (0, -1.5, np.float32(2), np.inf), (np.nan, True, "1", None, np.ones(1), 1j)
    assert all(is_real(r) for r in reals) and not any(is_real(r) for r in others)
    assert shown("x" * 99) == "an instance of str" and shown(2.5) == "2.5"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: kc.review(m), "review got an instance of EDMDc"),
        (lambda m: kc.review(None), "review got None"),
        (lambda m: kc.AdaptiveLaw(m), "AdaptiveLaw got an instance of EDMDc"),
        (lambda m: kc.AdaptiveLaw(kc.AdaptiveLaw(kc.LQR(m, TASK))), "AdaptiveLaw got an instance of AdaptiveLaw"),
        (lambda m: kc.LQR(m, TASK, lifted="yes"), "lifted is 'yes'; expected True or False"),
    ],
)
def test_verbs_that_take_a_law_say_so(linear_model, call, words):
    """A model is not one yet."""
    with pytest.raises(KoopctlError, match=words):
        call(linear_model)

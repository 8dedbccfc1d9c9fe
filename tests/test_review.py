"""The review of a law: each finding on a law made to have it, and silence on a sound one."""

from __future__ import annotations

import json

import control
import numpy as np
import pytest

import koopctl as kc

TASK = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, horizon=20)


def finding(law: kc.LQR, subject: str):
    """Return the finding on a subject."""
    found = [each for each in kc.review(law).findings if each.subject.startswith(subject)]
    assert found, f"nothing was said of {subject}"
    return found[0]


def told(law: kc.LQR) -> dict[str, str]:
    """Return the verdict on each subject but the time, which is the machine's."""
    return {each.subject: each.verdict for each in kc.review(law).findings if each.subject != "time of a call"}


@pytest.mark.parametrize("kind", ["lqr", "lifted", "relinearized"])
def test_a_sound_law_passes(two_input_model, kind):
    """A stable plant, a target in the middle, a horizon that suits: nothing to warn of, and the law is as it was."""
    law = kc.design(two_input_model, TASK.replace(Q=[1.0, 1.0, 1.0]), kind)
    x = np.array([0.2, -0.1, 0.3])
    expected = law(x)[0]
    law.reset()
    verdicts = told(law)
    assert "warning" not in verdicts.values(), verdicts
    assert {"target", "stabilisable", "detectable in the cost", "bounds"} <= set(verdicts)
    assert np.array_equal(law(x)[0], expected)


def test_the_steady_state_gain_is_the_plants(two_input_model):
    """(I - A)^-1 B of the true matrices, as printed."""
    A, B = two_input_model.A_, two_input_model.B_
    gain = np.linalg.solve(np.eye(3) - A, B)
    value = finding(kc.LQR(two_input_model, TASK), "steady-state gain").value
    assert all(f"{number:.3g}" in value for number in gain.ravel())


def test_a_mode_out_of_reach_is_named(linear_rollouts):
    """An eigenvalue of 1.1 that no input moves."""
    model = kc.EDMDc(kc.Identity()).fit(linear_rollouts(np.diag([1.1, 0.9]), np.array([[0.0], [1.0]])))
    model.A_, model.B_ = np.diag([1.1, 0.9]), np.array([[0.0], [1.0]])
    found = finding(kc.LiftedMPC(model, TASK), "stabilisable")
    assert found.verdict == "warning" and "1.100" in found.value


def test_a_mode_the_weights_do_not_see_is_named(linear_rollouts):
    """The second coordinate drifts and is not weighed."""
    A, B = np.array([[0.9, 0.0], [0.0, 1.05]]), np.array([[1.0], [1.0]])
    model = kc.EDMDc(kc.Identity(), ridge=1e-14).fit(linear_rollouts(A, B))
    model.A_, model.B_ = A, B
    law = kc.RelinearizedMPC(model, TASK.replace(Q=[1.0, 0.0]))
    found = finding(law, "detectable in the cost")
    assert found.verdict == "warning" and "1.050" in found.value


def linear(A, B, reach=3.0):
    """Return x+ = A x + B u as a model."""
    return kc.linear_model(control.ss(A, B, np.eye(len(A)), 0, 0.1), reach, reach)


@pytest.mark.parametrize(
    ("A", "B", "changes", "subject", "value"),
    [
        (np.diag([1.1, 1.1]), [[1.0], [1.0]], {}, "stabilisable", "no: 1.100"),  # [A - 1.1 I, B] has rank 1
        ([[1.05]], [[0.0]], {}, "stabilisable", "no: 1.050"),
        ([[1.0, 0.1], [0.0, 1.0]], [[0.005], [0.1]], {}, "stabilisable", "yes"),
        (np.eye(2), np.eye(2), {"Q": np.ones((2, 2))}, "detectable", "no: 1.000"),  # x0 - x1 costs nothing
        ([[1.0, 0.1], [0.0, 1.0]], [[0.005], [0.1]], {"Q": 1e-9, "R": 1e-12}, "detectable", "yes"),  # an LQR exists
        ([[1.0, 0.1], [0.0, 1.0]], [[0.005], [0.1]], {"Q": [1.0, 0.0]}, "detectable", "yes"),
        ([[1.0, 0.1], [0.0, 1.0]], [[0.005], [0.1]], {"Q": [0.0, 1.0]}, "detectable", "no: 1.000"),
    ],
)
@pytest.mark.parametrize("kind", ["lifted", "relinearized"])
def test_stabilisable_and_detectable_are_what_hautus_says(A, B, changes, subject, value, kind):
    """Repeated eigenvalues, no input at all, weights of any size: judged by the rank on paper."""
    law = kc.design(linear(A, B), TASK.replace(horizon=5, u_min=None, u_max=None, **changes), kind)
    assert finding(law, subject).value.startswith(value)


def test_bounds_that_no_rest_keeps_are_told():
    """x+ = 0.9 x + 0.1 u rests at u, so at most at 1: not above 1.5, hardly above 0.995, easily above 0.5."""
    for y_min, verdict, words in ((1.5, "warning", "cannot be kept together"), (0.995, "note", "touches the bound")):
        law = kc.LiftedMPC(linear([[0.9]], [[0.1]]), TASK.replace(target=y_min, y_min=y_min))
        found = finding(law, "bounds of x0")
        assert found.verdict == verdict and words in found.advice
    told_best = kc.LiftedMPC(linear([[0.9]], [[0.1]]), TASK.replace(target=1.6, y_min=1.5))
    assert "stands still at 1 at best" in finding(told_best, "bounds of x0").advice
    assert (
        finding(kc.LiftedMPC(linear([[0.9]], [[0.1]]), TASK.replace(target=0.8, y_min=0.5)), "bounds").verdict == "good"
    )
    drifting = kc.RelinearizedMPC(linear([[1.0]], [[0.1]]), TASK.replace(u_min=0.5))
    assert "nothing stands still" in finding(drifting, "bounds").value


@pytest.mark.parametrize("kind", ["lqr", "lifted", "relinearized"])
def test_arrays_are_as_good_as_names_and_words(two_input_model, kind):
    """A terminal cost by array, a margin by stage as an ErrorBound has it: the same review as said otherwise."""
    bounds = {"y_min": -0.5, "y_max": 0.5}
    by_array = {"terminal_cost": np.array([5.0, 1.0, 1.0]), "margin": np.array([[0.1] * 3, [0.2] * 3]), **bounds}
    by_name = {"terminal_cost": {"x0": 5.0, "x1": 1.0, "x2": 1.0}, "margin": 0.2, **bounds}
    first, second = (told(kc.design(two_input_model, TASK.replace(**each), kind)) for each in (by_array, by_name))
    assert first == second
    touched = TASK.replace(target={"x0": 0.305}, margin=np.array([[0.1] * 3, [0.2] * 3]), **bounds)
    advice = finding(kc.design(two_input_model, touched, kind), "bounds of x0")
    assert advice.value == "-0.3 to 0.3" and advice.verdict == "warning"  # drawn in by the last row


def test_an_adaptive_law_is_reviewed_as_the_law_it_is_now(two_input_model):
    """The one inside, on its own model."""
    law = kc.LiftedMPC(two_input_model, TASK)
    assert told(kc.AdaptiveLaw(law)) == told(law)


def test_modes_of_the_lift_alone_are_named(linear_rollouts):
    """Squares of an unstable motion grow faster than anything the plant has."""
    A, B = np.array([[1.05, 0.1], [0.0, 0.9]]), np.array([[0.0], [0.1]])
    model = kc.EDMDc(kc.Polynomial(2), ridge=1e-10).fit(linear_rollouts(A, B))
    found = finding(kc.LiftedMPC(model, TASK.replace(horizon=5)), "spurious unstable modes")
    assert found.verdict == "warning" and "1.10" in found.value


@pytest.mark.parametrize(
    ("changes", "subject", "verdict"),
    [
        ({"target": {"x0": 0.5}, "y_max": {"x0": 0.3}}, "bounds of x0", "warning"),
        ({"du_max": 0.05}, "rate of u0", "note"),
        ({"terminal_cost": "none", "horizon": 3}, "horizon", "warning"),
        ({"Q": [1.0, 1e-9, 1.0]}, "cost over the data's range", "note"),
    ],
)
def test_tasks_that_contradict_themselves_are_told(two_input_model, changes, subject, verdict):
    """Targets outside bounds, rates too slow for the horizon, plans that end too soon, weights that do not count."""
    assert finding(kc.RelinearizedMPC(two_input_model, TASK.replace(**changes)), subject).verdict == verdict


def test_it_prints_within_the_page_and_goes_into_json(two_input_model):
    """A hundred columns, every finding, the advice below."""
    found = kc.review(kc.RelinearizedMPC(two_input_model, TASK.replace(terminal_cost="none", horizon=3)))
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 100 and not found.passed and found.warnings
    assert any(line.startswith("! horizon") for line in lines)
    assert json.loads(json.dumps(found.to_dict()))["passed"] is False


def test_a_law_from_a_file_is_reviewed_too(two_input_model, tmp_path):
    """Its model's report came with it, so that the review is the one of the law as it was designed."""
    law = kc.load(kc.LiftedMPC(two_input_model, TASK).save(tmp_path / "law.npz"))
    assert finding(law, "model's error").verdict == "good" and finding(law, "horizon").verdict == "good"
    assert "came without" not in str(kc.review(law))

"""The review of a law: each finding on a law made to have it, and silence on a sound one."""

from __future__ import annotations

import json

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

"""The search for the steady pair: from any pair to any target, with inputs that are stuck and angles that turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import root

import koopctl as kc
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady import nearest_steady, resolve
from koopctl.controllers.steady_problem import half_ranges, on_turn

TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=20, u_min=-1.0, u_max=1.0)
UPRIGHT = kc.Task(target=0.3, Q=[1.0, 0.1], R=0.1, horizon=20, u_min=-2.0, u_max=2.0)


def bent(x, u):
    """Step a plant whose equilibria lie on a curve: the input that holds x0 is -sin(2 x0) / (1 + 0.3 x0)."""
    push = np.sin(2 * x[..., 0]) - 0.5 * x[..., 1] * abs(x[..., 1]) + (1 + 0.3 * x[..., 0]) * u[..., 0]
    return np.stack([x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * push], axis=-1)


@pytest.fixture(scope="module")
def bent_model():
    """Learn the bent plant from 1200 transitions."""
    rng = np.random.default_rng(0)
    X, U = np.empty((60, 21, 2)), rng.uniform(-1, 1, (60, 20, 1))
    X[:, 0] = rng.uniform(-2, 2, (60, 2))
    for k in range(20):
        X[:, k + 1] = bent(X[:, k], U[:, k])
    return kc.SampledRNN(300).fit(kc.Rollouts(list(X), list(U), 0.1))


@pytest.fixture(scope="module")
def pendulum(pendulum_rollouts):
    """Learn the pendulum."""
    return kc.SampledRNN(200).fit(pendulum_rollouts[:150])


def equilibria(model, grid, limit):
    """Return the first coordinates (n,) of the pairs that stand still with inputs of at most `limit`, by a scan."""
    found, start = [], np.zeros(2)
    for first in grid:

        def drift(rest, first=first):
            x = np.array([first, rest[0]])
            return model.difference(model.step(x, rest[1:]), x)

        answer = root(drift, start)
        start = answer.x if np.abs(answer.fun).max() < 1e-9 else np.zeros(2)
        if np.abs(answer.fun).max() < 1e-9 and abs(answer.x[1]) <= limit:
            found.append(first)
    return np.array(found)


@pytest.mark.parametrize("exact", [False, True])
def test_every_step_of_the_reference_finds_the_nearest_equilibrium(bent_model, exact):
    """From the pair of one target to that of another, anywhere: none is farther than the nearest of a scan."""
    still = equilibria(bent_model, np.linspace(-1.8, 1.8, 361), 1.0)
    assert len(still) > 200
    prediction, rng, near = Prediction(bent_model, TASK), np.random.default_rng(0), None
    for to in rng.uniform(-1.5, 1.5, 30 if exact else 150):
        task = resolve(bent_model, TASK.replace(target=[to, 0.0]))
        steady = nearest_steady(prediction, task, near, exact)
        assert abs(steady.x[0] - to) <= np.abs(still - to).min() + 0.011  # a step of the scan
        assert np.abs(steady.drift).max() < (1e-6 if exact else 5e-4)
        assert bool(steady.note) == (steady.moved > 0.01)
        near = steady.x, steady.u


def test_every_target_around_the_circle_finds_the_nearest_equilibrium(pendulum):
    """The pendulum's motor holds it near the bottom and near the top only; the nearer of the two is found."""
    still = equilibria(pendulum, np.linspace(-np.pi, np.pi, 401), 2.0)
    assert 50 < len(still) < 300
    prediction, rng, near = Prediction(pendulum, UPRIGHT), np.random.default_rng(0), None
    for to in rng.uniform(-np.pi, np.pi, 100):
        steady = nearest_steady(prediction, resolve(pendulum, UPRIGHT.replace(target=[to, 0.0])), near)
        nearest = np.abs((still - to + np.pi) % (2 * np.pi) - np.pi).min()
        assert abs(steady.x[0] - to) <= nearest + 0.04
        near = steady.x, steady.u


def test_a_target_that_moves_costs_motion_not_velocity(bent_model):
    """Targets that cannot stand still, wherever the search comes from: no pair of the scan is cheaper."""
    prediction, rng, near = Prediction(bent_model, TASK), np.random.default_rng(1), None
    half, half_u = half_ranges(bent_model), np.ptp([bent_model.input_range_.low, bent_model.input_range_.high]) / 2
    still = equilibria(bent_model, np.linspace(-1.8, 1.8, 361), 1.0)
    for _ in range(50):
        to = np.array([rng.uniform(-1.5, 1.5), rng.uniform(-1.0, 1.0)])
        steady = nearest_steady(prediction, resolve(bent_model, TASK.replace(target=to)), near)
        parts = ((steady.x - to) / half, 1e-2 * steady.u / half_u, 1e3 * steady.drift / half)
        bound = np.square((still - to[0]) / half[0]).min() + np.square(to[1] / half[1]) + 1e-4 * (1.0 / half_u) ** 2
        assert sum(float(part @ part) for part in parts) <= 1.05 * bound
        near = steady.x, steady.u


def test_a_target_that_creeps_past_what_can_be_held_leaves_no_branch_behind(pendulum):
    """From the bottom to the top in small steps, through targets the motor cannot hold: the far side is found."""
    still = equilibria(pendulum, np.linspace(-np.pi, np.pi, 401), 2.0)
    prediction, near = Prediction(pendulum, UPRIGHT), None
    for to in np.linspace(0.0, 3.1, 311):
        steady = nearest_steady(prediction, resolve(pendulum, UPRIGHT.replace(target=[to, 0.0])), near)
        near = steady.x, steady.u
        assert abs(steady.x[0] - to) <= np.abs(still - to).min() + 0.04


def test_a_step_from_one_fold_to_another_crosses_the_gap(bent_model):
    """Between about -1.2 and -0.6 no input is strong enough: the pair is on the nearer side, wherever it was."""
    still = equilibria(bent_model, np.linspace(-1.8, 1.8, 721), 1.0)
    assert not ((still > -1.1) & (still < -0.7)).any()
    prediction, near = Prediction(bent_model, TASK), None
    for to in (-0.6, -1.0, -0.75, -1.1, -0.65):
        steady = nearest_steady(prediction, resolve(bent_model, TASK.replace(target=[to, 0.0])), near)
        assert steady.x[0] == pytest.approx(still[np.abs(still - to).argmin()], abs=0.011)
        near = steady.x, steady.u


@pytest.mark.parametrize("kind", ["lqr", "relinearized"])
def test_a_step_of_the_reference_brings_the_plant_there(bent_model, kind):
    """The plant itself comes to 0.8 when it is asked to, as under a law designed for it."""
    law, x = kc.design(bent_model, TASK, kind), np.zeros(2)
    for _ in range(120):
        u, _ = law(x, reference=[0.8, 0.0])
        x = bent(x, u)
    assert abs(x[0] - 0.8) < 0.02


def test_a_reference_that_creeps_has_a_pair_that_creeps(bent_model):
    """The input follows the scan's smoothly; it never jumps from one pair to another."""
    prediction, near, inputs = Prediction(bent_model, TASK), None, []
    path = np.linspace(0.0, 0.45, 91)
    for to in path:
        steady = nearest_steady(prediction, resolve(bent_model, TASK.replace(target=[to, 0.0])), near)
        near = steady.x, steady.u
        inputs.append(steady.u[0])
    slope = np.gradient(-np.sin(2 * path) / (1 + 0.3 * path), path)
    assert np.abs(np.diff(inputs)).max() < 1.3 * 0.005 * np.abs(slope).max()
    assert np.abs(np.diff(inputs, 2)).max() < 1e-3


@pytest.mark.parametrize("stuck", [[0], [1], [0, 1]])
def test_a_stuck_input_stays_and_the_others_do_their_best(two_input_model, stuck):
    """With equal bounds an input is a number; what is left is a linear least squares problem with a known answer."""
    A, B, target = two_input_model.A_, two_input_model.B_, np.array([0.3, -0.2, 0.1])
    task = resolve(two_input_model, kc.Task(target=target, Q=1.0, R=0.1, u_min=-5.0, u_max=5.0))
    low, high = task.u_min.copy(), task.u_max.copy()
    low[stuck] = high[stuck] = 0.25
    steady = nearest_steady(Prediction(two_input_model, TASK), replace(task, u_min=low, u_max=high))
    half, box = half_ranges(two_input_model), two_input_model.input_range_
    rows = np.zeros((8, 5))
    rows[:3, :3], rows[3:5, 3:] = np.diag(1 / half), np.diag(1e-2 / ((box.high - box.low) / 2))
    rows[5:, :3], rows[5:, 3:] = 1e3 * (A - np.eye(3)) / half[:, None], 1e3 * B / half[:, None]
    free = np.setdiff1d(np.arange(5), 3 + np.array(stuck))
    wanted = np.concatenate([target / half, np.zeros(5)]) - rows[:, 3 + np.array(stuck)].sum(axis=1) * 0.25
    best = np.linalg.lstsq(rows[:, free], wanted, rcond=None)[0]
    assert (steady.u[stuck] == 0.25).all()
    assert np.abs(np.concatenate([steady.x, steady.u])[free] - best).max() < 1e-6


@pytest.mark.parametrize("kind", ["lqr", "lifted", "relinearized"])
def test_a_call_with_a_stuck_input_is_answered(linear_model, kind):
    """A preview that holds the input where it is gives that input, and no refusal."""
    law = kc.design(linear_model, TASK, kind)
    u, info = law([0.1, 0.0], preview=kc.Preview(u_min=0.4, u_max=0.4))
    assert u[0] == pytest.approx(0.4) and "bad" not in info["reason"]


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (2.5, 3.8), (-9.0, 9.0), (2.5, np.inf), (-np.inf, -4.0)])
def test_angles_come_to_the_turn_of_their_bounds(low, high):
    """Of all the turns: the angle's own if inside, else the nearest to the middle, or to the only bound; no others."""
    middle = np.mean([bound for bound in (low, high) if np.isfinite(bound)])
    for angle in np.linspace(-15.0, 15.0, 121):
        q = on_turn(np.array([angle, 50.0]), np.array([low, 0.0]), np.array([high, 1.0]), np.array([0]))
        turns = angle + 2 * np.pi * np.arange(-5, 6)
        assert q[1] == 50.0 and np.abs(turns - q[0]).min() < 1e-9
        if low <= angle <= high:
            assert q[0] == angle
        else:
            assert abs(q[0] - middle) <= np.abs(turns - middle).min() + 1e-9
            if np.isfinite(high - low) and ((turns > low) & (turns < high)).any():
                assert low - 1e-9 <= q[0] <= high + 1e-9
    assert on_turn(np.array([40.0]), np.array([-np.inf]), np.array([np.inf]), np.array([0]))[0] == 40.0


def test_bounds_on_an_angle_are_kept(pendulum):
    """The pair of a target beyond a bound is at the bound, whichever turn the target is on."""
    task = UPRIGHT.replace(y_min={"theta": -0.2}, y_max={"theta": 0.2})
    prediction = Prediction(pendulum, task)
    for turn in (-2, 0, 1):
        for to, held in ((0.3, 0.2), (-0.3, -0.2), (0.1, 0.1)):
            wanted = resolve(pendulum, task.replace(target=[to + 2 * np.pi * turn, 0.0]))
            assert nearest_steady(prediction, wanted).x[0] == pytest.approx(held, abs=2e-3)


@pytest.mark.parametrize("turned", [2 * np.pi, -4 * np.pi])
@pytest.mark.parametrize(("target", "low", "high"), [(0.3, -0.5, 0.5), (3.3, 2.5, 3.8)])
def test_a_reference_on_another_turn_is_the_same_call(pendulum, target, low, high, turned):
    """Input and cost do not know on which turn an angle was given; nor does the observation in its place."""
    task = UPRIGHT.replace(target=[target, 0.0], y_min={"theta": low}, y_max={"theta": high})
    law, y = kc.RelinearizedMPC(pendulum, task), [np.cos(target - 0.2), np.sin(target - 0.2), 0.0]
    u, info = law(y)
    for reference in ([target + turned, 0.0], [np.cos(target), np.sin(target), 0.0]):
        law.reset()
        same_u, same = law(y, reference=reference)
        assert np.abs(same_u - u).max() < 1e-6 and same["cost"] == pytest.approx(info["cost"], rel=1e-5)
        assert law.steady.x[0] == pytest.approx(target, abs=0.01)
    assert info["cost"] < 10.0


def test_a_path_across_the_seam_is_a_path_beside_it(pendulum):
    """A reference that crosses pi, wrapped or counted on: one plan, one cost, and no turn between its states."""
    angles = np.pi + np.linspace(-0.15, 0.15, UPRIGHT.horizon + 1)
    counted = np.stack([angles, np.zeros_like(angles)], axis=1)
    wrapped = np.stack([(angles + np.pi) % (2 * np.pi) - np.pi, np.zeros_like(angles)], axis=1)
    y = [np.cos(angles[0]), np.sin(angles[0]), 0.0]
    for kind in ("lifted", "relinearized"):
        lift = kc.EDMDc(kc.Polynomial(3)).fit(kc.collect("Pendulum-v1", episodes=100, steps=40, seed=1))
        law = kc.design(lift if kind == "lifted" else pendulum, UPRIGHT.replace(target=[np.pi, 0.0]), kind)
        results = []
        for path in (counted, wrapped, counted - [4 * np.pi, 0.0]):
            law.reset()
            results.append(law(y, reference=path))
        for u, info in results[1:]:
            assert np.abs(u - results[0][0]).max() < 1e-6
            assert info["cost"] == pytest.approx(results[0][1]["cost"], rel=1e-5) and info["cost"] < 20.0


def test_bounds_of_one_call_on_another_turn(pendulum):
    """Bounds given for a call around 2 pi are those around 0: the running plan is led there, at no cost."""
    task = UPRIGHT.replace(y_min={"theta": -0.5}, y_max={"theta": 0.5})
    y = [np.cos(0.2), np.sin(0.2), 0.0]
    turned = kc.Preview(y_min={"theta": -0.5 + 2 * np.pi}, y_max={"theta": 0.5 + 2 * np.pi})
    one, other = kc.RelinearizedMPC(pendulum, task), kc.RelinearizedMPC(pendulum, task)
    for _ in range(3):
        u, info = one(y)
        same_u, same = other(y, preview=turned)
        assert np.abs(same_u - u).max() < 1e-5 and same["cost"] == pytest.approx(info["cost"], rel=1e-4)
    _, back = other(y)
    assert back["cost"] == pytest.approx(one(y)[1]["cost"], rel=1e-3)


def test_a_call_says_where_it_steers_to_instead(pendulum):
    """A reference that the torque cannot hold is named with the pair in its place, at that call only."""
    law = kc.RelinearizedMPC(pendulum, UPRIGHT.replace(target=[0.0, 0.0]))
    assert law([1.0, 0.0, 0.0])[1]["note"] == ""
    note = law([1.0, 0.0, 0.0], reference=[1.2, 0.0])[1]["note"]
    assert "no equilibrium" in note and f"theta={law.steady.x[0]:.4g}" in note
    assert law([1.0, 0.0, 0.0])[1]["note"] == ""

"""The linear-quadratic regulator against scipy and against the motion it promises."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

import koopctl as kc
from koopctl.errors import DesignError

TASK = kc.Task(target=0.0, Q=[2.0, 1.0], R=0.3)


def test_the_gain_is_the_riccati_gain(linear_model, linear_network):
    """Learnt linear plant, exact model or network: K from scipy's DARE on the true matrices."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    P = scipy.linalg.solve_discrete_are(A, B, np.diag([2.0, 1.0]), [[0.3]])
    K = np.linalg.solve([[0.3]] + B.T @ P @ B, B.T @ P @ A)
    for model in (linear_model, linear_network):
        law = kc.LQR(model, TASK)
        assert np.abs(law.K - K).max() < 1e-6 and np.abs(law.P - P).max() < 1e-5
        x = np.array([0.3, -0.2])
        u, info = law(x)
        assert np.abs(u + K @ x).max() < 1e-6 and info["status"] == "solved" and info["reason"] == ""


def test_the_rate_weight_counts_as_input_weight(linear_model):
    """A gain has no memory: dR is added to R."""
    a, b = kc.LQR(linear_model, TASK.replace(dR=0.2)), kc.LQR(linear_model, TASK.replace(R=0.5))
    assert np.array_equal(a.K, b.K)


def test_lifted_and_plain_gains_agree_on_a_linear_plant(linear_model):
    """Without features the lifted system is the system."""
    x = np.array([0.4, 0.1])
    (u, _), (v, _) = kc.LQR(linear_model, TASK)(x), kc.LQR(linear_model, TASK, lifted=True)(x)
    assert np.abs(u - v).max() < 1e-10


def test_the_closed_loop_decays_at_the_promised_cost(linear_model):
    """Summing the stage costs of the motion gives x0^T P x0."""
    law = kc.LQR(linear_model, TASK)
    x = np.array([0.5, -0.5])
    promised, cost = float(x @ law.P @ x), 0.0
    for _ in range(400):
        u, _ = law(x)
        cost += float(x @ np.diag([2.0, 1.0]) @ x + 0.3 * u @ u)
        x = linear_model.step(x, u)
    assert np.abs(x).max() < 1e-6 and cost == pytest.approx(promised, rel=1e-6)


def test_a_delayed_state_is_weighed_once(linear_rollouts):
    """With delays Q weighs the newest sample only, and the closed loop still settles."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    model = kc.EDMDc(kc.Identity(), delays=2).fit(linear_rollouts(A, B))
    law = kc.LQR(model, TASK)
    x = np.array([0.3, 0.3])
    for _ in range(300):
        u, info = law(x)
        x = A @ x + B @ u
    assert np.abs(x).max() < 1e-4 and set(law.rungs) == {"solved"}


def test_an_unreachable_unstable_mode_is_a_design_error(linear_rollouts):
    """An input that acts on the stable half only cannot hold the other."""
    model = kc.EDMDc(kc.Identity()).fit(linear_rollouts(np.diag([1.1, 0.5]), np.array([[0.0], [1.0]]), steps=8))
    model.B_[0] = model.A_[0, 1] = 0.0  # exactly, as rounding would leave a foothold
    with pytest.raises(DesignError, match="no stabilising LQR"):
        kc.LQR(model, kc.Task(target=0.0, Q=1.0, R=1.0))


def test_a_lifted_gain_needs_a_linear_lift(linear_network, linear_rollouts):
    """A network and a bilinear lift have no single linear recursion; the text says what to do."""
    A, B = np.array([[0.9, 0.1], [0.0, 0.8]]), np.array([[0.0], [1.0]])
    bilinear = kc.EDMDc(kc.SampledFeatures(5), inputs="bilinear").fit(linear_rollouts(A, B))
    for model in (linear_network, bilinear):
        with pytest.raises(DesignError, match="kind='relinearized'"):
            kc.LQR(model, TASK, lifted=True)


def test_a_weight_symmetric_up_to_rounding_is_good_enough(linear_model):
    """Weights come out of computations; the last digit of an off-diagonal pair does not decide."""
    Q = np.array([[1.0, 0.1], [0.1 + 1e-14, 1.0]])
    law = kc.LQR(linear_model, TASK.replace(Q=Q))
    assert np.isfinite(law.K).all()

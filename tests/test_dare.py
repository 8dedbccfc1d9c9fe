"""The Riccati equation by doubling: against scipy, against problems solved by hand, and on learnt lifts."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.linalg

import koopctl as kc
from koopctl.controllers.dare import dare, finite_horizon, gain
from koopctl.errors import DesignError


def problem(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return A, B, Q, R of 2 to 60 states and 1 to 3 inputs."""
    n, m = int(rng.integers(2, 20 if kind == "unstable" else 61)), int(rng.integers(1, 4))
    A, B = rng.normal(size=(n, n)) / np.sqrt(n), rng.normal(size=(n, m))
    Q, R = np.eye(n), np.eye(m)
    if kind == "unstable":
        A *= 1.5
    if kind == "few weights":
        Q = np.diag((np.arange(n) < 2) * 1.0)
    if kind == "cheap inputs":
        R *= 1e-8
    if kind == "units":  # of the states, over eight decades
        size = 10.0 ** rng.uniform(-4, 4, n)
        A, B, Q = A * size[:, None] / size, B * size[:, None], np.diag(size**-2.0)
    if kind == "cross weights":
        V, W = rng.normal(size=(n, n)), rng.normal(size=(m, m))
        Q, R = V @ V.T / n, W @ W.T + 0.1 * np.eye(m)
    return A, B, Q, R


def distance(P: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference, each entry relative to what its states cost."""
    size = np.sqrt(np.diag(other))
    return float(np.abs((P - other) / np.outer(size, size)).max())


@pytest.mark.parametrize("kind", ["plain", "unstable", "few weights", "cheap inputs", "units", "cross weights"])
def test_it_is_scipys_solution_on_random_problems(kind):
    """2 to 60 states, entry by entry, whatever the units."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        A, B, Q, R = problem(kind, rng)
        P = dare(A, B, Q, R)
        assert distance(P, scipy.linalg.solve_discrete_are(A, B, Q, R)) < 1e-8
        assert np.array_equal(P, P.T)
        assert np.abs(np.linalg.eigvals(A - B @ gain(A, B, R, P))).max() < 1.0


def solved_by_hand(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Return A, B, Q, R, P of n scalar problems turned and in other units, some unstable, some hardly reached."""
    a, q = rng.uniform(-1.4, 1.4, n), 10.0 ** rng.uniform(-3, 3, n)
    b, r = 10.0 ** rng.uniform(-3, 0, n), 10.0 ** rng.uniform(-2, 2, n)
    # p = q + a^2 p r / (r + b^2 p): the positive root of b^2 p^2 + (r (1 - a^2) - b^2 q) p - q r = 0
    half = (r * (1 - a**2) - b**2 * q) / (2 * b**2)
    root = np.sqrt(half**2 + q * r / b**2)
    p = np.where(half > 0, q * r / b**2 / (half + root), root - half)
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0] * 2.0 ** rng.integers(-6, 7, n)  # columns: x = turn z
    back = np.linalg.inv(turn)
    return turn @ np.diag(a) @ back, turn * b, back.T * q @ back, np.diag(r), back.T * p @ back


@pytest.mark.parametrize("n", [1, 2, 10, 40, 60])
def test_it_is_the_solution_by_hand(n):
    """Ill-conditioned on purpose: gains of 1e-3, prices and weights over decades."""
    rng = np.random.default_rng(n)
    for _ in range(5):
        A, B, Q, R, P = solved_by_hand(rng, n)
        assert np.abs(dare(A, B, (Q + Q.T) / 2, R) - P).max() < 1e-8 * np.abs(P).max()


def test_the_dual_problem_is_the_filters():
    """With A and B of the transposed system it gives the steady covariance of a Kalman filter."""
    rng = np.random.default_rng(3)
    A, H = rng.normal(size=(5, 5)), rng.normal(size=(2, 5))
    W, V = np.diag(rng.uniform(0.1, 1, 5)), np.diag([0.1, 0.4])
    P = dare(A.T, H.T, W, V)
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + V)
    assert np.abs(A @ (P - K @ H @ P) @ A.T + W - P).max() < 1e-10 * np.abs(P).max()
    assert np.abs(np.linalg.eigvals(A - A @ K @ H)).max() < 1.0


def test_from_a_stabilising_start_the_largest_solution_is_found():
    """Q = 0: staying at rest costs nothing, stabilising x+ = 2 x + u costs 3 x^2 (P = a^2 - 1)."""
    one = np.eye(1)
    assert dare(2 * one, one, 0 * one, one)[0, 0] == 0.0
    assert dare(2 * one, one, 0 * one, one, start=10 * one)[0, 0] == pytest.approx(3.0, rel=1e-12)


def test_degenerate_problems(capfd):
    """No weight, an input without effect, a motion that ends by itself; LAPACK prints nothing on the way."""
    A, zero = np.diag([0.9, 0.5]), np.zeros((2, 1))
    assert not dare(A, np.ones((2, 1)), np.zeros((2, 2)), np.eye(1)).any()
    assert dare(A, zero, np.eye(2), np.eye(1)) == pytest.approx(np.diag(1 / (1 - A.diagonal() ** 2)), rel=1e-12)
    ends = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert dare(ends, zero, np.eye(2), np.eye(1)) == pytest.approx(np.diag([1.0, 2.0]), rel=1e-12)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("growth", [1.0, 1.0 + 1e-9, 1.1, 5.0])
def test_a_cost_without_bound_is_refused(growth):
    """A weighed mode that the input cannot move and that does not decay has no cost."""
    with pytest.raises(np.linalg.LinAlgError, match="without bound"):
        dare(np.diag([growth, 0.5]), np.array([[0.0], [1.0]]), np.eye(2), np.eye(1))


def learnt_lift(n_features: int) -> tuple[np.ndarray, ...]:
    """Return A, B, Q, R of the Van der Pol oscillator with sampled features."""
    data = kc.collect("koopctl.envs:VanDerPol-v0", episodes=40, steps=100, seed=0)
    model = kc.EDMDc(kc.SampledFeatures(n_features, random_state=0), ridge=1e-8).fit(data)
    Q = np.zeros((model.nz, model.nz))
    Q[0, 0] = Q[1, 1] = 1.0
    return model.A_, model.B_, Q, np.array([[0.01]])


def test_it_is_scipys_solution_on_a_learnt_lift():
    """200 lifted states, two of them weighed."""
    A, B, Q, R = learnt_lift(198)
    P, expected = dare(A, B, Q, R), scipy.linalg.solve_discrete_are(A, B, Q, R)
    assert np.abs(P - expected).max() < 1e-8 * np.abs(expected).max()


@pytest.mark.slow
def test_five_hundred_lifted_states_take_a_fraction_of_scipys_time():
    """Measured 30 to 50 times faster on one core; the same solution."""
    A, B, Q, R = learnt_lift(498)
    start = time.perf_counter()
    P = dare(A, B, Q, R)
    between = time.perf_counter()
    expected = scipy.linalg.solve_discrete_are(A, B, Q, R)
    assert (time.perf_counter() - between) > 8 * (between - start)
    assert np.abs(P - expected).max() < 1e-8 * np.abs(expected).max()


# ---------------------------------------------------------------------------------------------- finite horizon
def test_the_finite_horizon_is_the_dense_least_squares():
    """The optimal inputs of all steps at once, and their cost, from the stacked problem."""
    rng = np.random.default_rng(1)
    n, m, N = 3, 2, 6
    A, B, end = rng.normal(size=(n, n)), rng.normal(size=(n, m)), np.diag([3.0, 0.0, 1.0])
    Q, R, x0 = np.diag([1.0, 2.0, 0.0]), np.diag([0.5, 0.2]), rng.normal(size=n)
    powers = [np.linalg.matrix_power(A, k) for k in range(N + 1)]
    free = np.concatenate([power @ x0 for power in powers])
    moved = np.zeros(((N + 1) * n, N * m))
    for k in range(N + 1):
        for j in range(k):
            moved[k * n : (k + 1) * n, j * m : (j + 1) * m] = powers[k - 1 - j] @ B
    weight, price = scipy.linalg.block_diag(*[Q] * N, end), scipy.linalg.block_diag(*[R] * N)
    U = np.linalg.solve(moved.T @ weight @ moved + price, -moved.T @ weight @ free)
    gains, P = finite_horizon(A, B, Q, R, end, N)
    x = x0
    for K, u in zip(gains, U.reshape(N, m), strict=True):
        assert -K @ x == pytest.approx(u, abs=1e-9)
        x = A @ x + B @ u
    reached = free + moved @ U
    assert x0 @ P @ x0 == pytest.approx(reached @ weight @ reached + U @ price @ U, rel=1e-10)


def test_a_horizon_over_which_the_cost_overflows_is_a_design_error():
    """2^2048 has no double."""
    with pytest.raises(DesignError, match="spectral radius 4"):
        finite_horizon(4 * np.eye(2), np.array([[0.0], [1.0]]), np.eye(2), np.eye(1), np.eye(2), 1000)

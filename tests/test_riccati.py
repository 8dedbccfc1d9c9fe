"""Linear-quadratic steps against dense linear algebra and scipy."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import scipy.linalg

from koopctl.controllers.riccati import condense, infinite_horizon
from koopctl.errors import DesignError


def random_horizon(seed: int, N: int, nx: int, nu: int) -> tuple[np.ndarray, ...]:
    """Return a time-varying problem (A, B, d, H, h, P, p, dx0) with cross terms between state and input."""
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(nx + nu, nx + nu))
    H = M @ M.T / (nx + nu) + 0.1 * np.eye(nx + nu)
    V = rng.normal(size=(nx, nx))
    return (
        np.eye(nx) + 0.3 * rng.normal(size=(N, nx, nx)),
        rng.normal(size=(N, nx, nu)),
        0.2 * rng.normal(size=(N, nx)),
        H,
        rng.normal(size=(N, nx + nu)),
        V @ V.T,
        rng.normal(size=nx),
        rng.normal(size=nx),
    )


def cost_of(problem, X, U) -> float:
    """Return the horizon's cost of states X (N + 1, nx) and inputs U (N, nu), summed stage by stage."""
    _, _, _, H, h, P, p, _ = problem
    total = X[-1] @ P @ X[-1] / 2 + p @ X[-1]
    for k, u in enumerate(U):
        s = np.concatenate([X[k], u])
        total += s @ H @ s / 2 + h[k] @ s
    return float(total)


def dense_solution(problem) -> tuple[np.ndarray, np.ndarray]:
    """Solve the horizon's KKT system in all states, inputs and multipliers at once."""
    A, B, d, H, h, P, p, dx0 = problem
    N, nx, nu = B.shape
    n = N * (nx + nu) + nx
    W = scipy.linalg.block_diag(*[H] * N, P)
    g = np.concatenate([h.ravel(), p])
    C, c = np.zeros(((N + 1) * nx, n)), np.zeros((N + 1) * nx)
    C[:nx, :nx], c[:nx] = np.eye(nx), dx0
    for k in range(N):
        rows, start = slice((k + 1) * nx, (k + 2) * nx), k * (nx + nu)
        C[rows, start : start + nx], C[rows, start + nx : start + nx + nu] = -A[k], -B[k]
        C[rows, start + nx + nu : start + 2 * nx + nu] = np.eye(nx)
        c[rows] = d[k]
    K = np.block([[W, C.T], [C, np.zeros((len(C), len(C)))]])
    s = np.linalg.solve(K, np.concatenate([-g, c]))[:n]
    stages = s[: N * (nx + nu)].reshape(N, nx + nu)
    return np.concatenate([stages[:, :nx], s[None, -nx:]]), stages[:, nx:]


SIZES = [(1, 1, 1), (6, 3, 1), (1, 2, 2), (7, 4, 2), (5, 3, 3), (12, 2, 1), (4, 1, 3)]


@pytest.mark.parametrize(("N", "nx", "nu"), SIZES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_free_response_solves_the_dense_kkt_system(N, nx, nu, seed):
    """Time-varying dynamics, defects, cross terms, one to three inputs."""
    problem = random_horizon(seed, N, nx, nu)
    X, U = dense_solution(problem)
    plan = condense(*problem)
    assert np.abs(plan.free_u - U).max() < 1e-8 * (1 + np.abs(U).max())
    assert np.abs(plan.free_x - X).max() < 1e-8 * (1 + np.abs(X).max())


@pytest.mark.parametrize(("N", "nx", "nu"), SIZES)
def test_every_correction_keeps_the_dynamics_and_costs_half_its_square(N, nx, nu):
    """The Hessian in w is the identity, and w reaches every input sequence."""
    problem = random_horizon(5, N, nx, nu)
    A, B, d, *_, dx0 = problem
    plan = condense(*problem)
    best = cost_of(problem, plan.free_x, plan.free_u)
    rng = np.random.default_rng(0)
    for size in (0.1, 1.0, 10.0):
        w = size * rng.normal(size=N * nu)
        X, U = plan.free_x + plan.S @ w, plan.free_u + plan.T @ w
        assert np.abs(X[0] - dx0).max() < 1e-12
        for k in range(N):
            assert np.abs(A[k] @ X[k] + B[k] @ U[k] + d[k] - X[k + 1]).max() < 1e-8 * (1 + np.abs(X).max())
        cost = cost_of(problem, X, U)
        assert abs(cost - best - w @ w / 2) < 1e-8 * (1 + abs(cost) + abs(best))
    assert np.linalg.matrix_rank(plan.T.reshape(N * nu, N * nu)) == N * nu


def test_an_input_acts_only_later():
    """T is block lower triangular; the first state does not move; a state feels only earlier corrections."""
    N, nx, nu = 6, 3, 2
    plan = condense(*random_horizon(2, N, nx, nu))
    for k in range(N):
        assert not plan.T[k, :, (k + 1) * nu :].any()
        assert not plan.S[k, :, k * nu :].any()
        assert np.linalg.matrix_rank(plan.T[k, :, k * nu : (k + 1) * nu]) == nu


def test_the_gains_are_those_of_the_feedback():
    """Another first state changes the optimum exactly by the gains' closed loop."""
    problem = random_horizon(3, 8, 3, 2)
    moved = (*problem[:-1], problem[-1] + np.array([0.3, -0.2, 0.5]))
    one, other = condense(*problem), condense(*moved)
    dx, du = other.free_x - one.free_x, other.free_u - one.free_u
    assert np.abs(du - np.einsum("kij,kj->ki", one.gains, dx[:-1])).max() < 1e-10


@pytest.mark.parametrize("nu", [1, 2])
def test_a_hessian_without_price_for_an_input_is_refused(nu):
    """Zero and negative input weights raise LinAlgError, which the ladder knows; NaN never turns into numbers."""
    A, B, d, H, h, P, p, dx0 = random_horizon(0, 4, 2, nu)
    for bad in (0.0, -5.0):
        weight = H.copy()
        weight[2:, :] = weight[:, 2:] = 0.0
        weight[-1, -1] = bad
        with pytest.raises(np.linalg.LinAlgError):
            condense(A, 0 * B, d, weight, h, P, p, dx0)
    with contextlib.suppress(np.linalg.LinAlgError):
        assert np.isnan(condense(A * np.nan, B, d, H, h, P, p, dx0).free_u[0]).any()


@pytest.mark.parametrize(("nx", "nu"), [(1, 1), (4, 1), (5, 3)])
def test_the_infinite_horizon_is_scipys(nx, nu):
    """P solves the discrete algebraic Riccati equation, K is its gain, the closed loop is stable."""
    rng = np.random.default_rng(nx)
    A, B = rng.normal(size=(nx, nx)), rng.normal(size=(nx, nu))
    Q, R = np.eye(nx), 0.1 * np.eye(nu)
    K, P = infinite_horizon(A, B, Q, R)
    exact = scipy.linalg.solve_discrete_are(A, B, Q, R)
    assert np.abs(P - exact).max() < 1e-9 * np.abs(exact).max() and np.array_equal(P, P.T)
    assert np.abs(K - np.linalg.solve(R + B.T @ exact @ B, B.T @ exact @ A)).max() < 1e-8 * (1 + np.abs(K).max())
    assert np.abs(np.linalg.eigvals(A - B @ K)).max() < 1.0


def test_a_long_horizon_tends_to_the_infinite_one():
    """Two independent roads to the same gain."""
    rng = np.random.default_rng(1)
    A, B, Q, R = rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), np.eye(3), np.eye(2)
    K, _ = infinite_horizon(A, B, Q, R)
    N = 80
    stages = np.repeat(A[None], N, 0), np.repeat(B[None], N, 0), np.zeros((N, 3))
    plan = condense(*stages, scipy.linalg.block_diag(Q, R), np.zeros((N, 5)), Q, np.zeros(3), np.ones(3))
    assert np.abs(plan.gains[0] + K).max() < 1e-9


@pytest.mark.parametrize(
    ("A", "B", "Q"),
    [
        (np.diag([1.2, 0.5]), np.array([[0.0], [1.0]]), np.eye(2)),  # the unstable mode is out of reach
        (np.diag([1.0, 0.5]), np.array([[0.0], [1.0]]), np.eye(2)),  # an integrator nothing moves (a constant)
        (np.array([[np.nan, 0.0], [0.0, 1.0]]), np.ones((2, 1)), np.eye(2)),
        (np.array([[np.inf, 0.0], [0.0, 1.0]]), np.ones((2, 1)), np.eye(2)),
    ],
)
def test_no_stabilising_gain_is_a_design_error(A, B, Q):
    """Unreachable, invisible and not finite: an error that says what to look at."""
    with pytest.raises(DesignError, match="record"):
        infinite_horizon(A, B, Q, np.eye(1))

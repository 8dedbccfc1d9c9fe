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


# ---------------------------------------------------------------------------------------------- modes that do not decay
REST = np.array([[0.9, 0.1], [0.2, 1.05]]), np.array([[0.0], [1.0]]), np.eye(2)


def with_lasting(block: np.ndarray, seed: int, reached: bool = False, seen: bool = False) -> tuple[np.ndarray, ...]:
    """Return (A, B, Q, W): REST beside a block nobody weighs, turned by an orthogonal W whose last columns are it."""
    A, B, Q = REST
    n, k = len(A), len(block)
    rng = np.random.default_rng(seed)
    whole = scipy.linalg.block_diag(A, block)
    if seen:
        whole[:n, n:] = rng.normal(size=(n, k))
    W = np.linalg.qr(rng.normal(size=(n + k, n + k)))[0]
    inputs = np.concatenate([B, rng.normal(size=(k, 1)) * reached])
    return W @ whole @ W.T, W @ inputs, W @ np.pad(Q, (0, k)) @ W.T, W


def turning(angle: float) -> np.ndarray:
    """Return a rotation, the motion of an oscillator without damping."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


LASTING = {
    "a constant": np.eye(1),
    "two constants": np.eye(2),
    "a constant up to the rounding of a fit": np.eye(1) * (1 + 1e-7),
    "an alternation": -np.eye(1),
    "an oscillation": turning(0.3),
    "an oscillation up to rounding": turning(0.3) * (1 + 1e-8),
    "a place and its constant speed": np.array([[1.0, 0.1], [0.0, 1.0]]),
}


@pytest.mark.parametrize("reached", [False, True])
@pytest.mark.parametrize("name", LASTING)
def test_what_goes_on_for_ever_unseen_is_left_out(name, reached):
    """Gain and cost are those of the rest, and the law does not read what it leaves alone."""
    A, B, Q, W = with_lasting(LASTING[name], 0, reached)
    K, P = infinite_horizon(A, B, Q, np.eye(1))
    k_rest, p_rest = infinite_horizon(*REST, np.eye(1))
    assert np.abs(K @ W - np.pad(k_rest, ((0, 0), (0, len(A) - 2)))).max() < 1e-6
    assert np.abs(W.T @ P @ W - np.pad(p_rest, (0, len(A) - 2))).max() < 1e-5


@pytest.mark.parametrize("growth", [1.0, 1.0 + 1e-7, 1.0 + 1e-10, 1.0 - 1e-10])
def test_a_constant_observable_that_acts_on_the_rest_is_left_out(growth):
    """Its deviation from the steady state is zero at all times, whatever it does to the rest."""
    A, B, Q, W = with_lasting(np.eye(2) * growth, 1, seen=True)
    K, P = infinite_horizon(A, B, Q, np.eye(1))
    k_rest, p_rest = infinite_horizon(*REST, np.eye(1))
    assert np.abs(K @ W - np.pad(k_rest, ((0, 0), (0, 2)))).max() < 1e-5
    assert np.abs(W.T @ P @ W - np.pad(p_rest, (0, 2))).max() < 1e-4


def test_scipy_finds_nothing_where_a_constant_acts_on_the_rest():
    """The reason for the test above."""
    A, B, Q = np.array([[1.0, 0.0], [0.3, 0.5]]), np.array([[0.0], [1.0]]), np.diag([0.0, 1.0])
    with pytest.raises(np.linalg.LinAlgError):
        scipy.linalg.solve_discrete_are(A, B, Q, np.eye(1))
    exact = scipy.linalg.solve_discrete_are(A[1:, 1:], B[1:], Q[1:, 1:], np.eye(1))
    assert infinite_horizon(A, B, Q, np.eye(1))[1] == pytest.approx(np.diag([0.0, exact[0, 0]]), abs=1e-10)


def test_a_constant_that_slowly_fades_is_compensated():
    """Below 1 there is a stabilising solution, here block by block from that of the rest; scipy's is off by 2e-6."""
    decay = 1 - 1e-5
    turned_A, turned_B, turned_Q, W = with_lasting(np.eye(1) * decay, 2, seen=True)
    K, P = infinite_horizon(turned_A, turned_B, turned_Q, np.eye(1))
    A, B, Q = REST
    c = (W.T @ turned_A @ W)[:2, 2:]
    k, p = infinite_horizon(A, B, Q, np.eye(1))
    S, closed = np.eye(1) + B.T @ p @ B, A - B @ k
    p_c = np.linalg.solve(np.eye(2) - decay * closed.T, closed.T @ p @ c)
    k_c = np.linalg.solve(S, B.T @ (p @ c + decay * p_c))
    p_cc = (c.T @ p @ c + 2 * decay * c.T @ p_c - k_c.T @ S @ k_c) / (1 - decay**2)
    expected = np.block([[p, p_c], [p_c.T, p_cc]])
    assert np.abs(W.T @ P @ W - expected).max() < 1e-8 * np.abs(expected).max()
    assert K @ W == pytest.approx(np.concatenate([k, k_c], axis=1), abs=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_an_unstable_mode_that_nobody_weighs_is_stabilised_all_the_same(seed):
    """The stabilising solution, not the smallest one: scipy's."""
    A, B, Q, _ = with_lasting(np.diag([1.3, -2.0]), seed, reached=True)
    K, P = infinite_horizon(A, B, Q, np.eye(1))
    exact = scipy.linalg.solve_discrete_are(A, B, Q, np.eye(1))
    assert np.abs(P - exact).max() < 1e-8 * np.abs(exact).max()
    assert np.abs(np.linalg.eigvals(A - B @ K)).max() < 1.0


@pytest.mark.parametrize(("growth", "weight"), [(1.0, 1.0), (1.1, 1.0), (1.1, 0.0)])
def test_the_error_says_which_mode_is_to_blame(growth, weight):
    """Eigenvalue and states; a constant is only left out where no weight falls on it, an unstable mode never is."""
    A, B = np.diag([0.5, growth, 0.9]), np.array([[1.0], [0.0], [1.0]])
    with pytest.raises(DesignError, match=rf"eigenvalue {growth:.4g}, which lies mostly in drum, does not decay"):
        infinite_horizon(A, B, np.diag([1.0, weight, 1.0]), np.eye(1), ("flow", "drum", "pump"))
    with pytest.raises(DesignError, match=r"mostly in x\[1\]"):
        infinite_horizon(A, B, np.diag([1.0, weight, 1.0]), np.eye(1))


def test_a_mode_that_only_rounding_reaches_is_a_design_error():
    """A gain of 1e13 would stabilise the numbers and nothing else; a modest gain on a weak input is fine."""
    A, Q = np.diag([1.1, 0.5]), np.eye(2)
    with pytest.raises(DesignError, match="eigenvalue 1.1.*record"):
        infinite_horizon(A, np.array([[1e-13], [1.0]]), Q, np.eye(1))
    K, _ = infinite_horizon(A, np.array([[1e-3], [1.0]]), Q, np.eye(1))
    assert 1 < np.abs(K).max() < 1e3


@pytest.mark.parametrize("growth", [1.0, 1.0 + 1e-7])
def test_where_nothing_is_weighed_nothing_is_done(growth):
    """Everything may go on: no gain, no cost."""
    K, P = infinite_horizon(growth * np.eye(2), np.eye(2), np.zeros((2, 2)), np.eye(2))
    assert not K.any() and not P.any()

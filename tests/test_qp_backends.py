"""All solvers behind one interface: equal to an independent solver, equal to each other, and equally careful."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog

import koopctl as kc
from koopctl.errors import KoopctlError, SolverError, UnknownNameError
from koopctl.qp import QP, SOLVERS

pytestmark = pytest.mark.filterwarnings("ignore:Solution may be inaccurate")  # of the oracle
INF = np.inf
Numbers = tuple[np.ndarray, ...]


def needs(name: str) -> Any:
    """Mark a case that needs an optional package."""
    missing = name not in ("osqp", "active_set") and importlib.util.find_spec(name) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"the package {name} is not installed"))


every_solver = pytest.mark.parametrize("solver", [needs(name) for name in SOLVERS])


# ---------------------------------------------------------------------------------------------- problems
def plain(rng: np.random.Generator, n: int, m: int) -> Numbers:
    """Return P, q, A, l, u around a feasible point; a third of the Hessians is diagonal, as condensed ones are."""
    M = rng.normal(size=(n, n))
    P = np.diag(rng.choice([1.0, 1e3], n)) if rng.random() < 0.3 else M @ M.T + 10.0 ** rng.uniform(-4, 0) * np.eye(n)
    q, A = rng.normal(size=n) * 10.0 ** rng.uniform(-2, 2), rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.7)
    return P, q, A, *around(rng, A @ rng.normal(size=n))


def around(rng: np.random.Generator, z: np.ndarray) -> Numbers:
    """Return bounds around A x; some rows have none, or only one."""
    m = len(z)
    room = rng.exponential(size=(2, m)) * (rng.random((2, m)) < 0.7) * (1 + 0.1 * np.abs(z))
    lower = np.where(rng.random(m) < 0.7, z - room[0], -INF)
    return lower, np.where(rng.random(m) < 0.7, z + room[1], INF)


def equalities(rng: np.random.Generator, n: int, m: int) -> Numbers:
    """A third of the rows holds with equality, the others not at all."""
    P, q, A, lower, upper = plain(rng, n, m)
    k = min(m // 3, n - 1)
    lower[:k] = upper[:k] = A[:k] @ rng.normal(size=n)
    return P, q, A, np.r_[lower[:k], np.full(m - k, -INF)], np.r_[upper[:k], np.full(m - k, INF)]


def dependent(rng: np.random.Generator, n: int, m: int) -> Numbers:
    """Rows that are multiples and sums of others, as input and rate bounds are."""
    P, q, A, _, _ = plain(rng, n, m)
    A = np.concatenate([A, -2.0 * A[::2], np.cumsum(A, axis=0), np.zeros((1, n))])
    return P, q, A, *around(rng, A @ rng.normal(size=n))


def ill_scaled(rng: np.random.Generator, n: int, m: int) -> Numbers:
    """Rows whose lengths differ by six powers of ten."""
    P, q, A, lower, upper = plain(rng, n, m)
    rows = 10.0 ** rng.uniform(-3, 3, m)
    return P, q, A * rows[:, None], lower * rows, upper * rows


def corner(rng: np.random.Generator, n: int, m: int) -> Numbers:
    """All rows meet in one point, many more than it has coordinates."""
    P, q, A, _, _ = plain(rng, n, m)
    z = A @ rng.normal(size=n)
    below = rng.random(m) < 0.8
    return P, q, A, np.where(below, z, -INF), np.where(below, INF, z)


def nearly_parallel(rng: np.random.Generator, n: int, m: int) -> Numbers:
    """Rows a millionth apart."""
    P, q, A, _, _ = plain(rng, n, m)
    A = A[:1] + 1e-6 * rng.normal(size=(m, n))
    return P, q, A, *around(rng, A @ rng.normal(size=n))


def semidefinite(rng: np.random.Generator, n: int, m: int) -> Numbers:
    """Half of the directions cost nothing; every variable has bounds."""
    P, q, A, _, _ = plain(rng, n, m)
    root = rng.normal(size=(n, (n + 1) // 2))
    A, x = np.concatenate([A, np.eye(n)]), rng.normal(size=n)
    lower, upper = around(rng, A @ x)
    lower[m:], upper[m:] = x - rng.exponential(size=n), x + rng.exponential(size=n)
    return root @ root.T, q, A, lower, upper


def nearly_linear(rng: np.random.Generator, n: int, m: int) -> Numbers:
    """Almost no curvature, as in programs of norms and prices; every variable and many differences have bounds."""
    _, q, A, _, _ = plain(rng, n, m)
    A = np.concatenate([A, np.eye(n), np.diff(np.eye(n), axis=0)])
    z = A @ rng.normal(size=n)
    room = rng.exponential(size=(2, len(z))) * (rng.random((2, len(z))) < 0.8)
    return 10.0 ** rng.uniform(-8, -4) * np.eye(n), q, A, z - room[0], z + room[1]


KINDS: dict[str, Callable[..., Numbers]] = {
    maker.__name__: maker
    for maker in (plain, equalities, dependent, ill_scaled, corner, nearly_parallel, semidefinite, nearly_linear)
}


def assert_optimal(solution: Any, tolerance: float) -> None:
    """Check the optimality conditions from the problem's own numbers, not from what the solution says of itself."""
    P, q, A, lower, upper = solution.problem
    x, y, z = solution.x, solution.y, solution.problem[2] @ solution.x
    force, reach = 1 + np.abs(q).max() + np.abs(y).max(initial=0.0), 1 + np.abs(z).max(initial=0.0)
    assert np.abs(P @ x + q + A.T @ y).max() <= tolerance * force
    assert max((lower - z).max(initial=0.0), (z - upper).max(initial=0.0)) <= tolerance * reach
    slack = np.where(y > 0, upper - z, z - lower)
    assert np.minimum(np.abs(y) / force, slack / reach).max(initial=0.0) <= tolerance


def clarabel(P: Any, q: Any, A: Any, lower: Any, upper: Any) -> tuple[str, np.ndarray | None, float]:
    """Return what an interior-point method says: status, point and cost."""
    x = cp.Variable(len(q))
    low, high = np.isfinite(lower), np.isfinite(upper)
    rows = ([A[low] @ x >= lower[low]] if low.any() else []) + ([A[high] @ x <= upper[high]] if high.any() else [])
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, cp.psd_wrap(P)) / 2 + q @ x), rows)
    try:
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    except cp.SolverError:  # asked for more digits than it can find
        return "unknown", None, np.nan
    return problem.status, x.value, np.nan if problem.value is None else float(problem.value)


# ---------------------------------------------------------------------------------------------- agreement
@every_solver
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", list(KINDS))
def test_random_programs(kind, seed, solver):
    """Every kind: the optimality conditions hold, and the cost is an interior-point method's."""
    rng = np.random.default_rng(1000 * seed + list(KINDS).index(kind))
    numbers = KINDS[kind](rng, int(rng.integers(2, 20)), int(rng.integers(2, 30)))
    P, q, A, lower, upper = numbers
    solution = QP(P, A, solver=solver).solve(q, lower, upper, A)
    assert solution.status == "solved"
    assert_optimal(solution, 1e-4 if solution.method in ("osqp", "piqp") else 1e-6)
    status, _, best = clarabel(*numbers)
    cost = float(solution.x @ P @ solution.x / 2 + q @ solution.x)
    if status == "optimal":
        assert abs(cost - best) <= (1e-4 if solution.method == "osqp" else 1e-6) * (1 + abs(best))
    else:
        assert kind in ("nearly_parallel", "corner")  # where the oracle itself gives up


@every_solver
@pytest.mark.parametrize("seed", range(12))
def test_infeasible_programs(seed, solver, capfd):
    """Two rows contradict each other, openly or through a sum: said so, no number, nothing printed."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 15)), int(rng.integers(3, 25))
    P, q, A, lower, upper = KINDS[("plain", "dependent", "ill_scaled")[seed % 3]](rng, n, m)
    total, gap = A[:2].sum(axis=0), 10.0 ** rng.uniform(-2, 2)
    A = np.concatenate([A, total[None]])
    lower, upper = np.append(lower, -INF), np.append(upper, INF)
    size = np.abs(A[:2]).max()
    lower[:2], upper[:2], upper[-1] = gap * size, INF, gap * size
    G, h = np.concatenate([A, -A]), np.concatenate([upper, -lower])
    finite = np.isfinite(h)
    assert linprog(np.zeros(n), G[finite], h[finite], bounds=(None, None)).status == 2  # HiGHS finds no point either
    for hessian in (P, np.diag(np.r_[np.zeros(1), np.ones(n - 1)])):
        solution = QP(hessian, A, solver=solver).solve(q, lower, upper)
        assert solution.status == "infeasible" and not solution.usable and np.isnan(solution.x).all()
    assert capfd.readouterr() == ("", "")


@every_solver
def test_a_cost_that_falls_for_ever(solver):
    """A semidefinite Hessian, a slope along its null space, no bound there: unbounded, no number."""
    qp = QP(np.diag([1.0, 0.0]), np.eye(2), solver=solver)
    solution = qp.solve(np.array([0.0, -1.0]), np.array([-1.0, 0.0]), np.array([1.0, INF]))
    assert solution.status == "unbounded"
    assert np.isnan(solution.x).all() == (not solution.usable)
    bounded = qp.solve(np.array([0.0, -1.0]), np.array([-1.0, 0.0]), np.array([1.0, 5.0]))
    assert bounded.status == "solved" and np.abs(bounded.x - [0.0, 5.0]).max() < 1e-3


def falls(P: Any, q: Any, A: Any, lower: Any, upper: Any) -> bool:
    """Tell by linear programs whether there is a point at all, and a direction along which the cost falls for ever."""
    n = len(q)
    G, h = np.concatenate([A, -A]), np.concatenate([upper, -lower])
    G, h = G[np.isfinite(h)], h[np.isfinite(h)]
    ray = linprog(q, G, np.zeros(len(h)), P, np.zeros(n), bounds=(-1.0, 1.0))
    return linprog(np.zeros(n), G, h, bounds=(None, None)).status == 0 and ray.fun < -1e-7


@every_solver
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_programs_without_a_bottom(rank, solver):
    """Half of them fall for ever: HiGHS finds the direction, every solver says the word, and no number comes."""
    rng, found = np.random.default_rng(rank), 0
    for _ in range(40):
        n, m = int(rng.integers(3, 8)), int(rng.integers(2, 12))
        root, A, q = rng.normal(size=(n, rank)), rng.normal(size=(m, n)), rng.normal(size=n)
        P, (lower, upper) = root @ root.T, around(rng, A @ rng.normal(size=n))
        solution = QP(P, A, solver=solver).solve(q, lower, upper)
        unbounded = falls(P, q, A, lower, upper)
        assert solution.status == ("unbounded" if unbounded else "solved")
        assert np.isnan(solution.x).all() == unbounded
        found += unbounded
    assert 5 < found < 40


@every_solver
def test_a_linear_program_is_solved_at_its_corner(solver):
    """Without any curvature the answer is the corner itself, however far the bounds and however steep the cost."""
    for far in (1e-2, 1.0, 1e3):
        for steep in (1e-3, 1.0, 1e3):
            q, bound = steep * np.array([1.0, -2.0]), far * np.ones(2)
            solution = QP(np.zeros((2, 2)), np.eye(2), solver=solver).solve(q, -bound, bound)
            assert solution.status == "solved" and np.abs(solution.x / far - [-1.0, 1.0]).max() < 2e-3


# ---------------------------------------------------------------------------------------------- learnt programs
class Recording(QP):
    """Keeps what it is asked."""

    asked: list[Numbers] = []

    def solve(self, q: Any, lower: Any, upper: Any, A: Any = None) -> Any:
        solution = super().solve(q, lower, upper, A)
        self.asked.append((self._P, q, self._A, lower, upper))
        return solution


@pytest.fixture(scope="module")
def learnt(two_input_model: kc.EDMDc, pendulum_rollouts: kc.Rollouts) -> dict[str, list[Numbers]]:
    """Record the programs of two laws in closed loop: all kinds of bounds with two inputs, and a swing-up."""
    asked: dict[str, list[Numbers]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("koopctl.controllers.constraints.QP", Recording)
        asked["lifted"] = Recording.asked = []
        bounds = {"u_min": -1.0, "u_max": 1.0, "du_max": 0.3, "y_min": -0.4, "y_max": 0.4}
        task = kc.Task(target=0.0, Q=[10.0, 1.0, 1.0], R=0.01, horizon=20, **bounds)
        law, rng = kc.design(two_input_model, task), np.random.default_rng(0)
        x, A, B = np.array([0.9, -0.5, 0.8]), two_input_model.A_, two_input_model.B_
        for k in range(60):
            u, _ = law(x, reference=[0.3 if k < 30 else -0.35, 0.0, 0.0])
            x = A @ x + B @ u + 0.02 * rng.normal(size=3)
        asked["relinearized"] = Recording.asked = []
        model = kc.SampledRNN(80, random_state=0).fit(pendulum_rollouts)
        kc.simulate("Pendulum-v1", kc.design(model, kc.envs.task("Pendulum-v1")), seed=100, steps=80)
    return asked


@every_solver
@pytest.mark.parametrize("law", ["lifted", "relinearized"])
def test_learnt_programs(law, solver, learnt):
    """The programs of laws in closed loop, one after the other: the first input is CLARABEL's to 1e-4."""
    asked = learnt[law]
    assert len(asked) >= 20
    qp, last = QP(asked[0][0], np.ones_like(asked[0][2]), solver=solver), None
    for number, (P, q, A, lower, upper) in enumerate(asked):
        solution = qp.solve(q, lower, upper, None if A is last else A)
        last = A
        assert solution.status == "solved"
        assert_optimal(solution, 1e-4)
        if number % 5 == 0:
            status, best, _ = clarabel(P, q, A, lower, upper)
            assert status == "optimal" and best is not None
            assert np.abs(solution.x - best)[:2].max() <= 1e-4 * max(1.0, np.abs(best).max())


# ---------------------------------------------------------------------------------------------- one interface
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "NaN in q": ({"q": [np.nan, 0.0]}, "not_finite"),
    "inf in A": ({"A": [[INF, 0.0], [0.0, 1.0]]}, "not_finite"),
    "NaN in l": ({"lower": [np.nan, 0.0]}, "not_finite"),
    "NaN in u": ({"upper": [0.0, np.nan]}, "not_finite"),
    "q too long": ({"q": [0.0, 0.0, 0.0]}, "shape"),
    "q too short": ({"q": [0.0]}, "shape"),
    "l too short": ({"lower": [0.0]}, "shape"),
    "A with a row too many": ({"A": np.eye(3)[:, :2]}, "shape"),
    "l > u": ({"lower": [0.0, 2.0]}, "infeasible"),
    "l = u = inf": ({"lower": [INF, 0.0], "upper": [INF, 1.0]}, "out_of_range"),
    "outside the pattern": ({"A": [[1.0, 1.0], [0.0, 1.0]]}, "pattern"),
}


@every_solver
@pytest.mark.parametrize("fault", list(FAULTS))
def test_faulty_numbers_never_reach_a_solver(fault, solver, capfd):
    """Each is refused with its code; the solver keeps nothing of it, and nothing is printed."""
    change, code = FAULTS[fault]
    numbers: dict[str, np.ndarray] = {"q": np.zeros(2), "lower": np.zeros(2), "upper": np.ones(2), "A": np.eye(2)}
    qp, untouched = QP(np.eye(2), np.eye(2), solver=solver), QP(np.eye(2), np.eye(2), solver=solver)
    with pytest.raises(SolverError) as error:
        qp.solve(**(numbers | {name: np.array(value) for name, value in change.items()}))
    assert error.value.status == code
    numbers["q"], numbers["upper"] = np.array([-1.0, -3.0]), np.full(2, 2.0)
    after, fresh = qp.solve(**numbers), untouched.solve(**numbers)
    assert after.status == "solved" and after.x.tobytes() == fresh.x.tobytes()
    assert np.abs(after.x - [1.0, 2.0]).max() < 1e-4
    assert capfd.readouterr() == ("", "")


@every_solver
def test_bounds_may_come_and_go_without_a_new_matrix(solver, capfd):
    """Rows without bounds, one-sided, equal, huge and free again: PIQP clears rows without bounds in its matrix."""
    qp = QP(np.eye(2), np.eye(2), solver=solver)
    q = np.array([-3.0, -4.0])
    for lower, upper, best in (
        ([-INF, -INF], [INF, INF], [3.0, 4.0]),
        ([0.0, 0.0], [0.5, 1.0], [0.5, 1.0]),
        ([-INF, -INF], [INF, 1.0], [3.0, 1.0]),
        ([0.3, 0.3], [0.3, INF], [0.3, 4.0]),
        ([-1e25, 5.0], [1e29, 1e31], [3.0, 5.0]),
        ([-INF, -INF], [1.0, INF], [1.0, 4.0]),
    ):
        solution = qp.solve(q, np.array(lower), np.array(upper))
        assert solution.status == "solved" and np.abs(solution.x - best).max() < 1e-4
    assert capfd.readouterr() == ("", "")


@every_solver
def test_rows_of_zeros(solver):
    """They bind nothing, and contradict everything where their bounds leave out 0; DAQP once called that feasible."""
    A = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    qp = QP(np.eye(2), np.ones((3, 2)), solver=solver)
    q, upper = np.array([-1.0, -1.0]), np.array([2.0, 1.0, 0.0])
    solution = qp.solve(q, np.array([-1.0, -INF, 0.0]), upper, A)
    assert solution.status == "solved" and np.abs(solution.x - 0.5).max() < 1e-4
    assert qp.solve(q, np.array([1.0, -INF, 0.0]), upper).status == "infeasible"
    assert qp.solve(q, np.array([-1.0, -INF, 0.0]), upper).status == "solved"


@every_solver
def test_after_a_reset_the_same_bytes(solver):
    """Warm starts leave nothing behind: the same sequence twice, and a fresh object, to the last bit."""
    rng = np.random.default_rng(5)
    P, q, A, _, _ = plain(rng, 12, 25)
    steps = []
    for k in range(15):
        q = q + rng.normal(size=12)
        changed = A * (1 + 0.1 * rng.normal(size=A.shape)) if k % 4 == 1 else None
        z = A @ (P @ q) * 0.01
        steps.append((q, z - rng.exponential(size=25) - 1.0, z + rng.exponential(size=25) + 1.0, changed))

    def run(qp: QP) -> list[bytes]:
        return [b"".join((s.x.tobytes(), s.y.tobytes())) for s in (qp.solve(*step) for step in steps)]

    qp = QP(P, A, solver=solver)
    first = run(qp)
    qp.reset()
    assert run(qp) == first == run(QP(P, A, solver=solver))


@every_solver
def test_the_last_matrix_is_a_copy(solver):
    """None keeps the last A; the caller may overwrite his."""
    qp, q, ones = QP(np.eye(2), np.eye(2), solver=solver), -np.ones(2), np.ones(2)
    A = np.diag([4.0, 1.0])
    assert np.abs(qp.solve(q, -ones, ones, A).x - [0.25, 1.0]).max() < 1e-4
    A[0, 0] = 100.0
    q[:], kept = [-1.0, -2.0], qp.solve(q, -ones, ones)
    assert np.abs(kept.x - [0.25, 1.0]).max() < 1e-4
    qp.solve(-q, -ones, ones)
    assert np.abs(kept.x - [0.25, 1.0]).max() < 1e-4  # a solution is nobody's buffer
    assert kept.problem[2].tolist() == [[4.0, 0.0], [0.0, 1.0]]


@every_solver
def test_no_rows_at_all(solver):
    """Without constraints the answer is -P^-1 q."""
    P, q = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, -2.0])
    solution = QP(P, np.zeros((0, 2)), solver=solver).solve(q, np.zeros(0), np.zeros(0))
    assert solution.status == "solved" and np.abs(solution.x + np.linalg.solve(P, q)).max() < 1e-4


# ---------------------------------------------------------------------------------------------- names
def test_a_solver_nobody_knows():
    """The known ones are listed, the nearest is proposed."""
    with pytest.raises(UnknownNameError, match=r"did you mean 'daqp'\?.*osqp, daqp, piqp, active_set"):
        QP(np.eye(1), np.eye(1), solver="dapq")


@pytest.mark.parametrize(("name", "module"), [("daqp", "by_daqp"), ("piqp", "by_piqp")])
def test_a_solver_that_is_not_installed(name, module, monkeypatch):
    """The text holds the command that installs it; the other solvers still work."""
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"koopctl.qp.{module}", raising=False)
    with pytest.raises(KoopctlError, match=r"pip install 'koopctl\[fast\]'") as error:
        QP(np.eye(1), np.eye(1), solver=name)
    assert not isinstance(error.value, UnknownNameError)
    assert QP(np.eye(1), np.eye(1)).solve(np.ones(1), -np.ones(1), np.ones(1)).status == "solved"

"""What a call of the lifted MPC costs: against the bare solver, over the size of the lift, and against CVXPY."""

# mypy: disable-error-code="no-untyped-call,index"
# cvxpy's solve() is untyped, and a variable has a value once it is solved for.

from __future__ import annotations

import time
from typing import Any

import cvxpy as cp
import numpy as np

from koopctl.arrays import Array
from koopctl.bench.natural_cvxpy import NaturalProblem
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.data.rollouts import Rollouts
from koopctl.features.sampled import SampledFeatures
from koopctl.models.edmdc import EDMDc
from koopctl.task import Task

_STEPS = 60
_SIZES = (50, 200, 1000)
_HORIZON = 20
_PRECISE = {"eps_abs": 1e-6, "eps_rel": 1e-6, "max_iter": 20_000}


def plant_step(x: Array, u: Array) -> Array:
    """Return the next state (4,) of two coupled, damped pendulums of length 1 m, torques u (2,) in N m, 0.05 s."""
    h = 0.01
    for _ in range(5):
        pull = 4.0 * (x[0] - x[1])
        rate = np.array([x[2], x[3], -9.81 * np.sin(x[0]) - pull - x[2], -9.81 * np.sin(x[1]) + pull - x[3]])
        rate[2:] += 3.0 * u
        x = x + h * rate
    return x


def recorded(episodes: int) -> Rollouts:
    """Return its motion from random states under random inputs."""
    rng = np.random.default_rng(0)
    X, U = [], []
    for _ in range(episodes):
        states, inputs = [rng.uniform(-1.0, 1.0, 4)], np.repeat(rng.uniform(-1.0, 1.0, (15, 2)), 2, axis=0)
        for u in inputs:
            states.append(plant_step(states[-1], u))
        X.append(np.array(states))
        U.append(inputs)
    return Rollouts(X, U, 0.05)


def task() -> Task:
    """Return the task: hold 0.2 and -0.1 rad within input, rate and soft output bounds."""
    return Task(
        target=[0.2, -0.1, 0.0, 0.0],
        Q=[10.0, 10.0, 0.1, 0.1],
        R=0.05,
        u_min=-1.0,
        u_max=1.0,
        du_max=0.3,
        y_min=[-0.5, -0.5, -2.0, -2.0],
        y_max=[0.4, 0.4, 2.0, 2.0],
        horizon=_HORIZON,
    )


def law_with(states: int, data: Rollouts, solver: str = "osqp") -> LiftedMPC:
    """Return the law on a lift with so many lifted states."""
    model = EDMDc(SampledFeatures(states - 4, random_state=0), ridge=1e-6).fit(data)
    return LiftedMPC(model, task(), solver=solver)


def run(quick: bool, solvers: tuple[str, ...]) -> dict[str, Any]:
    """Return medians: calls and bare solver by solver and size of the lift, and ratios to CVXPY's ways."""
    data = recorded(60 if quick else 200)
    found: dict[str, Any] = {"solvers": [], "cvxpy": []}
    for solver in solvers:
        laws = {states: law_with(states, data, solver) for states in _SIZES}
        found["solvers"].append({"solver": solver} | _times(laws, 2 if quick else 8))
    found["cvxpy"] = _against_cvxpy(law_with(200, data), 3 if quick else 10)
    return found


def _times(laws: dict[int, LiftedMPC], runs: int) -> dict[str, Any]:
    """Time the laws turn by turn on the same states, so that a slow moment of the machine meets all of them."""
    rng = np.random.default_rng(1)
    total, bare = {n: list[float]() for n in laws}, {n: list[float]() for n in laws}
    for _ in range(runs):
        now = dict.fromkeys(laws, rng.uniform(-0.9, 0.9, 4))
        for law in laws.values():
            law.reset()
        for _ in range(_STEPS):
            for n, law in laws.items():
                start = time.perf_counter()
                u, info = law(now[n])
                total[n].append(time.perf_counter() - start)
                bare[n].append(info["qp_time"])
                now[n] = plant_step(now[n], u)
    rows = {}
    for n in laws:
        all_of, solver = np.array(total[n]), np.array(bare[n])
        busy = solver > 0
        rows[n] = {
            "call_ms": 1e3 * float(np.median(all_of[busy])),
            "p99_ms": 1e3 * float(np.quantile(all_of[busy], 0.99)),
            "ratio": float(np.median(all_of[busy] / solver[busy])),
            "overhead_ms": 1e3 * float(np.median(all_of[busy] - solver[busy])),
            "share": float(busy.mean()),
        }
    return {"sizes": rows}


def _against_cvxpy(law: LiftedMPC, calls: int) -> dict[str, float]:
    """Return the medians of CVXPY's times over ours on the same states, and the largest difference of first inputs."""
    natural = NaturalProblem(law)
    shapes = [len(part) for part in natural.given(law.steady.x)]
    parameters = [cp.Parameter(n) for n in (*shapes, law.prediction.nu)]
    problem, inputs = natural.state(*parameters)
    rng, u_last, nu = np.random.default_rng(2), law.wanted.u_safe, law.prediction.nu
    rows = []
    for _ in range(calls + 1):
        x = rng.uniform(-0.9, 0.9, 4)
        law.reset()
        begin = time.perf_counter()
        u, _ = law(x)
        ours = time.perf_counter() - begin
        begin = time.perf_counter()
        rebuilt, anew = natural.state(*natural.given(x), u_last)
        rebuilt.solve(solver=cp.OSQP, **_PRECISE)
        naive = time.perf_counter() - begin
        begin = time.perf_counter()
        for parameter, value in zip(parameters, (*natural.given(x), u_last), strict=True):
            parameter.value = value
        problem.solve(solver=cp.OSQP, **_PRECISE)
        dpp = time.perf_counter() - begin
        off = max(float(np.abs(u - each.value[:nu]).max()) for each in (anew, inputs))
        rows.append((ours, naive / ours, dpp / ours, off))
    table = np.array(rows[1:])  # the first one compiles
    middle = np.median(table, axis=0)
    return {
        "ours_ms": 1e3 * float(middle[0]),
        "naive_ratio": float(middle[1]),
        "dpp_ratio": float(middle[2]),
        "first_input_off": float(table[:, 3].max()),
    }

"""What a call of the lifted MPC costs: against the bare solver, over the size of the lift, and against CVXPY."""

# mypy: disable-error-code="no-untyped-call,index"
# cvxpy's solve() is untyped, and a variable has a value once it is solved for.

from __future__ import annotations

import time
from typing import Any

import cvxpy as cp
import numpy as np

from koopctl.arrays import Array
from koopctl.bench.bare_solvers import Program, solver_times
from koopctl.bench.natural_cvxpy import NaturalProblem
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.data.rollouts import Rollouts
from koopctl.errors import SolverError
from koopctl.features.sampled import SampledFeatures
from koopctl.models.edmdc import EDMDc
from koopctl.task import Task

_STEPS = 60
_SIZES = (50, 200, 1000)
_HORIZON = 20
_RESTART = 20  # calls after which the plant is pushed, so that bounds bind again
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
    """Return medians: calls by solver and size of the lift, bare solvers on the same programs, ratios to CVXPY."""
    data = recorded(60 if quick else 200)
    found: dict[str, Any] = {"solvers": []}
    for solver in solvers:
        laws = {states: law_with(states, data, solver) for states in _SIZES}
        found["solvers"].append({"solver": solver} | _times(laws, 2 if quick else 8))
    found["cvxpy"] = _against_cvxpy(law_with(200, data), 5 if quick else 30)
    return found


def _times(laws: dict[int, LiftedMPC], runs: int) -> dict[str, Any]:
    """Time the laws turn by turn on the same states, so that a slow moment of the machine meets all of them.

    The first call of a run, which has no solution to start from, is reported on its own.
    """
    rng = np.random.default_rng(1)
    calls: dict[int, list[float]] = {n: [] for n in laws}
    first: dict[int, list[float]] = {n: [] for n in laws}
    own: dict[int, list[float]] = {n: [] for n in laws}
    bare: dict[int, dict[str, list[Array]]] = {n: {} for n in laws}
    for _ in range(runs):
        now = dict.fromkeys(laws, rng.uniform(-0.9, 0.9, 4))
        programs: dict[int, list[Program]] = {n: [] for n in laws}
        for law in laws.values():
            law.reset()
        for step in range(_STEPS):
            for n, law in laws.items():
                start = time.perf_counter()
                u, info = law(now[n])
                seconds = time.perf_counter() - start
                now[n] = plant_step(now[n], u)
                if not step:
                    first[n].append(seconds)
                elif info["qp_time"]:
                    calls[n].append(seconds)
                    own[n].append(info["qp_time"])
                    programs[n].append(_program(law))
        for n, those in programs.items():
            for name, times in solver_times(those).items():
                bare[n].setdefault(name, []).append(times)
    return {"sizes": {n: _row(calls[n], first[n], own[n], bare[n]) for n in laws}}


def _program(law: LiftedMPC) -> Program:
    solution = law._constraints.solution
    if solution is None:
        raise SolverError("empty", "the law has solved no program yet.")
    return solution.problem


def _row(calls: list[float], first: list[float], own: list[float], bare: dict[str, list[Array]]) -> dict[str, Any]:
    call = float(np.median(calls))
    return {
        "call_ms": 1e3 * call,
        "p99_ms": 1e3 * float(np.quantile(calls, 0.99)),
        "first_ms": 1e3 * float(np.median(first)),
        "overhead_ms": 1e3 * float(np.median(np.array(calls) - own)),
        "over_bare": {name: call / float(np.median(np.concatenate(times))) for name, times in bare.items()},
    }


def _against_cvxpy(law: LiftedMPC, calls: int) -> dict[str, float]:
    """Return the medians of CVXPY's times over ours on the same states, and the largest difference of first inputs."""
    natural = NaturalProblem(law)
    shapes = [len(part) for part in natural.given(law.steady.x)]
    parameters = [cp.Parameter(n) for n in (*shapes, law.prediction.nu)]
    problem, inputs = natural.state(*parameters)
    rng, nu, u_last = np.random.default_rng(2), law.prediction.nu, law.wanted.u_safe
    law.reset()
    x, rows = rng.uniform(-0.9, 0.9, 4), []
    for _ in range(calls + 1):
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
        u_last, x = u, plant_step(x, u)
        if len(rows) % _RESTART == 0:
            x = x + rng.uniform(-0.3, 0.3, 4)
    table = np.array(rows[1:])  # the first one compiles
    middle = np.median(table, axis=0)
    return {
        "ours_ms": 1e3 * float(middle[0]),
        "naive_ratio": float(middle[1]),
        "dpp_ratio": float(middle[2]),
        "first_input_off": float(table[:, 3].max()),
    }

"""Laws in worker processes: what holds a solver outside Python or symbols of CVXPY travels as its design."""

from __future__ import annotations

import copy
import importlib.util
import pickle
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import koopctl as kc

PLANT = "koopctl.envs:DCMotor-v0"
SEEDS, STEPS, N = (0, 1), 25, 8
SOLVERS = ("osqp", "daqp", "piqp", "active_set")
TASK = kc.envs.task("DCMotor-v0").replace(horizon=N, du_max=0.4)


def squares(x, u, y):
    """Return a cost of squares."""
    return cp.sum_squares(x[1:, 1] - 0.2) + 0.01 * cp.sum_squares(u), []


class Scheduled:
    """A law of the user's own around one of ours: a reference that changes with time."""

    def __init__(self, law: Any) -> None:
        self.law, self.dt, self.k = law, law.dt, 0

    def reset(self) -> None:
        self.law.reset()
        self.k = 0

    def __call__(self, y, reference=None):
        self.k += 1
        return self.law(y, [0.0, 0.3 * np.sin(0.2 * self.k)])


def installed(solver: str) -> bool:
    """Tell whether a solver's package is there."""
    return solver == "active_set" or importlib.util.find_spec(solver) is not None


def with_parameters(model: kc.EDMDc) -> kc.ConvexMPC:
    """Return a law whose problem holds parameters from outside of its function."""
    price, aim = cp.Parameter(N, nonneg=True, value=0.01 * np.arange(1.0, N + 1)), cp.Parameter(value=0.2)
    return kc.ConvexMPC(
        model, TASK, lambda x, u, y: (cp.sum_squares(x[1:, 1] - aim) + price @ cp.abs(u[:, 0]), [cp.sum(u) <= 4.0])
    )


@pytest.fixture(scope="module")
def laws() -> dict[str, Any]:
    """Every kind of law with every solver there is, each used before."""
    data = kc.collect(PLANT, episodes=40, steps=40, seed=0)
    lift = kc.EDMDc(kc.SampledFeatures(20, random_state=0)).fit(data)
    network = kc.SampledRNN(40, random_state=0).fit(data)
    made: dict[str, Any] = {}
    for solver in filter(installed, SOLVERS):
        made[f"lifted, {solver}"] = kc.LiftedMPC(lift, TASK, solver=solver)
        made[f"relinearized, {solver}"] = kc.RelinearizedMPC(network, TASK, candidates=2, solver=solver)
        made[f"convex, {solver}"] = kc.ConvexMPC(lift, TASK, squares, solver=solver)
    filtered = kc.ExtendedKalmanFilter(network, 0.01)
    made["observer, offset_free"] = kc.RelinearizedMPC(network, TASK, candidates=0, observer=filtered, offset_free=True)
    made["convex, parameters"] = with_parameters(lift)
    made["adaptive"] = kc.AdaptiveLaw(kc.RelinearizedMPC(network, TASK, candidates=0))
    made["the user's own"] = Scheduled(kc.LiftedMPC(lift, TASK, offset_free=True))
    for law in made.values():
        for _ in range(3):
            law([0.9, 0.9])
    return made


NAMES = [f"{kind}, {solver}" for solver in SOLVERS for kind in ("lifted", "relinearized", "convex")]
NAMES += ["observer, offset_free", "convex, parameters", "adaptive", "the user's own"]


@pytest.fixture(scope="module")
def tables(laws) -> tuple[kc.comparison.Comparison, kc.comparison.Comparison]:
    """The same comparison in one process and in two."""
    one, two = (kc.compare(PLANT, laws, SEEDS, steps=STEPS, jobs=jobs, progress=False) for jobs in (1, 2))
    return one, two


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_do_what_one_does(laws, tables, name):
    """Every law, with a solver of its own in each process: the same bytes, whatever it did before."""
    if name not in laws:
        pytest.skip(f"no package for {name}")
    one, two = (table.runs[name] for table in tables)
    assert [run.seed for run in two] == list(SEEDS)
    for mine, theirs, seed in zip(one, two, SEEDS, strict=True):
        assert (mine.X == theirs.X).all() and (mine.U == theirs.U).all()
        laws[name].reset()
        assert (kc.simulate(PLANT, laws[name], seed=seed, steps=STEPS).U == mine.U).all()
    assert tables[0][name].rungs == tables[1][name].rungs and tables[0][name].rungs["solved"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lifted, osqp", "relinearized, osqp", "adaptive"])
def test_closed_loop_motion_is_recorded_in_two_processes(laws, name):
    """collect() with a law that holds a solver: the same episodes for any number of jobs."""
    one, two = (kc.collect(PLANT, episodes=4, steps=10, law=laws[name], seed=3, jobs=jobs) for jobs in (1, 2))
    assert all((a == b).all() for a, b in zip(one.X, two.X, strict=True))
    assert all((a == b).all() for a, b in zip(one.U, two.U, strict=True))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "convex, parameters"])  # pickle knows no lambdas
def test_a_law_can_be_pickled_and_copied(laws, name):
    """Its copy has the design and nothing of the past: it does what the law does after a reset."""
    if name not in laws:
        pytest.skip(f"no package for {name}")
    law, path = laws[name], np.random.default_rng(0).uniform(-0.8, 0.8, (6, 2))
    law(path[0])
    copies = pickle.loads(pickle.dumps(law)), copy.deepcopy(law)
    law.reset()
    expected = [law(y)[0] for y in path]
    for other in copies:
        other.reset()  # which ours do not need, but a law of the user's may
        assert all((u == other(y)[0]).all() for u, y in zip(expected, path, strict=True))


def test_symbols_that_cvxpy_numbered_elsewhere_stay_apart(laws, monkeypatch):
    """CVXPY counts from 1 in every process: a parameter from another one may have the number of the law's own."""
    model = laws["convex, osqp"].model
    here = with_parameters(model)
    counter = cp.lin_ops.lin_utils.ID_COUNTER
    price, aim = cp.Parameter(N, nonneg=True, value=0.01 * np.arange(1.0, N + 1)), cp.Parameter(value=0.2)
    monkeypatch.setattr(counter, "count", price.id)  # as where the parameters have come to a new process

    def stated(x, u, y):
        return cp.sum_squares(x[1:, 1] - aim) + price @ cp.abs(u[:, 0]), [cp.sum(u) <= 4.0]

    law = kc.ConvexMPC(model, TASK, stated)
    law([0.5, 0.5])
    symbols = [*law.problem.parameters(), *law.problem.variables()]
    assert len({each.id for each in symbols}) == len(symbols)
    for y in np.random.default_rng(1).uniform(-0.8, 0.8, (5, 2)):
        law.reset(), here.reset()
        assert (law(y)[0] == here(y)[0]).all()

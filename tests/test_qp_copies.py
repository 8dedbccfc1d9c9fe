"""Copies of programs and of the laws that hold them: solvers cannot be copied, so copies make their own."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import koopctl as kc
from koopctl.qp import QP, SOLVERS

every_solver = pytest.mark.parametrize("solver", SOLVERS)
STEPS = [np.array([-3.0, -4.0, 1.0]), np.array([5.0, -1.0, 0.3]), np.array([-0.1, 2.0, 9.0])]


def program(solver: str) -> QP:
    """Return a program that has a past: other numbers, another matrix."""
    pytest.importorskip("osqp" if solver == "active_set" else solver)
    qp = QP(np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.1], [0.0, 0.1, 1.0]]), np.ones((2, 3)), solver=solver)
    A = np.array([[1.0, 2.0, -1.0], [0.5, 1.0, 3.0]])
    for q in STEPS:
        qp.solve(q, -np.ones(2), np.ones(2), A)
        A = A + 0.1
    return qp


def answers(qp: QP) -> list[np.ndarray]:
    """Solve three programs with the last matrix."""
    return [qp.solve(q, -np.ones(2), np.ones(2)).x for q in STEPS]


@every_solver
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_solves_on_its_own(solver, how):
    """With the last matrix, like a fresh program, and without touching the one it was copied from."""
    qp = program(solver)
    other = copy.deepcopy(qp) if how == "deepcopy" else pickle.loads(pickle.dumps(qp))
    fresh = QP(qp._P, qp._pattern, solver=solver)
    fresh._A = qp._A
    found = answers(other)
    assert all(np.array_equal(one, two) for one, two in zip(found, answers(fresh), strict=True))
    assert all(np.abs(one - two).max() < 1e-4 for one, two in zip(found, answers(qp), strict=True))


@every_solver
def test_another_process_gets_the_same_answers(solver):
    """Sent there and back by a pool of freshly started processes."""
    qp = program(solver)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(answers, qp).result(timeout=120)
    assert all(np.array_equal(one, two) for one, two in zip(there, answers(copy.deepcopy(qp)), strict=True))


@every_solver
def test_a_law_is_copied_with_its_past_and_pickled(solver, two_input_model, tmp_path: Path):
    """A deepcopy in the middle of a run goes on as the law does; a pickle does so in another process."""
    pytest.importorskip("osqp" if solver == "active_set" else solver)
    task = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=8, u_min=-0.3, u_max=0.3, du_max=0.2, y_max=0.5)
    law = kc.LiftedMPC(two_input_model, task, solver=solver)
    X = np.random.default_rng(0).uniform(-0.9, 0.9, (8, 3))
    for x in X[:4]:
        law(x)
    twin, file = copy.deepcopy(law), tmp_path / "law.pickle"
    file.write_bytes(pickle.dumps(law))
    script = (
        "import pickle, pathlib, numpy as np, sys\n"
        f"law = pickle.loads(pathlib.Path({str(file)!r}).read_bytes())\n"
        "X = np.random.default_rng(0).uniform(-0.9, 0.9, (8, 3))\n"
        "np.save(sys.argv[1], [law(x)[0] for x in X[4:]])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "u.npy")], check=True, timeout=120)
    inputs = np.array([law(x)[0] for x in X[4:]])
    assert np.abs(inputs - [twin(x)[0] for x in X[4:]]).max() < 1e-4
    assert np.abs(inputs - np.load(tmp_path / "u.npy")).max() < 1e-4
    assert law.rungs["solved"] == twin.rungs["solved"] == 8

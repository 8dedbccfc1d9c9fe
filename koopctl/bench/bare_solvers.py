"""What solvers take for the programs of a run through their own interfaces, warm from program to program."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import osqp
import scipy.sparse as sparse

from koopctl.arrays import Array

Program = tuple[Array, Array, Array, Array, Array]  # P, q, A, l, u


def solver_times(programs: Sequence[Program]) -> dict[str, Array]:
    """Return the seconds of update and solve, by solver, for programs that differ in q, l and u only.

    The first program, which the solvers are set up with, is left out. OSQP stops at 1e-5, as in the law.

    Args:
        programs: Of one run, in their order; at least two.
    """
    found = {"osqp": _osqp(programs)}
    if importlib.util.find_spec("daqp"):
        found["daqp"] = _daqp(programs)
    return found


def _osqp(programs: Sequence[Program]) -> Array:
    P, q, A, low, high = programs[0]
    solver: Any = osqp.OSQP()
    upper = sparse.csc_matrix(np.triu(P))
    solver.setup(upper, q, sparse.csc_matrix(A), low, high, eps_abs=1e-5, eps_rel=1e-5, verbose=False)
    solver.solve()
    seconds = []
    for _, q, _, low, high in programs[1:]:
        start = time.perf_counter()
        solver.update(q=q, l=low, u=high)
        solver.solve()
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def _daqp(programs: Sequence[Program]) -> Array:
    import daqp

    P, q, A, low, high = programs[0]
    solver: Any = daqp.Model()
    solver.setup(np.ascontiguousarray(P), q, np.ascontiguousarray(A), high, low, np.zeros(len(low), dtype=np.intc))
    solver.solve()
    seconds = []
    for _, q, _, low, high in programs[1:]:
        start = time.perf_counter()
        solver.update(f=q, bupper=high, blower=low)
        solver.solve()
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)

"""How long one step of the re-linearised MPC takes: 300 features, 8 states, 1 input, horizon 20."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import timeit
from typing import Any

import numpy as np

from koopctl.bench.chain import DT, MASSES, chain_step
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.data.rollouts import Rollouts
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.task import Task

_LENGTH = 60  # steps of a run


def plain_and_fast(runs: int) -> list[dict[str, Any]]:
    """Return a row each for numpy with OSQP and, where the extra `fast` is installed, for kernels with DAQP.

    Each is measured in a process of its own, as kernels are chosen once a process.

    Args:
        runs: As in `step_latency`.
    """
    rows = [_in_process("numpy, OSQP", runs, "osqp", {"KOOPCTL_KERNELS": "numpy"})]
    if importlib.util.find_spec("numba") and importlib.util.find_spec("daqp"):
        rows.append(_in_process("extra `fast`: kernels, DAQP", runs, "daqp", {}))
    return rows


def _in_process(build: str, runs: int, solver: str, changed: dict[str, str]) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "KOOPCTL_KERNELS"} | changed
    command = [sys.executable, "-m", __name__, str(runs), solver]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return {"build": build} | found


def step_latency(runs: int, solver: str = "osqp") -> dict[str, float]:
    """Return medians over closed-loop steps: the law [ms], the bare solver on the same steps [ms], and their ratio.

    Args:
        runs: Runs of 60 steps from random states, inputs within +-1; about half of the steps meet a bound.
        solver: Of the law's programs.
    """
    rng = np.random.default_rng(0)
    model = SampledRNN(300).fit(recording(rng))
    task = Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, horizon=20)
    law = RelinearizedMPC(model, task, candidates=0, solver=solver)
    total, inside = list[float](), list[float]()
    for _ in range(runs):
        x = 0.5 * rng.normal(size=2 * MASSES)
        law.reset()
        for _ in range(_LENGTH):
            start = time.perf_counter()
            u, info = law(x)
            total.append(time.perf_counter() - start)
            inside.append(info["qp_time"])
            x = chain_step(x, u)
    times, bare = 1e3 * np.array(total), 1e3 * np.array(inside)
    bound = bare > 0
    return {
        "step_ms": float(np.median(times)),
        "step_p99_ms": float(np.quantile(times, 0.99)),
        "step_with_solver_ms": float(np.median(times[bound])),
        "solver_ms": float(np.median(bare[bound])),
        "ratio_to_solver": float(np.median(times[bound] / bare[bound])),
        "share_with_solver": float(bound.mean()),
    }


def smallest_call() -> float:
    """Return the time of numpy's smallest work, the sum of two arrays of 8 numbers [us]: what a tick is made of."""
    a = np.zeros(8)
    return min(timeit.repeat(lambda: a + a, number=20_000, repeat=9)) / 20_000 * 1e6


def recording(rng: np.random.Generator) -> Rollouts:
    """Return 3 600 transitions of the chain from random states under random inputs.

    Args:
        rng: Where they are drawn from.
    """
    X, U = [], []
    for _ in range(60):
        states = [0.5 * rng.normal(size=2 * MASSES)]
        inputs = rng.uniform(-1.0, 1.0, size=(60, 1))
        for u in inputs:
            states.append(chain_step(states[-1], u))
        X.append(np.array(states))
        U.append(inputs)
    return Rollouts(X, U, DT)


if __name__ == "__main__":
    print(json.dumps(step_latency(int(sys.argv[1]), sys.argv[2])))

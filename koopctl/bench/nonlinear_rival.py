"""Nonlinear MPC by CasADi and IPOPT at the same work, in an environment of its own."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.bench import motor_tracking
from koopctl.bench.chain import chain_step
from koopctl.bench.rivals.peers import CASADI
from koopctl.bench.rivals.rival import RivalError, environment, execute
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.envs.tasks import task as known_task
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.task import Task

_CHAIN = Path(__file__).with_name("chain.py")


def against_network(model: SampledRNN, task: Task, starts: Array, steps: int) -> dict[str, Any]:
    """Run closed loops of our law and of IPOPT on the same learnt network: ratio of times and of costs.

    Args:
        model: A network of the chain.
        task: Input bounds, weights, horizon.
        starts: Where the runs start, (n, 8).
        steps: Steps of a run.
    """
    law = RelinearizedMPC(model, task, candidates=0)
    layer, wanted = model.features_, law.wanted
    V = layer.weights_ / model.scale_[:, None]
    problem = _weights(wanted, law.P) | {
        "kind": np.array("network"),
        "V": V,
        "b": layer.biases_ - model.mean_ @ V,
        "C": model.C_,
        "L": model.L_,
        "c": model.c_,
        "plant": np.array(str(_CHAIN)),
        "starts": starts,
        "steps": np.array(steps),
    }
    times, inputs = list[float](), list[Array]()
    for x in starts:
        law.reset()
        for _ in range(steps):
            begin = time.perf_counter()
            u, _ = law(x)
            times.append(time.perf_counter() - begin)
            inputs.append(u)
            x = chain_step(x, u)
    try:
        theirs = _run(problem)
    except RivalError as error:
        return {"failed": str(error)}
    ours, others = (_cost(each, starts, wanted) for each in (np.array(inputs), theirs["inputs"]))
    return {
        "call_ms": 1e3 * float(np.median(times)),
        "ipopt_ms": 1e3 * float(np.median(theirs["times"])),
        "ratio": float(np.median(theirs["times"]) / np.median(times)),
        "cost_ratio": ours / others,
    }


def true_motor(steps: int) -> dict[str, Any]:
    """Return the figures of `motor_tracking.measured` for the true model's nonlinear MPC."""
    task, N = known_task("DCMotor-v0"), motor_tracking.HORIZON
    wanted = task.replace(horizon=N).resolve(("current", "speed"), ("field",))
    problem = _weights(wanted, wanted.Q) | {
        "kind": np.array("motor"),
        "reference": motor_tracking.reference(0, steps + N + 1),
        "steps": np.array(steps),
    }
    try:
        theirs = _run(problem)
    except RivalError as error:
        return {"failed": str(error)}
    found = motor_tracking.measured(theirs["speeds"], theirs["inputs"])
    return found | {"call_ms": 1e3 * float(np.median(theirs["times"]))}


def _weights(wanted: Any, P: Array) -> dict[str, Array]:
    names = ("Q", "R", "u_min", "u_max", "y_min", "y_max", "slack_price")
    return {name: getattr(wanted, name) for name in names} | {"P": P, "horizon": np.array(wanted.horizon)}


def _run(problem: dict[str, Array]) -> dict[str, Array]:
    """Let the script work on a problem.

    Raises:
        RivalError: There is no environment, or the run failed.
    """
    python = environment(CASADI)
    with tempfile.TemporaryDirectory(prefix="koopctl-rival-") as place:
        given, found = Path(place, "problem.npz"), Path(place, "result.npz")
        np.savez(given, **problem)  # type: ignore[arg-type]
        execute("CasADi's run", [str(python), "-I", str(CASADI.script), str(given), str(found)], 1800.0)
        with np.load(found, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def _cost(inputs: Array, starts: Array, wanted: Any) -> float:
    """Return the closed-loop cost of inputs (n * steps, nu) on the plant, run by run."""
    total = 0.0
    for x, run in zip(starts, inputs.reshape(len(starts), -1, inputs.shape[1]), strict=True):
        for u in run:
            total += float(x @ wanted.Q @ x + u @ wanted.R @ u)
            x = chain_step(x, u)
    return total

"""What must be equal: the unconstrained MPC and the LQR; and what must hold whatever a law is fed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.chain import MASSES, chain_step
from koopctl.bench.latency import recording
from koopctl.controllers.law import Law
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.lqr import LQR
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.features.identity import Identity
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.task import Task

_HORIZONS = range(1, 51)
_RUNGS = ("solved", "feasible", "shifted", "lqr", "safe")
_ROUNDING = 1e-9


def unconstrained(quick: bool) -> float:
    """Return the largest difference of the MPC's first input from the LQR's, of either law at every horizon."""
    model = EDMDc(Identity(), ridge=1e-12).fit(recording(np.random.default_rng(0)))
    rng, task, worst = np.random.default_rng(1), Task(target=0.0, Q=1.0, R=0.1), 0.0
    lqr = LQR(model, task)
    for horizon in _HORIZONS if not quick else (1, 10, 50):
        wanted = task.replace(horizon=horizon)
        for law in (LiftedMPC(model, wanted), RelinearizedMPC(model, wanted, candidates=0)):
            for x in 0.3 * rng.normal(size=(3, 2 * MASSES)):
                law.reset()
                worst = max(worst, float(np.abs(law(x)[0] - lqr(x)[0]).max()))
    return worst


def fed_anything(count: int) -> list[dict[str, Any]]:
    """Feed each law random observations, a third of them NaN, inf or far outside the data, while its plant runs.

    Returns:
        A row a law: calls, exceptions, inputs outside their bounds or rates, and how often each rung was used.
    """
    data = recording(np.random.default_rng(0))
    network, lift = SampledRNN(60).fit(data), EDMDc(Identity(), ridge=1e-12).fit(data)
    task = Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=0.8, du_max=0.5, u_safe=0.1, horizon=10, y_max=0.6)
    laws: dict[str, Law] = {
        "RelinearizedMPC": RelinearizedMPC(network, task, candidates=0),
        "RelinearizedMPC, offset_free": RelinearizedMPC(network, task, candidates=0, offset_free=True),
        "LiftedMPC": LiftedMPC(lift, task),
        "LiftedMPC, offset_free": LiftedMPC(lift, task, offset_free=True),
        "LQR": LQR(network, task),
    }
    return [{"law": name} | _fed(law, count) for name, law in laws.items()]


def _fed(law: Law, count: int) -> dict[str, Any]:
    rng, task = np.random.default_rng(2), law.wanted
    law.reset()
    x, u_last, rungs = np.zeros(2 * MASSES), task.u_safe, Counter[str]()
    raised = outside = burst = 0
    for _ in range(count):
        burst = burst - 1 if burst else 15 * (rng.random() < 0.005)  # longer than any plan
        if rng.random() < 0.01:  # with no plan to fall back on
            law.reset()
            u_last = task.u_safe
        try:
            u, info = law(np.full(len(x), np.nan) if burst else _disturbed(x, rng))
        except Exception:  # what the bench counts
            raised += 1
            continue
        rungs[info["status"]] += 1
        inside = (u >= task.u_min - _ROUNDING) & (u <= task.u_max + _ROUNDING)
        outside += not (inside & (np.abs(u - u_last) <= task.du_max + _ROUNDING)).all()
        u_last = u
        x = chain_step(x, u) if rng.random() > 0.02 else 0.5 * rng.normal(size=2 * MASSES)
    return {"calls": count, "raised": raised, "outside": outside, "rungs": {each: rungs[each] for each in _RUNGS}}


def _disturbed(x: Array, rng: np.random.Generator) -> Array:
    """Return the observation, spoilt in a third of the cases."""
    y, kind = x + 0.01 * rng.normal(size=len(x)), rng.integers(12)
    if kind == 0:
        y[rng.integers(len(y))] = np.nan
    elif kind == 1:
        y[rng.integers(len(y))] = rng.choice([np.inf, -np.inf])
    elif kind == 2:
        y = y + 10.0 ** rng.uniform(0, 8) * rng.normal(size=len(y))
    elif kind == 3:
        y = np.full(rng.integers(1, 12), np.nan)
    return y

"""The DC motor of Korda and Mezic tracks a cosine that leaves its bounds: the learnt law against the true model's."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.collecting import collect
from koopctl.controllers.law import Law
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.envs.dc_motor import DCMotor
from koopctl.envs.tasks import task as known_task
from koopctl.features.polynomial import Polynomial
from koopctl.features.sampled import SampledFeatures
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN

STEPS, HORIZON = 300, 100
_STATED = 1e-3  # leaving a soft bound by less is the slack that its price allows


def run(quick: bool) -> list[dict[str, Any]]:
    """Return a row a law: cost, farthest outside the bounds, time of a call, cost over the true model's."""
    data = collect(DCMotor, episodes=50 if quick else 200, steps=60, seed=0)
    task = known_task("DCMotor-v0").replace(horizon=HORIZON)
    models = [
        ("EDMDc, polynomials of degree 2, bilinear", EDMDc(Polynomial(2), inputs="bilinear")),
        ("SampledRNN, 100 units", SampledRNN(100, random_state=0)),
    ]
    laws: list[tuple[str, Law]] = [
        (f"RelinearizedMPC on {label}", RelinearizedMPC(model.fit(data), task, candidates=0, iterations=3))
        for label, model in models
    ]
    lifted = EDMDc(SampledFeatures(50, random_state=0)).fit(data)
    laws.append(("LiftedMPC on EDMDc, 50 tanh, linear inputs", LiftedMPC(lifted, task)))
    return [{"law": label} | track(law, STEPS // 2 if quick else STEPS) for label, law in laws]


def track(law: Law, steps: int) -> dict[str, Any]:
    """Run a law on the plant along the reference, previewed over the horizon."""
    plant = DCMotor()
    plant.reset(seed=0)
    x = np.zeros(2)
    plant.set_state(x)
    law.reset()
    speeds, inputs, times = [], [], []
    for k in range(steps):
        begin = time.perf_counter()
        u, _ = law(x, reference=reference(k, HORIZON + 1))
        times.append(time.perf_counter() - begin)
        x = plant.step(u)[0]
        speeds.append(x[1])
        inputs.append(u)
    return {"call_ms": 1e3 * float(np.median(times))} | measured(np.array(speeds), np.array(inputs))


def reference(first: int, count: int) -> Array:
    """Return 0.5 cos(2 pi t / 3) for the speed from step `first` on, (count, 2)."""
    time_of = 0.01 * np.arange(first, first + count)
    return np.stack([np.zeros(count), 0.5 * np.cos(2 * np.pi * time_of / 3)], axis=1)


def measured(speeds: Array, inputs: Array) -> dict[str, float]:
    """Return the cost of a run, as the task counts it, and how far outside the bounds it was."""
    away = speeds - reference(1, len(speeds))[:, 1]
    beyond = float(np.maximum(np.abs(speeds) - 0.4, 0.0).max())
    return {
        "cost": float(np.sum(away**2) + 0.01 * np.sum(inputs**2)),
        "beyond": beyond,
        "beyond_input": float(np.maximum(np.abs(inputs) - 1.0, 0.0).max()),
        "kept": float(beyond <= _STATED),
    }

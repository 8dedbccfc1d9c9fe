"""Bounds drawn in by the model's calibrated error: how often a disturbed plant leaves them, with and without."""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.lifted_latency import plant_step
from koopctl.controllers.law import Law
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.data.rollouts import Rollouts
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.calibrating import error_bound
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.task import Task

_HORIZON, _STEPS = 10, 60
_NOISE = np.array([0.0, 0.0, 0.1, 0.1])  # of the angular velocities, a step [rad/s]
_BOUND = 0.3  # [rad], of the first angle, which is told to stand beyond it
_GRACE = 1e-3  # [rad], beyond which a sample counts as outside


def run(quick: bool) -> list[dict[str, Any]]:
    """Return a row a law: share of runs and of samples outside the bound over 200 seeds, mean distance to it."""
    rng = np.random.default_rng(0)
    train, calibration = (recorded(rng, episodes) for episodes in (100, 60))
    task = Task(target=[0.4, 0.0, 0.0, 0.0], Q=[10.0, 0.0, 0.1, 0.1], R=0.05, u_min=-2.0, u_max=2.0, horizon=_HORIZON)
    task = task.replace(y_max=[_BOUND, np.inf, np.inf, np.inf])
    network = SampledRNN(150, random_state=0).fit(train)
    lift = EDMDc(SampledFeatures(60, random_state=0), ridge=1e-6).fit(train)
    rows = []
    for name, model, kind in (("RelinearizedMPC", network, RelinearizedMPC), ("LiftedMPC", lift, LiftedMPC)):
        # Each step by itself: the plan is made anew at every sample, so the first steps are what counts.
        bound = error_bound(model, calibration, _HORIZON, 0.9, joint=False, relift=kind is RelinearizedMPC)
        for label, margin in ((name, None), (f"{name}, margin of the error bound", bound.half_widths)):
            law: Law = kind(model, task.replace(margin=margin))
            rows.append({"law": label} | _violations(law, 20 if quick else 200))
    return rows


def recorded(rng: np.random.Generator, episodes: int) -> Rollouts:
    """Return motion of the disturbed plant from random states under random inputs.

    Args:
        rng: Where all of it is drawn from.
        episodes: How many, of 30 steps.
    """
    X, U = [], []
    for _ in range(episodes):
        states, inputs = [rng.uniform(-0.8, 0.8, 4)], np.repeat(rng.uniform(-2.0, 2.0, (15, 2)), 2, axis=0)
        for u in inputs:
            states.append(plant_step(states[-1], u) + _NOISE * rng.normal(size=4))
        X.append(np.array(states))
        U.append(inputs)
    return Rollouts(X, U, 0.05)


def _violations(law: Law, seeds: int) -> dict[str, float]:
    outside, away = [], []
    for seed in range(seeds):
        angles = _run(law, np.random.default_rng(1000 + seed))
        outside.append(angles[10:] > _BOUND + _GRACE)
        away.append(np.mean(_BOUND - angles[10:]))
    return {
        "runs": float(np.mean([each.any() for each in outside])),
        "samples": float(np.mean(outside)),
        "away": float(np.mean(away)),
    }


def _run(law: Law, rng: np.random.Generator) -> Array:
    law.reset()
    x, angles = np.concatenate([rng.uniform(-0.2, 0.2, 2), np.zeros(2)]), []
    for _ in range(_STEPS):
        x = plant_step(x, law(x)[0]) + _NOISE * rng.normal(size=4)
        angles.append(x[0])
    return np.array(angles)

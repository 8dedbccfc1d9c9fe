"""Every model in the same predictive law: what closed loops cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from koopctl.bench.paper_budget import Budget
from koopctl.bench.paper_models import Contender
from koopctl.bench.paper_scoring import fitted, tune
from koopctl.bench.paper_systems import DRIVEN, Scope
from koopctl.bench.settings import PLANTS, PlantSetting
from koopctl.collecting import collect
from koopctl.comparison import compare
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.data.rollouts import Rollouts
from koopctl.envs.tasks import task as known_task
from koopctl.rows import Row

_FIRST_SEED = 100
# The double pendulum falls within six samples, so that is all a network can be shown and asked.
_SCOPES = {
    "Pendulum-v1": Scope(past=10, judged=30, washout=5, descents=(20, 30)),
    "InvertedDoublePendulum-v5": Scope(past=2, judged=3, washout=2, descents=(3, 2)),
    DRIVEN: Scope(past=10, judged=30, washout=10, descents=(30, 45)),
}
_RESERVOIRS = (100, 50)  # a law's programs grow with the state, of which each unit is an element


def plants(quick: bool) -> list[PlantSetting]:
    """Return the plants, for a first look the pendulum alone: networks take long to compile for each."""
    known = [setting for setting in PLANTS if setting.env in _SCOPES]
    return known[:1] if quick else known


def run(setting: PlantSetting, data: Rollouts, models: Sequence[Contender], budget: Budget) -> list[dict[str, Any]]:
    """Return a row a model: its cost in the re-linearised predictive law that all models share."""
    return [row_of(contender, setting, data, budget) for contender in models]


def recorded(setting: PlantSetting) -> Rollouts:
    """Return random motion of the plant, whole episodes up to the most transitions that its setting allows."""
    data = collect(
        setting.env, episodes=setting.episodes, steps=setting.steps, excitation=setting.excitation, progress=False
    )
    total = np.cumsum([len(U) for U in data.U])
    return data[: int(np.searchsorted(total, setting.most_transitions, side="right"))]


def row_of(contender: Contender, setting: PlantSetting, data: Rollouts, budget: Budget) -> dict[str, Any]:
    """Return the row of one model: settings tuned on this plant's data, fits with several seeds, the same starts."""
    scope = _scope(setting)
    runs = setting.runs if budget.runs is None else min(setting.runs, budget.runs)
    steps = setting.length if budget.length is None else min(setting.length, budget.length)
    try:
        tuned = tune(contender, scope, data, budget)
        each = []
        for seed in range(budget.seeds):
            model, times = fitted(contender, scope, data, tuned, budget, seed)
            law = RelinearizedMPC(model, known_task(setting.env).replace(horizon=horizon(setting)))
            starts = range(_FIRST_SEED, _FIRST_SEED + runs)
            found = compare(setting.env, {contender.name: law}, starts, steps=steps, progress=False)[contender.name]
            each.append(times | _numbers(found, steps))
    # A model that fails, in its fit or in the loop, is a row that says why.
    except Exception as error:
        return {"model": contender.name, "failed": f"{type(error).__name__}: {error}"}
    return {"model": contender.name, "trained": contender.trained, "tuned": vars(tuned), **_together(each)}


def horizon(setting: PlantSetting) -> int:
    """Return the horizon of all laws of a plant, the middle one of those its setting knows."""
    return setting.horizons[len(setting.horizons) // 2]


def _scope(setting: PlantSetting) -> Scope:
    known = _SCOPES[setting.env]
    return Scope(**vars(known) | {"reservoirs": _RESERVOIRS, "find_cyclic": True})


def _numbers(row: Row, steps: int) -> dict[str, Any]:
    if not row.measured:
        raise RuntimeError(row.failures[0].error)
    costs = [run.cost for run in row.measured]
    return {
        "cost": float(np.mean(costs)),
        "worst": float(max(costs)),
        "return": float(np.mean([run.total_reward for run in row.measured])),
        "lasted": sum(run.steps >= steps for run in row.measured),
        "runs": len(row.measured) + len(row.failures),
        "p50 ms": row.latency_p50,
        "failures": [failure.error for failure in row.failures],
    }


def _together(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of several fits as one: sums of counts, the worst of the worst, means of the rest."""
    joined = {name: float(np.mean([part[name] for part in each])) for name in each[0] if name != "failures"}
    joined |= {name: sum(part[name] for part in each) for name in ("lasted", "runs")}
    costs = [part["cost"] for part in each]
    failures = [text for part in each for text in part["failures"]]
    return joined | {"worst": max(part["worst"] for part in each), "costs": costs, "failures": failures}

"""The same 20 000 transitions and 200 features for us and for other packages: time of the fit, errors far ahead.

A sampled layer is good or bad by chance (a factor of two in the error), so all of it runs for a few seeds of the
layer, ours and theirs, and medians count.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from koopctl.bench import korda_mezic
from koopctl.bench.options import Options
from koopctl.bench.rivals.peers import MOTION_RIVALS
from koopctl.bench.rivals.problems import TanhLayer, motion_problem, step_errors
from koopctl.bench.rivals.rival import run_rival
from koopctl.data.rollouts import Rollouts
from koopctl.features.polynomial import Polynomial
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.fitting import fit
from koopctl.identify.search import Search
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN

_WIDTH = 200
_REPEATS = 5
_LAYERS = 5  # medians of three still differ by a third from seed to seed
_STEPS = (20, 100)
_RIDGES = [10.0**-k for k in range(6, 17)]


def run(options: Options) -> list[dict[str, Any]]:
    """Return one row for each way of fitting: label, roll-out, and medians over layers of fit time [s] and errors."""
    train, test = korda_mezic.motion(100, 200, seed=0), korda_mezic.motion(50, 100, seed=1)
    runs = [_with_layer(seed, train, test, options) for seed in range(1 if options.quick else _LAYERS)]
    return [_median([row for rows in runs for row in rows if _key(row) == key]) for key in map(_key, runs[0])]


def _with_layer(seed: int, train: Rollouts, test: Rollouts, options: Options) -> list[dict[str, Any]]:
    sampled = {"ridge": _RIDGES, "sampling": ["gradient", "uniform"]}
    lifted = {"ridge": _RIDGES, "lift__sampling": ["gradient", "uniform"]}
    degrees = {"ridge": _RIDGES, "lift__degree": [3, 5, 7]}
    models: list[tuple[str, Model, dict[str, Any]]] = [
        ("SampledRNN(200)", SampledRNN(_WIDTH, random_state=seed), sampled),
        ("EDMDc, 200 tanh", EDMDc(SampledFeatures(_WIDTH, random_state=seed)), lifted),
        ("EDMDc, polynomial, bilinear", EDMDc(Polynomial(5), inputs="bilinear"), degrees),
    ]
    rows, layers = [], {}
    for label, template, grid in models:
        model, seconds = _chosen(train, template, grid)
        layers[label] = model
        for relift in (True, False) if isinstance(model, EDMDc) else (True,):
            row = {"label": label, "rollout": "relifted" if relift else "linear", "fit_s": seconds, "ours": True}
            rows.append(row | {"settings": model.search_.best.params, "errors": _errors(model, test, relift)})
    if options.rivals:
        joint, plain = layers["SampledRNN(200)"], layers["EDMDc, 200 tanh"]
        shared = motion_problem(train, test, width=_WIDTH, seed=seed, layer=_layer(plain), joint_layer=_layer(joint))
        for rival in MOTION_RIVALS:
            rows += _rival_rows(run_rival(rival, shared), test)
    return rows


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["label"], row.get("rollout", "")


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row for a way of fitting, or its failure if it failed once."""
    failed = [row for row in rows if "failed" in row]
    if failed:
        return failed[0]
    errors = {step: float(np.median([row["errors"][step] for row in rows])) for step in _STEPS}
    seconds = float(np.median([row["fit_s"] for row in rows]))
    return rows[0] | {"fit_s": seconds, "errors": errors, "settings": [row["settings"] for row in rows]}


def _chosen(train: Rollouts, template: Model, grid: dict[str, Any]) -> tuple[Model, float]:
    """Choose as the rivals do, on the last fifth of the training episodes, then time the fit alone."""
    model = fit(train, template, search=Search(grid, horizon=100, held_out=0.2, progress=False))
    chosen, seconds = model.search_.best.model(), []
    for _ in range(_REPEATS + 1):
        begin = time.perf_counter()
        fit(train, chosen)
        seconds.append(time.perf_counter() - begin)
    return model, float(np.median(seconds[1:]))


def _errors(model: Model, test: Rollouts, relift: bool) -> dict[int, float]:
    x0, U = np.stack([x[0] for x in test.X]), np.stack(test.U)
    return step_errors(np.concatenate(list(model.predict(x0, U, relift=relift))), test, _STEPS)


def _layer(model: Any) -> TanhLayer:
    lift = model.lift_ if isinstance(model, EDMDc) else model.features_
    return TanhLayer(lift.weights_, lift.biases_, model.mean_, model.scale_)


def _rival_rows(result: dict[str, Any], test: Rollouts) -> list[dict[str, Any]]:
    if "failed" in result:
        return [{"label": result["rival"], "ours": False, "failed": result["failed"]}]
    rows = []
    for entry in result["entries"]:
        row = {"label": f"{result['rival']}: {entry['label']}", "ours": False, "rollout": entry["rollout"]}
        if "failed" in entry:
            rows.append(row | {"failed": entry["failed"]})
        else:
            errors = step_errors(entry["predictions"], test, _STEPS)
            rows.append(row | {"fit_s": entry["fit_s"], "settings": entry["settings"], "errors": errors})
    return rows

"""From settings to figures: trials on held-out motion, the final fits, and what they are measured by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.attractors import valid_times
from koopctl.bench.paper_budget import Budget
from koopctl.bench.paper_metrics import divergence, held_out_score, mse_by_horizon, spectrum_error
from koopctl.bench.paper_models import Contender, draws
from koopctl.bench.paper_systems import Recording, Scope, System, folds_of, spread_of, windows
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.base import Model
from koopctl.models.probe import evenly

Forecast = Callable[[Array, Array, int], Array]
_JUDGED = 60  # windows that judge a trial
OWN_UNITS = "MSE in own units"  # over the last of the horizons


@dataclass(frozen=True)
class Tuned:
    """What the trials of a model found.

    Attributes:
        params: The best settings.
        score: Their held-out error.
        trials: Settings tried.
        failed: Why some of them could not be judged.
        seconds: What all trials took [s].
    """

    params: dict[str, Any]
    score: float
    trials: int
    failed: tuple[str, ...]
    seconds: float


def forecast(model: Model, Y: Array, U: Array, past: int, relift: bool = True) -> Array:
    """Return the observations (n, H + 1, ny) a model predicts after sample `past` of windows.

    Args:
        model: A fitted model.
        Y: Windows (n, past + H + 1, ny), of which it sees its own window of rows up to `past`.
        U: Inputs (n, past + H, nu).
        past: Samples before the start.
        relift: False for the linear recursion.

    Raises:
        DataError: The model wants to see more samples than there are.
    """
    d = model.window_.delays
    if d > past:
        raise DataError(f"{type(model).__name__} sees {d} older samples, the windows hold {past}; lower its delays.")
    starts = [model.encode(y[past - d : past + 1], u[past - d : past]) for y, u in zip(Y, U, strict=True)]
    return model.output(model.predict(np.array(starts), U[:, past:], relift=relift))


def free_runs(model: Model, train: Rollouts, steps: int, count: int) -> Array:
    """Return runs (count, steps, ny) without inputs, which go on from places all over the training data."""
    d = model.window_.delays
    Y, U = evenly(train, d, count)
    starts = model.window_.encode_each(Y, U)
    return model.output(model.predict(starts, np.zeros((len(starts), steps, train.nu))))[:, 1:]


def tune(contender: Contender, scope: Scope, train: Rollouts, budget: Budget) -> Tuned:
    """Try settings on most of the training data and judge them on free runs in the rest.

    Args:
        contender: The model.
        scope: What it may use.
        train: Training data.
        budget: How many settings, and how long descent may take.

    Raises:
        DataError: No setting could be fitted and judged.
    """
    judges = [(part, *windows(rest, scope.past, scope.judged, _JUDGED)) for part, rest in folds_of(train, scope.folds)]
    spread, begin = spread_of(train), time.perf_counter()
    tried, failed = [], []
    for params in draws(contender.space(scope, budget), budget.trials):
        try:
            errors = []
            for part, Y, U in judges:
                model = contender.build(scope, budget, params, 0, budget.trial_steps).fit(part)
                errors.append(held_out_score(forecast(model, Y, U, scope.past), Y[:, scope.past :], spread))
            score = float(np.sqrt(np.mean(np.square(errors))))
        # One setting's fault, whatever it is, must not cost hours of other results; its words are kept.
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
            continue
        tried.append((score, params))
    if not any(np.isfinite(score) for score, _ in tried):
        raise DataError("; ".join(dict.fromkeys(failed)) or f"none of {len(tried)} settings gave finite predictions.")
    score, params = min(tried, key=lambda pair: pair[0])
    return Tuned(params, score, budget.trials, tuple(failed), time.perf_counter() - begin)


def row_of(contender: Contender, system: System, recordings: Sequence[Recording], budget: Budget) -> dict[str, Any]:
    """Return a row of a system's table: settings from the first recording, one fit for each recording."""
    try:
        tuned = tune(contender, system.scope, recordings[0].train, budget)
        each, descents = [], []
        for seed, recording in enumerate(recordings):
            model, times = fitted(contender, system.scope, recording.train, tuned, budget, seed)
            each.append(times | figures(partial(forecast, model), system, recording, model))
            descents.append(descent_of(model))
    # A model that fails is a row that says why.
    except Exception as error:
        return {"model": contender.name, "failed": f"{type(error).__name__}: {error}"}
    row = {"model": contender.name, "trained": contender.trained, "tuned": vars(tuned), "figures": over_seeds(each)}
    return row | ({"descents": descents} if contender.trained else {})


def baseline_row(name: str, predict: Forecast, system: System, recordings: Sequence[Recording]) -> dict[str, Any]:
    """Return the row of a forecast that has nothing to learn."""
    each = [figures(predict, system, recording, None) for recording in recordings]
    return {"model": name, "trained": False, "figures": over_seeds(each)}


def fitted(
    contender: Contender, scope: Scope, train: Rollouts, tuned: Tuned, budget: Budget, seed: int
) -> tuple[Model, dict[str, float]]:
    """Return a model with the chosen settings, and the seconds of its fit.

    "fit s" is the whole call; "best s" the time until the network that is kept had been found, all of it for models
    that are not trained; "descent s" that without what JAX took to compile, as the first look at the error shows.
    """
    begin = time.perf_counter()
    model = contender.build(scope, budget, tuned.params, seed, budget.steps).fit(train)
    times = {"fit s": time.perf_counter() - begin}
    history = getattr(model, "history_", None)
    if history is None:
        return model, times | {"best s": times["fit s"], "descent s": times["fit s"]}
    seconds = np.array(history.seconds)
    between = float(np.median(np.diff(seconds))) if len(seconds) > 1 else float(seconds[0])
    best = float(seconds[history.best])
    return model, times | {"best s": best, "descent s": min(best, best - float(seconds[0]) + between)}


def figures(predict: Forecast, system: System, recording: Recording, model: Model | None) -> dict[str, float]:
    """Return all figures of one forecast on one recording."""
    past, spread = system.scope.past, recording.spread
    truth = recording.Y[:, past:]
    path = predict(recording.Y, recording.U, past)
    times = valid_times(path, truth, spread) * system.units_a_step
    errors = mse_by_horizon(path, truth, spread, system.horizons)
    last = dict([list(system.horizons.items())[-1]])
    own = mse_by_horizon(path, truth, np.ones_like(spread), last)
    if recording.shape is not None and model is not None:
        count, length, _ = recording.shape.shape
        stretches, predicted = recording.shape, free_runs(model, recording.train, length, count)
    else:
        stretches, predicted = truth[:, 1:], path[:, 1:]
    return {
        **{f"MSE {label}": error for label, error in errors.items()},
        "valid": float(np.median(times)),
        **likeness(stretches, predicted),
        OWN_UNITS: next(iter(own.values())),
    }


def likeness(truth: Array, free: Array) -> dict[str, float]:
    """Return how far predicted motion (n, T, ny) is from true motion (n, T, ny) as a whole."""
    points = (part.reshape(-1, part.shape[2]) for part in (truth, free))
    return {"KL": divergence(*points), "spectrum": spectrum_error(truth, free)}


def over_seeds(each: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean, least and largest of each figure over the seeds."""
    found = {name: [figures[name] for figures in each] for name in each[0]}
    return {
        name: {"mean": float(np.mean(values)), "min": float(min(values)), "max": float(max(values))}
        for name, values in found.items()
    }


def descent_of(model: Model) -> dict[str, Any]:
    """Return how far descent went: steps, the limit, the step of the best network, its held-out error."""
    history, limit = getattr(model, "history_", None), getattr(model, "training", None)
    if history is None:
        return {}
    steps = limit["steps"] if isinstance(limit, dict) else None
    return {"steps": history.step[-1], "limit": steps, "best": history.step[history.best], "error": min(history.error)}

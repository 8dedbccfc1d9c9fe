"""What of the sampled network is needed: its sampled weights, its width, its data, and a Koopman step of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from koopctl.bench.paper_budget import Budget
from koopctl.bench.paper_metrics import held_out_score
from koopctl.bench.paper_models import with_random_weights
from koopctl.bench.paper_scoring import figures, forecast, over_seeds
from koopctl.bench.paper_systems import Recording, Scope, System, split_off, spread_of, windows
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.features.sampled import SampledFeatures
from koopctl.models.edmdc import EDMDc
from koopctl.models.learner import Learner
from koopctl.models.sampled_rnn import SampledRNN

ABLATED = ("Van der Pol", "Lorenz-63", "forced Van der Pol")  # systems
_WEIGHTS = ("sampled weights", "sampled, none steep, scattered, most turned", "random weights")
_STEPS = ("one linear step of the lifted state (EDMDc)", "EDMDc, lifted anew at every step", "sampled RNN, no lift")
_WIDTH = 300  # of the sweep over data
_KOOPMAN_WIDTHS = (50, 200)
_RIDGES = tuple(10.0**-k for k in range(4, 29, 4))
_JUDGED = 60  # windows that choose the ridge


def run(system: System, recordings: Sequence[Recording], budget: Budget) -> list[dict[str, Any]]:
    """Return a row a variant: mean, least and largest figures over the recordings; each chooses its own ridge."""
    rows = [_row("width", kind, width, 1.0, system, recordings) for kind in _WEIGHTS for width in budget.swept]
    rows += [_row("data", kind, _WIDTH, share, system, recordings) for kind in _WEIGHTS for share in budget.shares]
    return rows + [
        _row("Koopman step", kind, width, 1.0, system, recordings) for width in _KOOPMAN_WIDTHS for kind in _STEPS
    ]


def last_error(system: System) -> str:
    """Return the name of the error over the longest horizon."""
    return f"MSE {list(system.horizons)[-1]}"


def part_of(rollouts: Rollouts, share: float) -> Rollouts:
    """Return the first episodes, or the beginning of the only one."""
    if len(rollouts) > 1:
        return rollouts[: max(2, round(share * len(rollouts)))]
    steps = round(share * len(rollouts.U[0]))
    X, U = rollouts.X[0][: steps + 1], rollouts.U[0][:steps]
    return Rollouts([X], [U], rollouts.dt, rollouts.x_names, rollouts.u_names, rollouts.sensors)


def _row(
    sweep: str, kind: str, width: int, share: float, system: System, recordings: Sequence[Recording]
) -> dict[str, Any]:
    row = {"sweep": sweep, "model": kind, "width": width, "data": share}
    try:
        return row | {"figures": over_seeds(list(_each(kind, width, share, system, recordings)))}
    # A variant that fails is a row that says why.
    except Exception as error:
        return row | {"failed": f"{type(error).__name__}: {error}"}


def _each(
    kind: str, width: int, share: float, system: System, recordings: Sequence[Recording]
) -> Iterator[dict[str, float]]:
    """Yield the figures of each recording."""
    relift = kind != _STEPS[0]
    for seed, recording in enumerate(recordings):
        train = part_of(recording.train, share)
        model = with_best_ridge(_variant(kind, width, seed), system.scope, train, relift)
        windowed = Recording(recording.train, recording.Y, recording.U)  # no free run: a linear one dies out
        found = figures(partial(forecast, model, relift=relift), system, windowed, model)
        yield {name: value for name, value in found.items() if name == "valid" or name.startswith("MSE ")}


def with_best_ridge(model: Learner, scope: Scope, train: Rollouts, relift: bool) -> Learner:
    """Return the model fitted with the ridge whose free runs on held-out motion are best; one pass serves all ridges.

    Raises:
        DataError: Every ridge diverges.
    """
    early, late = split_off(train)
    past = min(scope.past, max(len(U) for U in late.U) // 4)  # little data leaves little to judge on
    steps = min(scope.judged, max(len(U) for U in late.U) - past)
    Y, U = windows(late, past, steps, _JUDGED)
    spread, scores = spread_of(train), {}
    tried: Learner = clone(model).accumulate(early)
    for ridge in _RIDGES:
        tried.set_params(ridge=ridge).solve(early)
        scores[ridge] = held_out_score(forecast(tried, Y, U, past, relift), Y[:, past:], spread)
    best = min(scores, key=lambda ridge: scores[ridge])
    if not np.isfinite(scores[best]):
        raise DataError("with every ridge its roll-out diverges.")
    chosen: Learner = clone(model).set_params(ridge=best).fit(train)
    return chosen


def _variant(kind: str, width: int, seed: int) -> Learner:
    if kind in _STEPS[:2]:
        return EDMDc(SampledFeatures(width, random_state=seed), cyclic=(), solver="qr")
    shape = {"steepness": 0.5, "scatter": 1.0, "isotropic": 0.8} if kind == _WEIGHTS[1] else {}
    model = with_random_weights() if kind == _WEIGHTS[2] else SampledRNN()
    chosen: Learner = model.set_params(n_features=width, cyclic=(), random_state=seed, solver="qr", **shape)
    return chosen

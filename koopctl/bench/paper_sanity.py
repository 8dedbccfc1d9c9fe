"""Are the gated networks no straw men? Each gets many more steps on the Van der Pol oscillator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from koopctl.bench.paper_budget import Budget
from koopctl.bench.paper_models import Contender
from koopctl.bench.paper_scoring import OWN_UNITS, descent_of, figures, forecast
from koopctl.bench.paper_systems import System
from koopctl.bench.paper_tables import reason

if TYPE_CHECKING:
    from rich.console import Console

BOUND = 1e-3  # of the mean square error over 100 steps, in own units
GATED = ("LSTM", "GRU")
_AHEAD = 100
# What the trials find for both on that system, and a rate that stands a longer descent.
_SETTING = {"n_hidden": 32, "longest": 50.0, "learning_rate": 5e-3, "horizon": 60, "forcing": "generalised"}


def run(system: System, models: Sequence[Contender], budget: Budget, console: Console) -> list[dict[str, Any]]:
    """Train both for `budget.sanity` steps on the first seed's data, print what comes of it and return it."""
    recording, found = system.record(0, budget), []
    unstopped = replace(budget, patience=budget.sanity)
    for contender in (model for model in models if model.name in GATED):
        begin = time.perf_counter()
        model = contender.build(system.scope, unstopped, _SETTING, 0, budget.sanity).fit(recording.train)
        seconds = time.perf_counter() - begin
        error = figures(partial(forecast, model), system, recording, model)[OWN_UNITS]
        word = "below" if error < BOUND else "not below"
        why = "" if error < BOUND else f": {reason([descent_of(model)])}"
        console.print(
            f"  {contender.name}, {budget.sanity} steps of descent: MSE over {_AHEAD} steps {error:.1e}, "
            f"{word} {BOUND:g}, after {seconds:.0f} s{why}"
        )
        found.append({"model": contender.name, "mse": error, "seconds": seconds, "steps": budget.sanity})
    return found

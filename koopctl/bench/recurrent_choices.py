"""The settings each model of `koopctl bench recurrent` may try on a plant, as many for every gradient-trained one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from koopctl.bench.recurrent_budget import RecurrentBudget
from koopctl.bench.recurrent_plant import SmallPlant
from koopctl.bench.recurrent_record import Gaps, Record
from koopctl.identify.fitting import fit
from koopctl.identify.search import Search
from koopctl.models import recurrent
from koopctl.models.base import Model
from koopctl.models.recurrent.gap_model import GapModel
from koopctl.models.recurrent.training import Training
from koopctl.models.sampled_rnn import SampledRNN

OURS = "SampledRNN"
BASELINE = "GRU"
_RIDGES = tuple(10.0**-k for k in range(2, 13))
_FILLED: tuple[Gaps, ...] = ("held", "lines")


@dataclass(frozen=True)
class Choice:
    """One way to fit a model to a plant's motion.

    Attributes:
        gaps: What it is given where values are missing.
        model: The model, not fitted.
        search: How it chooses the rest by itself, None where there is no rest.
    """

    gaps: Gaps
    model: Model
    search: Search | None = None

    def fit(self, record: Record) -> tuple[Model, float]:
        """Return the fitted model, and how long fitting took without any choosing [s].

        For a gradient-trained model that is the time until the network that was kept had been found.

        Raises:
            KoopctlError: The motion cannot carry the model.
        """
        data: Any = record.rollouts(self.gaps)
        if self.search is None:
            fitted: Any = self.model.fit(data)
            return fitted, fitted.train_seconds_
        with warnings.catch_warnings():  # most stretches between gaps are short, which is what a trial finds out
            warnings.filterwarnings("ignore", message=".*too short for the delays")
            chosen = fit(data, self.model, search=self.search)
            start = time.perf_counter()
            fit(data, chosen.search_.best.model())
            return chosen, time.perf_counter() - start


def models_on(plant: SmallPlant) -> tuple[str, ...]:
    """Return the names of the models that run on a plant."""
    return (*plant.cells, BASELINE, OURS)


def most_settings(budget: RecurrentBudget) -> int:
    """Return how many settings the sampled network chooses among for each way it treats missing values."""
    return len(_RIDGES) * budget.most_delays * len(budget.widths)


def choices(name: str, plant: SmallPlant, budget: RecurrentBudget, seed: int) -> list[Choice]:
    """Return what a model may try on a plant.

    Of gradient-trained models those are the learning rates of the budget, or where values are missing and the model
    bears no gaps, both ways of filling them. The sampled network also may leave out what touches a gap.

    Args:
        name: `OURS`, or a name in `koopctl.models.recurrent.CELLS`.
        plant: The plant.
        budget: How much each may spend.
        seed: Of everything random.
    """
    if name == OURS:
        return _sampled(plant, budget, seed)
    options = plant.cells.get(name, {})
    templates = [_recurrent(name, plant, budget, rate, seed, options) for rate in budget.rates]
    if not plant.sensing.gaps:
        return [Choice("cut", template) for template in templates]
    if isinstance(templates[0], GapModel):
        return [Choice("shown", template) for template in templates]
    return [Choice(way, templates[0]) for way in _FILLED]


def _recurrent(
    name: str, plant: SmallPlant, budget: RecurrentBudget, rate: float, seed: int, options: Mapping[str, Any]
) -> Model:
    settings: dict[str, Any] = {
        "washout": plant.past,
        "horizon": plant.descent,
        "batch": budget.batch,
        "steps": budget.steps,
        "learning_rate": rate,
        "check": min(budget.check, budget.steps),
        "patience": budget.patience,
        "seed": seed,
    }
    training = Training(**(settings | dict(options.get("training", {}))))
    given = {"n_hidden": budget.hidden, "longest": plant.longest, "cyclic": ()} | dict(options) | {"training": training}
    model: Model = getattr(recurrent, name)().set_params(**given)
    return model


def _sampled(plant: SmallPlant, budget: RecurrentBudget, seed: int) -> list[Choice]:
    places = np.linspace(len(plant.delays) - 1, 0, min(budget.most_delays, len(plant.delays))).round().astype(int)
    grid = {
        "ridge": _RIDGES,
        "delays": [plant.delays[i] for i in places],
        "n_features": budget.widths,
    }
    search = Search(grid, horizon=plant.horizons[-1], seed=seed, progress=False)
    model = SampledRNN(cyclic=(), random_state=seed)
    ways: tuple[Gaps, ...] = ("cut", *_FILLED) if plant.sensing.gaps else ("cut",)
    return [Choice(way, model, search) for way in ways]

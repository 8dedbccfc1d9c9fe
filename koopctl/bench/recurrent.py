"""`koopctl bench recurrent`: each cell on the plant its authors claim an edge on, against GRU and the sampled RNN."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctl.bench.options import Options
from koopctl.bench.recurrent_budget import RecurrentBudget
from koopctl.bench.recurrent_choices import choices, models_on, most_settings
from koopctl.bench.recurrent_plant import SmallPlant
from koopctl.bench.recurrent_plants import plants
from koopctl.bench.recurrent_runs import Arena

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]
_FIGURES = ("score", "cost", "worst_cost", "train_s", "search_s", "call_ms", "planned")


def run(options: Options, console: Console) -> dict[str, Any]:
    """Run the whole bench and return every figure it printed.

    Args:
        options: With `quick`, one seed, short training and a run each.
        console: Where the tables go.
    """
    budget = RecurrentBudget.of(options.quick)
    console.print(
        f"errors and costs: median over {budget.seeds} seeds, * the best. Every gradient-trained model tries "
        f"{len(budget.rates)} settings of at most {budget.steps} steps, the sampled network up to "
        f"{most_settings(budget)} of least squares; where values are missing, models that bear no gaps try both ways "
        "of filling them, the sampled network its settings for each way and for leaving them out. train s: until the "
        "chosen network was found, for the sampled one a fit of the chosen setting; all s: with every trial"
    )
    parts = {plant.name: partial(on_plant, plant, budget, console) for plant in plants()}
    return options.run(parts)


def on_plant(
    plant: SmallPlant, budget: RecurrentBudget, console: Console, models: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Run models on one plant, print their table, and return it.

    Args:
        plant: The plant.
        budget: How much each may spend.
        console: Where the table goes.
        models: Their names; by default the plant's cells, the GRU and the sampled network.

    Returns:
        "rows", one a model; "idle_cost", that of no input at all; "best_forecast" and "best_control", names.
    """
    arenas = [Arena.of(plant, budget, seed) for seed in range(budget.seeds)]
    rows = [
        {"model": name} | _middle([arena.measured(choices(name, plant, budget, arena.seed)) for arena in arenas])
        for name in models or models_on(plant)
    ]
    found = {
        "about": plant.about,
        "rows": rows,
        "idle_cost": float(np.median([arena.cost(None)["cost"] for arena in arenas])),
        "best_forecast": _best(rows, "score"),
        "best_control": _best(rows, "cost"),
    }
    _print(plant, found, console)
    return found


def _middle(several: list[Row]) -> Row:
    """Return the median figures of one model over the seeds; a model that failed once has failed."""
    for row in several:
        if "failed" in row:
            return {"failed": row["failed"], "settings": [each.get("setting") for each in several]}
    merged: Row = {
        name: float(np.median([row[name] for row in several]))
        for name in _FIGURES
        if all(name in row for row in several)
    }
    merged["errors"] = {
        steps: float(np.median([row["errors"][steps] for row in several])) for steps in several[0]["errors"]
    }
    merged["settings"] = [row["setting"] for row in several]
    reasons = [row["uncontrolled"] for row in several if "uncontrolled" in row]
    return merged | ({"uncontrolled": reasons[0]} if reasons else {})


def _best(rows: list[Row], figure: str) -> str | None:
    """Return the model with the least of a figure, None where no model has it."""
    have = [row for row in rows if np.isfinite(row.get(figure, np.inf))]
    return min(have, key=lambda row: float(row[figure]))["model"] if have else None


def _print(plant: SmallPlant, found: dict[str, Any], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    title = f"{plant.name}: {plant.about}"
    caption = (
        f"forecasts: {found['best_forecast'] or 'nobody'} wins; closed loop: {found['best_control'] or 'nobody'} wins; "
        f"cost without input {found['idle_cost']:.3g}"
    )
    steps = [str(count) for count in plant.horizons]
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for head in ("model", *(f"error after {count}" for count in steps), "all steps", "cost", "train s", "all s", "ms"):
        table.add_column(head, justify="left" if head == "model" else "right")
    table.add_column("chosen")
    rows = found["rows"]
    errors = {count: _least([row.get("errors", {}).get(count, np.inf) for row in rows]) for count in steps}
    least = {name: _least([row.get(name, np.inf) for row in rows]) for name in ("score", "cost", "train_s")}
    for row in rows:
        if "failed" in row:
            table.add_row(row["model"], *[""] * (len(steps) + 5), escape(f"failed: {row['failed']}"))
            continue
        cells = [_marked(row["errors"][count], errors[count]) for count in steps]
        cells += [_marked(row["score"], least["score"])]
        cells += [_marked(row["cost"], least["cost"]) if "cost" in row else "no law"]
        cells += [
            _marked(row["train_s"], least["train_s"]),
            f"{row['search_s']:.3g}",
            f"{row.get('call_ms', np.nan):.3g}",
        ]
        said = "; ".join(dict.fromkeys(row["settings"]))
        said += f"; {row['uncontrolled']}" if "uncontrolled" in row else ""
        table.add_row(row["model"], *cells, escape(said))
    console.print(table)


def _least(values: list[float]) -> float:
    return min(values, default=np.inf)


def _marked(value: float, best: float) -> str:
    return f"{value:.3g}{'*' if value == best else ' '}"

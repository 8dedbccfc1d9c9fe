"""The tables of `koopctl bench paper`: mean over seeds, range below it, the best of each column marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctl.bench.paper_models import OURS
from koopctl.bench.paper_scoring import OWN_UNITS

if TYPE_CHECKING:
    from rich.console import Console

_MORE_IS_BETTER = ("valid", "return", "lasted")
_TIMES = ("fit s", "best s", "descent s")
_FAILED = "failed"  # why is printed below the table
Rows = Sequence[Mapping[str, Any]]


def forecasts(rows: Rows, console: Console, title: str, unit: str) -> None:
    """Print the table of one system, the chosen settings, and how long training took beside ours."""
    from rich.table import Table

    columns = [name for name in columns_of(rows) if name not in (OWN_UNITS, "descent s")]
    marks = winners(rows, columns)
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for name in columns:
        table.add_column(f"valid, {unit}" if name == "valid" else name, justify="right")
    for row in rows:
        if "failed" in row:
            table.add_row(row["model"], _FAILED)
            continue
        cells = [_cell(row["figures"].get(name), row["model"] in marks.get(name, ())) for name in columns]
        table.add_row(row["model"], *cells)
    console.print(table)
    _settings(rows, console)
    _training(rows, console)


def verdict(rows: Rows, console: Console) -> list[str]:
    """Say in which columns of error another model is better than ours, and return their names."""
    if not any(row["model"] == OURS for row in rows):
        return []
    columns = [name for name in columns_of(rows) if name not in (*_TIMES, OWN_UNITS)]
    marks = winners(rows, columns)
    lost = [name for name in columns if OURS not in marks.get(name, ())]
    where = ", ".join(f"{name} ({' and '.join(marks[name])})" for name in lost if name in marks)
    console.print(
        f"  the sampled RNN is the best in {len(columns) - len(lost)} of {len(columns)} columns of error"
        + (f"; others win {where}" if where else "")
    )
    return lost


def winners(rows: Rows, columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the models with the best mean of each column; several where they are equal, none without a number."""
    best = {}
    for name in columns:
        means = {row["model"]: row["figures"][name]["mean"] for row in rows if name in row.get("figures", ())}
        finite = {model: mean for model, mean in means.items() if np.isfinite(mean)}
        if finite:
            top = (max if name in _MORE_IS_BETTER else min)(finite.values())
            best[name] = [model for model, mean in finite.items() if mean == top]
    return best


def columns_of(rows: Rows) -> list[str]:
    """Return the names of all figures, in the order they come."""
    return list(dict.fromkeys(name for row in rows for name in row.get("figures", ())))


def speed_ups(rows: Rows) -> dict[str, tuple[float, float]]:
    """Return how many times our fit each gradient-trained model took to its best: as it is, without compiling."""
    ours = next((row["figures"]["fit s"]["mean"] for row in rows if row["model"] == OURS and "figures" in row), None)
    if not ours:
        return {}
    return {
        row["model"]: (row["figures"]["best s"]["mean"] / ours, row["figures"]["descent s"]["mean"] / ours)
        for row in rows
        if row.get("trained")
    }


def sweeps(rows: Rows, console: Console, title: str, error: str, unit: str) -> None:
    """Print the ablations of one system."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("varied", "model", "width", "data", error, f"valid, {unit}"):
        table.add_column(name, justify="left" if name in ("varied", "model") else "right")
    for row in rows:
        head = (row["sweep"], row["model"], str(row["width"]), f"{row['data']:.0%}")
        if "failed" in row:
            table.add_row(*head, _FAILED)
            continue
        table.add_row(*head, *(_cell(row["figures"][name], False) for name in (error, "valid")))
    console.print(table)
    for why in dict.fromkeys(f"  {row['model']} failed: {row['failed']}" for row in rows if "failed" in row):
        console.print(why, markup=False)


def closed_loops(rows: Rows, console: Console, title: str) -> dict[str, float]:
    """Print the costs on one plant; return ours over the best rival's, where there are both."""
    from rich.table import Table

    lasting = [row for row in rows if "failed" not in row]
    most = max((row["lasted"] for row in lasting), default=0)
    fair = {row["model"]: row["cost"] for row in lasting if row["lasted"] == most}
    table = Table(title=title, title_justify="left")
    for name in ("model", "cost", "of fits", "worst", "return", "lasted", "p50 ms", "fit s"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in rows:
        if "failed" in row:
            table.add_row(row["model"], _FAILED)
            continue
        best = "*" if fair.get(row["model"]) == min(fair.values()) else ""
        lasted = f"{row['lasted']} of {row['runs']}"
        among = f"{min(row['costs']):.4g}..{max(row['costs']):.4g}"
        numbers = (
            among,
            f"{row['worst']:.4g}",
            f"{row['return']:.4g}",
            lasted,
            f"{row['p50 ms']:.1f}",
            f"{row['fit s']:.2f}",
        )
        table.add_row(row["model"], f"{row['cost']:.4g}{best}", *numbers)
    console.print(table)
    _settings(rows, console)
    rivals = [cost for model, cost in fair.items() if model != OURS]
    if OURS not in fair or not rivals:
        return {}
    ratio = fair[OURS] / min(rivals)
    console.print(f"  the sampled RNN's cost is {ratio:.3f} x that of the best rival that lasts as long")
    return {"ours over best rival": ratio}


def sanity(rows: Rows, console: Console, bound: float = 1e-3) -> list[dict[str, Any]]:
    """Print whether LSTM and GRU fit the Van der Pol oscillator, and why not where they do not."""
    found = []
    for row in rows:
        if row["model"] not in ("LSTM", "GRU"):
            continue
        entry: dict[str, Any] = {"model": row["model"]}
        if "failed" in row:
            entry["reason"] = row["failed"]
        else:
            entry["mse"] = row["figures"][OWN_UNITS]["mean"]
            entry["reason"] = "" if entry["mse"] < bound else reason(row["descents"])
        words = f"MSE over 100 steps {entry['mse']:.1e}" if "mse" in entry else "failed"
        console.print(f"  sanity, {row['model']}: {words}" + (f": {entry['reason']}" if entry["reason"] else ""))
        found.append(entry)
    return found


def reason(descents: Sequence[Mapping[str, Any]]) -> str:
    """Say why descent did not come further."""
    spent = [each["limit"] is not None and each["steps"] >= each["limit"] for each in descents]
    late = [each["best"] >= 0.9 * each["steps"] for each in descents]
    error = float(np.mean([each["error"] for each in descents]))
    held_out = f"held-out error {error:.2g} deviations"
    if all(spent) and all(late):
        return f"its {descents[0]['limit']} steps of descent ended while the held-out error still fell ({held_out})"
    if not any(spent):
        return f"descent stopped by itself, the held-out error no longer fell ({held_out})"
    return f"some seeds used up their {descents[0]['limit']} steps, others stopped by themselves ({held_out})"


def _cell(figure: Mapping[str, float] | None, is_best: bool) -> str:
    if figure is None:
        return "-"
    mean, low, high = (f"{figure[name]:.3g}" for name in ("mean", "min", "max"))
    return f"{mean}{'*' if is_best else ''}" + (f"\n{low}..{high}" if low != high else "")


def _settings(rows: Rows, console: Console) -> None:
    for row in rows:
        if "failed" in row:
            console.print(f"  {row['model']} failed: {row['failed']}", markup=False)
        elif "tuned" in row:
            tuned = row["tuned"]
            chosen = ", ".join(f"{name}={_short(value)}" for name, value in tuned["params"].items())
            lost = f", {len(tuned['failed'])} of them failed: {tuned['failed'][0]}" if tuned["failed"] else ""
            spent = f"best of {tuned['trials']} trials in {tuned['seconds']:.1f} s{lost}"
            console.print(f"  {row['model']}: {chosen}; held-out error {tuned['score']:.3g}, {spent}", markup=False)


def _training(rows: Rows, console: Console) -> None:
    ratios = speed_ups(rows)
    if ratios:
        told = ", ".join(f"{model} {whole:.0f} ({bare:.0f})" for model, (whole, bare) in ratios.items())
        console.print(f"  time to the best held-out error, without compiling in brackets, over our whole fit: {told}")


def _short(value: object) -> str:
    return f"{value:.0e}" if isinstance(value, float) and 0 < abs(value) < 1e-3 else str(value)

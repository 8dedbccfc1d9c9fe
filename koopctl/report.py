"""The comparison as one HTML page that needs nothing else: no network, no script, readable in light and dark."""

from __future__ import annotations

import base64
import html
import importlib.metadata
import io
import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koopctl import __version__, plots, tables
from koopctl.errors import DataError
from koopctl.metrics import SETTLED, Yardstick
from koopctl.models.edmdc import EDMDc
from koopctl.models.scores import prediction_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from koopctl.comparison import Comparison
    from koopctl.data.rollouts import Rollouts
    from koopctl.models.base import Model
    from koopctl.trajectory import Trajectory

_PACKAGES = ("numpy", "scipy", "gymnasium", "osqp", "scikit-learn", "matplotlib")
_LONGEST_PREDICTION = 50  # [steps]
_RUN_COLUMNS = {
    "total_reward": "return",
    "cost": "cost",
    "settling": "settled [s]",
    "violations": "outside",
    "worst_violation": "farthest",
    "effort": "effort",
    "variation": "variation",
    "steps": "steps",
}
_STYLE = """
:root { color-scheme: light dark;
  --ink: #1f2328; --faint: #59636e; --paper: #ffffff; --card: #f6f8fa; --line: #d1d9e0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --faint: #9198a1; --paper: #0d1117; --card: #161b22; --line: #3d444d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 78rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; }
.faint, figcaption, footer { color: var(--faint); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td small { color: var(--faint); }
thead th { color: var(--faint); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; white-space: nowrap; }
.remarks { margin: .75rem 0; padding: .5rem 1rem .5rem 2rem; background: var(--card); border-left: 3px solid #d55e00; }
figure { margin: 1.25rem 0 2rem; }
figure img { display: block; width: 100%; height: auto; max-width: 900px; padding: .5rem; background: #ffffff;
  border: 1px solid var(--line); border-radius: 6px; }
figure.small img { max-width: 620px; }
figcaption { max-width: 900px; margin-top: .5rem; }
summary { cursor: pointer; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line); }
"""


def write_report(
    comparison: Comparison,
    folder: str | Path,
    *,
    models: Mapping[str, Model] | None = None,
    held_out: Rollouts | None = None,
) -> Path:
    """Write `report.html` and return its path.

    Args:
        comparison: What `compare` found.
        folder: Where to write; made when missing.
        models: Models to show, by name; those of the laws by default.
        held_out: Episodes no model was fitted to; with them the page shows prediction errors.
    """
    chosen = _distinct(comparison.models) if models is None else dict(models)
    title = f"{len(comparison.rows)} laws on {comparison.env}" if len(comparison.rows) > 1 else comparison.env
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="faint">{html.escape(tables.title(comparison))}</p>',
        "<h2>Result</h2>",
        f'<div class="wide">{tables.html_table(comparison)}</div>',
        f'<p class="faint">{html.escape(tables.legend(comparison))}</p>',
        _remarks(tables.remarks(comparison)),
        "<h2>What was asked</h2>",
        _asked(comparison),
        "<h2>What happened</h2>",
        *(_of_runs(comparison) if comparison.yardstick is not None else ["<p>Every run failed; nothing to draw.</p>"]),
        *(["<h2>What the models knew</h2>", *_of_models(chosen, held_out)] if chosen else []),
        "<h2>Every run</h2>",
        _every_run(comparison),
        _footer(),
    ]
    path = Path(folder) / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(f"{title} - koopctl", "\n".join(body)), encoding="utf-8")
    return path


def _page(title: str, body: str) -> str:
    # The policy forbids the page to load anything: what it shows is inside it.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _remarks(lines: list[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="remarks">{items}</ul>' if lines else ""


# ------------------------------------------------------------------ sections
def _asked(comparison: Comparison) -> str:
    fields = {name: value for name, value in comparison.task.to_dict().items() if value is not None}
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(_words(value))}</td></tr>'
        for name, value in fields.items()
    )
    text = (
        "The task's cost a step is |q - q*|_Q^2 + |u - u*|_R^2 + |du|_dR^2, taken from the recorded observations and "
        "the inputs as applied. Every law met the same seeds of the real environment."
    )
    if comparison.yardstick is not None:
        text += (
            f" Coordinates q: {', '.join(comparison.yardstick.chart.names)}. A run has settled when |q - q*|_Q stays "
            f"below {tables.number(comparison.yardstick.band)}, {100 * SETTLED:g} % of the farthest start."
        )
    return f"<p>{html.escape(text)}</p>\n<table><tbody>{rows}</tbody></table>"


def _of_runs(comparison: Comparison) -> Iterator[str]:
    yardstick, runs = comparison.yardstick, comparison.runs
    if yardstick is None:
        return
    seed = next(run.seed for part in runs.values() for run in part)
    yield _figure(plots.plot_returns(comparison.rows), "Return of each run (dots), mean (diamond), interval (line).")
    yield _figure(
        plots.plot_response(runs, yardstick),
        f"Coordinates and inputs over time; each law's first run (seed {seed}) in full, the others faint.",
    )
    if yardstick.chart.nq > 1:
        names = yardstick.chart.names
        caption = f"Paths of all runs in the plane of {names[0]} and {names[1]}."
        yield _figure(plots.plot_phase(runs, yardstick), caption)
    planner = _planner(comparison, yardstick)
    if planner is not None:
        name, run = planner
        caption = f"Plans of {name} (seed {run.seed}) over what really happened: where both agree, the model was right."
        yield _figure(plots.plot_plan(run, yardstick), caption)
    yield _figure(
        plots.plot_latency(runs),
        "Share of calls that took longer than a given time. A law keeps up where its curve ends left of the line.",
    )


def _planner(comparison: Comparison, yardstick: Yardstick) -> tuple[str, Trajectory] | None:
    """Return the first run whose plans are in the yardstick's coordinates."""
    for name, model in comparison.models.items():
        for run in comparison.runs[name]:
            planned = any(info.get("plan") is not None for info in run.infos)
            if planned and model.window_.chart.names == yardstick.chart.names:
                return name, run
    return None


def _of_models(models: Mapping[str, Model], held_out: Rollouts | None) -> Iterator[str]:
    notes = "".join(f"<li>{html.escape(f'{name}: {note}')}</li>" for name, m in models.items() for note in m.notes_)
    yield f"<ul>{notes}</ul>" if notes else ""
    if held_out is not None:
        horizon = min(_LONGEST_PREDICTION, *(max(map(len, held_out.U)) - model.delays for model in models.values()))
        if horizon < 1:
            raise DataError("the held-out episodes are shorter than the models' delays; hold longer ones out.")
        errors = {name: prediction_errors(model, held_out, horizon) for name, model in models.items()}
        caption = (
            "Root-mean-square error of open-loop predictions on held-out episodes, as a share of each coordinate's "
            "spread: re-lifted at every step, and by the linear recursion that was fixed at the start."
        )
        yield _figure(plots.plot_errors(errors), caption)
    for name, model in models.items():
        of_what = "the lifted A" if isinstance(model, EDMDc) else "the Jacobian at zero state and input"
        caption = f"{name}: eigenvalues of {of_what}."
        yield _figure(plots.plot_eigenvalues(model), caption, small=True)


def _every_run(comparison: Comparison) -> str:
    heads = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in ("law", "seed", *_RUN_COLUMNS.values()))
    lines = []
    for row in comparison.rows:
        for run, measured in zip(comparison.runs[row.name], row.measured, strict=True):
            texts = [row.name, str(run.seed), *(tables.number(getattr(measured, field)) for field in _RUN_COLUMNS)]
            lines.append("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in texts) + "</tr>")
        for failure in row.failures:
            text = html.escape(f"failed at step {failure.step}: {failure.error}")
            start = f"<td>{html.escape(row.name)}</td><td>{failure.seed}</td>"
            lines.append(f'<tr>{start}<td colspan="{len(_RUN_COLUMNS)}">{text}</td></tr>')
    table = f"<table><thead><tr>{heads}</tr></thead>\n<tbody>{chr(10).join(lines)}</tbody></table>"
    return f'<details><summary>{len(lines)} runs in numbers</summary><div class="wide">{table}</div></details>'


def _footer() -> str:
    packages = (f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    versions = ", ".join([f"koopctl {__version__}", *packages])
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"<footer>{html.escape(f'{versions}; {machine}; {datetime.now(UTC):%Y-%m-%d}.')}</footer>"


# ------------------------------------------------------------------ pieces
def _figure(figure: Figure, caption: str, *, small: bool = False) -> str:
    """Return a figure inside the page; as an image of its own, so that the ids in two SVGs never meet."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    data, text = base64.b64encode(stream.getvalue()).decode(), html.escape(caption)
    kind = ' class="small"' if small else ""
    image = f'<img alt="{text}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure{kind}>{image}<figcaption>{text}</figcaption></figure>"


def _distinct(models: Mapping[str, Model]) -> dict[str, Model]:
    """Return each model once, named after its kind and the laws that use it."""
    users: dict[int, list[str]] = {}
    for name, model in models.items():
        users.setdefault(id(model), []).append(name)
    return {f"{type(models[names[0]]).__name__} of {', '.join(names)}": models[names[0]] for names in users.values()}


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_words(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_words, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)

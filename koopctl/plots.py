"""Figures of runs, models and comparisons.

Every function returns a `matplotlib.figure.Figure`; `figure.savefig("response.svg")` writes it, notebooks show it.
A law keeps its colour in all figures of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koopctl.arrays import Array, index_of
from koopctl.errors import DataError
from koopctl.metrics import Yardstick, latencies, settling_time
from koopctl.models.edmdc import EDMDc
from koopctl.panels import (
    COLOURS,
    DOTTED,
    FAINT,
    GRID,
    INK,
    bounds,
    colours,
    cut,
    key,
    label,
    law_keys,
    legend,
    panels,
    plain_ticks,
)

if TYPE_CHECKING:
    from koopctl.models.base import Model
    from koopctl.models.scores import PredictionErrors
    from koopctl.rows import Row
    from koopctl.trajectory import Trajectory

Runs: TypeAlias = "Mapping[str, Sequence[Trajectory]]"


def plot_response(runs: Runs, yardstick: Yardstick, which: int = 0) -> Figure:
    """Draw coordinates and inputs over time for several laws, with target and bounds.

    Args:
        runs: The runs of each law.
        yardstick: Coordinates, target and bounds.
        which: The run drawn in full; the others appear faintly.
    """
    first, task = _first(runs), yardstick.task
    figure, axes = panels(yardstick.chart.nq + len(first.u_names), "time [s]")
    for name, colour in colours(list(runs)).items():
        for number, run in enumerate(runs[name]):
            width, alpha, order = (1.9, 1.0, 3) if number == which else (0.8, 0.22, 2)
            look = {"color": colour, "lw": width, "alpha": alpha, "zorder": order}
            _draw(axes, run.time, yardstick.coordinates(run), run.U, yardstick, look)
    for ax, target, low, high in zip(axes, task.target, task.y_min, task.y_max, strict=False):
        ax.axhline(target, color=FAINT, lw=1.0, ls=DOTTED, zorder=1)
        bounds(ax, low, high)
    for ax, low, high in zip(axes[yardstick.chart.nq :], task.u_min, task.u_max, strict=True):
        bounds(ax, low, high)
    _name(axes, yardstick, first)
    limits = np.concatenate([task.y_min, task.y_max, task.u_min, task.u_max])
    marks = [key("target", color=FAINT, lw=1.0, ls=DOTTED)]
    marks += [key("bounds", color=INK, lw=1.0, ls="--")] if np.isfinite(limits).any() else []
    legend(figure, [*law_keys(list(runs)), *marks])
    return figure


def plot_phase(runs: Runs, yardstick: Yardstick, x: str | None = None, y: str | None = None) -> Figure:
    """Draw the paths of all runs in the plane of two coordinates.

    Args:
        runs: The runs of each law.
        yardstick: Coordinates and target.
        x: Coordinate to the right; the first by default.
        y: Coordinate upwards; the second by default.

    Raises:
        DataError: There is only one coordinate.
        UnknownNameError: There is no such coordinate.
    """
    chart, target = yardstick.chart, yardstick.task.target
    if chart.nq < 2:
        raise DataError(f"the plant has one coordinate, {chart.names[0]}, and no phase plane; use plot_response.")
    i = 0 if x is None else index_of(x, chart.names, "coordinate")
    j = 1 if y is None else index_of(y, chart.names, "coordinate")
    turns = {place: target[q] for place, q in enumerate((i, j)) if q in chart.angles}
    figure, (ax,) = panels(1, label(chart, i), height=5.0)
    for name, colour in colours(list(runs)).items():
        for run in runs[name]:
            path = yardstick.coordinates(run)[:, [i, j]]
            ax.plot(*cut(path, turns).T, color=colour, lw=1.3, alpha=0.75)
            ax.plot(*path[0], "o", ms=5, color=colour, mec="white", mew=0.8, zorder=4)
    ax.plot(target[i], target[j], "*", ms=15, color=INK, mec="white", mew=0.8, zorder=5)
    ax.set_ylabel(label(chart, j))
    start = key("start", color=FAINT, marker="o", ls="", ms=5)
    legend(figure, [*law_keys(list(runs)), start, key("target", color=INK, marker="*", ls="", ms=11)])
    return figure


def plot_plan(run: Trajectory, yardstick: Yardstick, times: Sequence[float] | None = None) -> Figure:
    """Draw plans the law made at a few times over the path that really happened.

    Args:
        run: A run whose infos hold plans.
        yardstick: Coordinates; the plans are those of a model with the same ones.
        times: When the plans were made [s]; five from the start until the run settles by default.

    Raises:
        DataError: No info holds a plan in these coordinates.
    """
    chart, task = yardstick.chart, yardstick.task
    steps = [k for k, info in enumerate(run.infos) if _is_plan(info.get("plan"), chart.nq)]
    if not steps:
        raise DataError("the run holds no plan in these coordinates; only predictive laws say what they plan.")
    settled = settling_time(yardstick.distance(run), yardstick.band, run.dt)
    wanted = np.linspace(0.0, min(settled, 0.8 * run.time[-1]), 5) if times is None else np.asarray(times, dtype=float)
    chosen = sorted({min(steps, key=lambda k: abs(k * run.dt - t)) for t in wanted})
    figure, axes = panels(chart.nq + len(run.u_names), "time [s]")
    _draw(axes, run.time, yardstick.coordinates(run), run.U, yardstick, {"color": INK, "lw": 3.0, "alpha": 0.3})
    end = 0.0
    for number, k in enumerate(chosen):
        P = yardstick.near(np.asarray(run.infos[k]["plan"])[:, : chart.nq])
        inputs = np.asarray(run.infos[k].get("plan_u", np.zeros((0, len(run.u_names)))))
        time = np.asarray((k + np.arange(len(P))) * run.dt, dtype=np.float64)
        end = max(end, float(time[-1]))
        colour = COLOURS[number % (len(COLOURS) - 1)]
        _draw(axes, time, P, inputs, yardstick, {"color": colour, "lw": 1.5, "zorder": 3})
        for ax, value in zip(axes, P[0], strict=False):
            ax.plot(time[0], value, "o", ms=5.5, color=colour, mec="white", mew=0.8, zorder=4)
    for ax, low, high in zip(axes[chart.nq :], task.u_min, task.u_max, strict=True):
        bounds(ax, low, high)
    axes[0].set_xlim(-0.01 * end, min(1.01 * end, 1.01 * run.time[-1]))
    _name(axes, yardstick, run)
    truth = key("what happened", color=INK, lw=3.0, alpha=0.3)
    legend(figure, [truth, key("plan, from the time it was made", color=COLOURS[0], lw=1.5, marker="o", ms=5)])
    return figure


def plot_errors(errors: Mapping[str, PredictionErrors]) -> Figure:
    """Draw prediction errors by horizon, re-lifted (solid) and by the linear recursion (dashed).

    Args:
        errors: What `koopctl.models.scores.prediction_errors` returned, by model.
    """
    figure, (ax,) = panels(1, "prediction time [s]", height=4.2)
    for name, colour in colours(list(errors)).items():
        for values, width, style in ((errors[name].relifted, 2.0, "-"), (errors[name].linear, 1.5, "--")):
            shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
            ax.plot(errors[name].horizons, shown, color=colour, lw=width, ls=style)
    ax.set_yscale("log")
    plain_ticks(ax.yaxis, percent=True)
    low, high = ax.get_ylim()
    ax.set_ylim(low, min(high, 30.0))
    ax.axhline(1.0, color=FAINT, lw=1.0, ls=DOTTED)
    words, at = "as wrong as always saying the mean", ax.get_yaxis_transform()
    ax.text(0.006, 1.06, words, transform=at, va="bottom", fontsize=8.5, color=FAINT, clip_on=True)
    ax.set_ylabel("error, share of the spread")
    styles = [key("re-lifted every step", color=FAINT, lw=2.0), key("linear recursion", color=FAINT, lw=1.5, ls="--")]
    legend(figure, [*law_keys(list(errors)), *styles])
    return figure


def plot_eigenvalues(model: Model, x: Array | None = None, u: Array | None = None) -> Figure:
    """Draw a model's eigenvalues and the unit circle.

    Args:
        model: A fitted model. An `EDMDc` shows its lifted A; others their Jacobian at (x, u).
        x: State of the Jacobian, (nx,); zero by default. Given x or u, an `EDMDc` shows its Jacobian, too.
        u: Input of the Jacobian, (nu,); zero by default.
    """
    if isinstance(model, EDMDc) and x is None and u is None:
        A, what = model.A_, "lifted A"
    else:
        A = model.linearize(np.zeros(model.nx) if x is None else x, np.zeros(model.nu) if u is None else u)[0]
        what = "Jacobian"
    values = np.linalg.eigvals(A)
    figure, (ax,) = panels(1, "real part", height=5.6, width=6.2)
    angle = np.linspace(0, 2 * np.pi, 361)
    ax.fill(np.cos(angle), np.sin(angle), color=GRID, alpha=0.45, lw=0)
    ax.plot(np.cos(angle), np.sin(angle), color=FAINT, lw=1.0)
    outside = np.abs(values) > 1.0 + 1e-9
    for mask, colour, where in ((~outside, COLOURS[0], "on or inside"), (outside, COLOURS[1], "outside")):
        look: dict[str, Any] = {"ms": 5, "color": colour, "alpha": 0.7, "mew": 0}
        ax.plot(values[mask].real, values[mask].imag, "o", label=f"{int(mask.sum())} {where}", **look)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_ylabel("imaginary part")
    radius = np.abs(values).max()
    ax.set_title(f"{type(model).__name__}, {what}: spectral radius {radius:.4f}", fontsize=10.5, color=INK)
    ax.legend(loc="upper left", frameon=False, fontsize=9, handletextpad=0.2, labelcolor=INK)
    return figure


def plot_latency(runs: Runs, dt: float | None = None) -> Figure:
    """Draw which share of the calls took longer than a given time, with the sampling time as the limit.

    Args:
        runs: The runs of each law.
        dt: Sampling time [s]; that of the first run by default.
    """
    limit = 1e3 * (_first(runs).dt if dt is None else dt)
    figure, (ax,) = panels(1, "time of a call [ms]", height=3.8)
    for name, colour in colours(list(runs)).items():
        times = np.sort(1e3 * latencies(runs[name]))
        ax.step(times, 1.0 - np.arange(len(times)) / max(len(times), 1), where="pre", color=colour, lw=2.0)
    ax.axvline(limit, color=INK, lw=1.2, ls="--")
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_ticks(ax.xaxis)
    plain_ticks(ax.yaxis, percent=True)
    ax.set_ylabel("calls that took longer")
    legend(figure, [*law_keys(list(runs)), key(f"sampling time, {limit:g} ms", color=INK, lw=1.2, ls="--")])
    return figure


def plot_returns(rows: Sequence[Row]) -> Figure:
    """Draw every run's return, with mean and interval of each law.

    Args:
        rows: The rows of a comparison.
    """
    figure, (ax,) = panels(1, "return", height=1.0 + 0.45 * len(rows))
    for place, (row, colour) in enumerate(zip(rows, colours([row.name for row in rows]).values(), strict=True)):
        values = [run.total_reward for run in row.measured]
        mean = row.total_reward
        ax.plot(values, np.full(len(values), place), "o", ms=7, color=colour, alpha=0.35, mew=0)
        ax.plot([mean.low, mean.high], [place, place], color=colour, lw=2.4)
        ax.plot(mean.mean, place, "D", ms=7, color=colour, mec="white", mew=1.0)
    ax.set_yticks(range(len(rows)), [row.name.replace("$", r"\$") for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.margins(x=0.03)
    ax.grid(axis="y", visible=False)
    return figure


def _draw(axes: Sequence[Axes], time: Array, Q: Array, U: Array, yardstick: Yardstick, look: dict[str, Any]) -> None:
    """Draw coordinates Q (T + 1, nq) and held inputs U (T, nu), each in its panel."""
    nq, angles = yardstick.chart.nq, yardstick.chart.angles
    for j, ax in enumerate(axes[:nq]):
        turn = {1: float(yardstick.task.target[j])} if j in angles else {}
        path = cut(np.column_stack([time, Q[:, j]]), turn)
        ax.plot(*path.T, **look)
    for j, ax in enumerate(axes[nq:]):
        held = np.append(U[:, j], U[-1:, j])
        ax.step(time[: len(held)], held, where="post", **look)


def _name(axes: Sequence[Axes], yardstick: Yardstick, run: Trajectory) -> None:
    names = [*(label(yardstick.chart, j) for j in range(yardstick.chart.nq)), *run.u_names]
    for ax, name in zip(axes, names, strict=True):
        ax.set_ylabel(name.replace("$", r"\$"))


def _is_plan(plan: object, nq: int) -> bool:
    return isinstance(plan, np.ndarray) and plan.ndim == 2 and plan.shape[1] >= nq


def _first(runs: Runs) -> Trajectory:
    for part in runs.values():
        if part:
            return part[0]
    raise DataError("there are no runs to draw; every law's list is empty.")

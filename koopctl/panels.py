"""Parts of figures: panels, legends, colours, lines that wrap. With `koopctl.plots` the only user of matplotlib.

Nothing here touches matplotlib's global state (pyplot, rcParams). Colours are those of Okabe and Ito, which all kinds
of colour vision tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from koopctl.arrays import Array

if TYPE_CHECKING:
    from koopctl.models.chart import Chart

WIDTH = 9.0  # [in], 900 px at 100 dpi
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, FAINT, GRID = "#24292f", "#6e7781", "#e4e7eb"
DOTTED = (0, (1, 2))


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return the colour of each law, by its place among the names."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def panels(count: int, x_label: str, height: float | None = None, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels one above the other that share the horizontal axis.

    Args:
        count: Number of panels.
        x_label: Label below the last one.
        height: Height of the figure [in]; by the number of panels by default.
        width: Its width [in].
    """
    tall = height if height is not None else 0.9 + 1.55 * count
    figure = Figure(figsize=(width, tall), dpi=100, layout="constrained", facecolor="white")
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(FAINT)
        ax.tick_params(colors=INK, labelsize=9.5, color=FAINT)
        ax.grid(color=GRID, lw=0.8)
        ax.set_axisbelow(True)
        ax.yaxis.label.set(fontsize=10.5, color=INK)
        ax.margins(x=0.01)
    axes[-1].set_xlabel(x_label, fontsize=10.5, color=INK)
    figure.align_ylabels(axes)
    return figure, axes


def key(label: str, **look: Any) -> Line2D:
    """Return a legend entry; a label is shown as it is written, also where it starts with "_" or holds a "$".

    Args:
        label: The text.
        **look: Properties of the line.
    """
    return Line2D([], [], label="\u200b" + label.replace("$", r"\$"), **look)


def law_keys(names: Sequence[str]) -> list[Line2D]:
    """Return the legend entries of laws."""
    return [key(name, color=colour, lw=2.0) for name, colour in colours(names).items()]


def legend(figure: Figure, handles: list[Line2D]) -> None:
    """Put a legend above the panels."""
    columns = min(len(handles), 6)
    look = {"frameon": False, "fontsize": 9.5, "labelcolor": INK}
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, **look)


def label(chart: Chart, j: int) -> str:
    """Return the name of coordinate j with its unit, which is certain for angles and their rates only."""
    angles = [chart.names[i] for i in chart.angles]
    name = chart.names[j]
    if name in angles:
        return f"{name} [rad]"
    return f"{name} [rad/s]" if name in [f"{angle}dot" for angle in angles] else name


def plain_ticks(axis: Axis, *, percent: bool = False) -> None:
    """Write the ticks of a logarithmic axis as numbers, or as percentages, instead of powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %" if percent else f"{v:g}"))


def bounds(ax: Axes, low: float, high: float) -> None:
    """Draw the finite ones of two bounds."""
    for bound in (low, high):
        if np.isfinite(bound):
            ax.axhline(bound, color=INK, lw=1.0, ls="--", zorder=1)


def cut(P: Array, angles: dict[int, float]) -> Array:
    """Return the points of a path (n, m) with a cut wherever an angle jumps by a full turn.

    The path is led to the edge, interrupted (a row of NaN) and taken up at the other edge.

    Args:
        P: The points, one a row.
        angles: Columns that are angles, with the centre of the turn they live on.
    """
    for column, centre in angles.items():
        rows = [P[:1]]
        for a, b in zip(P[:-1], P[1:], strict=True):
            jump = b[column] - a[column]
            if abs(jump) > np.pi:
                rows.append(_across(a, b, column, centre, -np.sign(jump)))
            rows.append(b[None])
        P = np.concatenate(rows)
    return P


def _across(a: Array, b: Array, column: int, centre: float, way: float) -> Array:
    beyond = b.copy()
    beyond[column] += way * 2 * np.pi
    edge = centre + way * np.pi
    share = (edge - a[column]) / (beyond[column] - a[column])
    leave = a + share * (beyond - a)
    enter = leave.copy()
    leave[column], enter[column] = edge, edge - way * 2 * np.pi
    return np.array([leave, np.full_like(leave, np.nan), enter])

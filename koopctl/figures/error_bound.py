"""The picture of an error bound: how wide the band around a prediction grows with the time ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctl.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _BAND, _LINE = "#24292f", "#6e7781", "#0072B2", "#D55E00"
_MOST = 9  # coordinates drawn
_COLUMNS = 3


def draw_error_bound(
    half_widths: Array, median: Array, mean_widths: Array | None, names: Sequence[str], dt: float, title: str
) -> Figure:
    """Draw one panel a coordinate, at most nine: the band, the median error, the mean of widths that adapt.

    Args:
        half_widths: Half widths after 1..H steps, (H, nq).
        median: Median absolute errors, (H, nq).
        mean_widths: Mean half widths of bands that adapt, (H, nq); None where there are none.
        names: Names of the coordinates.
        dt: Sampling time [s].
        title: One line above all.
    """
    from matplotlib.figure import Figure

    count = min(len(names), _MOST)
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.3 * max(columns, 2), 0.9 + 2.4 * rows), dpi=100, layout="constrained", facecolor="white")
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, squeeze=False)).ravel()
    time = np.asarray(dt * np.arange(len(half_widths) + 1), dtype=np.float64)
    for i, ax in enumerate(grid):
        if i >= count:
            ax.set_visible(False)
            continue
        curves = [_from_zero(part[:, i]) for part in (half_widths, median)]
        adapted = None if mean_widths is None else _from_zero(mean_widths[:, i])
        _panel(ax, time, curves[0], curves[1], adapted)
        ax.set_title(names[i], fontsize=10.5, color=_INK)
        if i + columns >= count:
            ax.set_xlabel("time ahead [s]", fontsize=9.5, color=_INK)
            ax.tick_params(labelbottom=True)
    more = f"; {len(names) - count} more coordinates" if len(names) > count else ""
    figure.suptitle(title + more, fontsize=11, color=_INK)
    style: dict[str, Any] = {"frameon": False, "fontsize": 9, "labelcolor": _INK}
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, **style)
    return figure


def _from_zero(values: Array) -> Array:
    return np.concatenate([[0.0], values])


def _panel(ax: Axes, time: Array, width: Array, median: Array, adapted: Array | None) -> None:
    ax.fill_between(time, -width, width, color=_BAND, alpha=0.18, lw=0, label="bound")
    for sign in (-1.0, 1.0):
        ax.plot(time, sign * width, color=_BAND, lw=1.2)
        ax.plot(time, sign * median, color=_FAINT, lw=1.1, ls=":", label="median error" if sign > 0 else None)
        if adapted is not None:
            ax.plot(time, sign * adapted, color=_LINE, lw=1.2, ls="--", label="mean, adapted" if sign > 0 else None)
    ax.axhline(0.0, color=_FAINT, lw=0.7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(_FAINT)
    ax.tick_params(colors=_INK, labelsize=9, color=_FAINT)
    ax.grid(alpha=0.25)
    ax.set_xlim(0.0, time[-1])

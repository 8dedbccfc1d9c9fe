"""The picture of a fit: how errors grow with the horizon, what the data covered, and what to beware of."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _GRID = "#24292f", "#6e7781", "#e4e7eb"
_RELIFTED, _LINEAR, _INPUT = "#0072B2", "#D55E00", "#009E73"
_WIDE = 14  # coordinates and inputs drawn, at most
_SHOWN = 1e-9, 30.0  # errors drawn, as a share of the spread
_SIZE, _SMALL = 9.5, 8.5
_COLUMNS = 160  # letters of a line below the panels
_WARNED = 4  # warnings printed, at most


def draw_fit(report: dict[str, Any]) -> Figure:
    """Draw a `FitReport` given as a dict: errors by horizon on the left, coverage of the data on the right."""
    from matplotlib.figure import Figure  # late: a model can do without a picture

    rows = min(len(report["envelope"]), _WIDE)
    warnings = _warned(report["warnings"])
    tall = 4.0 + 0.19 * max(rows - 11, 0) + 0.17 * len(warnings)
    figure = Figure(figsize=(9.6, tall), dpi=100, facecolor="white")
    top, bottom = 1.0 - 0.95 / tall, (0.62 + 0.17 * len(warnings)) / tall
    room = {"left": 0.098, "right": 0.985, "top": top, "bottom": bottom, "wspace": 0.36}
    errors, cover = figure.subplots(1, 2, width_ratios=[1.45, 1.0], gridspec_kw=room)
    figure.text(0.012, 1.0 - 0.14 / tall, _title(report), va="top", fontsize=11, weight="bold", color=_INK)
    figure.text(0.012, 1.0 - 0.40 / tall, _facts(report), va="top", fontsize=_SMALL, color=_FAINT, linespacing=1.35)
    _errors(errors, report)
    _cover(cover, report, rows)
    foot = "\n".join(warnings)
    figure.text(0.012, 0.07 / tall, foot, va="bottom", fontsize=_SMALL, color=_LINEAR, linespacing=1.35)
    return figure


def _errors(ax: Axes, report: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    time = np.asarray(report["dt"] * np.arange(1, len(report["relifted"]) + 1), dtype=np.float64)
    ax.set_yscale("log")
    ax.axhline(1.0, color=_FAINT, lw=1.0, ls=(0, (1, 2)))
    dot: dict[str, Any] = {"marker": "o", "ms": 4} if len(time) < 8 else {}
    curves = (("linear recursion", report["linear"], _LINEAR, "--"), ("re-lifted", report["relifted"], _RELIFTED, "-"))
    for label, values, colour, style in curves:
        shown = np.clip(np.nan_to_num(np.asarray(values, dtype=float), nan=np.inf), _SHOWN[0], None)
        shown[shown > _SHOWN[1]] = np.nan
        ax.plot(time, shown, color=colour, lw=2.0 if style == "-" else 1.6, ls=style, label=label, **dot)
    low, high = ax.get_ylim()
    ax.set_ylim(10.0 ** np.floor(np.log10(max(low, _SHOWN[0]))), max(2.5, min(1.3 * high, _SHOWN[1])))
    words, at = "as wrong as always saying the mean", ax.get_yaxis_transform()
    paper = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1}
    ax.text(0.01, 1.1, words, transform=at, va="bottom", fontsize=8, color=_FAINT, bbox=paper)
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _percent(value)))
    ax.set_xlim(0.0, 1.02 * time[-1])
    ax.set_xlabel("time ahead [s]", fontsize=_SIZE, color=_INK)
    ax.set_ylabel("error, share of the spread", fontsize=_SIZE, color=_INK)
    count = report["n_starts"]
    title = f"roll-outs from {count} start{'' if count == 1 else 's'} in the training data"
    ax.set_title(title, fontsize=_SIZE, color=_INK, loc="left")
    ax.legend(loc="lower right", frameon=False, fontsize=_SMALL, labelcolor=_INK)
    ax.grid(color=_GRID, lw=0.8)
    ax.set_axisbelow(True)
    _dress(ax)


def _cover(ax: Axes, report: dict[str, Any], rows: int) -> None:
    """Draw each range against its larger end, so that the bar says where zero lies."""
    everything, samples = list(report["envelope"].items()), report["independent"]
    ax.axvline(0.0, color=_FAINT, lw=0.8)
    for row, (name, (low, high)) in enumerate(everything[:rows]):
        size = max(abs(low), abs(high)) or 1.0
        colour = _RELIFTED if name in samples else _INPUT
        ax.barh(row, (high - low) / size, left=low / size, height=0.56, color=colour, alpha=0.3)
        for end, value, side in ((-1.06, low, "right"), (1.06, high, "left")):
            ax.text(end, row, f"{value:.3g}", ha=side, va="center", fontsize=_SMALL, color=_INK)
        if name in samples:
            ax.text(2.42, row, f"{samples[name]:.0f}", ha="right", va="center", fontsize=_SMALL, color=_FAINT)
    ax.text(2.42, -0.75, "independent samples", ha="right", va="bottom", fontsize=8, color=_FAINT)
    ax.set(xlim=(-1.9, 2.45), ylim=(max(rows, 4) - 0.4, -0.75), xticks=[])
    ax.set_yticks(range(rows), [_short(name) for name, _ in everything[:rows]], fontsize=_SMALL)
    if len(everything) > rows:
        ax.text(-1.9, rows - 0.2, f"{len(everything) - rows} more not shown", va="top", fontsize=8, color=_FAINT)
    ax.set_title("range of the data", fontsize=_SIZE, color=_INK, loc="left", pad=8)
    _dress(ax)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(left=False, labelsize=_SMALL)


def _dress(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(_FAINT)
    ax.tick_params(colors=_INK, labelsize=9, color=_FAINT)
    ax.minorticks_off()


def _title(report: dict[str, Any]) -> str:
    return _plain(textwrap.shorten(report["title"], 92, placeholder=" ..."))


def _facts(report: dict[str, Any]) -> str:
    n, episodes = report["n_transitions"], report["n_episodes"]
    data = f"{n} transition{'' if n == 1 else 's'} in {episodes} episode{'' if episodes == 1 else 's'}"
    radius = report["spectral_radius"]
    parts = [
        f"{data}, dt {report['dt']:g} s",
        f"{report['n_regressors']} regressors, {report['effective']:.0f} effective",
        f"{report['path']}, condition {report['condition']:.0e}",
        *([] if radius is None else [f"spectral radius of A {radius:.4g}"]),
    ]
    return "   \u00b7   ".join(parts)


def _warned(warnings: tuple[str, ...]) -> list[str]:
    """Return the warnings in lines that fit below the panels."""
    lines = []
    for text in warnings[:_WARNED]:
        lines += textwrap.wrap(_plain(text), _COLUMNS, initial_indent="\u2022 ", subsequent_indent="   ", max_lines=2)
    more = len(warnings) - _WARNED
    return lines + ([f"\u2022 {more} more in the report"] if more > 0 else [])


def _short(name: str) -> str:
    return _plain(name if len(name) <= 14 else f"{name[:6]}\u2026{name[-7:]}")


def _percent(value: float) -> str:
    return f"{100 * value:g} %" if value > 0.9e-5 else f"$10^{{{np.log10(100 * value):.0f}}}$ %"


def _plain(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")

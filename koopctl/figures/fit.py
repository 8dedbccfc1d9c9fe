"""The picture of a fit: how errors grow with the horizon, and what the data covered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 12  # coordinates drawn, at most


def draw_fit(report: dict[str, Any]) -> Figure:
    """Draw a `FitReport` given as a dict: errors by horizon on the left, coverage of the data on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    errors, cover = figure.subplots(1, 2, width_ratios=[3, 2])
    time = report["dt"] * np.arange(1, len(report["relifted"]) + 1)
    for values, label, colour in ((report["relifted"], "re-lifted", "C0"), (report["linear"], "linear", "C1")):
        shown = np.asarray(values, dtype=float)
        good = np.isfinite(shown) & (shown < 1e6)
        errors.plot(time[good], shown[good], color=colour, label=label, marker="." if len(time) < 8 else None)
    errors.axhline(1.0, color="0.6", linewidth=0.8, linestyle=":")
    errors.text(time[-1], 1.0, "as wrong as the mean ", ha="right", va="bottom", fontsize=8, color="0.4")
    errors.set(yscale="log", xlabel="time ahead [s]", ylabel="rms error / spread", title="Roll-outs on training data")
    errors.legend(loc="lower right", fontsize=9)
    errors.grid(alpha=0.3)
    _cover(cover, report)
    return figure


def _cover(axes: Axes, report: dict[str, Any]) -> None:
    ranges = list(report["envelope"].items())[:_WIDE]
    samples = report["independent"]
    for row, (name, (low, high)) in enumerate(ranges):
        axes.barh(row, 1.0, height=0.5, color="C0" if name in samples else "C2", alpha=0.25)
        about = f"   (about {samples[name]:.0f} independent)" if name in samples else ""
        axes.text(0.5, row, f"{low:.3g} .. {high:.3g}{about}", ha="center", va="center", fontsize=8)
    axes.set(yticks=range(len(ranges)), xticks=[], xlim=(0, 1), title="Range of the data")
    axes.set_yticklabels([name for name, _ in ranges], fontsize=9)
    axes.invert_yaxis()
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)

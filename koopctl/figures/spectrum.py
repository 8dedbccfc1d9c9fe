"""The picture of a spectrum: eigenvalues in the planes of discrete and of continuous time."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from koopctl.arrays import Array

_INK, _FAINT, _GRID, _STABLE = "#24292f", "#6e7781", "#e4e7eb", "#f3f6f9"
_PLAIN, _CROSS = "#0072B2", "#D55E00"  # points without a residual, structure
_COLOURS = "YlGnBu_r"  # dark is true and pale is doubtful, to all kinds of colour vision
_FLOOR = 1e-8  # smaller residuals look alike
_RAYS = (0.1, 0.3, 0.6)  # damping ratios

Complex = NDArray[np.complex128]


def draw_spectrum(values: Complex, residuals: Array, motion: np.ndarray, dt: float) -> Figure:
    """Draw eigenvalues l of one step beside log(l) / dt.

    Args:
        values: Eigenvalues l, (n,).
        residuals: Residual of each, which is its colour, (n,); nan where it was not measured, inf where the data
            says nothing.
        motion: Which eigenvalues were learnt, (n,); the others, structure of the model, are drawn as crosses.
        dt: Sampling time [s].
    """
    figure = Figure(figsize=(9.6, 4.6), dpi=100, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=[1.0, 1.15])
    look = _look(residuals[motion])
    order = np.argsort(-np.nan_to_num(residuals[motion], nan=0.0), kind="stable")  # the true ones on top
    shown, colour = values[motion][order], residuals[motion][order]
    points = _discrete(left, shown, colour, values[~motion], look)
    aliased = _continuous(right, shown, colour, dt, look)
    for ax in (left, right):
        _dress(ax)
    if np.isfinite(residuals[motion]).any():
        bar = figure.colorbar(points, ax=right, pad=0.02, aspect=28)
        bar.set_label("residual, share of the eigenfunction's spread", fontsize=9.5, color=_INK)
        bar.ax.tick_params(colors=_INK, labelsize=9, color=_FAINT)
        bar.outline.set_visible(False)
    figure.legend(handles=_keys(residuals[motion], motion, aliased), loc="outside upper center", ncols=6, **_WORDS)
    return figure


_WORDS: dict[str, Any] = {"frameon": False, "fontsize": 9.5, "labelcolor": _INK}


def _look(residuals: Array) -> dict[str, Any]:
    look: dict[str, Any] = {"s": 36, "lw": 0.6, "edgecolors": _FAINT, "zorder": 3}
    known = residuals[np.isfinite(residuals)]
    if len(known):
        low = 10.0 ** np.floor(np.log10(np.clip(known.min(), _FLOOR, 0.1)))
        look |= {"cmap": _COLOURS, "norm": LogNorm(low, 1.0, clip=True)}
    return look


def _scatter(ax: Axes, x: Array, y: Array, residuals: Array, look: dict[str, Any]) -> Any:
    """Draw points coloured by residual; hollow ones where the data says nothing of them."""
    known = np.isfinite(residuals)
    hollow = {key: value for key, value in look.items() if key not in ("cmap", "norm")}
    if np.isnan(residuals).all():
        return ax.scatter(x, y, color=_PLAIN, **look)
    ax.scatter(x[~known], y[~known], facecolors="none", **hollow)
    return ax.scatter(x[known], y[known], c=np.maximum(residuals[known], _FLOOR), **look)


def _discrete(ax: Axes, values: Complex, residuals: Array, structure: Complex, look: dict[str, Any]) -> Any:
    turn = np.linspace(0.0, 2 * np.pi, 361)
    ax.fill(np.cos(turn), np.sin(turn), color=_STABLE, lw=0)
    ax.plot(np.cos(turn), np.sin(turn), color=_FAINT, lw=1.0)
    ax.plot(structure.real, structure.imag, "x", color=_CROSS, ms=7, mew=1.5, zorder=4)
    points = _scatter(ax, values.real, values.imag, residuals, look)
    reach = 1.08 * max(1.0, float(np.abs(values).max(initial=0.0)))
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set_xlabel("real part of the eigenvalue")
    ax.set_ylabel("imaginary part")
    ax.set_title("one step", fontsize=10.5, color=_INK, pad=16)
    return points


def _continuous(ax: Axes, values: Complex, residuals: Array, dt: float, look: dict[str, Any]) -> bool:
    """Draw the upper half plane and tell whether it reaches the Nyquist frequency.

    What decays within one sample lies to the left of it, unresolved.
    """
    resolved = np.abs(values) > np.exp(-1.0)
    upper = resolved & (values.imag >= 0)
    rate, frequency = np.log(np.abs(values[upper])) / dt, np.angle(values[upper]) / (2 * np.pi * dt)
    low, high = float(rate.min(initial=0.0)), float(rate.max(initial=0.0))
    width = max(high - low, 1e-3 / dt)
    left, right, top = low - 0.06 * width, high + 0.06 * width, 1.12 * max(float(frequency.max(initial=0.0)), 0.02 / dt)
    ax.axvspan(left, 0.0, color=_STABLE, lw=0)
    ax.axvline(0.0, color=_FAINT, lw=1.0)
    ax.set(xlim=(left, right), ylim=(-0.03 * top, top))
    _rays(ax, left, top)
    aliased = top > 0.5 / dt
    if aliased:
        ax.axhline(0.5 / dt, color=_FAINT, lw=1.0, ls="--")
    _scatter(ax, rate, frequency, residuals[upper], look)
    ax.set_xlabel("growth rate [1/s]")
    ax.set_ylabel("frequency [Hz]")
    gone = int((~resolved & (values.imag >= 0)).sum())
    title = "per second" + (f"; {gone} more decay within one sample" if gone else "")
    ax.set_title(title, fontsize=10.5, color=_INK, pad=16)  # above the names of the rays
    return aliased


def _rays(ax: Axes, left: float, top: float) -> None:
    """Draw lines of equal damping ratio, named where they leave the picture."""
    for ratio in _RAYS:
        slope = -np.sqrt(1 - ratio**2) / (2 * np.pi * ratio)  # Hz for each 1/s
        x = max(left, top / slope)
        ax.plot([0.0, x], [0.0, slope * x], color=_FAINT, lw=0.7, ls=(0, (1, 3)), zorder=1)
        top_edge: dict[str, Any] = {"va": "bottom", "ha": "center", "xytext": (0, 1)}
        place = top_edge if x > left else {"va": "bottom", "ha": "left", "xytext": (3, 2)}
        ax.annotate(
            f"{ratio:g}",
            (x, slope * x),
            textcoords="offset points",
            fontsize=8,
            color=_FAINT,
            annotation_clip=False,
            **place,
        )


def _dress(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(_FAINT)
    ax.tick_params(colors=_INK, labelsize=9.5, color=_FAINT)
    ax.grid(color=_GRID, lw=0.8)
    ax.set_axisbelow(True)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(fontsize=10.5, color=_INK)


def _keys(residuals: Array, motion: np.ndarray, aliased: bool) -> list[Line2D]:
    point: dict[str, Any] = {"marker": "o", "ls": "", "ms": 6, "mec": _FAINT, "mew": 0.6}
    plain = np.isnan(residuals).all()
    keys = [Line2D([], [], label="motion", mfc=_PLAIN if plain else "#2498c0", **point)]
    if np.isinf(residuals).any():
        keys.append(Line2D([], [], label="not moved in the data", mfc="none", **point))
    if not motion.all():
        keys.append(Line2D([], [], label="structure of the model", color=_CROSS, marker="x", ls="", ms=7, mew=1.5))
    keys.append(Line2D([], [], label="edge of stability", color=_FAINT, lw=1.0))
    keys.append(Line2D([], [], label="damping ratio", color=_FAINT, lw=0.9, ls=(0, (1, 3))))
    if aliased:
        keys.append(Line2D([], [], label="Nyquist frequency", color=_FAINT, lw=1.0, ls="--"))
    return keys

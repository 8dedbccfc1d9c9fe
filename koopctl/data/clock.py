"""The time stamps of one table: the sampling time they keep and the steps where they do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array, is_finite
from koopctl.data.measured import Mask, Place
from koopctl.errors import DataError

JITTER = 0.05  # share of dt a step may differ from it
_FEW = 0.2  # share of the steps that may be gaps
_RUN = 10  # steps in a row that make another dt of what would else be gaps
_DIGITS = 9  # a mean step is rounded to so many, 0.01 s and not 0.00999999999999801 s
_NOTED = 1e-3  # share of dt above which the jitter is worth a note


def as_dt(dt: object) -> float:
    """Return a sampling time [s].

    Raises:
        DataError: `dt` is no positive number.
    """
    if not is_finite(dt) or dt <= 0:
        raise DataError(f"dt is {dt!r}; give the sampling time in seconds, a positive number.")
    return float(dt)


@dataclass(frozen=True)
class Clock:
    """What the time stamps of N rows say.

    Attributes:
        dt: Sampling time [s].
        breaks: (N - 1,): True where row k + 1 does not follow row k by one dt.
        samples: Samples that the pauses lack.
        note: How far the steps are from equal, empty where they are not worth a word.
    """

    dt: float
    breaks: Mask
    samples: int
    note: str = ""

    @classmethod
    def read(cls, t: Array, within: Mask, dt: float | None, jitter: float, place: Place) -> Clock:
        """Find the sampling time of time stamps and the steps that are not one dt long.

        Args:
            t: Time stamps (N,) [s].
            within: (N - 1,): True where rows k and k + 1 belong to one episode.
            dt: Sampling time [s]; the mean of the steps near their median by default.
            jitter: Share of dt a step may differ from it, below 0.5.
            place: Says where row k is.

        Raises:
            DataError: The time stamps do not increase, or do not keep one dt.
        """
        if not is_finite(jitter) or not 0 <= jitter < 0.5:
            raise DataError(f"jitter is {jitter!r}; give the share of dt a step may be off, from 0 to below 0.5.")
        _check_increasing(t, within, place)
        steps = np.diff(t)
        dt = _usual_step(steps[within], dt, jitter)
        away = np.abs(steps - dt) / dt
        off = within & (away > jitter)
        _check_steady(t, off, within, dt, jitter, place)
        samples = int(np.maximum(np.rint(steps[off] / dt) - 1, 0).sum())
        worst = float(away[within & ~off].max(initial=0.0))
        note = ""
        if worst > _NOTED:
            note = f"the steps between time stamps differ from dt = {dt:g} s by up to {worst:.2g} dt; taken as equal"
        return cls(dt, off, samples, note)


def _check_increasing(t: Array, within: Mask, place: Place) -> None:
    if not np.isfinite(t).all():
        row = int(np.argmin(np.isfinite(t)))
        raise DataError(f"{place(row)} has the time stamp {t[row]}; every row needs one, in seconds.")
    back = within & (np.diff(t) <= 0)
    if back.any():
        row = int(np.argmax(back))
        how = "repeats" if t[row] == t[row + 1] else "lies before"
        raise DataError(
            f"the time stamp {t[row + 1]:.9g} s of {place(row + 1)} {how} the one before it, {t[row]:.9g} s; time must "
            "increase: remove repeated rows, or number the recordings of one table with episode=."
        )


def _usual_step(steps: Array, dt: float | None, jitter: float) -> float:
    # the lower of two middle steps, so that it is one that occurs
    median = float(np.partition(steps, (len(steps) - 1) // 2)[(len(steps) - 1) // 2])
    if dt is None:
        near = np.abs(steps - median) <= 2 * jitter * median  # on both sides of the mean where stamps are rounded
        return float(f"{steps[near].mean():.{_DIGITS}g}")
    if not abs(median - dt) <= jitter * dt:
        raise DataError(
            f"the time stamps step by {median:.6g} s (median) but dt is {dt:g} s; give time in seconds, and leave dt "
            "out to take it from the time stamps."
        )
    return dt


def _check_steady(t: Array, off: Mask, within: Mask, dt: float, jitter: float, place: Place) -> None:
    """Tell gaps, which are few and far between, from a dt that changes."""
    rows = np.flatnonzero(within)
    start, stop = _longest_run(off[rows])
    count = int(off.sum())
    if count <= max(1, _FEW * len(rows)) and stop - start < _RUN:
        return
    share = f"{count} of {len(rows)} steps are not {dt:.6g} s within {100 * jitter:g} %"
    if 2 * (stop - start) < count:
        row = int(rows[np.argmax(off[rows])])
        raise DataError(
            f"the time stamps keep no one dt: {share}, the first from {place(row)} to {place(row + 1)} "
            f"({t[row + 1] - t[row]:.6g} s); resample to one rate, or raise jitter= if they are meant "
            "to be equal."
        )
    first, last = int(rows[start]), int(rows[stop - 1]) + 1
    other = float(np.median((t[1:] - t[:-1])[rows[start:stop]]))
    raise DataError(
        f"dt changes within the recording: between {place(first)} (t = {t[first]:.9g} s) and {place(last)} "
        f"(t = {t[last]:.9g} s) the steps are {other:.6g} s, elsewhere {dt:.6g} s ({share}); resample to one rate, or "
        "split the file there."
    )


def _longest_run(off: Mask) -> tuple[int, int]:
    edges = np.flatnonzero(np.diff(off, prepend=False, append=False)).reshape(-1, 2)
    if not len(edges):
        return 0, 0
    start, stop = edges[np.argmax(edges[:, 1] - edges[:, 0])]
    return int(start), int(stop)

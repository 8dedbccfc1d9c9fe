"""One table of a logger, row k measured at t[k]: cut into the episodes that were recorded without a gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_array, as_names
from koopctl.data.clock import Clock, as_dt
from koopctl.data.csv_file import CsvFile
from koopctl.data.measured import Mask, Measured, Place, as_measured, check_infinite
from koopctl.errors import DataError, ShapeError


@dataclass(frozen=True)
class Table:
    """Rows of one recording.

    Attributes:
        X: Measured states (N, nx); NaN is a missing value.
        U: Inputs (N, nu), row k applied from time t[k] on.
        x_names: Names of the nx columns of X.
        u_names: Names of the nu columns of U.
        t: Time stamps (N,) [s]; None where rows are one dt apart.
        episode: Label of each row's episode, (N,); None for one episode.
        place: Says where row k is.
    """

    X: Array
    U: Array
    x_names: tuple[str, ...]
    u_names: tuple[str, ...]
    t: Array | None
    episode: Sequence[object] | None
    place: Place

    @classmethod
    def of_arrays(
        cls,
        t: ArrayLike | None,
        X: ArrayLike,
        U: ArrayLike,
        episode: ArrayLike | None,
        x_names: Sequence[str] | None,
        u_names: Sequence[str] | None,
    ) -> Table:
        """Check and keep the arrays of `Rollouts.from_table`.

        Raises:
            ShapeError: The lengths disagree.
            DataError: A value is not a number.
        """
        X = as_measured("X", X, ("N", "nx"))
        U = as_measured("U", U, (len(X), "nu"))
        names = as_names("x_names", x_names, X.shape[1], "x"), as_names("u_names", u_names, U.shape[1], "u")
        times = None if t is None else _seconds(t, len(X))
        if episode is not None and np.shape(episode) != (len(X),):
            raise ShapeError(f"episode has shape {np.shape(episode)}, expected ({len(X)},): one label a row.")
        labels = None if episode is None else np.asarray(episode).tolist()
        return cls(X, U, *names, times, labels, lambda row: f"row {row}")

    @classmethod
    def of_csv(
        cls,
        path: str | Path,
        x: str | Sequence[str],
        u: str | Sequence[str],
        time: str | None,
        episode: str | None,
        delimiter: str,
    ) -> Table:
        """Read the columns of `Rollouts.from_csv`.

        Raises:
            FileNotFoundError: There is no such file.
            UnknownNameError: A column does not exist.
            DataError: A cell holds text, or x names no column.
        """
        states, inputs = ((names,) if isinstance(names, str) else tuple(names) for names in (x, u))
        if not states:
            raise DataError("x names no column; give those that hold the measured state.")
        x_names, u_names = as_names("x", states, len(states), "x"), as_names("u", inputs, len(inputs), "u")
        file = CsvFile.read(path, (*x_names, *u_names, *(() if time is None else (time,))), episode, delimiter)
        X, U, stamps = np.split(file.numbers, [len(x_names), len(x_names) + len(u_names)], axis=1)
        times = None if time is None else stamps[:, 0]
        X, U = as_measured("x", X, X.shape), as_measured("u", U, U.shape)
        return cls(X, U, x_names, u_names, times, file.labels, file.place)

    def episodes(self, dt: float | None, jitter: float) -> Measured:
        """Return the runs of rows that follow one another by one dt and hold every value.

        Args:
            dt: Sampling time [s]; from the time stamps by default.
            jitter: Share of dt a step of the time stamps may differ from it.

        Raises:
            DataError: A value is infinite, the time stamps do not keep one dt, or no transition is left.
        """
        check_infinite(self.X, self.x_names, self.place)
        check_infinite(self.U, self.u_names, self.place)
        given = None if dt is None else as_dt(dt)
        within = self._within()
        if not within.any():
            raise DataError(f"no episode of the {len(self.X)} rows has two of them; a transition needs two.")
        clock = self._clock(within, given, jitter)
        bounds = [0, *(np.flatnonzero(~within) + 1).tolist(), len(self.X)]
        spans = list(zip(bounds[:-1], bounds[1:], strict=True))
        return Measured.cut(
            [self.X[a:b] for a, b in spans],
            [self.U[a : b - 1] for a, b in spans],  # what the last input did was not recorded
            clock.dt,
            self.x_names,
            self.u_names,
            breaks=[clock.breaks[a : b - 1] for a, b in spans],
            samples=clock.samples,
            note=clock.note,
        )

    def _clock(self, within: Mask, dt: float | None, jitter: float) -> Clock:
        if self.t is not None:
            return Clock.read(self.t, within, dt, jitter, self.place)
        if dt is None:
            raise DataError("there is neither a time column nor dt; give one of them.")
        return Clock(dt, np.zeros(len(within), dtype=bool), 0)

    def _within(self) -> Mask:
        """Tell which rows are followed by one of their own episode."""
        if self.episode is None:
            return np.ones(max(len(self.X) - 1, 0), dtype=bool)
        labels = self.episode
        seen: set[object] = set()
        for row, label in enumerate(labels):
            if label is None or label == "" or label != label:
                raise DataError(f"{self.place(row)} has no episode label; give every row one.")
            if row and label == labels[row - 1]:
                continue
            if label in seen:
                raise DataError(
                    f"episode {label!r} comes back in {self.place(row)} after another one; sort the rows by episode, "
                    "or give each recording a label of its own."
                )
            seen.add(label)
        return np.array([a == b for a, b in zip(labels[:-1], labels[1:], strict=True)], dtype=bool)


def _seconds(t: ArrayLike, rows: int) -> Array:
    stamps = np.asarray(t)
    if stamps.dtype.kind in "mM":  # numpy would count them in whatever unit they are kept in
        first = stamps[0] if stamps.dtype.kind == "M" and stamps.size else np.timedelta64(0, "s")
        stamps = (stamps - first) / np.timedelta64(1, "s")
    return as_array("t", stamps, (rows,), finite=False)

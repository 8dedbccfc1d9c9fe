"""The weather on a roof in Jena, hour by hour, and the forecasts that need no learning."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.paper_budget import Budget
from koopctl.bench.paper_systems import Recording, Scope, System, windows
from koopctl.data.csv_file import CsvFile
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError

FILE = "jena_roof_2024.csv"
WHERE = "KOOPCTL_JENA"  # environment variable: any file of that station, such as the full one from 2009 on
DAY = 24  # samples
_STAMP, _FORMAT = "Date Time", "%d.%m.%Y %H:%M:%S"
_SUN, _WIND = "SWDR", "wd (deg)"
_SAME_SUN = ("PAR", "max. PAR")  # the sun once more, in photons
_MISSING = -9000.0  # the station writes -9999
_TRAIN = 0.7
_LONG = 400 * DAY  # samples from which the time of the year has come round
_RIDGES = (1e-1, 1e-2, 1.0)
_FOLDS = 4


@dataclass(frozen=True)
class Weather:
    """Hourly means.

    Attributes:
        Y: What is forecast, (n, ny); NaN where nothing was measured.
        U: Sun, where it was measured, and time of day (and year) of each hour, (n, nu).
        y_names: Columns of Y.
        u_names: Columns of U.
    """

    Y: Array
    U: Array
    y_names: tuple[str, ...]
    u_names: tuple[str, ...]

    def part(self, first: int, stop: int) -> Rollouts:
        """Return hours `first` to `stop` as rollouts; U[k] is of the same hour as Y[k + 1], the one it leads to."""
        Y, U = self.Y[first:stop], self.U[first + 1 : stop]
        return Rollouts([Y], [U], 3600.0, self.y_names, self.u_names)


def find(folder: Path | None) -> Path | None:
    """Return the file: $KOOPCTL_JENA, or the one in the folder of the recordings; None where there is none."""
    if chosen := os.environ.get(WHERE):
        return Path(chosen)
    path = None if folder is None else folder / FILE
    return path if path is not None and path.is_file() else None


def weather(path: Path) -> System:
    """Return the forecasts over a day and over a week."""
    found = read(path)
    about = (
        f"{path.name}: {len(found.Y)} hourly means of {len(found.y_names)} columns (10-min samples averaged, wind "
        f"direction as sine and cosine), first 70 % train; {', '.join(found.u_names)} are given; trials are judged on "
        f"each of {_FOLDS} stretches in turn, for a single one is one season"
    )
    scope = Scope(
        past=2 * DAY,
        judged=7 * DAY,
        washout=DAY,
        delays=(11, 5, 23, 2),
        descents=(24, 48),
        widths=(100,),
        ridges=_RIDGES,
        squared=_RIDGES,
        steepness=(0.5,),
        solver="auto",
        folds=_FOLDS,
    )
    horizons = {"6 h": 6, "one day": DAY, "three days": 3 * DAY, "one week": 7 * DAY}
    return System("weather", about, partial(_record, path=path), horizons, scope, "h", 1.0)


@cache
def read(path: Path) -> Weather:
    """Return the hourly means of a file of the station.

    Raises:
        DataError: It is no such file.
    """
    names = _columns(path)
    if not {_STAMP, _WIND} <= set(names):
        raise DataError(f"{path.name} has no columns '{_STAMP}' and '{_WIND}'; expected a file of the Jena station.")
    numeric = [name for name in names if name != _STAMP and not name.startswith(_SAME_SUN)]
    file = CsvFile.read(path, numeric, _STAMP, ",")
    hours = np.array([_hour(label) for label in file.labels or ()])
    table = dict(zip(numeric, np.where(file.numbers < _MISSING, np.nan, file.numbers).T, strict=True))
    angle = np.deg2rad(table.pop(_WIND))
    table |= {"wd sin": np.sin(angle), "wd cos": np.cos(angle)}
    first = int(hours.min())
    means = {name: _means(hours - first, values) for name, values in table.items()}
    sun = {name: means.pop(name) for name in list(means) if name.startswith(_SUN)}
    given = sun | _clock(first + np.arange(len(means["wd sin"])))
    Y, U = np.stack(list(means.values()), axis=1), np.stack(list(given.values()), axis=1)
    return Weather(Y, U, tuple(means), tuple(given))


def persistence(Y: Array, U: Array, past: int) -> Array:
    """Return forecasts (n, H + 1, ny) that stay at the last sample."""
    return np.repeat(Y[:, past : past + 1], U.shape[1] - past + 1, axis=1)


def seasonal_naive(Y: Array, U: Array, past: int) -> Array:
    """Return forecasts (n, H + 1, ny) that repeat the last day."""
    ahead = np.arange(1, U.shape[1] - past + 1)
    return np.concatenate([Y[:, past : past + 1], Y[:, past - DAY + 1 + (ahead - 1) % DAY]], axis=1)


def _record(seed: int, budget: Budget, path: Path) -> Recording:
    """Return the same data whatever the seed: there is one past."""
    del seed
    found = read(path)
    cut = round(_TRAIN * len(found.Y))
    Y, U = windows(found.part(cut, len(found.Y)), 2 * DAY, 7 * DAY, budget.starts)
    return Recording(found.part(0, cut), Y, U)


def _columns(path: Path) -> list[str]:
    with open(path, "rb") as raw:
        head = raw.readline().strip()
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    return [cell.strip().strip('"') for cell in text.split(",")]


def _hour(label: str) -> int:
    return int(datetime.strptime(label, _FORMAT).replace(tzinfo=UTC).timestamp() // 3600)


def _means(hours: np.ndarray, values: Array) -> Array:
    """Return the mean of what was measured in each hour, NaN where nothing was."""
    valid = np.isfinite(values)
    count, total = (np.bincount(hours[valid], w, hours.max() + 1) for w in (None, values[valid]))
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))


def _clock(hours: np.ndarray) -> dict[str, Array]:
    """Return cosine and sine of the time of day, and of the year in recordings in which that has come round."""
    turns = {"day": hours / DAY} | ({"year": hours / (365.2425 * DAY)} if len(hours) > _LONG else {})
    return {
        f"{turn} {name}": shape(2.0 * np.pi * share)
        for turn, share in turns.items()
        for name, shape in (("cos", np.cos), ("sin", np.sin))
    }

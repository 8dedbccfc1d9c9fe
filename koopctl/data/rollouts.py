"""Recorded motion: ragged episodes of states and inputs with names and a sampling time."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from koopctl.archive import read_archive, write_archive
from koopctl.arrays import Array, as_names, index_of
from koopctl.data.clock import JITTER, as_dt
from koopctl.data.measured import Measured, as_measured
from koopctl.data.missing import Missing
from koopctl.data.ragged import ragged_episodes
from koopctl.data.table import Table
from koopctl.errors import DataError

_LABELS = ("dt", "x_names", "u_names", "sensors")
_SAME_DT = 1e-6  # share of dt by which recordings of one rate may differ


class Rollouts:
    """Episodes of measured states and applied inputs, sampled every `dt` seconds, without a missing value.

    Episode i holds X[i] (T_i + 1, nx) and U[i] (T_i, nu); U[i][k] acts between X[i][k] and X[i][k + 1]. Episodes may
    differ in length, never in width. NaN among the recorded values means "not measured": a row of X with NaN drops the
    two transitions it touches, a row of U the one it drives, and the runs between become episodes of their own, so
    that no transition and no window of delays spans a gap.

    Attributes:
        X: Measured states, a tuple of (T_i + 1, nx) arrays.
        U: Applied inputs, a tuple of (T_i, nu) arrays.
        dt: Sampling time [s].
        x_names: Names of the nx columns of X.
        u_names: Names of the nu columns of U.
        sensors: Names of the full observation the columns of X were selected from.
    """

    def __init__(
        self,
        X: Sequence[ArrayLike],
        U: Sequence[ArrayLike],
        dt: float,
        x_names: Sequence[str] | None = None,
        u_names: Sequence[str] | None = None,
        sensors: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Check and keep the episodes.

        Args:
            X: One array (T_i + 1, nx) an episode; NaN where nothing was measured.
            U: One array (T_i, nu) an episode; (T_i + 1, nu) is accepted, its last row dropped with a warning.
            dt: Sampling time [s].
            x_names: nx names; `x0, x1, ...` by default.
            u_names: nu names; `u0, u1, ...` by default.
            sensors: Names of the full observation `x_names` was chosen from; `x_names` by default.
            notes: Remarks to carry along.

        Raises:
            ShapeError: Widths or lengths disagree.
            DataError: A value is infinite, NaN leaves no transition, or dt is not positive.
        """
        measured = ragged_episodes(X, U, as_dt(dt), x_names, u_names)
        for note in measured.notes:
            warnings.warn(note, stacklevel=2)
        self.X, self.U, self.dt = measured.X, measured.U, measured.dt
        self.x_names, self.u_names = measured.x_names, measured.u_names
        self.sensors = self.x_names if sensors is None else tuple(str(name) for name in sensors)
        for name in self.x_names:
            index_of(name, self.sensors, "sensor")
        self._notes, self._lost = (*notes, *measured.notes), dict(measured.lost)

    @classmethod
    def from_table(
        cls,
        t: ArrayLike | None,
        X: ArrayLike,
        U: ArrayLike,
        dt: float | None = None,
        *,
        episode: ArrayLike | None = None,
        x_names: Sequence[str] | None = None,
        u_names: Sequence[str] | None = None,
        jitter: float = JITTER,
    ) -> Rollouts:
        """Return the episodes of one table that a logger wrote, split where it has gaps.

        Row k of X was measured at t[k]; row k of U acts from t[k] on. Where time steps by something else than dt, now
        and then, is a gap: the episode is split there, as it is at rows with NaN, and `missing` counts it.

        Args:
            t: Time stamps (N,) [s], or datetimes; None where the rows are `dt` apart.
            X: Measured states (N, nx); NaN where nothing was measured.
            U: Inputs (N, nu).
            dt: Sampling time [s]; by default the mean of the steps near their median.
            episode: Label of each row's episode (N,), where a table holds several; their rows stand together.
            x_names: nx names; `x0, x1, ...` by default.
            u_names: nu names; `u0, u1, ...` by default.
            jitter: Share of dt by which a step may differ from it and still count as one.

        Raises:
            ShapeError: The lengths disagree.
            DataError: Time does not increase or keeps no one dt, a value is infinite, or no transition is left.
        """
        return cls._of(Table.of_arrays(t, X, U, episode, x_names, u_names).episodes(dt, jitter))

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        x: str | Sequence[str],
        u: str | Sequence[str],
        time: str | None = None,
        dt: float | None = None,
        episode: str | None = None,
        delimiter: str = ",",
        jitter: float = JITTER,
    ) -> Rollouts:
        """Return the episodes of a text file with named columns; empty cells and `nan` are missing values.

        Args:
            path: The file: a line of column names, then one line a sample.
            x: Names of the columns that hold the measured state.
            u: Names of the columns that hold the inputs; `()` for a plant without.
            time: Name of the column of time stamps [s]; without it the rows are `dt` apart.
            dt: Sampling time [s]; by default from the time stamps.
            episode: Name of the column that labels the episodes, where a file holds several.
            delimiter: What stands between two cells.
            jitter: Share of dt by which a step of the time stamps may differ from it.

        Raises:
            FileNotFoundError: There is no such file.
            UnknownNameError: A column does not exist; the message lists the names.
            DataError: As `from_table`; or a cell holds text; the message names line and column.
        """
        return cls._of(Table.of_csv(path, x, u, time, episode, delimiter).episodes(dt, jitter))

    @classmethod
    def join(cls, parts: Rollouts | Sequence[Rollouts]) -> Rollouts:
        """Return the episodes of several rollouts as one; rollouts are returned as they are.

        scikit-learn cuts rollouts into lists of one-episode rollouts, which this makes whole again.

        Args:
            parts: Rollouts whose names and dt agree.

        Raises:
            DataError: They disagree, or are no rollouts.
        """
        if isinstance(parts, Rollouts):
            return parts
        several = list(parts) if isinstance(parts, Iterable) else [parts]
        if not several:
            raise DataError("there are no rollouts to join; give at least one.")
        for i, part in enumerate(several):
            if not isinstance(part, Rollouts):
                raise DataError(f"{type(part).__name__} is no Rollouts; wrap arrays as Rollouts(X, U, dt).")
            for what in _LABELS:
                first, here = getattr(several[0], what), getattr(part, what)
                if not (first == here or what == "dt" and abs(first - here) <= _SAME_DT * first):
                    raise DataError(f"cannot join rollouts: {what} is {first} in part 0 and {here} in part {i}.")
        X, U = [x for part in several for x in part.X], [u for part in several for u in part.U]
        whole = several[0]._with(X, U)
        whole._notes = tuple(dict.fromkeys(note for part in several for note in part._notes))
        whole._lost = {key: counts for part in several for key, counts in part._lost.items()}
        return whole

    @property
    def nx(self) -> int:
        """Number of measured states."""
        return int(self.X[0].shape[1])

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return int(self.U[0].shape[1])

    @property
    def n_samples(self) -> int:
        """Number of transitions (x, u, x next)."""
        return sum(len(u) for u in self.U)

    @property
    def missing(self) -> Missing:
        """What was missing in the recordings the episodes come from; parts of the data keep the counts of the whole."""
        return sum(self._lost.values(), Missing())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was dropped or changed on the way here, in words."""
        lost = self.missing.describe()
        return (*self._notes, lost) if lost else self._notes

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.X)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Iterate over the episodes as (X_i, U_i)."""
        return iter(zip(self.X, self.U, strict=True))

    def __getitem__(self, index: int | slice | Sequence[int]) -> Rollouts:
        """Return the episodes at `index` (a number, a slice or a list of numbers) as Rollouts."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        if len(chosen) == 0:
            raise DataError(f"{index} selects none of the {len(self)} episodes.")
        return self._with([self.X[i] for i in chosen], [self.U[i] for i in chosen])

    def __add__(self, other: Rollouts) -> Rollouts:
        """Return the episodes of both; names and dt must agree."""
        return Rollouts.join([self, other])

    def __repr__(self) -> str:
        """Return one line: episodes, transitions, names, dt, what was missing."""
        lost = self.missing.describe()
        return (
            f"Rollouts({len(self)} episodes, {self.n_samples} transitions, dt={self.dt:g} s, "
            f"x=({', '.join(self.x_names)}), u=({', '.join(self.u_names)}){'; ' + lost if lost else ''})"
        )

    def split(self, fraction: float = 0.8, seed: int = 0) -> tuple[Rollouts, Rollouts]:
        """Return two disjoint sets of whole episodes.

        Args:
            fraction: Share of the episodes in the first set, between 0 and 1.
            seed: Seed of the shuffle.

        Raises:
            DataError: Either set would be empty.
        """
        count = round(fraction * len(self)) if 0 < fraction < 1 else 0
        if not 0 < count < len(self):
            raise DataError(f"split({fraction}) of {len(self)} episodes leaves one side empty; record more episodes.")
        order = np.random.default_rng(seed).permutation(len(self))
        return self[np.sort(order[:count]).tolist()], self[np.sort(order[count:]).tolist()]

    def select(self, names: Sequence[str]) -> Rollouts:
        """Return the same episodes with only these measured states, in this order.

        A law made from such data still accepts the full observation and picks the columns itself.

        Raises:
            UnknownNameError: A name does not exist.
        """
        columns = [index_of(name, self.x_names, "measured state") for name in names]
        if not columns:
            raise DataError("select() needs at least one name.")
        part = self._with([as_measured("X", x[:, columns], ("T", "nx")) for x in self.X], self.U)
        part.x_names = as_names("x_names", names, len(columns), "x")
        return part

    def save(self, path: str | Path) -> Path:
        """Write everything to one .npz without pickle; an existing file is replaced atomically."""
        header: dict[str, object] = {name: getattr(self, name) for name in _LABELS}
        header |= {"notes": self._notes, "missing": {key: asdict(counts) for key, counts in self._lost.items()}}
        lengths = np.array([len(u) for u in self.U])
        arrays = {"X": np.concatenate(self.X), "U": np.concatenate(self.U), "lengths": lengths}
        return write_archive(path, "rollouts", header, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Rollouts:
        """Read a file written by `save`.

        Raises:
            FileFormatError: The file is foreign or damaged; nothing was loaded.
        """
        _, header, arrays = read_archive(path, "rollouts")
        lengths = arrays["lengths"]
        X = np.split(arrays["X"], np.cumsum(lengths + 1)[:-1])
        U = np.split(arrays["U"], np.cumsum(lengths)[:-1])
        whole = cls(X, U, header["dt"], header["x_names"], header["u_names"], header["sensors"], header["notes"])
        whole._lost = {key: Missing(**counts) for key, counts in header.get("missing", {}).items()}
        return whole

    @classmethod
    def _of(cls, part: Measured) -> Rollouts:
        whole = cls(part.X, part.U, part.dt, part.x_names, part.u_names, notes=part.notes)
        whole._lost = dict(part.lost)
        return whole

    def _with(self, X: Sequence[Array], U: Sequence[Array]) -> Rollouts:
        """Return rollouts of other episodes, checked and read-only ones, like these in everything else."""
        part = copy(self)
        part.X, part.U = tuple(X), tuple(U)
        return part

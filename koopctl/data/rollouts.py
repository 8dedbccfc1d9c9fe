"""Recorded motion: ragged episodes of states and inputs with names and a sampling time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from koopctl.archive import read_archive, write_archive
from koopctl.arrays import Array, as_array, as_names, index_of, is_finite
from koopctl.errors import DataError, ShapeError


class Rollouts:
    """Episodes of measured states and applied inputs, sampled every `dt` seconds.

    Episode i holds X[i] (T_i + 1, nx) and U[i] (T_i, nu); U[i][k] acts between X[i][k] and X[i][k + 1]. Episodes may
    differ in length, never in width.

    Attributes:
        X: Measured states, a tuple of (T_i + 1, nx) arrays.
        U: Applied inputs, a tuple of (T_i, nu) arrays.
        dt: Sampling time [s].
        x_names: Names of the nx columns of X.
        u_names: Names of the nu columns of U.
        sensors: Names of the full observation the columns of X were selected from.
        notes: What was dropped or changed on the way here, in words.
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
            X: One array (T_i + 1, nx) an episode.
            U: One array (T_i, nu) an episode; (T_i + 1, nu) is accepted, its last row dropped with a warning.
            dt: Sampling time [s].
            x_names: nx names; `x0, x1, ...` by default.
            u_names: nu names; `u0, u1, ...` by default.
            sensors: Names of the full observation `x_names` was chosen from; `x_names` by default.
            notes: Remarks to carry along.

        Raises:
            ShapeError: Widths or lengths disagree.
            DataError: A value is not finite, or dt is not positive.
        """
        if len(X) != len(U):
            raise ShapeError(f"X has {len(X)} episodes but U has {len(U)}; give one array of each an episode.")
        if len(X) == 0:
            raise DataError("there are no episodes; give at least one array of states and one of inputs.")
        if not is_finite(dt) or dt <= 0:
            raise DataError(f"dt is {dt!r}; give the sampling time in seconds, a positive number.")
        self.dt = float(dt)
        self.X = tuple(_episode("X", i, x, _width(X[0])) for i, x in enumerate(X))
        inputs = tuple(_episode("U", i, u, _width(U[0])) for i, u in enumerate(U))
        self.U, dropped = _match_lengths(self.X, inputs)
        self.x_names = as_names("x_names", x_names, self.nx, "x")
        self.u_names = as_names("u_names", u_names, self.nu, "u")
        self.sensors = self.x_names if sensors is None else tuple(str(name) for name in sensors)
        for name in self.x_names:
            index_of(name, self.sensors, "sensor")
        self.notes = (*notes, *dropped)

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
        for what in ("dt", "x_names", "u_names", "sensors"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                raise DataError(f"cannot join rollouts: {what} is {mine} here and {theirs} there.")
        notes = (*self.notes, *(note for note in other.notes if note not in self.notes))
        return self._with([*self.X, *other.X], [*self.U, *other.U], notes)

    def __repr__(self) -> str:
        """Return one line: episodes, transitions, names, dt."""
        return (
            f"Rollouts({len(self)} episodes, {self.n_samples} transitions, dt={self.dt:g} s, "
            f"x=({', '.join(self.x_names)}), u=({', '.join(self.u_names)}))"
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
        return Rollouts([x[:, columns] for x in self.X], self.U, self.dt, names, self.u_names, self.sensors, self.notes)

    def save(self, path: str | Path) -> Path:
        """Write everything to one .npz without pickle; an existing file is replaced atomically."""
        header = {
            "dt": self.dt,
            "x_names": self.x_names,
            "u_names": self.u_names,
            "sensors": self.sensors,
            "notes": self.notes,
        }
        arrays = {
            "X": np.concatenate(self.X),
            "U": np.concatenate(self.U),
            "lengths": np.array([len(u) for u in self.U]),
        }
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
        return cls(X, U, header["dt"], header["x_names"], header["u_names"], header["sensors"], header["notes"])

    def _with(self, X: Sequence[Array], U: Sequence[Array], notes: Sequence[str] | None = None) -> Rollouts:
        notes = self.notes if notes is None else notes
        return Rollouts(X, U, self.dt, self.x_names, self.u_names, self.sensors, notes)


def _width(array: ArrayLike) -> int:
    try:
        shape = np.shape(array)
    except ValueError as error:
        raise ShapeError(f"episode 0 is no array ({error}); give rows of equal length.") from None
    if len(shape) != 2:
        raise ShapeError(
            f"episode 0 has shape {shape}, expected (time, columns); reshape a single column with [:, None]."
        )
    return int(shape[1])


def _episode(name: str, index: int, value: ArrayLike, width: int) -> Array:
    array = as_array(f"{name}[{index}] (episode {index})", value, ("T", width)).copy()
    array.setflags(write=False)
    return array


def _match_lengths(X: Sequence[Array], U: Sequence[Array]) -> tuple[tuple[Array, ...], list[str]]:
    matched, dropped = [], 0
    for i, (x, u) in enumerate(zip(X, U, strict=True)):
        if len(u) == len(x) and len(u) > 1:
            u, dropped = u[:-1], dropped + 1
        if len(u) != len(x) - 1 or len(u) == 0:
            raise ShapeError(
                f"episode {i} has {len(x)} states and {len(u)} inputs, expected T + 1 states and T >= 1 inputs; "
                "U[k] is the input between X[k] and X[k + 1]."
            )
        matched.append(u)
    if not dropped:
        return tuple(matched), []
    note = (
        f"U was as long as X in {dropped} of {len(X)} episodes; "
        "the last input, whose effect was not recorded, was dropped."
    )
    warnings.warn(note, stacklevel=3)
    return tuple(matched), [note]

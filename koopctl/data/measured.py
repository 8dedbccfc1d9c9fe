"""Recorded episodes, cut where something is missing, so that no transition and no window of delays spans a gap."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctl.arrays import Array, as_array
from koopctl.data.missing import Missing
from koopctl.errors import DataError

Mask: TypeAlias = NDArray[np.bool_]
Place: TypeAlias = Callable[[int], str]

_WORST = 3  # columns an error names


@dataclass(frozen=True)
class Measured:
    """Episodes in which every value was measured, and what was cut out for that.

    Attributes:
        X: Measured states, (T_i + 1, nx) an episode, read-only.
        U: Applied inputs, (T_i, nu) an episode, read-only.
        dt: Sampling time [s].
        x_names: Names of the nx columns of X.
        u_names: Names of the nu columns of U.
        notes: Remarks on what was changed.
        lost: What was missing, under the recording's fingerprint; empty where nothing was.
    """

    X: tuple[Array, ...]
    U: tuple[Array, ...]
    dt: float
    x_names: tuple[str, ...]
    u_names: tuple[str, ...]
    notes: tuple[str, ...]
    lost: Mapping[str, Missing]

    @classmethod
    def cut(
        cls,
        X: Sequence[Array],
        U: Sequence[Array],
        dt: float,
        x_names: tuple[str, ...],
        u_names: tuple[str, ...],
        *,
        breaks: Sequence[Mask] | None = None,
        samples: int = 0,
        note: str = "",
    ) -> Measured:
        """Return the runs of whole transitions as episodes of their own.

        Args:
            X: Recorded states, (T_i + 1, nx) an episode; NaN is a missing value.
            U: Recorded inputs, (T_i, nu) an episode.
            dt: Sampling time [s].
            x_names: Names of the nx columns of X.
            u_names: Names of the nu columns of U.
            breaks: (T_i,) an episode: True where row k + 1 does not follow row k by one dt; nowhere by default.
            samples: Samples that lack at the breaks.
            note: Remark to carry along.

        Raises:
            DataError: No transition is left.
        """
        kept_x, kept_u, missing = [], [], Missing()
        for i, (x, u) in enumerate(zip(X, U, strict=True)):
            runs, counts = _whole_runs(x, u, None if breaks is None else breaks[i])
            kept_x += [x[start : stop + 1] for start, stop in runs]
            kept_u += [u[start:stop] for start, stop in runs]
            missing += counts
        if not kept_x:
            raise _nothing_left(X, U, x_names, u_names)
        lost = {_fingerprint(X, U): replace(missing, samples=samples)} if missing else {}
        return cls(tuple(kept_x), tuple(kept_u), dt, x_names, u_names, (note,) if note else (), lost)


def as_measured(name: str, value: ArrayLike, shape: Sequence[int | str]) -> Array:
    """Return a read-only copy of the given shape in which NaN stands for a missing value, as masks and None do.

    Raises:
        ShapeError: The number of dimensions or a fixed dimension differs.
        DataError: A value is not a number.
    """
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan)
    array = as_array(name, value, shape, finite=False).copy()
    array.setflags(write=False)
    return array


def check_infinite(array: Array, names: Sequence[str], place: Place) -> None:
    """Refuse inf: NaN says that nothing was measured, an infinite value says nothing.

    Args:
        array: Rows of one recording, (n, m).
        names: Names of the m columns.
        place: Says where row k is.

    Raises:
        DataError: A value is infinite; the text names its row and column.
    """
    infinite = np.isinf(array)
    if infinite.any():
        row, column = (int(i) for i in np.argwhere(infinite)[0])
        raise DataError(
            f"{place(row)}, column {column} ('{names[column]}') holds {array[row, column]}; every value must be "
            "finite, or NaN where nothing was measured."
        )


def _whole_runs(x: Array, u: Array, breaks: Mask | None) -> tuple[list[tuple[int, int]], Missing]:
    """Return the ranges (start, stop) of transitions that touch nothing missing, and the counts of one episode."""
    if breaks is None and not np.isnan(x).any() and not np.isnan(u).any():
        return [(0, len(u))], Missing(transitions=len(u))
    broken = np.zeros(len(u), dtype=bool) if breaks is None else breaks
    nan_x, nan_u = np.any(np.isnan(x), axis=1), np.any(np.isnan(u), axis=1)
    whole = ~(nan_x[:-1] | nan_x[1:] | nan_u | broken)
    edges = np.flatnonzero(np.diff(whole, prepend=False, append=False)).tolist()
    runs = list(zip(edges[::2], edges[1::2], strict=True))
    steady = int((~broken).sum())
    counts = Missing(
        rows_x=int(nan_x.sum()),
        rows_u=int((nan_u & ~broken).sum()),
        gaps=int(broken.sum()),
        transitions=steady,
        dropped=steady - int(whole.sum()),
        split=int(len(runs) > 1),
        parts=len(runs) if len(runs) > 1 else 0,
        vanished=int(not runs),
    )
    return runs, counts


def _nothing_left(X: Sequence[Array], U: Sequence[Array], x_names: Sequence[str], u_names: Sequence[str]) -> DataError:
    """Return the error that says which columns cost every transition."""
    rates = []
    for arrays, names in ((X, x_names), (U, u_names)):
        rows, empty = sum(len(a) for a in arrays), np.sum([np.isnan(a).sum(axis=0) for a in arrays], axis=0)
        rates += [(int(n) / rows, f"'{name}' in {n} of {rows} rows") for n, name in zip(empty, names, strict=True) if n]
    worst = ", ".join(text for _, text in sorted(rates, reverse=True)[:_WORST])
    return DataError(
        f"no transition is left: every one touches a NaN or a gap in time{f' (NaN: {worst})' if worst else ''}; "
        "leave out columns that were hardly ever measured, or record again."
    )


def _fingerprint(X: Sequence[Array], U: Sequence[Array]) -> str:
    """Return what tells one recording from another, so that its counts are counted once."""
    digest = hashlib.blake2b(digest_size=8)
    for array in (*X, *U):
        digest.update(array.tobytes())
    return digest.hexdigest()

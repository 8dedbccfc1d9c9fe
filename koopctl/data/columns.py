"""The columns of many episodes at a glance: range, mean and spread, without a copy of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array

_ROWS = 20_000  # rows drawn where the whole column need not be read
_BLOCK = 65_536  # rows that are copied at one time
_ROUNDING = 16 * float(np.finfo(np.float64).eps)  # range, as share of the largest value, of a column at rest


@dataclass(frozen=True)
class Columns:
    """The columns of X or of U over all episodes.

    Attributes:
        arrays: One array (T_i, m) an episode.
        names: Names of the m columns.
        count: Number of rows.
        low: Smallest values (m,).
        high: Largest values (m,).
        still: Which columns never move (m,).
        rows: Some rows, drawn at random (n, m); all where there are few.
        mean: Mean of `rows` (m,).
        spread: Standard deviation of `rows` (m,), positive where a column moves at all.
    """

    arrays: Sequence[Array]
    names: tuple[str, ...]
    count: int
    low: Array
    high: Array
    still: np.ndarray
    rows: Array
    mean: Array
    spread: Array

    @classmethod
    def of(cls, arrays: Sequence[Array], names: tuple[str, ...]) -> Columns:
        """Read episodes, (T_i, m) each, once."""
        low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        ends = np.cumsum([len(array) for array in arrays])
        count = int(ends[-1])
        chosen = np.arange(count)
        if count > _ROWS:
            chosen = np.sort(np.random.default_rng(0).choice(count, _ROWS, replace=False))
        drawn, start = [], 0
        for block in _blocks(arrays):
            low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
            first, last = np.searchsorted(chosen, [start, start + len(block)])
            drawn.append(block[chosen[first:last] - start])
            start += len(block)
        rows = np.concatenate(drawn)
        # about the first row, as a mean far away would cost the digits in question
        about = rows - rows[0]
        spread = about.std(axis=0)
        # a column may rest in all the rows drawn and move in others
        spread = np.where(spread > 0, spread, (high - low) / 2)
        still = high - low <= _ROUNDING * np.maximum(np.abs(low), np.abs(high))
        return cls(arrays, names, count, low, high, still, rows, rows[0] + about.mean(axis=0), spread)

    def blocks(self) -> Iterator[Array]:
        """Iterate over all rows in blocks (n, m)."""
        return _blocks(self.arrays)


def _blocks(arrays: Sequence[Array]) -> Iterator[Array]:
    waiting, rows = list[Array](), 0
    for array in arrays:
        for start in range(0, len(array), _BLOCK):
            part = array[start : start + _BLOCK]
            waiting.append(part)
            rows += len(part)
            if rows >= _BLOCK:
                yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
                waiting, rows = [], 0
    if waiting:
        yield np.concatenate(waiting)

"""The data points a lift looks at: the same ones whatever the order of the samples."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array, is_finite
from koopctl.errors import DataError

POOL = 20_000  # data points looked at, at most
_AUTO = 0.5  # width over median distance; with the whole distance 20-step errors were 2 to 10 times as large
_PAIRS = 5000  # pairs of them whose distances give a width


def stable_order(W: Array, F: Array, rng: np.random.Generator) -> np.ndarray:
    """Order the rows by a seeded hash of W's bytes, equal ones by F: a permutation of the data changes nothing."""
    return np.lexsort((*F.T, row_keys(W, rng)))


def row_keys(W: Array, rng: np.random.Generator) -> np.ndarray:
    """Return a seeded hash of each row's bytes, (n,) unsigned 64-bit numbers."""
    bits = np.ascontiguousarray(W + 0.0).view(np.uint64)  # + 0.0 turns -0.0 into 0.0
    key = np.zeros(len(W), dtype=np.uint64)
    odd = np.asarray(rng.integers(2**63, size=W.shape[1], dtype=np.uint64) | np.uint64(1))
    for i in range(W.shape[1]):
        key = (key ^ bits[:, i]) * odd[i]
        key ^= key >> np.uint64(29)
    return key


def choose_width(width: object, W: Array, rng: np.random.Generator) -> float:
    """Return a width as given, or for "auto" half the median distance of pairs of distinct points.

    Args:
        width: "auto" or a positive number.
        W: The pool of points, in an order that does not depend on the samples' order, (n, nw).
        rng: Draws the pairs.

    Raises:
        DataError: `width` is something else, or every point is the same.
    """
    if not (isinstance(width, str) and width == "auto"):
        if not is_finite(width) or width <= 0.0:
            raise DataError(f'width is {width!r}; it is "auto" or a positive number, in standard deviations of w.')
        return float(width)
    first, second = rng.integers(len(W), size=_PAIRS), rng.integers(len(W), size=_PAIRS)
    distances = np.linalg.norm(W[first] - W[second], axis=1)
    distances = distances[distances > 0.0]
    if not len(distances):
        raise DataError("every sample is the same point; record motion that moves, or give a width.")
    return float(_AUTO * np.median(distances))

"""Transitions of rollouts in blocks of bounded size, and a sample of them that no order of the episodes changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.features.pool import row_keys
from koopctl.models.window import Window, check_lengths
from koopctl.regression.solution import check_samples

_BLOCK = 2048  # samples whose features exist at one time: few enough for the cache, enough for the matrix product
_POOL = 50_000  # transitions that scales and hidden units are drawn from, at most

Block = tuple[Array, Array, Array, Array | None]
_T = TypeVar("_T")


def blocks(
    window: Window, rollouts: Rollouts, weight: Sequence[Array] | None = None, size: int = _BLOCK
) -> Iterator[Block]:
    """Yield states (n, nx), inputs (n, nu), increments (n, nq) and weights (n,) or None, about `size` at a time.

    Raises:
        DataError: Every episode is too short for the delays.
    """
    d, gathered, count = window.delays, [], 0
    check_lengths(window.delays, rollouts, warn=False)
    for i, (Y, U) in enumerate(rollouts):
        for start in range(0, len(U) - d, size):
            stop = min(start + size, len(U) - d) + d
            X, dQ = window.states_and_increments(Y[start : stop + 1], U[start:stop])
            w = np.empty(0) if weight is None else weight[i][start + d : stop]
            gathered.append((X, U[start + d : stop], dQ, w))
            count += len(X)
            if count >= size:
                yield _merged(gathered, weight is not None)
                gathered, count = [], 0
    if gathered:
        yield _merged(gathered, weight is not None)


def ahead(make: Callable[[Block], _T], parts: Iterator[Block]) -> Iterator[tuple[Block, _T]]:
    """Yield each block with what `make` made of it, which a second thread does while the caller uses the last one.

    Making features and multiplying matrices take about as long and release the interpreter's lock.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting: tuple[Block, Future[_T]] | None = None
        for part in parts:
            pending = (part, thread.submit(make, part))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = pending
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def pool(window: Window, rollouts: Rollouts, weight: Sequence[Array] | None = None) -> tuple[Array, Array, Array]:
    """Return about `_POOL` transitions that count, or all: (X, U, dQ), chosen by a hash of their values.

    Raises:
        DataError: None counts.
    """
    n = rollouts.n_samples if weight is None else sum(int(np.count_nonzero(w)) for w in weight)
    keep = _POOL / n
    chosen = []
    for X, U, dQ, w in blocks(window, rollouts, weight):
        if w is not None and not w.all():
            X, U, dQ = X[w > 0.0], U[w > 0.0], dQ[w > 0.0]
        if keep < 1.0:
            keys = row_keys(np.concatenate([X, U], axis=1), np.random.default_rng(0))
            kept = keys < np.uint64(keep * 2.0**64)
            X, U, dQ = X[kept], U[kept], dQ[kept]
        chosen.append((X, U, dQ))
    X, U, dQ = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
    check_samples(len(X))
    return X, U, dQ


def _merged(parts: list[tuple[Array, Array, Array, Array]], weighted: bool) -> Block:
    X, U, dQ, w = parts[0] if len(parts) == 1 else [np.concatenate(part) for part in zip(*parts, strict=True)]
    return X, U, dQ, w if weighted else None

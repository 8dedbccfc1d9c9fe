"""What recorded data cannot teach, whatever the model: said in words before anything is learnt from it."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from koopctl.arrays import Array
from koopctl.data.columns import Columns
from koopctl.data.rollouts import Rollouts

_FEW = 10  # transitions
_SAME = 1e-6  # residual, as share of the spread, of a column that follows from others; above float32's rounding
_PART = 1e-3  # share of the spread another column must explain to be named
_DIGITS = 1e8  # mean over spread above which a double keeps fewer than 8 digits of the motion
_SCALES = 1e12  # ratio of spreads above which the rounding of the larger drowns the smaller


def weaknesses(rollouts: Rollouts) -> tuple[str, ...]:
    """Return one sentence for each thing the data cannot teach or that will cost accuracy; none for sound data.

    Looked for are too few transitions; inputs that never move, take two levels only or follow from other inputs; equal
    measured columns; columns whose motion is tiny beside their mean; scales too far apart. Values rounded to a
    sensor's resolution or to float32 are no weakness.

    Args:
        rollouts: The recorded motion.
    """
    found = []
    enough = rollouts.n_samples >= _FEW
    if not enough:
        found.append(
            f"the data holds {rollouts.n_samples} of the {_FEW} transitions any model needs; record more motion."
        )
    X, U = Columns.of(rollouts.X, rollouts.x_names), Columns.of(rollouts.U, rollouts.u_names)
    for j in np.flatnonzero(U.still):
        found.append(
            f"input {U.names[j]} never moves (it stays at {U.low[j]:g}): its effect cannot be learnt; excite it."
        )
    if enough:
        found += [*_two_levels(U), *_dependent(U)]
    found += [*_equal(X), *_without_digits(X, "measured"), *_without_digits(U, "input"), *_far_apart(X, U)]
    return tuple(found)


def _two_levels(U: Columns) -> list[str]:
    def two(rows: Array) -> np.ndarray:
        return np.asarray(((rows == U.low) | (rows == U.high)).all(axis=0))

    found = ~U.still & two(U.rows)
    if found.any():
        found &= np.all([two(block) for block in U.blocks()], axis=0)
    return [
        f"input {U.names[j]} takes two levels only, {U.low[j]:g} and {U.high[j]:g}: enough for a model that is linear "
        "in it; one that is curved in it, as SampledRNN is, has nothing to go by between them."
        for j in np.flatnonzero(found)
    ]


def _dependent(U: Columns) -> list[str]:
    """Find inputs that are combinations of earlier ones, by Gram-Schmidt on some rows and a check on all."""
    found, free = [], list[int]()
    centred = (U.rows - U.mean) / np.where(U.still, 1.0, U.spread)
    basis = np.zeros((len(centred), 0))
    for j in np.flatnonzero(~U.still).tolist():
        rest = centred[:, j] - basis @ (basis.T @ centred[:, j])
        size = float(np.linalg.norm(rest))
        if size > _SAME * np.sqrt(len(rest)):
            basis = np.column_stack([basis, rest / size])
            free.append(j)
        elif free:
            found += _relation(U, j, free)
    return found


def _relation(U: Columns, j: int, others: list[int]) -> list[str]:
    share = np.linalg.lstsq((U.rows[:, others] - U.mean[others]) / U.spread[others], U.rows[:, j] - U.mean[j])[0]
    gain = share / U.spread[others]
    squares = sum(
        float(((block[:, j] - U.mean[j] - (block[:, others] - U.mean[others]) @ gain) ** 2).sum())
        for block in U.blocks()
    )
    if squares > U.count * (_SAME * U.spread[j]) ** 2:
        return []  # in some rows only
    sources = [k for k, part in zip(others, share, strict=True) if abs(part) > _PART * U.spread[j]]
    names = ", ".join(U.names[k] for k in sources)
    equal = len(sources) == 1 and np.allclose(U.rows[:, j], U.rows[:, sources[0]], rtol=0, atol=_SAME * U.spread[j])
    how = f"equals {names}" if equal else f"follows from {names}" if len(sources) == 1 else f"is a sum of {names}"
    return [f"input {U.names[j]} {how}: their effects cannot be told apart; move them independently, or record fewer."]


def _equal(X: Columns) -> list[str]:
    found, copies = [], set[int]()
    for i, j in combinations(np.flatnonzero(~X.still).tolist(), 2):
        if j in copies or X.low[i] != X.low[j] or X.high[i] != X.high[j]:
            continue
        if np.array_equal(X.rows[:, i], X.rows[:, j]) and all((b[:, i] == b[:, j]).all() for b in X.blocks()):
            copies.add(j)
            found.append(f"measured {X.names[j]} equals {X.names[i]} in every row; one of them is enough.")
    return found


def _without_digits(columns: Columns, what: str) -> list[str]:
    found = ~columns.still & (np.abs(columns.mean) > _DIGITS * columns.spread)
    return [
        f"{what} {columns.names[j]} moves by {columns.spread[j]:.2g} about {columns.mean[j]:.6g}: too few digits are "
        "left of its motion; record it without the offset."
        for j in np.flatnonzero(found)
    ]


def _far_apart(X: Columns, U: Columns) -> list[str]:
    moving = [(float(c.spread[j]), c.names[j]) for c in (X, U) for j in np.flatnonzero(~c.still)]
    if not moving or max(moving)[0] <= _SCALES * min(moving)[0]:
        return []
    (small, less), (large, more) = min(moving), max(moving)
    return [f"{more} moves by {large:.2g} and {less} by {small:.2g}: too far apart for doubles; choose other units."]

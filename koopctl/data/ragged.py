"""Episodes of uneven length, as a user hands them over: checked, copied, their inputs matched to their states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_names
from koopctl.data.measured import Measured, as_measured, check_infinite
from koopctl.errors import DataError, ShapeError


def ragged_episodes(
    X: Sequence[ArrayLike],
    U: Sequence[ArrayLike],
    dt: float,
    x_names: Sequence[str] | None,
    u_names: Sequence[str] | None,
) -> Measured:
    """Return what was measured of episodes, with a note where inputs were dropped.

    Args:
        X: One array (T_i + 1, nx) an episode; NaN where nothing was measured.
        U: One array (T_i, nu) an episode, or (T_i + 1, nu), whose last row is dropped.
        dt: Sampling time [s].
        x_names: nx names; `x0, x1, ...` by default.
        u_names: nu names; `u0, u1, ...` by default.

    Raises:
        ShapeError: Widths or lengths disagree.
        DataError: There are no episodes, a value is no number or infinite, or no transition is left.
    """
    if len(X) != len(U):
        raise ShapeError(f"X has {len(X)} episodes but U has {len(U)}; give one array of each an episode.")
    if len(X) == 0:
        raise DataError("there are no episodes; give at least one array of states and one of inputs.")
    nx, nu = _width(X[0]), _width(U[0])
    names = as_names("x_names", x_names, nx, "x"), as_names("u_names", u_names, nu, "u")
    states = [_episode("X", i, x, names[0]) for i, x in enumerate(X)]
    inputs, note = _match_lengths(states, [_episode("U", i, u, names[1]) for i, u in enumerate(U)])
    return Measured.cut(states, inputs, dt, *names, note=note)


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


def _episode(name: str, index: int, value: ArrayLike, names: tuple[str, ...]) -> Array:
    place = f"{name}[{index}] (episode {index})"
    array = as_measured(place, value, ("T", len(names)))
    check_infinite(array, names, lambda row: f"{place}, row {row}")
    return array


def _match_lengths(X: Sequence[Array], U: Sequence[Array]) -> tuple[list[Array], str]:
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
        return matched, ""
    return matched, (
        f"U was as long as X in {dropped} of {len(X)} episodes; "
        "the last input, whose effect was not recorded, was dropped."
    )

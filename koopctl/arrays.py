"""One normaliser for user input: everything that enters koopctl as numbers passes here."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctl.errors import DataError, ShapeError, UnknownNameError

Array: TypeAlias = NDArray[np.float64]
ByName: TypeAlias = "Mapping[str, float] | ArrayLike"


def as_array(name: str, value: ArrayLike, shape: Sequence[int | str], *, finite: bool = True) -> Array:
    """Return `value` as a C-ordered float64 array of the given shape.

    Args:
        name: What the array is called in error messages.
        value: Anything numpy can read as numbers.
        shape: One entry a dimension: an int is required exactly, a string names a free dimension.
        finite: Refuse NaN and inf.

    Raises:
        ShapeError: The number of dimensions or a fixed dimension differs.
        DataError: `value` is not numeric, or not finite where it must be.
    """
    try:
        if np.iscomplexobj(value):
            raise TypeError("it is complex")
        array = np.ascontiguousarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} is not numeric ({error}); pass numbers of shape {_shape_text(shape)}.") from None
    wanted = tuple(shape)
    fits = array.ndim == len(wanted) and all(
        isinstance(w, str) or w == n for w, n in zip(wanted, array.shape, strict=True)
    )
    if np.ndim(value) != len(wanted) or not fits:
        raise ShapeError(f"{name} has shape {np.shape(value)}, expected {_shape_text(shape)}.")
    if finite and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{name} holds {array[where]} at index {where}; every value must be finite.")
    return array


def as_vector(name: str, value: ByName, names: Sequence[str], *, default: float = 0.0, finite: bool = True) -> Array:
    """Return a vector with one entry a name, from a mapping by name, a scalar or an array.

    Args:
        name: What the vector is called in error messages.
        value: `{name: number}` (others get `default`), one number for all, or an array (n,).
        names: The n names, in order.
        default: Entry of the names a mapping leaves out.
        finite: Refuse NaN and inf.

    Raises:
        UnknownNameError: A key of the mapping is not in `names`.
        ShapeError: The array has another length.
    """
    if isinstance(value, Mapping):
        entries: list[Any] = [default] * len(names)
        for key, number in value.items():
            entries[index_of(key, names, f"name in {name}")] = number
        return as_array(name, entries, (len(names),), finite=finite)
    if _ndim(name, value) == 0:
        return as_array(name, np.full(len(names), value), (len(names),), finite=finite)
    if np.shape(value) != (len(names),):
        raise ShapeError(f"{name} has shape {np.shape(value)}, expected ({len(names)},) for {', '.join(names)}.")
    return as_array(name, value, (len(names),), finite=finite)


def as_weight(name: str, value: ByName, names: Sequence[str]) -> Array:
    """Return a symmetric positive semidefinite weight (n, n) from a mapping, scalar, diagonal (n,) or matrix.

    Raises:
        DataError: The weight is not symmetric or has a negative eigenvalue.
    """
    if isinstance(value, Mapping) or _ndim(name, value) < 2:
        weight = np.diag(as_vector(name, value, names))
    else:
        weight = as_array(name, value, (len(names), len(names)))
    if not np.allclose(weight, weight.T, rtol=1e-9, atol=1e-12 * (1 + np.abs(weight).max(initial=0.0))):
        raise DataError(f"{name} is not symmetric; a quadratic weight must equal its transpose.")
    weight = (weight + weight.T) / 2  # the Riccati solvers want it to the last bit
    smallest = float(np.linalg.eigvalsh(weight)[0]) if weight.size else 0.0
    if smallest < -1e-9 * (1 + np.abs(weight).max(initial=0.0)):
        raise DataError(f"{name} has eigenvalue {smallest:.3g}; a quadratic weight must not be negative.")
    return weight


def as_whole(name: str, value: object, smallest: int) -> int:
    """Return a whole number >= `smallest`; numpy's integers are welcome, so that a search over np.arange works.

    Raises:
        DataError: `value` is not a whole number, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < smallest:
        raise DataError(f"{name} is {value!r}; it must be a whole number >= {smallest}.")
    return int(value)


def all_finite(array: Array) -> bool:
    """Tell whether every entry is finite; a control loop asks many times a tick, and a sum is the fastest answer."""
    return isfinite(np.add.reduce(array, axis=None)) or bool(np.isfinite(array).all())  # the sum alone may overflow


def largest(numbers: Array) -> float:
    """Return the largest entry of an array that has some, NaN where there is one; twice as fast as `max`."""
    return float(numbers.ravel()[numbers.argmax()])


def is_finite(value: object) -> TypeGuard[float]:
    """Tell whether `value` is one real, finite number."""
    return isinstance(value, numbers.Real) and bool(np.isfinite(float(value)))


def as_names(what: str, names: Sequence[str] | None, count: int, stem: str) -> tuple[str, ...]:
    """Return `count` distinct names, made from `stem` where none are given.

    Raises:
        ShapeError: The number of names differs from `count`.
        DataError: A name occurs twice.
    """
    if names is None:
        return tuple(f"{stem}{i}" for i in range(count))
    result = tuple(str(name) for name in names)
    if len(result) != count:
        raise ShapeError(f"{what} has {len(result)} names but the data has {count} columns: {', '.join(result)}.")
    if len(set(result)) != count:
        twice = sorted({name for name in result if result.count(name) > 1})
        raise DataError(f"{what} repeats {', '.join(twice)}; every column needs a name of its own.")
    return result


def index_of(name: str, names: Sequence[str], what: str = "name") -> int:
    """Return the position of `name` in `names`, or raise an UnknownNameError that lists them."""
    try:
        return list(names).index(name)
    except ValueError:
        raise UnknownNameError(what, name, names) from None


def _ndim(name: str, value: ArrayLike) -> int:
    try:
        return int(np.ndim(value))
    except ValueError as error:
        raise DataError(f"{name} is not numeric ({error}); pass rows of equal length.") from None


def _shape_text(shape: Sequence[int | str]) -> str:
    inner = ", ".join(str(part) for part in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"

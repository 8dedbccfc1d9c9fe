"""The decorator that compiles a kernel."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Multiply-adds may be contracted; but sums keep their order, and NaN and inf mean what they mean in numpy.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}


def compiled(arguments: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that compiles a function when it is defined, or loads it from numba's cache.

    The cache looks for changes in a function's own file alone, so kernels call functions of the same file only. Where
    numba is not installed the function stays as it is: plain Python, slow and right.

    Args:
        arguments: Of a kernel, separated by spaces: "f2" is a C-ordered float64 array of two dimensions, maybe
            read-only, "i2" one of int64, "b" a bool. A helper, which only kernels call, has none.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        try:
            numba: Any = importlib.import_module("numba")
        except ImportError:
            return function
        signature = tuple(_type(numba.types, word) for word in arguments.split()) or None
        try:
            result: Callable[P, R] = numba.njit(signature, cache=signature is not None, **_OPTIONS)(function)
        except (RuntimeError, OSError):  # there is no folder for the cache, or no room in it
            result = numba.njit(signature, **_OPTIONS)(function)
        return result

    return decorate


def _type(types: Any, word: str) -> Any:
    if word == "b":
        return types.boolean
    return types.Array(types.float64 if word[0] == "f" else types.int64, int(word[1:]), "C", readonly=True)

"""Whether there are compiled kernels, and which."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from koopctl.arrays import Array
from koopctl.errors import KoopctlError

_SWITCH = "KOOPCTL_KERNELS"


class Kernels(NamedTuple):
    """The compiled functions; their arrays are C-ordered float64 (positions: int64), and nothing they return is shared.

    Attributes:
        condense: See `koopctl.kernels.riccati.condense`.
        expand: See `koopctl.kernels.network.expand`.
        increment: See `koopctl.kernels.network.increment`.
    """

    condense: Callable[..., tuple[bool, Array, Array, Array, Array, Array]]
    expand: Callable[..., tuple[Array, Array, Array]]
    increment: Callable[..., Array]


@lru_cache(maxsize=1)
def kernels() -> Kernels | None:
    """Return the compiled kernels, None where numba is not installed or KOOPCTL_KERNELS is "numpy".

    The first call decides, imports and compiles; later ones take 50 ns.

    Raises:
        KoopctlError: KOOPCTL_KERNELS has another value.
    """
    choice = os.environ.get(_SWITCH, "")
    if choice not in ("", "numpy"):
        raise KoopctlError(f"{_SWITCH} is {choice!r}; set it to 'numpy' to do without compiled kernels, or unset it.")
    if choice == "numpy" or importlib.util.find_spec("numba") is None:
        return None
    try:
        importlib.import_module("numba")
    except ImportError as error:  # it is particular about numpy's version
        warnings.warn(f"numba cannot be imported, so numpy takes its place; update numba. ({error})", stacklevel=2)
        return None
    network, riccati = (importlib.import_module(f"koopctl.kernels.{name}") for name in ("network", "riccati"))
    return Kernels(riccati.condense, network.expand, network.increment)

"""Lifts in files: a header of plain values and arrays, no pickle."""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.errors import DataError, FileFormatError, NotFittedError
from koopctl.features.base import Lift
from koopctl.features.fourier import RandomFourier
from koopctl.features.function import Function
from koopctl.features.gaussian import GaussianRBF
from koopctl.features.identity import Identity
from koopctl.features.polynomial import Polynomial
from koopctl.features.sampled import SampledFeatures
from koopctl.features.sum import LiftSum, arrays_of
from koopctl.features.thin_plate import ThinPlate

# The lifts a file can hold, by the name it has there.
LIFTS: dict[str, type[Lift]] = {
    "GaussianRBF": GaussianRBF,
    "Identity": Identity,
    "LiftSum": LiftSum,
    "Polynomial": Polynomial,
    "RandomFourier": RandomFourier,
    "SampledFeatures": SampledFeatures,
    "ThinPlate": ThinPlate,
}
_PARAM = "param_"  # before the names of parameters that are arrays


def pack_lift(lift: Lift) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a JSON-able header and the arrays that rebuild a fitted lift.

    Raises:
        DataError: The lift is a `Function` or not one of koopctl's own.
        NotFittedError: It is not fitted.
    """
    name = type(lift).__name__
    if isinstance(lift, Function):
        lift.arrays()  # raises, and says why
    if LIFTS.get(name) is not type(lift):
        raise DataError(f"a model with the lift {name} cannot be saved; known lifts are {', '.join(LIFTS)}.")
    if not hasattr(lift, "n_in_") and not isinstance(lift, Identity):
        raise NotFittedError(f"this {name} is not fitted; only a fitted lift can be saved.")
    if isinstance(lift, LiftSum):
        packed = [pack_lift(part) for part in lift.lifts_]
        parts = {f"{i}_{key}": array for i, (_, arrays) in enumerate(packed) for key, array in arrays.items()}
        return {"type": name, "lifts": [header for header, _ in packed]}, lift.arrays() | parts
    params = lift.get_params(deep=False)
    listed = {key: value for key, value in params.items() if isinstance(value, (np.ndarray, list, tuple))}
    plain = {key: _plain(value) for key, value in params.items() if key not in listed}
    arrays = {f"{_PARAM}{key}": np.asarray(value, dtype=np.float64) for key, value in listed.items()}
    return {"type": name, "params": plain}, lift.arrays() | arrays


def unpack_lift(header: dict[str, Any], arrays: dict[str, Array]) -> Lift:
    """Return the fitted lift that `pack_lift` took apart.

    Raises:
        FileFormatError: The lift is of a kind this koopctl does not know.
    """
    return _unfitted(header, arrays).restore(arrays)


def _unfitted(header: dict[str, Any], arrays: dict[str, Array]) -> Lift:
    name = header["type"]
    if name not in LIFTS:
        raise FileFormatError(f"the file holds a lift of type {name}, known are {', '.join(LIFTS)}; upgrade koopctl.")
    if name == LiftSum.__name__:
        return LiftSum([_unfitted(part, arrays_of(i, arrays)) for i, part in enumerate(header["lifts"])])
    listed = {key.removeprefix(_PARAM): array for key, array in arrays.items() if key.startswith(_PARAM)}
    return LIFTS[name](**header["params"], **listed)


def _plain(value: object) -> object:
    """Return numpy's scalars, which parameters from a search often are, as Python's."""
    return value.item() if isinstance(value, np.generic) else value

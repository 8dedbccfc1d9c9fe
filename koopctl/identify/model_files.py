"""Models inside the files of other things: an ensemble's members, the model behind an error bound."""

from __future__ import annotations

from typing import Any

from koopctl.arrays import Array
from koopctl.errors import FileFormatError
from koopctl.models import recurrent
from koopctl.models.base import Model
from koopctl.models.echo_state import EchoState
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN

MODELS: dict[str, type[Model]] = {"EDMDc": EDMDc, "EchoState": EchoState, "SampledRNN": SampledRNN}
_TRAINED = tuple(recurrent.CELLS)  # imported only where a file holds one: they need JAX


def model_from(header: dict[str, Any], arrays: dict[str, Array]) -> Model:
    """Return the model that `Model.pack` described.

    Raises:
        FileFormatError: It is of a kind this koopctl does not know.
        KoopctlError: It needs a package that is not installed.
    """
    name = header["type"]
    if name not in (*MODELS, *_TRAINED):
        known = ", ".join((*MODELS, *_TRAINED))
        raise FileFormatError(f"the file holds a model of type {name}, known are {known}; upgrade koopctl.")
    kind = MODELS[name] if name in MODELS else getattr(recurrent, name)
    model: Model = kind(**header["params"]).unpack(header, arrays)
    return model


def prefixed(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays with `prefix` before their names."""
    return {prefix + name: array for name, array in arrays.items()}


def under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

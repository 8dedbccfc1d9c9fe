"""The verb that reads any file koopctl wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from koopctl.archive import read_archive
from koopctl.controllers.designer import restore
from koopctl.controllers.law import Law
from koopctl.data.rollouts import Rollouts
from koopctl.errors import FileFormatError, KoopctlError
from koopctl.identify.ensemble import Ensemble
from koopctl.identify.error_bound import ErrorBound
from koopctl.identify.model_files import model_from
from koopctl.models.base import Model
from koopctl.trajectory import Trajectory


def load(path: str | Path) -> Rollouts | Model | Law | Trajectory | Ensemble | ErrorBound:
    """Return whatever a file holds: rollouts, a model, a law, a trajectory, an ensemble or an error bound.

    Args:
        path: A file written by one of their `save` methods.

    Raises:
        FileNotFoundError: There is no such file.
        FileFormatError: The file is foreign, damaged or of a newer version; nothing was loaded.
    """
    kind, header, arrays = read_archive(path)
    try:
        if kind == "rollouts":
            return Rollouts.load(path)
        if kind == "trajectory":
            return Trajectory.load(path)
        if kind == "model":
            return model_from(header, arrays)
        if kind == "ensemble":
            return Ensemble.unpack(header, arrays)
        if kind == "error bound":
            return ErrorBound.unpack(header, arrays)
        if kind == "law":
            return _law(header, arrays)
    except FileFormatError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise FileFormatError(f"{path} lacks something a {kind} needs ({error}); write it again.") from None
    raise FileFormatError(f"{path} holds a {kind}, which this koopctl does not know; upgrade koopctl.")


def _law(header: dict[str, Any], arrays: dict[str, Any]) -> Law:
    model = model_from(header["model"], arrays)
    try:
        return restore(model, header, arrays)
    except KoopctlError as error:
        raise FileFormatError(f"the law in the file cannot be designed again: {error}") from None

"""What is known about the horizon at one call of a law: measured disturbances, changed weights and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, ByName, as_vector, as_weight
from koopctl.errors import DataError, KoopctlError, ShapeError
from koopctl.task import ResolvedTask

_NAN_IS_NOT = "holds NaN; every value must be a number"


@dataclass(frozen=True)
class Preview:
    """What `law(y, reference, preview)` knows about the steps ahead; what is left out is as in the task.

    Each field is what it is in `Task`, the same for the whole horizon, or an array with one row a step: rows that are
    missing at the end repeat the last one, rows beyond the horizon are not read. Rows of inputs, their bounds and
    weights begin with the input chosen now; rows of bounds, weights and prices of q with the state it leads to.

    Attributes:
        disturbance: Measured disturbances (`Task.disturbances`) now and later, (nd,) or (n, nd).
        Q: State weights, (nq,), (nq, nq) or (n, nq, nq).
        R: Input weights, (nu,), (nu, nu) or (n, nu, nu).
        dR: Weights of the input's change, like R.
        u_min: Lower input bounds, (nu,) or (n, nu).
        u_max: Upper input bounds.
        du_max: Largest change of each input a step.
        y_min: Soft lower bounds on q, (nq,) or (n, nq).
        y_max: Soft upper bounds on q.
        y_price: Linear cost of q, (nq,) or (n, nq).
        u_price: Linear cost of u, (nu,) or (n, nu).
    """

    disturbance: ByName | None = None
    Q: ByName | None = None
    R: ByName | None = None
    dR: ByName | None = None
    u_min: ByName | None = None
    u_max: ByName | None = None
    du_max: ByName | None = None
    y_min: ByName | None = None
    y_max: ByName | None = None
    y_price: ByName | None = None
    u_price: ByName | None = None

    def apply(self, task: ResolvedTask, q_names: tuple[str, ...], u_names: tuple[str, ...]) -> ResolvedTask:
        """Return the task with what this preview changes.

        Args:
            task: The task in numbers.
            q_names: Names of the coordinates.
            u_names: Names of the inputs the law chooses.

        Raises:
            UnknownNameError: A name is not among them.
            ShapeError: A field has a wrong shape.
            DataError: Bounds cross, or a weight is negative.
        """
        N, changes = task.horizon, dict[str, Any]()
        for name, names in (("Q", q_names), ("R", u_names), ("dR", u_names)):
            if getattr(self, name) is not None:
                changes[name] = _weights(name, getattr(self, name), names, N)
        for name, of in _BOUNDED:
            if getattr(self, name) is not None:
                chosen = q_names if of == "q" else u_names
                default = {"_min": -np.inf, "_max": np.inf}.get(name[-4:], 0.0)
                changes[name] = rows(name, getattr(self, name), chosen, N, default)
        if not changes:
            return task
        changed = replace(task, **changes)
        _check(changed)
        return changed

    def hard(self, task: ResolvedTask, u_names: tuple[str, ...]) -> Preview:
        """Return the input and rate bounds of this preview alone, without those that are wrong in themselves.

        They count even where the rest of a preview, or the reference beside it, is refused.
        """
        kept = Preview()
        for name in ("u_min", "u_max", "du_max"):
            trial = replace(kept, **{name: getattr(self, name)})
            try:
                trial.apply(task, (), u_names)
            except (KoopctlError, ValueError, TypeError, ArithmeticError):
                continue
            kept = trial
        return kept

    def hard_bounds(self, task: ResolvedTask, u_names: tuple[str, ...]) -> ResolvedTask:
        """Return the task with the input and rate bounds of this preview that can be read."""
        return self.hard(task, u_names).apply(task, (), u_names)

    def measured(self, names: tuple[str, ...], horizon: int) -> Array | None:
        """Return the disturbances over the horizon (N, nd), None where none are given."""
        if self.disturbance is None:
            return None
        if not names:
            raise DataError("a disturbance was given, but the task names no measured inputs in disturbances.")
        values = rows("disturbance", self.disturbance, names, horizon, 0.0)
        if not np.isfinite(values).all():
            raise DataError("disturbance holds NaN or inf; every value must be finite.")
        return np.array(np.broadcast_to(values, (horizon, len(names))))


_BOUNDED = (
    ("u_min", "u"),
    ("u_max", "u"),
    ("du_max", "u"),
    ("y_min", "q"),
    ("y_max", "q"),
    ("y_price", "q"),
    ("u_price", "u"),
)


def rows(name: str, value: ByName, names: tuple[str, ...], count: int, default: float) -> Array:
    """Return one vector (n,) for all steps, or `count` rows (count, n), the last one repeated as needed.

    Raises:
        ShapeError: The value has another width, or no rows.
        DataError: It holds NaN.
    """
    if isinstance(value, Mapping) or _numbers(name, value).ndim < 2:
        vector = as_vector(name, value, names, default=default, finite=False)
        if np.isnan(vector).any():
            raise DataError(f"{name} {_NAN_IS_NOT}.")
        return vector
    array = _numbers(name, value)
    if array.ndim != 2 or array.shape[1] != len(names) or not len(array):
        raise ShapeError(f"{name} has shape {array.shape}, expected ({len(names)},) or (n, {len(names)}).")
    if np.isnan(array).any():
        raise DataError(f"{name} {_NAN_IS_NOT}.")
    return filled(array, count)


def filled(array: Array, count: int) -> Array:
    """Return the first `count` rows, the last row repeated where there are fewer."""
    return np.concatenate([array[:count], np.repeat(array[-1:], max(0, count - len(array)), axis=0)])


def _weights(name: str, value: ByName, names: tuple[str, ...], count: int) -> Array:
    if isinstance(value, Mapping) or _numbers(name, value).ndim < 3:
        return as_weight(name, value, names)
    array = _numbers(name, value)
    if array.ndim != 3 or not len(array):
        raise ShapeError(f"{name} has shape {array.shape}, expected one weight, or (n, {len(names)}, {len(names)}).")
    return filled(np.stack([as_weight(name, each, names) for each in array[:count]]), count)


def _numbers(name: str, value: ArrayLike) -> Array:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} is not numeric ({error}); pass numbers, in rows of equal length.") from None


def _check(task: ResolvedTask) -> None:
    for what, low, high in (("u", task.u_min, task.u_max), ("y", task.y_min, task.y_max)):
        if not (low <= high).all():
            raise DataError(f"bounds cross: {what}_min is above {what}_max at some step.")
    if not (task.du_max >= 0).all():
        raise DataError("du_max is negative at some step.")
    if np.linalg.eigvalsh(task.R).min() <= 0.0:
        raise DataError("R has an eigenvalue that is not positive; every input has its price.")

"""What is wanted: target, weights, bounds and horizon, by name or array."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, ByName, as_vector, as_weight, as_whole, is_finite
from koopctl.errors import DataError


@dataclass(frozen=True)
class Task:
    r"""Minimise :math:`\sum_k |q_k - q^*|_Q^2 + |u_k - u^*|_R^2 + |u_k - u_{k-1}|_{dR}^2` within bounds.

    q are the coordinates of the observation: the measured states, with one angle in place of each cos/sin pair
    (`model.state_names` lists them). Differences of angles wrap. Vectors are given as one number for all entries, an
    array, or a mapping by name whose missing entries are 0 (weights, target) or unbounded (bounds). Input bounds are
    hard; bounds on q are soft: they give way at `slack_price` rather than leave the law without an answer.

    Attributes:
        target: q*, (nq,); where the observation is redundant, also a full observation (ny,).
        Q: State weight, (nq,) or (nq, nq).
        R: Input weight, (nu,) or (nu, nu).
        dR: Weight of the input's change from one step to the next.
        u_target: u*; None lets the law find the input that holds the target.
        u_min: Lower input bounds.
        u_max: Upper input bounds.
        du_max: Largest change of each input a step.
        y_min: Soft lower bounds on q.
        y_max: Soft upper bounds on q.
        u_safe: The input of last resort; 0, clipped to the bounds, by default.
        horizon: Steps the law looks ahead.
        slack_price: Price of leaving a soft bound, in units of cost per unit of violation.
    """

    target: ByName
    Q: ByName
    R: ByName
    dR: ByName | None = None
    u_target: ByName | None = None
    u_min: ByName | None = None
    u_max: ByName | None = None
    du_max: ByName | None = None
    y_min: ByName | None = None
    y_max: ByName | None = None
    u_safe: ByName | None = None
    horizon: int = 20
    slack_price: float = 1e3

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        as_whole("horizon", self.horizon, 1)
        if not is_finite(self.slack_price) or self.slack_price <= 0:
            raise DataError(f"slack_price is {self.slack_price!r}; it must be positive and finite.")

    def replace(self, **changes: Any) -> Task:
        """Return a copy with some fields changed, e.g. `task.replace(horizon=40)`."""
        known = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise DataError(f"Task has no field '{name}'; its fields are {', '.join(known)}.")
        return dataclasses.replace(self, **changes)

    def resolve(self, q_names: Sequence[str], u_names: Sequence[str]) -> ResolvedTask:
        """Return the task in numbers for coordinates `q_names` and inputs `u_names`.

        Raises:
            UnknownNameError: A name is not among them.
            DataError: Bounds cross, or a weight is not positive.
        """
        q, u = tuple(q_names), tuple(u_names)
        R = as_weight("R", self.R, u)
        if u and np.linalg.eigvalsh(R)[0] <= 0.0:
            raise DataError(
                f"R has eigenvalue {np.linalg.eigvalsh(R)[0]:.3g}; it must be positive: every input has its price."
            )
        u_min, u_max = _bounds("u", self.u_min, self.u_max, u)
        y_min, y_max = _bounds("y", self.y_min, self.y_max, q)
        du_max = as_vector("du_max", np.inf if self.du_max is None else self.du_max, u, default=np.inf, finite=False)
        if np.isnan(du_max).any() or (du_max <= 0).any():
            raise DataError(f"du_max is {du_max}; every entry must be positive (leave it out for no limit).")
        safe = as_vector("u_safe", 0.0 if self.u_safe is None else self.u_safe, u)
        return ResolvedTask(
            target=as_vector("target", self.target, q),
            Q=as_weight("Q", self.Q, q),
            R=R,
            dR=as_weight("dR", 0.0 if self.dR is None else self.dR, u),
            u_target=None if self.u_target is None else as_vector("u_target", self.u_target, u),
            u_min=u_min,
            u_max=u_max,
            du_max=du_max,
            y_min=y_min,
            y_max=y_max,
            u_safe=np.clip(safe, u_min, u_max),
            horizon=int(self.horizon),
            slack_price=float(self.slack_price),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description; infinite bounds become the words "inf" and "-inf"."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Task:
        """Rebuild from `to_dict` (or a hand-written mapping).

        Raises:
            DataError: A field is unknown or missing.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        missing = sorted({"target", "Q", "R"} - set(fields))
        if unknown or missing:
            raise DataError(
                f"a task needs target, Q, R and may have {', '.join(sorted(known - {'target', 'Q', 'R'}))}; "
                f"unknown here: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}."
            )
        return cls(**{name: _numbers(value) for name, value in fields.items()})


@dataclass(frozen=True)
class ResolvedTask:
    """A Task in numbers; the fields are those of Task, each (nq,), (nu,), (nq, nq) or (nu, nu)."""

    target: Array
    Q: Array
    R: Array
    dR: Array
    u_target: Array | None
    u_min: Array
    u_max: Array
    du_max: Array
    y_min: Array
    y_max: Array
    u_safe: Array
    horizon: int
    slack_price: float


def _bounds(what: str, low: ByName | None, high: ByName | None, names: tuple[str, ...]) -> tuple[Array, Array]:
    lower = as_vector(f"{what}_min", -np.inf if low is None else low, names, default=-np.inf, finite=False)
    upper = as_vector(f"{what}_max", np.inf if high is None else high, names, default=np.inf, finite=False)
    for name, a, b in zip(names, lower, upper, strict=True):
        if not a < b:
            raise DataError(f"bounds of '{name}' cross: {what}_min {a:g} is not below {what}_max {b:g}.")
    return lower, upper


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if value is None or isinstance(value, str | bool):
        return value
    array: ArrayLike = np.asarray(value)
    listed = np.asarray(array).tolist()
    return _words(listed)


def _words(value: Any) -> Any:
    if isinstance(value, list):
        return [_words(v) for v in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return float(value) if isinstance(value, str) and value in ("inf", "-inf") else value

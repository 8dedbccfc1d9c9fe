"""What is wanted: target, weights, bounds and horizon, by name or array."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from koopctl.arrays import Array, ByName, as_array, as_vector, as_weight, as_whole, index_of, is_finite
from koopctl.errors import DataError


@dataclass(frozen=True)
class Task:
    r"""Minimise :math:`\sum_k |q_k - q^*|_Q^2 + |u_k - u^*|_R^2 + |u_k - u_{k-1}|_{dR}^2` plus prices, within bounds.

    q are the coordinates of the observation: the measured states, with one angle in place of each cos/sin pair
    (`model.state_names` lists them). Differences of angles wrap. Vectors are given as one number for all entries, an
    array, or a mapping by name whose missing entries are 0 (weights, prices, target) or unbounded (bounds). Input
    bounds are hard; bounds on q are soft: they give way at `slack_price` rather than leave the law without an answer.
    What changes while the law runs (reference, measured disturbances, weights, bounds) is passed at the call, see
    `koopctl.Preview`.

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
        slack_price: Price of leaving a soft bound, in units of cost per unit of the worst violation; by name or array
            where coordinates have different prices.
        y_price: Linear (economic) cost of q at every step, (nq,).
        u_price: Linear (economic) cost of u at every step, (nu,).
        control_horizon: Moves the law plans: a number of single steps after which the input is held, or the lengths
            of blocks of steps with one input each, the last one held to the end. None plans every step.
        terminal_cost: "lqr" for the cost-to-go of the LQR at the target, "none", or a weight of q at the end.
        terminal_set: Steps after the horizon during which the LQR, taking over at its end, must keep all bounds;
            soft like the bounds on q. Enough steps make this the LQR's invariant set.
        disturbances: Inputs of the model that are measured, not chosen; laws return the others only.
        margin: How far inside their bounds planned coordinates stay, (nq,), or after 1, 2, ... steps, (n, nq), the last
            row kept: an `ErrorBound`'s `half_widths` keeps the plant inside where the plan alone would not. It never
            takes more than nine tenths of the room between two bounds.
        horizon_error: Where the model's own multi-step error, as a share of the data's spread, would exceed this before
            the horizon's end, the horizon ends there, and the law's notes say so. None plans as far as it is told.
        delay: Samples between an observation and the moment the input computed from it acts; the law then plans
            from where the plant will be.
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
    slack_price: ByName = 1e3
    y_price: ByName | None = None
    u_price: ByName | None = None
    control_horizon: int | Sequence[int] | None = None
    terminal_cost: Literal["lqr", "none"] | ByName = "lqr"
    terminal_set: int = 0
    disturbances: Sequence[str] = ()
    delay: int = 0
    margin: ByName | None = None
    horizon_error: float | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        as_whole("horizon", self.horizon, 1)
        if self.horizon_error is not None and not (is_finite(self.horizon_error) and self.horizon_error > 0):
            raise DataError(f"horizon_error is {self.horizon_error!r}; it is None or a positive share of the spread.")
        _check_price(self.slack_price)
        as_whole("delay", self.delay, 0)
        as_whole("terminal_set", self.terminal_set, 0)
        _moves(self.control_horizon, int(self.horizon))
        _check_names(self.disturbances)
        if isinstance(self.terminal_cost, str) and self.terminal_cost not in ("lqr", "none"):
            raise DataError(f"terminal_cost is {self.terminal_cost!r}; it is 'lqr', 'none' or a weight of q.")

    def replace(self, **changes: Any) -> Task:
        """Return a copy with some fields changed, e.g. `task.replace(horizon=40)`."""
        known = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise DataError(f"Task has no field '{name}'; its fields are {', '.join(known)}.")
        return dataclasses.replace(self, **changes)

    def resolve(self, q_names: Sequence[str], u_names: Sequence[str]) -> ResolvedTask:
        """Return the task in numbers for coordinates `q_names` and inputs `u_names`, of which some may be measured.

        Raises:
            UnknownNameError: A name is not among them.
            DataError: Bounds cross, or a weight is not positive.
        """
        q, measured = tuple(q_names), [index_of(name, u_names, "input") for name in self.disturbances]
        u = tuple(name for i, name in enumerate(u_names) if i not in measured)
        if u_names and not u:
            raise DataError("every input is in disturbances; at least one must be left for the law to choose.")
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
        by_name = isinstance(self.terminal_cost, str)
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
            slack_price=as_vector("slack_price", self.slack_price, q, default=1e3),
            y_price=as_vector("y_price", 0.0 if self.y_price is None else self.y_price, q),
            u_price=as_vector("u_price", 0.0 if self.u_price is None else self.u_price, u),
            moves=_moves(self.control_horizon, int(self.horizon)),
            terminal_cost=None if by_name else as_weight("terminal_cost", self.terminal_cost, q),
            path=None,
            margin=_margin(self.margin, q, int(self.horizon)),
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
    """A Task in numbers; the fields are those of Task, each (nq,), (nu,), (nq, nq) or (nu, nu).

    At a call with a `Preview`, weights, bounds and prices may have a leading axis of N stages: those of u count from
    now, those of q (bounds and weights alike) from the state that the first input leads to.

    Attributes:
        path: Where q should be now and at the next N steps, (N + 1, nq); None stands for the target throughout.
        margin: Of every stage (N, nq), or of all (nq,); None once the bounds are drawn in by it.
        moves: Steps at which planned inputs may change, (number of moves,), from 0 on.
        terminal_cost: Weight of q at the end (nq, nq) where the task gives one.
    """

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
    slack_price: Array
    y_price: Array
    u_price: Array
    moves: np.ndarray
    terminal_cost: Array | None
    path: Array | None
    margin: Array | None

    def drawn_in(self) -> ResolvedTask:
        """Return the task with the bounds on q drawn in by its margin, at every stage by its own."""
        if self.margin is None:
            return self
        room = np.maximum(self.y_max - self.y_min, 0.0)
        margin = np.minimum(self.margin, 0.45 * room)
        return replace(self, y_min=self.y_min + margin, y_max=self.y_max - margin, margin=None)

    @property
    def blocked(self) -> bool:
        """Whether the plan has fewer moves than steps."""
        return len(self.moves) < self.horizon


def _margin(value: ByName | None, names: tuple[str, ...], horizon: int) -> Array | None:
    if value is None:
        return None
    if isinstance(value, Mapping) or np.ndim(value) < 2:
        margin = as_vector("margin", value, names)
    else:
        rows = as_array("margin", value, ("n", len(names)))
        if not len(rows):
            raise DataError(f"margin has no rows; expected ({len(names)},), or one row a step.")
        margin = rows[np.minimum(np.arange(horizon), len(rows) - 1)]
    if (margin < 0).any():
        raise DataError("margin is negative somewhere; bounds are drawn in by it, not widened.")
    return margin


def _check_names(names: object) -> None:
    """Refuse what is no list of different names of inputs."""
    listed = _listed(names)
    if listed is None or not all(isinstance(name, str) for name in listed):
        raise DataError(f"disturbances is {names!r}; it is a list of names of inputs, () for none.")
    if len(set(listed)) < len(listed):
        raise DataError(f"disturbances {listed} repeats a name; every measured input is named once.")


def _listed(value: object) -> list[object] | None:
    """Return the entries of a list, tuple or array, None for what has no order or can be read only once."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return list(value) if isinstance(value, Collection) and not isinstance(value, str | Mapping | Set) else None


def _check_price(price: ByName) -> None:
    prices = list(price.values()) if isinstance(price, Mapping) else np.ravel(np.asarray(price, dtype=object)).tolist()
    if not prices or not all(is_finite(each) and each > 0 for each in prices):
        raise DataError(f"slack_price is {price!r}; it must be positive and finite.")


def _moves(control_horizon: object, horizon: int) -> np.ndarray:
    """Return the steps at which the input may change."""
    if control_horizon is None:
        return np.arange(horizon)
    blocks = _listed(control_horizon)
    if blocks is None:
        count = as_whole("control_horizon", control_horizon, 1)
        if count > horizon:
            raise DataError(f"control_horizon is {count}, longer than the horizon of {horizon} steps.")
        return np.arange(count)
    lengths = [as_whole("control_horizon", length, 1) for length in blocks]
    if not lengths or sum(lengths) > horizon:
        raise DataError(f"control_horizon {lengths} has {sum(lengths)} steps; expected 1 to the horizon's {horizon}.")
    return np.concatenate([[0], np.cumsum(lengths[:-1])]).astype(int)


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
    return _words(np.asarray(value).tolist())


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

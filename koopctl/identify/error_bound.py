"""How far predictions will be off, at a probability that is guaranteed: conformal bounds over whole horizons."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.archive import read_archive, write_archive
from koopctl.arrays import Array, ByName, as_vector, as_whole, is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.identify.calibration import absolute_errors, spread_of
from koopctl.identify.ensemble import Ensemble
from koopctl.identify.model_files import model_from, prefixed, under
from koopctl.identify.windows import Windows
from koopctl.models.base import Model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = (1, 2, 5, 10, 20, 50)
_WIDE = 12  # coordinates listed, at most
_ARRAYS = ("half_widths", "mean_widths", "median_errors", "scale", "factor")


@dataclass(frozen=True, eq=False, repr=False)
class ErrorBound:
    """Half widths around a model's predictions that hold at the asked probability; `error_bound` calibrates one.

    What is guaranteed: of the windows of new episodes, recorded as the calibration episodes were, the expected share
    inside is at least `coverage` (episodes count the same, whatever their length). It is an average over episodes and
    over where the plant is, so some regions may do worse; and a controller that takes the plant elsewhere than the
    calibration episodes were leaves the guarantee: measure it with `coverage_on(run.to_rollouts())`.

    Attributes:
        predictor: The model, or the ensemble whose spread the bounds follow.
        half_widths: Half widths after 1..H steps that hold wherever the plant is, (H, nq), in the coordinates' units.
        names: Names of the nq coordinates.
        coverage: The probability asked for.
        joint: Whether one window is inside only where all of its steps and coordinates are; otherwise each step and
            coordinate holds by itself.
        relift: Which roll-out it is for, as in `Model.predict`.
        n_episodes: Episodes the bound was calibrated on.
        n_windows: Windows in them.
        mean_widths: Mean of `widths` over them, (H, nq); `half_widths` again where nothing adapts.
        median_errors: Median absolute errors over them, (H, nq).
        scale: The errors' scale that shapes the bound, (H, nq).
        factor: What the adaptive scale is multiplied by, (1, 1) or (H, nq); nan where nothing adapts.
        dt: Sampling time [s].
        notes: What the reader should know, in words.
    """

    predictor: Model | Ensemble
    half_widths: Array
    names: tuple[str, ...]
    coverage: float
    joint: bool
    relift: bool
    n_episodes: int
    n_windows: int
    mean_widths: Array
    median_errors: Array
    scale: Array
    factor: Array
    dt: float
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> Model:
        """The model the bounds lie around."""
        return self.predictor.model if isinstance(self.predictor, Ensemble) else self.predictor

    @property
    def horizon(self) -> int:
        """Steps H it reaches."""
        return len(self.half_widths)

    def widths(self, x0: ArrayLike, U: ArrayLike) -> Array:
        """Return the half widths of one prediction: those of its spread for an ensemble, else `half_widths`.

        Args:
            x0: Initial state (nx,), or (n, nx).
            U: Inputs (T, nu) of at most H steps, or (n, T, nu).

        Returns:
            (T, nq), or (n, T, nq) for a batch.

        Raises:
            DataError: U is longer than the bound.
        """
        start, inputs, single = self.model._roll_out_input(x0, U)
        found = self._widths(start, inputs)
        return found[0] if single else found

    def bounds(self, x0: ArrayLike, U: ArrayLike) -> tuple[Array, Array]:
        """Return the lowest and highest coordinates to expect along a prediction.

        Args:
            x0: Initial state (nx,), or (n, nx).
            U: Inputs (T, nu) of at most H steps, or (n, T, nu).

        Returns:
            (low, high), each (T + 1, nq), rows as in `Model.predict` (row 0 is x0), or (n, T + 1, nq) for a batch.

        Raises:
            DataError: U is longer than the bound.
        """
        start, inputs, single = self.model._roll_out_input(x0, U)
        middle = self.model.predict(start, inputs, self.relift)[:, :, : len(self.names)]
        width = np.zeros_like(middle)
        width[:, 1:] = self._widths(start, inputs)
        low, high = middle - width, middle + width
        return (low[0], high[0]) if single else (low, high)

    def tightened(self, y_min: ByName = -np.inf, y_max: ByName = np.inf) -> tuple[Array, Array]:
        """Return bounds on the coordinates, drawn in by the half widths after 1..H steps.

        A plan inside them keeps the plant inside y_min and y_max with probability `coverage`, for all steps at once
        where the bound is joint. A `Task` holds one bound for its whole horizon, so take the last row, or the
        tightest: `task.replace(y_min=low.max(axis=0), y_max=high.min(axis=0))`.

        Args:
            y_min: Lower bounds of the coordinates: a number, (nq,), or by name.
            y_max: Upper bounds.

        Returns:
            (low, high), each (H, nq).

        Raises:
            DataError: The bounds leave less room than the errors take.
        """
        low = as_vector("y_min", y_min, self.names, default=-np.inf, finite=False) + self.half_widths
        high = as_vector("y_max", y_max, self.names, default=np.inf, finite=False) - self.half_widths
        crossed = np.argwhere(~(low < high))
        if len(crossed):
            step, i = crossed[0]
            raise DataError(
                f"after {step + 1} steps the error of '{self.names[i]}' may be {self.half_widths[step, i]:.3g}, which "
                "leaves no room between its bounds: shorten the horizon, widen the bounds or improve the model."
            )
        return low, high

    def coverage_on(self, rollouts: Rollouts) -> float:
        """Return the share of windows inside their bounds, every episode counting the same.

        Where the bound is not joint it is the mean over all steps and coordinates.

        Args:
            rollouts: Episodes that neither the model nor the bound has seen.

        Raises:
            DataError: No episode is long enough, or the columns are not the model's.
            SamplingTimeError: The data was sampled at another rate.
        """
        self.model.check_data(rollouts)
        found = Windows.of(self.model.window_, rollouts, self.horizon)
        inside = absolute_errors(self.model, found, self.relift) <= self._widths(found.x0, found.U)
        share = inside.all(axis=(1, 2)) if self.joint else inside.mean(axis=(1, 2))
        return float(found.weight @ share)

    def plot(self) -> Figure:
        """Draw the band by time ahead, one panel a coordinate."""
        from koopctl.figures.error_bound import draw_error_bound

        adapted = self.mean_widths if isinstance(self.predictor, Ensemble) else None
        head = f"Errors stay inside with probability {self.coverage:g}, {self._manner()}"
        return draw_error_bound(self.half_widths, self.median_errors, adapted, self.names, self.dt, head)

    def __str__(self) -> str:
        """Return one screen of text."""
        steps = sorted({k for k in _SHOWN if k < self.horizon} | {self.horizon})
        rows = [("half width after", *(f"{k} steps" if k > 1 else "1 step" for k in steps))]
        for i, name in enumerate(self.names[:_WIDE]):
            rows.append((name, *(f"{self.half_widths[k - 1, i]:.3g}" for k in steps)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
        if len(self.names) > _WIDE:
            table.append(f"... and {len(self.names) - _WIDE} more coordinates.")
        roll_out = "re-lifted" if self.relift else "linear"
        lines = [
            f"ErrorBound of {type(self.model).__name__}: coverage {self.coverage:g}, {self._manner()}, {roll_out} "
            f"roll-out, dt {self.dt:g} s",
            f"calibrated on {self.n_windows} windows of {self.n_episodes} episodes",
            *table,
        ]
        if isinstance(self.predictor, Ensemble):
            share = float(np.mean(self.mean_widths / self.half_widths))
            lines.append(
                f"widths(x0, U) follow the spread of {len(self.predictor)} members: {share:.2f} of these on average"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        """Return one line."""
        return f"ErrorBound(coverage={self.coverage:g}, horizon={self.horizon}, {self._manner()})"

    def _manner(self) -> str:
        return "all steps and coordinates at once" if self.joint else "each step and coordinate by itself"

    def _widths(self, X: Array, U: Array) -> Array:
        T = U.shape[1]
        if T > self.horizon:
            raise DataError(
                f"U has {T} steps, the bound reaches {self.horizon}; shorten U, or calibrate with horizon={T}."
            )
        if not isinstance(self.predictor, Ensemble):
            return np.broadcast_to(self.half_widths[:T], (len(X), T, len(self.names)))
        factor = np.broadcast_to(self.factor, self.half_widths.shape)[:T]
        return capped(spread_of(self.predictor, X, U, self.scale[:T], self.relift) * factor, self.model)

    # ------------------------------------------------------------------ files
    def save(self, path: str | Path) -> Path:
        """Write bound and model to one .npz without pickle; `koopctl.load` reads it."""
        return write_archive(path, "error bound", *self.pack())

    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a JSON-able header and the arrays that rebuild this bound and its model."""
        described, arrays = self.predictor.pack()
        fields = ("coverage", "joint", "relift", "n_episodes", "n_windows", "dt", "notes", "names")
        header = {name: getattr(self, name) for name in fields}
        header |= {"predictor": described, "adaptive": isinstance(self.predictor, Ensemble)}
        return header, prefixed("predictor_", arrays) | {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def unpack(cls, header: dict[str, Any], arrays: dict[str, Array]) -> ErrorBound:
        """Rebuild from `pack`."""
        rest = {name: tuple(value) if isinstance(value, list) else value for name, value in header.items()}
        rebuild = Ensemble.unpack if rest.pop("adaptive") else model_from
        rest["predictor"] = rebuild(rest["predictor"], under("predictor_", arrays))
        return cls(**rest, **{name: arrays[name] for name in _ARRAYS})

    @classmethod
    def load(cls, path: str | Path) -> ErrorBound:
        """Read a file written by `save`.

        Raises:
            FileFormatError: The file is foreign or damaged; nothing was loaded.
        """
        _, header, arrays = read_archive(path, "error bound")
        return cls.unpack(header, arrays)


def error_bound(
    model: Model | Ensemble,
    calibration: Rollouts,
    horizon: int,
    coverage: float = 0.9,
    joint: bool = True,
    relift: bool = True,
) -> ErrorBound:
    """Calibrate how far predictions may be off, by split conformal prediction with whole episodes as the units.

    The errors of every window, over a scale, are its score; the quantile of the scores, with the mass of one more
    episode at infinity (see `conformal_quantile`), times the scale is the bound. A joint bound takes the largest score
    of a window's steps and coordinates (the normalised maximum of Cleaveland et al., AAAI 2024), the other one a
    quantile for each. The scale is the rms error on stretches of the model's training data; for an ensemble, `widths`
    and `bounds` follow its spread at each start and input (Papadopoulos et al., Neurocomputing 2008), while
    `half_widths` still holds everywhere.

    Args:
        model: A fitted model, or an ensemble.
        calibration: Episodes the model was not fitted to, recorded as the plant will run: at least
            1 / (1 - coverage) - 1 of them. A single long one is cut into pieces with gaps, which a note tells.
        horizon: Steps the bound reaches.
        coverage: Probability that a prediction stays inside.
        joint: Whether the bound holds for all steps and coordinates of a prediction at once, or for each by itself.
        relift: Which roll-out is bounded: False is the linear recursion, for a `LiftedMPC`.

    Raises:
        DataError: The episodes are too few for the coverage, too short, or were fitted to.
        SamplingTimeError: They were sampled at another rate.
    """
    if not isinstance(model, Model | Ensemble):
        raise DataError(f"model is {type(model).__name__}; it is a fitted model or an ensemble.")
    as_whole("horizon", horizon, 1)
    if not is_finite(coverage) or not 0.0 < coverage < 1.0:
        raise DataError(f"coverage is {coverage!r}; it is a probability between 0 and 1, such as 0.9.")
    predictor, data = _frozen(model), Rollouts.join(calibration)
    point = predictor.model if isinstance(predictor, Ensemble) else predictor
    point.check_data(data)
    shaped = joint or isinstance(model, Ensemble)
    base = Calibration.of(point, data, horizon, coverage, relift, shaped)
    windows, scale = base.windows, base.scale
    errors = absolute_errors(point, windows, relift)

    def quantile(scale: Array) -> Array:
        with np.errstate(invalid="ignore"):
            scores = np.nan_to_num(errors / scale, nan=np.inf, posinf=np.inf)
        if joint:
            scores = scores.max(axis=(1, 2), keepdims=True)
        return conformal_quantile(scores, windows.weight, windows.n_episodes, coverage)

    half_widths = capped(quantile(scale) * scale, point)
    if not np.isfinite(half_widths).all():
        raise DataError(
            f"more than {1 - coverage:.0%} of the predictions run away within {horizon} steps; lower horizon, or "
            "stabilise the model (spectral_radius=1.0)."
        )
    factor, mean_widths = np.full((1, 1), np.nan), half_widths
    if isinstance(predictor, Ensemble):
        adaptive = spread_of(predictor, windows.x0, windows.U, scale, relift)
        factor = quantile(adaptive)
        mean_widths = np.einsum("n,nhi->hi", windows.weight, capped(factor * adaptive, point))
    return ErrorBound(
        predictor=predictor,
        half_widths=half_widths,
        names=point.state_names,
        coverage=float(coverage),
        joint=bool(joint),
        relift=bool(relift),
        n_episodes=windows.n_episodes,
        n_windows=len(windows.x0),
        mean_widths=mean_widths,
        median_errors=conformal_quantile(errors, windows.weight, windows.n_episodes, 0.5),
        scale=scale,
        factor=factor,
        dt=point.dt,
        notes=base.notes,
    )


def _frozen(model: Model | Ensemble) -> Model | Ensemble:
    """Return shallow copies: what the models learn later does not reach the bound."""
    if isinstance(model, Ensemble):
        return Ensemble(copy.copy(model.model), [copy.copy(member) for member in model.members], model.over)
    return copy.copy(model)

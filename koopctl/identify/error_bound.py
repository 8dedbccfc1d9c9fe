"""How far predictions will be off, at a probability that is guaranteed: conformal bounds over whole horizons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.archive import read_archive, write_archive
from koopctl.arrays import Array, ByName, as_vector
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.identify.calibration import absolute_errors, capped, spread_of
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
    over where the plant is, so some regions may do worse, and over calibrations, one of which may miss by about
    sqrt(coverage (1 - coverage) / n_episodes). A controller that takes the plant elsewhere than the calibration
    episodes were leaves the guarantee: measure it with `coverage_on(run.to_rollouts())`.

    Attributes:
        predictor: The model, or the ensemble whose spread the bounds follow.
        half_widths: After 1..H steps, the same for all starts and inputs, (H, nq), in the coordinates' units.
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
        where the bound is joint. A `Task` holds one bound for its whole horizon, so give it the tightest:
        `task.replace(y_min=low.max(axis=0), y_max=high.min(axis=0))`.

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

        Where the bound is not joint it is the mean over all steps and coordinates. Of more than 2000 windows about as
        many are drawn at random.

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
            share = np.divide(
                self.mean_widths, self.half_widths, out=np.ones_like(self.scale), where=self.half_widths > 0
            )
            follow = f"widths(x0, U) follow the spread of {len(self.predictor)} members"
            lines.append(f"{follow}: {share.mean():.2f} of these on average")
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
        rest: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in header.items()}
        rebuild = Ensemble.unpack if rest.pop("adaptive") else model_from
        rest["predictor"] = rebuild(rest["predictor"], under("predictor_", arrays))
        return cls(**rest | {name: arrays[name] for name in _ARRAYS})

    @classmethod
    def load(cls, path: str | Path) -> ErrorBound:
        """Read a file written by `save`.

        Raises:
            FileFormatError: The file is foreign or damaged; nothing was loaded.
        """
        _, header, arrays = read_archive(path, "error bound")
        return cls.unpack(header, arrays)

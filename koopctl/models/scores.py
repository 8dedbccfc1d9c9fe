"""How well a model predicts, by horizon and by kind of roll-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from koopctl.arrays import Array, as_whole
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.probe import Probe

if TYPE_CHECKING:
    from koopctl.models.base import Model


@dataclass(frozen=True)
class PredictionErrors:
    """Errors of open-loop predictions, as a share of each coordinate's spread in the data.

    Both roll-outs are reported, because a linear recursion and a re-lifted one can differ by orders of magnitude.

    Attributes:
        relifted: Root-mean-square error of the re-lifted roll-out after 1..H steps, (H,).
        linear: The same for the linear recursion, (H,).
        by_coordinate: The re-lifted errors of each coordinate, in its own units, (H, nq).
        dt: Sampling time [s].
        n_starts: How many starting points were averaged.
    """

    relifted: Array
    linear: Array
    by_coordinate: Array
    dt: float
    n_starts: int

    @property
    def horizons(self) -> Array:
        """Prediction times [s], (H,)."""
        return np.asarray(np.arange(1, len(self.relifted) + 1) * self.dt, dtype=np.float64)


def prediction_errors(model: Model, rollouts: Rollouts, horizon: int = 50, max_starts: int = 500) -> PredictionErrors:
    """Measure open-loop predictions from many starting points of held-out rollouts.

    Args:
        model: A fitted model.
        rollouts: Episodes the model was not fitted to.
        horizon: Longest prediction, in steps.
        max_starts: At most this many starting points, evenly chosen.

    Raises:
        DataError: No episode is long enough, or the columns are not the model's.
        SamplingTimeError: The data was sampled at another rate.
    """
    as_whole("horizon", horizon, 1)
    as_whole("max_starts", max_starts, 1)
    model.check_data(rollouts)
    longest = max(len(u) for u in rollouts.U)
    if longest < model.window_.delays + horizon:
        raise DataError(
            f"no episode holds {horizon} steps beyond the delays; the longest has {longest}: lower horizon."
        )
    return errors_on(model, Probe.of(model.window_, rollouts, horizon, max_starts))


def errors_on(model: Model, probe: Probe) -> PredictionErrors:
    """Measure the predictions of the stretches of a probe."""
    relifted, linear = (rms_errors(model, probe, relift) for relift in (True, False))
    share, share_linear = (np.sqrt(np.mean((rms / probe.spread) ** 2, axis=1)) for rms in (relifted, linear))
    return PredictionErrors(share, share_linear, relifted, model.dt, len(probe.x0))


def rms_errors(model: Model, probe: Probe, relift: bool) -> Array:
    """Return the rms error of each coordinate after each step, (H, nq); inf where it overflows."""
    window = model.window_
    path = model.predict(probe.x0, probe.U, relift=relift)[:, 1:, : window.nq]
    with np.errstate(over="ignore", invalid="ignore"):
        error = window.difference_of_coordinates(path, probe.truth)
        value = np.sqrt(np.mean(error**2, axis=0))
    return np.asarray(np.where(np.isfinite(value), value, np.inf))

"""How well a model predicts, by horizon and by kind of roll-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array, as_whole
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.base import Model


@dataclass(frozen=True)
class PredictionErrors:
    """Errors of open-loop predictions, as a share of each coordinate's spread in the data.

    Both roll-outs are reported, because a linear recursion and a re-lifted one can differ by orders of magnitude.

    Attributes:
        relifted: Root-mean-square error of the re-lifted roll-out after 1..H steps, (H,).
        linear: The same for the linear recursion, (H,).
        dt: Sampling time [s].
        n_starts: How many starting points were averaged.
    """

    relifted: Array
    linear: Array
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
    window = model.window_
    starts, inputs, truths = [], [], []
    for Y, U in rollouts:
        if len(U) < window.delays + horizon:
            continue
        X, U = window.states(Y, U), U[window.delays :]
        for k in range(len(U) - horizon + 1):
            starts.append(X[k])
            inputs.append(U[k : k + horizon])
            truths.append(X[k + 1 : k + horizon + 1, : window.nq])
    if not starts:
        longest = max(len(u) for u in rollouts.U)
        raise DataError(
            f"no episode holds {horizon} steps beyond the delays; the longest has {longest}: lower horizon."
        )
    chosen = np.unique(np.linspace(0, len(starts) - 1, min(max_starts, len(starts))).astype(int))
    x0, U0, truth = (np.array([part[i] for i in chosen]) for part in (starts, inputs, truths))
    spread = window.chart.to_coordinates(np.concatenate(rollouts.X)).std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)

    def rms(relift: bool) -> Array:
        path = model.predict(x0, U0, relift=relift)[:, 1:]
        padded = np.concatenate([truth, path[:, :, window.nq :]], axis=2)
        with np.errstate(over="ignore", invalid="ignore"):
            error = window.difference(path, padded)[:, :, : window.nq] / spread
            value = np.sqrt(np.mean(error**2, axis=(0, 2)))
        return np.asarray(np.where(np.isfinite(value), value, np.inf))

    return PredictionErrors(rms(True), rms(False), model.dt, len(chosen))

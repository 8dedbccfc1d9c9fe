"""Problems for rivals, made from koopctl's own data, and the error they are all measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, ShapeError


@dataclass(frozen=True)
class TanhLayer:
    """The features tanh(((w - mean) / scale) @ weights + biases).

    Attributes:
        weights: (nw, nf).
        biases: (nf,).
        mean: (nw,).
        scale: (nw,).
    """

    weights: Array
    biases: Array
    mean: Array
    scale: Array

    def arrays(self, prefix: str = "") -> dict[str, Array]:
        """Return the four arrays by name."""
        values = {"weights": self.weights, "biases": self.biases, "mean": self.mean, "scale": self.scale}
        return {prefix + name: np.asarray(value) for name, value in values.items()}


def motion_problem(
    train: Rollouts,
    test: Rollouts,
    *,
    width: int,
    layer: TanhLayer | None = None,
    joint_layer: TanhLayer | None = None,
    seed: int = 0,
    repeats: int = 5,
) -> dict[str, Array]:
    """Return a problem of kind "motion".

    Args:
        train: Episodes to learn from.
        test: Episodes to predict, each from its first state.
        width: Features of a rival that makes its own.
        layer: Our features of the state, for a rival that can take them.
        joint_layer: Our features of state and input together.
        seed: Of whatever a rival draws at random.
        repeats: Timed fits.

    Raises:
        DataError: Samples are missing.
        ShapeError: A layer does not fit the data.
    """
    problem = {"kind": np.array("motion"), "dt": np.array(train.dt), "repeats": np.array(repeats)}
    problem |= {"width": np.array(width), "seed": np.array(seed)} | _episodes(train, "") | _episodes(test, "_test")
    for prefix, given, nw in (("", layer, train.nx), ("joint_", joint_layer, train.nx + train.nu)):
        if given is not None:
            if len(given.weights) != nw:
                raise ShapeError(f"{prefix}layer has weights {given.weights.shape}, expected ({nw}, nf).")
            problem |= given.arrays(prefix)
    return problem


def attractor_problem(
    series: Array,
    windows: Array,
    dt: float,
    *,
    width: int,
    steps: int,
    free_steps: int,
    washout: int = 100,
    repeats: int = 3,
) -> dict[str, Array]:
    """Return a problem of kind "attractor".

    Args:
        series: Training data, (n, nx).
        windows: True motion up to each state to predict from, (m, w, nx).
        dt: Sampling time [s].
        width: Units of a rival's network.
        steps: Steps to predict from each window.
        free_steps: Steps of the one long run from the end of the series.
        washout: Samples that drive a memory before it counts.
        repeats: Timed fits.

    Raises:
        ShapeError: The windows are not of the series' width.
    """
    series, windows = np.asarray(series, dtype=np.float64), np.asarray(windows, dtype=np.float64)
    if series.ndim != 2 or windows.ndim != 3 or windows.shape[2] != series.shape[1]:
        raise ShapeError(f"series {series.shape} and windows {windows.shape}, expected (n, nx) and (m, w, nx).")
    numbers = {"dt": dt, "width": width, "steps": steps, "free_steps": free_steps}
    numbers |= {"washout": washout, "repeats": repeats}
    arrays = {"kind": np.array("attractor"), "series": series, "windows": windows}
    return arrays | {name: np.array(value) for name, value in numbers.items()}


def step_errors(predictions: Array, test: Rollouts, steps: Sequence[int]) -> dict[int, float]:
    """Return the error at each of these steps: rms over test episodes and states, in deviations of the test states.

    Args:
        predictions: The test episodes' predictions one after another, (sum of T_i + 1, nx).
        test: The episodes themselves; those shorter than a step do not count at it.
        steps: Steps from the start, 1 or more.

    Raises:
        ShapeError: The predictions have another shape than the states, or no episode is as long as a step.
    """
    truth = np.concatenate(test.X)
    if np.shape(predictions) != truth.shape:
        raise ShapeError(f"predictions have shape {np.shape(predictions)}, the test episodes {truth.shape}.")
    if max(steps) > max(len(u) for u in test.U):
        raise ShapeError(f"step {max(steps)} lies beyond the longest test episode; record longer ones.")
    spread = truth.std(axis=0)
    starts = np.cumsum([0, *(len(x) for x in test.X[:-1])])
    errors = {}
    with np.errstate(over="ignore", invalid="ignore"):  # a run-away prediction has an infinite error
        for step in steps:
            rows = np.array([s + step for s, u in zip(starts, test.U, strict=True) if len(u) >= step])
            error = float(np.sqrt(np.mean(np.square((predictions[rows] - truth[rows]) / spread))))
            errors[step] = error if np.isfinite(error) else float("inf")
    return errors


def _episodes(data: Rollouts, suffix: str) -> dict[str, Array]:
    X, U = np.concatenate(data.X), np.concatenate(data.U)
    if not (np.isfinite(X).all() and np.isfinite(U).all()):
        raise DataError("the episodes have missing samples, which no rival takes; give complete ones.")
    return {f"X{suffix}": X, f"U{suffix}": U, f"lengths{suffix}": np.array([len(u) for u in data.U])}

"""Ridge, width, delays and coupling chosen by multi-step error on held-out episodes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from sklearn.base import clone

from koopctl.arrays import as_whole, is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, KoopctlError
from koopctl.identify.trials import Trial, Trials
from koopctl.models.base import Model
from koopctl.models.probe import Probe
from koopctl.models.scores import rms_errors
from koopctl.progress import progress_bar

_RIDGES = tuple(10.0**k for k in range(-2, -17, -1))
_STARTS = 200
_SHARE = 5  # transitions a feature of the default widths needs


@dataclass(frozen=True)
class Search:
    """What to try, and how to judge it.

    A candidate's score is the geometric mean, over 1 to `horizon` steps ahead, of its roll-out's error on episodes it
    was not fitted to, as a share of each coordinate's spread: a model that is right in one step and runs away in
    twenty loses, and so does one that is only right far ahead.

    Attributes:
        grid: Values to try for each parameter, by name (`lift__n_features` for a lift's own); None takes fifteen
            decades of ridge, and three widths where the model has `n_features`.
        horizon: Steps ahead, or fewer where no held-out episode is as long.
        held_out: Share of the episodes to judge on; the last part of the motion where there is only one episode.
        relift: Judge the re-lifted roll-out, or with False the linear recursion that `LiftedMPC` uses.
        seed: Seed of the split.
    """

    grid: Mapping[str, Sequence[Any]] | None = None
    horizon: int = 20
    held_out: float = 0.25
    relift: bool = True
    seed: int = 0
    progress: bool = field(default=True, repr=False)

    def run(self, data: Rollouts, candidates: Sequence[Model]) -> Trials:
        """Try everything and return the trials, the best first.

        One set of Gram matrices serves all values of ridge; everything else is fitted anew.

        Args:
            data: The recorded motion.
            candidates: Unfitted models; several to choose between couplings or kinds of model.

        Raises:
            DataError: A parameter does not exist, or nothing could be fitted.
        """
        as_whole("horizon", self.horizon, 1)
        train, test = self._split(data)
        settings = [(model, chosen) for model in candidates for chosen in self._settings(model, train)]
        trials: list[Trial] = []
        with progress_bar("searching", sum(len(ridges) for _, (_, ridges) in settings), self.progress) as advance:
            for model, (params, ridges) in settings:
                for trial in _tried(model, params, ridges, train, test, self.horizon, self.relift):
                    trials.append(trial)
                    advance()
        if not any(np.isfinite(trial.score) for trial in trials):
            reasons = {trial.failed for trial in trials if trial.failed}
            raise DataError(
                f"no candidate could be fitted and rolled out: {'; '.join(sorted(reasons)) or 'all diverge'}."
            )
        return Trials(tuple(sorted(trials, key=lambda trial: trial.score)), self.horizon, self.relift, len(test))

    def _split(self, data: Rollouts) -> tuple[Rollouts, Rollouts]:
        if not (is_finite(self.held_out) and 0.0 < self.held_out < 1.0):
            raise DataError(f"held_out is {self.held_out!r}; it is a share of the episodes between 0 and 1.")
        if len(data) > 1:
            kept = min(max(1, round((1.0 - self.held_out) * len(data))), len(data) - 1)
            return data.split(kept / len(data), self.seed)
        X, U = data.X[0], data.U[0]
        cut = round((1.0 - self.held_out) * len(U))
        if not 1 <= cut < len(U) - 1:
            raise DataError(f"one episode of {len(U)} transitions cannot be split; record more.")
        parts = ((X[: cut + 1], U[:cut]), (X[cut:], U[cut:]))
        first, last = (Rollouts([x], [u], data.dt, data.x_names, data.u_names, data.sensors) for x, u in parts)
        return first, last

    def _settings(self, model: Model, train: Rollouts) -> Iterator[tuple[dict[str, Any], list[float]]]:
        grid = dict(_default_grid(model, train) if self.grid is None else self.grid)
        known = model.get_params()
        for name, values in grid.items():
            if name not in known:
                raise DataError(f"{type(model).__name__} has no parameter '{name}'; known: {', '.join(sorted(known))}.")
            if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or len(values) == 0:
                raise DataError(f"the grid of {name} is {values!r}; give a list of values to try.")
        ridges = sorted((float(r) for r in grid.pop("ridge", [model.ridge])), reverse=True)
        for values in product(*grid.values()):
            yield dict(zip(grid, values, strict=True)), ridges


def _default_grid(model: Model, train: Rollouts) -> dict[str, Sequence[Any]]:
    grid: dict[str, Sequence[Any]] = {"ridge": _RIDGES}
    for name in ("n_features", "lift__n_features", "lift__n_centers"):
        width = model.get_params().get(name)
        if width is not None:
            most = max(train.n_samples // _SHARE, 10)
            grid[name] = sorted({min(max(10, round(width * factor)), most) for factor in (1 / 3, 1, 3)})
            break
    return grid


def _tried(
    model: Model,
    params: dict[str, Any],
    ridges: list[float],
    train: Rollouts,
    test: Rollouts,
    horizon: int,
    relift: bool,
) -> Iterator[Trial]:
    """Yield a trial for each ridge, largest first: what is small enough to need QR then comes last."""
    start, fitted, failure = time.perf_counter(), clone(model).set_params(**params, ridge=ridges[0]), ""
    probe: Probe | None = None
    try:
        fitted.accumulate(train)
        probe = Probe.of(fitted.window_, test, horizon, _STARTS)
    except KoopctlError as error:
        failure = str(error)
    for ridge in ridges:
        errors = np.full(1, np.inf)
        if probe is not None:
            try:
                fitted.set_params(ridge=ridge).solve(train)
                spread = fitted._probe_.spread
                errors = np.sqrt(np.mean((rms_errors(fitted, probe, relift) / spread) ** 2, axis=1))
            except KoopctlError as error:
                failure = str(error)
        seconds, start = time.perf_counter() - start, time.perf_counter()
        yield Trial(type(model).__name__, params | {"ridge": ridge}, tuple(errors), seconds, failure, model)

"""Ridge, width, delays and coupling chosen by multi-step error on held-out episodes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from sklearn.base import clone

from koopctl.arrays import Array, as_whole, is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, KoopctlError, UnknownNameError
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.trained import check_separate
from koopctl.identify.trials import Trial, Trials
from koopctl.models.base import Model
from koopctl.models.echo_state import EchoState
from koopctl.models.intake import Weights, check_weight, counted_parts
from koopctl.models.learner import Learner
from koopctl.models.probe import Probe
from koopctl.models.scores import rms_errors
from koopctl.progress import progress_bar
from koopctl.regression.solution import check_ridge

_RIDGES = tuple(10.0**k for k in range(-2, -21, -1))
_STARTS = 200
_SHARE = 5  # transitions a feature of the default widths needs
_DEFAULT = 100  # features of EDMDc's own lift

_WIDTHS = ("n_features", "n_centers", "n_hidden")  # parameters that are a width, the lift's own among them

_Setting = tuple[Model, dict[str, Any], list[float]]  # ridges: none for a model without


@dataclass(frozen=True)
class Search:
    """What to try, and how to judge it.

    A candidate's score is the geometric mean, over 1 to `horizon` steps ahead, of its roll-out's error on episodes it
    was not fitted to, as a share of each coordinate's spread: a model that is right in one step and runs away in
    twenty loses, and so does one that is only right far ahead.

    Attributes:
        grid: Values to try for each parameter, by name (`lift__n_features` for a lift's own); None takes nineteen
            decades of ridge, and three widths where the model has one. With several models a parameter is varied in
            those that have it.
        horizon: Steps ahead, or fewer where no held-out episode is as long. All candidates are judged on the same
            steps, whatever their delays.
        held_out: Share of the episodes to judge on; the last part of the motion where there is only one episode.
        relift: Judge the re-lifted roll-out, or with False the linear recursion that `LiftedMPC` uses.
        seed: Seed of the split.
        progress: Draw a bar on stderr; by default only where stderr is a terminal.
    """

    grid: Mapping[str, Sequence[Any]] | None = None
    horizon: int = 20
    held_out: float = 0.25
    relift: bool = True
    seed: int = 0
    progress: bool | None = field(default=None, repr=False)

    def run(self, data: Rollouts, candidates: Model | Sequence[Model], sample_weight: Weights = None) -> Trials:
        """Try everything and return the trials, the best first.

        One set of Gram matrices serves all values of ridge; everything else is fitted anew. A network is trained anew
        for each of its settings.

        Args:
            data: The recorded motion.
            candidates: Unfitted models; several to choose between couplings or kinds of model.
            sample_weight: How much each transition counts in the fits; those that count nothing judge nothing either.

        Raises:
            DataError: A parameter does not exist, or nothing could be fitted.
        """
        as_whole("horizon", self.horizon, 1)
        as_whole("seed", self.seed, 0)
        models = [candidates] if isinstance(candidates, Model) else list(candidates)
        check_separate(models)
        train, weight, test = self._split(data, check_weight(data, sample_weight))
        settings = self._settings(models, train)
        most = _most_delays(settings, test, self.horizon)
        trials: list[Trial] = []
        shown = sys.stderr.isatty() if self.progress is None else self.progress
        with progress_bar("searching", sum(max(len(ridges), 1) for *_, ridges in settings), shown) as advance:
            for model, params, ridges in settings:
                judge = _Judge(test, self.horizon, self.relift, most)
                for trial in _tried(model, params, ridges, train, weight, judge):
                    trials.append(trial)
                    advance()
        if not any(np.isfinite(trial.score) for trial in trials):
            reasons = "; ".join(sorted({trial.failed.rstrip(".") for trial in trials if trial.failed}))
            raise DataError(f"no candidate could be fitted and rolled out: {reasons or 'all diverge'}.")
        return Trials(tuple(sorted(trials, key=lambda trial: trial.score)), self.horizon, self.relift, len(test))

    def _split(self, data: Rollouts, weight: list[Array] | None) -> tuple[Rollouts, list[Array] | None, Rollouts]:
        """Return what is fitted, its weights, and what judges: shares of the episodes, or transitions, that count."""
        if not (is_finite(self.held_out) and 0.0 < self.held_out < 1.0):
            raise DataError(f"held_out is {self.held_out!r}; it is a share of the episodes between 0 and 1.")
        if weight is not None:
            counting = [i for i, w in enumerate(weight) if w.any()]
            data, weight = data[counting], [weight[i] for i in counting]
        if len(data) > 1:
            count = min(max(1, round((1.0 - self.held_out) * len(data))), len(data) - 1)
            order = np.random.default_rng(self.seed).permutation(len(data))
            first, last = np.sort(order[:count]).tolist(), np.sort(order[count:]).tolist()
            if weight is None:
                return data[first], None, data[last]
            test = counted_parts(data[last], [weight[i] for i in last], 0)
            return data[first], [weight[i] for i in first], test
        X, U = data.X[0], data.U[0]
        counts = np.arange(len(U)) if weight is None else np.flatnonzero(weight[0])
        share = round((1.0 - self.held_out) * len(counts))
        if not 1 <= share < len(counts) - 1:
            raise DataError(f"one episode of {len(counts)} transitions that count cannot be split; record more.")
        cut = int(counts[share])
        parts = ((X[: cut + 1], U[:cut]), (X[cut:], U[cut:]))
        early, late = (Rollouts([x], [u], data.dt, data.x_names, data.u_names, data.sensors) for x, u in parts)
        if weight is None:
            return early, None, late
        return early, [weight[0][:cut]], counted_parts(late, [weight[0][cut:]], 0)

    def _settings(self, models: list[Model], train: Rollouts) -> list[_Setting]:
        if not models:
            raise DataError("there are no models to try; give at least one, such as SampledRNN().")
        if self.grid is not None:
            _check_grid(self.grid, models)
        settings: list[_Setting] = []
        for model in models:
            known = model.get_params()
            grid = dict(_default_grid(model, train)) if self.grid is None else dict(self.grid)
            grid = {name: values for name, values in grid.items() if name in known}
            own = [known["ridge"]] if "ridge" in known else []
            ridges = sorted((float(r) for r in grid.pop("ridge", own)), reverse=True)
            settings += [(model, dict(zip(grid, values, strict=True)), ridges) for values in product(*grid.values())]
        return settings


@dataclass(frozen=True)
class _Judge:
    """Held-out motion and how roll-outs are compared with it.

    Attributes:
        test: The motion.
        horizon: Steps.
        relift: Which roll-out.
        delays: The most delays of any candidate: nothing earlier is predicted by the others either.
    """

    test: Rollouts
    horizon: int
    relift: bool
    delays: int

    def probe(self, model: Model) -> Probe:
        """Return the stretches that judge a model."""
        skip, test = self.delays - model.window_.delays, self.test
        if skip < 0:
            raise DataError(
                f"delays={model.window_.delays} leave less than half of the {self.horizon} steps to judge on held-out "
                f"episodes of at most {max(map(len, test.U))} transitions; record longer ones, or lower horizon"
            )
        if skip:
            parts = [(x[skip:], u[skip:]) for x, u in test if len(u) > skip]
            X, U = zip(*parts, strict=True)
            test = Rollouts(X, U, test.dt, test.x_names, test.u_names, test.sensors)
        return Probe.of(model.window_, test, self.horizon, _STARTS)

    def errors(self, model: Model, probe: Probe) -> Array:
        """Return the error after each step, as a share of the spread, (H,)."""
        rms = rms_errors(model, probe, self.relift)
        return np.asarray(np.sqrt(np.mean((rms / model._probe_.spread) ** 2, axis=1)))


def _check_grid(grid: object, models: list[Model]) -> None:
    """Raise a DataError unless `grid` holds values to try of parameters that some model has."""
    if not isinstance(grid, Mapping):
        raise DataError(f"grid is {grid!r}; give lists of values by parameter name, such as {{'ridge': [1e-8, 1e-4]}}.")
    known = list(dict.fromkeys(name for model in models for name in model.get_params()))
    kinds = " or ".join(dict.fromkeys(type(model).__name__ for model in models))
    for name, values in grid.items():
        if name not in known:
            raise UnknownNameError(f"parameter of {kinds}", name, known)
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or len(values) == 0:
            raise DataError(f"the grid of {name} is {values!r}; give a list of values to try.")
    for ridge in grid.get("ridge", ()):
        check_ridge(ridge)


def _default_grid(model: Model, train: Rollouts) -> dict[str, Sequence[Any]]:
    grid: dict[str, Sequence[Any]] = {"ridge": _RIDGES}
    params = model.get_params()
    most = max(train.n_samples // _SHARE, 10)

    def widths(width: int) -> list[int]:
        return sorted({min(max(10, round(width * factor)), most) for factor in (1 / 3, 1, 3)})

    for name, value in params.items():
        if name.split("__")[-1] in _WIDTHS and isinstance(value, int | np.integer):
            return grid | {name: widths(int(value))}
    if "lift" in params and params["lift"] is None:  # the default lift
        grid["lift"] = [SampledFeatures(width) for width in widths(_DEFAULT)]
    return grid


def _most_delays(settings: list[_Setting], test: Rollouts, horizon: int) -> int:
    """Return the most delays of any candidate that leave half of the steps to judge."""
    longest = max(len(U) for U in test.U)
    most = longest - (min(horizon, longest) + 1) // 2
    wanted = [_delays(model, params) for model, params, _ in settings]
    return int(max((d for d in wanted if isinstance(d, int | np.integer) and 0 <= d <= most), default=0))


def _delays(model: Model, params: dict[str, Any]) -> object:
    """Return how many older samples a state of the model with these parameters is made of, None where that is unclear.

    It may be a parameter itself, or depend on one, as with the washout of a network.
    """
    try:
        return clone(model).set_params(**params).delays
    except (KoopctlError, TypeError, AttributeError):
        return None


def _tried(
    model: Model,
    params: dict[str, Any],
    ridges: list[float],
    train: Rollouts,
    weight: list[Array] | None,
    judge: _Judge,
) -> Iterator[Trial]:
    """Yield a trial for each ridge, largest first: what is small enough to need a second pass then comes last."""
    if not isinstance(model, Learner | EchoState):
        for setting in [params | {"ridge": ridge} for ridge in ridges] or [params]:
            yield _alone(model, setting, train, weight, judge)
        return
    start, fitted, failure = time.perf_counter(), clone(model).set_params(**params, ridge=ridges[0]), ""
    probe: Probe | None = None
    try:
        fitted.accumulate(train, weight)
        probe = judge.probe(fitted)
    except (KoopctlError, np.linalg.LinAlgError) as error:
        failure = str(error)
    for ridge in ridges:
        errors, reason = np.full(1, np.inf), failure
        if probe is not None:
            try:
                fitted.set_params(ridge=ridge).solve(train, weight)
                errors = judge.errors(fitted, probe)
            except (KoopctlError, np.linalg.LinAlgError) as error:
                reason = str(error)
        seconds, start = time.perf_counter() - start, time.perf_counter()
        yield Trial(type(model).__name__, params | {"ridge": ridge}, tuple(map(float, errors)), seconds, reason, model)


def _alone(model: Model, params: dict[str, Any], train: Rollouts, weight: list[Array] | None, judge: _Judge) -> Trial:
    """Return the trial of a model that shares nothing with others: it is fitted anew."""
    start, errors, failure = time.perf_counter(), np.full(1, np.inf), ""
    try:
        fitted = clone(model).set_params(**params).fit(train, sample_weight=weight)
        errors = judge.errors(fitted, judge.probe(fitted))
    except (KoopctlError, np.linalg.LinAlgError) as error:
        failure = str(error)
    seconds = time.perf_counter() - start
    return Trial(type(model).__name__, params, tuple(map(float, errors)), seconds, failure, model)

"""Several models under the same controller: the same data, the same task, the same seeds of the real environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from sklearn.base import clone

from koopctl.arrays import is_finite
from koopctl.comparison import Comparison, check_runs, compare, look_at
from koopctl.controllers.designer import design
from koopctl.controllers.law import Law
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, SamplingTimeError
from koopctl.identify.trained import check_separate
from koopctl.learnt import HeldOut, Learnt
from koopctl.models.base import Model
from koopctl.models.echo_state import EchoState
from koopctl.models.with_reservoirpy import check_installed
from koopctl.progress import progress_bar
from koopctl.task import Task

if TYPE_CHECKING:
    from koopctl.environment import EnvSource

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class _Contender:
    model: Model
    seconds: float
    law: Law


def compare_models(
    env: EnvSource,
    models: Mapping[str, Model],
    data: Rollouts,
    seeds: Iterable[int],
    *,
    task: Task | None = None,
    held_out: float = 0.2,
    jobs: int = 1,
    steps: int | None = None,
    dt: float | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Fit every model to the same episodes, design the same `RelinearizedMPC` on each, and run all on the same seeds.

    The rows have the time of each fit, and errors of predictions on episodes that no model was fitted to: from the same
    samples, whatever a model's delays are, and in observations with the same spreads, those of the training data,
    whatever a model's coordinates are. A model that cannot be fitted or designed for is left out, with a note; so is
    one whose state is made of more samples than any held-out episode has.

    Args:
        env: An id, an EnvSpec, or a function that makes an environment.
        models: Unfitted models by name; they stay as they are.
        data: Recorded motion of the plant.
        seeds: Seeds of the environment's resets.
        task: What is wanted and measured; by default what is usual for the plant.
        held_out: Share of the episodes that no model is fitted to.
        jobs: Worker processes of the runs; -1 takes every core. The fits come one after the other.
        steps: Most steps a run; by default until the environment ends.
        dt: Sampling time [s] of an environment that does not say it.
        progress: Show bars on stderr; by default only where stderr is a terminal.

    Raises:
        DataError: There are no models, seeds or steps, too few episodes, no task, or no model could be fitted.
        EnvironmentUnsupportedError: The environment is unknown or discrete.
        SamplingTimeError: The data was sampled at another rate than the environment.
        KoopctlError: A model needs a package that is not installed.
    """
    wanted = _checked(env, models, task)
    chosen = check_runs(seeds, jobs, steps)
    _check_data(env, data, dt)
    train, test = _split(data, held_out)
    shown = sys.stderr.isatty() if progress is None else progress
    failed: list[str] = []
    with progress_bar("models", len(models), shown) as advance:
        fits = {name: partial(_fitted, model, train, test, wanted) for name, model in models.items()}
        found = _done(fits, failed, advance)
    learnt = _learnt(found, train, test, wanted.horizon, failed)
    if not learnt:
        raise DataError("no model could be fitted and designed for: " + " ".join(failed))
    laws = {name: found[name].law for name in learnt}
    result = compare(env, laws, chosen, jobs=jobs, task=wanted, steps=steps, dt=dt, progress=progress)
    rows = tuple(replace(row, learnt=learnt[row.name]) for row in result.rows)
    told = f"every model was fitted to the same {train.n_samples} transitions, {len(test)} episodes were held out."
    return replace(result, rows=rows, notes=(told, *failed, *result.notes), held_out=test)


def _checked(env: EnvSource, models: Mapping[str, Model], task: Task | None) -> Task:
    """Return the task, after refusing what would fail once hours have been spent on other models."""
    if not isinstance(models, Mapping) or not models:
        raise DataError("there are no models to compare; give them by name, e.g. {'ours': SampledRNN(), ...}.")
    for name, model in models.items():
        if not isinstance(model, Model):
            raise DataError(f"'{name}' is {model!r}, expected an unfitted model such as SampledRNN(300).")
        if isinstance(model, EchoState):
            check_installed()
    if len(models) > 1:
        check_separate(list(models.values()))
    if task is not None:
        return task
    from koopctl.envs.tasks import task as usual_task

    if not isinstance(env, str):
        raise DataError("the usual task is known by a plant's id; pass task=Task(...).")
    return usual_task(env)


def _check_data(env: EnvSource, data: Rollouts, dt: float | None) -> None:
    """Open the plant once, so that one that cannot run, or not at the rate of the data, is found before any fit."""
    if not isinstance(data, Rollouts):
        raise DataError(
            f"data is a {type(data).__name__}; expected Rollouts, which every model can learn from: make them with "
            "Rollouts(X, U, dt), which cuts episodes where values are missing, or join several with Rollouts.join."
        )
    plant = look_at(env, {}, dt)
    if not abs(plant.dt - data.dt) <= 1e-6 * data.dt:
        raise SamplingTimeError("the environment", data.dt, plant.dt)


def _split(data: Rollouts, share: float) -> tuple[Rollouts, Rollouts]:
    """Keep whole episodes back: at least one, where there are two."""
    if not (is_finite(share) and 0.0 < share < 1.0):
        raise DataError(f"held_out is {share!r}; it is a share of the episodes between 0 and 1.")
    kept_back = min(max(1, round(share * len(data))), max(len(data) - 1, 1))
    return data.split(1.0 - kept_back / len(data))


def _done(
    work: Mapping[str, Callable[[], _Found]], failed: list[str], advance: Callable[[], None] | None = None
) -> dict[str, _Found]:
    """Return what was found for each model; the words of those for which nothing was go to `failed`."""
    found: dict[str, _Found] = {}
    for name, attempt in work.items():
        try:
            found[name] = attempt()
        # Whatever is wrong with one model, even a bug in somebody's own, must not cost the hours spent on the others.
        except Exception as error:
            failed.append(f"{name} is left out: {type(error).__name__}: {' '.join(str(error).split())}")
        if advance is not None:
            advance()
    return found


def _fitted(model: Model, train: Rollouts, test: Rollouts, task: Task) -> _Contender:
    _check_window(getattr(model, "delays", 0), test)
    start = time.perf_counter()
    fitted: Model = clone(model).fit(train)
    seconds = time.perf_counter() - start
    _check_window(fitted.window_.delays, test)  # a model may find its delays in the data
    fitted.prepare()
    return _Contender(fitted, seconds, design(fitted, task, "relinearized"))


def _learnt(
    found: Mapping[str, _Contender], train: Rollouts, test: Rollouts, horizon: int, failed: list[str]
) -> dict[str, Learnt]:
    """Measure all models from the same samples of the held-out episodes."""
    before = max((each.model.window_.delays for each in found.values()), default=0)
    unseen = HeldOut.of(train, test, before, horizon)
    return _done({name: partial(Learnt.of, each.model, each.seconds, unseen) for name, each in found.items()}, failed)


def _check_window(delays: object, test: Rollouts) -> None:
    """Refuse a model that could predict nothing of the held-out episodes; what is no number is left to its fit."""
    longest = max(len(U) for U in test.U)
    if isinstance(delays, int | np.integer) and delays >= longest:
        raise DataError(
            f"a state is made of {delays} samples before the newest one, but the longest held-out episode has "
            f"{longest} transitions; record longer episodes, or lower its delays or washout."
        )

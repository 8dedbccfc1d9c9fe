"""Runs of several laws over the same seeds: each on a fresh copy, timed, in parallel, a failure kept as a result."""

from __future__ import annotations

import copy
import functools
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from koopctl.arrays import Array
from koopctl.controllers.law import Law
from koopctl.environment import find_spec
from koopctl.errors import DataError
from koopctl.loop import Controller, simulate
from koopctl.progress import progress_bar
from koopctl.trajectory import Trajectory

if TYPE_CHECKING:
    from koopctl.environment import EnvSource

Work: TypeAlias = "Callable[[], Trajectory | Failure]"


@dataclass(frozen=True)
class Failure:
    """A run that ended in an exception.

    Attributes:
        seed: The run's seed.
        step: Step at which it happened.
        error: The exception in words.
    """

    seed: int
    step: int
    error: str


def run_all(
    env: EnvSource,
    laws: Mapping[str, Controller],
    seeds: Sequence[int],
    *,
    jobs: int,
    steps: int | None,
    dt: float | None,
    shown: bool,
) -> dict[str, list[Trajectory | Failure]]:
    """Return one result for each law and seed.

    Args:
        env: What makes an environment.
        laws: The controllers by name.
        seeds: Seeds of the resets, the same for each law.
        jobs: Worker processes.
        steps: Most steps a run.
        dt: Sampling time [s] of an environment that does not say it.
        shown: Show a bar on stderr.

    Raises:
        DataError: A law or the environment's factory cannot be sent to worker processes.
    """
    source = find_spec(env)
    work = [functools.partial(_run, source, _recipe(law), seed, steps, dt) for law in laws.values() for seed in seeds]
    results: list[Trajectory | Failure] = []
    with progress_bar("runs", len(work), shown) as advance:
        for result in _each(work, jobs):
            results.append(result)
            advance()
    return {name: results[i * len(seeds) : (i + 1) * len(seeds)] for i, name in enumerate(laws)}


class _Timed:
    """A law whose calls are counted and, where it does not say so itself, timed."""

    def __init__(self, law: Controller) -> None:
        self.law = law
        self.dt = getattr(law, "dt", None)
        self.calls = 0

    def reset(self) -> None:
        self.law.reset()

    def __call__(self, y: Array, reference: Array | None = None) -> Any:
        start = time.perf_counter()
        answer: Any = self.law(y) if reference is None else self.law(y, reference)
        elapsed = time.perf_counter() - start
        self.calls += 1
        if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict):
            said = answer[1].get("solve_time")
            return answer[0], {**answer[1], "solve_time": said if isinstance(said, float) else elapsed}
        return answer  # the loop says what is wrong with it


def _run(
    env: EnvSource, recipe: Callable[[], Controller], seed: int, steps: int | None, dt: float | None
) -> Trajectory | Failure:
    law = _Timed(recipe())
    try:
        return simulate(env, law, seed=seed, steps=steps, dt=dt)  # type: ignore[arg-type]  # dt is passed on as it is
    # One law's fault must not cost the other laws' results; its words go into the table.
    except Exception as error:
        return Failure(seed, law.calls, f"{type(error).__name__}: {error}")


def _recipe(law: Controller) -> Callable[[], Controller]:
    """Return what makes an independent copy of a law, also in another process.

    Solvers outside Python cannot be copied and remember their last solution, so koopctl's own laws are designed anew.
    """
    if isinstance(law, Law):
        return functools.partial(type(law), law.model, law.task, **law.options())
    return functools.partial(_own_copy, law)


def _own_copy(law: Controller) -> Controller:
    try:
        return copy.deepcopy(law)
    except TypeError:  # holds something that cannot be copied; reset() then has to do
        return law


def _each(work: Sequence[Work], jobs: int) -> Iterator[Trajectory | Failure]:
    if jobs == 1:
        yield from (run() for run in work)
        return
    import joblib

    results = joblib.Parallel(n_jobs=jobs, return_as="generator")(joblib.delayed(run)() for run in work)
    try:
        yield from results
    except (pickle.PicklingError, TypeError, AttributeError) as error:  # the run's own errors are results
        raise DataError(
            f"a law or the environment's factory cannot be sent to worker processes ({error}); leave jobs at 1."
        ) from error
    finally:
        results.close()  # stops workers whose results nobody waits for

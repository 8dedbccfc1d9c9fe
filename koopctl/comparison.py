"""Several laws on one plant: the same seeds, the same yardstick, and what each law knew."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctl.arrays import as_whole
from koopctl.environment import make_env, open_plant
from koopctl.errors import DataError, UnknownNameError
from koopctl.loop import Controller, check_law_dt
from koopctl.metrics import Yardstick
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc
from koopctl.models.remembering import Remembering
from koopctl.rows import Row, summarise
from koopctl.runs import run_all
from koopctl.task import Task
from koopctl.trajectory import Trajectory

if TYPE_CHECKING:
    from rich.table import Table

    from koopctl.data.rollouts import Rollouts
    from koopctl.environment import EnvSource, Plant

_NOT_WANTED = ("horizon", "slack_price", "u_safe")  # fields of a task that say how, not what


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `compare` found.

    Attributes:
        env: The plant.
        dt: Its sampling time [s].
        seeds: The seeds every law met.
        task: The task that measures all rows.
        yardstick: The same in numbers, with the coordinates; None where every run failed.
        rows: One row a law, in the order given.
        runs: The runs of each law that did not fail.
        models: The learnt model of each law that has one.
        jobs: Runs made at the same time; more than one share the cores, which lengthens their latencies.
        notes: What a reader must know to judge the table.
        held_out: Episodes that no model was fitted to, where models are compared.
    """

    env: str
    dt: float
    seeds: tuple[int, ...]
    task: Task
    yardstick: Yardstick | None
    rows: tuple[Row, ...]
    runs: Mapping[str, tuple[Trajectory, ...]]
    models: Mapping[str, Model]
    jobs: int
    notes: tuple[str, ...]
    held_out: Rollouts | None = None

    def __getitem__(self, name: str) -> Row:
        """Return the row of a law."""
        for row in self.rows:
            if row.name == name:
                return row
        raise UnknownNameError("law", name, [row.name for row in self.rows])

    def __str__(self) -> str:
        """Return the table as plain text, with its notes."""
        from koopctl.tables import text_table

        return text_table(self)

    def __repr__(self) -> str:
        """Return one line."""
        return f"Comparison({', '.join(row.name for row in self.rows)} on {self.env}, {len(self.seeds)} seeds)"

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from koopctl.tables import html_table

        return html_table(self)

    def table(self) -> Table:
        """Return the table for a `rich` console."""
        from koopctl.tables import rich_table

        return rich_table(self)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description of all numbers; infinities are the words "inf" and "-inf", NaN is None."""
        return {
            "env": self.env,
            "dt": self.dt,
            "seeds": list(self.seeds),
            "task": self.task.to_dict(),
            "coordinates": list(self.yardstick.chart.names) if self.yardstick else [],
            "settling_band": self.yardstick.band if self.yardstick else None,
            "jobs": self.jobs,
            "notes": list(self.notes),
            "laws": [row.to_dict() for row in self.rows],
        }

    def report(
        self, folder: str | Path, *, models: Mapping[str, Model] | None = None, held_out: Rollouts | None = None
    ) -> Path:
        """Write one self-contained HTML page and return its path.

        Args:
            folder: Where to write `report.html`; made when missing.
            models: Models to show, by name; the laws' own by default.
            held_out: Episodes no model was fitted to; with them the page shows prediction errors. By default those that
                models were compared on.
        """
        from koopctl.report import write_report

        return write_report(self, folder, models=models, held_out=self.held_out if held_out is None else held_out)


def compare(
    env: EnvSource,
    laws: Mapping[str, Controller],
    seeds: Iterable[int],
    *,
    jobs: int = 1,
    task: Task | None = None,
    steps: int | None = None,
    dt: float | None = None,
    knows: Mapping[str, str] | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Run every law on the same seeds of the real environment and measure all runs alike.

    Every run starts from a fresh copy of its law, so that the numbers depend neither on `jobs` nor on the order; only
    latencies do, and they are honest with `jobs=1` alone. A law that raises during a run loses that run, not the table.

    Args:
        env: An id, an EnvSpec, or a function that makes an environment.
        laws: The controllers by name; any object with `reset()`, `law(y) -> (u, info)` and `dt` will do.
        seeds: Seeds of the environment's resets.
        jobs: Worker processes; -1 takes every core.
        task: What measures the runs; by default what the laws were designed for, where they agree, else the usual
            task of the plant, else the first law's.
        steps: Most steps a run; by default until the environment ends.
        dt: Sampling time [s] of an environment that does not say it.
        knows: What each law knew about the plant, by name, where the law does not say it in an attribute `knows`.
        progress: Show a bar on stderr; by default only where stderr is a terminal.

    Raises:
        EnvironmentUnsupportedError: The environment is unknown or discrete.
        SamplingTimeError: A law was made for another sampling time.
        DataError: There are no laws, seeds or steps, no task can be found, or the task does not fit the plant.
        UnknownNameError: `knows` speaks of a law that is not compared.
    """
    _check(laws, knows or {})
    chosen = check_runs(seeds, jobs, steps)
    plant = look_at(env, laws, dt)
    wanted = task if task is not None else _task_of(plant, laws)
    shown = sys.stderr.isatty() if progress is None else progress
    results = run_all(env, laws, chosen, jobs=jobs, steps=steps, dt=dt, shown=shown)
    runs = {name: tuple(r for r in part if isinstance(r, Trajectory)) for name, part in results.items()}
    models = {name: model for name, law in laws.items() if (model := _model_of(law)) is not None}
    every = [run for part in runs.values() for run in part]
    charts = [model.window_.chart for model in models.values()]
    yardstick = Yardstick.choose(wanted, every, charts) if every else None
    known = {name: _knowledge(law) for name, law in laws.items()} | dict(knows or {})
    rows = tuple(summarise(name, known[name], results[name], yardstick) for name in laws)
    told = _notes(laws, wanted, jobs)
    return Comparison(
        _name_of(env, plant), plant.dt, chosen, wanted, yardstick, rows, runs, models, jobs=jobs, notes=told
    )


def _check(laws: Mapping[str, Controller], knows: Mapping[str, str]) -> None:
    if not isinstance(laws, Mapping) or not laws:
        raise DataError("there are no laws to compare; give them by name, e.g. {'mpc': law, 'lqr': other}.")
    for name in knows:
        if name not in laws:
            raise UnknownNameError("law in knows", name, tuple(laws))


def check_runs(seeds: Iterable[int], jobs: int, steps: int | None) -> tuple[int, ...]:
    """Return the seeds, after refusing what no comparison can be run with.

    Args:
        seeds: Seeds of the environment's resets.
        jobs: Worker processes; -1 takes every core.
        steps: Most steps a run, None until the environment ends.

    Raises:
        DataError: There are no seeds, one is negative or given twice, there are no jobs, or no steps.
    """
    chosen = tuple(seeds)
    whole = all(isinstance(seed, int | np.integer) and seed >= 0 for seed in chosen)
    if not chosen or not whole or len(set(chosen)) < len(chosen):
        raise DataError(f"seeds are {list(chosen)}; give whole numbers >= 0, each once, e.g. range(100, 110).")
    if not isinstance(jobs, int | np.integer) or jobs == 0:
        raise DataError(f"jobs is {jobs!r}; it must be a whole number >= 1, or -1 for every core.")
    if steps is not None:
        as_whole("steps", steps, 1)
    return tuple(int(seed) for seed in chosen)


def look_at(env: EnvSource, laws: Mapping[str, Controller], dt: float | None) -> Plant:
    """Return the plant (its environment closed) after checking that every law may run on it.

    Args:
        env: An id, an EnvSpec, or a function that makes an environment.
        laws: The controllers by name; there may be none yet.
        dt: Sampling time [s] of an environment that does not say it.

    Raises:
        EnvironmentUnsupportedError: The environment is unknown or discrete.
        DataError: The sampling time is not positive.
        SamplingTimeError: A law was made for another sampling time.
    """
    made = make_env(env)
    try:
        plant = open_plant(made, dt)
    finally:
        made.close()
    for law in laws.values():
        check_law_dt(law, plant)
    return plant


def _name_of(env: EnvSource, plant: Plant) -> str:
    if isinstance(env, str):
        return env
    spec = plant.env.spec
    return str(spec.id) if spec is not None else type(plant.env.unwrapped).__name__


def _task_of(plant: Plant, laws: Mapping[str, Controller]) -> Task:
    """Return the task all laws were designed for; where they differ or have none, the usual one of the plant."""
    from koopctl.envs.tasks import task

    own = [mine for law in laws.values() if (mine := _designed_for(law)) is not None]
    if own and all(_wanted(other) == _wanted(own[0]) for other in own):
        return own[0]
    spec = plant.env.spec
    try:
        return task("" if spec is None else spec.id)
    except UnknownNameError:
        if own:
            return own[0]
    raise DataError("no law has a task and none is known for this plant, so there is no cost; pass task=Task(...).")


def _designed_for(law: Controller) -> Task | None:
    own = getattr(law, "task", None)
    return own if isinstance(own, Task) else None


def _model_of(law: Controller) -> Model | None:
    model = getattr(law, "model", None)
    return model if isinstance(model, Model) else None


def _wanted(task: Task) -> dict[str, Any]:
    return {name: value for name, value in task.to_dict().items() if name not in _NOT_WANTED}


def _knowledge(law: Controller) -> str:
    said = getattr(law, "knows", None)
    if isinstance(said, str):
        return said
    model = _model_of(law)
    if model is None:
        return "not stated"
    if isinstance(model, Remembering):
        units = model.window_.nx - model.window_.nq
        return f"learnt: {type(model).__name__}, {units} hidden states, made of {model.delays} samples"
    if isinstance(model, EDMDc):
        features, more = model.lift_.n_out, [f"{model.inputs} inputs"]
    else:
        features, more = getattr(model, "n_features", 0), list[str]()
    more += [f"{model.delays} delays"] if model.delays else []
    return ", ".join([f"learnt: {type(model).__name__}", f"{features} features", *more])


def _notes(laws: Mapping[str, Controller], task: Task, jobs: int) -> tuple[str, ...]:
    tasks = {name: _designed_for(law) for name, law in laws.items()}
    other = [name for name, own in tasks.items() if own is not None and _wanted(own) != _wanted(task)]
    notes = [f"{', '.join(other)}: designed for another task than the one that measures here."] if other else []
    return (*notes, *([f"{jobs} runs shared the cores, so latencies are longer than alone."] if jobs != 1 else []))

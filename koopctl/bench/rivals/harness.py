"""The program every rival runs under: read the problem, choose settings, time the fit, predict, write the result.

`run_rival` starts it in the rival's own interpreter, where koopctl is not installed: it imports numpy alone, and the
rival's script by its path. A script says `PACKAGE`, the name of what it measures, and `entrants(problem)`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_HELD_OUT = 0.2  # share of the training data the settings are judged on
_JUDGED = 10  # most episodes or starts they are judged on
_AHEAD = 100  # most steps of these episodes


class Entrant(Protocol):
    """One way of using a package; what a script implements.

    Attributes:
        label: Name in the table.
        rollouts: The ways it can predict, by name.
        grid: The settings to choose from.
    """

    label: str
    rollouts: tuple[str, ...]
    grid: tuple[dict[str, Any], ...]

    def prepare(self, data: Any) -> Any:
        """Bring the data into the package's own layout; not timed.

        Args:
            data: Motion: lists of episodes X and U. Attractor: one series (n, nx).
        """

    def fit(self, prepared: Any, settings: dict[str, Any]) -> Any:
        """Return a model fitted to what `prepare` made; timed."""

    def predict(self, model: Any, start: Array, ahead: Any, rollout: str) -> Array:
        """Return predictions (n, steps + 1, nx), row 0 the given states.

        Args:
            model: What `fit` made.
            start: Motion: states (n, nx). Attractor: true motion up to each start, (n, w, nx).
            ahead: Motion: inputs (n, steps, nu). Attractor: the number of steps.
            rollout: One of `rollouts`.
        """


class Motion:
    """Problems of kind "motion"."""

    def __init__(self, problem: dict[str, Array]) -> None:
        """Cut the concatenated arrays into episodes."""
        self.data = split(problem["X"], problem["U"], problem["lengths"])
        self.test = split(problem["X_test"], problem["U_test"], problem["lengths_test"])
        count = max(1, round(_HELD_OUT * len(self.data[0])))
        self.part = self.data[0][:-count], self.data[1][:-count]
        self.held_out = (
            [x[: _AHEAD + 1] for x in self.data[0][-count:][:_JUDGED]],
            [u[:_AHEAD] for u in self.data[1][-count:][:_JUDGED]],
        )
        if not self.part[0]:
            raise ValueError("one training episode cannot be split into data to fit and data to judge; give two.")
        self.spread = np.concatenate(self.data[0]).std(axis=0)

    def judge(self, entrant: Entrant, model: Any, rollout: str) -> float:
        """Return the multi-step error on held-out episodes: the geometric mean over the steps, in deviations."""
        predicted = self._rolled_out(entrant, model, self.held_out, rollout)
        steps = min(len(u) for u in self.held_out[1])
        errors = [(p - x)[1 : steps + 1] / self.spread for p, x in zip(predicted, self.held_out[0], strict=True)]
        return float(np.exp(np.mean(np.log(np.sqrt(np.mean(np.square(errors), axis=(0, 2))) + 1e-300))))

    def predict(self, entrant: Entrant, model: Any, rollout: str) -> dict[str, Array]:
        """Return the predictions of the test episodes."""
        return {"predictions": np.concatenate(self._rolled_out(entrant, model, self.test, rollout))}

    def _rolled_out(self, entrant: Entrant, model: Any, episodes: Any, rollout: str) -> list[Array]:
        """Predict every episode from its first state, those of equal length together."""
        X, U = episodes
        predicted: list[Array] = [np.empty(0)] * len(X)
        for steps in sorted({len(u) for u in U}):
            chosen = [i for i, u in enumerate(U) if len(u) == steps]
            start, inputs = np.stack([X[i][0] for i in chosen]), np.stack([U[i] for i in chosen])
            rows = checked(entrant.predict(model, start, inputs, rollout), start, steps)
            for i, episode in zip(chosen, rows, strict=True):
                predicted[i] = episode
        return predicted


class Attractor:
    """Problems of kind "attractor"."""

    def __init__(self, problem: dict[str, Array]) -> None:
        """Keep the series and cut the windows to judge settings on from its end."""
        self.data, self.windows = problem["series"], problem["windows"]
        self.steps, self.free_steps = int(problem["steps"]), int(problem["free_steps"])
        self.washout, self.spread = int(problem["washout"]), self.data.std(axis=0)
        count = round((1.0 - _HELD_OUT) * len(self.data))
        self.part, self.tail = self.data[:count], self.data[count:]
        room = len(self.tail) - self.washout
        if room < 2:
            raise ValueError(f"{len(self.data)} samples leave none to judge settings on; give a longer series.")
        self.judged = min(self.steps, room // 2)
        self.starts = np.unique(np.linspace(0, room - self.judged, _JUDGED).astype(int))

    def judge(self, entrant: Entrant, model: Any, rollout: str) -> float:
        """Return the geometric mean, over starts and steps in the tail, of the error in deviations, each at most 1.

        Chaos makes every error grow to the size of the attractor; from there on it says nothing.
        """
        windows = np.stack([self.tail[i : i + self.washout] for i in self.starts])
        truth = np.stack([self.tail[i + self.washout :][: self.judged] for i in self.starts])
        predicted = checked(entrant.predict(model, windows, self.judged, rollout), windows[:, -1], self.judged)
        error = np.sqrt(np.mean(np.square((predicted[:, 1:] - truth) / self.spread), axis=2))
        return float(np.exp(np.mean(np.log(np.where(error < 1.0, error, 1.0) + 1e-300))))

    def predict(self, entrant: Entrant, model: Any, rollout: str) -> dict[str, Array]:
        """Return the predictions from every window and the long run on from the end of the series."""
        end = self.data[None, -self.windows.shape[1] :]
        predicted = checked(entrant.predict(model, self.windows, self.steps, rollout), self.windows[:, -1], self.steps)
        free = checked(entrant.predict(model, end, self.free_steps, rollout), end[:, -1], self.free_steps)
        return {"predictions": predicted, "free_run": free[0]}


_KINDS: dict[str, Callable[[dict[str, Array]], Motion | Attractor]] = {"motion": Motion, "attractor": Attractor}


def split(X: Array, U: Array, lengths: Array) -> tuple[list[Array], list[Array]]:
    """Return the episodes of concatenated states and inputs."""
    ends = np.cumsum(lengths.astype(int))
    return np.split(X, (ends + np.arange(1, len(ends) + 1))[:-1]), np.split(U, ends[:-1])


def checked(predicted: Array, start: Array, steps: int) -> Array:
    """Return predictions as floats after a look at their shape."""
    rows = np.asarray(predicted, dtype=np.float64)
    expected = (len(start), steps + 1, start.shape[1])
    if rows.shape != expected:
        raise ValueError(f"the script predicted {rows.shape}, expected {expected}: starts, steps + 1, states.")
    return rows


def compete(kind: Motion | Attractor, entrant: Entrant, repeats: int) -> list[dict[str, Any]]:
    """Return one entry for each roll-out of an entrant, its settings chosen, its fit timed."""
    try:
        trials = tried(kind, entrant)
        prepared = entrant.prepare(kind.data)
        return [
            {"label": entrant.label, "rollout": rollout, "trials": trials[rollout]}
            | timed(entrant, prepared, chosen := best(trials[rollout]), repeats)
            | kind.predict(entrant, entrant.fit(prepared, chosen), rollout)
            for rollout in entrant.rollouts
        ]
    except Exception as error:  # whatever a package raises is a line of the table, and the next entrant's turn
        return [{"label": entrant.label, "rollout": each, "failed": reason(error)} for each in entrant.rollouts]


def tried(kind: Motion | Attractor, entrant: Entrant) -> dict[str, list[dict[str, Any]]]:
    """Return for each roll-out every setting with its error on held-out data, None where it failed or ran away."""
    prepared = entrant.prepare(kind.part)
    trials: dict[str, list[dict[str, Any]]] = {rollout: [] for rollout in entrant.rollouts}
    for settings in entrant.grid:
        for row in trials.values():
            row.append({"settings": settings, "error": None})
        try:
            model = entrant.fit(prepared, settings)
            for rollout, row in trials.items():
                error = kind.judge(entrant, model, rollout)
                row[-1]["error"] = error if np.isfinite(error) else None
        except Exception as error:  # one setting that a package cannot fit leaves the others
            for row in trials.values():
                row[-1]["failed"] = reason(error)
    return trials


def best(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the settings of least error, the first ones if none has any."""
    judged = [trial for trial in trials if trial["error"] is not None] or trials
    return dict(min(judged, key=lambda trial: trial["error"] or 0.0)["settings"])


def timed(entrant: Entrant, prepared: Any, settings: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Return the settings and the times of some fits after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        entrant.fit(prepared, settings)
        times.append(time.perf_counter() - started)
    return {"settings": settings, "fit_s": statistics.median(times[1:]), "fit_times": times[1:]}


def reason(error: Exception) -> str:
    """Return an exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def write(path: str, report: dict[str, Any]) -> None:
    """Write arrays as arrays and all else as one JSON text."""
    arrays = {}
    for i, entry in enumerate(report["entries"]):
        for name in [name for name, value in entry.items() if isinstance(value, np.ndarray)]:
            arrays[f"{i}/{name}"] = entry.pop(name)
    np.savez(path, report=np.array(json.dumps(report)), **arrays)


def load(path: str) -> ModuleType:
    """Import a script by its path."""
    spec = importlib.util.spec_from_file_location("rival_script", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main(script: str, problem_file: str, result_file: str) -> None:
    """Run a script on a problem and write the result."""
    with np.load(problem_file, allow_pickle=False) as file:
        problem = {name: file[name] for name in file.files}
    module = load(script)
    kind = _KINDS[str(problem["kind"])](problem)
    entries: list[dict[str, Any]] = []
    with np.errstate(all="ignore"):  # predictions may run away; the table says so
        for entrant in module.entrants(problem):
            entries += compete(kind, entrant, int(problem["repeats"]))
    name = module.PACKAGE
    package = f"{name} {importlib.metadata.version(name)}" if name else Path(script).stem
    write(result_file, {"package": package, "numpy": np.__version__, "entries": entries})


if __name__ == "__main__":
    main(*sys.argv[1:])

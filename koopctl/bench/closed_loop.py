"""`koopctl bench closed-loop`: every closed-loop number the README quotes, from a clean start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctl.bench.dynamic_programming import PendulumOracle
from koopctl.bench.latency import step_latency
from koopctl.bench.options import Options
from koopctl.bench.settings import PLANTS, PlantSetting
from koopctl.collecting import collect
from koopctl.controllers.law import Law
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.lqr import LQR
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.data.rollouts import Rollouts
from koopctl.envs.tasks import task as known_task
from koopctl.errors import DesignError
from koopctl.features.sampled import SampledFeatures
from koopctl.loop import simulate
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.trajectory import Trajectory

if TYPE_CHECKING:
    from rich.console import Console

_FIRST_SEED = 100
_QUICK_RUNS = 2
_ARRIVED = 0.05  # distance from the origin that counts as reached


def run(options: Options, console: Console) -> dict[str, Any]:
    """Run the whole bench and return every figure it printed.

    Args:
        options: With `quick`, two runs a plant, a coarser grid for the optimum, and neither the demo's nor the import's
            time. There is no data to read, and the rivals are the other laws.
        console: Where the tables go.
    """
    parts: dict[str, Callable[[Options, Console], Any]] = {"plants": _plants, "latency": _latency}
    if not options.quick:
        parts["times"] = _times
    return options.run({name: partial(part, options, console) for name, part in parts.items()})


def _plants(options: Options, console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": [], "seeds": {}}
    for setting in PLANTS:
        seeds = list(range(_FIRST_SEED, _FIRST_SEED + (_QUICK_RUNS if options.quick else setting.runs)))
        rows = _plant(setting, seeds, console, 301 if options.quick else 601)
        found["rows"] += rows
        found["seeds"][setting.env] = seeds
        _print(setting, seeds, rows, console)
    return found


def _latency(options: Options, console: Console) -> dict[str, float]:
    found = step_latency(2 if options.quick else 20)
    console.print(
        "RelinearizedMPC, 300 features, 8 states, 1 input, horizon 20: median {step_ms:.2f} ms, p99 {step_p99_ms:.2f} "
        "ms; where a bound binds ({share_with_solver:.0%} of the steps) {step_with_solver_ms:.2f} ms, "
        "{ratio_to_solver:.1f} x the bare solver's {solver_ms:.2f} ms".format(**found)
    )
    return found


def _times(options: Options, console: Console) -> dict[str, float]:
    del options
    found = _wall_times()
    console.print("koopctl demo: {demo_s:.0f} s; import koopctl: {import_s:.2f} s".format(**found))
    return found


def _plant(setting: PlantSetting, seeds: list[int], console: Console, grid: int) -> list[dict[str, Any]]:
    """Record, learn and run one plant; return one row a law."""
    data = _recorded(setting)
    started = time.perf_counter()
    network = SampledRNN(300).fit(data)
    fit_s = time.perf_counter() - started
    console.print(f"[bold]{setting.env}[/bold]: {data.n_samples} random transitions, fitted in {fit_s:.2f} s")
    optimum = _optimum(seeds, grid) if setting.env == "Pendulum-v1" else None
    rows = []
    for name, law in _laws(setting, network, data).items():
        row: dict[str, Any] = {"env": setting.env, "law": name, "transitions": data.n_samples, "fit_s": fit_s}
        if isinstance(law, DesignError):
            rows.append(row | {"refused": str(law)})
            continue
        runs = [simulate(setting.env, law, seed=seed, steps=setting.length) for seed in seeds]
        rows.append(row | _measured(runs, optimum))
    return rows


def _recorded(setting: PlantSetting) -> Rollouts:
    """Record the plant and keep whole episodes up to the allowed number of transitions."""
    data = collect(
        setting.env, episodes=setting.episodes, steps=setting.steps, excitation=setting.excitation, progress=False
    )
    total = np.cumsum([len(u) for u in data.U])
    return data[: int(np.searchsorted(total, setting.most_transitions, side="right"))]


def _laws(setting: PlantSetting, network: SampledRNN, data: Rollouts) -> dict[str, Law | DesignError]:
    """Design every law of the table; a refusal is a row of its own."""
    task = known_task(setting.env)
    lifted = EDMDc(SampledFeatures(100)).fit(data)
    makers: dict[str, tuple[type[Law], Model, int]] = {
        f"RelinearizedMPC, horizon {n}": (RelinearizedMPC, network, n) for n in setting.horizons
    }
    makers |= {"LQR": (LQR, network, task.horizon), "LiftedMPC, 100 features": (LiftedMPC, lifted, task.horizon)}
    laws: dict[str, Law | DesignError] = {}
    for name, (kind, model, horizon) in makers.items():
        try:
            laws[name] = kind(model, task.replace(horizon=horizon))
        except DesignError as error:
            laws[name] = error
    return laws


def _measured(runs: list[Trajectory], optimum: float | None) -> dict[str, Any]:
    returns = [run.total_reward for run in runs]
    latency = 1e3 * np.concatenate([run.info("solve_time") for run in runs])
    ends = [float(np.linalg.norm(run.X[-1])) for run in runs]
    row = {
        "mean_return": statistics.fmean(returns),
        "worst_return": min(returns),
        "arrived": sum(end < _ARRIVED for end in ends),
        "runs": len(runs),
        "p50_ms": float(np.median(latency)),
        "p99_ms": float(np.quantile(latency, 0.99)),
    }
    return row if optimum is None else row | {"optimum": optimum, "ratio": row["mean_return"] / optimum}


def _optimum(seeds: list[int], grid: int) -> float:
    oracle = PendulumOracle(grid, grid)
    return statistics.fmean(oracle.total_reward(seed) for seed in seeds)


def _print(setting: PlantSetting, seeds: list[int], rows: list[dict[str, Any]], console: Console) -> None:
    from rich.table import Table

    table = Table(title=f"seeds {seeds[0]}..{seeds[-1]}, {setting.length} steps; goal: {setting.goal}")
    for heading in ("law", "mean return", "worst", "result", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="left" if heading == "law" else "right")
    for row in rows:
        if "refused" in row:
            table.add_row(row["law"], "no design", "", row["refused"][:60], "", "")
            continue
        result = f"{row['arrived']} of {row['runs']} at the origin" if "VanDerPol" in setting.env else ""
        if "ratio" in row:
            result = f"{row['ratio']:.3f} x the optimum {row['optimum']:.1f}"
        numbers = (f"{row['mean_return']:.1f}", f"{row['worst_return']:.1f}", result)
        table.add_row(row["law"], *numbers, f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}")
    console.print(table)


def _wall_times() -> dict[str, float]:
    """Time the demo once and the import five times, each in a process of its own."""
    imports = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import koopctl"], check=True)
        imports.append(time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "-m", "koopctl", "demo", "--output", folder]
        subprocess.run(command, check=True, capture_output=True)
        return {"demo_s": time.perf_counter() - started, "import_s": statistics.median(imports)}

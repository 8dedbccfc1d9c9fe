"""`koopctl bench paper`: gradient-free training against recurrent networks trained by gradient descent."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from koopctl.bench import paper_ablations, paper_control, paper_sanity, paper_tables
from koopctl.bench.options import Options
from koopctl.bench.paper_budget import Budget
from koopctl.bench.paper_models import Contender, contenders, linear_ar
from koopctl.bench.paper_scoring import baseline_row, likeness, over_seeds, row_of
from koopctl.bench.paper_systems import Recording, System, systems
from koopctl.bench.paper_weather import FILE, WHERE, find, persistence, seasonal_naive, weather
from koopctl.bench.settings import PlantSetting

if TYPE_CHECKING:
    from rich.console import Console

_NO_WEATHER = f"\nweather left out: no {FILE} in the folder of --data or $KOOPCTL_DATA, and no file in ${WHERE}"


def run(options: Options, console: Console) -> dict[str, Any]:
    """Run the whole bench and return every figure it printed.

    Args:
        options: With `quick`, one seed, two trials, short descents and one closed loop; without `rivals`, no model
            that is trained by gradient descent.
        console: Where the tables go.
    """
    budget, models = Budget.of(options.quick), contenders(options.rivals)
    _preface(budget, console)
    begin = time.perf_counter()
    parts: dict[str, Callable[[], Any]] = {
        part_name(system.name): partial(_system, system, models, budget, console) for system in systems()
    }
    for system in (system for system in systems() if system.name in paper_ablations.ABLATED):
        parts[f"{part_name(system.name)}-ablations"] = partial(_ablations, system, budget, console)
    parts["weather"] = partial(_weather, options, models, budget, console)
    for setting in paper_control.plants(options.quick):
        parts[part_name(setting.env)] = partial(closed_loops, setting, models, budget, console)
    if budget.sanity:
        parts["sanity"] = partial(paper_sanity.run, systems()[0], models, budget, console)
    with compiled_once():
        found = options.run(parts)
    seconds = time.perf_counter() - begin
    console.print(f"\nall of it took {seconds / 60:.1f} min")
    return found | {"budget": vars(budget), "seconds": seconds}


def part_name(name: str) -> str:
    """Return the name of a part for the command line: small letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def _system(system: System, models: Sequence[Contender], budget: Budget, console: Console) -> dict[str, Any]:
    recordings = [system.record(seed, budget) for seed in range(budget.seeds)]
    return forecasts(system, recordings, models, budget, console)


def _ablations(system: System, budget: Budget, console: Console) -> list[dict[str, Any]]:
    return ablations(system, [system.record(seed, budget) for seed in range(budget.seeds)], budget, console)


def _weather(options: Options, models: Sequence[Contender], budget: Budget, console: Console) -> dict[str, Any]:
    path = find(options.data)
    if path is None:
        console.print(_NO_WEATHER)
        return {}
    system = weather(path)
    recordings = [system.record(seed, budget) for seed in range(budget.seeds)]
    return forecasts(system, recordings, [*models, linear_ar()], budget, console, naive=True)


def forecasts(
    system: System,
    recordings: Sequence[Recording],
    models: Sequence[Contender],
    budget: Budget,
    console: Console,
    naive: bool = False,
) -> dict[str, Any]:
    """Measure every model on one system, print the table and return it.

    Args:
        system: The system.
        recordings: Its data, one of each seed.
        models: The models.
        budget: How much work.
        console: Where the table goes.
        naive: Whether to stay at the last sample, and to repeat the last day, as well.
    """
    rows = [row_of(contender, system, recordings, budget) for contender in models]
    if naive:
        rows.append(baseline_row("persistence", persistence, system, recordings))
        rows.append(baseline_row("seasonal naive", seasonal_naive, system, recordings))
    title = f"\n{system.name}: {system.about}; errors in deviations of the data; mean and range of {budget.seeds} seeds"
    paper_tables.forecasts(rows, console, f"{title}, * is best", system.unit)
    itself = _itself(recordings, console)
    found = {
        "itself": itself,
        "rows": rows,
        "not best in": paper_tables.verdict(rows, console),
        "times": paper_tables.speed_ups(rows),
    }
    return found | ({"sanity": paper_tables.sanity(rows, console)} if system.name == "Van der Pol" else {})


def _itself(recordings: Sequence[Recording], console: Console) -> dict[str, float]:
    """Print and return what motion of the system itself is judged by, set against other motion of it."""
    shapes = [recording.shape for recording in recordings if recording.shape is not None]
    if len(shapes) < 2:
        return {}
    each = [likeness(one, other) for one, other in zip(shapes, [*shapes[1:], shapes[0]], strict=True)]
    means = {name: figure["mean"] for name, figure in over_seeds(each).items()}
    told = ", ".join(f"{name} {value:.3g}" for name, value in means.items())
    console.print(f"  the system itself against other motion of its own: {told}")
    return means


def ablations(
    system: System, recordings: Sequence[Recording], budget: Budget, console: Console
) -> list[dict[str, Any]]:
    """Vary weights, width, data and the Koopman step on one system, print the table and return it."""
    rows = paper_ablations.run(system, recordings, budget)
    title = f"\n{system.name}: what of the sampled network is needed"
    paper_tables.sweeps(rows, console, title, paper_ablations.last_error(system), system.unit)
    return rows


def closed_loops(
    setting: PlantSetting, models: Sequence[Contender], budget: Budget, console: Console
) -> dict[str, Any]:
    """Run every model in the same law on one plant, print the table and return it."""
    data = paper_control.recorded(setting)
    rows = paper_control.run(setting, data, models, budget)
    lengths = [len(U) for U in data.U]
    motion = (
        f"{data.n_samples} transitions of random motion in {len(data)} episodes of {min(lengths)} to {max(lengths)}"
    )
    law = f"RelinearizedMPC, horizon {paper_control.horizon(setting)}"
    title = f"\n{setting.env}: {motion}; {law}; * is the least cost of those that last longest"
    return {"rows": rows} | paper_tables.closed_loops(rows, console, title)


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Keep what JAX compiles while the bench runs, so that the same network is compiled for its first seed only."""
    try:
        import jax
        from jax.experimental.compilation_cache.compilation_cache import reset_cache
    except ModuleNotFoundError:
        yield
        return
    config: Any = jax.config
    wanted = {"jax_persistent_cache_min_compile_time_secs": 0.1, "jax_persistent_cache_min_entry_size_bytes": -1}
    before = {name: getattr(config, name) for name in ("jax_compilation_cache_dir", *wanted)}
    with tempfile.TemporaryDirectory(prefix="koopctl-jax-") as folder:
        for name, value in (wanted | {"jax_compilation_cache_dir": folder}).items():
            config.update(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                config.update(name, value)
            reset_cache()  # it would go on writing to a folder that is gone


def _preface(budget: Budget, console: Console) -> None:
    if os.environ.get("OMP_NUM_THREADS") != "1":
        console.print("times below are on as many threads as numpy takes: set OMP_NUM_THREADS=1")
    console.print(
        f"Every model, ours included: {budget.trials} trials of its settings on each system, judged by the rms error "
        "of free runs on the last quarter of the training data, where nothing else is said; then a fit with the best "
        "of them for each of "
        f"{budget.seeds} seeds of data and weights. fit s: that whole fit. best s: until the network that is kept had "
        "been found, compiling included (networks of one shape are compiled once). Descent: at most "
        f"{budget.steps} steps of {budget.batch} stretches ({budget.trial_steps} in a trial), stopped by 15 % of the "
        "training data, which the others learn from as well. Limits on steepness, scattered biases and isotropic "
        "directions of sampled units were found on other seeds of these systems. valid: "
        "time until the error exceeds 0.4 deviations, the median. KL: 30 bins an axis, smoothing 1e-5; above five "
        "dimensions mixtures of Gaussians, sigma 1, 1000 samples. spectrum: Hellinger distance."
    )
    if budget.narrow:
        console.print("This is a look: descents this short do no justice to the networks that are trained.")

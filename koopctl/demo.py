"""The whole way on one plant: record, learn, design, compare, draw."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctl.errors import DesignError

if TYPE_CHECKING:
    from rich.console import Console

    from koopctl.arrays import Array
    from koopctl.comparison import Comparison
    from koopctl.controllers.law import Law
    from koopctl.data.rollouts import Rollouts
    from koopctl.models.base import Model
    from koopctl.trajectory import Trajectory

_ENV = "Pendulum-v1"
_BOUND = 2.0  # torque limit of the plant [N m]
_BARS = "▁▂▃▄▅▆▇█"
# Colours that colour-blind eyes tell apart; dashes, because two of the laws often do the same.
_STYLES = (("#0072B2", "-", 2.2), ("#D55E00", "-", 2.0), ("#222222", (0, (3, 3)), 1.3))
_MPC, _LIFTED, _LQR = "re-linearised MPC", "lifted MPC", "LQR"


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        episodes: Episodes recorded, of 60 steps each.
        n_features: Hidden units of the network.
        seeds: Starts of the comparison.
        steps: Steps of each run.
    """

    episodes: int = 300
    n_features: int = 300
    seeds: Sequence[int] = range(100, 110)
    steps: int = 200


def run(output: Path, seed: int, console: Console, scale: Scale | None = None) -> dict[str, Any]:
    """Swing a pendulum up with what was learnt from random motion, and write files, report and picture.

    Args:
        output: Folder to write to; made when missing.
        seed: Seed of everything random but the starts of the comparison.
        console: Where the story is told.
        scale: How much of everything.

    Returns:
        A description of all numbers and files.
    """
    import koopctl as kc

    size = scale or Scale()
    begin = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    _tell(console, f"1  record   {size.episodes} x 60 steps of {_ENV} under a random torque")
    data = kc.collect(_ENV, episodes=size.episodes, steps=60, excitation="piecewise", seed=seed)
    held_out = kc.collect(_ENV, episodes=max(size.episodes // 10, 2), steps=60, excitation="piecewise", seed=seed + 1)
    data.save(output / "data.npz")
    models, seconds = _learn(data, held_out, size, seed, output, console)
    laws, refused = _design(models, output, console)
    _tell(console, f"4  compare  on {_ENV} itself, {len(size.seeds)} starts, {size.steps} steps each")
    comparison = kc.compare(_ENV, laws, size.seeds, steps=size.steps)
    _show(comparison, refused, console)
    picture = draw(comparison, output / "demo.png", data.n_samples, seconds)
    page = comparison.report(output, models=models, held_out=held_out)
    total = time.perf_counter() - begin
    _tell(console, f"5  look at  {page}", f"            {picture}")
    _tell(console, f"   go on    koopctl simulate {_ENV} {output / 'mpc.npz'} --seed 3 -o run.npz")
    _tell(console, f"   all in {total:.0f} s")
    return {
        "output": output,
        "report": page,
        "picture": picture,
        "fit_seconds": seconds,
        "seconds": total,
        "not_designed": refused,
        "comparison": comparison.to_dict(),
    }


def _tell(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _learn(
    data: Rollouts, held_out: Rollouts, size: Scale, seed: int, output: Path, console: Console
) -> tuple[dict[str, Model], float]:
    from koopctl import EDMDc, SampledFeatures, SampledRNN, fit  # here, so that the clock does not time imports

    start = time.perf_counter()
    network = fit(data, SampledRNN(n_features=size.n_features, random_state=seed))
    seconds = time.perf_counter() - start
    lifted = fit(data, EDMDc(SampledFeatures(100, random_state=seed)))
    one, many = (network.score(held_out, steps) for steps in (1, 20))
    _tell(
        console,
        f"2  learn    a sampled network of {size.n_features} units in {seconds:.2f} s",
        f"            it explains {one:.2%} of unseen motion one step ahead, {many:.2%} twenty steps ahead",
        *(f"            {note}" for note in network.notes_),
    )
    network.save(output / "model.npz")
    lifted.save(output / "lifted_model.npz")
    return {"SampledRNN": network, "EDMDc": lifted}, seconds


def _design(models: dict[str, Model], output: Path, console: Console) -> tuple[dict[str, Law], dict[str, str]]:
    """Design the three laws; one that cannot be designed is named with its reason."""
    import koopctl as kc

    task = kc.envs.task(_ENV)
    makers: dict[str, Callable[[], Law]] = {
        _MPC: lambda: kc.RelinearizedMPC(models["SampledRNN"], task),
        _LIFTED: lambda: kc.LiftedMPC(models["EDMDc"], task),
        _LQR: lambda: kc.LQR(models["SampledRNN"], task),
    }
    laws, refused = dict[str, "Law"](), dict[str, str]()
    for (name, make), stem in zip(makers.items(), ("mpc", "lifted", "lqr"), strict=True):
        try:
            laws[name] = make()
        except DesignError as error:
            refused[name] = str(error)
            continue
        laws[name].save(output / f"{stem}.npz")
    _tell(
        console,
        f"3  design   {', '.join(laws)}",
        f"            the torque stays within {_BOUND:g} N m, too little to lift the pendulum without swinging",
    )
    return laws, refused


# ---------------------------------------------------------------------- looking at it
def lowest_start(comparison: Comparison) -> dict[str, Trajectory]:
    """Return the run of each law from the seed that starts farthest from upright."""
    every = [run for runs in comparison.runs.values() for run in runs]
    lowest = max(every, key=lambda run: abs(_theta(run)[0]))
    return {name: run for name, runs in comparison.runs.items() for run in runs if run.seed == lowest.seed}


def _theta(run: Trajectory) -> Array:
    """Return the angle from upright in (-pi, pi] along a run, (T + 1,)."""
    cos, sin = (run.x_names.index(f"{name}(theta)") for name in ("cos", "sin"))
    return np.arctan2(run.X[:, sin], run.X[:, cos])


def _show(comparison: Comparison, refused: dict[str, str], console: Console) -> None:
    """Print the numbers that matter here, one row a law; the report has them all."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for head in ("law", "return, mean [95 %]", "swung up", "ms a call, p50 / p99"):
        table.add_column(head, justify="left" if head == "law" else "right", no_wrap=True)
    for row in comparison.rows:
        reward = row.total_reward
        table.add_row(
            row.name,
            escape(f"{reward.mean:.0f} [{reward.low:.0f}, {reward.high:.0f}]"),
            f"{row.settled} of {len(comparison.seeds)}",
            f"{row.latency_p50:.2f} / {row.latency_p99:.2f}",
        )
    for name in refused:
        table.add_row(name, "not designed", "", "")
    console.print(table)
    _tell(console, *(f"   {name}: {reason}" for name, reason in refused.items()))
    _watch(comparison, console)


def _watch(comparison: Comparison, console: Console) -> None:
    """Print how far from upright the pendulum was over time, one line of bars a law."""
    if not console.encoding.startswith("utf"):
        return
    _tell(console, f"  tilt over time, from the lowest start ({_BARS[0]} is upright, {_BARS[-1]} hanging):")
    for name, trajectory in lowest_start(comparison).items():
        tilt = np.abs(_theta(trajectory))
        parts = np.array_split(tilt, min(50, len(tilt)))
        bars = "".join(_BARS[min(int(part.mean() / np.pi * len(_BARS)), len(_BARS) - 1)] for part in parts)
        _tell(console, f"  {name:<18s} {bars}")


def draw(comparison: Comparison, path: Path, n_samples: int, seconds: float) -> Path:
    """Draw angle, torque and returns of all laws to one picture and return its path.

    Args:
        comparison: Runs on the pendulum.
        path: Picture to write.
        n_samples: Transitions that were learnt from.
        seconds: How long learning took [s].
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.2), dpi=130, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.1, 1), height_ratios=(1.5, 1))
    angle = figure.add_subplot(grid[0, 0])
    torque = figure.add_subplot(grid[1, 0], sharex=angle)
    returns = figure.add_subplot(grid[:, 1])
    _draw_runs(angle, torque, lowest_start(comparison))
    _draw_returns(returns, comparison)
    amount = f"{n_samples:,}".replace(",", " ")
    title = f"Pendulum swing-up from {amount} random transitions, learnt in {seconds:.1f} s"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.savefig(path)
    return path


def _draw_runs(angle: Any, torque: Any, runs: dict[str, Trajectory]) -> None:
    low, high = 0.0, 180.0
    for (name, trajectory), (colour, dashes, width) in zip(runs.items(), _STYLES, strict=False):
        theta = np.degrees(np.unwrap(_theta(trajectory)))
        low, high = min(low, theta.min()), max(high, theta.max())
        style = {"color": colour, "ls": dashes, "lw": width}
        angle.plot(trajectory.time, theta, label=name, **style)
        torque.step(trajectory.time[:-1], trajectory.U[:, 0], where="post", **style)
    ticks = 180 * np.arange(np.floor(max(low, -720.0) / 180), np.ceil(min(high, 720.0) / 180) + 1)
    angle.set_yticks(ticks, [f"{tick:.0f}° {'hanging' if tick % 360 else 'upright'}" for tick in ticks])
    angle.set_ylim(max(low, -720.0) - 20.0, min(high, 720.0) + 20.0)
    angle.legend(loc="lower right", bbox_to_anchor=(1.01, 0.99), ncols=3, frameon=False, fontsize=9, columnspacing=1.2)
    angle.set_title("From the lowest start", fontsize=10, loc="left")
    angle.tick_params(labelbottom=False)
    for bound in (-_BOUND, _BOUND):
        torque.axhline(bound, color="k", lw=0.8, ls=":", zorder=1)
    torque.set(ylim=(-2.6, 2.6), yticks=[-2, 0, 2], ylabel="torque [N m]", xlabel="time [s]")
    torque.set_yticklabels(["-2 (bound)", "0", "2 (bound)"])
    torque.set_xlim(0, max(run.time[-1] for run in runs.values()))
    for axes in (angle, torque):
        axes.grid(lw=0.3)
        axes.spines[["top", "right"]].set_visible(False)


def _draw_returns(axes: Any, comparison: Comparison) -> None:
    labels = []
    for x, ((name, runs), (colour, *_)) in enumerate(zip(comparison.runs.items(), _STYLES, strict=False)):
        values = np.array([run.total_reward for run in runs])
        mean = values.mean() if len(values) else np.nan
        axes.plot(x + np.linspace(-0.2, 0.2, len(values)), values, "o", color=colour, ms=5, alpha=0.7, mew=0)
        axes.hlines(mean, x - 0.35, x + 0.35, color=colour, lw=2)
        labels.append(f"{name.replace(' ', chr(10))}\nmean {mean:.0f}")
    axes.set_xticks(range(len(labels)), labels, fontsize=9)
    axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(None, 0))
    axes.set_title(f"Return of {len(comparison.seeds)} starts (higher is better)", fontsize=10, loc="left")
    axes.grid(axis="y", lw=0.3)
    axes.spines[["top", "right"]].set_visible(False)

"""Numbers of closed-loop runs: one task and one chart measure every run, whatever law made it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, index_of
from koopctl.errors import DataError, KoopctlError, ShapeError
from koopctl.models.chart import Chart
from koopctl.task import ResolvedTask, Task
from koopctl.trajectory import Trajectory

SETTLED = 0.05  # share of the starting distance that counts as "at the target"
_TOUCH = 1e-6  # relative; inputs are often applied in float32, and a bound that is met is not broken


@dataclass(frozen=True)
class Yardstick:
    """The task in the coordinates in which all runs are measured.

    Attributes:
        chart: Coordinates q of the observations.
        task: The task in numbers. Inputs are counted from its u_target, from 0 where that is left to the law: an
            input found by one law's model must not measure another law.
        band: Weighted distance |q - q*|_Q below which a run is at the target; `SETTLED` times the largest distance
            at which one of the compared runs starts.
    """

    chart: Chart
    task: ResolvedTask
    band: float = np.nan

    @classmethod
    def choose(cls, task: Task, runs: Sequence[Trajectory], charts: Sequence[Chart] = ()) -> Yardstick:
        """Return the yardstick for runs of one plant, the same one for all of them.

        Args:
            task: What is wanted.
            runs: The runs to compare; their starts set the settling band.
            charts: Charts of learnt models. The first one in which the task can be read is used; otherwise cos/sin
                pairs are taken from the names and the recordings, and every other observation is a coordinate.

        Raises:
            DataError: There are no runs, or the task cannot be read in any chart.
        """
        if not runs:
            raise DataError("there are no runs to measure; give at least one trajectory.")
        chart, resolved = _readable(task, runs, charts)
        yardstick = cls(chart, resolved)
        starts = [float(yardstick.distance(run)[0]) for run in runs]
        return cls(chart, resolved, SETTLED * max((d for d in starts if np.isfinite(d)), default=0.0))

    @cached_property
    def u_target(self) -> Array:
        """The input that costs nothing, (nu,)."""
        return np.zeros(len(self.task.R)) if self.task.u_target is None else self.task.u_target

    def coordinates(self, run: Trajectory) -> Array:
        """Return the coordinates along a run, (T + 1, nq); angles lie within half a turn of the target."""
        columns = [index_of(name, run.x_names, "observation") for name in self.chart.y_names]
        return self.near(self.chart.to_coordinates(run.X[:, columns]))

    def near(self, Q: Array) -> Array:
        """Return coordinates (..., nq) with every angle moved by full turns to within half a turn of the target."""
        Q, angles = Q.copy(), self.chart.angles
        target = self.task.target[angles]
        Q[..., angles] = target + (Q[..., angles] - target + np.pi) % (2 * np.pi) - np.pi
        return Q

    def distance(self, run: Trajectory) -> Array:
        """Return the weighted distance to the target |q - q*|_Q along a run, (T + 1,)."""
        return np.sqrt(_quadratic(self.coordinates(run) - self.task.target, self.task.Q))

    def stage_costs(self, run: Trajectory) -> Array:
        """Return the task's cost of every step, (T,): state before the step, input, and change of the input."""
        before = np.vstack([self.task.u_safe, run.U])[:-1]  # a law's rate counts from the safe input as well
        state = self.distance(run)[:-1] ** 2
        return state + _quadratic(run.U - self.u_target, self.task.R) + _quadratic(run.U - before, self.task.dR)


@dataclass(frozen=True)
class RunMetrics:
    """Numbers of one run.

    Attributes:
        total_reward: Return: the sum of the environment's rewards.
        cost: The task's quadratic cost, mean over the steps; inf where an observation was not finite.
        violations: Samples after the start at which a coordinate was outside its soft bounds.
        worst_violation: Farthest a coordinate was outside, in its own unit.
        input_violations: Steps whose applied input broke the task's input bounds; 0 unless something is wrong.
        settling: Time from which the run stays at the target until its end [s]; inf when it never does.
        effort: Integral of |u|^2, sum of u^2 dt.
        variation: Sum of |u_k - u_(k-1)| over steps and inputs; small is smooth.
        steps: Steps survived.
    """

    total_reward: float
    cost: float
    violations: int
    worst_violation: float
    input_violations: int
    settling: float
    effort: float
    variation: float
    steps: int


def measure(run: Trajectory, yardstick: Yardstick) -> RunMetrics:
    """Return the numbers of one run.

    Args:
        run: What happened.
        yardstick: The task and the coordinates to measure with.

    Raises:
        ShapeError: The run has another number of inputs than the task.
        DataError: The run has no steps.
    """
    if run.steps == 0:
        raise DataError("the run has no steps, so there is nothing to measure; give a trajectory of at least one step.")
    if run.U.shape[1] != len(yardstick.task.R):
        counts = f"{run.U.shape[1]} inputs but the task {len(yardstick.task.R)}"
        raise ShapeError(f"the run has {counts}; measure a run with a task of the same plant.")
    outside = _outside(yardstick.coordinates(run)[1:], yardstick.task.y_min, yardstick.task.y_max)
    cost = float(yardstick.stage_costs(run).mean())
    return RunMetrics(
        total_reward=run.total_reward,
        cost=cost if np.isfinite(cost) else np.inf,
        violations=int((outside > 0).sum()),
        worst_violation=float(outside.max()),
        input_violations=int((_outside(run.U, yardstick.task.u_min, yardstick.task.u_max) > 0).sum()),
        settling=settling_time(yardstick.distance(run), yardstick.band, run.dt),
        effort=float((run.U**2).sum() * run.dt),
        variation=float(np.abs(np.diff(run.U, axis=0)).sum()),
        steps=run.steps,
    )


def settling_time(distance: Array, band: float, dt: float) -> float:
    """Return the time [s] from which `distance` (T + 1,) stays within `band` to the end; inf when its last is outside.

    Args:
        distance: Distance to the target at each sample.
        band: What counts as there.
        dt: Sampling time [s].
    """
    away = np.flatnonzero(~(distance <= band))  # NaN is away
    if len(away) == 0:
        return 0.0
    return float("inf") if away[-1] == len(distance) - 1 else float((away[-1] + 1) * dt)


def latencies(runs: Sequence[Trajectory]) -> Array:
    """Return the time the law took at each step of all runs [s], where it said so."""
    values: Array = np.concatenate([run.info("solve_time") for run in runs]) if runs else np.zeros(0)
    return values[np.isfinite(values)]


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: The mean.
        low: Lower end; NaN where there are no two finite values to judge the spread by.
        high: Upper end.
    """

    mean: float
    low: float = np.nan
    high: float = np.nan


def bootstrap(values: ArrayLike, *, level: float = 0.95, resamples: int = 5000, seed: int = 0) -> Interval:
    """Return the mean with its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    The same seed draws the same resamples for the same number of values, so the intervals of laws that met the same
    seeds are paired.

    Args:
        values: One number a seed, (n,).
        level: Confidence.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Raises:
        DataError: level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise DataError(f"level is {level!r}; a confidence lies between 0 and 1, e.g. 0.95.")
    data = np.asarray(values, dtype=np.float64).ravel()
    mean = float(data.mean()) if len(data) else np.nan
    if len(data) < 2 or not np.isfinite(data).all():
        return Interval(mean)
    picks = np.random.default_rng(seed).integers(0, len(data), (resamples, len(data)))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(data[picks].mean(axis=1), [tail, 100.0 - tail])
    return Interval(mean, float(low), float(high))


def _readable(task: Task, runs: Sequence[Trajectory], charts: Sequence[Chart]) -> tuple[Chart, ResolvedTask]:
    first: KoopctlError | None = None
    x_names, u_names = runs[0].x_names, runs[0].u_names
    seen = {name for chart in charts for name in chart.y_names} or set(x_names)
    names = tuple(name for name in x_names if name in seen)
    Y = np.concatenate([run.X for run in runs])[:, [x_names.index(name) for name in names]]
    Y = Y[np.isfinite(Y).all(axis=1)]
    fallback = [_chart_of(Y, names), Chart.plain(names)]
    for chart in [*(c for c in charts if set(c.y_names) <= set(x_names)), *fallback]:
        try:
            return chart, _resolve(task, chart, u_names)
        except KoopctlError as error:
            first = first or error
    raise DataError(
        f"the task cannot be read on this plant: {first} The task must speak of the plant's coordinates and of its "
        f"inputs {', '.join(u_names)}."
    )


def _chart_of(Y: Array, names: tuple[str, ...]) -> Chart:
    """Return the chart with an angle for each cos/sin pair; short or resting runs must not lose other coordinates."""
    pairs = [(i, names.index(n.replace("cos", "sin"))) for i, n in enumerate(names) if n.replace("cos", "sin") in names]
    pairs = [(c, s) for c, s in pairs if c != s and np.allclose(Y[:, c] ** 2 + Y[:, s] ** 2, 1.0, atol=1e-3)]
    with contextlib.suppress(DataError):  # nothing ever moved
        found = Chart.detect(Y, names) if len(Y) else Chart.plain(names)
        taken = {column for pair in pairs for column in pair}
        columns = found.kept[found.circle[1:]].T.tolist()
        pairs += [(c, s) for c, s in columns if c not in taken and s not in taken]
    # Independent points on those circles, from which a chart of exactly these pairs follows.
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, len(names)))
    for c, s in pairs:
        angle = rng.uniform(-np.pi, np.pi, 200)
        points[:, c], points[:, s] = np.cos(angle), np.sin(angle)
    return Chart.detect(points, names)


def _resolve(task: Task, chart: Chart, u_names: Sequence[str]) -> ResolvedTask:
    """Resolve a task; where the observation is redundant the target may be a full observation."""
    target: Any = task.target
    if not hasattr(target, "keys") and np.shape(target) == (len(chart.y_names),) != (chart.nq,):
        task = task.replace(target=chart.to_coordinates(np.asarray(target, dtype=np.float64)))
    return task.resolve(chart.names, u_names)


def _quadratic(D: Array, W: Array) -> Array:
    """Return d^T W d for each row of D, never negative."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.maximum(np.einsum("ki,ij,kj->k", D, W, D), 0.0))


def _outside(V: Array, low: Array, high: Array) -> Array:
    """Return how far each row of V (k, n) is outside its bounds, 0 within; inf where a bounded entry is no number."""
    bounds = np.abs(np.where(np.isfinite([low, high]), [low, high], 0.0)).max(axis=0)
    gap = np.where(np.isfinite(low) | np.isfinite(high), np.maximum(low - V, V - high), -np.inf)
    gap = np.where(np.isnan(gap), np.inf, gap)
    return np.asarray(np.where(gap > _TOUCH * (1.0 + bounds), gap, 0.0).max(axis=1))

"""Autonomous chaos: how long a free run stays with the truth, and whether it keeps the attractor's shape."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from koopctl.arrays import Array
from koopctl.bench.options import Options
from koopctl.bench.rivals.peers import RESERVOIRPY
from koopctl.bench.rivals.problems import attractor_problem
from koopctl.bench.rivals.rival import run_rival
from koopctl.data.rollouts import Rollouts
from koopctl.identify.fitting import fit
from koopctl.identify.search import Search
from koopctl.models.sampled_rnn import SampledRNN

_TRAIN = 5000
_TEST = 20_000
_FREE = 100_000  # samples of the long run whose shape is compared
_STARTS = 50
_SERIES = 3  # training series
_WARM = 100  # samples that drive a reservoir before a prediction
_RIDGES = [10.0**-k for k in range(6, 21, 2)]
_BINS = 30
_SMOOTHING = 1e-5
_OFF = 0.4  # deviations of the attractor at which a prediction has left the truth


@dataclass(frozen=True)
class Attractor:
    """A chaotic system and how it is sampled.

    Attributes:
        name: Its name.
        slope: Right-hand side.
        dt: Sampling time.
        exponent: Largest Lyapunov exponent.
        ahead: Steps predicted from each start.
    """

    name: str
    slope: Callable[[float, Array], list[float]]
    dt: float
    exponent: float
    ahead: int

    def series(self, steps: int, seed: int, tolerance: float = 1e-10) -> Array:
        """Return (steps + 1, 3) on the attractor, from a random start."""
        start = np.random.default_rng(seed).normal(size=3) + np.array([1.0, 1.0, 5.0])
        settled = solve_ivp(self.slope, (0, 60), start, rtol=1e-9, atol=1e-9).y[:, -1]
        times = np.arange(steps + 1) * self.dt
        span = (0, times[-1] + self.dt)
        path = solve_ivp(self.slope, span, settled, t_eval=times, rtol=tolerance, atol=tolerance, method="DOP853").y
        return np.asarray(path.T)


LORENZ = Attractor(
    "Lorenz-63",
    lambda _, s: [10.0 * (s[1] - s[0]), s[0] * (28.0 - s[2]) - s[1], s[0] * s[1] - 8.0 / 3.0 * s[2]],
    0.02,
    0.906,
    1200,
)
ROESSLER = Attractor(
    "Roessler", lambda _, s: [-s[1] - s[2], s[0] + 0.2 * s[1], 0.2 + s[2] * (s[0] - 5.7)], 0.1, 0.0714, 3500
)


def run(system: Attractor, options: Options) -> list[dict[str, Any]]:
    """Return one row each for the system itself, for us and for the echo-state network.

    Each figure is the median over several training series, the least time the least of all.
    """
    several = [_once(system, options, seed) for seed in range(1 if options.quick else _SERIES)]
    rows = []
    for same in zip(*several, strict=False):  # a rival that failed on one series ends that list early
        failed = [row for row in same if "failed" in row]
        if failed:
            rows.append(failed[0])
            continue
        numbers = {key: [row[key] for row in same] for key in same[0] if key != "model"}
        merged = {key: float(min(values) if key == "least" else np.median(values)) for key, values in numbers.items()}
        rows.append({"model": same[0]["model"], **merged, "kl_each": numbers["kl"]})
    return rows


def _once(system: Attractor, options: Options, seed: int) -> list[dict[str, Any]]:
    train, test = system.series(_TRAIN, seed), system.series(_TEST, seed + 1000)
    starts = np.linspace(_WARM, len(test) - system.ahead - 1, 10 if options.quick else _STARTS).astype(int)
    free_steps = _TEST if options.quick else _FREE
    shape, other = (system.series(free_steps, seed + shift, tolerance=1e-8) for shift in (2000, 3000))
    truth = np.stack([test[s : s + system.ahead + 1] for s in starts])
    data = Rollouts([train], [np.zeros((_TRAIN, 0))], system.dt)
    template = SampledRNN(300 if options.quick else 1000, sampling="uniform", cyclic=())
    trials = Search({"ridge": _RIDGES}, horizon=200, progress=False).run(data, [template])
    begin = time.perf_counter()
    model = fit(data, trials.best.model())
    seconds = time.perf_counter() - begin
    path = model.predict(truth[:, 0], np.zeros((len(starts), system.ahead, 0)))
    free = model.predict(train[-1], np.zeros((free_steps, 0)))
    name = f"SampledRNN({model.n_features}, ridge={model.ridge:.0e})"
    rows = [{"model": "the system itself, another trajectory", "kl": attractor_divergence(shape, other)}]
    rows.append(_row(system, name, seconds, path, truth, attractor_divergence(shape, free)))
    if options.rivals:
        windows = np.stack([test[s - _WARM : s + 1] for s in starts])
        problem = attractor_problem(
            train, windows, system.dt, width=1000, steps=system.ahead, free_steps=free_steps, washout=_WARM
        )
        result = run_rival(RESERVOIRPY, problem)
        if "failed" in result:
            return [*rows, {"model": "echo-state network", "failed": result["failed"]}]
        for entry in result["entries"]:
            label = f"{result['package']}: {entry['label']}"
            if "failed" in entry:
                rows.append({"model": label, "failed": entry["failed"]})
            else:
                divergence = attractor_divergence(shape, entry["free_run"])
                rows.append(_row(system, label, entry["fit_s"], entry["predictions"], truth, divergence))
    return rows


def _row(system: Attractor, name: str, seconds: float, path: Array, truth: Array, divergence: float) -> dict[str, Any]:
    times = valid_times(path, truth, truth.std(axis=(0, 1))) * system.dt * system.exponent
    return {
        "model": name,
        "fit_s": seconds,
        "median": float(np.median(times)),
        "least": float(times.min()),
        "kl": divergence,
    }


def valid_times(path: Array, truth: Array, spread: Array) -> Array:
    """Return how many steps each prediction (n, T + 1, nx) stays within 0.4 deviations of the truth, (n,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        far = ~(np.sqrt(np.mean(((path - truth) / spread) ** 2, axis=2)) <= _OFF)
    return np.asarray(np.where(far.any(axis=1), far.argmax(axis=1), path.shape[1] - 1), dtype=np.float64)


def attractor_divergence(truth: Array, free: Array) -> float:
    """Return the Kullback-Leibler divergence of two trajectories' occupation of space, sum p log(p / q).

    30 bins an axis over the range of the truth; what lies outside counts in the outermost bin; each frequency is
    raised by 1e-5 before it is normalised (Brenner et al., ICML 2022).
    """
    low, high = truth.min(axis=0), truth.max(axis=0)

    def occupied(points: Array) -> Array:
        inside = np.clip(np.nan_to_num(points, nan=0.0, posinf=1e300, neginf=-1e300), low, high)
        edges = [np.linspace(a, b, _BINS + 1) for a, b in zip(low, high, strict=True)]
        share = np.histogramdd(inside, bins=edges)[0].ravel() / len(points) + _SMOOTHING
        return np.asarray(share / share.sum())

    p, q = occupied(truth), occupied(free)
    return float(np.sum(p * np.log(p / q)))

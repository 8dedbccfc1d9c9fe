"""The systems of `koopctl bench paper`: how each is recorded, and what a model may see of its past."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.attractors import LORENZ, ROESSLER, Attractor
from koopctl.bench.paper_budget import Budget
from koopctl.collecting import collect
from koopctl.data.excitation import PiecewiseConstant
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.probe import evenly

DRIVEN = "koopctl.envs:VanDerPol-v0"
RIDGES = 1e-28, 1e-24  # the systems are simulated: nothing to smooth
_DT, _SUBSTEPS = 0.1, 10  # [s] of the undriven oscillator, and Runge-Kutta steps in each
_TEST = 1000  # added to a seed: the test's data
_OTHER = 2000  # another trajectory, whose shape is compared


@dataclass(frozen=True)
class Scope:
    """What models may use, and how a trial of their settings is judged; the same for all.

    Attributes:
        past: Samples before a start that a model may see, at most.
        judged: Steps ahead of the held-out error.
        washout: Samples that gradient-trained networks are shown before a prediction.
        delays: Delays that models without a memory of their own may have.
        descents: Predicted steps of the stretches that networks are trained on.
        widths: Hidden units of the gradient-free networks; None for the budget's.
        reservoirs: The same of the echo-state network alone.
        ridges: Penalties of least squares to choose from.
        squared: The same for a model that solves normal equations, which resolve none so small.
        steepness: Lengths of the weights of sampled and random hidden units to choose from.
        solver: Of the least squares; ridges so small that "auto" takes two passes want "qr".
        find_cyclic: Whether models look for coordinates the motion does not depend on.
        folds: Stretches of the training data that judge a trial in turn; 1 for the last quarter alone.
    """

    past: int
    judged: int
    washout: int
    delays: tuple[int, ...] = (0,)
    descents: tuple[int, ...] = (30, 60)
    widths: tuple[int, ...] | None = None
    reservoirs: tuple[int, ...] | None = None
    ridges: tuple[float, ...] = RIDGES
    squared: tuple[float, ...] = (1e-14, 1e-12, 1e-10)
    steepness: tuple[float, ...] = (0.5, 0.1, 0.2)
    solver: str = "qr"
    find_cyclic: bool = False
    folds: int = 1


@dataclass(frozen=True)
class Recording:
    """Data of one seed.

    Attributes:
        train: What models are fitted to.
        Y: Test windows (n, past + H + 1, ny).
        U: Their inputs (n, past + H, nu).
        shape: Trajectories of the attractor (n, T, ny), where there is one.
    """

    train: Rollouts
    Y: Array
    U: Array
    shape: Array | None = None

    @cached_property
    def spread(self) -> Array:
        """Deviation of each column in the training data, the unit of errors, (ny,)."""
        return spread_of(self.train)


@dataclass(frozen=True)
class System:
    """One system, and how forecasts of it are judged.

    Attributes:
        name: Its name.
        about: The data, in words.
        record: Makes the data of a seed.
        horizons: Steps over which the error is averaged, by label.
        scope: What models may use.
        unit: Unit of the valid prediction time.
        units_a_step: Such units in a step.
    """

    name: str
    about: str
    record: Callable[[int, Budget], Recording]
    horizons: Mapping[str, int]
    scope: Scope
    unit: str
    units_a_step: float


def systems() -> list[System]:
    """Return all systems but the weather."""
    steps, ahead = {"1 step": 1, "10 steps": 10, "100 steps": 100}, {"1 step": 1, "20 steps": 20, "100 steps": 100}
    whole = Scope(past=30, judged=100, washout=10)
    part = Scope(past=30, judged=100, washout=20, delays=(1, 2, 4), steepness=(0.7, 0.5))
    orbit = "50 orbits of 15 s, 10 samples a second"
    driven = Scope(past=30, judged=60, washout=10, descents=(30, 60))
    pushes = "120 episodes of 5 s under random pushes, 20 samples a second"
    return [
        System("Van der Pol", orbit, partial(_orbits, columns=2), steps, whole, "s", _DT),
        System("Van der Pol, x1 alone", f"{orbit}, x1 alone", partial(_orbits, columns=1), steps, part, "s", _DT),
        _chaotic(LORENZ, {"10 steps": 10, "50 steps": 50, "150 steps": 150}, 100),
        _chaotic(ROESSLER, {"10 steps": 10, "100 steps": 100, "500 steps": 500}, 300),
        System("forced Van der Pol", pushes, _pushed, ahead, driven, "s", 0.05),
    ]


def van_der_pol(starts: Array, steps: int) -> Array:
    """Return orbits (n, steps + 1, 2) of x1' = x2, x2' = (1 - x1^2) x2 - x1 from starts (n, 2), 0.1 s a step."""

    def slope(x: Array) -> Array:
        return np.stack([x[:, 1], (1.0 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], axis=1)

    path, h = np.empty((len(starts), steps + 1, 2)), _DT / _SUBSTEPS
    path[:, 0] = x = starts
    for k in range(steps):
        for _ in range(_SUBSTEPS):
            k1 = slope(x)
            k2 = slope(x + h / 2 * k1)
            k3 = slope(x + h / 2 * k2)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3))
        path[:, k + 1] = x
    return path


def windows(rollouts: Rollouts, past: int, steps: int, count: int) -> tuple[Array, Array]:
    """Return at most `count` windows, evenly chosen: Y (n, past + steps + 1, ny) and U (n, past + steps, nu).

    Raises:
        DataError: No episode is as long.
    """
    longest = max(len(U) for U in rollouts.U)
    if longest < past + steps:
        raise DataError(f"no episode holds {past} samples and {steps} steps after them, the longest has {longest}.")
    return evenly(rollouts, past + steps, count)


def spread_of(rollouts: Rollouts) -> Array:
    """Return the deviation of each column, 1 where it stands still, (ny,)."""
    spread = np.concatenate(rollouts.X).std(axis=0)
    return np.asarray(np.where(spread > 0.0, spread, 1.0))


def split_off(rollouts: Rollouts, share: float = 0.25) -> tuple[Rollouts, Rollouts]:
    """Return what a trial is fitted to and what it is judged on: the last episodes, or the end of a very long one."""
    lengths = np.array([len(U) for U in rollouts.U])
    ends, total = np.cumsum(lengths), int(lengths.sum())
    wanted = round((1.0 - share) * total)
    i = int(np.searchsorted(ends, wanted))
    if 2 * lengths[i] > total and wanted < ends[i]:
        return between(rollouts, (0, wanted)), between(rollouts, (wanted, total))
    cut = min(1 + int(np.abs(ends - wanted).argmin()), len(rollouts) - 1)
    return rollouts[:cut], rollouts[cut:]


def folds_of(rollouts: Rollouts, folds: int) -> list[tuple[Rollouts, Rollouts]]:
    """Return what trials are fitted to and judged on: the last quarter, or with several folds each stretch in turn."""
    if folds == 1:
        return [split_off(rollouts)]
    total = sum(len(U) for U in rollouts.U)
    cuts = np.linspace(0, total, folds + 1).astype(int)
    return [
        (between(rollouts, (0, first), (stop, total)), between(rollouts, (first, stop)))
        for first, stop in pairwise(cuts)
    ]


def between(rollouts: Rollouts, *spans: tuple[int, int]) -> Rollouts:
    """Return the transitions of spans (first, stop), counted over all episodes one after the other."""
    X, U, begin = [], [], 0
    for x, u in zip(rollouts.X, rollouts.U, strict=True):
        for first, stop in spans:
            low, high = max(first - begin, 0), min(stop - begin, len(u))
            if low < high:
                X.append(x[low : high + 1])
                U.append(u[low:high])
        begin += len(u)
    return Rollouts(X, U, rollouts.dt, rollouts.x_names, rollouts.u_names, rollouts.sensors)


def _orbits(seed: int, budget: Budget, columns: int) -> Recording:
    def motion(seed: int, episodes: int, steps: int) -> tuple[list[Array], list[Array]]:
        starts = np.random.default_rng(seed).uniform(-3.0, 3.0, (episodes, 2))
        return list(van_der_pol(starts, steps)[:, :, :columns]), [np.zeros((steps, 0))] * episodes

    Y, U = motion(seed + _TEST, budget.starts, 30 + 200)
    return Recording(Rollouts(*motion(seed, 50, 150), _DT), np.array(Y), np.array(U))


def _chaotic(system: Attractor, horizons: Mapping[str, int], judged: int) -> System:
    scope = Scope(past=100, judged=judged, washout=10)
    rate = system.dt * system.exponent

    def record(seed: int, budget: Budget) -> Recording:
        ahead = max(round(budget.chaos * system.ahead), *horizons.values())
        train = system.series(5000, seed)
        test = system.series(max(round(budget.chaos * 20_000), 2 * (scope.past + ahead)), seed + _TEST)
        starts = np.linspace(0, len(test) - scope.past - ahead - 1, budget.starts).astype(int)
        Y = np.stack([test[s : s + scope.past + ahead + 1] for s in starts])
        shape = system.series(budget.free, seed + _OTHER, tolerance=1e-8)[1:]
        data = Rollouts([train], [np.zeros((5000, 0))], system.dt)
        pieces = shape.reshape(budget.free_runs, -1, shape.shape[1])
        return Recording(data, Y, np.zeros((len(Y), scope.past + ahead, 0)), pieces)

    about = f"one series of 5 000 samples, {system.dt:g} s apart"
    return System(system.name, about, record, horizons, scope, "Lyapunov times", rate)


def _pushed(seed: int, budget: Budget) -> Recording:
    def motion(episodes: int, steps: int, seed: int) -> Rollouts:
        pushes = PiecewiseConstant(hold=0.1)
        return collect(DRIVEN, episodes=episodes, steps=steps, excitation=pushes, seed=seed, progress=False)

    test = motion(budget.starts, 30 + 100, seed + _TEST)
    return Recording(motion(120, 100, seed), np.array(test.X), np.array(test.U))

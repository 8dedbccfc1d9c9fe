"""What must be equal: the unconstrained MPC and the LQR; and what must hold whatever a law is fed."""

# mypy: disable-error-code="attr-defined"
# cvxpy re-exports its functions with star imports, which mypy does not follow.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import cvxpy as cp
import numpy as np

from koopctl.arrays import Array
from koopctl.bench.chain import MASSES, chain_step
from koopctl.bench.latency import recording
from koopctl.controllers.adaptive_law import AdaptiveLaw
from koopctl.controllers.convex_mpc import ConvexMPC, Formulate
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.lqr import LQR
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.features.identity import Identity
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.task import Task

Fed: TypeAlias = RelinearizedMPC | LiftedMPC | LQR | AdaptiveLaw

RUNGS = ("solved", "feasible", "shifted", "lqr", "safe")
_HORIZONS = range(1, 51)
_ROUNDING = 1e-9
_LOW, _HIGH, _RATE, _SAFE = -1.0, 0.8, 0.5, np.array([0.1])
_TASK = Task(target=0.0, Q=1.0, R=0.1, u_min=_LOW, u_max=_HIGH, du_max=_RATE, u_safe=_SAFE, horizon=10, y_max=0.6)
# Prices over 24 decades: more digits than a number has, so that no solver comes to an end that can be verified.
_ENDLESS = _TASK.replace(slack_price=[1e-9, 1e15] * MASSES)
_STUCK = 15  # samples, longer than any plan


def unconstrained(quick: bool) -> float:
    """Return the largest difference of the MPC's first input from the LQR's, of either law at every horizon."""
    model = EDMDc(Identity(), ridge=1e-12).fit(recording(np.random.default_rng(0)))
    rng, task, worst = np.random.default_rng(1), Task(target=0.0, Q=1.0, R=0.1), 0.0
    lqr = LQR(model, task)
    for horizon in _HORIZONS if not quick else (1, 10, 50):
        wanted = task.replace(horizon=horizon)
        for law in (LiftedMPC(model, wanted), RelinearizedMPC(model, wanted, candidates=0)):
            for x in 0.3 * rng.normal(size=(3, 2 * MASSES)):
                law.reset()
                worst = max(worst, float(np.abs(law(x)[0] - lqr(x)[0]).max()))
    return worst


def fed_anything(count: int) -> list[dict[str, Any]]:
    """Feed each law random observations, a third of them NaN, inf or far outside the data, while its plant runs.

    The runs are short and cut off by `reset`; half of them are under a task that solvers cannot finish.

    Returns:
        A row a law: calls, exceptions, inputs outside their bounds or rates, the share of spoilt observations, and how
        often each rung was used, None where the law has no such rung.
    """
    data = recording(np.random.default_rng(0))
    network, lift = SampledRNN(60).fit(data), EDMDc(Identity(), ridge=1e-12).fit(data)
    makers: dict[str, Callable[[Task], Fed]] = {
        "RelinearizedMPC": lambda task: RelinearizedMPC(network, task),
        "RelinearizedMPC, offset_free": lambda task: RelinearizedMPC(network, task, candidates=0, offset_free=True),
        "LiftedMPC": lambda task: LiftedMPC(lift, task),
        "LiftedMPC, offset_free": lambda task: LiftedMPC(lift, task, offset_free=True),
        "ConvexMPC": lambda task: ConvexMPC(lift, task, _stated(task)),
        "AdaptiveLaw on RelinearizedMPC": lambda task: AdaptiveLaw(RelinearizedMPC(network, task, candidates=0)),
        "LQR": lambda task: LQR(network, task),
        "LQR, offset_free": lambda task: LQR(network, task, offset_free=True),
    }
    return [{"law": name} | _fed([make(_TASK), make(_ENDLESS)], count) for name, make in makers.items()]


def _stated(task: Task) -> Formulate:
    """Return a problem without curvature in CVXPY: the task's prices on the farthest states."""
    prices = np.broadcast_to(np.asarray(task.slack_price, dtype=np.float64), 2 * MASSES)

    def formulate(x: cp.Expression, u: cp.Expression, y: cp.Expression) -> tuple[cp.Expression, list[cp.Constraint]]:
        del y
        return prices @ cp.max(cp.abs(x[1:]), axis=0) + 0.1 * cp.norm1(u), []

    return formulate


def _fed(laws: Sequence[Fed], count: int) -> dict[str, Any]:
    rng, rungs = np.random.default_rng(2), Counter[str]()
    sensor, law = _Sensor(rng), laws[0]
    x, u_last = np.zeros(2 * MASSES), _SAFE
    raised = outside = 0
    for _ in range(count):
        if rng.random() < 0.05:  # with no plan to fall back on
            law = laws[int(rng.integers(len(laws)))]
            law.reset()
            u_last = _SAFE
        try:
            u, info = law(sensor.read(x))
        except Exception:  # what the bench counts
            raised += 1
            continue
        rungs[info["status"]] += 1
        outside += not _kept(u, u_last)
        u_last = u
        x = chain_step(x, u) if rng.random() > 0.02 else 0.5 * rng.normal(size=2 * MASSES)
    own = {each: None if isinstance(law, LQR) and each in ("feasible", "shifted", "lqr") else 0 for each in RUNGS}
    return {"calls": count, "raised": raised, "outside": outside, "spoilt": sensor.spoilt / count, "rungs": own | rungs}


def _kept(u: Array, u_last: Array) -> bool:
    """Tell whether an input keeps its bounds and, after the last one, its rate bound."""
    inside = (u >= _LOW - _ROUNDING) & (u <= _HIGH + _ROUNDING) & (np.abs(u - u_last) <= _RATE + _ROUNDING)
    return u.shape == (1,) and bool(inside.all())


class _Sensor:
    """Reads the state with a little noise; a third of the samples are spoilt, singly or for longer than any plan."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.spoilt = rng, 0
        self._left, self._stuck = 0, np.zeros(0)

    def read(self, x: Array) -> Array:
        """Return what is seen of a state (8,)."""
        if not self._left and self.rng.random() < 0.007:
            self._left, self._stuck = _STUCK, self._bad(x)
        if self._left:
            self._left -= 1
            self.spoilt += 1
            return self._stuck
        if self.rng.random() < 0.25:
            self.spoilt += 1
            return self._bad(x)
        return x + 0.01 * self.rng.normal(size=len(x))

    def _bad(self, x: Array) -> Array:
        rng, y = self.rng, x.copy()
        kind = rng.integers(5)
        if kind == 0:
            y[rng.integers(len(y))] = np.nan
        elif kind == 1:
            y[rng.integers(len(y))] = rng.choice([np.inf, -np.inf])
        elif kind == 2:
            y = np.full(rng.integers(1, 12), np.nan)
        else:  # outside the data, or outside anything
            y = y + 10.0 ** rng.uniform(0, 8 if kind == 3 else 300) * rng.normal(size=len(y))
        return y

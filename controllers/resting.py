"""Whether the bounds of a task can be kept by a plant that stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from koopctl.arrays import Array
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady import Steady
from koopctl.controllers.steady_problem import half_ranges, last
from koopctl.task import ResolvedTask

_STILL = 1e-5  # of what its range can change a coordinate by in a step: what still counts as standing still
_NOTHING = 1e-9  # of a coordinate's half range: a change that is the rounding of a fit


@dataclass(frozen=True)
class Rest:
    """The state at rest that keeps the bounds best.

    Attributes:
        q: Its coordinates, (nq,).
        excess: How far each lies outside its bounds, in half ranges of the data, (nq,).
    """

    q: Array
    excess: Array


def nearest_rest(prediction: Prediction, task: ResolvedTask, steady: Steady) -> Rest | None:
    """Return where the linearisation at a steady pair stands still with the bounds of q exceeded by the least sum.

    A linear program in the changes of q and u from the pair: the inputs keep their bounds, the coordinates stand
    still, their bounds give way. Angles have none, as in `koopctl.controllers.steady.nearest_steady`.

    Args:
        prediction: The model as the law plans with it.
        task: Bounds; where they change over the horizon, their last values count.
        steady: The pair.

    Returns:
        None where nothing stands still within the bounds of the inputs.
    """
    nq, nu, window = prediction.nq, prediction.nu, prediction.window
    half, width = half_ranges(prediction.model), np.maximum((prediction.high - prediction.low) / 2, 1e-9)
    by_q, by_u = (part[0] for part in window.standing_slopes(steady.x[None, :nq], prediction.full(steady.u[None], -1)))
    A, B = prediction.linearize(steady.x, steady.u)
    change = np.concatenate([A[:nq] @ by_q - np.eye(nq), A[:nq] @ by_u[:, prediction.free] + B[:nq]], axis=1)
    change = change * np.concatenate([half, width]) / half[:, None]
    drift = steady.drift / half
    allowed = np.maximum(_STILL * np.abs(change).sum(axis=1), _NOTHING)
    low, high = ((last(bound, 1) - steady.x[:nq]) / half for bound in (task.y_min, task.y_max))
    low[window.chart.angles], high[window.chart.angles] = -np.inf, np.inf
    u_low, u_high = ((last(bound, 1) - steady.u) / width for bound in (task.u_min, task.u_max))
    # Variables: changes of q and u, and the excess of each q, all in half ranges.
    none, unit = np.zeros((nq, nq)), np.eye(nq)
    outside = np.concatenate([unit, np.zeros((nq, nu))], axis=1)
    rows = np.block([[change, none], [-change, none], [outside, -unit], [-outside, -unit]])
    limits = np.concatenate([allowed - drift, allowed + drift, high, -low])
    given = np.isfinite(limits)
    free = [(None, None)] * nq
    ends = [*free, *zip(u_low, u_high, strict=True), *((0.0, None) for _ in range(nq))]
    cost = np.concatenate([np.zeros(nq + nu), np.ones(nq)])
    found = linprog(cost, rows[given], limits[given], bounds=ends, method="highs")
    if found.status != 0:
        return None
    return Rest(steady.x[:nq] + half * found.x[:nq], np.asarray(found.x[nq + nu :]))

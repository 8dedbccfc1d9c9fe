"""Where a plan may end: from there the LQR keeps all bounds for some steps more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.steady_problem import last
from koopctl.task import ResolvedTask


@dataclass(frozen=True)
class TerminalSet:
    r"""The set low <= G e <= high of deviations e from the steady state.

    Under :math:`u = u_s - K e` the inputs and the bounded coordinates of each of the next steps are linear in e; once
    more steps add nothing, this is the largest set that the LQR stays in without meeting a bound (Gilbert and Tan,
    IEEE Trans. Automatic Control 1991).

    Attributes:
        G: (m, n).
        bounded: What each row bounds, as a position in [u, q], (m,).
        low: (m,).
        high: (m,).
    """

    G: Array
    bounded: np.ndarray
    low: Array
    high: Array

    def at(self, task: ResolvedTask, x_steady: Array, u_steady: Array) -> TerminalSet:
        """Return the same rows with a task's bounds around another steady pair.

        A bound that the steady pair itself does not keep is none: no gain could keep it.

        Args:
            task: Bounds; of those that change along the horizon the last ones.
            x_steady: Steady coordinates, (nq,) or more.
            u_steady: Steady inputs, (nu,).
        """
        u_min, u_max, y_min, y_max = (last(v, 1) for v in (task.u_min, task.u_max, task.y_min, task.y_max))
        x = x_steady[: len(y_min)]
        low = np.concatenate([u_min - u_steady, y_min - x])[self.bounded]
        high = np.concatenate([u_max - u_steady, y_max - x])[self.bounded]
        return replace(self, low=np.where(low <= 0, low, -np.inf), high=np.where(high >= 0, high, np.inf))

    def beyond(self, e: Array) -> Array:
        """Return how far deviations e (k, n) lie outside by their worst row, (k,); 0 inside."""
        rows = e @ self.G.T
        return np.asarray(np.maximum(np.maximum(rows - self.high, self.low - rows).max(axis=1), 0.0))


def terminal_set(
    task: ResolvedTask, A: Array, B: Array, K: Array, x_steady: Array, u_steady: Array, steps: int
) -> TerminalSet | None:
    """Return the set in which the LQR keeps the task's bounds for `steps` steps, None where nothing is bounded.

    Args:
        task: Bounds; of those that change along the horizon the last ones.
        A: (n, n).
        B: (n, nu).
        K: Gain (nu, n), u = u_steady - K e.
        x_steady: Steady coordinates, (nq,) or more.
        u_steady: Steady inputs, (nu,).
        steps: How many.
    """
    closed, nq = A - B @ K, task.y_min.shape[-1]
    u, y = (np.isfinite(last(low, 1)) | np.isfinite(last(high, 1)) for low, high in _pairs(task))
    told = np.flatnonzero(np.concatenate([u, y]))
    if not len(told) or not steps:
        return None
    rows = list[Array]()
    inputs, states = -K, np.eye(nq, len(A))
    for _ in range(steps):
        states = states @ closed  # the state at the end of the horizon has its own bounds already
        rows.append(np.concatenate([inputs, states])[told])
        inputs = inputs @ closed
    G, nothing = np.concatenate(rows), np.zeros(len(told) * steps)
    return TerminalSet(G, np.tile(told, steps), nothing, nothing).at(task, x_steady, u_steady)


def _pairs(task: ResolvedTask) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    return (task.u_min, task.u_max), (task.y_min, task.y_max)

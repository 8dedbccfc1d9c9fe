"""Where a plan may end: from there the LQR keeps all bounds for some steps more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.steady import last
from koopctl.task import ResolvedTask


@dataclass(frozen=True)
class TerminalSet:
    r"""The set low <= G e <= high of deviations e from the steady state.

    Under :math:`u = u_s - K e` the inputs and the bounded coordinates of each of the next steps are linear in e; once
    more steps add nothing, this is the largest set that the LQR stays in without meeting a bound (Gilbert and Tan,
    IEEE Trans. Automatic Control 1991).

    Attributes:
        G: (m, n).
        low: (m,).
        high: (m,).
    """

    G: Array
    low: Array
    high: Array

    def beyond(self, e: Array) -> Array:
        """Return how far deviations e (k, n) lie outside by their worst row, (k,); 0 inside."""
        rows = e @ self.G.T
        return np.asarray(np.maximum(np.maximum(rows - self.high, self.low - rows).max(axis=1), 0.0))


def terminal_set(
    task: ResolvedTask, A: Array, B: Array, K: Array, x_steady: Array, u_steady: Array, steps: int
) -> TerminalSet | None:
    """Return the set in which the LQR keeps the task's bounds for `steps` steps, None where nothing is bounded.

    A bound that the steady pair itself does not keep gives no row: no gain could keep it.

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
    u_min, u_max, y_min, y_max = (last(v, 1) for v in (task.u_min, task.u_max, task.y_min, task.y_max))
    rows, lows, highs = list[Array](), list[Array](), list[Array]()
    inputs, states = -K, np.eye(nq, len(A))
    for _ in range(steps):
        states = states @ closed  # the state at the end of the horizon has its own bounds already
        rows += [inputs, states]
        lows += [u_min - u_steady, y_min - x_steady[:nq]]
        highs += [u_max - u_steady, y_max - x_steady[:nq]]
        inputs = inputs @ closed
    if not rows:
        return None
    G, low, high = np.concatenate(rows), np.concatenate(lows), np.concatenate(highs)
    low, high = np.where(low <= 0, low, -np.inf), np.where(high >= 0, high, np.inf)
    told = np.isfinite(low) | np.isfinite(high)
    return TerminalSet(G[told], low[told], high[told]) if told.any() else None

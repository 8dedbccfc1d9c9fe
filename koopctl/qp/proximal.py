"""The exact method on programs whose Hessian is only semidefinite."""

from __future__ import annotations

import time

import numpy as np

from koopctl.arrays import Array
from koopctl.qp.active_set import ActiveSet
from koopctl.qp.backend import Answer, Outcome
from koopctl.qp.recession import Recession, curvature

_PRICE = 1e-5  # of each variable's own curvature
_PULL = 1e-8  # of the gradient's terms: a price on moving that changes nothing
_ROUNDS = 20


class Proximal:
    r"""Proximal point iterations around `ActiveSet`: a small price on moving away from a point, which then moves.

    Each program :math:`\tfrac12 x^T P x + q^T x + \tfrac12 |x - c|_D^2` is strictly convex; with c its own solution
    the price is nothing, and x the solution asked for (Rockafellar, SIAM J. Control Optim. 1976). A linear program
    takes finitely many rounds, mostly two. A cost that falls without bound is proved by a direction it falls along.
    """

    def __init__(self, P: Array, A: Array, tolerance: float, max_iterations: int | None, definite: bool) -> None:
        """Set the structure up; the arguments are those of `Backend`."""
        del definite
        self._P, self._price = P, _PRICE * curvature(P)
        self._steps = ActiveSet(P + np.diag(self._price), A, tolerance, max_iterations, True)
        self._recession: Recession | None = None

    def reset(self) -> None:
        """Forget the rows the last solution met."""
        self._steps.reset()

    @property
    def idle(self) -> bool:
        """Whether the last solution met no row."""
        return self._steps.idle

    def solve(self, q: Array, lower: Array, upper: Array, A: Array) -> Answer:
        """Solve, starting from the last solution's rows, as `Backend.solve` says."""
        start, iterations, centre = time.perf_counter(), 0, np.zeros(len(q))
        falls: bool | None = False
        for number in range(_ROUNDS):
            answer = self._steps.solve(q - self._price * centre, lower, upper, A)
            iterations += answer.iterations
            size = np.abs(q).max(initial=0.0) + np.abs(self._P @ answer.x).max(initial=0.0)
            pull = np.abs(self._price * (answer.x - centre)).max(initial=0.0)
            if answer.outcome != "solved" or not pull > _PULL * size:
                falls = False
                break
            if number == 0:
                self._recession = self._recession or Recession(self._P, A)
                falls = self._recession.falls(q, lower, upper, A)
                if falls:
                    break
            centre = answer.x
        seconds = time.perf_counter() - start
        if falls is False:
            return answer._replace(iterations=iterations, seconds=seconds)
        outcome: Outcome = "unbounded" if falls else "stopped"
        return Answer(np.full(len(q), np.nan), answer.y, outcome, iterations, seconds)

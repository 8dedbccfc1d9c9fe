"""A plan beside the law's own, improved for a few calls and then given up for another."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.plans import Plans


class Rival:
    """The best of new candidates, one round of improvement a call; local steps never make one swing out of two.

    Attributes:
        rounds: Calls it is improved for; 0 for no rivals.
    """

    def __init__(self, rounds: int, candidates: int) -> None:
        """Start without one.

        Args:
            rounds: Calls a rival is improved for.
            candidates: Random plans it is chosen from.
        """
        self.rounds, self.candidates = rounds, candidates
        self.drop()

    def drop(self) -> None:
        """Give the rival up."""
        self._plan: tuple[Array, Array, Array] | None = None
        self._age = 0

    def keep(self, X: Array, U: Array, gains: Array) -> None:
        """Go on with the rival X (N + 1, nx), U (N, nu), gains (N, nu, nx), unless its rounds are over."""
        self._age += 1
        self._plan = (X, U, gains)
        if self._age >= self.rounds:
            self.drop()

    def next(self, plans: Plans, X: Array, U: Array, u_last: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the rival one step later, from where the plant is now; or the best of new candidates.

        Args:
            plans: What plans are measured by.
            X: States of the law's own plan, (N + 1, nx); the first is where the plant is.
            U: Its inputs, (N, nu).
            u_last: Input sent before, (nu,).
            rng: Where candidates come from.
        """
        if self._plan is None:
            others = plans.candidates(X, U, 2 * self.candidates, rng)[1:]  # without the law's own
            others = np.concatenate([others[:2], others[-self.candidates :], plans.greedy(X[0])])
            return plans.best_of(X[0], others, u_last)[:2]
        X_old, U_old, gains = self._plan
        X_old, U_old = plans.shift(X_old, U_old, 1)
        X_old[0] += plans.window.difference(X[0], X_old[0])
        later = gains[np.minimum(np.arange(len(U)) + 1, len(U) - 1)]
        return plans.follow(X_old, U_old, later, u_last, np.zeros(1))[:2]

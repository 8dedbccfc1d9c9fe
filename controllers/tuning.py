"""The LQR at a law's steady pair and the end of its plans, kept while the pair moves little."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.goal import Goal
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.riccati import infinite_horizon
from koopctl.controllers.steady_problem import half_ranges
from koopctl.controllers.terminal_set import TerminalSet, terminal_set
from koopctl.controllers.weights import stage_weights
from koopctl.errors import DesignError

_NEAR = 0.05  # a steady pair moved by less, in half ranges of the data, keeps its LQR


class Tuning:
    """Gain and cost-to-go of the linearisation at the steady pair.

    Weights that a preview changes do not count: they hold over a horizon, the LQR for ever.

    Attributes:
        K: Gain, (nu, nx); None where no LQR exists.
        P: Terminal cost, (nx, nx): the LQR's cost-to-go, or what the task gives.
        note: Why there is no LQR, or empty.
    """

    def __init__(self, prediction: Prediction, goal: Goal) -> None:
        """Start without one.

        Args:
            prediction: The model as the law plans with it.
            goal: Has the steady pair and the task.
        """
        self.prediction, self.goal = prediction, goal
        self.K: Array | None = None
        self.P = np.zeros((prediction.nx, prediction.nx))
        self.note = ""
        self.forget()

    def forget(self) -> None:
        """Tune anew next time, wherever the steady pair is."""
        self._at: tuple[Array, Array] | None = None

    def near(self, x: Array, u: Array | None = None) -> bool:
        """Tell whether the steady pair is near a state (nx,) and an input (nu,)."""
        steady, prediction = self.goal.steady, self.prediction
        off = np.abs(prediction.window.difference(steady.x, x))[: prediction.nq]
        width = np.maximum(prediction.high - prediction.low, 1e-9)
        close = bool((off <= _NEAR * half_ranges(prediction.model)).all())
        return close and (u is None or bool((np.abs(steady.u - u) <= _NEAR * width).all()))

    def tune(self) -> None:
        """Solve for the LQR at the steady pair, unless the one there is was tuned near it."""
        if self._at is not None and self.near(*self._at):
            return
        steady, home, nx = self.goal.steady, self.goal.home, self.prediction.nx
        self._at = steady.x, steady.u
        A, B = self.prediction.linearize(steady.x, steady.u)
        Q, names = stage_weights(nx, home.Q), self.prediction.window.names
        try:
            (self.K, self.P), self.note = infinite_horizon(A, B, Q, home.R + home.dR, names), ""
        except DesignError as error:
            self.K, self.P = None, Q * home.horizon
            self.note = f"the terminal cost is the stage cost times the horizon, and no LQR stands by: {error}"
        if home.terminal_cost is not None:
            self.P = stage_weights(nx, home.terminal_cost)
        elif self.goal.task.terminal_cost == "none":
            self.P = np.zeros_like(Q)

    def terminal_set(self) -> TerminalSet | None:
        """Return where plans must end, None where the task does not ask for it.

        Raises:
            DesignError: There is no LQR.
        """
        steps, steady = self.goal.task.terminal_set, self.goal.steady
        if not steps:
            return None
        if self.K is None:
            raise DesignError("terminal_set needs an LQR at the target, and there is none; see the notes without it.")
        A, B = self.prediction.linearize(steady.x, steady.u)
        found = terminal_set(self.goal.home, A, B, self.K, steady.x, steady.u, steps)
        return None if found is None else found.at(self.goal.wanted, steady.x, steady.u)

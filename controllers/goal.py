"""What a law steers to: the task's numbers, and while a call asks for something else, that."""

from __future__ import annotations

from collections.abc import MutableSequence
from dataclasses import replace

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady import Steady, nearest_steady, resolve
from koopctl.controllers.steady_problem import half_ranges
from koopctl.models.base import Model
from koopctl.preview import Preview, filled
from koopctl.task import ResolvedTask, Task

State = tuple[ResolvedTask, Steady, Steady, Array, tuple[Array | None, Preview | None] | None]

_RESTING = ("target", "Q", "u_min", "u_max", "y_min", "y_max")  # what `nearest_steady` reads of a task


class Goal:
    """The task in numbers and its steady pair, for the design and for one call.

    Attributes:
        home: The task as it was designed for, bounds drawn in by its margin.
        wanted: What counts now; the same object as `home` where a call asks for nothing.
        steady: The steady pair of `wanted`.
        exact: Whether the steady pair must be steady to the last digits, and follows the prediction's offset.
    """

    def __init__(self, model: Model, task: Task, prediction: Prediction, exact: bool) -> None:
        """Resolve the task's names against the model and find the steady pair.

        Args:
            model: A fitted model.
            task: Target, weights, bounds, horizon.
            prediction: The model as the law plans with it.
            exact: See above.

        Raises:
            DesignError: The model is not finite at the target.
            UnknownNameError: The task speaks of names the model does not have.
        """
        self.task, self.prediction, self.exact = task, prediction, exact
        self._names = model.window_.chart.names
        self._half = half_ranges(model)
        self._resolved = resolve(model, task)
        self.home = self.wanted = self._resolved.drawn_in()
        self.steady: Steady = nearest_steady(prediction, self.home)
        self._home_steady = self.steady
        self._asked: tuple[Array | None, Preview | None] | None = None

    def reset(self) -> bool:
        """Go back to the task; tell whether anything has changed."""
        moved = self._asked is not None or self.steady is not self._home_steady
        self._asked, self.wanted, self.steady = None, self.home, self._home_steady
        return moved

    def asks(self, target: Array | None, preview: Preview | None) -> bool:
        """Tell whether a target (nq,), or path (n, nq), and a preview ask for something else than the last call did.

        A preview always does: it speaks of the steps from now on.
        """
        before = (None, None) if self._asked is None else self._asked
        return preview is not None or before[1] is not None or not _equal(target, before[0])

    @property
    def target(self) -> Array | None:
        """The target or path that the last call asked for, None where it asked for the task's."""
        return None if self._asked is None else self._asked[0]

    def keep(self) -> State:
        """Return what `restore` takes."""
        return self.wanted, self.steady, self._home_steady, self.prediction.W, self._asked

    def restore(self, state: State) -> None:
        """Go back to an earlier goal."""
        self.wanted, self.steady, self._home_steady, self.prediction.W, self._asked = state

    def refresh(self) -> None:
        """Find the steady pairs again, for a model whose coefficients have changed."""
        self._home_steady = nearest_steady(self.prediction, self.home, exact=self.exact)
        near = self.steady.x, self.steady.u
        plain = self.wanted is self.home
        self.steady = self._home_steady if plain else nearest_steady(self.prediction, self.wanted, near, self.exact)

    def take(self, target: Array | None, preview: Preview | None, pending: MutableSequence[Array]) -> None:
        """Plan for another target (nq,) or path (n, nq), and what a preview says; for neither, go back to the task.

        Args:
            target: Coordinates from now on, or None.
            preview: What else is known ahead, or None.
            pending: Inputs on their way, (nu of the model,) each; what is measured among them is filled in.

        Raises:
            KoopctlError: The preview contradicts itself, or there is no steady pair.
        """
        wanted, N, delay = self._resolved, self.task.horizon, self.task.delay
        if target is not None and target.ndim == 1:
            wanted = replace(wanted, target=target)
        elif target is not None:
            path = filled(target[min(delay, len(target) - 1) :], N + 1)
            wanted = replace(wanted, target=path[-1], path=path)
        if preview is not None:
            wanted = preview.apply(wanted, self._names, self.prediction.names)
            known = preview.measured(tuple(self.task.disturbances), N + delay)
            if known is not None:
                for i, w in enumerate(known[: len(pending)]):
                    pending[i] = pending[i].copy()  # what is kept elsewhere stays what it was
                    pending[i][self.prediction.measured] = w
                self.prediction.W = known[delay:]
        plain = wanted is self._resolved
        wanted = self.home if plain else wanted.drawn_in()
        steady = self._home_steady
        if not plain or self.exact or len(self.prediction.measured):
            steady = self.steady
            if self.exact or len(self.prediction.measured) or not self._rests_like(wanted):
                steady = self._nearest(wanted)
        if wanted.path is not None:  # angles beside those of the steady pair, which are on the turn of their bounds
            still = steady.x[: len(self._half)]
            path = still + self.prediction.window.difference_of_coordinates(wanted.path, still)
            wanted = replace(wanted, path=path)
        self.wanted, self.steady = wanted, steady
        self._asked = None if target is None and preview is None else (target, preview)

    def _rests_like(self, wanted: ResolvedTask) -> bool:
        """Tell whether a task has the steady pair that counts now: a path that moves on mostly ends where it did."""
        return all(np.array_equal(getattr(wanted, name), getattr(self.wanted, name)) for name in _RESTING)

    def _nearest(self, wanted: ResolvedTask) -> Steady:
        """Return the steady pair of a task, looked for from the last one too where that is near."""
        off = self.prediction.window.difference_of_coordinates(wanted.target, self.steady.x[: len(self._half)])
        start = (self.steady.x, self.steady.u) if (np.abs(off) <= self._half).all() else None
        return nearest_steady(self.prediction, wanted, start, exact=self.exact)


def _equal(one: Array | None, other: Array | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)

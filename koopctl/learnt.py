"""What it took to learn one model, and how well it predicts what it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.base import Model
from koopctl.models.probe import evenly
from koopctl.regression.scaling import centre_and_spread

_STARTS = 200


@dataclass(frozen=True)
class HeldOut:
    """Stretches of motion that no model was fitted to, and the unit of errors: the same for all that are compared.

    Attributes:
        Y: Observations, (n, before + 1 + H, ny).
        U: Inputs, (n, before + H, nu).
        before: Samples before the first prediction, as many as the longest window of a model needs.
        spread: Deviation of each observed column over the training data, 1 where it stands still, (ny,).
    """

    Y: Array
    U: Array
    before: int
    spread: Array

    @classmethod
    def of(cls, train: Rollouts, test: Rollouts, before: int, horizon: int) -> HeldOut:
        """Take stretches from evenly chosen starts, shorter ones where no episode holds `horizon` steps.

        Args:
            train: What the models were fitted to.
            test: What they were not fitted to.
            before: Samples before the first prediction.
            horizon: Steps ahead, at most.

        Raises:
            DataError: No episode of `test` is longer than `before`.
        """
        steps = min(horizon, max(len(U) for U in test.U) - before)
        if steps < 1:
            raise DataError(f"no held-out episode is longer than {before} samples; record longer episodes.")
        Y, U = evenly(test, before + steps, _STARTS)
        return cls(Y, U, before, centre_and_spread(np.concatenate(train.X))[1])

    def errors(self, model: Model) -> Array:
        """Return the error of a model's re-lifted predictions after 1 to H steps, inf where it overflows, (H,).

        It is measured in what is observed, whatever the coordinates the model found: the root of the mean square, over
        stretches and columns, as a share of each column's spread.
        """
        window, now = model.window_, self.before
        first = now - window.delays
        x0 = window.encode_each(self.Y[:, first : now + 1], self.U[:, first:now])
        path = model.predict(x0, self.U[:, now:])[:, 1:]
        with np.errstate(over="ignore", invalid="ignore"):
            share = (model.output(path) - self.Y[:, now + 1 :]) / self.spread
            value = np.sqrt(np.mean(share**2, axis=(0, 2)))
        return np.asarray(np.where(np.isfinite(value), value, np.inf))


@dataclass(frozen=True)
class Learnt:
    """Time and errors of one fit.

    Attributes:
        seconds: Time of the fit [s].
        until_best: Time until a network trained by gradient descent was as it was kept [s]; else that of the fit.
        one_step: Error of a step on held-out episodes, in observations, as a share of each column's spread in the
            training data.
        ahead: Error after `horizon` steps, re-lifted.
        horizon: Steps.
    """

    seconds: float
    until_best: float
    one_step: float
    ahead: float
    horizon: int

    @classmethod
    def of(cls, model: Model, seconds: float, held_out: HeldOut) -> Learnt:
        """Predict held-out motion.

        Args:
            model: A fitted model.
            seconds: What the fit took [s].
            held_out: What it was not fitted to, the same for all models that are compared.
        """
        errors = held_out.errors(model)
        best = float(getattr(model, "train_seconds_", seconds))
        return cls(seconds, best, float(errors[0]), float(errors[-1]), len(errors))

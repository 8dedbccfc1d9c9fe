"""How well a model predicts episodes, in words and in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from koopctl.cli.output import Output

if TYPE_CHECKING:
    from koopctl.data.rollouts import Rollouts
    from koopctl.models.base import Model
    from koopctl.models.scores import PredictionErrors

_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)  # steps ahead of the printed table, and the longest


@dataclass(frozen=True)
class Scores:
    """Predictions of some episodes.

    Attributes:
        score: Share of the motion explained in one step.
        errors: Errors by horizon; None where the episodes are no longer than the delays.
        n_episodes: Episodes they were measured on.
    """

    score: float
    errors: PredictionErrors | None
    n_episodes: int

    @classmethod
    def of(cls, model: Model, part: Rollouts, horizon: int) -> Scores:
        """Predict from many starts, at most `horizon` steps ahead or as far as the longest episode goes."""
        from koopctl.models.scores import prediction_errors

        model.check_data(part)
        delays = model.window_.delays
        long = [i for i, U in enumerate(part.U) if len(U) > delays]  # shorter episodes hold nothing to predict
        if not long:
            return cls(math.nan, None, len(part))
        longest = max(len(part.U[i]) for i in long) - delays
        errors = prediction_errors(model, part[long], horizon=min(horizon, longest))
        return cls(model.score(part), errors, len(part))

    def numbers(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        if self.errors is None:
            return {"score": self.score}
        found = self.errors
        return {"score": self.score, "relifted": found.relifted, "linear": found.linear, "n_starts": found.n_starts}

    def print(self, say: Output, name: str) -> None:
        """Print a table of the errors on `name` episodes."""
        if self.errors is None:
            say.say(f"no {name} episode is longer than the delays: nothing to predict")
            return
        horizons = sorted({k for k in _SHOWN if k < len(self.errors.relifted)} | {len(self.errors.relifted)})
        rows = [
            [f"{words}, {name}", *(f"{values[k - 1]:.2g}" for k in horizons)]
            for words, values in (("re-lifted", self.errors.relifted), ("linear", self.errors.linear))
        ]
        say.say(
            f"prediction error on {self.n_episodes} {name} episodes, share of each coordinate's spread, by steps ahead:"
        )
        say.table(["roll-out", *map(str, horizons)], rows)

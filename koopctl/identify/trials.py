"""What a search tried and found."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import clone

from koopctl.models.base import Model

_SHOWN = 10
_EXACT = 1e-9  # share of the spread below which an error is rounding, and not one candidate better than another
_FLAT = 1.02  # scores this close are not told apart


@dataclass(frozen=True)
class Trial:
    """One setting of a search.

    Attributes:
        kind: The kind of model.
        params: The parameters that were set.
        errors: Error after 1 to H steps on held-out episodes, as a share of the spread.
        seconds: What it took [s].
        failed: Why it could not be fitted, or nothing.
    """

    kind: str
    params: dict[str, Any]
    errors: tuple[float, ...]
    seconds: float
    failed: str
    template: Model = field(repr=False, compare=False)

    @cached_property
    def score(self) -> float:
        """Geometric mean of the errors; inf where it failed or ran away."""
        values = np.array(self.errors)
        return float(np.exp(np.mean(np.log(np.maximum(values, _EXACT))))) if np.isfinite(values).all() else np.inf

    def model(self) -> Model:
        """Return an unfitted model with these parameters."""
        return clone(self.template).set_params(**self.params)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Trials:
    """All trials of a search, the best first.

    Attributes:
        trials: The trials.
        horizon: Steps they were judged over.
        relift: Whether the re-lifted roll-out was judged.
        n_held_out: Episodes they were judged on.
    """

    trials: tuple[Trial, ...]
    horizon: int
    relift: bool
    n_held_out: int

    @property
    def best(self) -> Trial:
        """The trial to take: of those like the one with the smallest score, the largest ridge within 2 % of it.

        Where the score is flat in the ridge, chance decides which is smallest, and the larger one is the safer model.
        """
        first = self.trials[0]
        alike = [trial for trial in self.trials if trial.score <= _FLAT * first.score and _is_like(trial, first)]
        return max(alike, key=lambda trial: trial.params.get("ridge", 0.0))

    def __str__(self) -> str:
        """Return the best trials as a table."""
        best, kinds = self.best, {trial.kind for trial in self.trials}
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.params))
        head = [*(["model"] if len(kinds) > 1 else []), *names, "score", "1 step", f"{len(best.errors)} steps"]
        rows = []
        for trial in self.trials[:_SHOWN]:
            cells = [_short(trial.params.get(name, "")) for name in names]
            ends = [f"{trial.errors[0]:.2g}", f"{trial.errors[-1]:.2g}"]
            rows.append([*([trial.kind] if len(kinds) > 1 else []), *cells, f"{trial.score:.3g}", *ends])
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
        kind = "re-lifted" if self.relift else "linear"
        more = f", {len(self.trials) - _SHOWN} more not shown" if len(self.trials) > _SHOWN else ""
        held = f"{self.n_held_out} held-out episode{'' if self.n_held_out == 1 else 's'}"
        where = f"{len(self.trials)} trials judged by the {kind} roll-out on {held}{more}"
        return "\n".join([where, *lines])


def _is_like(trial: Trial, other: Trial) -> bool:
    """Tell whether nothing but the ridge differs. Of one setting all trials share the values, which may be arrays."""
    same = all(trial.params.get(name) is value for name, value in other.params.items() if name != "ridge")
    return same and trial.template is other.template


def _short(value: object) -> str:
    return f"{value:.0e}" if isinstance(value, float) else " ".join(str(value).split())

"""How recurrent networks are trained, as settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import cos, pi
from pathlib import Path
from typing import Literal, get_args

from koopctl.arrays import as_whole, is_finite
from koopctl.errors import DataError

Forcing = Literal["none", "sparse", "generalised"]
Method = Literal["gradient", "target_propagation"]
Precision = Literal["float32", "float64"]


@dataclass(frozen=True)
class Training:
    """Settings of gradient descent on free-running predictions.

    A batch is `batch` stretches of `washout + horizon` samples: during the washout the network is shown what was
    measured, after it what it predicts itself, and the error of the predicted coordinates, in deviations of the data,
    is descended by Adam under a cosine schedule with warm-up. Every `check` steps the same error, always of free runs,
    is measured on held-out episodes; training stops when it has not fallen for `patience` checks, and the best network
    is kept.

    Attributes:
        washout: Samples shown before a prediction; also those a state is made of.
        horizon: Predicted steps of a stretch.
        batch: Stretches in a batch.
        steps: Steps of descent, at most.
        learning_rate: Largest step size.
        clip: Largest norm of a gradient.
        check: Steps between two looks at the held-out error.
        patience: Checks without progress after which training stops.
        held_out: Share of the episodes that are held out.
        noise: Deviation of the noise on shown coordinates, in deviations of the data.
        forcing: "none" (free run), "sparse" (shown the measurement every `forcing_interval` steps), or "generalised"
            (shown `forcing_share` of it, the rest predicted, at every step).
        forcing_interval: Of sparse teacher forcing (Mikhaeil, Monfared and Durstewitz, NeurIPS 2022).
        forcing_share: Of generalised teacher forcing (Hess, Monfared, Brenner and Durstewitz, ICML 2023).
        method: "gradient" (backpropagation through time), or "target_propagation" by regularised inversion of each step
            (Roulet and Harchaoui, 2021), which takes longer the more is remembered.
        inversion: Regularisation of that inversion: 0 would be the pseudo-inverse of a step, infinity the gradient.
        penalty: Weight of the cell's own penalty.
        precision: "float32" or "float64".
        seed: Of weights, batches and noise.
        checkpoint: File (.npz) that training is kept in at every check and resumed from, or None.
        progress: Whether a progress bar is shown.
    """

    washout: int = 20
    horizon: int = 30
    batch: int = 64
    steps: int = 3000
    learning_rate: float = 3e-3
    clip: float = 1.0
    check: int = 100
    patience: int = 10
    held_out: float = 0.15
    noise: float = 0.0
    forcing: Forcing = "none"
    forcing_interval: int = 10
    forcing_share: float = 0.1
    method: Method = "gradient"
    inversion: float = 1.0
    penalty: float = 0.0
    precision: Precision = "float32"
    seed: int = 0
    checkpoint: str | Path | None = None
    progress: bool = False

    @classmethod
    def of(cls, given: object) -> Training:
        """Return settings that were given as such, as a mapping of some of them, or not at all.

        Raises:
            DataError: It is something else, or a name or a value is none of a setting.
        """
        if isinstance(given, Training):
            return given
        names = [each.name for each in fields(cls)]
        if not isinstance(given, Mapping | None) or not set(given or {}) <= set(names):
            raise DataError(f"training is {given!r}; it is a Training, or a mapping of some of {', '.join(names)}.")
        return cls(**(given or {}))

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        for name in ("washout", "horizon", "batch", "steps", "check", "patience", "forcing_interval"):
            as_whole(name, getattr(self, name), 1)
        as_whole("seed", self.seed, 0)
        for name in ("learning_rate", "clip", "inversion"):
            value = getattr(self, name)
            if not (is_finite(value) and value > 0):
                raise DataError(f"{name} is {value!r}; it must be positive.")
        for name in ("noise", "penalty"):
            value = getattr(self, name)
            if not (is_finite(value) and value >= 0):
                raise DataError(f"{name} is {value!r}; it must not be negative.")
        for name in ("held_out", "forcing_share"):
            value = getattr(self, name)
            if not (is_finite(value) and 0.0 < value < 1.0):
                raise DataError(f"{name} is {value!r}; it is a share between 0 and 1.")
        for name, kind in (("forcing", Forcing), ("method", Method), ("precision", Precision)):
            value, offered = getattr(self, name), get_args(kind)
            if value not in offered:
                raise DataError(f"{name} is {value!r}; it is {' or '.join(map(repr, offered))}.")


def learning_rate(training: Training, step: float) -> float:
    """Return the step size at a step: it rises over a tenth of them, at most 100, and falls to zero along a cosine."""
    warm = max(1, min(100, training.steps // 10))
    if step < warm:
        return training.learning_rate * (1.0 + (warm - 1.0) * step / warm) / warm
    through = min((step - warm) / max(training.steps - warm, 1), 1.0)
    return training.learning_rate * 0.5 * (1.0 + cos(pi * through))

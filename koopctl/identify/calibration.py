"""What an error bound is calibrated with: errors of held-out windows, and a scale that gives the bound its shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.identify.conformal import conformal_quantile, episodes_needed
from koopctl.identify.ensemble import Ensemble
from koopctl.identify.windows import Windows, pieces
from koopctl.models.base import Model
from koopctl.models.scores import rms_errors

_CHUNK = 500  # windows rolled out at one time
_EXACT = 1e-9  # share of the spread below which an error is none: it cannot be a scale
_SAME = 200  # equal transitions after which an episode is one of the training data's


@dataclass(frozen=True)
class Calibration:
    """Held-out windows with the errors of their predictions.

    Attributes:
        windows: The windows.
        errors: Absolute errors after 1..H steps, (n, H, nq); inf where a roll-out ran away.
        scale: Scale of the errors after 1..H steps, (H, nq).
        notes: What the reader should know, in words.
    """

    windows: Windows
    errors: Array
    scale: Array
    notes: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, data: Rollouts, horizon: int, coverage: float, relift: bool, shaped: bool) -> Calibration:
        """Cut held-out episodes into windows, predict them, and find a scale that does not depend on them.

        Args:
            model: The model.
            data: Held-out episodes.
            horizon: Steps H.
            coverage: Wanted probability.
            relift: Which roll-out.
            shaped: Whether the scale matters; where it does not it is 1.

        Raises:
            DataError: The episodes are too few or too short, or the model was fitted to one of them.
        """
        _check_held_out(model, data)
        length, notes = model.window_.delays + horizon, []
        scale = _training_scale(model, horizon, relift) if shaped else np.ones((horizon, model.window_.nq))
        fewest = episodes_needed(coverage) + (scale is None)
        if len(data) == 1:
            data = pieces(data, length, fewest)
            notes.append(
                f"one episode, cut into {len(data)} pieces with gaps of {length} steps: pieces are exchangeable only "
                "as far as their motion has forgotten each other, so the coverage is approximate."
            )
        elif data.missing.split:
            notes.append("parts of recordings that gaps split count as episodes of their own, though they are akin.")
        held = [i for i, U in enumerate(data.U) if len(U) >= length]
        if len(held) < fewest:
            raise DataError(
                f"coverage {coverage:g} needs at least {fewest} held-out episodes of {length} transitions, "
                f"here are {len(held)}: record more, or lower coverage or horizon."
            )
        if len(held) < len(data):
            notes.append(f"{len(data) - len(held)} of {len(data)} episodes hold no {horizon} steps and were left out.")
        if scale is None:
            spared = _spared(held, episodes_needed(coverage))
            held = [i for i in held if i not in spared]
            scale = _scale_of(model, data[spared], horizon, relift)
            notes.append(
                f"no training stretches of {horizon} steps are at hand (model from a file, or short episodes): "
                f"{len(spared)} of the held-out episodes gave the errors' scale instead."
            )
        windows = Windows.of(model.window_, data[held], horizon)
        return cls(windows, absolute_errors(model, windows, relift), scale, tuple(notes))

    def quantile(self, scale: Array, coverage: float, joint: bool) -> Array:
        """Return by what a scale (H, nq) or (n, H, nq) is to be multiplied, (1, 1) where joint, else (H, nq)."""
        with np.errstate(invalid="ignore"):
            scores = np.nan_to_num(self.errors / scale, nan=np.inf, posinf=np.inf)
        if joint:
            scores = scores.max(axis=(1, 2), keepdims=True)
        return conformal_quantile(scores, self.windows.weight, self.windows.n_episodes, coverage)

    def mean(self, values: Array) -> Array:
        """Return the mean of values (n, ...) of the windows, every episode counting the same."""
        return np.asarray(np.tensordot(self.windows.weight, values, 1))


def absolute_errors(model: Model, windows: Windows, relift: bool) -> Array:
    """Return the absolute errors after 1..H steps, (n, H, nq); inf where a roll-out ran away."""

    def coordinates(X: Array, U: Array) -> Array:
        return model.predict(X, U, relift)[:, 1:, : model.window_.nq]

    with np.errstate(over="ignore", invalid="ignore"):
        path = _in_chunks(coordinates, windows.x0, windows.U)
        error = np.abs(model.window_.difference_of_coordinates(path, windows.truth))
    return np.asarray(np.where(np.isfinite(error), error, np.inf))


def spread_of(ensemble: Ensemble, X: Array, U: Array, scale: Array, relift: bool) -> Array:
    """Return the adaptive scale of the errors after 1..T steps, (n, T, nq).

    The variance of what the data left open, the members' spread, and that of what no member explains, the errors on
    the training data, add up. Without the second, windows where all members happen to agree would rule the quantile.
    """

    def spread(X: Array, U: Array) -> Array:
        return ensemble.spread(X, U, relift)[:, 1:]

    with np.errstate(over="ignore", invalid="ignore"):
        found = np.hypot(_in_chunks(spread, X, U), scale)
    return np.asarray(np.where(np.isnan(found), np.inf, found))


def capped(widths: Array, model: Model) -> Array:
    """Return half widths of which those of angles are at most pi, where the circle ends."""
    angles = model.window_.chart.angles
    if not len(angles):
        return widths
    widths = np.array(widths)
    widths[..., angles] = np.minimum(widths[..., angles], math.pi)
    return widths


def _in_chunks(function: Callable[[Array, Array], Array], X: Array, U: Array) -> Array:
    parts = range(0, max(len(X), 1), _CHUNK)
    return np.concatenate([function(X[i : i + _CHUNK], U[i : i + _CHUNK]) for i in parts])


def _training_scale(model: Model, horizon: int, relift: bool) -> Array | None:
    """Return the rms errors on stretches of the training data, (H, nq); None where the model has none as long."""
    probe = getattr(model, "_probe_", None)
    if probe is None or probe.U.shape[1] < horizon:
        return None
    short = replace(probe, U=probe.U[:, :horizon], truth=probe.truth[:, :horizon])
    return _usable(rms_errors(model, short, relift), probe.spread)


def _spared(held: list[int], needed: int) -> list[int]:
    """Return up to half of the episodes, evenly chosen, that calibration can do without."""
    count = min(len(held) // 2, len(held) - needed)
    return [held[i] for i in np.linspace(0, len(held) - 1, count).astype(int)]


def _scale_of(model: Model, data: Rollouts, horizon: int, relift: bool) -> Array:
    windows = Windows.of(model.window_, data, horizon)
    with np.errstate(over="ignore"):
        squares = np.tensordot(windows.weight, absolute_errors(model, windows, relift) ** 2, 1)
    return _usable(np.sqrt(squares), windows.truth.std(axis=(0, 1)))


def _usable(rms: Array, spread: Array) -> Array:
    """Return a scale that nothing is divided by zero with."""
    if not np.isfinite(rms).all():
        raise DataError(
            f"predictions run away within {int(np.argmin(np.isfinite(rms).all(axis=1))) + 1} steps, which leaves no "
            "error to bound: lower horizon, or stabilise the model (spectral_radius=1.0)."
        )
    return np.asarray(np.maximum(rms, np.where(spread > 0, _EXACT * spread, _EXACT)))


def _check_held_out(model: Model, data: Rollouts) -> None:
    """Raise a DataError where an episode is one of those the model keeps of its training data."""
    probe = getattr(model, "_probe_", None)
    if probe is None:
        return
    for i, (Y, U) in enumerate(data):
        for Y_known, U_known in probe.series:
            n = min(len(U), len(U_known))
            alike = len(U) == len(U_known) or n >= _SAME
            if alike and np.array_equal(Y[: n + 1], Y_known[: n + 1]) and np.array_equal(U[:n], U_known[:n]):
                raise DataError(
                    f"the model was fitted to episode {i} of these: its errors there are smaller than elsewhere. "
                    "Keep episodes back, e.g. train, held_out = data.split(0.8)."
                )

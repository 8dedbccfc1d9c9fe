"""What every observer does around its own filter: read the observation, start, refuse outliers, start again."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import deque
from math import isfinite
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, ByName, as_array, as_vector
from koopctl.controllers.beginning import beginning
from koopctl.controllers.reading import Reading, as_numbers
from koopctl.controllers.steady_problem import half_ranges
from koopctl.errors import DataError
from koopctl.models.base import Model

_PATIENCE = 3  # samples in a row with an outlier after which it is the estimate that is wrong


class Observer(ABC):
    """Estimates a model's state from noisy, incomplete observations and the inputs that were applied.

    `update(y, u_last)` once a sample; it never raises, whatever y is. The first `delays + 1` samples fill the model's
    window and are taken as measured; what was not among them starts at the middle of the training data with its half
    range as standard deviation. From then on the estimate is predicted by the model and corrected by the coordinates
    q that were measured; an angle is measured where both its cos and its sin are. Single missing values are left
    out, and where nothing was measured the prediction stands, as long as it stays near the training data.

    A coordinate further than `gate` standard deviations from its prediction is an outlier and left out. After a few
    samples in a row with outliers the estimate must be wrong, and the window as measured takes its place.

    Attributes:
        model: The learnt model.
        sensor_noise: Standard deviation of each measured coordinate, (nq,); inf where it is not measured.
        gate: See above.
        x: The estimate (nx,); None before the first measurement.
        innovation: Measured less predicted coordinates at the last sample, (nq,); NaN where there was nothing.
        blind: Samples in a row from which nothing could be used.
        offset: What a step adds to the model's prediction of the coordinates, (nq,); a law without offset sets it.
        fault: What was wrong with the last sample: "" (nothing), "not_numeric", "wrong_shape", "not_finite" (nothing
            was measured), "partial" (some coordinates were missing), "outlier" (some were refused), "diverged" (the
            estimate overflowed and was given up), "bad_input" (u_last was no input).
    """

    kind: ClassVar[str]
    x: Array | None
    _outliers: int

    def __init__(self, model: Model, sensor_noise: ByName, gate: float = 10.0) -> None:
        """Read the noise by name and start with an empty past.

        Args:
            model: A fitted model.
            sensor_noise: Standard deviation of the measurement of each coordinate (`model.state_names`): one number,
                an array (nq,), or a mapping by name whose missing entries are not measured. An angle's is in rad.
            gate: Standard deviations from the prediction beyond which a measured coordinate is an outlier.

        Raises:
            DataError: The noise of a coordinate is not positive, none is measured, or the gate is not positive.
            UnknownNameError: The noise speaks of names the model does not have.
        """
        names, window = model.state_names, model.window_  # in this order: the names know whether there is a fit
        noise = as_vector("sensor_noise", sensor_noise, names, default=np.inf, finite=False)
        if not (noise > 0).all() or not np.isfinite(noise).any():
            raise DataError(
                f"sensor_noise is {noise} for {', '.join(names)}; every standard deviation must be positive, and "
                "finite for at least one coordinate (inf, or a name left out of a mapping: not measured)."
            )
        if np.isnan(gate) or gate <= 0:
            raise DataError(f"gate is {gate!r}; it is a positive number of standard deviations, inf for no gate.")
        self.model, self.sensor_noise, self.gate = model, noise, float(gate)
        self._measurable, self._angles = np.isfinite(noise), window.circle[0]
        self._n_measurable = int(np.count_nonzero(self._measurable))
        self._reading = Reading(model)
        self._patience = max(_PATIENCE, window.delays + 1)
        self._prior = half_ranges(model)
        self._prior[window.chart.angles] = np.pi / np.sqrt(3.0)  # of an angle nothing is known about
        self._centre = np.zeros(window.nq)
        position, column = window.linear[:, window.linear[0] < window.nq]
        self._centre[position] = ((model.envelope_.low + model.envelope_.high) / 2)[column]
        self.reset()

    # ------------------------------------------------------------------ using
    def reset(self) -> None:
        """Forget the past."""
        window = self.model.window_
        self._samples: deque[tuple[Array, np.ndarray]] = deque(maxlen=window.delays + 1)  # q, and what of it is guessed
        self._inputs: deque[Array] = deque(maxlen=window.delays)
        self._u = np.zeros(window.nu)
        self.innovation = np.full(window.nq, np.nan)
        self.offset = np.zeros(window.nq)
        self.blind, self.fault = 0, ""
        self._lose()

    def start(self, Y: ArrayLike, U: ArrayLike = ()) -> Array:
        """Forget the past, start from a measured window, and return the estimate (nx,).

        Args:
            Y: Observations (n, ny), oldest first, n > delays; what is beyond `delays + 1` of them is filtered.
            U: Inputs between them, (n - 1, nu).

        Raises:
            DataError: The window is too short or holds NaN.
            ShapeError: Y or U has another shape.
        """
        window = self.model.window_
        first = window.delays + 1
        Y = as_array("Y", Y, ("n", len(window.chart.y_names)))
        if len(Y) < first:
            raise DataError(f"Y holds {len(Y)} observations; a model with {first - 1} delays starts from {first}.")
        shape = (len(Y) - 1, window.nu)
        U = as_array("U", np.reshape(U, shape) if np.size(U) == 0 == shape[0] * shape[1] else U, shape)
        self.reset()
        self._samples.extend((q, ~self._measurable) for q in window.chart.to_coordinates(Y[:first]))
        self._inputs.extend(U[: first - 1])
        with np.errstate(all="ignore"):
            self._begin()
        self._unfilled = 0
        for y, u in zip(Y[first:], U[first - 1 :], strict=True):
            self.update(y, u)
        if self.x is None:
            raise DataError("the window lies too far from the training data for the model; start closer to it.")
        return self.x.copy()

    def update(self, y: ArrayLike, u_last: ArrayLike) -> Array | None:
        """Return the estimate (nx,) after an observation, None as long as nothing was measured.

        Args:
            y: The full observation, the measured states (ny,), or anything else; what is not finite is missing.
            u_last: Input applied since the last observation, (nu,).
        """
        bad_input = self._apply(u_last)
        value, unread = self._reading.read(y)
        q, there = self._coordinates(value)
        try:
            with np.errstate(all="ignore"):  # what overflows is found by its value
                fault = self._take(q, there) if np.count_nonzero(there) else self._miss(unread)
        except np.linalg.LinAlgError:  # covariances that overflowed on the way
            self._lose()
            fault = "diverged"
        self.fault = fault or bad_input
        return None if self.x is None else self.x.copy()

    def fresh(self) -> Self:
        """Return an observer of the same design and model with an empty past."""
        other = copy.copy(self)
        other.reset()
        return other

    # ------------------------------------------------------------------ the filter
    @abstractmethod
    def _set(self, x: Array, variance: Array) -> None:
        """Take x (nx,) as the estimate, its entries' errors as independent, of variance (nx,)."""

    @abstractmethod
    def _predict(self, u: Array) -> Array:
        """Go one step on under the input u (nu,), and return the prediction (nx,)."""

    @abstractmethod
    def _variance(self) -> Array:
        """Return the variance of each coordinate's innovation, (nq,)."""

    @abstractmethod
    def _correct(self, innovation: Array, rows: np.ndarray) -> None:
        """Correct by the innovations (m,) of the coordinates `rows` (m,)."""

    @abstractmethod
    def _estimate(self) -> tuple[Array, Array]:
        """Return the estimate (nx,) itself, and what else must be finite."""

    @abstractmethod
    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return the JSON-able options and the arrays that, as keywords, make this observer again."""

    # ------------------------------------------------------------------ one sample
    def _apply(self, u_last: ArrayLike) -> str:
        """Note the input; one that cannot be is taken to be the one before."""
        u = as_numbers(u_last)
        fits = u is not None and u.shape == self._u.shape and np.count_nonzero(np.isfinite(u)) == u.size
        self._u = u if u is not None and fits else self._u
        while len(self._inputs) < self.model.window_.delays - 1:  # at the start the plant is taken to have stood still
            self._inputs.append(self._u)
        self._inputs.append(self._u)
        return "" if fits else "bad_input"

    def _coordinates(self, value: Array | None) -> tuple[Array, np.ndarray]:
        """Return q (nq,) and which of its entries were measured."""
        chart = self.model.window_.chart
        if value is None:
            return self._centre, np.zeros(chart.nq, dtype=bool)
        value[~np.isfinite(value)] = np.nan
        q = chart.to_coordinates(value)
        return q, ~np.isnan(q) & self._measurable

    def _settle(self) -> bool:
        """Publish the estimate, its angles within one turn; give up one that is not finite."""
        x, rest = self._estimate()
        if not isfinite(x.sum() + rest.sum()):
            self._lose()
            return False
        if len(self._angles):
            x[self._angles] = wrapped(x[self._angles])
        self.x = x.copy()
        return True

    def _miss(self, unread: str) -> str:
        """Nothing was measured: the prediction stands, unless it has left the training data."""
        self.blind += 1
        self.innovation = np.full(len(self._centre), np.nan)
        if self.x is not None:
            self._predict(self._u)
            if self._settle():
                self._samples.append((self.x[: len(self._centre)].copy(), np.ones(len(self._centre), dtype=bool)))
                if not self.model.excess(self.x[None])[0] <= 1.0:
                    self._lose()
        return unread or "not_finite"

    def _take(self, q: Array, there: np.ndarray) -> str:
        """Use the measured coordinates; return the fault."""
        count = np.count_nonzero(there)  # all() and any() of numpy take ten times as long
        missing = "" if count == self._n_measurable else "partial"
        predicted = self._centre if self.x is None else self._predict(self._u)[: len(q)]
        self._note(q if count == len(q) else self._filled(q, there, predicted), ~there)
        if self.x is None or self._unfilled:
            self.innovation = np.full(len(q), np.nan)
            self._unfilled -= 1
            return self._begin() or missing
        self.innovation = q - predicted
        angles = self.model.window_.chart.angles
        if len(angles):
            self.innovation[angles] = wrapped(self.innovation[angles])
        if count < len(q):
            self.innovation[~there] = np.nan
        rows = self._believed(there)
        if rows is None:
            return self._begin(trust=False) or "outlier"
        self.blind = 0 if len(rows) else self.blind + 1
        if len(rows):
            self._correct(self.innovation[rows], rows)
        if not self._settle():
            self._take(q, there)  # starts anew
            return "diverged"
        return missing if len(rows) == count else "outlier"

    def _filled(self, q: Array, there: np.ndarray, predicted: Array) -> Array:
        """Return the sample with the prediction where nothing was measured."""
        full = np.where(there, q, predicted)
        return full if isfinite(full.sum()) else np.where(there, q, self._centre)

    def _note(self, q: Array, guessed: np.ndarray) -> None:
        """Remember a sample; the first one fills the window."""
        while len(self._samples) < self.model.window_.delays:
            self._samples.append((q, guessed))
        self._samples.append((q, guessed))

    def _believed(self, there: np.ndarray) -> np.ndarray | None:
        """Return the measured coordinates that are no outliers, None where the estimate must be wrong."""
        outlying = np.abs(self.innovation) > self.gate * np.sqrt(self._variance())  # not where there is NaN
        self._outliers = self._outliers + 1 if np.count_nonzero(outlying) else 0
        return None if self._outliers >= self._patience else np.flatnonzero(there & ~outlying)

    def _begin(self, trust: bool = True) -> str:
        """Make the estimate of the window, as `encode` does, with or without what was predicted; return the fault."""
        Q, guessed = (np.array(part)[::-1] for part in zip(*self._samples, strict=True))
        Q = Q if trust else np.where(guessed, self._centre, Q)
        past = np.array(self._inputs)[::-1].reshape(len(self._inputs), self.model.nu)
        variance = np.where(guessed, self._prior, self.sensor_noise) ** 2
        self._set(*beginning(self.model, Q, past, variance))
        self._outliers = self.blind = 0
        return "" if self._settle() else "diverged"

    def _lose(self) -> None:
        """Give up the estimate; the next measurement starts anew."""
        self.x = None
        self._samples.clear()
        self._unfilled = self._samples.maxlen or 1
        self._outliers = 0


def wrapped(angles: Array) -> Array:
    """Return angles [rad] in [-pi, pi)."""
    return np.asarray((angles + np.pi) % (2 * np.pi) - np.pi)

"""Signals that make a plant show its dynamics: what to feed the inputs while data is recorded.

Which one: `PiecewiseConstant` visits every input level and suits models whose input gain may be curved; `PRBS` puts the
most energy into a linear gain but shows two levels only; `Multisine` excites a chosen band and nothing else, for plants
with resonances to meet or to spare; `Chirp` sweeps a band smoothly, for frequency responses; `OrnsteinUhlenbeck` is
gentle noise without jumps, for machines that must not be shaken.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from koopctl.arrays import Array, as_array, as_names, as_vector
from koopctl.errors import DataError, UnknownNameError

_HOLD_STEPS = 2  # default hold of the stepwise signals, in samples
_MEMORY_STEPS = 10  # default correlation time of the noise, in samples
_TOP = 0.1  # default upper edge of a band, in cycles a sample: ten samples a period
_DRAWS = 16  # phase sets a multisine tries for a low crest factor


@dataclass(frozen=True)
class Excitation(ABC):
    """A family of input signals u_k = offset + amplitude * s_k with |s_k| <= 1, clipped to the actuator's range.

    Attributes:
        amplitude: Largest distance from the offset in the actuator's units, one number or one an input; None takes as
            much as the range holds on both sides of the offset.
        offset: Level the signal moves around; None takes the middle of the range, 0 where the range is unbounded.
    """

    amplitude: float | Sequence[float] | None = None
    offset: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Refuse parameters no signal can be made from."""
        if self.amplitude is not None:
            size = as_array("amplitude", np.atleast_1d(self.amplitude), ("nu",))
            if not (size > 0).all():
                raise DataError(f"amplitude is {self.amplitude!r}; every entry must be positive.")
        if self.offset is not None:
            as_array("offset", np.atleast_1d(self.offset), ("nu",))

    def signal(self, steps: int, dt: float, low: Array, high: Array, rng: np.random.Generator) -> Array:
        """Return one realisation, (steps, nu), inside [low, high].

        Args:
            steps: Number of samples, at least 1.
            dt: Sampling time [s].
            low: Lower ends of the actuators, (nu,); may be -inf where an amplitude is given.
            high: Upper ends of the actuators, (nu,).
            rng: Source of randomness; the same state gives the same signal.

        Raises:
            DataError: The amplitude is missing for an unbounded actuator, the offset lies outside the range, or the
                band or hold time does not fit `steps` and `dt`.
        """
        if steps < 1:
            raise DataError(f"steps is {steps!r}; a signal needs at least one sample.")
        if not (math.isfinite(dt) and dt > 0):
            raise DataError(f"dt is {dt!r}; give the sampling time in seconds, a positive number.")
        offset, amplitude = self._scale(low, high)
        signal = offset + amplitude * self._shape(steps, dt, len(offset), rng)
        return np.clip(signal, low, high)

    def _scale(self, low: Array, high: Array) -> tuple[Array, Array]:
        names = as_names("inputs", None, len(low), "u")
        bounded = np.isfinite(low) & np.isfinite(high)
        middle = np.where(bounded, (np.where(bounded, low, 0.0) + np.where(bounded, high, 0.0)) / 2.0, 0.0)
        offset = middle if self.offset is None else as_vector("offset", self.offset, names)
        if ((offset < low) | (offset > high)).any():
            raise DataError(f"offset {offset} lies outside the actuator range {low} .. {high}; choose it inside.")
        if self.amplitude is not None:
            return offset, as_vector("amplitude", self.amplitude, names)
        room = np.minimum(high - offset, offset - low)
        if not np.isfinite(room).all():
            raise DataError(
                f"the actuator range {low} .. {high} is unbounded, so there is no default amplitude; "
                f"give one in the actuator's units, e.g. {type(self).__name__}(amplitude=1.0)."
            )
        if not (room > 0).all():
            raise DataError(f"around offset {offset} the range {low} .. {high} leaves no room; move the offset.")
        return offset, room

    @abstractmethod
    def _shape(self, steps: int, dt: float, nu: int, rng: np.random.Generator) -> Array:
        """Return s, (steps, nu), within [-1, 1]."""


@dataclass(frozen=True)
class _Held(Excitation):
    hold: float | None = None

    def __post_init__(self) -> None:
        """Refuse a hold time that is not positive."""
        super().__post_init__()
        _check_time("hold", self.hold)

    def _hold(self, draw: Callable[[int], Array], steps: int, dt: float, nu: int, rng: np.random.Generator) -> Array:
        hold = _HOLD_STEPS if self.hold is None else max(1, round(self.hold / dt))
        shape = np.empty((steps, nu))
        for j in range(nu):
            late = int(rng.integers(hold))  # inputs switch at instants of their own
            levels = draw(-(-(steps + late) // hold))
            shape[:, j] = np.repeat(levels, hold)[late : late + steps]
        return shape


@dataclass(frozen=True)
class _Banded(Excitation):
    band: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse a band that is not two ordered frequencies."""
        super().__post_init__()
        if self.band is not None:
            low, high = as_array("band", self.band, (2,))
            if not 0 <= low <= high or high == 0:
                raise DataError(f"band is {self.band!r}; give (lowest, highest) in Hz, ordered, not negative.")

    def _edges(self, dt: float, default: tuple[float, float]) -> tuple[float, float]:
        band = default if self.band is None else self.band
        if band[1] > 0.5 / dt:
            raise DataError(f"band ends at {band[1]:g} Hz, above half the sampling rate ({0.5 / dt:g} Hz); lower it.")
        return band


@dataclass(frozen=True)
class PRBS(_Held):
    """A random sequence of two levels, each held for a while: the most energy a bounded input can carry.

    Take it for models that are linear in the input (`EDMDc`). Models that learn (x, u) jointly (`SampledRNN`) need more
    levels, or `PiecewiseConstant`: between two levels nothing ties them down, and they fail there. Levels are shuffled
    in balance, each input by itself and with its own switching instants, so short records are centred too. Source:
    Ljung, System Identification, 2nd ed., ch. 13.

    Attributes:
        hold: Shortest time between switches [s]; five samples by default.
        levels: Number of equally spaced levels, 2 for a binary sequence.
    """

    levels: int = 2

    def __post_init__(self) -> None:
        """Refuse fewer than two levels."""
        super().__post_init__()
        if not isinstance(self.levels, int | np.integer) or self.levels < 2:
            raise DataError(f"levels is {self.levels!r}; it must be a whole number >= 2.")

    def _shape(self, steps: int, dt: float, nu: int, rng: np.random.Generator) -> Array:
        grid = np.linspace(-1.0, 1.0, self.levels)

        def draw(count: int) -> Array:
            # a random order of the grid breaks the tie when the count is no multiple of it
            return rng.permutation(np.resize(rng.permutation(grid), count))

        return self._hold(draw, steps, dt, nu, rng)


@dataclass(frozen=True)
class PiecewiseConstant(_Held):
    """Random levels spread evenly over the whole amplitude, each held for a while.

    Take it for models that learn inputs and states jointly: every level occurs, so nothing between the extremes is
    left to extrapolation. Levels are stratified (one in each of n equal slices, shuffled), each input by itself.

    Attributes:
        hold: Time each level lasts [s]; five samples by default.
    """

    def _shape(self, steps: int, dt: float, nu: int, rng: np.random.Generator) -> Array:
        def draw(count: int) -> Array:
            return 2.0 * (rng.permutation(count) + rng.random(count)) / count - 1.0

        return self._hold(draw, steps, dt, nu, rng)


@dataclass(frozen=True)
class Multisine(_Banded):
    """A sum of sines on the record's own FFT lines: a flat spectrum inside the band and nothing outside.

    Take it to excite a chosen band only, and to leave resonances outside it alone. The inputs share the lines in turn
    (line k goes to one input only), so they are exactly uncorrelated over the record. Phases are random, the set with
    the lowest peak of 16 is scaled to the amplitude. Clipping, where the amplitude is larger than the range, puts
    energy outside the band. Source: Pintelon & Schoukens, System Identification, 2nd ed., ch. 5.

    Attributes:
        band: Lowest and highest frequency [Hz]; from one period a record to ten samples a period by default.
    """

    def _shape(self, steps: int, dt: float, nu: int, rng: np.random.Generator) -> Array:
        lines = self._lines(steps, dt, nu)
        owner = rng.permutation(nu)
        shape = np.empty((steps, nu))
        for j in range(nu):
            own = lines[owner[j] :: nu]
            spectrum = np.zeros((_DRAWS, steps // 2 + 1), dtype=np.complex128)
            spectrum[:, own] = np.exp(2j * np.pi * rng.random((_DRAWS, len(own))))
            waves = np.fft.irfft(spectrum, n=steps, axis=1)
            peaks = np.abs(waves).max(axis=1)
            best = int(np.argmin(peaks))
            shape[:, j] = waves[best] / peaks[best]
        return shape

    def _lines(self, steps: int, dt: float, nu: int) -> NDArray[np.int_]:
        period = steps * dt  # [s]
        low, high = self._edges(dt, (0.0, min(max(_TOP / dt, nu / period), 0.5 / dt)))
        first = max(1, math.ceil(low * period - 1e-9))
        top = min((steps - 1) // 2, math.floor(high * period + 1e-9))  # stays below the Nyquist frequency
        if top - first + 1 < nu:
            raise DataError(
                f"{steps} samples of {dt:g} s have {max(0, top - first + 1)} spectral lines between {low:g} and "
                f"{high:g} Hz, {nu} inputs need at least {nu}; record longer episodes or widen the band."
            )
        return np.arange(first, top + 1)


@dataclass(frozen=True)
class Chirp(_Banded):
    """A sine whose frequency sweeps the band once a record, wrapping round.

    Take it for smooth motion through a range of frequencies, e.g. to see a frequency response. Each input starts at
    another place of the sweep, so at no time do two share a frequency; where the sweep starts is random.

    Attributes:
        band: Lowest and highest frequency [Hz]; from one period a record to ten samples a period by default.
    """

    def _shape(self, steps: int, dt: float, nu: int, rng: np.random.Generator) -> Array:
        low, high = self._edges(dt, (min(1.0 / steps, _TOP) / dt, _TOP / dt))
        start = rng.random() + np.arange(nu) / nu
        place = (np.arange(steps)[:, None] / steps + start) % 1.0
        frequency = low + (high - low) * place  # (steps, nu) [Hz]
        # the phase is the integral of the frequency, so it stays continuous where the sweep wraps round
        return np.sin(2.0 * np.pi * (np.cumsum(frequency, axis=0) * dt + rng.random(nu)))


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Excitation):
    """Gaussian noise with a memory, stationary from the first sample, its standard deviation half the amplitude.

    Take it for machines that jumps would harm, or on top of a running law. The 5 % of samples beyond the amplitude are
    clipped to it. Source: the exact discretisation of du = -u / tau dt + sigma sqrt(2 / tau) dW.

    Attributes:
        correlation_time: Time tau over which the noise forgets [s]; ten samples by default.
    """

    correlation_time: float | None = None

    def __post_init__(self) -> None:
        """Refuse a correlation time that is not positive."""
        super().__post_init__()
        _check_time("correlation_time", self.correlation_time)

    def _shape(self, steps: int, dt: float, nu: int, rng: np.random.Generator) -> Array:
        keep = math.exp(-1.0 / _MEMORY_STEPS if self.correlation_time is None else -dt / self.correlation_time)
        noise = rng.standard_normal((steps, nu)) * math.sqrt(1.0 - keep**2)
        noise[0] /= math.sqrt(1.0 - keep**2)
        for k in range(1, steps):
            noise[k] += keep * noise[k - 1]
        return np.clip(noise / 2.0, -1.0, 1.0)


EXCITATIONS: Mapping[str, type[Excitation]] = MappingProxyType(
    {
        "prbs": PRBS,
        "multisine": Multisine,
        "chirp": Chirp,
        "piecewise": PiecewiseConstant,
        "ou": OrnsteinUhlenbeck,
    }
)


def by_name(name: str) -> Excitation:
    """Return the excitation called `name`, with its defaults.

    Raises:
        UnknownNameError: There is none of that name; the message lists them.
    """
    if name not in EXCITATIONS:
        raise UnknownNameError("excitation", name, tuple(EXCITATIONS))
    return EXCITATIONS[name]()


def _check_time(name: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise DataError(f"{name} is {value!r}; it must be a positive time in seconds, or None for the default.")

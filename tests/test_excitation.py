"""Excitation signals: bounds, spectrum, levels, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctl.data.excitation import (
    EXCITATIONS,
    PRBS,
    Chirp,
    Excitation,
    Multisine,
    OrnsteinUhlenbeck,
    PiecewiseConstant,
    by_name,
)
from koopctl.errors import DataError, KoopctlError, ShapeError, UnknownNameError

LOW, HIGH = np.array([-2.0, 0.0]), np.array([2.0, 1.0])
MIDDLE = (LOW + HIGH) / 2


def draw(excitation: Excitation, steps: int = 400, dt: float = 0.05, seed: int = 0) -> np.ndarray:
    """Draw one realisation for two actuators of different range."""
    return excitation.signal(steps, dt, LOW, HIGH, np.random.default_rng(seed))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(EXCITATIONS)),
    steps=st.integers(12, 150),
    dt=st.sampled_from([0.002, 0.05, 1.0]),
    ranges=st.lists(st.tuples(st.floats(-50, 50), st.floats(0.01, 100)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_signal_stays_in_range_and_repeats_with_its_seed(name, steps, dt, ranges, seed):
    """Defaults work for any actuator range, stay inside it, and depend on the generator alone."""
    low = np.array([a for a, _ in ranges])
    high = low + np.array([b for _, b in ranges])
    first, second = (by_name(name).signal(steps, dt, low, high, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == (steps, len(ranges))
    assert (first >= low).all() and (first <= high).all()
    assert first.tobytes() == second.tobytes()
    assert first.std(axis=0).min() > 0


@pytest.mark.parametrize("name", sorted(EXCITATIONS))
def test_the_mean_is_near_the_offset_and_another_seed_moves_otherwise(name):
    """A long record is centred on the middle of the range, and seeds matter."""
    signal, other = draw(by_name(name), 4000), draw(by_name(name), 4000, seed=1)
    assert np.abs(signal.mean(axis=0) - MIDDLE).max() < 0.05 * (HIGH - LOW).max()
    assert not np.array_equal(signal, other)


@pytest.mark.parametrize("name", sorted(EXCITATIONS))
def test_inputs_are_nearly_uncorrelated(name):
    """No linear fit can confuse the two inputs."""
    assert abs(np.corrcoef(draw(by_name(name), 4000).T)[0, 1]) < 0.15


def test_prbs_takes_two_levels_and_holds_them():
    """Binary levels at the ends of the amplitude; every full run lasts a multiple of the hold time."""
    signal = draw(PRBS(amplitude=(1.0, 0.25), hold=0.2))
    for j, (middle, size) in enumerate(zip(MIDDLE, (1.0, 0.25), strict=True)):
        assert set(np.unique(signal[:, j])) == {middle - size, middle + size}
        switches = np.flatnonzero(np.diff(signal[:, j]))
        assert len(switches) > 20 and (np.diff(switches) % 4 == 0).all()


def test_prbs_takes_as_many_levels_as_asked():
    """Equally spaced levels, each about equally often."""
    values, counts = np.unique(draw(PRBS(levels=5), 5000)[:, 0], return_counts=True)
    assert values == pytest.approx([-2, -1, 0, 1, 2])
    assert counts.min() > 900


def test_piecewise_levels_cover_the_range_evenly():
    """Stratified levels: the empirical distribution of 200 levels is uniform to within a few percent."""
    levels = np.sort(draw(PiecewiseConstant(hold=0.05), 200)[:, 0])
    assert np.abs(levels - np.linspace(-2, 2, 200)).max() < 0.05


def test_multisine_is_flat_in_its_band_and_silent_outside():
    """Each line in the band belongs to one input with one power; no other line carries any."""
    signal = draw(Multisine(band=(1.0, 4.0)), 400, 0.05) - MIDDLE
    frequency = np.fft.rfftfreq(400, 0.05)
    power = np.abs(np.fft.rfft(signal, axis=0)) ** 2
    inside = (frequency >= 1.0 - 1e-9) & (frequency <= 4.0 + 1e-9)
    assert power[~inside].sum() < 1e-20 * power.sum()
    for j in range(2):
        lines = power[inside, j] > 1e-9 * power[:, j].max()
        assert lines.sum() in (30, 31)
        assert power[inside, j][lines] == pytest.approx(power[inside, j].max())
    assert not ((power[:, 0] > 1e-9) & (power[:, 1] > 1e-9)).any()
    assert abs(np.corrcoef(signal.T)[0, 1]) < 1e-12
    assert np.abs(signal).max(axis=0) == pytest.approx([2.0, 0.5])


def test_chirp_stays_in_its_band_and_sweeps_it():
    """The share of energy far outside the band is small, and every part of the band gets some."""
    signal = draw(Chirp(band=(1.0, 4.0)), 2000, 0.05)[:, 0]
    frequency, power = np.fft.rfftfreq(2000, 0.05), np.abs(np.fft.rfft(signal)) ** 2
    assert power[(frequency < 0.7) | (frequency > 4.3)].sum() < 0.02 * power.sum()
    for edge in (1.0, 2.0, 3.0):
        part = (frequency >= edge) & (frequency < edge + 1.0)
        assert power[part].sum() == pytest.approx(power.sum() / 3, rel=0.2)


def test_noise_forgets_at_its_correlation_time():
    """The autocorrelation falls to 1/e at tau (a little lower, because peaks are clipped)."""
    signal = draw(OrnsteinUhlenbeck(correlation_time=0.5), 100_000)[:, 0]
    assert np.corrcoef(signal[:-10], signal[10:])[0, 1] == pytest.approx(np.exp(-1), abs=0.03)
    assert signal.std() == pytest.approx(1.0, abs=0.08)


def test_amplitude_and_offset_are_in_the_actuators_units():
    """A given offset and amplitude are met exactly; without an amplitude the room around the offset is used."""
    assert set(np.unique(draw(PRBS(amplitude=0.1, offset=0.5)))) == {0.4, 0.6}
    assert set(np.unique(draw(PRBS(offset=(1.0, 0.25)))[:, 0])) == {0.0, 2.0}


def test_an_unbounded_actuator_needs_an_amplitude():
    """There is no default for an infinite range, and the message says what to give."""
    low, high = np.array([-np.inf]), np.array([np.inf])
    with pytest.raises(DataError, match=r"amplitude.*PRBS\(amplitude="):
        PRBS().signal(50, 0.05, low, high, np.random.default_rng(0))
    signal = PRBS(amplitude=3.0).signal(50, 0.05, low, high, np.random.default_rng(0))
    assert set(np.unique(signal)) == {-3.0, 3.0}


@pytest.mark.parametrize(
    "make",
    [
        lambda: PRBS(amplitude=-1.0),
        lambda: PRBS(amplitude=float("nan")),
        lambda: PRBS(hold=0.0),
        lambda: PRBS(levels=1),
        lambda: PiecewiseConstant(hold=-1.0),
        lambda: OrnsteinUhlenbeck(correlation_time=float("inf")),
        lambda: Multisine(band=(3.0, 1.0)),
        lambda: Chirp(band=(-1.0, 1.0)),
        lambda: draw(Multisine(band=(1.0, 30.0))),
        lambda: draw(Multisine(band=(1.01, 1.02))),
        lambda: draw(PRBS(offset=9.0)),
        lambda: draw(PRBS(), steps=0),
        lambda: draw(PRBS(), dt=0.0),
    ],
)
def test_parameters_that_make_no_signal_are_refused(make):
    """Each raises a DataError, none returns something else."""
    with pytest.raises(DataError):
        make()


def test_a_wrong_number_of_amplitudes_is_refused():
    """Three amplitudes for two inputs."""
    with pytest.raises(ShapeError):
        draw(PRBS(amplitude=(1.0, 1.0, 1.0)))


def test_an_unknown_name_lists_the_known_ones():
    """The error names the nearest and all known excitations."""
    with pytest.raises(UnknownNameError, match="did you mean 'prbs'") as caught:
        by_name("prbz")
    assert caught.value.known == tuple(EXCITATIONS)
    assert isinstance(caught.value, KoopctlError)

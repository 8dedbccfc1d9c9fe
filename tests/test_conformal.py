"""Conformal quantiles over episodes: the textbook's ranks, coverage over many repetitions, and the windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from recorded import linear, oscillator

from koopctl.data.rollouts import Rollouts
from koopctl.features.identity import Identity
from koopctl.identify.conformal import conformal_quantile, episodes_needed
from koopctl.identify.fitting import fit
from koopctl.identify.windows import Windows
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN


def test_one_window_an_episode_is_split_conformal_prediction():
    """The ceil((K + 1) coverage)-th smallest score, the textbook's rank."""
    rng = np.random.default_rng(0)
    for K in (9, 10, 19, 37, 100):
        scores = rng.exponential(size=K)
        for coverage in (0.5, 0.8, 0.9):
            rank = math.ceil((K + 1) * coverage - 1e-9)
            bound = conformal_quantile(scores, np.full(K, 1 / K), K, coverage)
            assert bound == np.sort(scores)[rank - 1]
    assert np.isinf(conformal_quantile(scores[:8], np.full(8, 1 / 8), 8, 0.9))


def test_windows_share_the_mass_of_their_episode():
    """Ten thousand windows of one episode count no more than one of another."""
    scores = np.concatenate([np.full(10_000, 100.0), np.arange(1.0, 20.0)])
    weight = np.concatenate([np.full(10_000, 1 / (20 * 10_000)), np.full(19, 1 / 20)])
    assert conformal_quantile(scores, weight, 20, 0.9) == 19.0  # 19 of 21 shares are just above 0.9
    assert conformal_quantile(scores, weight, 20, 0.92) == 100.0


def test_columns_have_quantiles_of_their_own():
    """Each step and coordinate is ordered by itself, infinite scores last."""
    rng = np.random.default_rng(3)
    scores, weight = rng.exponential(size=(60, 4, 3)), np.full(60, 1 / 60)
    scores[:10, 2, 1] = np.inf
    bound = conformal_quantile(scores, weight, 60, 0.8)
    single = [[conformal_quantile(scores[:, h, i], weight, 60, 0.8) for i in range(3)] for h in range(4)]
    assert np.array_equal(bound, single) and np.isfinite(bound).all()
    assert np.isinf(conformal_quantile(scores, weight, 60, 0.9)[2, 1])


@pytest.mark.parametrize(("coverage", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.1, 1)])
def test_episodes_needed_is_where_the_bound_becomes_finite(coverage, needed):
    """With one fewer the mass at infinity is in reach."""
    assert episodes_needed(coverage) == needed
    finite = [
        np.isfinite(conformal_quantile(np.ones(K), np.full(K, 1 / K), K, coverage)) for K in (needed, needed - 1) if K
    ]
    assert finite == [True, False][: len(finite)]


@pytest.mark.parametrize("episodes", [12, 40])
def test_coverage_holds_when_windows_of_an_episode_are_alike(episodes):
    """3000 calibrations on episodes with a temper of their own; to count windows as independent is not enough."""
    rng, windows, coverage, repeats = np.random.default_rng(1), 8, 0.85, 3000
    temper = rng.exponential(size=(repeats, episodes + 1, 1)) ** 2
    scores = temper * (1.0 + 0.1 * rng.random((repeats, episodes + 1, windows)))
    weight = np.full(episodes * windows, 1 / (episodes * windows))
    inside, pooled = np.empty(repeats), np.empty(repeats)
    for i, (calibration, new) in enumerate(zip(scores[:, :-1], scores[:, -1], strict=True)):
        inside[i] = np.mean(new <= conformal_quantile(calibration.ravel(), weight, episodes, coverage))
        pooled[i] = np.mean(new <= conformal_quantile(calibration.ravel(), weight, episodes * windows, coverage))
    error = inside.std() / np.sqrt(repeats)
    assert coverage - 3 * error <= inside.mean() <= coverage + 1 / (episodes + 1) + 3 * error
    if episodes == 12:
        assert pooled.mean() < coverage - 3 * error


# ---------------------------------------------------------------------- windows
def test_windows_are_stretches_of_the_episodes():
    """State, inputs and what followed, at the right places, with delays; each episode's share is the same."""
    data = Rollouts.join([oscillator(2, 30), oscillator(1, 4, seed=3), oscillator(1, 9, seed=4)])
    model = fit(oscillator(8), SampledRNN(10, delays=2))
    found = Windows.of(model.window_, data, 6)
    assert found.n_episodes == 3 and found.weight.sum() == pytest.approx(1.0)
    count = [30 - 2 - 6 + 1, 30 - 2 - 6 + 1, 9 - 2 - 6 + 1]
    assert len(found.x0) == sum(count) and found.weight[-1] == pytest.approx(1 / (3 * count[-1]))
    place = count[0] + 5
    assert np.array_equal(found.x0[place], model.encode(data.X[1][5:8], data.U[1][5:7]))
    assert np.array_equal(found.U[place], data.U[1][7:13]) and np.array_equal(found.truth[place], data.X[1][8:14])
    many = Windows.of(fit(linear(), EDMDc(Identity())).window_, linear(60, 140), 20)
    assert 1900 < len(many.x0) <= 2000 and many.n_episodes == 60

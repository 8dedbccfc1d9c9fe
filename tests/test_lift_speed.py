"""Lifting is cheap: one state in microseconds, batches without needless memory. Bounds are generous, tenfold."""

from __future__ import annotations

import timeit
import tracemalloc

import numpy as np
import pytest

from koopctl.features.fourier import RandomFourier
from koopctl.features.gaussian import GaussianRBF
from koopctl.features.polynomial import Polynomial
from koopctl.features.sampled import SampledFeatures
from koopctl.features.thin_plate import ThinPlate

RNG = np.random.default_rng(10)
W = RNG.normal(size=(5000, 4))
F = np.sin(W[:, :2])
LIFTS = [
    SampledFeatures(200),
    SampledFeatures(200, activation="relu"),
    RandomFourier(200),
    GaussianRBF(200),
    ThinPlate(200),
    Polynomial(6),  # 205 monomials
]


@pytest.mark.slow
@pytest.mark.parametrize("lift", LIFTS, ids=repr)
def test_one_state_is_lifted_within_microseconds(lift):
    """200 features of 4 coordinates; about 6 us on a quiet machine, 60 us on the busiest."""
    lift.fit(W, F)
    w = W[:1].copy()
    seconds = min(timeit.repeat(lambda: lift.transform(w), number=200, repeat=20)) / 200
    assert seconds < 60e-6


@pytest.mark.parametrize("lift", LIFTS, ids=repr)
def test_a_large_batch_needs_little_beyond_its_result(lift):
    """8192 samples: the result, and blocks that fit the cache."""
    lift.fit(W, F)
    many = RNG.normal(size=(8192, 4))
    lift.transform(many)
    tracemalloc.start()
    H = lift.transform(many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < H.nbytes + 2**21

"""Hidden units that close pairs do not make steep, that turn elsewhere than half-way, or in another direction."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

import koopctl as kc
from koopctl.bench.attractors import LORENZ
from koopctl.errors import DataError
from koopctl.features.sampled import SampledFeatures

rng = np.random.default_rng(0)
W, F = rng.normal(size=(300, 3)), rng.normal(size=(300, 2))


def test_by_default_units_are_as_published():
    """A unit is -1/2 at one point of the data and +1/2 at another."""
    values = SampledFeatures(20, random_state=1).fit(W, F).transform(W)
    assert np.abs(values + 0.5).min(axis=0) == pytest.approx(np.zeros(20), abs=1e-12)
    assert np.abs(values - 0.5).min(axis=0) == pytest.approx(np.zeros(20), abs=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("sampling", ["gradient", "uniform"])
def test_steepness_limits_what_goes_in(activation, sampling):
    """No weights are longer; a unit that was turns at the same places, one that was not is as before."""
    whole = SampledFeatures(40, sampling, activation, 2).fit(W, F)
    before = np.linalg.norm(whole.weights_, axis=0)
    limit = float(np.median(before))
    flat = SampledFeatures(40, sampling, activation, 2, steepness=limit).fit(W, F)
    after = np.linalg.norm(flat.weights_, axis=0)
    assert after == pytest.approx(np.minimum(before, limit), rel=1e-12)
    inside = (W @ whole.weights_ + whole.biases_) * after / before
    assert W @ flat.weights_ + flat.biases_ == pytest.approx(inside, abs=1e-12)


def test_turned_units_look_evenly_everywhere_from_where_they_were():
    """A share of them, as steep as before, zero in the middle of their pair; flat data does not bend directions."""
    points = W * [1.0, 0.1, 0.01]
    whole = SampledFeatures(3000, random_state=1).fit(points, F)
    turned = SampledFeatures(3000, random_state=1, isotropic=0.75).fit(points, F)
    assert turned.weights_[:, 2250:].tobytes() == whole.weights_[:, 2250:].tobytes()
    lengths = [np.linalg.norm(lift.weights_[:, :2250], axis=0) for lift in (turned, whole)]
    assert lengths[0] == pytest.approx(lengths[1])
    directions = turned.weights_[:, :2250] / lengths[0]
    assert directions @ directions.T / 2250 == pytest.approx(np.eye(3) / 3, abs=0.03)
    assert directions.mean(axis=1) == pytest.approx(np.zeros(3), abs=0.05)
    values = whole.transform(points)[:, :20]
    middle = (points[np.abs(values + 0.5).argmin(axis=0)] + points[np.abs(values - 0.5).argmin(axis=0)]) / 2
    assert np.diag(turned.transform(middle)) == pytest.approx(np.zeros(20), abs=1e-9)


def test_scatter_moves_units_evenly_and_turns_none():
    """Biases differ by as much as is allowed, either way and evenly; weights are the same to the byte."""
    whole, moved = SampledFeatures(2000).fit(W, F), SampledFeatures(2000, scatter=1.5).fit(W, F)
    by = moved.biases_ - whole.biases_
    assert moved.weights_.tobytes() == whole.weights_.tobytes()
    assert np.abs(by).max() <= 1.5 and by.mean() == pytest.approx(0.0, abs=0.08)
    assert by.std() == pytest.approx(1.5 / np.sqrt(3), rel=0.05)


def test_random_units_know_steepness_too():
    """It is the root of the mean square of their lengths; their biases, which are scattered already, stay."""
    whole, flat = (SampledFeatures(5000, "random", steepness=s).fit(W, F) for s in (1.0, 0.2))
    for lift, length in ((whole, 1.0), (flat, 0.2)):
        assert np.sqrt((lift.weights_**2).sum(axis=0).mean()) == pytest.approx(length, rel=0.02)
    assert flat.weights_ == pytest.approx(0.2 * whole.weights_)
    assert flat.biases_.tobytes() == whole.biases_.tobytes()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"steepness": 0.0}, "positive number"),
        ({"steepness": float("nan")}, "positive number"),
        ({"steepness": "flat"}, "positive number"),
        ({"scatter": -1.0}, "scatter is -1.0"),
        ({"scatter": float("inf")}, "scatter is inf"),
        ({"isotropic": 1.1}, "share of the units"),
        ({"isotropic": float("nan")}, "share of the units"),
        ({"isotropic": "all"}, "share of the units"),
        ({"scatter": 1.0, "sampling": "random"}, "leave them at 0"),
        ({"isotropic": 0.5, "sampling": "random"}, "leave them at 0"),
    ],
)
def test_what_is_no_shape_is_refused(parameters, words):
    """By the lift and by the network, before anything is sampled."""
    with pytest.raises(DataError, match=words):
        SampledFeatures(10, **parameters).fit(W, F)
    with pytest.raises(DataError, match=words):
        kc.SampledRNN(10, **parameters).fit(oscillator(5, 20))


def test_smooth_motion_is_predicted_better():
    """Lorenz-63 without noise, ten steps ahead: a fifth of the error or less, for each of three seeds of the layer."""
    series = LORENZ.series(3000, 7)
    train = kc.Rollouts([series[:2400]], [np.zeros((2399, 0))], LORENZ.dt)
    test = kc.Rollouts([series[2400:]], [np.zeros((600, 0))], LORENZ.dt)
    for seed in range(3):
        errors = []
        for shape in ({}, {"steepness": 0.5, "scatter": 1.0, "isotropic": 0.5}):
            model = kc.SampledRNN(200, ridge=1e-20, solver="qr", cyclic=(), random_state=seed, **shape).fit(train)
            starts = test.X[0][:-10]
            ahead = model.predict(starts, np.zeros((len(starts), 10, 0)))[:, -1]
            errors.append(np.linalg.norm(ahead - test.X[0][10:]))
        assert errors[1] < errors[0] / 5


def test_a_file_keeps_the_shape(tmp_path):
    """Parameters and predictions come back as they were."""
    data = oscillator(10, 40)
    model = kc.SampledRNN(30, steepness=0.6, scatter=0.8, isotropic=0.3).fit(data)
    again = kc.load(model.save(tmp_path / "flat.npz"))
    assert (again.steepness, again.scatter, again.isotropic) == (0.6, 0.8, 0.3)
    x, u = data.X[0][:1], data.U[0][:1]
    assert again.step(x[0], u[0]).tobytes() == model.step(x[0], u[0]).tobytes()

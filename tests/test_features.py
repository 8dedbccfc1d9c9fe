"""Lifts: what the sampled units are, and that derivative, seed and order of the data do what they promise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import central_differences
from sklearn.base import clone

from koopctl.errors import DataError
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures

RNG = np.random.default_rng(1)
W = RNG.normal(size=(200, 3))
F = np.stack([np.sin(W[:, 0]) * W[:, 1], W[:, 2] ** 2], axis=1)


@pytest.mark.parametrize(("activation", "ends"), [("tanh", (-0.5, 0.5)), ("relu", (0.0, 1.0))])
@pytest.mark.parametrize("sampling", ["gradient", "uniform"])
def test_each_unit_stands_between_two_data_points(activation, ends, sampling):
    """Every unit takes its two defining values at two of the samples, and nothing was trained."""
    H = SampledFeatures(40, sampling, activation).fit(W, F).transform(W)
    assert H.shape == (200, 40)
    for value in ends:
        assert (np.abs(H - value) < 1e-9).any(axis=0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(0, 100), st.sampled_from(["tanh", "relu"]))
def test_the_jacobian_is_the_derivative(n_features, seed, activation):
    """Central differences at a random point, ReLU off its kinks."""
    lift = SampledFeatures(n_features, activation=activation, random_state=seed).fit(W, F)
    w = np.random.default_rng(seed).normal(size=3)
    if activation == "relu" and np.abs(w @ lift.weights_ + lift.biases_).min() < 1e-3:
        return
    numeric = central_differences(lambda v: lift.transform(v[None])[0], w)
    assert lift.jacobian(w[None])[0] == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_many_rows_are_the_same_as_one():
    """Batch against single, features and slopes."""
    lift = SampledFeatures(20).fit(W, F)
    assert lift.transform(W) == pytest.approx(np.concatenate([lift.transform(w[None]) for w in W]), abs=1e-14)
    assert lift.jacobian(W).shape == (200, 20, 3)
    assert lift.n_out == 20


@pytest.mark.parametrize("n", [1, 3, 500])
def test_units_are_tanh_to_rounding_and_exactly_one_where_saturated(n):
    """Whichever way tanh is computed, without a warning, from the middle to beyond where exp overflows."""
    lift, scale = SampledFeatures(300).fit(W, F), np.geomspace(1e-9, 1e6, n)[:, None]
    points = scale * np.random.default_rng(2).normal(size=(n, 3))
    v = points @ lift.weights_ + lift.biases_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        H = lift.transform(points)
    assert np.abs(H - np.tanh(v)).max() <= 1e-15
    assert np.array_equal(H[np.abs(v) > 20], np.sign(v[np.abs(v) > 20]))


@pytest.mark.parametrize("n", [1, 500])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_what_is_no_number_stays_none(activation, n):
    """A NaN of one sample reaches its own features and no others."""
    points = np.resize(W, (n + 1, 3))
    points[0, 1] = np.nan
    H = SampledFeatures(20, activation=activation).fit(W, F).transform(points)
    assert np.isnan(H[0]).all() and np.isfinite(H[1:]).all()


def test_same_seed_same_bytes_and_another_seed_differs():
    """Reproducible to the last bit."""
    first, again = (SampledFeatures(30, random_state=3).fit(W, F) for _ in range(2))
    assert first.weights_.tobytes() == again.weights_.tobytes()
    assert first.biases_.tobytes() == again.biases_.tobytes()
    assert not np.allclose(first.weights_, SampledFeatures(30, random_state=4).fit(W, F).weights_)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(200)))
def test_the_order_of_the_samples_changes_no_byte(order):
    """Not even where samples repeat and differ only in what is to be explained (rounded sensors, noise)."""
    rounded = np.round(W)
    base, shuffled = SampledFeatures(30).fit(rounded, F), SampledFeatures(30).fit(rounded[order], F[order])
    assert base.weights_.tobytes() == shuffled.weights_.tobytes()
    assert base.biases_.tobytes() == shuffled.biases_.tobytes()


def test_the_sign_of_zero_changes_no_byte():
    """-0.0 and 0.0 are one number."""
    zeros = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    base, signed = (SampledFeatures(5).fit(w, zeros) for w in (zeros, np.where(zeros == 0, -0.0, zeros)))
    assert base.biases_.tobytes() == signed.biases_.tobytes()


def test_gradient_sampling_puts_units_where_the_function_is_steep():
    """A step at 0 on [-1, 1]: half the steps between points lie there under uniform sampling, most under gradient."""
    w = np.linspace(-1, 1, 2000)[:, None]
    centre = {}
    for sampling in ("gradient", "uniform"):
        lift = SampledFeatures(200, sampling).fit(w, np.tanh(40 * w))
        centre[sampling] = np.abs(lift.biases_ / lift.weights_[0])  # where the unit is 0
    assert np.median(centre["gradient"]) < 0.6 * np.median(centre["uniform"])


def test_two_points_are_enough_for_any_number_of_units():
    """Too few pairs are reused."""
    H = SampledFeatures(9).fit(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])).transform(np.array([[0.0], [1.0]]))
    assert np.abs(H) == pytest.approx(0.5)


def test_nothing_to_explain_means_uniform_sampling():
    """A function that never changes has no steep place."""
    assert np.isfinite(SampledFeatures(10).fit(W, np.zeros((200, 2))).transform(W)).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_features": 0}, "n_features is 0"),
        ({"n_features": 2.5}, "n_features is 2.5"),
        ({"n_features": "many"}, "n_features"),
        ({"sampling": "grid"}, "sampling one of gradient, uniform"),
        ({"activation": "sine"}, "activation is one of tanh, relu"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": None}, "random_state"),
    ],
)
def test_wrong_parameters_are_refused_at_fit(change, says):
    """The text lists what there is; scikit-learn's grammar keeps the constructor silent."""
    lift = SampledFeatures(5).set_params(**change)
    with pytest.raises(DataError, match=says):
        lift.fit(W, F)


def test_a_single_point_carries_no_unit():
    """However often it was recorded."""
    with pytest.raises(DataError, match="same point"):
        SampledFeatures(5).fit(np.ones((10, 2)), np.ones((10, 1)))


@pytest.mark.parametrize("lift", [SampledFeatures(7, "uniform", "relu", 5), Identity()])
def test_a_lift_is_cloned_unfitted_and_restored_whole(lift):
    """get_params makes the same lift; arrays and restore the same fit."""
    fitted = clone(lift).fit(W, F)
    assert fitted.get_params() == lift.get_params() and not vars(lift).keys() - lift.get_params().keys()
    restored = clone(lift).restore(fitted.arrays())
    assert restored.n_out == fitted.n_out
    assert restored.transform(W).tobytes() == fitted.transform(W).tobytes()
    assert restored.jacobian(W).tobytes() == fitted.jacobian(W).tobytes()


def test_the_identity_adds_nothing():
    """Zero features of the right shapes."""
    lift = Identity().fit(W, F)
    assert (lift.n_out, lift.transform(W).shape, lift.jacobian(W).shape) == (0, (200, 0), (200, 0, 3))


def test_the_identity_needs_no_data():
    """It learns nothing, so it works before any fit."""
    assert (Identity().n_out, Identity().transform(W).shape, Identity().jacobian(W).shape) == (0, (200, 0), (200, 0, 3))

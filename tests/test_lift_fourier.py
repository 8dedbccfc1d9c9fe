"""Random Fourier features against the kernel they approximate."""

from __future__ import annotations

import numpy as np
import pytest

from koopctl.errors import DataError
from koopctl.features.fourier import RandomFourier

RNG = np.random.default_rng(3)
W = RNG.normal(size=(400, 2))
F = np.zeros((400, 1))


@pytest.mark.parametrize("width", [0.7, 2.0])
def test_inner_products_approximate_the_gaussian_kernel(width):
    """Rahimi and Recht 2007: with 20 000 features to four standard errors of a mean of bounded terms."""
    nf, points = 20_000, W[:30]
    H = RandomFourier(nf, width).fit(W, F).transform(points)
    squares = ((points[:, None] - points) ** 2).sum(axis=2)
    assert 2 / nf * H @ H.T == pytest.approx(np.exp(-squares / (2 * width**2)), abs=4 / np.sqrt(nf))


def test_the_error_of_the_kernel_falls_with_the_number_of_features():
    """As 1 / sqrt(nf): a hundred times the features, a tenth of the error."""
    squares = ((W[:, None] - W) ** 2).sum(axis=2)
    kernel, errors = np.exp(-squares / 2), []
    for nf in (100, 10_000):
        H = RandomFourier(nf, 1.0).fit(W, F).transform(W)
        errors.append(np.sqrt(np.mean((2 / nf * H @ H.T - kernel) ** 2)))
    assert 5 < errors[0] / errors[1] < 20


def test_features_are_cosines_of_the_fitted_frequencies():
    """The definition, written down once more."""
    lift = RandomFourier(7).fit(W, F)
    expected = [[np.cos(sum(w * o) + b) for o, b in zip(lift.frequencies_.T, lift.phases_, strict=True)] for w in W[:5]]
    assert lift.transform(W[:5]) == pytest.approx(np.array(expected), abs=1e-14)


def test_the_automatic_width_follows_the_scale_of_the_data():
    """Half the median distance, here of a Gaussian cloud in the plane: sqrt(2) times sqrt(2 ln 2), halved."""
    expected = 0.5 * np.sqrt(2) * np.sqrt(2 * np.log(2))
    many = np.random.default_rng(4).normal(size=(20_000, 2))
    for scale in (1.0, 30.0):
        assert RandomFourier(1).fit(scale * many, many).width_ == pytest.approx(scale * expected, rel=0.03)


def test_frequencies_have_the_promised_spread_and_phases_cover_the_turn():
    """As Rahimi and Recht have it: omega ~ N(0, 1 / width^2), b ~ U(0, 2 pi)."""
    lift = RandomFourier(50_000, width=0.5).fit(W, F)
    assert lift.frequencies_.std() == pytest.approx(2.0, rel=0.01)
    assert np.histogram(lift.phases_, 8, (0, 2 * np.pi))[0] == pytest.approx(50_000 / 8, rel=0.05)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_features": 0}, "n_features is 0"),
        ({"width": 0.0}, "width is 0.0"),
        ({"width": -1.0}, "width is -1.0"),
        ({"width": np.nan}, "width is nan"),
        ({"width": "wide"}, "width is 'wide'"),
        ({"width": np.ones(2)}, "width is array"),
        ({"width": None}, "width is None"),
        ({"random_state": None}, "random_state"),
    ],
)
def test_wrong_parameters_are_refused_at_fit(change, says):
    """By name."""
    with pytest.raises(DataError, match=says):
        RandomFourier(5).set_params(**change).fit(W, F)


def test_one_point_has_no_width_but_may_be_given_one():
    """However often it was recorded."""
    with pytest.raises(DataError, match="same point.*give a width"):
        RandomFourier(5).fit(np.ones((10, 2)), np.ones((10, 1)))
    assert RandomFourier(5, 1.0).fit(np.ones((10, 2)), np.ones((10, 1))).transform(np.ones((1, 2))).shape == (1, 5)

"""Radial basis functions against their formulas, and where their centres are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from koopctl.errors import DataError, ShapeError
from koopctl.features.gaussian import GaussianRBF
from koopctl.features.thin_plate import ThinPlate

RNG = np.random.default_rng(5)
W = RNG.normal(size=(500, 4))
F = np.sin(W[:, :1])
KINDS = [GaussianRBF, ThinPlate]


@pytest.mark.parametrize("n", [1, 7, 500])
@pytest.mark.parametrize("width", [0.3, 1.0, 4.0])
def test_gaussians_are_the_formula(n, width):
    """exp(-r^2 / (2 width^2)) of scipy's distances, batch or single."""
    lift = GaussianRBF(50, width).fit(W, F)
    r = cdist(W[:n], lift.centers_)
    assert lift.transform(W[:n]) == pytest.approx(np.exp(-(r**2) / (2 * width**2)), abs=1e-12)


@pytest.mark.parametrize("n", [1, 7, 500])
def test_thin_plates_are_the_formula(n):
    """r^2 log r of scipy's distances, 0 at r = 0."""
    lift = ThinPlate(50).fit(W, F)
    r = cdist(W[:n], lift.centers_)
    expected = np.where(r > 0, r**2 * np.log(np.where(r > 0, r, 1.0)), 0.0)
    assert lift.transform(W[:n]) == pytest.approx(expected, abs=1e-12)


def test_at_its_centre_a_thin_plate_is_flat_and_zero():
    """Where r log r and log r are no numbers; value to rounding, slope exactly."""
    lift = ThinPlate(30).fit(W, F)
    H, J = lift.transform(lift.centers_), lift.jacobian(lift.centers_)
    assert np.diagonal(H) == pytest.approx(0.0, abs=1e-12)
    assert not np.einsum("iij->ij", J).any()
    assert np.isfinite(H).all() and np.isfinite(J).all()
    origin = ThinPlate(centers=np.zeros((1, 4))).fit(W, F)
    assert abs(origin.transform(np.zeros((1, 4)))[0, 0]) < 1e-290
    assert not origin.jacobian(np.zeros((1, 4))).any()


def test_at_its_centre_a_gaussian_is_flat_and_one():
    """Its largest value."""
    lift = GaussianRBF(30).fit(W, F)
    assert np.diagonal(lift.transform(lift.centers_)) == pytest.approx(1.0, abs=1e-12)
    assert not np.einsum("iij->ij", lift.jacobian(lift.centers_)).any()


@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 1e150), st.integers(0, 100))
def test_far_outside_the_data_every_number_stays_a_number(distance, seed):
    """Gaussians fade to 0 with slope 0, thin plates grow."""
    w = np.random.default_rng(seed).normal(size=(1, 4))
    w *= 100 * distance / np.linalg.norm(w)
    gaussian, plate = GaussianRBF(20).fit(W, F), ThinPlate(20).fit(W, F)
    assert not gaussian.transform(w).any() and not gaussian.jacobian(w).any()
    assert (plate.transform(w) > 1e4).all() and np.isfinite(plate.jacobian(w)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_centres_are_data_points_all_different_and_off_any_plane(kind):
    """On a line, as one seed for every coordinate makes them, they would have rank 1."""
    for seed in range(5):
        centers = kind(40, random_state=seed).fit(W, F).centers_
        assert cdist(centers, W).min(axis=1).max() == 0.0 and pdist(centers).min() > 0.0
        singular = np.linalg.svd(centers - centers.mean(axis=0), compute_uv=False)
        assert singular[-1] > 0.5 * singular[0]


@pytest.mark.parametrize("kind", KINDS)
def test_centres_lie_further_apart_than_samples_drawn_at_random(kind):
    """Ten samples in a far corner among 10 000 in the middle are seen, and the middle is not crowded."""
    rng = np.random.default_rng(6)
    crowd, few = rng.normal(0, 0.1, size=(10_000, 2)), rng.normal(5.0, 0.1, size=(10, 2))
    points = np.concatenate([crowd, few])
    for seed in range(10):
        centers = kind(20, random_state=seed).fit(points, points).centers_
        assert (centers > 4).all(axis=1).any()
    nearest = np.median(cdist(crowd, kind(50).fit(crowd, crowd).centers_).min(axis=1))
    drawn = np.median(cdist(crowd, crowd[rng.integers(10_000, size=50)]).min(axis=1))
    assert nearest < 1.2 * drawn
    assert pdist(kind(50).fit(crowd, crowd).centers_).min() > 2 * pdist(crowd[:50]).min()


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_centres_fill_the_box_of_the_data(kind):
    """Korda and Mezic's choice, also of data far from uniform; a column that stands still keeps its value."""
    points = np.concatenate([RNG.normal(size=(1000, 2)) ** 3, np.full((1000, 1), 7.0)], axis=1)
    centers = kind(4000, centers="uniform").fit(points, points).centers_
    low, high = points.min(axis=0), points.max(axis=0)
    assert ((centers >= low) & (centers <= high)).all() and (centers[:, 2] == 7.0).all()
    share = (centers[:, :2] - low[:2]) / (high - low)[:2]
    assert np.histogramdd(share, 4, [(0, 1)] * 2)[0] == pytest.approx(4000 / 16, rel=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_given_centres_are_used_as_they_are(kind):
    """They set the number of features; changing the array afterwards changes nothing."""
    given = RNG.normal(size=(8, 4))
    lift = kind(99, centers=given).fit(W, F)
    kept, before = given.copy(), lift.transform(W)
    given += 1.0
    assert lift.n_out == 8 and np.array_equal(lift.centers_, kept)
    assert np.array_equal(lift.transform(W), before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"n_centers": 0}, DataError, "n_centers is 0"),
        ({"n_centers": 1.5}, DataError, "n_centers is 1.5"),
        ({"n_centers": 501}, DataError, "501 centres are wanted but only 500 distinct samples"),
        ({"centers": "grid"}, DataError, r"centers is 'grid'; it is 'data', 'uniform' or an array \(n, 4\)"),
        ({"centers": np.zeros((5, 3))}, ShapeError, r"centers has shape \(5, 3\)"),
        ({"centers": np.zeros((0, 4))}, DataError, "no centre"),
        ({"centers": None}, ShapeError, "centers has shape"),
        ({"centers": np.full((2, 4), np.nan)}, DataError, "centers holds nan"),
        ({"random_state": -1}, DataError, "random_state is -1"),
    ],
)
def test_wrong_parameters_are_refused_at_fit(kind, change, error, says):
    """By name, with what there is to choose from."""
    with pytest.raises(error, match=says):
        kind(5).set_params(**change).fit(W, F)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_that_differ_by_rounding_only_are_one_sample(kind):
    """Two features told apart by the last bit could not be told apart by the data."""
    points = np.repeat(np.arange(4.0)[:, None], 50, axis=0) + 1e-13 * RNG.normal(size=(200, 1))
    assert len(np.unique(np.round(kind(4).fit(points, points).centers_))) == 4
    with pytest.raises(DataError, match="only 4 distinct"):
        kind(5).fit(points, points)


def test_a_gaussian_needs_a_width():
    """A positive one."""
    for width in (0.0, -2.0, np.inf, "narrow"):
        with pytest.raises(DataError, match="width is"):
            GaussianRBF(5, width).fit(W, F)

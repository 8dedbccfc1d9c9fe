"""Sums of lifts: the features side by side, and scikit-learn's grammar through them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from koopctl.errors import DataError, NotFittedError, ShapeError
from koopctl.features.base import Lift
from koopctl.features.fourier import RandomFourier
from koopctl.features.function import Function
from koopctl.features.gaussian import GaussianRBF
from koopctl.features.identity import Identity
from koopctl.features.polynomial import Polynomial
from koopctl.features.sampled import SampledFeatures
from koopctl.features.sum import LiftSum

RNG = np.random.default_rng(9)
W = RNG.normal(size=(200, 3))
F = np.sin(W[:, :2])


@pytest.mark.parametrize("n", [1, 20, 200])
def test_a_sum_has_the_features_of_its_parts_side_by_side(n):
    """Values and slopes, in the order written."""
    parts = [SampledFeatures(7), Polynomial(3), Identity(), RandomFourier(5)]
    total = (parts[0] + parts[1] + parts[2] + parts[3]).fit(W, F)
    alone = [clone(part).fit(W, F) for part in parts]
    assert total.n_out == sum(part.n_out for part in alone) == 7 + 16 + 0 + 5
    assert np.array_equal(total.transform(W[:n]), np.concatenate([part.transform(W[:n]) for part in alone], axis=1))
    assert np.array_equal(total.jacobian(W[:n]), np.concatenate([part.jacobian(W[:n]) for part in alone], axis=1))


def test_sums_of_sums_are_flat():
    """However they are bracketed."""
    a, b, c, d = SampledFeatures(1), Polynomial(), RandomFourier(2), Identity()
    for total in ((a + b) + (c + d), a + (b + (c + d)), ((a + b) + c) + d):
        assert isinstance(total, LiftSum) and [*total.lifts] == [a, b, c, d]


def test_fitting_a_sum_leaves_its_parts_as_they_were():
    """They may be in use elsewhere."""
    part = SampledFeatures(5).fit(W, F)
    weights = part.weights_.copy()
    (part + Polynomial()).fit(2 * W, F)
    assert np.array_equal(part.weights_, weights)


def test_parameters_of_parts_have_names():
    """As in scikit-learn's compositions."""
    total = SampledFeatures(5) + GaussianRBF(6)
    params = total.get_params()
    assert params["lift_0__n_features"] == 5 and params["lift_1__n_centers"] == 6 and params["lift_1"] is total.lifts[1]
    assert total.get_params(deep=False).keys() == {"lifts"}
    total.set_params(lift_0__n_features=8, lift_1=Polynomial(4), lift_1__degree=3)
    assert total.fit(W, F).n_out == 8 + 16
    total.set_params(lifts=[Polynomial(2), Polynomial(2)], lift_1__degree=3)
    assert [lift.degree for lift in total.lifts] == [2, 3]
    with pytest.raises(ValueError, match="lift_7"):
        total.set_params(lift_7__degree=3)


def test_names_reach_into_sums_within_sums():
    """To any depth."""
    total = LiftSum([LiftSum([Polynomial(2)]), Identity()])
    assert total.set_params(lift_0__lift_0__degree=4).get_params()["lift_0__lift_0__degree"] == 4


def test_a_clone_shares_nothing():
    """Setting a parameter of the copy leaves the original, centres included."""
    total = GaussianRBF(centers=np.zeros((2, 3))) + Polynomial(3)
    copy = clone(total)
    copy.set_params(lift_1__degree=2)
    copy.lifts[0].centers += 1.0
    assert total.lifts[1].degree == 3 and not total.lifts[0].centers.any()


@pytest.mark.parametrize("lifts", [[], None, "lifts", Polynomial(), [Polynomial(), "tanh"], [Polynomial]])
def test_only_lifts_add_up(lifts):
    """At fit, by what is wrong."""
    with pytest.raises(DataError, match="lifts"):
        LiftSum(lifts).fit(W, F)


def test_a_lift_and_a_number_do_not_add_up():
    """Python's own error."""
    with pytest.raises(TypeError, match="unsupported operand"):
        Polynomial() + 3


class Careless(Lift):
    """A lift of one's own that promises two features."""

    def __init__(self, features=2, slopes=2, value=1.0):
        self.features = features
        self.slopes = slopes
        self.value = value

    def fit(self, W, F):
        return self

    @property
    def n_out(self):
        return 2

    def transform(self, W):
        return np.full((len(W), self.features), self.value)

    def jacobian(self, W):
        return np.zeros((len(W), self.slopes, W.shape[1]))

    def arrays(self):
        return {}

    def restore(self, arrays):
        return self


@pytest.mark.parametrize(
    ("part", "error", "says"),
    [
        (Careless(features=1), ShapeError, r"Careless.transform returned shape \(8, 1\).*n_out = 2"),
        (Careless(slopes=3), ShapeError, r"Careless.jacobian returned shape \(8, 3, 3\)"),
        (Careless(value=np.nan), DataError, "Careless returned numbers that are not finite"),
    ],
)
def test_a_part_that_does_not_keep_its_word_is_refused(part, error, says):
    """Numpy would broadcast one column over two."""
    with pytest.raises(error, match=says):
        (Polynomial() + part).fit(W, F)
    with pytest.raises(error, match=says):
        part.verify(W)


def test_a_lift_of_ones_own_adds_up():
    """With the six methods of the contract and nothing else."""
    total = (Careless() + Polynomial()).fit(W, F)
    for n in (1, 100):
        assert (total.transform(W[:n])[:, :2] == 1.0).all() and total.transform(W[:n]).shape == (n, 8)


def test_a_function_in_a_sum_is_checked_on_use():
    """As it is alone."""
    total = (Polynomial() + Function(lambda W: W / (W < 50))).fit(W, F)
    with np.errstate(divide="ignore"), pytest.raises(DataError, match="NaN or inf"):
        total.transform(np.full((1, 3), 99.0))


def test_an_unfitted_sum_says_so():
    """Not that an attribute is missing."""
    with pytest.raises(NotFittedError, match="LiftSum is not fitted"):
        (Polynomial() + Identity()).jacobian(W)

"""A user's function as a lift: derivatives, and every way in which it can be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctl.errors import DataError, NotFittedError, ShapeError
from koopctl.features.function import Function

RNG = np.random.default_rng(8)
W = RNG.normal(size=(100, 2))
F = np.zeros((100, 1))


def smooth(W):
    """Return sin(w0 w1), exp(w0)."""
    return np.stack([np.sin(W[:, 0] * W[:, 1]), np.exp(W[:, 0])], axis=1)


def slope(W):
    """Return the derivative of `smooth`."""
    J = np.zeros((len(W), 2, 2))
    J[:, 0] = np.cos(W[:, 0] * W[:, 1])[:, None] * W[:, ::-1]
    J[:, 1, 0] = np.exp(W[:, 0])
    return J


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2))
def test_complex_steps_are_exact(w):
    """To rounding, which differences are not."""
    lift = Function(smooth).fit(W, F)
    assert lift.complex_
    assert lift.jacobian(np.array([w])) == pytest.approx(slope(np.array([w])), rel=1e-14, abs=1e-14)


def only_real(W):
    """Return what `smooth` does, of real numbers only."""
    return smooth(np.asarray(W, dtype=np.float64))


def refuses(W):
    """Return what `smooth` does, with an error for complex numbers."""
    if np.iscomplexobj(W):
        raise RuntimeError("no complex numbers, please")
    return smooth(W)


@pytest.mark.parametrize("function", [only_real, refuses])
def test_without_complex_numbers_differences_serve(function):
    """Also where the function silently drops the imaginary part."""
    lift = Function(function).fit(W, F)
    assert not lift.complex_
    assert lift.jacobian(W) == pytest.approx(slope(W), rel=1e-7, abs=1e-8)


def test_a_complex_step_that_is_wrong_is_noticed():
    """Here w |w| takes complex numbers, but abs has no complex derivative: the step gives |w| instead of 2 |w|."""
    lift = Function(lambda W: W * np.abs(W)).fit(W, F)
    assert not lift.complex_
    assert np.einsum("nii->ni", lift.jacobian(W)) == pytest.approx(2 * np.abs(W), abs=1e-5)


def test_a_given_derivative_is_used():
    """As it is."""
    calls = []
    lift = Function(smooth, lambda W: (calls.append(len(W)), slope(W))[1]).fit(W, F)
    calls.clear()
    assert np.array_equal(lift.jacobian(W), slope(W)) and calls == [100]


def test_a_wrong_derivative_is_noticed_at_fit():
    """Coordinates and features exchanged, a common slip."""
    with pytest.raises(DataError, match="derivative disagrees"):
        Function(smooth, lambda W: slope(W).swapaxes(1, 2)).fit(W, F)


def test_a_kink_at_some_samples_does_not_condemn_a_derivative():
    """|w| at 0 has no derivative; sign(0) = 0 is fine."""
    points = np.where(RNG.random((100, 1)) < 0.2, 0.0, RNG.normal(size=(100, 1)))
    assert Function(np.abs, lambda W: np.sign(W)[:, :, None]).fit(points, points).n_out == 1


def broken(when, wrong):
    """Return a function that is right until `when(W)`, then returns `wrong(W)`."""
    return lambda W: wrong(W) if when(W) else np.concatenate([W, W], axis=1)


BAD = {
    "one feature less": (lambda W: W[:, :1], ShapeError, r"function returned shape \(\d+, 1\)"),
    "a row less": (lambda W: np.zeros((len(W) - 1, 4)), ShapeError, "one row a sample"),
    "flat": (lambda W: W[:, 0], ShapeError, r"function returned shape \(\d+,\)"),
    "transposed": (lambda W: np.concatenate([W, W], axis=1).T, ShapeError, "one row a sample"),
    "a number": (lambda W: 3.0, ShapeError, r"returned shape \(\)"),
    "nothing": (lambda W: None, (ShapeError, DataError), "returned"),
    "text": (lambda W: "features", DataError, "returned str, not an array"),
    "nan": (lambda W: np.full((len(W), 4), np.nan), DataError, "returned NaN or inf at w = "),
    "inf": (lambda W: np.full((len(W), 4), np.inf), DataError, "returned NaN or inf at w = "),
    "complex": (lambda W: np.ones((len(W), 4)) * 1j, DataError, "it is complex"),
    "ragged": (lambda W: [[1.0], [1.0, 2.0]], DataError, "not an array"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_wrong_result_is_refused_on_use(wrong):
    """The function was right at fit and goes wrong far away."""
    result, error, says = BAD[wrong]
    lift = Function(broken(lambda W: (np.abs(W) > 50).any(), result)).fit(W, F)
    assert lift.transform(W).shape == (100, 4)
    with pytest.raises(error, match=says):
        lift.transform(np.full((3, 2), 99.0))


@pytest.mark.parametrize("wrong", sorted(BAD.keys() - {"one feature less"}))
def test_a_wrong_result_is_refused_at_fit(wrong):
    """Before anything is learnt from it."""
    result, error, says = BAD[wrong]
    with pytest.raises(error, match=says):
        Function(result).fit(W, F)


def test_a_derivative_of_another_shape_or_not_finite_is_refused():
    """At fit and on use."""
    with pytest.raises(ShapeError, match="sample, feature, coordinate"):
        Function(smooth, lambda W: slope(W)[:, :1]).fit(W, F)
    with pytest.raises(DataError, match="derivative returned NaN"):
        Function(smooth, lambda W: slope(W) * np.nan).fit(W, F)
    lift = Function(smooth, lambda W: slope(W)[: 1 if (W > 50).any() else None]).fit(W, F)
    with pytest.raises(ShapeError, match="derivative returned shape"):
        lift.jacobian(np.full((3, 2), 99.0))


def test_a_function_over_all_samples_is_refused():
    """Its features of one state alone would be others."""
    with pytest.raises(DataError, match="same row of W alone"):
        Function(lambda W: W - W.mean(axis=0)).fit(W, F)
    noise = np.random.default_rng(0)
    with pytest.raises(DataError, match="nothing random"):
        Function(lambda W: W + noise.normal(size=W.shape)).fit(W, F)


def test_a_function_that_writes_into_its_argument_is_refused():
    """It would corrupt the data it is fitted to."""

    def careless(W):
        W *= 2.0
        return W

    data = W.copy()
    with pytest.raises(DataError, match="changes its argument"):
        Function(careless).fit(data, F)
    assert np.array_equal(data, W)


def test_numbers_that_were_not_finite_before_are_no_fault_of_the_function():
    """A diverged roll-out goes on as it does with every other lift."""
    lift = Function(smooth).fit(W, F)
    H = lift.transform(np.array([[np.nan, 1.0], [0.5, 1.0]]))
    assert np.isnan(H[0]).any() and np.isfinite(H[1]).all()


def test_an_error_of_the_function_itself_comes_through():
    """With its own traceback."""
    with pytest.raises(IndexError):
        Function(lambda W: W[:, [5]]).fit(W, F)


@pytest.mark.parametrize("lift", [Function("sin"), Function(np.sin, 3.0)])
def test_only_functions_are_taken(lift):
    """The text shows one."""
    with pytest.raises(DataError, match="must be callable"):
        lift.fit(W, F)


def test_the_number_of_features_is_known_after_fit():
    """Nobody knows it before."""
    with pytest.raises(NotFittedError, match="after fit"):
        Function(smooth).n_out  # noqa: B018

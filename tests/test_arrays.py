"""The one normaliser of user input: what it accepts it returns exactly, what it refuses it names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from koopctl import errors
from koopctl.arrays import as_array, as_names, as_vector, as_weight, as_whole, index_of, is_finite
from koopctl.errors import DataError, KoopctlError, SamplingTimeError, ShapeError, SolverError, UnknownNameError

NAMES = ("pos", "vel", "theta")
few = settings(max_examples=25, deadline=None)
floats = st.floats(-1e6, 1e6)


@few
@given(hnp.arrays(st.sampled_from([np.float64, np.float32, np.int32, np.bool_]), hnp.array_shapes(max_dims=3)))
def test_numbers_of_any_type_come_back_as_they_were(value):
    """Any real array, also transposed or as nested lists, becomes float64 in C order with the same values."""
    value = np.nan_to_num(value, posinf=0, neginf=0)
    free = tuple("abc"[: value.ndim])
    for given_as in (value, np.asfortranarray(value), value.tolist()):
        array = as_array("value", given_as, free)
        assert array.dtype == np.float64 and array.flags.c_contiguous
        assert np.array_equal(array, value)


@few
@given(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4), hnp.array_shapes(max_dims=3, max_side=4))
def test_a_shape_is_accepted_exactly_when_it_is_the_one_asked_for(have, want):
    """Every other shape, 0-d included, is refused with both shapes in the text."""
    if have == want:
        assert as_array("R", np.ones(have), want).shape == want
        return
    with pytest.raises(ShapeError) as caught:
        as_array("R", np.ones(have), want)
    assert str(caught.value).startswith(f"R has shape {have}, expected (")


@pytest.mark.parametrize(
    "value",
    [["a"], [None], [[1], [2, 3]], [1 + 2j], np.array([1j]), [10**400], [object()], [{}], [np.nan], [1.0, -np.inf]],
    ids=lambda value: str(value).split(" at 0x")[0],  # the same name in every process
)
def test_what_is_no_finite_number_is_refused_by_name(value):
    """Words, objects, ragged lists, complex and huge numbers, NaN and inf: a DataError that says which argument."""
    with pytest.raises(DataError, match="^gain "):
        as_array("gain", value, ("n",))


def test_the_place_of_a_bad_number_is_named():
    """The first NaN's index stands in the text; finite=False lets it pass."""
    value = [[0.0, 1.0], [np.nan, 2.0]]
    with pytest.raises(DataError, match=r"nan at index \(1, 0\)"):
        as_array("Y", value, ("T", 2))
    assert np.isnan(as_array("Y", value, ("T", 2), finite=False)[1, 0])


@few
@given(st.lists(floats, min_size=3, max_size=3))
def test_a_vector_is_the_same_by_name_and_by_position(numbers):
    """A mapping in any order equals the array; a scalar fills all; missing names get the default."""
    by_name = dict(reversed(list(zip(NAMES, numbers, strict=True))))
    assert np.array_equal(as_vector("w", by_name, NAMES), as_vector("w", numbers, NAMES))
    assert np.array_equal(as_vector("w", numbers[0], NAMES), [numbers[0]] * 3)
    assert np.array_equal(as_vector("w", {"vel": numbers[1]}, NAMES, default=-7.0), [-7.0, numbers[1], -7.0])


@pytest.mark.parametrize(
    "value", [{"pos": None}, {"pos": "x"}, {"pos": [1, 2]}, "x", [[1], [2, 3]], {"pos": np.nan}, None, [1, 2]], ids=str
)
def test_a_bad_vector_is_refused(value):
    """Whatever is wrong, it is koopctl's own error that names the argument."""
    with pytest.raises((DataError, ShapeError), match="^w "):
        as_vector("w", value, NAMES)


def test_an_unknown_name_comes_with_the_nearest():
    """The error carries the name and the known ones, and guesses what was meant."""
    with pytest.raises(UnknownNameError, match="did you mean 'theta'") as caught:
        as_vector("Q", {"teta": 1.0}, NAMES)
    assert (caught.value.name, caught.value.known) == ("teta", NAMES)
    with pytest.raises(UnknownNameError, match="Known: pos, vel, theta"):
        index_of(0, NAMES)  # a position instead of a name
    with pytest.raises(UnknownNameError, match="none"):
        index_of("pos", ())


@few
@given(hnp.arrays(np.float64, (3, 3), elements=st.floats(-10, 10)))
def test_every_square_of_a_matrix_is_a_weight(root):
    """root^T root is accepted and returned; minus it is refused unless it is zero."""
    weight = root.T @ root
    assert np.array_equal(as_weight("Q", weight, NAMES), weight)
    if np.abs(weight).max() > 1e-3:
        with pytest.raises(DataError, match="eigenvalue"):
            as_weight("Q", -weight, NAMES)


def test_weights_by_name_diagonal_and_scalar_agree():
    """Four ways to say the same weight."""
    full = np.diag([2.0, 2.0, 2.0])
    for value in (2, [2, 2, 2], {"pos": 2, "vel": 2, "theta": 2}, full):
        assert np.array_equal(as_weight("Q", value, NAMES), full)
    assert as_weight("R", 1.0, ()).shape == (0, 0)


def test_a_weight_is_symmetric_to_the_last_bit():
    """Rounding is evened out, a real difference refused."""
    weight = np.array([[2.0, 1.0], [1.0 + 1e-13, 2.0]])
    even = as_weight("Q", weight, NAMES[:2])
    assert np.array_equal(even, even.T) and even == pytest.approx(weight, abs=1e-12)
    with pytest.raises(DataError, match="not symmetric"):
        as_weight("Q", weight + [[0, 1e-6], [0, 0]], NAMES[:2])


@pytest.mark.parametrize(
    "value", [np.triu(np.ones((3, 3))), np.ones((2, 2)), [[1], [2, 3]], np.ones((3, 3, 3)), -1.0, {"pos": -1}], ids=str
)
def test_what_is_no_weight_is_refused(value):
    """Asymmetric, of another size, ragged or negative."""
    with pytest.raises((DataError, ShapeError), match="^Q "):
        as_weight("Q", value, NAMES)


def test_names_are_counted_and_distinct():
    """Made from the stem where none are given; repeated or missing names are listed."""
    assert as_names("x_names", None, 3, "x") == ("x0", "x1", "x2")
    with pytest.raises(ShapeError, match="2 names but the data has 3"):
        as_names("x_names", ["a", "b"], 3, "x")
    with pytest.raises(DataError, match="repeats a"):
        as_names("x_names", ["a", "b", "a"], 3, "x")


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2)])
def test_whole_numbers_may_be_numpys(value):
    """A search over np.arange passes numpy integers."""
    assert as_whole("delays", value, 0) == 2


@pytest.mark.parametrize("value", [-1, 2.0, "2", None, True, np.float64(2), [2]])
def test_anything_else_is_no_whole_number(value):
    """Truth values and floats included: a half-wrong count should not be rounded."""
    with pytest.raises(DataError, match="^delays is .* whole number >= 0"):
        as_whole("delays", value, 0)


def test_only_real_finite_numbers_are_finite():
    """One number, not a list of one."""
    assert all(is_finite(v) for v in (1, 2.5, np.float32(3), np.int64(4)))
    assert not any(is_finite(v) for v in (np.nan, np.inf, "1", None, [1.0], 1j, np.ones(1)))


def test_every_error_is_koopctls_and_a_builtin():
    """`except KoopctlError` catches all of them, `except ValueError` or RuntimeError each."""
    found = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, KoopctlError)]
    assert len(found) > 5
    for error in set(found) - {KoopctlError}:
        assert issubclass(error, ValueError | RuntimeError), error
    disagreement = SamplingTimeError("the law", 0.05, 0.1)
    assert (disagreement.expected, disagreement.received) == (0.05, 0.1)
    assert "0.05 s" in str(disagreement) and "0.1 s" in str(disagreement)
    assert SolverError("shape", "q is too short").status == "shape"

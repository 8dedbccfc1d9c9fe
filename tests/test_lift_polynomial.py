"""Monomials against their enumeration."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctl.errors import DataError
from koopctl.features.polynomial import Polynomial

RNG = np.random.default_rng(7)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.integers(1, 40), st.integers(0, 1000))
def test_all_monomials_of_degree_two_and_more_occur_once(nw, degree, n, seed):
    """Every tuple of exponents with the right sum, its value by powers, its count by the binomial."""
    W = np.random.default_rng(seed).normal(size=(n + 2, nw))
    lift = Polynomial(degree).fit(W, W)
    wanted = {e for e in product(range(degree + 1), repeat=nw) if 2 <= sum(e) <= degree}
    listed = [tuple(map(int, e)) for e in lift.exponents_]
    assert set(listed) == wanted and len(listed) == len(wanted) == comb(nw + degree, degree) - nw - 1
    expected = np.stack([np.prod(W[:n] ** np.array(e), axis=1) for e in listed], axis=1)
    assert lift.transform(W[:n]) == pytest.approx(expected, rel=1e-13)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 1000))
def test_the_jacobian_is_exact(nw, degree, seed):
    """e_j w^(e - 1_j), at points with zeros too."""
    W = np.random.default_rng(seed).integers(-2, 3, size=(9, nw)).astype(float)
    lift = Polynomial(degree).fit(np.random.default_rng(seed).normal(size=(5, nw)), np.zeros((5, 1)))
    E = lift.exponents_
    for j in range(nw):
        lowered = np.maximum(E - np.eye(nw, dtype=int)[j], 0)
        expected = E[:, j] * np.prod(W[:, None, :] ** lowered, axis=2)
        assert np.array_equal(lift.jacobian(W)[:, :, j], expected)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 100])
def test_one_sample_and_many_agree_to_the_last_bit(n):
    """They are multiplied in the same order."""
    W = RNG.normal(size=(n, 4))
    lift = Polynomial(5).fit(RNG.normal(size=(9, 4)), np.zeros((9, 1)))
    assert lift.transform(W).tobytes() == np.concatenate([lift.transform(w[None]) for w in W]).tobytes()


def test_coordinates_that_stand_still_take_no_part():
    """Their monomials would repeat others; their slopes are 0."""
    W = RNG.normal(size=(50, 4))
    W[:, [0, 2]] = [0.0, 3.0]
    lift = Polynomial(3).fit(W, W)
    moving = Polynomial(3).fit(W[:, [1, 3]], W)
    assert lift.n_in_ == 4 and lift.n_out == moving.n_out == 7
    for rows in (W, W[:1]):
        assert np.array_equal(lift.transform(rows), moving.transform(rows[:, [1, 3]]))
        assert np.array_equal(lift.jacobian(rows)[:, :, [1, 3]], moving.jacobian(rows[:, [1, 3]]))
        assert not lift.jacobian(rows)[:, :, [0, 2]].any()


def test_data_that_does_not_move_at_all_leaves_every_coordinate():
    """The lift does not depend on the data otherwise; one sample is enough."""
    assert Polynomial(2).fit(np.zeros((1, 3)), np.zeros((1, 1))).n_out == 6


@pytest.mark.parametrize(("nw", "degree"), [(50, 5), (4, 40), (200, 2), (3, 10**9)])
def test_absurd_numbers_of_monomials_are_refused_before_they_are_listed(nw, degree):
    """With the number, and what to change."""
    with pytest.raises(DataError, match=rf"degree {degree} in {nw} coordinates makes \d+ monomials.*lower the degree"):
        Polynomial(degree).fit(RNG.normal(size=(9, nw)), np.zeros((9, 1)))


@pytest.mark.parametrize("degree", [1, 0, 2.0, "two", True])
def test_a_degree_is_a_whole_number_of_two_or_more(degree):
    """Degree 1 is Identity."""
    with pytest.raises(DataError, match="degree is"):
        Polynomial(degree).fit(RNG.normal(size=(9, 2)), np.zeros((9, 1)))

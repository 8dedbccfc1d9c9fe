"""Streaming least squares against a least-squares solver that sees everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctl.errors import DataError
from koopctl.models.envelope import Envelope
from koopctl.regression.gram import Gram
from koopctl.regression.scaling import centre_and_spread

few = settings(max_examples=25, deadline=None)


def problem(n: int, p: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return regressors (n, p), the last constant, and targets (n, m)."""
    rng = np.random.default_rng(seed)
    Phi = np.concatenate([rng.normal(size=(n, p - 1)), np.ones((n, 1))], axis=1)
    return Phi, rng.normal(size=(n, m)) + 3


def solved(Phi: np.ndarray, Y: np.ndarray, ridge: float) -> np.ndarray:
    """Return the ridge solution by lstsq on the stacked system; the last regressor is free."""
    n, p = Phi.shape
    penalty = np.sqrt(n * ridge) * np.eye(p)
    penalty[-1] = 0.0
    stacked = np.concatenate([Phi, penalty])
    return np.linalg.lstsq(stacked, np.concatenate([Y, np.zeros((p, Y.shape[1]))]), rcond=None)[0].T


@few
@given(st.integers(15, 60), st.integers(1, 10), st.integers(1, 3), st.sampled_from([0.0, 1e-8, 1e-2, 10.0]))
def test_blocks_give_the_solution_of_the_whole(n, p, m, ridge):
    """In pieces of any size, by the normal equations, equal to lstsq of the stacked system."""
    Phi, Y = problem(n, p, m, seed=n * p + m)
    gram = Gram(p, m)
    for cut in np.split(np.arange(n), [3, 3, n // 2]):
        gram.add(Phi[cut], Y[cut])
    assert gram.n == n
    assert gram.solve(ridge).theta == pytest.approx(solved(Phi, Y, ridge), abs=1e-9)
    assert gram.yy == pytest.approx(Y.T @ Y)


@pytest.mark.parametrize("n", [4, 40])
def test_without_a_unique_solution_the_shortest_is_taken(n):
    """Repeated columns or fewer samples than regressors, no ridge: lstsq's minimum-norm solution."""
    Phi, Y = problem(n, 6, 2, seed=0)
    Phi[:, 1] = Phi[:, 0]
    gram = Gram(6, 2)
    gram.add(Phi, Y)
    truth = np.linalg.lstsq(Phi, Y, rcond=None)[0].T
    assert Phi @ gram.solve(0.0).theta.T == pytest.approx(Phi @ truth.T, abs=1e-6)
    assert np.linalg.norm(gram.solve(0.0).theta) == pytest.approx(np.linalg.norm(truth), rel=1e-5)


def test_the_ridge_scales_with_the_sample_count():
    """The same data twice is the same problem."""
    Phi, Y = problem(30, 5, 2, seed=1)
    once, twice = Gram(5, 2), Gram(5, 2)
    once.add(Phi, Y)
    twice.add(np.concatenate([Phi, Phi]), np.concatenate([Y, Y]))
    assert twice.solve(0.1).theta == pytest.approx(once.solve(0.1).theta, abs=1e-12)


def test_the_constant_is_not_penalised():
    """Under a huge ridge only the mean is left."""
    Phi, Y = problem(30, 5, 2, seed=2)
    gram = Gram(5, 2)
    gram.add(Phi, Y)
    theta = gram.solve(1e12).theta
    assert theta[:, :-1] == pytest.approx(0, abs=1e-9) and theta[:, -1] == pytest.approx(Y.mean(axis=0))


@pytest.mark.parametrize("ridge", [-1e-9, np.nan, np.inf, "small", None])
def test_a_penalty_is_a_number_not_below_zero(ridge):
    """Said before anything is solved."""
    with pytest.raises(DataError, match="^ridge is "):
        Gram(2, 1).solve(ridge)


def test_a_restored_gram_goes_on():
    """Half, saved, restored, the other half: the same bytes as without the break."""
    Phi, Y = problem(30, 5, 2, seed=3)
    whole, half = Gram(5, 2), Gram(5, 2)
    for gram in (whole, half):
        gram.add(Phi[:10], Y[:10])
    restored = Gram.restore({k: np.array(v) for k, v in half.arrays().items()})
    for gram in (whole, restored):
        gram.add(Phi[10:], Y[10:])
    assert restored.n == 30 and restored.solve(1e-3).theta.tobytes() == whole.solve(1e-3).theta.tobytes()


@few
@given(st.integers(0, 1000), st.integers(0, 4))
def test_the_envelope_holds_its_samples_and_says_how_far_others_are(seed, width):
    """Zero inside, half widths outside, also where nothing is measured or one column never moved."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(30, width))
    box = Envelope.around(W[:10]).union(Envelope.around(W[10:]))
    assert np.array_equal(box.excess(W), np.zeros(30))
    if width:
        far = W[0].copy()
        far[0] = box.high[0] + 1.5 * (box.high[0] - box.low[0])
        assert box.excess(far[None]) == pytest.approx([3.0])
        assert box.excess(far) == pytest.approx(3.0)


@few
@given(st.permutations(range(50)))
def test_centre_and_spread_do_not_depend_on_the_order(order):
    """To the last bit; columns that do not move get 1."""
    S = np.random.default_rng(4).normal(size=(50, 3)) * [1e-3, 1.0, 1e6] + 0.1
    S[:, 1] = 0.1
    (centre, spread), (again, also) = centre_and_spread(S), centre_and_spread(S[order])
    assert centre.tobytes() == again.tobytes() and spread.tobytes() == also.tobytes()
    assert centre == pytest.approx(S.mean(axis=0)) and spread == pytest.approx([S[:, 0].std(), 1.0, S[:, 2].std()])

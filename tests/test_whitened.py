"""The second pass in whitened coordinates against numpy on the data itself."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

from koopctl.features.fourier import RandomFourier
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.regression.gram import Gram
from koopctl.regression.triangle import Triangle
from koopctl.regression.whitened import Whitened


def ill_conditioned(n: int, p: int, decades: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return regressors whose singular values fall over so many decades, and exact targets."""
    rng = np.random.default_rng(seed)
    left, right = np.linalg.qr(rng.normal(size=(n, p)))[0], np.linalg.qr(rng.normal(size=(p, p)))[0]
    Phi = left * np.logspace(0, -decades, p) * np.sqrt(n) @ right
    return Phi, Phi @ rng.normal(size=(p, 2))


def two_passes(Phi: np.ndarray, Y: np.ndarray, pieces: int = 1) -> Whitened:
    """Go through the data twice."""
    first = Gram(Phi.shape[1], Y.shape[1]).add(Phi, Y)
    second = Whitened.after(first)
    for rows in np.array_split(np.arange(len(Phi)), pieces):
        second.add(Phi[rows], Y[rows])
    return second


@pytest.mark.parametrize("decades", [2.0, 6.0, 9.0])
def test_no_digits_are_lost_to_the_square_of_the_condition_number(decades):
    """The residual of exact targets is rounding, where the plain normal equations leave far more."""
    Phi, Y = ill_conditioned(400, 12, decades, seed=0)
    theta = two_passes(Phi, Y).solve(0.0, free=0).theta
    reference = np.linalg.lstsq(Phi, Y, rcond=None)[0].T
    assert np.abs(theta - reference).max() < 1e-15 * 10.0**decades * 1e3
    if decades == 9.0:
        plain = Gram(12, 2).add(Phi, Y).solve(0.0, free=0).theta
        assert np.abs(theta - reference).max() < 1e-2 * np.abs(plain - reference).max()


@pytest.mark.parametrize("ridge", [1e-16, 1e-12, 1e-4, 10.0])
def test_a_ridge_is_the_augmented_least_squares(ridge):
    """The last regressor, the constant, is free."""
    Phi, Y = ill_conditioned(300, 8, 7.0, seed=1)
    penalty = np.sqrt(300 * ridge) * np.eye(8)[:7]
    rows, targets = np.concatenate([Phi, penalty]), np.concatenate([Y, np.zeros((7, 2))])
    reference = np.linalg.lstsq(rows, targets, rcond=None)[0].T
    found = two_passes(Phi, Y).solve(ridge)
    assert Phi @ found.theta.T == pytest.approx(Phi @ reference.T, abs=1e-9)
    condition = np.linalg.cond(rows)
    assert condition / 20 < found.condition < 20 * condition and found.path == "whitened"
    values = np.linalg.svd(rows, compute_uv=False)
    shrunk = np.trace(Phi @ np.linalg.solve(rows.T @ rows, Phi.T)) if values[-1] > 1e-6 else found.effective
    assert found.effective == pytest.approx(shrunk, abs=3e-3)


def test_pieces_are_the_whole_and_files_keep_it():
    """Blocks in any cut, merged halves, and a round trip through arrays."""
    Phi, Y = ill_conditioned(500, 10, 8.0, seed=2)
    whole = two_passes(Phi, Y).solve(1e-14).theta
    assert two_passes(Phi, Y, 7).solve(1e-14).theta == pytest.approx(whole, rel=1e-7)
    first = Gram(10, 2).add(Phi, Y)
    halves = [Whitened.after(first).add(Phi[part], Y[part]) for part in (slice(0, 250), slice(250, 500))]
    merged = halves[0].merge(halves[1])
    assert merged.n == 500 and merged.solve(1e-14).theta == pytest.approx(whole, rel=1e-7)
    restored = Whitened.restore(merged.arrays())
    assert restored.solve(1e-14).theta.tobytes() == merged.solve(1e-14).theta.tobytes()


@pytest.mark.parametrize("kind", [Gram, Triangle, Whitened])
@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
def test_what_is_merged_by_a_share_counts_as_much(kind, share):
    """Into an empty one of the same problem, against weighted least squares; the one that is merged stays as it was."""
    Phi, Y = ill_conditioned(400, 6, 1.0, seed=5)
    Y = Y + np.random.default_rng(6).normal(size=Y.shape)
    old = Whitened.after(Gram(6, 2).add(Phi, Y)) if kind is Whitened else kind(6, 2)
    old.add(Phi[:250], Y[:250])
    before = [moments.copy() for moments in old.moments()]
    new = old.emptied().add(Phi[250:], Y[250:]).merge(old, share)
    root = np.sqrt(np.r_[np.full(250, share), np.ones(150)])[:, None]
    assert new.solve(0.0).theta == pytest.approx(np.linalg.lstsq(root * Phi, root * Y, rcond=None)[0].T, abs=1e-9)
    assert new.n == pytest.approx(150 + 250 * share) and old.n == 250
    assert all(np.array_equal(mine, was) for mine, was in zip(old.moments(), before, strict=True))


def test_residual_and_information_are_those_of_the_data():
    """Back in the coordinates of the regressors."""
    Phi, Y = ill_conditioned(300, 6, 3.0, seed=3)
    Y = Y + np.random.default_rng(4).normal(size=Y.shape)
    second = two_passes(Phi, Y)
    theta = second.solve(1e-6).theta
    E = Y - Phi @ theta.T
    assert second.residual(theta) == pytest.approx(E.T @ E / 300, rel=1e-9)
    penalty = np.diag([1e-6] * 5 + [0.0])
    assert second.information(1e-6) == pytest.approx(Phi.T @ Phi / 300 + penalty, rel=1e-9, abs=1e-12)


def test_a_fit_goes_a_second_time_through_the_data_where_it_must():
    """`auto` says which path it took; both are as good as QR."""
    data = oscillator(episodes=20)
    for width in (8.0, 20.0):  # so wide that the waves are hardly told apart
        model = EDMDc(RandomFourier(80, width=width), ridge=1e-20)
        chosen = model.fit(data)
        assert chosen.solution_.path in ("whitened", "eigen")
        error = chosen.report_.relifted[0]
        exact = type(model)(**{**model.get_params(deep=False), "solver": "qr"}).fit(data)
        assert exact.solution_.path in ("qr", "svd") and error < 3.0 * exact.report_.relifted[0] + 1e-12
    assert SampledRNN(60, ridge=1e-6).fit(data).solution_.path == "cholesky"

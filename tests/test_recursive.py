"""Learning from single transitions against batch least squares, plants that jump and plants that stand still."""

from __future__ import annotations

import time

import numpy as np
import pytest
from recorded import DT, exact_linear, linear, oscillator, pendulum

import koopctl as kc
from koopctl.errors import DataError, NotFittedError
from koopctl.regression.gram import Gram
from koopctl.regression.recursive import Recursive
from koopctl.regression.triangle import Triangle
from koopctl.regression.whitened import Whitened

P, M = 8, 2


def samples(n: int, theta: np.ndarray, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return regressors (n, P), the last constant, and targets (n, M) of a linear law."""
    rng = np.random.default_rng(seed)
    Phi = np.concatenate([rng.normal(size=(n, P - 1)), np.ones((n, 1))], axis=1)
    return Phi, Phi @ theta.T + noise * rng.normal(size=(n, len(theta)))


def law(seed: int = 0) -> np.ndarray:
    """Return coefficients (M, P)."""
    return np.random.default_rng(100 + seed).normal(size=(M, P))


def updates(model: kc.EDMDc | kc.SampledRNN, data: kc.Rollouts, forgetting: float = 1.0) -> None:
    """Give a model every transition of some rollouts, one by one."""
    window = model.window_
    for Y, U in data:
        X = window.states(Y, U)
        for x, u, nxt in zip(X, U[window.delays :], X[1:], strict=False):
            model.update(x, u, nxt, forgetting)


@pytest.mark.parametrize("kind", [Gram, Triangle, Whitened])
def test_without_forgetting_it_is_the_batch(kind):
    """500 updates after 100 samples: coefficients, counts, moments and residuals of all 600 at once."""
    (A, Ya), (B, Yb) = samples(100, law(), 0.3), samples(500, law(1), 0.3, seed=1)
    start = Whitened.after(Gram(P, M).add(A, Ya)) if kind is Whitened else kind(P, M)
    recursive = Recursive.start(start.add(A, Ya), 0.0)
    for phi, y in zip(B, Yb, strict=True):
        recursive.add(phi, y)
    whole = Gram(P, M).add(A, Ya).add(B, Yb)
    assert recursive.theta == pytest.approx(whole.solve(0.0).theta, abs=1e-8)
    back = recursive.to_gram()
    assert back.n == 600
    for mine, theirs in zip(back.moments(), whole.moments(), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-7, abs=1e-6)
    assert back.residual(recursive.theta) == pytest.approx(whole.residual(recursive.theta), rel=1e-7)
    assert recursive.gain @ recursive.information == pytest.approx(np.eye(P), abs=1e-9)
    assert np.array_equal(recursive.gain, recursive.gain.T)


def test_a_ridge_is_kept_as_what_was_known_before():
    """The penalty of the start stays as it is, so the batch's penalty with the start's count is the same problem."""
    (A, Ya), (B, Yb) = samples(40, law(), 0.3), samples(160, law(), 0.3, seed=1)
    recursive = Recursive.start(Gram(P, M).add(A, Ya), 0.1)
    for phi, y in zip(B, Yb, strict=True):
        recursive.add(phi, y)
    whole = Gram(P, M).add(A, Ya).add(B, Yb)
    assert recursive.theta == pytest.approx(whole.solve(0.1 * 40 / 200).theta, abs=1e-8)
    assert recursive.to_gram().solve(0.1 * 40 / 200).theta == pytest.approx(recursive.theta, abs=1e-8)


def test_forgetting_follows_a_jump():
    """The law changes: 3000 samples later the error is small with 0.98; without forgetting the old law weighs in."""
    (A, Ya), (B, Yb) = samples(2000, law(), 0.01), samples(3000, law(7), 0.01, seed=1)
    off = {}
    for forgetting in (1.0, 0.98):
        recursive = Recursive.start(Gram(P, M).add(A, Ya), 1e-8)
        for phi, y in zip(B, Yb, strict=True):
            recursive.add(phi, y, forgetting)
        off[forgetting] = np.abs(recursive.theta - law(7)).max()
    assert off[0.98] < 0.03 < 0.5 < off[1.0]


def test_the_gain_does_not_wind_up_while_nothing_moves():
    """20 000 samples at a standstill: gain and old knowledge stay as they were; ordinary forgetting loses both."""
    A, Ya = samples(2000, law(), 0.01)
    recursive = Recursive.start(Gram(P, M).add(A, Ya), 1e-10)
    before, ordinary = np.linalg.eigvalsh(recursive.gain)[-1], recursive.gain
    still, y = A[3], A[3] @ law().T
    for k in range(20_000):
        recursive.add(still, y, 0.98)
        if k < 1000:
            direction = ordinary @ still
            ordinary = (ordinary - np.outer(direction, direction) / (0.98 + still @ direction)) / 0.98
    largest = np.linalg.eigvalsh(recursive.gain)[-1]
    assert largest < 0.02 + 2 * before and np.linalg.eigvalsh(ordinary)[-1] > 1e5 * before
    assert np.linalg.eigvalsh(recursive.information)[0] > 0.0
    assert recursive.gain @ recursive.information == pytest.approx(np.eye(P), abs=1e-7)
    assert recursive.theta == pytest.approx(law(), abs=0.01)
    assert recursive.n == pytest.approx(P / 0.02, rel=1e-6)  # as many as the directions remember


def test_a_direction_without_data_or_ridge_has_a_finite_gain():
    """Its information is a floor, so that the first sample that moves it is believed and no number overflows."""
    A, Ya = samples(200, law())
    A[:, 0] = 0.0
    recursive = Recursive.start(Gram(P, M).add(A, A @ law().T), 0.0)
    B, Yb = samples(60, law(), seed=1)
    for phi, y in zip(B, Yb, strict=True):
        recursive.add(phi, y, 0.99)
    assert np.isfinite(recursive.gain).all() and recursive.theta == pytest.approx(law(), abs=1e-6)


# ------------------------------------------------------------------ models
@pytest.mark.parametrize(
    ("model", "data"),
    [
        (kc.EDMDc(kc.Identity(), ridge=0.0), linear),
        (kc.EDMDc(kc.Identity(), ridge=0.0, solver="qr"), linear),
        (kc.EDMDc(kc.Polynomial(2), ridge=0.0), oscillator),
        (kc.EDMDc(kc.Identity(), inputs="bilinear", ridge=0.0), oscillator),
        (kc.EDMDc(kc.Identity(), delays=2, ridge=0.0), oscillator),
        (kc.EDMDc(kc.Polynomial(2), ridge=0.0), pendulum),
    ],
    ids=["linear", "qr", "polynomial", "bilinear", "delays", "angle"],
)
def test_a_model_updated_is_the_model_fitted(model, data):
    """One transition at a time or in one block: the same predictions, and the same again after another block."""
    first, more, last = data(5, 40, seed=1), data(6, 60, seed=2), data(3, 40, seed=3)
    one, block = (kc.fit(first, model) for _ in range(2))
    updates(one, more)
    block.partial_fit(more)
    X, U, _ = block.window_.transitions(last)
    assert one.step(X, U) == pytest.approx(block.step(X, U), abs=1e-8)
    if block.solution_.path != "eigen":  # otherwise many coefficients predict the same
        assert one.solution_.theta == pytest.approx(block.solution_.theta, abs=1e-7)
    assert one.residual_covariance_ == pytest.approx(block.residual_covariance_, rel=1e-5, abs=1e-12)
    for each in (one, block):
        each.partial_fit(last)
    assert one.step(X, U) == pytest.approx(block.step(X, U), abs=1e-8)
    assert one.residual_covariance_ == pytest.approx(block.residual_covariance_, rel=1e-5, abs=1e-12)
    assert one._learnt_.n == pytest.approx(block._learnt_.n)


@pytest.mark.parametrize("solver", ["cholesky", "qr"])
def test_an_exact_plant_is_found_while_running(solver):
    """40 transitions, then 200 updates: (A, B) and the offset to 1e-8, with forgetting, too."""
    A, B, c = exact_linear()
    for forgetting in (1.0, 0.99):
        model = kc.EDMDc(kc.Identity(), ridge=1e-13, solver=solver, cyclic=()).fit(linear(1, 40))
        updates(model, linear(5, 40, seed=1), forgetting)
        assert model.A_ == pytest.approx(A, abs=1e-8) and model.B_ == pytest.approx(B, abs=1e-8)
        assert model.c_ == pytest.approx(c, abs=1e-7)


def actuated(gain: float, episodes: int, seed: int) -> kc.Rollouts:
    """Return the exact plant about the origin, its first input `gain` times as strong."""
    A, B, _ = exact_linear()
    rng, X, U = np.random.default_rng(seed), [], []
    for _ in range(episodes):
        u, x = rng.uniform(-1, 1, size=(60, 2)), np.zeros((61, 4))
        x[0] = rng.uniform(-1, 1, size=4)
        for k in range(60):
            x[k + 1] = A @ x[k] + B @ (u[k] * [gain, 1.0])
        X.append(x)
        U.append(u)
    return kc.Rollouts(X, U, DT)


def test_a_model_follows_its_plant():
    """The actuator loses half of its strength: with forgetting the new one is found, without it the old one lingers."""
    off = {}
    for forgetting in (1.0, 0.9):
        model = kc.EDMDc(kc.Identity(), cyclic=()).fit(actuated(1.0, 20, 0))
        updates(model, actuated(0.5, 10, 1), forgetting)
        off[forgetting] = np.abs(model.B_[:, 0] / exact_linear()[1][:, 0] - 0.5).max()
    assert off[0.9] < 0.01 < 0.2 < off[1.0]


@pytest.mark.parametrize("model", [kc.SampledRNN(20, ridge=1e-6), kc.EDMDc(kc.SampledFeatures(20), ridge=1e-3)])
def test_the_residuals_follow_the_updates(model):
    """Sensor noise that grows while the plant runs: the covariance is that of all residuals of the present model."""
    rng, first, more = np.random.default_rng(0), oscillator(4, 40), oscillator(4, 60, seed=1)
    noisy = kc.Rollouts([x + 0.02 * rng.normal(size=x.shape) for x in more.X], more.U, DT, more.x_names, more.u_names)
    fitted = kc.fit(first, model)
    before = fitted.residual_covariance_.copy()
    updates(fitted, noisy)
    X, U, dQ = fitted.window_.transitions(first + noisy)
    left = X[:, :2] + dQ - fitted.step(X, U)
    assert fitted.residual_covariance_ == pytest.approx(left.T @ left / len(left), rel=1e-4)
    assert (np.diag(fitted.residual_covariance_) > 1.5 * np.diag(before)).all()


def test_an_update_widens_the_box_and_withdraws_the_report(tmp_path):
    """What was learnt outside is no longer outside; a file holds it, and goes on from it."""
    model = kc.SampledRNN(40).fit(oscillator(4, 40))
    report = model.report_
    x, nxt = np.array([4.0, 0.0]), np.array([4.1, -1.0])
    assert model.excess(x[None])[0] > 0.5
    for _ in range(3):
        model.update(x, [0.5, 2.0], nxt)
    assert model.excess(np.stack([x, nxt])) == pytest.approx(0.0) and model.input_range_.high[1] == 2.0
    assert model.report_ is not report and model.report_.envelope["pos"][1] == pytest.approx(4.1)
    loaded = kc.load(model.save(tmp_path / "model"))
    more = oscillator(2, 40, seed=5)
    assert loaded.step(x, [0.5, 2.0]) == pytest.approx(model.step(x, [0.5, 2.0]), abs=1e-12)
    assert loaded.solution_.theta == pytest.approx(model.solution_.theta)
    for each in (model, loaded):
        each.partial_fit(more)
    assert loaded.C_ == pytest.approx(model.C_, rel=1e-6, abs=1e-6)


def test_bad_transitions_are_refused():
    """Wrong lengths, NaN, factors out of range, nothing fitted: said, and nothing learnt."""
    model = kc.EDMDc(kc.Identity()).fit(linear(3))
    x, u = np.array([5.0, -3.0, 0.0, 0.0]), np.array([4.0, 1.0])
    A = model.A_.copy()
    for bad in ((x[:3], u, x), (x, u[:1], x), (x, u, x[None].repeat(2, 0)), (x[None].repeat(2, 0), u, x)):
        with pytest.raises(DataError, match="update takes one x"):
            model.update(*bad)
    for place in range(3):
        bad = [x.copy(), u.copy(), x.copy()]
        bad[place][0] = np.nan
        with pytest.raises(DataError, match="NaN or inf"):
            model.update(*bad)
    for factor in (0.0, -0.1, 1.1, np.nan, "much"):
        with pytest.raises(DataError, match="forgetting is"):
            model.update(x, u, x, factor)
    cubic = kc.EDMDc(kc.Polynomial(3), cyclic=()).fit(linear(3))
    with pytest.raises(DataError, match="too large to be squared"):
        cubic.update(1e60 * x, u, x)
    assert np.isfinite(cubic.update(x, u, x).A_).all()
    assert np.array_equal(model.A_, A)
    with pytest.raises(NotFittedError):
        kc.EDMDc(kc.Identity()).update(x, u, x)
    with pytest.raises(DataError, match="horizon=1"):
        kc.EDMDc(kc.Identity(), horizon=5).fit(linear(3)).update(x, u, x)


def test_an_update_fits_into_a_control_period():
    """300 features: well below a millisecond when nothing else runs, and never near the price of solving anew."""
    data = pendulum(20, 60)
    for model in (kc.SampledRNN(300), kc.EDMDc(kc.SampledFeatures(300))):
        model.fit(data)
        X, U, seconds = model.window_.states(data.X[0], data.U[0]), data.U[0], []
        for k in range(40):
            start = time.perf_counter()
            model.update(X[k], U[k], X[k + 1], 0.99)
            seconds.append(time.perf_counter() - start)
        assert np.median(seconds) < 5e-3

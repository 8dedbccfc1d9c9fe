"""Observers against textbook recursions, against the truth behind noise, and against whatever may arrive."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
from recorded import exact_linear, linear, pendulum
from scipy.linalg import solve_discrete_are
from test_ladder import strange

import koopctl as kc
from koopctl.controllers.extended_kalman_filter import ExtendedKalmanFilter
from koopctl.controllers.kalman_filter import KalmanFilter
from koopctl.controllers.observer import Observer
from koopctl.errors import DataError, DesignError, ShapeError, UnknownNameError

SENSOR = np.array([0.1, 0.2, 0.3, 0.4])
PROCESS = np.array([[0.02, 0.005, 0.0, 0.0], [0.005, 0.01, 0.0, 0.0], [0.0, 0.0, 0.04, -0.01], [0.0, 0.0, -0.01, 0.05]])
PENDULUM_SENSOR = np.array([0.1, 0.4])  # [rad], [rad/s]


@pytest.fixture(scope="module")
def masses() -> kc.EDMDc:
    """Two coupled masses on springs, learnt to rounding."""
    return kc.EDMDc(kc.Identity(), ridge=1e-14).fit(linear())


@pytest.fixture(scope="module")
def swinging() -> dict[str, Any]:
    """Models of the pendulum, observed as cos, sin and rate, by delays."""
    data = pendulum(60, 40, 0)
    return {
        "data": data,
        0: kc.SampledRNN(150).fit(data),
        1: kc.SampledRNN(150, delays=1).fit(data),
        "lifted": kc.EDMDc(kc.SampledFeatures(60), ridge=1e-8).fit(data),
        "lifted1": kc.EDMDc(kc.SampledFeatures(30), delays=1, ridge=1e-8).fit(data),
    }


def noisy_masses(seed: int = 5, steps: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return states, measurements and inputs of the two masses with exactly the noises the filters are told."""
    A, B, c = exact_linear()
    rng = np.random.default_rng(seed)
    U = rng.uniform(-1, 1, (steps, 2)) + [4.0, 1.0]
    X = [np.array([5.5, -2.5, 0.3, -0.4])]
    for u in U:
        X.append(A @ X[-1] + B @ u + c + rng.multivariate_normal(np.zeros(4), PROCESS))
    return np.array(X), np.array(X) + rng.normal(size=(steps + 1, 4)) * SENSOR, U


def textbook(Y: np.ndarray, U: np.ndarray, rows: list[int], x: np.ndarray, P: np.ndarray) -> list[Any]:
    """Return (x, P) after every sample but the first, by the recursion as textbooks print it."""
    A, B, c = exact_linear()
    H, R = np.eye(4)[rows], np.diag(SENSOR[rows] ** 2)
    found = []
    for y, u in zip(Y[1:], U, strict=True):
        x, P = A @ x + B @ u + c, A @ P @ A.T + PROCESS
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        x, P = x + K @ (y[rows] - H @ x), (np.eye(4) - K @ H) @ P
        found.append((x, P))
    return found


def follow(observer: Observer, Y: np.ndarray, U: np.ndarray) -> np.ndarray:
    """Return the estimates along an episode."""
    observer.reset()
    inputs = np.concatenate([np.zeros((1, U.shape[1])), U])
    return np.array([observer.update(y, u) for y, u in zip(Y, inputs, strict=True)])


def turned(angles: np.ndarray) -> np.ndarray:
    """Return angles within half a turn."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


def noisy_pendulum(model: Any, seed: int = 1) -> Any:
    """Yield true coordinates, noisy observations and inputs of new episodes."""
    rng = np.random.default_rng(seed)
    for Y, U in pendulum(12, 60, 99):
        q = model.window_.chart.to_coordinates(Y)
        noisy = q + rng.normal(size=q.shape) * PENDULUM_SENSOR
        yield q, noisy, model.window_.chart.to_observations(noisy), U


def rms_ratio(observer: Observer) -> np.ndarray:
    """Return the errors of estimates over those of the raw measurements, from the sixth sample on, (2,)."""
    raw, left = [], []
    for q, noisy, Y, U in noisy_pendulum(observer.model):
        error = follow(observer, Y, U)[:, :2] - q
        error[:, 0] = turned(error[:, 0])
        left.append(error[5:])
        raw.append((noisy - q)[5:])
    rms = [np.sqrt(np.mean(np.concatenate(part) ** 2, axis=0)) for part in (left, raw)]
    return rms[0] / rms[1]


# ---------------------------------------------------------------------------------------------- against textbooks
def test_the_lifted_filter_is_the_textbooks_on_a_linear_plant(masses):
    """State and covariance of every step, from a first sample taken as measured."""
    _, Y, U = noisy_masses()
    observer = KalmanFilter(masses, SENSOR, PROCESS, steady=False)
    assert observer.update(Y[0], U[0]) == pytest.approx(Y[0])
    for (x, P), y, u in zip(textbook(Y, U, [0, 1, 2, 3], Y[0], np.diag(SENSOR**2)), Y[1:], U, strict=True):
        assert observer.update(y, u) == pytest.approx(x, abs=1e-7)
        assert np.abs(observer.P - P).max() < 1e-9 and np.abs(observer.z - x).max() < 1e-7


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 1], [0]])
def test_the_steady_gain_is_scipys(masses, rows):
    """P from the dual control equation on the exact matrices, whichever coordinates are measured."""
    A = exact_linear()[0]
    H, R = np.eye(4)[rows], np.diag(SENSOR[rows] ** 2)
    P = solve_discrete_are(A.T, H.T, PROCESS, R)
    names = ["p1", "p2", "v1", "v2"]
    observer = KalmanFilter(masses, {names[i]: SENSOR[i] for i in rows}, PROCESS)
    assert np.abs(observer.P - P).max() < 1e-8 * np.abs(P).max()
    assert np.abs(observer.gain - P @ H.T @ np.linalg.inv(H @ P @ H.T + R)).max() < 1e-8


def test_the_steady_filter_starts_with_the_uncertainty_of_its_start(masses):
    """The recursion of low rank is the dense one from a start less certain than the steady state, then the gain's."""
    _, Y, U = noisy_masses(steps=600)
    observer = KalmanFilter(masses, SENSOR, PROCESS)
    A, B, c = exact_linear()
    # P is the prediction's: the estimate's covariance before it is what one step makes P of.
    start = np.linalg.solve(A, observer.P - PROCESS) @ np.linalg.inv(A.T) + np.diag(SENSOR**2)
    expected = textbook(Y, U, [0, 1, 2, 3], Y[0], start)
    found = follow(observer, Y, U)
    assert np.abs(found[1:] - np.array([x for x, _ in expected])).max() < 1e-7
    x = A @ found[-1] + B @ U[0] + c
    assert observer.update(Y[0], U[0]) == pytest.approx(x + observer.gain @ (Y[0] - x), abs=1e-9)


def test_both_filters_are_one_on_a_linear_model(masses):
    """Measured rows by name, with gaps: the extended filter gives the time-varying one's numbers."""
    _, Y, U = noisy_masses()
    Y[10:14], Y[20, 1], Y[21, :3], Y[30] = np.nan, np.inf, np.nan, -np.inf
    noise = {"p1": 0.1, "v1": 0.3, "v2": 0.4}
    lifted = KalmanFilter(masses, noise, PROCESS, steady=False)
    extended = ExtendedKalmanFilter(masses, noise, PROCESS)
    assert np.abs(follow(lifted, Y, U) - follow(extended, Y, U)).max() < 1e-6
    assert np.abs(lifted.P - extended.P).max() < 1e-8


def test_older_samples_are_smoothed(linear_rollouts):
    """With delays: the textbook recursion on the window, of which only the newest block is measured or disturbed."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    model = kc.EDMDc(kc.Identity(), delays=2, ridge=1e-8).fit(linear_rollouts(A, B))
    observer = ExtendedKalmanFilter(model, 0.1, [0.02, 0.03])
    F, G = model.linearize(np.zeros(8), np.zeros(1))
    Q, H, R = np.zeros((8, 8)), np.eye(8)[:2], 0.01 * np.eye(2)
    Q[:2, :2] = np.diag([0.02**2, 0.03**2])
    rng = np.random.default_rng(2)
    U = rng.uniform(-0.1, 0.1, (30, 1))
    X = [np.array([0.3, -0.3])]
    for u in U:
        X.append(A @ X[-1] + B @ u + rng.normal(size=2) * [0.02, 0.03])
    Y = np.array(X) + rng.normal(size=(31, 2)) * 0.1
    x, P = observer.start(Y[:3], U[:2]), np.diag([0.01] * 6 + [0.0] * 2)
    assert np.array_equal(x, model.encode(Y[:3], U[:2]))
    errors = []
    for k in range(2, 30):
        x, P = F @ x + G @ U[k], F @ P @ F.T + Q
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        x, P = x + K @ (Y[k + 1] - H @ x), P - K @ H @ P
        found = observer.update(Y[k + 1], U[k])
        assert np.abs(found - x).max() < 1e-6 and np.abs(observer.P - P).max() < 1e-8
        assert found[6:] == pytest.approx([U[k, 0], U[k - 1, 0]])  # inputs are known
        errors.append([np.abs(found[2 * lag : 2 * lag + 2] - X[k + 1 - lag]).mean() for lag in (0, 1)])
    assert np.mean(errors, axis=0)[1] < np.mean(errors, axis=0)[0]


# ---------------------------------------------------------------------------------------------- against the truth
@pytest.mark.parametrize("delays", [0, 1])
def test_filtered_states_are_nearer_the_truth_than_what_was_measured(swinging, delays):
    """A pendulum that turns over the top: rms errors below 0.35 and 0.3 of the raw ones; measured 0.27 and 0.22."""
    observer = ExtendedKalmanFilter(swinging[delays], PENDULUM_SENSOR, [1e-4, 1e-3])
    angles = [q[:, 0] for q, *_ in noisy_pendulum(observer.model)]
    assert max(np.abs(np.diff(a)).max() for a in angles) > 5.0  # +-pi is crossed
    assert (rms_ratio(observer) < [0.35, 0.3]).all()


@pytest.mark.parametrize(("name", "bound"), [("lifted", [0.55, 0.8]), ("lifted1", [0.55, 0.85])])
def test_the_lifted_filter_helps_as_far_as_its_recursion_is_right(swinging, name, bound):
    """Noise measured on recorded motion; steady and time-varying differ by little; without motion it is cautious."""
    model = swinging[name]
    steady = rms_ratio(KalmanFilter(model, PENDULUM_SENSOR, rollouts=swinging["data"]))
    varying = rms_ratio(KalmanFilter(model, PENDULUM_SENSOR, rollouts=swinging["data"], steady=False))
    assert (steady < bound).all() and (np.abs(steady - varying) < 0.05).all()
    assert (rms_ratio(KalmanFilter(model, PENDULUM_SENSOR, [1e-4, 1e-3])) < 1.05).all()


def test_what_is_never_measured_is_estimated(swinging):
    """Only the angle is measured, from the first sample on: the rate comes from the model."""
    observer = ExtendedKalmanFilter(swinging[0], {"theta": 0.05}, [1e-4, 1e-3])
    rng = np.random.default_rng(0)
    late = []
    for Y, U in pendulum(10, 40, 7):
        q = observer.model.window_.chart.to_coordinates(Y)
        seen = observer.model.window_.chart.to_observations(q + rng.normal(size=q.shape) * 0.05)
        seen[:, 2] = rng.choice([np.nan, 77.0, np.inf], len(seen))  # whatever stands there is not read
        X = follow(observer, seen, U)
        late.append(np.abs(X[15:, 1] - q[15:, 1]))
        assert observer.fault == "" and np.isnan(observer.innovation[1])
    assert np.median(np.concatenate(late)) < 0.15


def test_the_error_grows_while_nothing_is_measured_and_goes_again(swinging):
    """Twelve samples lost: the prediction stands and its covariance grows; afterwards both come back."""
    model = swinging[0]
    observer = ExtendedKalmanFilter(model, PENDULUM_SENSOR, [3e-3, 3e-2])
    before, during, after, spread = [], [], [], []
    for q, _, Y, U in noisy_pendulum(model):
        Y[20:32] = np.nan
        X = follow(observer, Y[:20], U[:19])
        sizes = []
        for k in range(20, 45):
            predicted = model.step(observer.x, U[k - 1])
            x = observer.update(Y[k], U[k - 1])
            X = np.concatenate([X, x[None]])
            sizes.append(np.trace(observer.P))
            if k < 32:
                assert np.abs(model.difference(x, predicted)).max() < 1e-9
                assert (observer.fault, observer.blind) == ("not_finite", k - 19)
        assert observer.blind == 0
        spread.append(sizes)
        error = np.abs(turned(X[:, 0] - q[:45, 0]))
        before.append(error[10:20])
        during.append(error[30:32])
        after.append(error[38:])
    rms = [np.sqrt(np.mean(np.square(part))) for part in (before, during, after)]
    assert rms[1] > 2 * rms[0] and rms[2] < 1.5 * rms[0]
    first, last, recovered = np.mean(spread, axis=0)[[0, 11, -1]]
    assert last > 3 * first and recovered < 0.5 * last


def test_the_steady_filter_finds_back_after_a_gap(linear_model):
    """Its gain does not know of the gap: thirty samples later it is as near the truth as before."""
    observer = KalmanFilter(linear_model, 0.1, 0.02)
    errors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, U = [np.array([0.1, 0.0])], []
        for _ in range(90):
            U.append(-np.array([2.0, 3.0]) @ X[-1][:, None])  # holds the unstable plant among its data
            X.append(linear_model.step(X[-1], U[-1]) + 0.02 * rng.normal(size=2))
        Y = np.array(X) + 0.1 * rng.normal(size=(91, 2))
        Y[40:50] = np.nan
        errors.append(np.abs(follow(observer, Y, np.array(U)) - X).mean(axis=1))
    before, gap, after = (np.mean(np.array(errors)[:, part]) for part in (slice(20, 40), slice(46, 50), slice(75, 90)))
    assert gap > 1.5 * before and after < 1.3 * before


# ---------------------------------------------------------------------------------------------- outliers and starts
@pytest.mark.parametrize("make", [KalmanFilter, ExtendedKalmanFilter])
def test_a_single_outlier_is_refused_and_a_jump_believed(masses, make):
    """One wild coordinate changes nothing else; three samples from elsewhere move the estimate there."""
    X, Y, U = noisy_masses()
    observer = make(masses, SENSOR, PROCESS)
    follow(observer, Y[:20], U[:19])
    clean = observer.fresh()
    follow(clean, Y[:20], U[:19])
    wild, holed = Y[20].copy(), Y[20].copy()
    wild[1], holed[1] = 1e12, np.nan
    assert np.array_equal(observer.update(wild, U[19]), clean.update(holed, U[19]))
    assert (observer.fault, clean.fault) == ("outlier", "partial")
    assert observer.innovation[1] > 1e11 and observer.blind == 0
    A, B, c = exact_linear()
    x = np.array([-20.0, 30.0, 1.0, 1.0])
    found = []
    for k in range(6):
        found.append(observer.update(x, U[k]))
        x = A @ x + B @ U[k] + c
    assert np.abs(found[1] - x).max() > 10 and observer.fault == ""
    assert np.abs(A @ found[-1] + B @ U[5] + c - x).max() < 1.0


def test_a_wrong_guess_of_what_is_not_measured_is_dropped(swinging):
    """Wild angles drove the rate, which is never measured, far away: three good samples later it starts anew."""
    observer = ExtendedKalmanFilter(swinging[0], {"theta": 0.05}, [1e-4, 1e-3], gate=3.0)
    Y, U = swinging["data"].X[3], swinging["data"].U[3]
    follow(observer, Y[:10], U[:9])
    observer._x[1] += 1e9
    for k in range(10, 40):
        x = observer.update(Y[k], U[k - 1])
    assert observer.fault == "" and abs(x[1] - Y[39, 2]) < 0.2


def test_the_first_window_is_taken_as_measured(swinging):
    """start(), and the first samples by themselves; a longer window is filtered."""
    model = swinging[1]
    observer = ExtendedKalmanFilter(model, PENDULUM_SENSOR, [1e-4, 1e-3])
    Y, U = swinging["data"].X[0], swinging["data"].U[0]
    assert np.abs(model.difference(observer.start(Y[:2], U[:1]), model.encode(Y[:2], U[:1]))).max() < 1e-12
    longer = observer.start(Y[:9], U[:8])
    observer.reset()
    assert observer.x is None and observer.update(None, [0.0]) is None and observer.fault == "wrong_shape"
    still = observer.update(Y[0], [0.0])
    assert still == pytest.approx(model.encode(Y[[0, 0]], [[0.0]]))
    assert observer.update(Y[1], U[0]) == pytest.approx(model.encode(Y[:2], U[:1]))
    for k in range(2, 9):
        x = observer.update(Y[k], U[k - 1])
    assert x == pytest.approx(longer)
    with pytest.raises(DataError, match="2 observations|starts from 2"):
        observer.start(Y[:1])
    with pytest.raises(ShapeError):
        observer.start(Y[:3], U[:1])
    with pytest.raises(DataError):
        observer.start(np.full((2, 3), np.nan), U[:1])


def test_a_prediction_that_leaves_the_data_is_given_up(linear_rollouts):
    """An unstable plant, unobserved: there is no estimate until the next measurement, which starts anew."""
    A, B = np.array([[1.3, 0.1], [0.0, 0.9]]), np.array([[0.0], [0.1]])
    model = kc.EDMDc(kc.Identity()).fit(linear_rollouts(A, B, steps=4))
    for observer in (KalmanFilter(model, 0.1, 0.01), ExtendedKalmanFilter(model, 0.1, 0.01)):
        assert observer.update([1.0, 1.0], [0.0]) is not None
        lost = [observer.update(None, [0.0]) is None for _ in range(30)]
        assert not lost[0] and all(lost[15:]) and observer.blind == 30
        assert observer.update([0.2, 0.1], [0.0]) == pytest.approx([0.2, 0.1]) and observer.blind == 0


class Exploding(kc.EDMDc):
    """A model that overflows beyond x0 = 0.5, as learnt models do."""

    def expand(self, X: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the expansion, overflown where x0 is large."""
        F, A, B = super().expand(X, U)
        out = np.abs(X[:, 0]) >= 0.5
        F[out], A[out] = 1e300, 1e300
        return F, A, B


def test_a_model_that_overflows_costs_the_estimate_not_the_loop(linear_rollouts):
    """The sample that finds it starts anew."""
    A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
    observer = ExtendedKalmanFilter(Exploding(kc.Identity()).fit(linear_rollouts(A, B)), 0.1, 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            for y in ([0.1, 0.0], [0.8, 0.0], [0.1, 0.1], [0.1, 0.1]):
                x = observer.update(y, [0.0])
                assert x is not None and np.isfinite(x).all() and np.abs(x).max() < 1.0


@pytest.mark.parametrize("name", [0, 1, "lifted", "lifted1"])
def test_thousands_of_strange_samples(swinging, name, capfd):
    """Whatever arrives as observation or input: no exception, no warning, a finite estimate or none; then recovery."""
    model = swinging[name]
    if isinstance(name, int):
        observer: Observer = ExtendedKalmanFilter(model, PENDULUM_SENSOR, [1e-3, 1e-2])
    else:
        observer = KalmanFilter(model, PENDULUM_SENSOR, rollouts=swinging["data"])
    rng = np.random.default_rng(3)
    Y, U = np.concatenate(swinging["data"].X), np.concatenate(swinging["data"].U)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(1500):
            good = Y[k % 41]
            y = strange(rng, good) if rng.random() < 0.5 else good
            u = strange(rng, np.ones(1)) if rng.random() < 0.2 else U[k % 40]
            x = observer.update(y, u)
            assert x is None or (x.shape == (model.nx,) and np.isfinite(x).all())
            assert isinstance(observer.fault, str) and observer.innovation.shape == (2,)
        for k in range(20):
            x = observer.update(Y[k], U[k - 1])
    assert np.abs(turned(x[0] - np.arctan2(Y[19, 1], Y[19, 0]))) < 0.1
    assert capfd.readouterr() == ("", "")


def test_angles_stay_within_a_turn_and_buffers_are_the_callers(swinging):
    """A pendulum turning for long, its observation in one buffer that is reused, its estimates overwritten."""
    model = swinging["lifted1"]
    careful, careless = (ExtendedKalmanFilter(model, 0.05, [1e-2, 1e-1]) for _ in range(2))
    buffer, u = np.empty(3), np.empty(1)
    for k in range(150):
        buffer[:] = np.cos(0.25 * k), np.sin(0.25 * k), 5.0
        u[:] = 0.1
        x = careful.update(buffer.copy(), [0.1])
        y = careless.update(buffer, u)
        assert np.array_equal(x, y) and (np.abs(y[[0, 2]]) <= np.pi).all()
        buffer[:], u[:], y[:] = np.nan, np.nan, np.nan
    assert np.abs(turned(x[0] - 0.25 * 149)) < 0.2


# ---------------------------------------------------------------------------------------------- designs refused
def test_an_invisible_mode_is_named(linear_rollouts):
    """A place that only adds up a measured speed can be known by no filter of constant gain."""
    A, B = np.array([[1.0, 0.1], [0.0, 0.9]]), np.array([[0.0], [0.1]])
    data = linear_rollouts(A, B)
    data = kc.Rollouts(data.X, data.U, data.dt, ["place", "speed"], ["force"])
    model = kc.EDMDc(kc.Identity(), ridge=1e-14).fit(data)
    with pytest.raises(DesignError, match="eigenvalue 1, which does not decay and lies mostly in place, .*speed"):
        KalmanFilter(model, {"speed": 0.1}, 0.01)
    assert KalmanFilter(model, {"place": 0.1}, 0.01).gain.shape == (2, 1)
    extended = ExtendedKalmanFilter(model, {"speed": 0.1}, 0.01)  # goes on from the start, less and less sure
    follow(extended, data.X[0], data.U[0])
    assert extended.P[0, 0] > 10 * extended.P[1, 1]


def test_angles_and_places_need_no_special_care(swinging):
    """Columns that are pure sums of increments have eigenvalue 1; measured, they are filtered like any other."""
    model = swinging["lifted"]
    assert np.abs(np.linalg.eigvals(model.A_) - 1.0).min() < 1e-9
    observer = KalmanFilter(model, PENDULUM_SENSOR, rollouts=swinging["data"])
    rows = np.eye(model.nz)[:2]
    closed = model.A_ @ (np.eye(model.nz) - observer.gain @ rows)
    assert np.abs(np.linalg.eigvals(closed)).max() < 1.0


def test_noises_are_read_with_care(masses, swinging):
    """Each mistake has its words; forms that mean the same give the same."""
    for make in (KalmanFilter, ExtendedKalmanFilter):
        for noise in (0.0, -1.0, [0.1, 0.1, 0.1, 0.0], np.nan, {}, np.inf):
            with pytest.raises(DataError, match="sensor_noise"):
                make(masses, noise, 0.1)
        with pytest.raises(UnknownNameError, match="p3"):
            make(masses, {"p3": 1.0}, 0.1)
        with pytest.raises(ShapeError):
            make(masses, [0.1, 0.1], 0.1)
        for noise in (-0.1, -np.eye(4), [[1.0, 2.0, 0, 0], [0.0, 1.0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]):
            with pytest.raises(DataError, match="process_noise"):
                make(masses, 0.1, noise)
        with pytest.raises(DataError, match="gate"):
            make(masses, 0.1, 0.1, gate=0.0)
        forms = [0.2, [0.2] * 4, 0.04 * np.eye(4), {name: 0.2 for name in masses.state_names}]
        noises = [make(masses, 0.1, form).process_noise for form in forms]
        assert all(np.allclose(noise, noises[0], rtol=1e-12) for noise in noises)
    with pytest.raises(DesignError, match="KalmanFilter needs EDMDc.*ExtendedKalmanFilter"):
        KalmanFilter(swinging[0], 0.1, 0.1)
    with pytest.raises(DataError, match="columns"):
        KalmanFilter(masses, 0.1, rollouts=swinging["data"])


def test_the_model_knows_its_own_errors(masses):
    """Without process noise, the covariance of the errors on the training data; without that, words."""
    bare, told = copy.deepcopy(masses), copy.deepcopy(masses)
    vars(bare).pop("residual_covariance_", None)
    for make in (KalmanFilter, ExtendedKalmanFilter):
        with pytest.raises(DesignError, match="give process_noise, or fit"):
            make(bare, 0.1)
        told.residual_covariance_ = PROCESS
        assert np.allclose(make(told, 0.1).process_noise, PROCESS, rtol=1e-12)
        told.residual_covariance_ = np.zeros((4, 4))
        assert (np.diag(make(told, 0.1).process_noise) > 0).all()  # a filter must not stop looking


def test_noise_of_the_lifted_step_is_the_mean_square_of_its_errors(masses, linear_rollouts):
    """Motion of another, disturbed plant: what the recursion misses, squared, averaged; shifted rows miss nothing."""
    X, _, U = noisy_masses(steps=500)
    data = kc.Rollouts([X], [U], masses.dt, masses.state_names, masses.u_names_)
    A, B, c = exact_linear()
    missed = X[1:] - (X[:-1] @ A.T + U @ B.T + c)
    assert np.allclose(KalmanFilter(masses, 0.1, rollouts=data).process_noise, missed.T @ missed / 500, atol=1e-8)
    delayed = kc.EDMDc(kc.Identity(), delays=1).fit(linear())
    noise = KalmanFilter(delayed, 0.1, rollouts=data).process_noise
    assert np.abs(noise[4:]).max() < 1e-20 < noise[0, 0]

"""Models of data that a running controller made: what is warned of, and what knowing the controller is worth."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from koopctl import EDMDc, Identity, SampledFeatures, SampledRNN, fit
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, NotFittedError
from koopctl.identify.closed_loop import refine_closed_loop
from koopctl.identify.instruments import Loop

DT = 0.05  # [s]
A, B = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
GAIN = np.array([2.5, 2.0])


def linear(x, u):
    """Grow by 1.09 a step when left alone."""
    return A @ x + B @ u


def pendulum(x, u):
    """Stand upright, until it falls."""
    rate = x[1] + DT * (15 * np.sin(x[0]) + 3 * u[0])
    return np.array([x[0] + DT * rate, rate])


def hold(y):
    """Return the input that stabilises the linear plant."""
    return -GAIN[None] @ y


def balance(y):
    """Return the torque that keeps the pendulum up."""
    return np.array([-8.0 * y[0] - 2.0 * y[1]])


class Smoothed:
    """A controller with a memory: a proportional one, a smoothed one and an integral, as a law returns them."""

    dt = DT

    def reset(self):
        """Forget."""
        self.total, self.smooth = 0.0, np.zeros(2)

    def __call__(self, y, reference=None):
        """Return (u, info)."""
        self.smooth = 0.5 * self.smooth + 0.5 * y
        self.total += DT * y[0]
        return -GAIN[None] @ (y + 0.3 * self.smooth) - 0.3 * self.total, {}


def record(plant, law, *, episodes=20, steps=100, seed=0, noise=0.0, process=0.0, hold_for=1, size=1.0, start=0.1):
    """Record a plant under a law plus piecewise-constant excitation; the law sees what the sensors say."""
    rng, X, U = np.random.default_rng(seed), [], []
    for _ in range(episodes):
        if hasattr(law, "reset"):
            law.reset()
        x, Y, V = rng.uniform(-start, start, 2), [], []
        for k in range(steps + 1):
            Y.append(x + noise * rng.normal(size=2))
            if k % hold_for == 0:
                added = size * rng.uniform(-1, 1, 1)
            answer = law(Y[-1])
            V.append((answer[0] if isinstance(answer, tuple) else answer) + added)
            x = plant(x, V[-1]) + process * rng.normal(size=2)
        X.append(np.array(Y))
        U.append(np.array(V[:-1]))
    return Rollouts(X, U, DT)


def idle(y):
    """Return no input: what is recorded is open loop."""
    return np.zeros(1)


def plain(data, **parameters):
    """Return the linear model by least squares."""
    return EDMDc(Identity(), cyclic=(), **parameters).fit(data)


def wrong(model):
    """Return the distance of the model's A, B from the plant's."""
    return float(np.hypot(np.linalg.norm(model.A_ - A), np.linalg.norm(model.B_ - B)))


def told(model):
    """Return the warnings that speak of a running controller."""
    return [text for text in model.report_.warnings if "running controller" in text]


# ---------------------------------------------------------------------- what is warned of
MODELS = {"linear": EDMDc(Identity(), cyclic=()), "network": SampledRNN(40, cyclic=())}


@pytest.mark.parametrize("plant", [linear, pendulum])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_sensor_noise_in_a_loop_is_warned_of(plant, kind, seed):
    """Noise of 0.03 that the controller answers; the linear model of the pendulum is wrong besides."""
    data = record(plant, hold if plant is linear else balance, seed=seed, noise=0.03)
    assert len(told(fit(data, MODELS[kind]))) == 1


@pytest.mark.parametrize("plant", [linear, pendulum])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "condition",
    [
        {"noise": 0.0},
        {"process": 0.01},
        {"law": idle, "steps": 15},
        {"law": idle, "steps": 15, "noise": 0.03},
        {"law": idle, "steps": 15, "noise": 0.03, "process": 0.01, "hold_for": 5},
    ],
    ids=["loop", "loop, process noise", "open", "open, sensor noise", "open, both, held inputs"],
)
def test_what_leaves_no_bias_is_not(plant, kind, seed, condition):
    """No noise, noise that is white in the residual, or inputs that do not react."""
    law = condition.get("law", hold if plant is linear else balance)
    rest = {name: value for name, value in condition.items() if name != "law"}
    data = record(plant, law, episodes=20 if "steps" not in rest else 120, seed=seed, **rest)
    assert told(fit(data, MODELS[kind])) == []


def test_a_corrected_model_is_not_told_again_to_give_the_controller():
    """Its residuals have the signs all the same."""
    data = record(linear, hold, noise=0.03)
    assert told(fit(data, MODELS["linear"])) and not told(fit(data, MODELS["linear"], feedback=hold))


# ---------------------------------------------------------------------- what the controller is worth
@pytest.mark.slow
def test_least_squares_is_biased_and_instruments_are_consistent():
    """Medians over seeds: the bias stays with four times the data, the corrected error halves as chance does."""
    errors = {}
    for episodes in (6, 24, 96):
        for seed in range(21):
            data = record(linear, hold, episodes=episodes, seed=seed, noise=0.03)
            model = plain(data)
            before = wrong(model)
            errors.setdefault(episodes, []).append((before, wrong(refine_closed_loop(model, data, hold))))
    (few, few_), (some, some_), (many, many_) = (np.median(errors[n], axis=0) for n in (6, 24, 96))
    assert 0.7 * few < some < 1.3 * few and 0.7 * some < many < 1.3 * some
    assert some_ < 0.6 * few_ and many_ < 0.6 * some_
    assert some_ < some / 20 and many_ < many / 40
    assert 0.3 < some_ / few_ < 0.8 and 0.3 < many_ / some_ < 0.8


@pytest.mark.parametrize("law", [hold, Smoothed()], ids=["gain", "memory"])
def test_without_noise_nothing_changes(law):
    """Least squares is exact already."""
    data = record(linear, law)
    model = plain(data)
    matrices = model.A_.copy(), model.B_.copy()
    refine_closed_loop(model, data, law)
    for found, before in zip((model.A_, model.B_), matrices, strict=True):
        assert found == pytest.approx(before, abs=1e-6)
    assert wrong(model) < 1e-6


def test_a_controller_with_a_memory_runs_in_order():
    """An integral and a smoothed feedback: the same gain over least squares."""
    ratios = []
    for seed in range(3):
        data = record(linear, Smoothed(), seed=seed, noise=0.03)
        model = plain(data)
        before = wrong(model)
        ratios.append(before / wrong(refine_closed_loop(model, data, Smoothed())))
    assert np.median(ratios) > 10


def test_delays_are_corrected_too():
    """The unstable eigenvalue of a model in lagged form comes back to the plant's."""
    truth = np.abs(np.linalg.eigvals(A)).max()
    gaps = []
    for seed in range(5):
        data = record(linear, hold, episodes=40, seed=seed, noise=0.03)
        model = plain(data, delays=1)
        before = abs(model.spectral_radius_of_fit() - truth)
        refine_closed_loop(model, data, hold)
        gaps.append((before, abs(model.spectral_radius_of_fit() - truth)))
    before, after = np.median(gaps, axis=0)
    assert after < before / 5


@pytest.mark.parametrize(
    "model",
    [
        SampledRNN(30, cyclic=()),
        SampledRNN(100, ridge=1e-4, cyclic=()),
        EDMDc(SampledFeatures(10), inputs="bilinear", cyclic=()),
        EDMDc(SampledFeatures(30), cyclic=()),
        SampledRNN(30, delays=1, cyclic=()),
    ],
    ids=["network", "ridge", "bilinear", "lifted", "delays"],
)
def test_a_pendulum_upright_is_predicted_better(model):
    """Multi-step errors on motion without noise, against least squares on the same data; medians over seeds."""
    ratios = []
    for seed in range(3):
        data = record(pendulum, balance, episodes=40, steps=200, seed=seed, noise=0.03, hold_for=4, size=3.0, start=0.3)
        truth = record(pendulum, balance, episodes=10, seed=seed + 50, hold_for=4, size=3.0, start=0.3)
        errors = [_error(fit(data, model, feedback=given), truth, 5) for given in (None, balance)]
        ratios.append(errors[0] / errors[1])
    assert np.median(ratios) > 1.5


def _error(model, truth, steps):
    d, nq = model.window_.delays, model.window_.nq
    starts = [(Y, U, k) for Y, U in truth for k in range(0, len(U) - d - steps, 7)]
    x0 = np.array([model.encode(Y[k : k + d + 1], U[k : k + d]) for Y, U, k in starts])
    path = model.predict(x0, np.array([U[k + d : k + d + steps] for _, U, k in starts]))
    return np.sqrt(np.mean((path[:, -1, :nq] - [Y[k + d + steps] for Y, _, k in starts]) ** 2))


def test_process_noise_besides_does_not_spoil_it():
    """The instruments know nothing of either noise."""
    ratios = []
    for seed in range(5):
        data = record(linear, hold, episodes=40, seed=seed, noise=0.03, process=0.01)
        model = plain(data)
        before = wrong(model)
        ratios.append(before / wrong(refine_closed_loop(model, data, hold)))
    assert np.median(ratios) > 5


# ---------------------------------------------------------------------- the instruments
@pytest.mark.parametrize("law", [hold, Smoothed()], ids=["gain", "memory"])
@pytest.mark.parametrize("delays", [0, 2])
def test_the_true_model_simulates_the_loop_as_it_ran(law, delays):
    """Driven by what was added to the controller alone, it retraces motion without noise."""
    data = record(linear, law, episodes=3, steps=70)
    model = plain(record(linear, hold, episodes=60, steps=20), delays=delays)
    loop = Loop(model, data, law)
    simulated = loop.simulate(model, restart=25)
    assert simulated.X == pytest.approx(np.concatenate([piece.X[:-1] for piece in loop.pieces]), abs=1e-6)
    assert simulated.U == pytest.approx(np.concatenate([piece.U for piece in loop.pieces]), abs=1e-6)
    assert not simulated.strayed.any() and simulated.age.max() == 24


def test_instruments_know_nothing_of_the_noise_they_are_used_with():
    """Another draw of the noise after the start, the same added signal: the simulated states stay as they were."""
    data, seen = record(linear, hold, episodes=1, steps=60, noise=0.03), []
    model = plain(record(linear, hold))
    for seed in (1, 2):
        Y = data.X[0].copy()
        Y[1:] += 0.1 * np.random.default_rng(seed).normal(size=Y[1:].shape)
        added = data.U[0] + data.X[0][:-1] @ GAIN[:, None]
        other = Rollouts([Y], [added - Y[:-1] @ GAIN[:, None]], DT)
        seen.append(Loop(model, other, hold).simulate(model, restart=60).X)
    assert seen[0] == pytest.approx(seen[1], abs=1e-9)


# ---------------------------------------------------------------------- what cannot work
def test_no_excitation_is_refused():
    """Inputs that are the controller's answers alone do not tell plant and controller apart."""
    data = record(linear, hold, noise=0.03, size=0.0)
    with pytest.raises(DataError, match="nothing tells plant and controller apart"):
        fit(data, MODELS["linear"], feedback=hold)


def test_weak_excitation_is_warned_of_and_does_no_harm():
    """A signal far below the noise."""
    data = record(linear, hold, noise=0.03, size=0.01)
    before = wrong(plain(data))
    with pytest.warns(UserWarning, match="larger signal"):
        model = refine_closed_loop(plain(data), data, hold)
    assert wrong(model) < 1.5 * before


def test_another_controller_than_the_one_that_ran_is_noticed():
    """What is left of the inputs then still answers the noise."""
    data = record(linear, hold, noise=0.03)
    with pytest.warns(UserWarning, match="hardly the controller that ran"):
        fit(data, MODELS["linear"], feedback=lambda y: 0.3 * hold(y))


def test_a_loop_that_runs_away_leaves_least_squares():
    """A controller of the wrong sign drives every model out of the data."""
    data = record(linear, hold, noise=0.03)
    model = plain(data)
    before = model.A_.copy()
    with pytest.warns(UserWarning, match="leave the data at once"):
        refine_closed_loop(model, data, lambda y: -10.0 * hold(y))
    assert np.array_equal(model.A_, before) and model.solution_.path != "instrumental variables"


@pytest.mark.parametrize(
    "feedback",
    [lambda y: np.zeros(2), lambda y: [np.nan], lambda y: "no", lambda y: None, 3.0],
    ids=["width", "nan", "text", "nothing", "number"],
)
def test_what_is_no_controller_is_refused(feedback):
    """One finite number an input, from a callable."""
    with pytest.raises(DataError, match="feedback"):
        fit(record(linear, hold, episodes=2), MODELS["linear"], feedback=feedback)


def test_a_horizon_is_refused():
    """Multi-step least squares is another remedy for noise; the two do not combine."""
    data = record(linear, hold, episodes=2)
    with pytest.raises(DataError, match="horizon=1"):
        fit(data, EDMDc(Identity(), horizon=5, cyclic=()), feedback=hold)


def test_a_corrected_model_does_not_learn_on():
    """Its sums have the bias, so going on from them would undo the correction."""
    data = record(linear, hold, noise=0.03)
    model = fit(data, MODELS["linear"], feedback=hold)
    with pytest.raises(NotFittedError):
        model.partial_fit(data)


def test_a_spectral_radius_is_kept(tmp_path):
    """The bound holds after the correction as it does after least squares, and the file keeps the model."""
    from koopctl import load

    data = record(linear, hold, noise=0.03)
    model = fit(data, EDMDc(Identity(), spectral_radius=1.05, cyclic=()), feedback=hold)
    assert model.spectral_radius_of_fit() == pytest.approx(1.05, abs=1e-6)
    assert np.array_equal(load(model.save(tmp_path / "m.npz")).A_, model.A_)


def test_the_instruments_take_no_warnings_with_them():
    """A good recording is corrected in silence, and says so in its notes."""
    data = record(linear, hold, noise=0.03)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit(data, MODELS["network"], feedback=hold)
    assert any("the controller was given" in note for note in model.report_.notes)


def test_starts_far_from_rest_do_not_mislead():
    """The first samples of an episode, which no instrument covers, outweigh the rest of the data here."""
    A, B, K = np.array([[1.05, 0.1], [0.2, 0.98]]), np.array([[0.0], [0.1]]), np.array([[5.73, 3.21]])
    rng, X, U = np.random.default_rng(0), [], []
    for _ in range(160):
        x, path, inputs = rng.normal(size=2), [], []
        for _ in range(100):
            y = x + 0.05 * rng.normal(size=2)
            u = -K @ y + 0.5 * rng.normal(size=1)
            path.append(y)
            inputs.append(u)
            x = A @ x + B @ u
        X.append(np.array([*path, x + 0.05 * rng.normal(size=2)]))
        U.append(np.array(inputs))
    model = EDMDc(Identity(), cyclic=()).fit(Rollouts(X, U, 0.1))
    before = max(np.abs(model.A_ - A).max(), np.abs(model.B_ - B).max())
    refine_closed_loop(model, Rollouts(X, U, 0.1), lambda y: -K @ y)
    assert before > 0.05 and max(np.abs(model.A_ - A).max(), np.abs(model.B_ - B).max()) < before / 3

"""Error bounds: Gaussian quantiles in closed form, coverage over many repetitions and on held-out motion."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from recorded import DT, exact_linear, linear, oscillator, pendulum
from scipy.stats import norm

from koopctl.controllers.designer import design
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, FileFormatError, NotFittedError, SamplingTimeError, ShapeError, UnknownNameError
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.calibrating import error_bound
from koopctl.identify.ensemble import ensemble
from koopctl.identify.error_bound import ErrorBound
from koopctl.identify.fitting import fit
from koopctl.identify.windows import Windows
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.task import Task

NETWORK = SampledRNN(60, ridge=1e-8)
PLANTS = {"oscillator": oscillator, "pendulum": pendulum}


def noisy_linear(episodes: int, steps: int, noise: float, seed: int) -> Rollouts:
    """Return motion of the plant `exact_linear` with white process noise in every state."""
    Ad, Bd, c = exact_linear()
    rng = np.random.default_rng(seed)
    U = rng.uniform(-1, 1, (episodes, steps, 2)) + [4.0, 1.0]
    X = np.empty((episodes, steps + 1, 4))
    X[:, 0] = rng.uniform(-1, 1, (episodes, 4)) + [5.0, -3.0, 0.0, 0.0]
    for k in range(steps):
        X[:, k + 1] = X[:, k] @ Ad.T + U[:, k] @ Bd.T + c + noise * rng.normal(size=(episodes, 4))
    return Rollouts(list(X), list(U), DT, ["p1", "p2", "v1", "v2"], ["f1", "f2"])


@pytest.fixture(scope="module")
def exact():
    """The exact linear plant, learnt to rounding."""
    return fit(linear(), EDMDc(Identity(), ridge=1e-15))


@pytest.fixture(scope="module", params=PLANTS)
def learnt(request):
    """A network, an ensemble over episodes of it, calibration episodes and held-out ones, by plant."""
    record = PLANTS[request.param]
    whole = ensemble(record(20), NETWORK, 6, "episodes")
    return SimpleNamespace(whole=whole, model=whole.model, calibration=record(60, seed=1), held_out=record(150, seed=2))


# ---------------------------------------------------------------------- truth in closed form
@pytest.mark.parametrize("relift", [True, False])
def test_gaussian_noise_gives_gaussian_quantiles(exact, relift):
    """Process noise of known size on an exact model: each half width is the normal quantile of its variance."""
    noise, H, coverage = 0.01, 8, 0.9
    bound = error_bound(exact, noisy_linear(500, 40, noise, seed=5), H, coverage, joint=False, relift=relift)
    Ad = exact_linear()[0]
    covariance, expected = np.zeros((4, 4)), []
    for _ in range(H):
        covariance = Ad @ covariance @ Ad.T + noise**2 * np.eye(4)
        expected.append(norm.ppf(0.5 + coverage / 2) * np.sqrt(np.diag(covariance)))
    assert bound.half_widths == pytest.approx(np.array(expected), rel=0.06)
    median = np.array(expected) * norm.ppf(0.75) / norm.ppf(0.5 + coverage / 2)
    assert bound.median_errors == pytest.approx(median, rel=0.08)
    assert bound.coverage_on(noisy_linear(200, 40, noise, seed=6)) == pytest.approx(coverage, abs=0.01)


@pytest.mark.parametrize("joint", [True, False])
def test_coverage_over_many_small_calibrations(exact, joint):
    """120 calibrations on 12 short episodes each, measured on new ones: at least nominal, not far above."""
    coverage, K = 0.8, 12
    data, new = noisy_linear(120 * K, 8, 0.02, seed=7), noisy_linear(200, 8, 0.02, seed=8)
    shares = []
    for i in range(120):
        bound = error_bound(exact, data[i * K : (i + 1) * K], 5, coverage, joint)
        shares.append(bound.coverage_on(new))
    error = np.std(shares) / np.sqrt(len(shares))
    assert coverage - 3 * error <= np.mean(shares) <= coverage + 1 / (K + 1) + 1 / (4 * K) + 3 * error


def quiet_ends(episodes: int, seed: int, steps: int = 40) -> Rollouts:
    """Return short episodes of a nonlinear plant that only moves in the middle of them, where its errors are large."""
    rng = np.random.default_rng(seed)
    U, X = 0.01 * rng.normal(size=(episodes, steps, 1)), np.zeros((episodes, steps + 1, 1))
    U[:, 12:28] += rng.uniform(-1, 1, (episodes, 16, 1))
    X[:, 0] = 0.01 * rng.normal(size=(episodes, 1))
    for k in range(steps):
        X[:, k + 1] = 0.6 * X[:, k] + U[:, k] - 0.4 * U[:, k] ** 3 + 0.3 * X[:, k] * U[:, k]
    return Rollouts(list(X), list(U), DT)


@pytest.mark.parametrize("episodes", [300, 700, 1500])
def test_many_short_episodes_are_judged_by_all_their_phases(episodes):
    """A few windows an episode, two or one where they are many: the coverage of all windows is what was asked."""
    model, held_out, H = fit(quiet_ends(50, 0), EDMDc(Identity())), quiet_ends(300, 1), 5
    bound = error_bound(model, quiet_ends(episodes, 2), H, 0.9)
    window, inside = model.window_, []
    for Y, U in held_out:
        X = window.states(Y, U)
        starts = np.arange(len(U) - H + 1)
        path = model.predict(X[starts], U[starts[:, None] + np.arange(H)])[:, 1:]
        errors = np.abs(path - X[starts[:, None] + np.arange(1, H + 1)])
        inside.append((errors <= bound.half_widths).all(axis=(1, 2)).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.025)
    many = bound.coverage_on(quiet_ends(1200, 3))
    assert many == pytest.approx(np.mean(inside), abs=0.03)  # one window an episode shows the same


def test_the_windows_of_an_episode_do_not_depend_on_the_others():
    """Drawn by the episode's values: in another order, and twice, the same ones."""
    data, order = quiet_ends(700, 0), np.random.default_rng(1).permutation(700)
    window = fit(data[:20], EDMDc(Identity())).window_
    first, again, turned = (Windows.of(window, part, 5) for part in (data, data, data[order.tolist()]))
    assert np.array_equal(first.x0, again.x0) and len(first.x0) == 1400
    assert np.array_equal(turned.truth.reshape(700, 2, 5), first.truth.reshape(700, 2, 5)[order])
    assert first.weight.sum() == pytest.approx(1.0)


# ---------------------------------------------------------------------- learnt models
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("adaptive", [False, True])
def test_held_out_episodes_stay_inside(learnt, joint, adaptive):
    """At least 0.9 less the luck of 60 episodes, and the bounds are no wider than they must be."""
    predictor = learnt.whole if adaptive else learnt.model
    bound = error_bound(predictor, learnt.calibration, 15, 0.9, joint)
    assert 0.9 - 0.06 <= bound.coverage_on(learnt.held_out) <= 0.9 + 0.07
    assert bound.coverage_on(learnt.calibration) == pytest.approx(0.9, abs=0.03)


def test_coverage_is_the_share_of_whole_windows_by_hand(learnt):
    """Counted window by window from `bounds`, episodes alike; angles are compared around the circle."""
    data, H = learnt.held_out[:7], 6
    data = Rollouts.join([data, data[0][:1]])
    long = Rollouts([*data.X[:3], data.X[3][:9]], [*data.U[:3], data.U[3][:8]], data.dt, data.x_names, data.u_names)
    for predictor, joint in ((learnt.model, True), (learnt.whole, True), (learnt.whole, False)):
        bound = error_bound(predictor, learnt.calibration, H, 0.7, joint)
        window, shares = bound.model.window_, []
        for Y, U in long:
            inside = []
            for k in range(len(U) - H + 1):
                low, high = bound.bounds(window.chart.to_coordinates(Y[k]), U[k : k + H])
                truth = window.chart.to_coordinates(Y[k : k + H + 1])
                middle, half = (low + high) / 2, (high - low) / 2
                apart = window.difference_of_coordinates(truth, middle)[1:]
                fits = np.abs(apart) <= half[1:]
                inside.append(fits.all() if joint else fits.mean())
            shares.append(np.mean(inside))
        assert bound.coverage_on(long) == pytest.approx(np.mean(shares), abs=2e-3)


def test_a_joint_bound_is_wider_than_one_for_each(learnt):
    """It promises more; and more coverage costs more width."""
    joint, single = (error_bound(learnt.model, learnt.calibration, 10, 0.9, joint=j) for j in (True, False))
    assert np.median(joint.half_widths / single.half_widths) > 1.1
    assert (error_bound(learnt.model, learnt.calibration, 10, 0.95).half_widths > joint.half_widths).all()
    assert joint.half_widths == pytest.approx(joint.scale * (joint.half_widths / joint.scale)[0, 0], rel=1e-9)


def test_adaptive_bounds_follow_the_spread(learnt):
    """Wider where the members part, narrower on average; the constant bound is that of the model alone."""
    bound = error_bound(learnt.whole, learnt.calibration, 15)
    plain = error_bound(learnt.model, learnt.calibration, 15)
    assert np.array_equal(bound.half_widths, plain.half_widths)
    assert np.mean(bound.mean_widths / bound.half_widths) < 0.95
    held = Windows.of(learnt.model.window_, learnt.held_out[:20], 15)
    widths, spread = bound.widths(held.x0, held.U), learnt.whole.spread(held.x0, held.U)[:, 1:]
    assert widths == pytest.approx(bound.factor * np.hypot(spread, bound.scale), rel=1e-9)
    far = np.array([[1.0, 4 * learnt.model.envelope_.high[-1]]])
    assert (bound.widths(far, held.U[:1])[0, 4] > bound.half_widths[4]).any()
    assert np.array_equal(plain.widths(far, held.U[:1])[0], plain.half_widths)


def test_bounds_are_around_the_prediction(learnt):
    """Row 0 is the start itself; a shorter plan takes the first rows; one start or a batch."""
    bound = error_bound(learnt.whole, learnt.calibration, 12)
    held = Windows.of(learnt.model.window_, learnt.held_out, 12)
    low, high = bound.bounds(held.x0[:5], held.U[:5])
    middle = learnt.model.predict(held.x0[:5], held.U[:5])[..., :2]
    assert low.shape == (5, 13, 2) and (low + high) / 2 == pytest.approx(middle)
    assert np.array_equal(low[:, 0], held.x0[:5]) and np.array_equal(high[:, 0], held.x0[:5])
    assert (high - low)[:, 1:] / 2 == pytest.approx(bound.widths(held.x0[:5], held.U[:5]))
    one = bound.bounds(held.x0[0], held.U[0, :4])
    assert one[0] == pytest.approx(low[0, :5], abs=1e-9) and bound.widths(held.x0[0], held.U[0, :4]).shape == (4, 2)


def test_an_angle_is_never_off_by_more_than_half_a_turn():
    """Where the rate is anybody's guess, the angle's bound is pi, which covers every angle."""

    def noise(seed: int) -> Rollouts:
        rng = np.random.default_rng(seed)
        angle, rate = rng.uniform(-np.pi, np.pi, (40, 11)), 1e3 * rng.normal(size=(40, 11))
        X = np.stack([np.cos(angle), np.sin(angle), rate], axis=2)
        return Rollouts(list(X), [np.zeros((10, 1))] * 40, DT, ["cos(theta)", "sin(theta)", "thetadot"], ["torque"])

    bound = error_bound(fit(pendulum(8), EDMDc(Identity())), noise(1), 4, 0.8)
    assert bound.names[0] == "theta" and (bound.half_widths[:, 0] == np.pi).all()
    assert 0.7 < bound.coverage_on(noise(2)) < 0.95


def test_the_linear_roll_out_has_a_bound_of_its_own():
    """What a LiftedMPC relies on is off by more than the re-lifted prediction, and its bound covers that."""
    model = fit(oscillator(30), EDMDc(SampledFeatures(30), inputs="bilinear", ridge=1e-8))
    calibration, held_out = oscillator(40, seed=1), oscillator(80, seed=2)
    relifted, recursion = (error_bound(model, calibration, 15, relift=relift) for relift in (True, False))
    assert (recursion.half_widths[-1] > 2 * relifted.half_widths[-1]).all()
    assert recursion.coverage_on(held_out) > 0.84
    half = (np.subtract(*recursion.bounds([0.1, 0.2], np.zeros((15, 2)))[::-1]) / 2)[1:]
    assert half == pytest.approx(recursion.half_widths)
    middle = np.mean(recursion.bounds([0.1, 0.2], np.ones((15, 2))), axis=0)
    assert middle == pytest.approx(model.predict([0.1, 0.2], np.ones((15, 2)), relift=False))


# ---------------------------------------------------------------------- use
def test_tightened_bounds_keep_the_plant_inside():
    """Of plans that touch the tightened bound, the true plant leaves the original one as seldom as asked."""
    noise, H = 0.03, 6
    model = fit(linear(), EDMDc(Identity(), ridge=1e-15))
    bound = error_bound(model, noisy_linear(150, 12, noise, seed=1), H, 0.9)
    low, high = bound.tightened({"p1": 0.0}, {"p1": 6.0, "v2": 2.0})
    assert low.shape == (H, 4) and np.isneginf(low[:, 1:]).all() and np.isposinf(high[:, 1]).all()
    assert low[:, 0] == pytest.approx(bound.half_widths[:, 0]) and high[:, 3] == pytest.approx(
        2 - bound.half_widths[:, 3]
    )
    held = Windows.of(model.window_, noisy_linear(300, 12, noise, seed=2), H)
    plan = model.predict(held.x0, held.U)[:, 1:]
    shift = high[:, 0] - plan[:, :, 0]  # moves every planned step onto the tightened bound
    left = (held.truth[:, :, 0] + shift > 6.0).any(axis=1)
    assert 0 < left.mean() <= 0.1
    task = Task(np.array([5.0, -3.0, 0.0, 0.0]), 1.0, 0.1, y_max={"p1": 6.0}, horizon=H)
    tight = task.replace(y_max=bound.tightened(y_max=task.y_max)[1].min(axis=0))
    assert tight.resolve(bound.names, model.u_names_).y_max[0] < 6.0
    assert design(model, tight)(np.array([5.0, -3.0, 0.0, 0.0]))[1]["status"] == "solved"


def test_bounds_without_room_are_refused(exact):
    """With the step and the coordinate that take it all."""
    bound = error_bound(exact, noisy_linear(30, 12, 0.05, seed=1), 8)
    with pytest.raises(DataError, match="after 1 steps the error of 'v1' may be .* leaves no room"):
        bound.tightened({"v1": -0.01}, {"v1": 0.01})
    with pytest.raises(UnknownNameError):
        bound.tightened({"v9": 0.0})
    assert np.isinf(bound.tightened()[0]).all()


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_saved_bound_comes_back(tmp_path, learnt, adaptive):
    """The same bytes of everything it says, its model included."""
    predictor = learnt.whole if adaptive else learnt.model
    bound = error_bound(predictor, learnt.calibration, 8, 0.8, joint=not adaptive)
    loaded = ErrorBound.load(bound.save(tmp_path / "bound"))
    assert str(loaded) == str(bound) and repr(loaded) == repr(bound) and loaded.notes == bound.notes
    held = Windows.of(learnt.model.window_, learnt.held_out[:5], 8)
    for ours, theirs in zip(bound.bounds(held.x0, held.U), loaded.bounds(held.x0, held.U), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert loaded.coverage_on(learnt.held_out[:5]) == bound.coverage_on(learnt.held_out[:5])
    assert loaded.half_widths.tobytes() == bound.half_widths.tobytes()
    with pytest.raises(FileFormatError, match="holds error bound, expected model"):
        from koopctl.archive import read_archive

        read_archive(tmp_path / "bound.npz", "model")


def test_what_a_model_learns_later_does_not_reach_its_bound(learnt):
    """The bound is that of the model as it was."""
    model = fit(learnt.calibration[:10], NETWORK)
    bound = error_bound(model, learnt.calibration[10:], 6)
    before = bound.bounds(np.ones(2), np.ones((6, model.nu)))
    model.partial_fit(learnt.held_out[:20])
    assert not np.array_equal(model.predict(np.ones(2), np.ones((6, model.nu))), np.mean(before, axis=0))
    assert np.array_equal(bound.bounds(np.ones(2), np.ones((6, model.nu))), before)


def test_what_its_model_learns_does_not_reach_the_original():
    """Blocks and single transitions taught to the bound's model leave the sums of the original as they were."""
    model, twin = (fit(linear(), EDMDc(Identity(), ridge=1e-15)) for _ in range(2))
    x, u = np.array([5.0, -3.0, 0.0, 0.0]), np.array([4.0, 1.0])
    for each in (model, twin):
        each.update(x, u, x + 0.1)
    inner = error_bound(model, noisy_linear(20, 12, 0.01, seed=1), 4).model
    for _ in range(5):
        inner.update(x, u, x - 0.5)
    assert model.update(x, u, x).A_.tobytes() == twin.update(x, u, x).A_.tobytes()
    inner.partial_fit(noisy_linear(20, 12, 0.5, seed=2))
    more = linear(2, 40, seed=3)
    assert model.partial_fit(more).A_.tobytes() == twin.partial_fit(more).A_.tobytes()
    inner = error_bound(model, noisy_linear(20, 12, 0.01, seed=1), 4).model
    inner.partial_fit(noisy_linear(20, 12, 0.5, seed=2))
    assert model.partial_fit(more).A_.tobytes() == twin.partial_fit(more).A_.tobytes()


def test_it_prints_on_one_screen_and_draws(learnt):
    """What it is, on what it was calibrated, a table, and as many panels as coordinates."""
    bound = error_bound(learnt.whole, learnt.calibration, 20)
    text = str(bound)
    assert "coverage 0.9, all steps and coordinates at once" in text and "of 60 episodes" in text
    assert "spread of 6 members" in text and len(text.splitlines()) < 25
    assert all(name in text for name in bound.names) and f"{bound.half_widths[-1, 0]:.3g}" in text
    figure = bound.plot()
    FigureCanvasAgg(figure).print_png(image := io.BytesIO())
    assert len(image.getvalue()) > 5000 and sum(ax.get_visible() for ax in figure.axes) == 2
    many = replace(
        bound,
        names=tuple(f"q{i}" for i in range(14)),
        **{name: np.tile(getattr(bound, name), (1, 7)) for name in ("half_widths", "mean_widths", "median_errors")},
        scale=np.tile(bound.scale, (1, 7)),
    )
    assert "and 2 more coordinates" in str(many) and "5 more coordinates" in many.plot().get_suptitle()


# ---------------------------------------------------------------------- little data
def test_a_model_from_a_file_takes_its_scale_from_half_of_the_episodes(learnt, tmp_path):
    """It says so, and still covers."""
    from koopctl.store import load

    loaded = load(learnt.model.save(tmp_path / "model"))
    bound = error_bound(loaded, learnt.calibration, 10)
    assert bound.n_episodes == 30 and any(
        "30 of the held-out episodes gave the errors' scale" in n for n in bound.notes
    )
    assert 0.9 - 0.08 <= bound.coverage_on(learnt.held_out) <= 1.0
    assert error_bound(loaded, learnt.calibration[:10], 10).n_episodes == 9
    with pytest.raises(DataError, match="at least 10 held-out episodes of 10 transitions, here are 9"):
        error_bound(loaded, learnt.calibration[:9], 10)
    single = error_bound(loaded, learnt.calibration[:9], 10, joint=False)
    assert single.n_episodes == 9 and single.notes == ()


def test_a_single_long_episode_is_cut_and_that_is_said():
    """Into pieces with gaps as long as a window; the bound covers other motion of the same kind."""
    model = fit(oscillator(20), NETWORK)
    bound = error_bound(model, oscillator(1, 2000, seed=4), 10)
    assert bound.n_episodes == 50 and "one episode, cut into 50 pieces with gaps of 10 steps" in bound.notes[0]
    assert bound.coverage_on(oscillator(1, 4000, seed=5)) > 0.83
    with pytest.raises(DataError, match="9 are needed: record 170 transitions or better 9 episodes"):
        error_bound(model, oscillator(1, 160, seed=4), 10)
    assert error_bound(model, oscillator(1, 170, seed=4), 10).n_episodes == 9


def test_remarks_on_the_episodes():
    """Short ones are left out and counted, parts of split recordings are akin."""
    model, data = fit(oscillator(20), NETWORK), oscillator(20, seed=1)
    bound = error_bound(model, Rollouts.join([data, oscillator(3, 5, seed=3)]), 10)
    assert bound.notes == ("3 of 23 episodes hold no 10 steps and were left out.",)
    X = [x.copy() for x in data.X]
    X[4][25] = np.nan
    split = Rollouts(X, data.U, data.dt, data.x_names, data.u_names)
    assert any("gaps split count as episodes" in note for note in error_bound(model, split, 10).notes)


def test_bad_input_is_named(learnt):
    """Too few episodes, the training data again, wrong numbers, other plants, plans beyond the bound."""
    model, data = learnt.model, learnt.calibration
    with pytest.raises(DataError, match="coverage 0.9 needs at least 9 held-out episodes of 5 transitions, here are 8"):
        error_bound(model, data[:8], 5)
    with pytest.raises(DataError, match="coverage 0.99 needs at least 99"):
        error_bound(model, data, 5, 0.99)
    with pytest.raises(DataError, match="here are 0"):
        error_bound(model, data, 500, joint=False)
    with pytest.raises(DataError, match="fitted to episode 10 of these.*split"):
        error_bound(model, data[:10] + (oscillator if model.nu == 2 else pendulum)(20)[3:5], 5)
    for coverage in (0.0, 1.0, -1, 90, None, np.nan):
        with pytest.raises(DataError, match="^coverage is"):
            error_bound(model, data, 5, coverage)
    for horizon in (0, 2.5):
        with pytest.raises(DataError, match="^horizon is"):
            error_bound(model, data, horizon)
    with pytest.raises(DataError, match="it is a fitted model or an ensemble"):
        error_bound("model", data, 5)
    with pytest.raises(DataError, match="is no Rollouts"):
        error_bound(model, data.X, 5)
    with pytest.raises(NotFittedError):
        error_bound(SampledRNN(), data, 5)
    with pytest.raises(DataError, match="columns"):
        error_bound(model, linear(12), 5)
    with pytest.raises(SamplingTimeError):
        error_bound(model, Rollouts(data.X, data.U, 0.5, data.x_names, data.u_names), 5)
    bound = error_bound(model, data, 5)
    with pytest.raises(DataError, match="U has 6 steps, the bound reaches 5"):
        bound.bounds(np.zeros(2), np.zeros((6, model.nu)))
    with pytest.raises(ShapeError):
        bound.widths(np.zeros(3), np.zeros((5, model.nu)))
    with pytest.raises(DataError, match="no episode holds 5 steps"):
        bound.coverage_on((oscillator if model.nu == 2 else pendulum)(3, 4))


def test_predictions_that_run_away_are_refused(exact):
    """No bound of 1e30: the horizon at which the linear recursion overflows is named."""
    data = noisy_linear(20, 30, 0.01, seed=1)
    wild = fit(linear(), EDMDc(Identity(), ridge=1e-15))
    wild.A_ = wild.A_ + 1e60 * np.eye(len(wild.A_))
    with pytest.raises(DataError, match="predictions run away within 3 steps"):
        error_bound(wild, data, 20, relift=False)
    with pytest.raises(DataError, match="more than 10% of the predictions run away within 20 steps"):
        error_bound(wild, data, 20, joint=False, relift=False)

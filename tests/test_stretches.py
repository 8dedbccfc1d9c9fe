"""Multi-step least squares of the linear recursion, against sums over the samples themselves and long roll-outs."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest
from recorded import DT, exact_linear, linear, oscillator, pendulum, without_inputs

from koopctl import EDMDc, Identity, SampledFeatures
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, NotFittedError
from koopctl.regression.levenberg import descend
from koopctl.regression.stretches import Stretches
from koopctl.store import load

H = 5


def noisy(data: Rollouts, share: float, seed: int = 1) -> Rollouts:
    """Return the data with white sensor noise of a share of each column's spread."""
    rng, spread = np.random.default_rng(seed), np.concatenate(data.X).std(axis=0)
    X = [x + share * spread * rng.normal(size=x.shape) for x in data.X]
    return Rollouts(X, data.U, data.dt, data.x_names, data.u_names)


def standardised(model: EDMDc, data: Rollouts) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what the recursion reads and the inputs, standardised, episode by episode."""
    layout, d = model.layout_, model.window_.delays
    return [
        (
            (model.lift_state(model.window_.states(Y, U))[:, layout.read] - layout.z_mean) / layout.z_scale,
            (U[d:] - model.u_mean_) / model.u_scale_,
        )
        for Y, U in data
    ]


def accumulated(model: EDMDc, data: Rollouts, horizon: int = H) -> Stretches:
    """Return the moments of all stretches of the data."""
    read = model.layout_.read
    stretches = Stretches(len(read), model.nu, horizon, len(read) - model.lift_.n_out)
    for r, v in standardised(model, data):
        stretches.add(r, v)
    return stretches


KINDS = {
    "identity": (EDMDc(Identity()), oscillator(6, 30)),
    "features": (EDMDc(SampledFeatures(6), ridge=1e-6), noisy(oscillator(6, 30), 0.05)),
    "delays": (EDMDc(SampledFeatures(5), delays=2, ridge=1e-6), noisy(oscillator(6, 30), 0.05)),
    "angle": (EDMDc(SampledFeatures(5), ridge=1e-6), pendulum(6, 30)),
}


@pytest.fixture(params=KINDS)
def case(request):
    """Return a fitted model, its data, its multi-step problem and its one-step coefficients."""
    template, data = KINDS[request.param]
    model = EDMDc(**template.get_params(deep=False)).fit(data)
    problem = accumulated(model, data).problem(*model.layout_.recursion, model.ridge)
    return model, data, problem, model.solution_.theta


def brute_force(model, data, problem, theta):
    """Return the loss by rolling every stretch out, residual by residual."""
    M, total, n = problem.S + problem.E @ theta, 0.0, 0
    for r, v in standardised(model, data):
        for k in range(0, len(v) - H + 1):
            state, n = r[k], n + 1
            for j in range(H):
                state = M @ np.concatenate([v[k + j], state, [1.0]])
                total += float(problem.weight @ (state - r[k + j + 1]) ** 2)
    return total / n + float(np.sum(problem.penalty * theta**2))


def test_the_loss_is_the_sum_over_all_stretches(case):
    """At the one-step solution and away from it, to rounding."""
    model, data, problem, theta = case
    rng = np.random.default_rng(0)
    for trial in (theta, theta + 0.02 * rng.normal(size=theta.shape)):
        assert problem.loss(trial) == pytest.approx(brute_force(model, data, problem, trial), rel=1e-8)


def test_the_slope_is_the_gradient(case):
    """Central differences along random directions."""
    *_, problem, theta = case
    rng = np.random.default_rng(0)
    theta = theta + 0.01 * rng.normal(size=theta.shape)
    slope = problem.slope(theta, problem.roll_out(theta))
    for _ in range(5):
        D = rng.normal(size=theta.shape)
        change = (problem.loss(theta + 1e-6 * D) - problem.loss(theta - 1e-6 * D)) / 2e-6
        assert 2.0 * np.sum(slope * D) == pytest.approx(change, rel=1e-5)


def test_the_curvature_is_that_of_the_linearised_roll_out(case):
    """Against differences of the roll-out, and symmetric."""
    *_, problem, theta = case
    rng = np.random.default_rng(0)
    D, other = rng.normal(size=(2, *theta.shape))
    path = problem.roll_out(theta)
    change = (problem.roll_out(theta + 1e-6 * D) - problem.roll_out(theta - 1e-6 * D))[1:] / 2e-6
    expected = np.sum(problem.weight[:, None] * change**2) + np.sum(problem.penalty * D**2)
    assert np.sum(D * problem.curvature(theta, path, D)) == pytest.approx(expected, rel=1e-6)
    assert np.sum(other * problem.curvature(theta, path, D)) == pytest.approx(
        np.sum(D * problem.curvature(theta, path, other)), rel=1e-9
    )


def test_the_descent_falls_at_every_step_to_a_stationary_point(case):
    """Its own loss never rises, and the gradient all but vanishes in the metric of the problem."""
    *_, problem, theta = case
    found = descend(problem, theta)
    losses = [problem.loss(trial) for trial in found]
    assert found[0] is theta and all(after < before for before, after in zip(losses, losses[1:], strict=False))
    R, C = problem.metric(found[-1])
    left = [
        np.sum(g * np.linalg.solve(R, np.linalg.solve(C, g.T).T))
        for g in (problem.slope(trial, problem.roll_out(trial)) for trial in (theta, found[-1]))
    ]
    assert left[1] < 0.05 * left[0] or left[1] < 1e-4 * losses[-1]


def test_one_step_is_least_squares():
    """With a horizon of one the moments' optimum is the regression's."""
    model, data = EDMDc(SampledFeatures(6), ridge=1e-8).fit(oscillator(6, 30)), oscillator(6, 30)
    problem = accumulated(model, data, 1).problem(*model.layout_.recursion, 0.0)
    slope = problem.slope(model.solution_.theta, problem.roll_out(model.solution_.theta))
    assert np.abs(slope).max() < 1e-6


def test_parts_are_the_whole():
    """Blocks, one by one or all at once: the same moments and the same answer."""
    data = noisy(oscillator(8, 40), 0.05)
    model = EDMDc(SampledFeatures(6), horizon=H).fit(data)
    whole, parts = accumulated(model, data).fold(), accumulated(model, data[:3]).fold()
    for r, v in standardised(model, data[3:]):
        parts.add(r, v).fold()
    for name in ("n", "G", "T", "rr"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-10, abs=1e-10)
    theta, S, E = model.solution_.theta, *model.layout_.recursion
    assert parts.fit(theta, S, E, 1e-10) == pytest.approx(whole.fit(theta, S, E, 1e-10), abs=1e-6)
    streamed = EDMDc(SampledFeatures(6), horizon=H).fit(iter([data, data]))
    twice = EDMDc(SampledFeatures(6), horizon=H).fit(data)
    assert streamed.A_ == pytest.approx(twice.A_, abs=1e-6)


def test_an_exact_recursion_stays_exact():
    """Nothing to gain where one step is right."""
    Ad, Bd, c = exact_linear()
    model = EDMDc(Identity(), horizon=10, ridge=1e-14).fit(linear(10, 40))
    for found, truth in ((model.A_, Ad), (model.B_, Bd), (model.c_, c)):
        assert found == pytest.approx(truth, abs=1e-7)


def test_a_plant_without_inputs_has_a_horizon_too():
    """Free motion of an exact linear plant gives its A, and a lift of a pendulum goes through."""
    A, rng = np.array([[0.95, 0.2], [-0.2, 0.95]]), np.random.default_rng(0)
    X = rng.normal(size=(20, 31, 2))
    for k in range(30):
        X[:, k + 1] = X[:, k] @ A.T
    free = Rollouts(list(X), [np.zeros((30, 0))] * 20, DT)
    assert EDMDc(Identity(), horizon=H, ridge=1e-14).fit(free).A_ == pytest.approx(A, abs=1e-7)
    lifted = EDMDc(SampledFeatures(6), horizon=H, delays=1).fit(without_inputs(pendulum()))
    assert np.isfinite(lifted.A_).all() and lifted.B_.shape == (lifted.nz, 0)


def long_error(model: EDMDc, truth: Rollouts, steps: int) -> float:
    """Return the rms error of the linear roll-out after so many steps on motion without noise, by each spread."""
    d, nq = model.window_.delays, model.window_.nq
    starts = [(Y, U, k) for Y, U in truth for k in range(0, len(U) - d - steps + 1, 20)]
    x0 = np.array([model.encode(Y[k : k + d + 1], U[k : k + d]) for Y, U, k in starts])
    path = model.predict(x0, np.array([U[k + d : k + d + steps] for _, U, k in starts]), relift=False)
    end = model.window_.chart.to_coordinates(np.array([Y[k + d + steps] for Y, _, k in starts]))
    gap = model.window_.difference_of_coordinates(path[:, -1, :nq].copy(), end)
    return float(np.sqrt(np.mean((gap / end.std(axis=0)) ** 2)))


@pytest.mark.parametrize("horizon, times", [(5, 2.0), (20, 5.0)])
def test_sensor_noise_is_borne_much_better(horizon, times):
    """A stable linear plant, noise of a tenth: error after 100 steps against one-step least squares, median of five."""
    truth, ratios = linear(10, 150, seed=99), []
    for seed in range(5):
        data = noisy(linear(40, 150, seed=seed), 0.1, seed)
        errors = [long_error(EDMDc(Identity(), horizon=h).fit(data), truth, 100) for h in (1, horizon)]
        ratios.append(errors[0] / errors[1])
    assert np.median(ratios) > times


def test_the_oscillator_gains_by_it_too():
    """A nonlinear plant with noise, 40 features: the error after 100 steps is smaller for most seeds."""
    truth, ratios = oscillator(10, 150, seed=99), []
    for seed in range(5):
        data = noisy(oscillator(40, 150, seed=seed), 0.05, seed)
        errors = [long_error(EDMDc(SampledFeatures(40), horizon=h).fit(data), truth, 100) for h in (1, 20)]
        ratios.append(errors[0] / errors[1])
    assert np.median(ratios) > 1.1


@pytest.mark.parametrize("horizon", [2, 5, 20])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_no_horizon_buys_its_steps_with_growth(horizon, noise):
    """Beyond the horizon the roll-out is no worse than that of one step: what grows has to earn it."""
    data, truth = noisy(oscillator(40, 150), noise), oscillator(10, 150, seed=99)
    one, more = (EDMDc(SampledFeatures(40), horizon=h).fit(data) for h in (1, horizon))
    assert more.spectral_radius_of_fit() <= max(1.0, one.spectral_radius_of_fit()) + 1e-6
    assert long_error(more, truth, 120) < 1.25 * long_error(one, truth, 120)


def test_a_plant_that_grows_is_not_tamed():
    """An unstable eigenvalue that noise hides from one step: stretches find it and may keep it."""
    rng, X, U = np.random.default_rng(0), [], []
    for _ in range(200):
        x, v = [rng.uniform(-1, 1)], rng.uniform(-1, 1, (60, 1))
        for u in v[:, 0]:
            x.append(1.03 * x[-1] + 0.1 * u)
        X.append(np.array(x)[:, None] + 0.5 * rng.normal(size=(61, 1)))
        U.append(v)
    data = Rollouts(X, U, DT)
    one, more = (EDMDc(Identity(), horizon=h, cyclic=()).fit(data).A_[0, 0] for h in (1, 20))
    assert abs(more - 1.03) < abs(one - 1.03) and more > 1.01


def test_the_order_of_episodes_does_not_matter():
    """Neither in the moments nor in the long stretches that judge."""
    data = noisy(oscillator(20, 60), 0.05)
    turned = data[list(range(len(data)))[::-1]]
    first, second = (EDMDc(SampledFeatures(8), horizon=H).fit(part) for part in (data, turned))
    assert first.A_ == pytest.approx(second.A_, abs=1e-6)


def test_short_episodes_are_left_out_and_none_is_refused():
    """A horizon longer than some episodes uses the others; longer than all says so."""
    long, short = oscillator(6, 60), oscillator(6, 10, seed=5)
    mixed = EDMDc(Identity(), horizon=30).fit(Rollouts([*long.X, *short.X], [*long.U, *short.U], DT))
    assert np.isfinite(mixed.A_).all()
    with pytest.raises(DataError, match="lower horizon"):
        EDMDc(Identity(), horizon=200).fit(long)


def test_a_hundred_features_take_seconds():
    """20 steps, 12 000 transitions: the descent, not the data, is what costs."""
    data = noisy(pendulum(120, 100), 0.02)
    start = perf_counter()
    model = EDMDc(SampledFeatures(100), horizon=20).fit(data)
    assert perf_counter() - start < 30
    assert np.isfinite(model.A_).all()


# ------------------------------------------------------------------ what a horizon rules out
def test_a_loaded_model_predicts_but_does_not_learn_on(tmp_path):
    """Its stretches are not in the file, and without them what it knew would be forgotten: said, nothing changed."""
    model, more = EDMDc(Identity(), horizon=H).fit(oscillator()), oscillator(2, 30, seed=1)
    loaded = load(model.save(tmp_path / "model"))
    before, x = loaded.A_.copy(), np.zeros(2)
    for learn in (lambda: loaded.partial_fit(more), lambda: loaded.update(x, x, x)):
        with pytest.raises(NotFittedError, match="horizon > 1"):
            learn()
    assert np.array_equal(loaded.A_, before) and np.array_equal(before, model.A_)
    again = load(loaded.save(tmp_path / "again"))
    assert np.array_equal(again.A_, before) and not np.array_equal(model.partial_fit(more).A_, before)


def test_a_horizon_changed_later_does_not_forget():
    """There are no stretches of the first data over so many steps to go on from; back to one step there is no need."""
    more = oscillator(2, 30, seed=1)
    for first in (1, 3):
        model = EDMDc(Identity(), horizon=first).fit(oscillator()).set_params(horizon=H)
        with pytest.raises(NotFittedError, match="fitted with another horizon"):
            model.partial_fit(more)
    one = EDMDc(Identity()).fit(oscillator()).partial_fit(more)
    assert model.set_params(horizon=1).partial_fit(more).A_.tobytes() == one.A_.tobytes()


def test_weights_that_stretches_do_not_have_are_refused():
    """A stretch counts or does not, and none fades; nothing is changed by asking."""
    data, more = oscillator(6, 30), oscillator(2, 30, seed=1)
    model, twin = (EDMDc(Identity(), horizon=H).fit(data) for _ in range(2))
    for given in ([0.5, 1.0], [1.0, np.linspace(0, 1, 30)], [2.0, 2.0]):
        with pytest.raises(DataError, match="sample_weight is 0 or 1"):
            model.partial_fit(more, sample_weight=given)
    for each in (model, EDMDc(Identity(), horizon=H)):
        with pytest.raises(DataError, match="forgetting=1.0"):
            each.partial_fit(more, forgetting=0.9)
    with pytest.raises(DataError, match="fit with horizon=1"):
        EDMDc(Identity(), horizon=H).fit(data, sample_weight=[1, 1, 1, 1, 1, 3])
    half = model.partial_fit(more, sample_weight=[0, 1])
    assert np.array_equal(half.A_, twin.partial_fit(more[1]).A_)

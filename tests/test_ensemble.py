"""Ensembles: resampled episodes against refits done by hand, spread where the data says little, files."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import linear, oscillator, pendulum

from koopctl.archive import read_archive, write_archive
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, FileFormatError, ShapeError
from koopctl.features.function import Function
from koopctl.features.identity import Identity
from koopctl.features.polynomial import Polynomial
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.bootstrap import Sums, episode_groups, resampled
from koopctl.identify.ensemble import Ensemble, ensemble
from koopctl.identify.fitting import fit
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.regression.gram import Gram
from koopctl.regression.triangle import Triangle
from koopctl.regression.whitened import Whitened

KINDS = {
    "network": SampledRNN(30, ridge=1e-6),
    "delays": SampledRNN(25, delays=1, ridge=1e-6, activation="relu"),
    "qr": SampledRNN(20, ridge=1e-8, solver="qr"),
    "whitened": SampledRNN(200, ridge=1e-18),
    "linear": EDMDc(SampledFeatures(15), ridge=1e-6),
    "bilinear": EDMDc(SampledFeatures(15), inputs="bilinear", delays=1, ridge=1e-6),
    "horizon": EDMDc(Polynomial(2), horizon=4, ridge=1e-6),
    "stable": EDMDc(SampledFeatures(8), spectral_radius=1.0, ridge=1e-6),
}
MOTION = {"network": oscillator, "horizon": oscillator}  # the pendulum for all others
COUNTS = np.array([2, 0, 1, 0, 3, 1, 0, 1])


def noisy(data: Rollouts, size: float = 0.01) -> Rollouts:
    """Return the motion with measurement noise, so that no two resamples agree."""
    rng = np.random.default_rng(11)
    X = [x + size * rng.normal(size=x.shape) for x in data.X]
    return Rollouts(X, data.U, data.dt, data.x_names, data.u_names)


def groups_of(model, data: Rollouts):
    """Return groups of episodes and what was summed over each."""
    groups = episode_groups(model, data, np.random.default_rng(5))
    return groups, [Sums.of(model, part) for part in groups]


def repeated(groups, counts) -> Rollouts:
    """Return the episodes of each group as often as the counts say."""
    return Rollouts.join([group for group, count in zip(groups, counts, strict=True) for _ in range(count)])


def probes(model, steps: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return states and inputs near the data."""
    rng = np.random.default_rng(2)
    return rng.normal(scale=0.7, size=(6, model.nx)), rng.uniform(-1, 1, size=(6, steps, model.nu))


@pytest.mark.parametrize("kind", KINDS)
def test_every_group_once_is_the_model_itself(kind):
    """The sums over groups add up to those over everything: same predictions to 1e-8."""
    data = MOTION.get(kind, pendulum)(8)
    model = fit(data, KINDS[kind])
    assert type(model._learnt_) is {"qr": Triangle, "whitened": Whitened}.get(kind, Gram)
    _, sums = groups_of(model, data)
    member = resampled(model, sums, np.ones(len(sums), dtype=int))
    X, U = probes(model)
    tolerance = 1e-4 if kind == "horizon" else 1e-8  # an iteration to a gradient of zero ends where it began
    for relift in (True, False):
        assert member.predict(X, U, relift) == pytest.approx(model.predict(X, U, relift), rel=tolerance, abs=tolerance)
    assert member.residual_covariance_ == pytest.approx(model.residual_covariance_, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("solver", ["cholesky", "qr"])
def test_a_resample_is_the_least_squares_of_its_episodes(solver):
    """The outer layer of a member, against a dense ridge regression over the resampled episodes in full."""
    data = noisy(pendulum(8), 3e-4)
    model = fit(data, SampledRNN(30, ridge=1e-5, solver=solver))
    groups, sums = groups_of(model, data)
    member = resampled(model, sums, COUNTS)
    X, U, dQ = model.window_.transitions(repeated(groups, COUNTS))
    S = (np.concatenate([model.window_.embed(X), U], axis=1) - model.mean_) / model.scale_
    Phi = np.concatenate([model.features_.transform(S), S, np.ones((len(S), 1))], axis=1)
    penalty = np.sqrt(1e-5 * len(S)) * np.eye(Phi.shape[1])[:-1]
    rows = np.concatenate([Phi, penalty]), np.concatenate([dQ / model.gain_, np.zeros((len(penalty), 2))])
    theta = np.linalg.lstsq(*rows, rcond=None)[0].T
    assert member.solution_.theta == pytest.approx(theta, rel=1e-8, abs=1e-8)
    step = X[:, :2] + (Phi @ theta.T) * model.gain_
    assert member.step(X, U) == pytest.approx(step, abs=1e-8)
    assert np.abs(member.solution_.theta - model.solution_.theta).max() > 1e-3
    assert member.features_ is model.features_


@pytest.mark.parametrize("horizon", [1, 4])
def test_a_resample_is_a_refit_where_nothing_is_sampled(horizon):
    """Without a hidden layer, the whole verb `fit` on the resampled episodes gives the same matrices."""
    data = noisy(linear(8))
    model = fit(data, EDMDc(Identity(), ridge=1e-15, horizon=horizon))
    groups, sums = groups_of(model, data)
    member = resampled(model, sums, COUNTS)
    refit = fit(repeated(groups, COUNTS), EDMDc(Identity(), ridge=1e-15, horizon=horizon))
    tolerance = 1e-8 if horizon == 1 else 1e-4
    for name in ("A_", "B_", "c_"):
        assert getattr(member, name) == pytest.approx(getattr(refit, name), rel=tolerance, abs=tolerance)
    assert np.abs(member.A_ - model.A_).max() > 1e-4


def test_refitting_leaves_the_model_alone():
    """Neither its matrices nor what it learnt from change, and members say that they cannot be taught."""
    data = noisy(oscillator(10))
    model = fit(data, EDMDc(Polynomial(2), horizon=3, ridge=1e-8))
    A, G, n = model.A_.copy(), model._learnt_.G.copy(), model._stretches_.n
    _, sums = groups_of(model, data)
    member = resampled(model, sums, [2, *([1] * (len(sums) - 2)), 0])
    assert np.array_equal(model.A_, A) and np.array_equal(model._learnt_.G, G) and model._stretches_.n == n
    assert not np.array_equal(member.A_, A)
    with pytest.raises(Exception, match="without what it learnt from"):
        member.partial_fit(data)


def test_groups_are_whole_episodes_once_each():
    """At most twenty groups of nearly equal number, no episode lost or doubled; episodes too short are left out."""
    data = Rollouts.join([oscillator(45, 12), oscillator(3, 2, seed=9)])
    with pytest.warns(UserWarning, match="3 of 48 episodes are shorter"):
        model = fit(data, SampledRNN(10, delays=2))
    groups = episode_groups(model, data, np.random.default_rng(0))
    sizes = [len(group) for group in groups]
    assert len(groups) == 20 and sum(sizes) == 45 and max(sizes) - min(sizes) <= 1
    starts = {tuple(X[0]) for group in groups for X in group.X}
    assert starts == {tuple(X[0]) for X in data.X[:45]}


@pytest.mark.parametrize("kind", KINDS)
def test_members_rolled_out_together_are_the_members(kind):
    """One batch through the shared hidden layer gives what each member predicts alone."""
    whole = ensemble(noisy(MOTION.get(kind, pendulum)(12), 3e-4), KINDS[kind], 4, "episodes")
    X, U = probes(whole.model)
    for relift in (True, False):
        paths = whole.predict(X, U, relift)
        alone = np.stack([member.predict(X, U, relift) for member in whole.members])
        assert paths.shape == (4, 6, 13, whole.model.nx)
        assert paths == pytest.approx(alone, rel=1e-7, abs=1e-7)
    assert whole.predict(X[0], U[0]) == pytest.approx(alone_of(whole, X[0], U[0]), rel=1e-7, abs=1e-7)
    assert whole.predict(X, U[:, :0]).shape == (4, 6, 1, whole.model.nx)


def alone_of(whole: Ensemble, x: np.ndarray, U: np.ndarray) -> np.ndarray:
    """Return what each member predicts alone."""
    return np.stack([member.predict(x, U) for member in whole.members])


def test_over_layers_each_member_is_a_fit_of_its_own():
    """The first is the model, the others have other seeds, drawn by the seed; a lift's seed is found too."""
    data = oscillator(10)
    for template in (SampledRNN(12), EDMDc(SampledFeatures(9) + Polynomial(2)), EDMDc()):
        whole = ensemble(data, template, 3, seed=4)
        X, U = probes(whole.model, 3)
        assert np.array_equal(whole.model.predict(X, U), fit(data, template).predict(X, U))
        assert whole.members[0] is whole.model and len(whole) == 3
        paths = whole.predict(X, U)
        assert len({path.tobytes() for path in paths}) == 3
        assert np.array_equal(paths, ensemble(data, template, 3, seed=4).predict(X, U))
        assert not np.array_equal(paths, ensemble(data, template, 3, seed=5).predict(X, U))
    assert "random_state" not in repr(template)


@pytest.mark.parametrize("over", ["layers", "episodes"])
def test_spread_is_the_standard_deviation_and_grows_outside_the_data(over):
    """Zero at the start, then the members' deviation, and several times as much where nothing was recorded."""
    whole = ensemble(noisy(oscillator(20), 0.003), SampledRNN(40, ridge=1e-6), 8, over)
    X, U = probes(whole.model)
    spread = whole.spread(X, U)
    assert spread.shape == (6, 13, 2) and (spread[:, 0] == 0).all() and (spread[:, 1:] > 0).all()
    assert spread == pytest.approx(whole.predict(X, U).std(axis=0, ddof=1), rel=1e-9, abs=1e-12)
    assert whole.spread(X[0], U[0]).shape == (13, 2)
    ring = np.stack([np.cos(np.arange(12)), np.sin(np.arange(12))], axis=1)
    still = np.zeros((12, 3, 2))
    inside, outside = (whole.spread(radius * ring, still)[:, 3].mean() for radius in (0.7, 4.0))
    assert outside > 4 * inside


def test_spread_of_an_angle_does_not_depend_on_where_the_circle_is_cut():
    """Members on both sides of +-pi are near each other."""
    whole = ensemble(noisy(pendulum(12), 3e-4), SampledRNN(30, ridge=1e-6), 5, "episodes")
    U = np.ones((8, 1))
    near, turned = (whole.spread(np.array([angle, 1.0]), U) for angle in (np.pi - 0.02, 3 * np.pi - 0.02))
    assert near[:, 0].max() < 0.2 and turned == pytest.approx(near, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "over"),
    [("network", "layers"), ("network", "episodes"), ("bilinear", "layers"), ("horizon", "episodes")],
)
def test_a_saved_ensemble_comes_back(tmp_path, kind, over):
    """The same bytes of every member, by both roll-outs, and of the spread."""
    whole = ensemble(noisy(MOTION.get(kind, pendulum)(10), 3e-4), KINDS[kind], 3, over)
    loaded = Ensemble.load(whole.save(tmp_path / "ensemble"))
    X, U = probes(whole.model)
    for relift in (True, False):
        assert loaded.predict(X, U, relift).tobytes() == whole.predict(X, U, relift).tobytes()
    assert loaded.spread(X, U).tobytes() == whole.spread(X, U).tobytes()
    assert loaded.model.predict(X, U).tobytes() == whole.model.predict(X, U).tobytes()
    assert (loaded.over, len(loaded)) == (over, 3) and f"3 members over {over}" in repr(loaded)


def test_files_that_are_none_are_refused(tmp_path):
    """A model's file, a kind of model from the future, a lift that cannot be written."""
    data = oscillator(8)
    with pytest.raises(FileFormatError, match="holds model, expected ensemble"):
        Ensemble.load(fit(data, SampledRNN(5)).save(tmp_path / "model"))
    path = ensemble(data, SampledRNN(5), 2).save(tmp_path / "ensemble")
    _, header, arrays = read_archive(path)
    header["members"][1]["type"] = "Oracle"
    with pytest.raises(FileFormatError, match="type Oracle, known are EDMDc, EchoState, SampledRNN, "):
        Ensemble.load(write_archive(path, "ensemble", header, arrays))
    own = ensemble(data, EDMDc(Function(np.sin)), 2, "episodes")
    with pytest.raises(DataError):
        own.save(tmp_path / "own")


def test_bad_input_is_named():
    """Too few members or episodes, an unknown kind, nothing random, members of other plants."""
    data = oscillator(8)
    with pytest.raises(DataError, match="n_members is 1"):
        ensemble(data, SampledRNN(5), 1)
    with pytest.raises(DataError, match="over is 'seeds'; it is 'layers' or 'episodes'"):
        ensemble(data, SampledRNN(5), 3, "seeds")
    with pytest.raises(DataError, match="seed is -1"):
        ensemble(data, SampledRNN(5), 3, seed=-1)
    with pytest.raises(DataError, match="takes an unfitted model"):
        ensemble(data, "SampledRNN")
    with pytest.raises(DataError, match="is no Rollouts"):
        ensemble(data.X, SampledRNN(5))
    with pytest.raises(DataError, match="no random layer.*over='episodes'"):
        ensemble(data, EDMDc(Polynomial(2)), 3)
    with pytest.raises(DataError, match="at least 5 with more than 0 transitions, here are 4"):
        ensemble(data[:4], SampledRNN(5), 3, "episodes")
    with pytest.raises(DataError, match="none as long as the model's horizon"):
        ensemble(
            Rollouts.join([oscillator(1, 30), oscillator(30, 5, seed=3)]),
            EDMDc(Polynomial(2), horizon=20),
            9,
            "episodes",
        )
    with pytest.raises(DataError, match="a member has the state"):
        Ensemble(fit(data, SampledRNN(5)), [fit(pendulum(), SampledRNN(5))] * 2, "layers")
    with pytest.raises(DataError, match="1 members has no spread"):
        Ensemble(fit(data, SampledRNN(5)), [fit(data, SampledRNN(5))], "layers")
    for over in ("layers", "episodes"):
        with pytest.raises(ShapeError):
            ensemble(data, SampledRNN(5), 2, over).predict(np.zeros(3), np.zeros((4, 2)))

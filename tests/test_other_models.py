"""Models that no least squares on one sample found, wherever others go: they work there, or are refused in words.

`EchoState` stands for all of them, as it needs no JAX; what only trained networks do is asked of a tiny GRU.
"""

from __future__ import annotations

import numpy as np
import pytest
from recorded import DT, oscillator
from sklearn.base import clone

import koopctl as kc
from koopctl.errors import DataError, DesignError, KoopctlError
from koopctl.identify.closed_loop import refine_closed_loop
from koopctl.models import recurrent
from koopctl.models.scores import prediction_errors

pytest.importorskip("reservoirpy")

WASHOUT = 6
DATA, HELD_OUT = oscillator(30, 60), oscillator(12, 60, seed=5)
TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=8, u_min=-1.0, u_max=1.0)
TEMPLATE = kc.EchoState(30, washout=WASHOUT)


@pytest.fixture(scope="module")
def model() -> kc.EchoState:
    """One fitted network; tests must not change it."""
    return kc.fit(DATA, TEMPLATE)


@pytest.fixture(scope="module")
def fine() -> kc.EchoState:
    """A good one, for closed loops."""
    return kc.EchoState(60, washout=WASHOUT).fit(oscillator(60, 60))


def a_start(model, data: kc.Rollouts = HELD_OUT) -> tuple[np.ndarray, np.ndarray]:
    """Return the state of the first whole window of an episode, and the inputs from there on."""
    d = model.window_.delays
    return model.encode(data.X[0][: d + 1], data.U[0][:d]), data.U[0][d:]


# ---------------------------------------------------------------------------------------------- searches
def test_a_search_judges_what_fits_one_by_one_give():
    """One pass serves the values of ridge, and changes nothing: the errors are those of a fit for each trial."""
    plan = kc.Search({"ridge": [1e-10, 1e-4], "n_features": [10, 30]}, horizon=10)
    found = kc.fit(DATA, TEMPLATE, search=plan)
    train, _, test = plan._split(DATA, None)
    assert len(found.search_.trials) == 4
    for trial in found.search_.trials:
        fitted = trial.model().fit(train)
        errors = prediction_errors(fitted, test, 10, 200).by_coordinate / fitted._probe_.spread
        assert trial.errors == pytest.approx(np.sqrt(np.mean(errors**2, axis=1)), rel=1e-6)
    best = found.search_.best.model().fit(DATA)
    assert np.array_equal(best.C_, found.C_)


def test_the_default_search_varies_ridge_and_width():
    """Nineteen decades of ridge and three widths, as for other models."""
    trials = kc.fit(DATA, TEMPLATE, search="auto").search_.trials
    assert {trial.params["n_features"] for trial in trials} == {10, 30, 90} and len(trials) == 57


def test_kinds_of_models_are_judged_on_the_same_steps():
    """A network without memory, two washouts: nothing that the longest washout covers is predicted by any of them."""
    models = [TEMPLATE, kc.SampledRNN(30)]
    trials = kc.fit(DATA, models, search={"washout": [3, 12], "ridge": [1e-8]}).search_.trials
    assert sorted((t.kind, t.params.get("washout")) for t in trials if t.kind == "EchoState") == [
        ("EchoState", 3),
        ("EchoState", 12),
    ]
    (alone,) = (trial for trial in trials if trial.kind == "SampledRNN")
    train, _, test = kc.Search()._split(DATA, None)
    later = kc.Rollouts([x[12:] for x in test.X], [u[12:] for u in test.U], DT, test.x_names, test.u_names)
    fitted = alone.model().fit(train)
    errors = prediction_errors(fitted, later, 20, 200).by_coordinate / fitted._probe_.spread
    assert alone.errors == pytest.approx(np.sqrt(np.mean(errors**2, axis=1)), rel=1e-6)


def test_a_bad_setting_is_a_failed_trial():
    """A washout that no episode holds, or that is no number of samples, loses; the others are judged."""
    found = kc.fit(DATA, TEMPLATE, search={"washout": [WASHOUT, 200, -1], "ridge": [1e-8]})
    failed = {trial.params["washout"]: trial.failed for trial in found.search_.trials if trial.failed}
    assert set(failed) == {200, -1} and "too short" in failed[200] and "washout" in failed[-1]
    assert found.washout == WASHOUT


def test_weights_reach_the_trials():
    """Episodes of weight zero shape neither the fit nor the choice."""
    weight = [1.0] * 15 + [0.0] * 15
    found = kc.fit(DATA, TEMPLATE, search={"ridge": [1e-10, 1e-6]}, sample_weight=weight)
    same = kc.fit(DATA[:15], TEMPLATE, search={"ridge": [1e-10, 1e-6]})
    for one, other in zip(found.search_.trials, same.search_.trials, strict=True):
        assert one.errors == pytest.approx(other.errors, rel=1e-6)


# ---------------------------------------------------------------------------------------------- ensembles and bounds
def test_an_ensemble_over_layers_draws_reservoirs(model, tmp_path):
    """The first member is the model itself, the others differ; a file keeps them."""
    members = kc.ensemble(DATA, TEMPLATE, 3)
    assert np.array_equal(members.model.C_, model.C_) and members.members[0] is members.model
    assert len({m.reservoir_.W.tobytes() for m in members.members}) == 3
    x, U = a_start(members.model)
    assert (members.spread(x, U[:8])[1:] > 0).all()
    assert np.array_equal(kc.load(members.save(tmp_path / "e")).spread(x, U[:8]), members.spread(x, U[:8]))


def test_an_ensemble_over_episodes_is_a_weighted_readout_each(model, tmp_path):
    """All share the reservoir; a member is the readout of the episodes it drew, as often as it drew them."""
    members = kc.ensemble(DATA, TEMPLATE, 4, "episodes", seed=3)
    assert all(m.reservoir_ is members.model.reservoir_ for m in members.members)
    rng = np.random.default_rng(3)
    groups = np.array_split(rng.permutation(30), 20)
    counts = rng.multinomial(20, np.full(20, 1 / 20), size=4)
    for member, count in zip(members.members, counts, strict=True):
        weight = np.zeros(30)
        for group, times in zip(groups, count, strict=True):
            weight[group] = times
        by_hand = kc.fit(DATA, TEMPLATE)
        by_hand._learnt_ = by_hand._taken(DATA, [np.full(len(u), w) for u, w in zip(DATA.U, weight, strict=True)])[0]
        x, U = a_start(by_hand.solve())
        assert member.predict(x, U[:5]) == pytest.approx(by_hand.predict(x, U[:5]), rel=1e-5, abs=1e-7)
    assert np.array_equal(members.model.C_, model.C_)
    x, U = a_start(model)
    assert np.array_equal(kc.load(members.save(tmp_path / "e")).spread(x, U[:8]), members.spread(x, U[:8]))


@pytest.mark.parametrize("over", [None, "layers", "episodes"])
def test_an_error_bound_covers(model, over, tmp_path):
    """Of a model and of an ensemble: on other episodes about the share that was asked for, also from a file."""
    predictor = model if over is None else kc.ensemble(DATA, TEMPLATE, 3, over)
    bound = kc.error_bound(predictor, HELD_OUT, 6, 0.8)
    fresh = oscillator(20, 60, seed=9)
    assert 0.6 < bound.coverage_on(fresh) <= 1.0
    assert kc.load(bound.save(tmp_path / "b")).coverage_on(fresh) == bound.coverage_on(fresh)


# ---------------------------------------------------------------------------------------------- laws and observers
@pytest.mark.parametrize("kind", ["lqr", "relinearized"])
def test_a_law_is_reviewed_and_holds(fine, kind):
    """Every check of `review` has something to say, without a warning; the law brings the plant home."""
    law = kc.design(fine, TASK, kind)
    found = kc.review(law)
    assert "EchoState" in found.title and all(f.verdict != "warning" or "time" in f.subject for f in found.findings)
    x = np.array([0.8, -0.5])
    for _ in range(120):
        u, _ = law(x)
        p, v = x
        x = np.array([p + DT * (v + 0.3 * u[1]), v + DT * (v * (1 - p * p) - p + (2 + p) * u[0])])
    assert x == pytest.approx([0.0, 0.0], abs=0.03)


@pytest.mark.parametrize("measured", ["both", "one"])
def test_an_extended_kalman_filter_estimates(fine, measured, tmp_path):
    """Noise on what is measured is filtered, what is not measured is found, single missing samples are bridged."""
    noise = 0.1 if measured == "both" else {"pos": 0.1}
    observer = kc.ExtendedKalmanFilter(fine, noise)
    truth, rng = oscillator(1, 400, seed=11), np.random.default_rng(0)
    seen = truth.X[0] + 0.1 * rng.normal(size=truth.X[0].shape)
    seen[60] = np.nan
    if measured == "one":
        seen[:, 1] = np.nan
    errors = []
    for k, (y, x) in enumerate(zip(seen, truth.X[0], strict=True)):
        estimate = observer.update(y, truth.U[0][k - 1] if k else np.zeros(2))
        assert estimate is not None and estimate.shape == (62,)
        if k > 100:
            errors.append(estimate[:2] - x)
    rms = np.sqrt(np.mean(np.square(errors), axis=0))
    limits = [0.04, 0.08] if measured == "both" else [0.08, 0.25]  # of noise 0.1, and of speeds around 1
    assert (rms < limits).all()
    law = kc.design(fine, TASK, observer=observer)
    again = kc.load(law.save(tmp_path / "law"))
    assert np.array_equal(law([0.1, 0.2])[0], again([0.1, 0.2])[0])


def test_an_estimate_begins_with_the_memory_of_the_window(model):
    """`start` gives what `encode` gives of the same window; the memory is the more uncertain the noisier the window."""
    Y, U = HELD_OUT.X[0][: WASHOUT + 1], HELD_OUT.U[0][:WASHOUT]
    small, large = (kc.ExtendedKalmanFilter(model, noise) for noise in (0.01, 0.1))
    for observer in (small, large):
        assert observer.start(Y, U) == pytest.approx(model.encode(Y, U), abs=1e-12)
    memory = slice(model.window_.nq, None)
    assert (np.diag(small.P)[memory] > 0).all()
    assert np.diag(large.P)[memory] == pytest.approx(100 * np.diag(small.P)[memory], rel=1e-9)


def test_the_beginnings_variance_is_that_of_noisy_windows(model):
    """Against 2000 windows with drawn noise around one that stands still: the memory's variance within a quarter."""
    rng = np.random.default_rng(0)
    Y, U = np.tile([0.3, 0.0], (WASHOUT + 1, 1)), np.zeros((WASHOUT, 2))
    observer = kc.ExtendedKalmanFilter(model, 0.02)
    observer.start(Y, U)
    drawn = np.array([model.encode(Y + 0.02 * rng.normal(size=Y.shape), U) for _ in range(2000)]).var(axis=0)
    assert np.diag(observer.P) == pytest.approx(drawn, rel=0.25)


# ---------------------------------------------------------------------------------------------- what is refused
def _law(model, kind: str = "lqr") -> object:
    return kc.design(model, TASK, kind)


REFUSED = {
    "adaptive law": (lambda m: kc.AdaptiveLaw(_law(m)), DesignError, "single transitions.*SampledRNN"),
    "kalman filter": (lambda m: kc.KalmanFilter(m, 0.1), DesignError, "ExtendedKalmanFilter for this model"),
    "lifted mpc": (lambda m: kc.LiftedMPC(m, TASK), DesignError, "not EchoState.*relinearized"),
    "lifted lqr": (lambda m: kc.LQR(m, TASK, lifted=True), DesignError, "not EchoState"),
    "value": (lambda m: kc.fitted_value(m, TASK), DesignError, "without delays or memory"),
    "spectrum": (lambda m: kc.spectrum(m), DesignError, "not EchoState.*eigvals"),
    "state space": (lambda m: _law(m).to_ss(), DesignError, "what EchoState remembers.*SampledRNN"),
    "system": (lambda m: _law(m).to_iosystem(), DesignError, "what EchoState remembers"),
    "update": (lambda m: m.update([0.0], [0.0], [0.0]), KoopctlError, "EchoState does not learn from single"),
    "discount": (lambda m: m.discount(100), KoopctlError, "EchoState does not learn from single"),
    "feedback": (lambda m: refine_closed_loop(m, DATA, lambda y: np.zeros(2)), DataError, "what EchoState remembers"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_in_words_and_nothing_is_changed(model, what):
    """The text says what to take instead, and the model predicts as before."""
    do, kind, words = REFUSED[what]
    x, U = a_start(model)
    before = model.predict(x, U[:5])
    with pytest.raises(kind, match=words):
        do(model)
    assert np.array_equal(model.predict(x, U[:5]), before)


def test_an_export_is_refused_before_a_folder_is_made(model, tmp_path):
    """The remedy names the models whose laws can be C."""
    with pytest.raises(DesignError, match="EchoState needs its network.*SampledRNN or EDMDc"):
        kc.export(_law(model), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_feedback_is_refused_before_the_data_is_read():
    """Also with a search; the iterator of data is untouched."""
    data = iter([DATA])
    for search in (None, "auto"):
        with pytest.raises(DataError, match="no instrument.*SampledRNN|SampledRNN.*no instrument"):
            kc.fit(data, TEMPLATE, search=search, feedback=lambda y: np.zeros(2))
    assert next(data) is DATA


def test_a_recording_read_bit_by_bit_is_refused():
    """Nothing is fitted to the first part alone."""
    with pytest.raises(DataError, match="at once"):
        kc.fit(iter([DATA, HELD_OUT]), TEMPLATE)


# ---------------------------------------------------------------------------------------------- trained networks
@pytest.fixture(scope="module")
def gru():
    """A network to train, hardly; one size only, as each is compiled."""
    for package in ("jax", "equinox", "optax"):
        pytest.importorskip(package)
    return recurrent.GRU(4, training={"steps": 4, "check": 2, "batch": 4, "washout": WASHOUT, "horizon": 8})


@pytest.fixture(scope="module")
def trained(gru):
    """It, fitted; tests must not change it."""
    return kc.fit(DATA, gru)


def test_a_search_trains_each_setting(gru):
    """One training a trial, judged as the others; the best is trained on all of the data."""
    found = kc.fit(DATA, gru, search=kc.Search({"longest": [5.0, 500.0]}, horizon=5))
    assert sorted(trial.params["longest"] for trial in found.search_.trials) == [5.0, 500.0]
    assert np.isfinite([trial.score for trial in found.search_.trials]).all() and "longest" in str(found.search_)
    assert found.longest == found.search_.best.params["longest"]


def test_the_default_search_of_a_trained_network_is_three_widths(gru):
    """There is no ridge to choose."""
    settings = kc.Search()._settings([clone(gru).set_params(n_hidden=30)], DATA)
    assert [(params, ridges) for _, params, ridges in settings] == [({"n_hidden": n}, []) for n in (10, 30, 90)]


def test_an_ensemble_trains_from_other_weights(gru, trained):
    """Over layers; the first member has the model's own seed."""
    members = kc.ensemble(DATA, gru, 2)
    x, U = a_start(trained)
    assert np.array_equal(members.model.predict(x, U[:5]), trained.predict(x, U[:5]))
    assert (members.spread(x, U[:5])[1:] > 0).all()


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda m: kc.ensemble(DATA, m, 2, "episodes"), "GRU is trained as a whole.*over='layers'"),
        (lambda m: kc.fit(DATA, m, feedback=lambda y: np.zeros(2)), "what GRU remembers"),
        (lambda m: kc.fit(DATA, m, sample_weight=[1.0] * 30), "no sample weights"),
        (lambda m: m.partial_fit(DATA), "GRU learns from all of its data at once"),
        (lambda m: m.update([0.0], [0.0], [0.0]), "GRU does not learn from single transitions"),
    ],
    ids=["bootstrap", "feedback", "weights", "partial_fit", "update"],
)
def test_what_a_trained_network_cannot_do_is_said_before_it_is_trained(gru, do, words):
    """In words, and without a network afterwards."""
    fresh = clone(gru)
    with pytest.raises(KoopctlError, match=words):
        do(fresh)
    assert not hasattr(fresh, "network_")


def test_several_trainings_share_no_checkpoint(gru, tmp_path):
    """A search or an ensemble would go on from one network with the next."""
    kept = clone(gru).set_params(training={**gru.training, "checkpoint": str(tmp_path / "c.npz")})
    for do in (lambda: kc.fit(DATA, kept, search={"n_hidden": [4, 5]}), lambda: kc.ensemble(DATA, kept, 2)):
        with pytest.raises(DataError, match="leave checkpoint out"):
            do()
    assert not list(tmp_path.iterdir())


def test_a_trained_network_is_observed_and_bounded(trained):
    """The extended filter and the error bound take it as they take any model; far from the data it says so."""
    observer = kc.ExtendedKalmanFilter(trained, 0.1)
    Y, U = HELD_OUT.X[0], HELD_OUT.U[0]
    assert observer.start(Y[: WASHOUT + 1], U[:WASHOUT]) == pytest.approx(a_start(trained)[0], abs=1e-9)
    for y, u in zip(Y[WASHOUT + 1 : WASHOUT + 6], U[WASHOUT : WASHOUT + 5], strict=True):
        assert np.isfinite(observer.update(y, u)).all()
    assert kc.error_bound(trained, HELD_OUT, 4, 0.8).n_episodes == 12
    assert trained.excess(np.concatenate([[9.0, 0.0], np.zeros(4)])[None])[0] > 1.0

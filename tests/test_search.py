"""The search over parameters against refits by brute force, and the same models under scikit-learn's own search."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import DT, oscillator, pendulum
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

import koopctl as kc
from koopctl.errors import DataError, KoopctlError, UnknownNameError
from koopctl.identify.search import Search
from koopctl.models.learner import Learner

RIDGES = [1e-2, 1e-5, 1e-8, 1e-12, 1e-20, 0.0]


def quiet(grid: dict | None = None, **settings) -> Search:
    """Return a search without a bar."""
    return Search(grid, progress=False, **settings)


def score(
    model: kc.SampledRNN | kc.EDMDc, train: kc.Rollouts, test: kc.Rollouts, horizon: int, relift: bool = True
) -> float:
    """Return the geometric mean of the errors over the horizon, from every start, one roll-out after the other."""
    window, errors = model.window_, []
    for Y, U in test:
        X = window.states(Y, U)
        for k in range(len(U) - window.delays - horizon + 1):
            path = model.predict(X[k], U[window.delays + k :][:horizon], relift=relift)
            errors.append(window.difference(path[1:], X[k + 1 : k + 1 + horizon])[:, : window.nq])
    spread = np.concatenate([window.chart.to_coordinates(Y) for Y in train.X]).std(axis=0)
    share = np.sqrt(np.mean(np.mean(np.square(errors), axis=0) / spread**2, axis=1))
    return float(np.exp(np.mean(np.log(np.maximum(share, 1e-9)))))


@pytest.mark.parametrize("relift", [True, False])
@pytest.mark.parametrize(
    ("model", "widths", "data"),
    [(kc.SampledRNN(), "n_features", oscillator), (kc.EDMDc(kc.SampledFeatures()), "lift__n_features", pendulum)],
    ids=["network", "edmd"],
)
def test_it_finds_what_brute_force_finds(model, widths, data, relift):
    """Each ridge and width fitted anew on the same split: the same scores to 1e-8; of ridges alike the largest."""
    data = data(6, 30)
    grid = {widths: [8, 40], "ridge": RIDGES}
    trials = quiet(grid, horizon=6, held_out=0.3, relift=relift, seed=3).run(data, [model])
    train, test = data.split(4 / 6, seed=3)
    assert trials.n_held_out == len(test) == 2 and len(trials.trials) == 12
    for trial in trials.trials:
        by_hand = score(clone(model).set_params(**trial.params).fit(train), train, test, 6, relift)
        assert trial.score == pytest.approx(by_hand, rel=1e-8)
    assert [trial.score for trial in trials.trials] == sorted(trial.score for trial in trials.trials)
    least, best = trials.trials[0], trials.best
    alike = [t.params["ridge"] for t in trials.trials if t.params[widths] == least.params[widths]
             and t.score <= 1.02 * least.score]  # fmt: skip
    assert best.params == {widths: least.params[widths], "ridge": max(alike)}


def test_the_best_is_fitted_to_all_of_the_data():
    """With the parameters of the first trial, which `search_` holds; the model passed in stays unfitted."""
    data, template = oscillator(6, 30), kc.SampledRNN(20)
    model = kc.fit(data, template, search=quiet({"ridge": RIDGES}, horizon=5))
    assert model.ridge == model.search_.best.params["ridge"] and model._learnt_.n == data.n_samples
    assert model.C_.tobytes() == clone(template).set_params(ridge=model.ridge).fit(data).C_.tobytes()
    assert not hasattr(template, "window_") and template.ridge == 1e-10
    assert len(str(model.search_).splitlines()) == 2 + len(RIDGES) and "2 held-out episodes" in str(model.search_)


def test_one_set_of_gram_matrices_serves_all_ridges(monkeypatch):
    """The data is gone through once a width (and once more where digits are lost), and never the held-out part."""
    seen, solved = [], []
    accumulate, solve = Learner.accumulate, Learner.solve
    monkeypatch.setattr(
        Learner, "accumulate", lambda self, d, w=None: (seen.append((self, d)), accumulate(self, d, w))[1]
    )
    monkeypatch.setattr(Learner, "solve", lambda self, d=None, w=None: (solved.append(self), solve(self, d, w))[1])
    data = oscillator(8, 30)
    quiet({"n_features": [8, 16, 32], "ridge": RIDGES}, seed=1).run(data, [kc.SampledRNN()])
    assert len(seen) == 3 and len(solved) == 3 * len(RIDGES)
    train, test = data.split(0.75, seed=1)
    for _, part in seen:
        kept = {x.tobytes() for x in part.X}
        assert kept == {x.tobytes() for x in train.X} and not kept & {x.tobytes() for x in test.X}


def test_one_episode_is_split_in_time(monkeypatch):
    """The last quarter judges; no transition is on both sides."""
    seen = []
    accumulate = Learner.accumulate
    monkeypatch.setattr(Learner, "accumulate", lambda self, d, w=None: (seen.append(d), accumulate(self, d, w))[1])
    data = oscillator(1, 200)
    trials = quiet({"ridge": [1e-8]}, horizon=5).run(data, kc.SampledRNN(20))
    assert np.array_equal(seen[0].X[0], data.X[0][:151]) and np.array_equal(seen[0].U[0], data.U[0][:150])
    late = kc.Rollouts([data.X[0][150:]], [data.U[0][150:]], DT)
    by_hand = score(kc.SampledRNN(20, ridge=1e-8).fit(seen[0]), seen[0], late, 5)
    assert trials.best.score == pytest.approx(by_hand, rel=1e-8) and "1 held-out episode" in str(trials)
    with pytest.raises(DataError, match="cannot be split"):
        quiet().run(oscillator(1, 3), [kc.SampledRNN(5)])


def test_candidates_with_delays_are_judged_on_the_same_steps():
    """However many samples a state takes, what is predicted is the same motion, over the same horizon."""
    data = oscillator(5, 25)
    trials = quiet({"delays": [0, 3, 20], "ridge": [1e-6]}, horizon=20, held_out=0.4).run(data, [kc.SampledRNN(20)])
    by_delays = {trial.params["delays"]: trial for trial in trials.trials}
    assert len(by_delays[0].errors) == len(by_delays[3].errors) == 20
    assert by_delays[20].score == np.inf and "record longer" in by_delays[20].failed
    train, test = data.split(0.6, seed=0)
    later = kc.Rollouts([x[3:] for x in test.X], [u[3:] for u in test.U], DT, test.x_names, test.u_names)
    by_hand = score(kc.SampledRNN(20, ridge=1e-6).fit(train), train, later, 20)
    assert by_delays[0].score == pytest.approx(by_hand, rel=1e-8)


def test_weights_count_in_the_search():
    """A wild stretch that weighs nothing chooses nothing, on either side of the split."""
    clean = oscillator(6, 40)
    X, weight = [x.copy() for x in clean.X], [np.ones(40) for _ in range(6)]
    for x, w in zip(X, weight, strict=True):
        x[20] *= 1e5
        w[19:21] = 0.0
    wild = kc.Rollouts(X, clean.U, DT)
    search = quiet({"ridge": RIDGES, "n_features": [10, 40]}, horizon=10)
    model = kc.fit(wild, kc.SampledRNN(), search=search, sample_weight=weight)
    assert model.search_.best.score < 0.3
    with pytest.raises(DataError, match="5 entries for 6 episodes"):
        search.run(wild, [kc.SampledRNN()], weight[:5])


def test_episodes_that_count_nothing_are_on_neither_side():
    """Wherever the split would put them, the trials are those of the other episodes alone."""
    data, search = oscillator(8, 30), quiet({"ridge": [1e-3, 1e-8]}, horizon=5)
    for kept in ([0, 1], [6, 7], [2, 3, 5]):
        weight = [1.0 if i in kept else 0.0 for i in range(8)]
        found, alone = search.run(data, kc.SampledRNN(20), weight), search.run(data[kept], kc.SampledRNN(20))
        assert [t.score for t in found.trials] == pytest.approx([t.score for t in alone.trials], rel=1e-9)
        assert found.n_held_out == alone.n_held_out


def test_one_episode_is_split_among_what_counts():
    """Where the rest of it, or all other episodes, count nothing; too little to split is said."""
    long, search = oscillator(1, 120), quiet({"ridge": [1e-8]}, horizon=5)
    first = np.r_[np.ones(60), np.zeros(60)]
    cut = kc.Rollouts([long.X[0][:61]], [long.U[0][:60]], DT, long.x_names, long.u_names)
    alone = search.run(cut, kc.SampledRNN(15)).best.score
    assert search.run(long, kc.SampledRNN(15), [first]).best.score == pytest.approx(alone, rel=1e-9)
    found = search.run(long + oscillator(2, 30, seed=1), kc.SampledRNN(15), [first, 0.0, 0.0])
    assert found.best.score == pytest.approx(alone, rel=1e-9)
    with pytest.raises(DataError, match="2 transitions that count cannot be split"):
        search.run(long, kc.SampledRNN(15), [np.r_[1.0, np.zeros(118), 1.0]])


def test_values_to_try_may_be_arrays(tmp_path):
    """Lists of names as numpy holds them: fitted, compared, printed, saved."""
    data = oscillator(8, 30)
    grid = {"cyclic": [np.array(["pos", "vel"]), np.array([], dtype=str)], "ridge": [1e-4, 1e-8]}
    model = kc.fit(data, kc.SampledRNN(20), search=quiet(grid, horizon=5))
    assert len(model.search_.best.params["cyclic"]) == 0 and "pos" in str(model.search_)
    hidden = kc.fit(data, kc.SampledRNN(20, cyclic=np.array(["pos", "vel"])))
    assert hidden.cyclic_ == kc.load(hidden.save(tmp_path / "hidden")).cyclic_ == ("pos", "vel")


def test_the_default_search_varies_ridge_and_width():
    """Of every kind that has a width, the default lift's included; of several models the best is taken."""
    data = oscillator(8, 40)
    trials = quiet(horizon=5).run(
        data, [kc.SampledRNN(30), kc.EDMDc(), kc.EDMDc(kc.ThinPlate(15)), kc.EDMDc(kc.Identity())]
    )
    tried = {(t.kind, *(str(v) for k, v in t.params.items() if k != "ridge")) for t in trials.trials}
    assert len({trial.params["ridge"] for trial in trials.trials}) >= 15
    lifts = {f"SampledFeatures(n_features={n})" for n in (33, 48)} | {"10", "15", "45"}
    assert {key[1] for key in tried if key[0] == "SampledRNN"} == {"10", "30", "48"}
    assert {key[1] for key in tried if key[0] == "EDMDc" and len(key) == 2} == lifts and ("EDMDc",) in tried
    best = kc.fit(
        data, [kc.SampledRNN(30), kc.EDMDc(kc.Polynomial(3), inputs="bilinear")], search=quiet({"ridge": [1e-9]})
    )
    assert isinstance(best, kc.EDMDc) and best.search_.trials[0].score <= best.search_.trials[1].score
    assert "model" in str(best.search_).splitlines()[1]


def test_a_parameter_is_varied_where_it_exists():
    """In a mixed search each kind keeps to its own parameters."""
    grid = {"n_features": [5, 10], "lift__degree": [2, 3], "ridge": [1e-6]}
    trials = quiet(grid, horizon=5).run(oscillator(6, 30), [kc.SampledRNN(), kc.EDMDc(kc.Polynomial(2))])
    assert sorted((t.kind, t.params.get("n_features", t.params.get("lift__degree"))) for t in trials.trials) == [
        ("EDMDc", 2), ("EDMDc", 3), ("SampledRNN", 5), ("SampledRNN", 10)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("grid", "error", "said"),
    [
        ({"ridg": [1.0]}, UnknownNameError, "did you mean 'ridge'"),
        ({"lift__n_features": [3]}, UnknownNameError, "SampledRNN"),
        ({"ridge": 1e-3}, DataError, "list of values"),
        ({"ridge": []}, DataError, "list of values"),
        ({"activation": "relu"}, DataError, "list of values"),
        ({"ridge": ["small"]}, DataError, "ridge is 'small'"),
        ({"ridge": [-1.0]}, DataError, "ridge is -1"),
        ([("ridge", 1.0)], DataError, "by parameter name"),
        ("best", DataError, "'auto'"),
    ],
)
def test_a_grid_is_checked(grid, error, said):
    """Before anything is fitted."""
    with pytest.raises(error, match=said):
        kc.fit(oscillator(), kc.SampledRNN(5), search=grid)


def test_when_nothing_works_the_reasons_are_told():
    """Each of them once."""
    with pytest.raises(DataError, match=r"rolled out: activation='sine'.* random; n_features is 0; it .* >= 1\.$"):
        models = [kc.SampledRNN(0), kc.SampledRNN(0, delays=1), kc.SampledRNN(activation="sine")]
        quiet({"ridge": [1.0, 1e-3]}).run(oscillator(), models)
    with pytest.raises(DataError, match="no models to try"):
        quiet().run(oscillator(), [])


def test_some_candidates_may_fail():
    """The others are judged, and each failure says why."""
    trials = quiet({"n_features": [0, 10], "ridge": [1e-6]}).run(oscillator(), [kc.SampledRNN()])
    assert trials.best.params["n_features"] == 10 and trials.best.failed == ""
    assert trials.trials[1].score == np.inf and "n_features is 0" in trials.trials[1].failed


@pytest.mark.parametrize(
    ("name", "value"),
    [("horizon", 0), ("held_out", 0.0), ("held_out", 1.0), ("held_out", "half"), ("seed", -1), ("seed", None)],
)
def test_the_settings_are_checked(name, value):
    """A share is between 0 and 1, a horizon a whole number."""
    with pytest.raises(DataError, match=f"{name} is"):
        quiet(**{name: value}).run(oscillator(), [kc.SampledRNN(5)])


def test_a_search_needs_all_of_the_data():
    """A list of rollouts is joined; an iterator cannot be held out from."""
    parts = [oscillator(3, 30, seed=k) for k in range(2)]
    listed = kc.fit(parts, kc.SampledRNN(10), search=quiet({"ridge": [1e-6]}))
    assert listed._learnt_.n == 180
    with pytest.raises(DataError, match="needs the rollouts at once"):
        kc.fit(iter(parts), kc.SampledRNN(10), search=quiet({"ridge": [1e-6]}))
    with pytest.raises(DataError, match="2 models were given"):
        kc.fit(parts[0], [kc.SampledRNN(), kc.EDMDc()])


# ------------------------------------------------------------------ scikit-learn
def test_scikit_learns_search_keeps_episodes_whole(monkeypatch):
    """Every fold fits and scores lists of whole recorded episodes; nested parameters are reached by name."""
    data, seen = oscillator(9, 30), []
    fit, whole = Learner.fit, {x.tobytes() for x in data.X}
    monkeypatch.setattr(Learner, "fit", lambda self, r, y=None, **k: (seen.append(r), fit(self, r, y, **k))[1])
    search = GridSearchCV(kc.EDMDc(kc.SampledFeatures()), {"ridge": [1e-2, 1e-9], "lift__n_features": [5, 20]}, cv=3)
    search.fit(data)
    assert len(seen) == 4 * 3 + 1
    for part in seen[:-1]:
        episodes = [x.tobytes() for rollouts in part for x in rollouts.X]
        assert len(episodes) == 6 and set(episodes) <= whole
    by_hand = []
    for chosen, held in KFold(3).split(np.arange(9)):
        model = kc.EDMDc(
            kc.SampledFeatures(search.best_params_["lift__n_features"]), ridge=search.best_params_["ridge"]
        )
        by_hand.append(model.fit(data[chosen.tolist()]).score(data[held.tolist()]))
    assert search.best_score_ == pytest.approx(np.mean(by_hand), rel=1e-9)
    assert search.best_estimator_.step([0.1, 0.2], [0.0, 0.0]).shape == (2,)


def test_models_follow_scikit_learns_grammar():
    """clone, get_params and set_params round-trip; cross_val_score takes Rollouts."""
    model = kc.EDMDc(kc.SampledFeatures(7, random_state=3), ridge=1e-5, delays=2)
    twin = clone(model.fit(oscillator()))
    assert not hasattr(twin, "window_") and twin.lift is not model.lift and repr(twin) == repr(model)
    twin.set_params(lift__n_features=9, ridge=0.5)
    assert twin.lift.n_features == 9 and twin.get_params()["ridge"] == 0.5 and model.lift.n_features == 7
    scores = cross_val_score(kc.SampledRNN(30, ridge=1e-8), oscillator(8, 40), cv=4)
    assert scores.shape == (4,) and (scores > 0.85).all()
    with pytest.raises(KoopctlError):
        cross_val_score(kc.SampledRNN(30), np.zeros((8, 2)), cv=2, error_score="raise")

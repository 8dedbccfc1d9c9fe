"""Hidden units that know nothing of the data: an extreme learning machine, wherever sampled units do."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import central_differences, oscillator

import koopctl as kc
from koopctl.features.sampled import SampledFeatures

DATA, OTHER = oscillator(20, 40), oscillator(10, 40, seed=1)
rng = np.random.default_rng(0)
W, F = rng.normal(size=(300, 3)), rng.normal(size=(300, 2))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_units_do_not_depend_on_the_data(activation):
    """Any data of three columns gives the same bytes, even a single point; another seed gives others."""
    one = SampledFeatures(50, "random", activation, 3).fit(W, F)
    for points, targets in ((5 * W[:10] + 7, F[:10]), (np.zeros((1, 3)), np.zeros((1, 1)))):
        other = SampledFeatures(50, "random", activation, 3).fit(points, targets)
        assert other.weights_.tobytes() == one.weights_.tobytes() and other.biases_.tobytes() == one.biases_.tobytes()
    assert not np.array_equal(SampledFeatures(50, "random", activation, 4).fit(W, F).weights_, one.weights_)


@pytest.mark.parametrize("n_in", [1, 3, 20])
def test_the_weights_are_as_the_docstring_says(n_in):
    """Standard normal over 2 sqrt(nw): deviation and tails; biases uniform within +-1."""
    lift = SampledFeatures(4000, "random").fit(np.zeros((2, n_in)), np.zeros((2, 1)))
    unit = 2 * np.sqrt(n_in) * lift.weights_
    assert lift.weights_.shape == (n_in, 4000)
    assert unit.mean() == pytest.approx(0.0, abs=0.05) and unit.std() == pytest.approx(1.0, abs=0.03)
    assert np.mean(np.abs(unit) > 1.96) == pytest.approx(0.05, abs=0.012)
    assert np.abs(lift.biases_).max() <= 1.0 and lift.biases_.std() == pytest.approx(1 / np.sqrt(3), abs=0.02)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_features_and_derivatives(activation):
    """By the formula, and by central differences off the kinks of ReLU."""
    lift = SampledFeatures(30, "random", activation).fit(W, F)
    inside = W[:5] @ lift.weights_ + lift.biases_
    assert lift.transform(W[:5]) == pytest.approx(np.tanh(inside) if activation == "tanh" else np.maximum(inside, 0))
    slopes = lift.jacobian(W[:5])
    for w, slope, where in zip(W, slopes, inside, strict=False):
        expected = central_differences(lambda v: lift.transform(v[None])[0], w)
        smooth = np.abs(where) > 1e-4
        assert slope[smooth] == pytest.approx(expected[smooth], abs=1e-7)


def test_it_learns_about_as_well_as_drawn_pairs():
    """On a smooth plant the outer layer makes up for what the units do not know."""
    errors = [1.0 - kc.SampledRNN(150, sampling=how).fit(DATA).score(OTHER, 20) for how in ("random", "gradient")]
    assert errors[0] < 1e-4 and errors[1] < 1e-4


@pytest.mark.parametrize("template", [kc.SampledRNN(40, sampling="random"), kc.EDMDc(SampledFeatures(40, "random"))])
def test_files_streams_and_updates_go_on(template, tmp_path):
    """Save and load, `partial_fit` and `update`: all as with the other ways of drawing."""
    model = kc.fit(DATA, template)
    x, U = model.encode(OTHER.X[0][0]), OTHER.U[0]
    again = kc.load(model.save(tmp_path / "m"))
    assert np.array_equal(again.predict(x, U), model.predict(x, U))
    assert again.get_params()[next(k for k in again.get_params() if k.endswith("sampling"))] == "random"
    before = model.score(OTHER, 5)
    again.partial_fit(OTHER)
    assert again.score(OTHER, 5) > before
    again.update(x, U[0], model.encode(OTHER.X[0][1]))


def test_a_search_chooses_between_the_ways_of_drawing():
    """As one parameter among others, in the network and in a lift."""
    model = kc.fit(DATA, kc.SampledRNN(30), search={"sampling": ["gradient", "uniform", "random"]})
    assert {trial.params["sampling"] for trial in model.search_.trials} == {"gradient", "uniform", "random"}
    assert all(np.isfinite(trial.score) for trial in model.search_.trials)
    lifted = kc.fit(DATA, kc.EDMDc(SampledFeatures(20)), search={"lift__sampling": ["random", "uniform"]})
    assert len(lifted.search_.trials) == 2


@pytest.mark.parametrize("over", ["layers", "episodes"])
def test_an_ensemble_spreads(over, tmp_path):
    """Over layers each member has units of its own, over episodes all share them; both through a file."""
    members = kc.ensemble(DATA, kc.SampledRNN(40, sampling="random"), 4, over)
    x, U = members.model.encode(OTHER.X[0][0]), OTHER.U[0][:10]
    assert (members.spread(x, U)[1:] > 0).all()
    first, second = (member.features_.weights_ for member in members.members[:2])
    assert np.array_equal(first, second) == (over == "episodes")
    assert np.array_equal(kc.load(members.save(tmp_path / "e")).spread(x, U), members.spread(x, U))


def test_a_law_runs_on_it():
    """RelinearizedMPC on the network."""
    law = kc.design(kc.SampledRNN(60, sampling="random").fit(DATA), kc.Task(target=0.0, Q=1.0, R=0.1, horizon=10))
    assert law([0.3, -0.2])[1]["status"] == "solved"


def test_an_unknown_way_is_refused_by_name():
    """The text lists all three."""
    with pytest.raises(kc.KoopctlError, match="gradient, uniform, random"):
        kc.SampledRNN(10, sampling="elm").fit(DATA)

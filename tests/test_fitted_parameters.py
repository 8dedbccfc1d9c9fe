"""Parameters set after a fit are those of the next one: the fitted model, and its file, stay what they are."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

import koopctl as kc
from koopctl.errors import DataError

pytest.importorskip("equinox"), pytest.importorskip("optax"), pytest.importorskip("reservoirpy")

from koopctl.models.recurrent import RNN, Training  # noqa: E402  they need what is asked for above
from koopctl.models.recurrent.stretches import split  # noqa: E402

DATA = oscillator(6, 40)
SMALL = {"washout": 4, "horizon": 4, "batch": 4, "steps": 2, "check": 1}


def window(delays: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first window of the data."""
    return DATA.X[0][: delays + 1], DATA.U[0][:delays]


@pytest.fixture(scope="module")
def network() -> RNN:
    """A network that has hardly been trained."""
    return RNN(4, training=SMALL).fit(DATA)


@pytest.mark.parametrize(
    "changed", [{"training": SMALL | {"washout": 7}}, {"n_hidden": 9}, {"training__washout": 6, "training__steps": 5}]
)
def test_a_network_is_saved_as_it_was_fitted(network, changed, tmp_path):
    """Another width or washout neither shows in the model nor in what is read back."""
    state = network.encode(*window(4))
    before = network.get_params(deep=False)
    try:
        network.set_params(**changed)
        assert network.delays == network.window_.delays == 4
        again = kc.load(network.save(tmp_path / "model.npz"))
    finally:
        network.set_params(**before)
    assert again.n_hidden == 4 and again.delays == 4
    assert again.encode(*window(4)) == pytest.approx(state, abs=1e-12)
    twice = kc.load(again.save(tmp_path / "twice.npz"))
    assert twice.encode(*window(4)) == pytest.approx(state, abs=1e-12)


def test_a_reservoir_is_saved_as_it_was_fitted(tmp_path):
    """Washout and leak of the fit; more motion is added with that washout, too."""
    model = kc.EchoState(20, washout=10, leak=0.7).fit(DATA)
    state = model.encode(*window(10))
    model.set_params(washout=3, leak=0.2)
    assert model.delays == 10
    again = kc.load(model.save(tmp_path / "model.npz"))
    assert (again.washout, again.leak) == (10, 0.7)
    assert again.encode(*window(10)).tobytes() == state.tobytes()
    assert model.partial_fit(oscillator(3, 40, seed=5)).delays == 10


def test_settings_of_a_training_are_parameters():
    """As scikit-learn's grammar has them: listed, set one by one, chosen by a search."""
    model = RNN(4, training=SMALL)
    assert model.get_params()["training__washout"] == 4 and "training__washout" not in model.get_params(deep=False)
    assert model.set_params(training__learning_rate=0.01).training == Training(**SMALL, learning_rate=0.01)
    search = kc.Search({"training__learning_rate": [1e-3, 1e-2]}, horizon=3, progress=False)
    found = kc.fit(DATA, RNN(4, training=SMALL), search=search)
    assert found.training.learning_rate in (1e-3, 1e-2) and len(found.search_.trials) == 2


@pytest.mark.parametrize("training", [{"foo": 1}, "long", 3, [("washout", 4)]])
def test_what_is_no_training_is_refused(training):
    """With the names of what there is."""
    with pytest.raises(DataError, match="mapping of some of washout, horizon"):
        RNN(4, training=training).fit(DATA)
    with pytest.raises(DataError, match="mapping of some of washout, horizon"):
        RNN(4).set_params(training__foo=1)


def test_a_reservoirs_washout_is_called_by_its_name():
    """Whoever never heard of delays cannot lower them."""
    with pytest.raises(DataError, match=r"washout=50 needs .* lower washout"):
        kc.EchoState(20, washout=50).fit(DATA)


@pytest.mark.parametrize("seed", range(6))
def test_only_episodes_that_hold_a_stretch_are_held_out(seed):
    """Whatever the seed; short ones stay with the training data."""
    X = [np.zeros((k, 1)) + k for k in (41, 11, 41, 11, 41, 11)]
    data = kc.Rollouts(X, [np.zeros((len(x) - 1, 0)) for x in X], 0.1)
    train, held_out = split(data, 0.4, seed, length=21)
    assert [len(x) for x in held_out.X] == [41] and sorted(len(x) for x in train.X) == [11, 11, 11, 41, 41]


def test_of_one_long_episode_the_end_is_held_out_as_long_as_it_must_be():
    """Both parts hold a stretch; where they cannot, the words say so."""
    data = kc.Rollouts([np.arange(41.0)[:, None], np.ones((4, 1))], [np.zeros((40, 0)), np.zeros((3, 0))], 0.1)
    train, held_out = split(data, 0.1, 0, length=15)
    assert held_out.X[0][:, 0].tolist() == list(range(26, 41)) and train.X[0][:, 0].tolist() == list(range(27))
    assert len(train) == 2
    with pytest.raises(DataError, match="41 samples alone holds stretches of 30, and it must hold two"):
        split(data, 0.1, 0, length=30)
    with pytest.raises(DataError, match="no episode holds 50 samples, the longest has 41"):
        split(data, 0.1, 0, length=50)

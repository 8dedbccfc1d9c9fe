"""Coordinates the motion does not depend on: found on a cart's track, not where a spring holds it, and never read."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import pendulum

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, UnknownNameError
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.fitting import fit
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.store import load


def cart(spring: float = 0.0, noise: float = 0.0, seed: int = 0) -> Rollouts:
    """Return a cart with nonlinear friction on a track, 600 transitions; a spring makes its place matter."""
    rng = np.random.default_rng(seed)
    X, U = [], []
    for _ in range(15):
        pos, vel = rng.uniform(-1, 1, size=2)
        inputs, path = rng.uniform(-1, 1, size=(40, 1)), [(pos, vel)]
        for u in inputs[:, 0]:
            pos, vel = pos + 0.1 * vel, vel + 0.1 * (u * (1 + vel**2) - np.tanh(2 * vel) - spring * pos)
            path.append((pos, vel))
        X.append(np.array(path) + noise * rng.normal(size=(41, 2)))
        U.append(inputs)
    return Rollouts(X, U, 0.1, ["pos", "vel"], ["force"])


MODELS = [
    SampledRNN(40, ridge=1e-8),
    EDMDc(SampledFeatures(30), inputs="bilinear", ridge=1e-8),
    EDMDc(Identity(), inputs="bilinear", ridge=1e-8),
]


@pytest.mark.parametrize("model", MODELS, ids=["network", "bilinear", "dmdc"])
def test_the_place_on_a_level_track_is_not_seen(model):
    """Found and said; elsewhere on the track the same increments, the same Jacobian, nothing outside the data."""
    fitted = fit(cart(), model)
    assert fitted.cyclic_ == ("pos",)
    assert any("does not depend on pos" in note for note in fitted.notes_)
    x, far, u = np.array([0.1, 0.3]), np.array([1e3, 0.3]), np.array([0.5])
    assert fitted.step(far, u) - far == pytest.approx(fitted.step(x, u) - x, abs=1e-9)
    (A, B), (A_far, B_far) = fitted.linearize(x, u), fitted.linearize(far, u)
    assert A == pytest.approx(A_far, abs=1e-12) and B == pytest.approx(B_far, abs=1e-12)
    assert np.array_equal(A[:, 0], [1.0, 0.0])
    assert fitted.excess(far[None])[0] == fitted.excess(x[None])[0] == 0.0
    assert fitted.excess(np.array([[0.0, 1e3]]))[0] > 100
    paths = [fitted.predict(start, np.full((9, 1), 0.4), relift=False) for start in (x, far)]
    assert paths[1] - paths[0] == pytest.approx(np.tile(far - x, (10, 1)), abs=1e-8)


@pytest.mark.parametrize("data", [cart(spring=1.0), cart(noise=0.1), pendulum(20)], ids=["spring", "noise", "pendulum"])
def test_what_matters_or_cannot_be_told_is_kept(data):
    """A spring, data too noisy to show an absence, a plant without such a coordinate."""
    assert fit(data, SampledRNN(20, ridge=1e-8)).cyclic_ == ()


def test_delays_and_little_data_leave_everything_in():
    """Differences of lags carry the velocity; a handful of samples shows nothing."""
    assert fit(cart(), SampledRNN(20, delays=1, ridge=1e-8)).cyclic_ == ()
    assert fit(cart()[:5], SampledRNN(20, ridge=1e-8)).cyclic_ == ()


def test_names_decide_where_they_are_given():
    """Asked for although it matters, kept although it does not; wrong names and angles are refused."""
    assert fit(cart(spring=1.0), SampledRNN(20, cyclic=["pos"])).cyclic_ == ("pos",)
    assert fit(cart(), SampledRNN(20, cyclic=())).cyclic_ == ()
    assert fit(cart(), SampledRNN(20, cyclic=np.array(["pos", "vel"]))).cyclic_ == ("pos", "vel")
    hidden = fit(cart(), SampledRNN(20, delays=2, cyclic=("pos",)))
    x = np.random.default_rng(1).normal(size=hidden.nx)
    moved = x + np.array([5.0, 0, 5.0, 0, 5.0, 0, 0, 0])
    assert hidden.step(moved, [0.3]) - moved == pytest.approx(hidden.step(x, [0.3]) - x, abs=1e-9)
    with pytest.raises(UnknownNameError, match="cyclic coordinate 'position'; did you mean 'pos'"):
        fit(cart(), SampledRNN(20, cyclic=["position"]))
    with pytest.raises(UnknownNameError, match="cyclic coordinate 'theta'"):
        fit(pendulum(), SampledRNN(20, cyclic=["theta"]))
    with pytest.raises(DataError, match="cyclic is 'pos'"):
        fit(cart(), SampledRNN(20, cyclic="pos"))


@pytest.mark.parametrize("model", MODELS, ids=["network", "bilinear", "dmdc"])
def test_it_survives_files_order_and_more_data(tmp_path, model):
    """Loaded, permuted, and taught on: still not seen."""
    data = cart()
    fitted = fit(data, model)
    loaded = load(fitted.save(tmp_path / "m.npz"))
    X, U = np.random.default_rng(2).normal(size=(9, 2)), np.zeros((9, 1))
    assert loaded.cyclic_ == ("pos",) and loaded.step(X, U).tobytes() == fitted.step(X, U).tobytes()
    assert np.array_equal(loaded.excess(X), fitted.excess(X))
    shuffled = fit(data[np.random.default_rng(3).permutation(15).tolist()], model)
    assert shuffled.cyclic_ == ("pos",) and shuffled.step(X, U) == pytest.approx(fitted.step(X, U), abs=1e-6)
    more = loaded.partial_fit(cart(spring=1.0, seed=5))
    assert more.cyclic_ == ("pos",) and np.array_equal(more.linearize(X[0], U[0])[0][:, 0], [1.0, 0.0])

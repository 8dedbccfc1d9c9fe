"""The state-regularised network: its equations over both base cells, and states that stay among their centroids."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.errors import DataError  # noqa: E402
from koopctl.models.recurrent import StateRegularisedRNN  # noqa: E402
from koopctl.models.recurrent.gru import GRUCell  # noqa: E402
from koopctl.models.recurrent.rnn import RNNCell  # noqa: E402
from koopctl.models.recurrent.state_regularised import StateRegularisedCell  # noqa: E402

N_IN, UNITS, CENTROIDS = 3, 4, 6
QUICK = {"steps": 300, "check": 20, "batch": 8, "washout": 6, "horizon": 8, "learning_rate": 0.01}


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


def cell_of(rng: np.random.Generator, base: str, temperature: float = 0.8) -> StateRegularisedCell:
    """Return a cell all of whose numbers are drawn anew, and large."""
    own = np.random.default_rng(0)
    inner = GRUCell(N_IN, UNITS, 20.0, own) if base == "gru" else RNNCell(N_IN, UNITS, own)
    cell = StateRegularisedCell(inner, CENTROIDS, temperature, own)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), cell)


def published(cell: StateRegularisedCell, base: str, h: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the next state from the equations of the base cell and of the mixture."""
    inner, S = jax.tree.map(np.array, cell.base), np.array(cell.centroids)
    if base == "tanh":
        u = np.tanh(inner.W @ x + inner.V @ h + inner.b)
    else:
        (Wz, Wr, Wn), (Vz, Vr, Vn), (bz, br, bn) = inner.W, inner.V, inner.b
        z, r = (1 / (1 + np.exp(-(W @ x + V @ h + b))) for W, V, b in ((Wz, Vz, bz), (Wr, Vr, br)))
        u = (1 - z) * np.tanh(Wn @ x + bn + r * (Vn @ h + inner.c)) + z * h
    weight = np.array([np.exp(u @ s / cell.temperature) for s in S])
    return sum(w * s for w, s in zip(weight, S, strict=True)) / weight.sum()


@pytest.mark.parametrize("base", ["gru", "tanh"])
def test_it_is_the_published_equation(base: str):
    """Step after step."""
    rng = np.random.default_rng(0)
    cell = cell_of(rng, base)
    h, expected, step = cell.start(), np.zeros(UNITS), jax.jit(lambda h, s: cell(h, s, None))
    for s in rng.normal(size=(10, N_IN)):
        h, expected = step(h, s), published(cell, base, expected, s)
        assert np.array(h) == pytest.approx(expected, abs=1e-13)


def test_states_are_mixtures_of_the_centroids():
    """However far away the last state and the sample: no state drifts off, and nothing overflows."""
    rng = np.random.default_rng(1)
    cell = cell_of(rng, "gru")
    S = np.array(cell.centroids)
    for size in (1.0, 1e3, 1e6):
        h, s = jnp.asarray(size * rng.normal(size=UNITS)), jnp.asarray(size * rng.normal(size=N_IN))
        share, after = np.array(cell.shares(h, s)), np.array(cell(h, s, None))
        assert share.min() >= 0.0 and share.sum() == pytest.approx(1.0)
        assert after == pytest.approx(share @ S)
        assert (S.min(axis=0) - 1e-12 <= after).all() and (after <= S.max(axis=0) + 1e-12).all()


def test_temperature_goes_from_the_mean_to_a_single_centroid():
    """Cold, the state is the centroid that fits best and there are finitely many; hot, it is their mean."""
    cold, hot = (cell_of(np.random.default_rng(2), "tanh", t) for t in (1e-9, 1e9))
    S, rng = np.array(cold.centroids), np.random.default_rng(3)
    h, visited = cold.start(), set()
    step = jax.jit(lambda h, s: (cold.base(h, s, None), cold(h, s, None)))
    for s in 3.0 * rng.normal(size=(30, N_IN)):
        u, h = step(h, s)
        best = int(np.argmax(S @ np.array(u)))
        assert np.array(h) == pytest.approx(S[best], abs=1e-12)
        visited.add(best)
    assert 1 < len(visited) <= CENTROIDS
    assert np.array(hot(h, jnp.asarray(s), None)) == pytest.approx(S.mean(axis=0), abs=1e-6)


def test_the_tanh_network_trains_too():
    """Its states, made of measurements, are mixtures of its centroids."""
    data = oscillator(6, 30)
    model = StateRegularisedRNN(4, training=QUICK | {"steps": 20}, n_centroids=3, base="tanh").fit(data)
    h, S = model.window_.states(data.X[0], data.U[0])[:, 2:], model.network_.cell.centroids
    share = np.linalg.lstsq(np.vstack([S.T, np.ones(3)]), np.vstack([h.T, np.ones(len(h))]), rcond=None)[0]
    assert share.T @ S == pytest.approx(h, abs=1e-9) and share.min() > 0.0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"n_centroids": 1}, "n_centroids is 1"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": np.inf}, "temperature is inf"),
        ({"base": "lstm"}, "base is 'lstm'.*'gru', 'tanh'"),
    ],
)
def test_bad_options_are_named(options: dict, why: str):
    """With what is offered."""
    with pytest.raises(DataError, match=why):
        StateRegularisedRNN(4, training=QUICK, **options).fit(oscillator(4, 30))

"""RNN(p): its equation on a whole sequence, its lags, the networks it contains."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.errors import DataError  # noqa: E402
from koopctl.models.recurrent import RNNp  # noqa: E402
from koopctl.models.recurrent.rnn import RNNCell  # noqa: E402
from koopctl.models.recurrent.rnn_p import RNNpCell  # noqa: E402
from koopctl.store import load  # noqa: E402

N_IN, UNITS = 2, 4
QUICK = {"steps": 100, "check": 20, "batch": 8, "washout": 6, "horizon": 8, "learning_rate": 0.01}


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


def cell_of(rng: np.random.Generator, p: int, hidden: bool) -> RNNpCell:
    """Return a cell with random weights."""
    cell = RNNpCell(N_IN, UNITS, p, hidden, np.random.default_rng(0))
    return jax.tree.map(lambda part: jnp.asarray(rng.normal(size=part.shape)), cell)


def published(W, V, b, S: np.ndarray) -> np.ndarray:
    """Return the units (T, n) after each sample, from the whole history, zero before it."""
    a, s = {k: np.zeros(len(b)) for k in range(-len(W), 1)}, {k: np.zeros(S.shape[1]) for k in range(-len(W), 0)}
    for k, seen in enumerate(S):
        s[k] = seen
        v = b.copy()
        for i in range(len(W)):
            v += W[i] @ s[k - i]
            if V is not None:
                v += V[i] @ a[k - i]
        a[k + 1] = np.tanh(v)
    return np.array([a[k + 1] for k in range(len(S))])


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("hidden", [True, False])
def test_it_is_the_equation(p: int, hidden: bool):
    """Over a sequence longer than the lags, buffer and all."""
    rng = np.random.default_rng(p)
    cell, S = cell_of(rng, p, hidden), rng.normal(size=(12, N_IN))
    expected = published(np.array(cell.W), None if cell.V is None else np.array(cell.V), np.array(cell.b), S)
    h = cell.start()
    assert h.shape == ((p if hidden else 1) * UNITS + (p - 1) * N_IN,)
    for s, a in zip(S, expected, strict=True):
        h = cell(h, jnp.asarray(s), None)
        assert h.shape == (cell.n_hidden,) and np.array(cell.readout(h)) == pytest.approx(a, abs=1e-13)


def test_one_lag_is_the_plain_network():
    """With the same weights."""
    rng = np.random.default_rng(1)
    cell, plain = cell_of(rng, 1, True), RNNCell(N_IN, UNITS, np.random.default_rng(0))
    plain = eqx.tree_at(lambda c: (c.W, c.V, c.b), plain, (cell.W[0], cell.V[0], cell.b))
    h, s = jnp.asarray(rng.normal(size=UNITS)), jnp.asarray(rng.normal(size=N_IN))
    assert np.array(cell(h, s, None)) == pytest.approx(np.array(plain(h, s, None)), abs=1e-14)


def test_fed_with_outputs_it_forgets_after_p_samples():
    """An autoregression: what was seen p samples ago and before cannot matter; fed with hidden units it does."""
    rng = np.random.default_rng(2)
    S, other = rng.normal(size=(2, 9, N_IN))
    other[-3:] = S[-3:]
    for hidden in (True, False):
        cell = cell_of(rng, 3, hidden)
        ends = []
        for sequence in (S, other):
            h = cell.start()
            for s in sequence:
                h = cell(h, jnp.asarray(s), None)
            ends.append(np.array(cell.readout(h)))
        assert np.array_equal(*ends) is not hidden


def test_it_starts_near_no_growth():
    """The lags share what one orthogonal matrix would hand on."""
    cell = RNNpCell(N_IN, UNITS, 3, True, np.random.default_rng(1))
    for V in np.array(cell.V):
        assert V.T @ V == pytest.approx(np.eye(UNITS) / 9, abs=1e-12)


def test_fed_with_outputs_it_learns_too(tmp_path):
    """And comes back from its file."""
    model = RNNp(5, training=QUICK, p=3, feedback="output").fit(oscillator(10, 40))
    assert model.nx == 2 + 5 + 2 * 4 and min(model.history_.error) < 0.9 * model.history_.error[0]
    x = model.window_.states(oscillator(1, 10).X[0], oscillator(1, 10).U[0])[0]
    twin = load(model.save(tmp_path / "model"))
    assert twin.feedback == "output" and np.array_equal(twin.step(x, [0.1, 0.2]), model.step(x, [0.1, 0.2]))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"p": 0}, "p is 0"),
        ({"p": 1.5}, "p is 1.5"),
        ({"p": 7}, "p is 7 but a state is made of 6 samples"),
        ({"feedback": "state"}, "feedback is 'state'"),
    ],
)
def test_bad_options_are_named(options: dict, why: str):
    """With what they may be."""
    with pytest.raises(DataError, match=why):
        RNNp(4, training=QUICK, **options).fit(oscillator(4, 30))

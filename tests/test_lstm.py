"""Long short-term memory: its equations, another implementation of them, its gates at the start."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.models.recurrent.lstm import LSTMCell  # noqa: E402

N_IN, UNITS = 3, 5


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


def cell_of(rng: np.random.Generator) -> LSTMCell:
    """Return a cell with weights so large that no gate is linear."""
    cell = LSTMCell(N_IN, UNITS, 20.0, np.random.default_rng(0))
    drawn = [jnp.asarray(rng.normal(size=part.shape)) for part in (cell.W, cell.V, cell.b)]
    return eqx.tree_at(lambda c: (c.W, c.V, c.b), cell, drawn)


def published(W, V, b, a: np.ndarray, c: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the next hidden and cell state, unit by unit."""

    def sigmoid(v):
        return 1.0 / (1.0 + np.exp(-v))

    a_next, c_next = np.empty_like(a), np.empty_like(c)
    for j in range(len(a)):
        i, f, o, g = (sum(W[k][j] * s) + sum(V[k][j] * a) + b[k][j] for k in range(4))
        c_next[j] = sigmoid(f) * c[j] + sigmoid(i) * np.tanh(g)
        a_next[j] = sigmoid(o) * np.tanh(c_next[j])
    return a_next, c_next


def test_it_is_the_published_equation():
    """From random states, to the last digits; what is read out is the first half of the state."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        cell, a, c, s = cell_of(rng), rng.normal(size=UNITS), rng.normal(size=UNITS), rng.normal(size=N_IN)
        expected = published(*(np.array(part) for part in (cell.W, cell.V, cell.b)), a, c, s)
        h = cell(jnp.concatenate([a, c]), jnp.asarray(s), None)
        assert np.array(h) == pytest.approx(np.concatenate(expected), abs=1e-14)
        assert np.array_equal(cell.readout(h), h[:UNITS])


def test_equinoxs_unit_with_the_same_weights_remembers_the_same():
    """Over a long sequence; Equinox has the gates in the order i, f, g, o."""
    rng = np.random.default_rng(1)
    cell, other = cell_of(rng), eqx.nn.LSTMCell(N_IN, UNITS, key=jax.random.key(0))
    order = np.array([0, 1, 3, 2])
    W, V, b = (part[order].reshape(4 * UNITS, -1) for part in (cell.W, cell.V, cell.b))
    other = eqx.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias), other, (W, V, b[:, 0]))
    h, pair = cell.start(), (jnp.zeros(UNITS), jnp.zeros(UNITS))
    for s in rng.normal(size=(100, N_IN)):
        h, pair = cell(h, jnp.asarray(s), None), other(jnp.asarray(s), pair)
        assert np.array(h) == pytest.approx(np.concatenate(pair), abs=1e-12)


def test_gates_start_at_the_time_constants():
    """Each unit forgets over 2 to `longest` samples where nothing else speaks, and takes in what it forgets."""
    cell = LSTMCell(N_IN, 500, 30.0, np.random.default_rng(1))
    i, f = (1.0 / (1.0 + np.exp(-np.array(b))) for b in cell.b[:2])
    lasting = 1.0 / (1.0 - f)
    assert lasting.min() >= 2.0 and lasting.max() <= 30.0
    assert lasting.mean() == pytest.approx(16.0, abs=1.5) and lasting.std() == pytest.approx(28 / 12**0.5, abs=1.0)
    assert i + f == pytest.approx(1.0)

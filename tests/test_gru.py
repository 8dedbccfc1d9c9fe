"""The gated recurrent unit: its equations, another implementation of them, its gates at the start."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.models.recurrent.gru import GRUCell  # noqa: E402

N_IN, UNITS = 3, 5


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


def cell_of(rng: np.random.Generator) -> GRUCell:
    """Return a cell with weights so large that no gate is linear."""
    cell = GRUCell(N_IN, UNITS, 20.0, np.random.default_rng(0))
    drawn = [jnp.asarray(rng.normal(size=part.shape)) for part in (cell.W, cell.V, cell.b, cell.c)]
    return eqx.tree_at(lambda c: (c.W, c.V, c.b, c.c), cell, drawn)


def published(W, V, b, c, h: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return the next state, unit by unit."""

    def sigmoid(v):
        return 1.0 / (1.0 + np.exp(-v))

    after = np.empty_like(h)
    for i in range(len(h)):
        z = sigmoid(sum(W[0][i] * s) + sum(V[0][i] * h) + b[0][i])
        r = sigmoid(sum(W[1][i] * s) + sum(V[1][i] * h) + b[1][i])
        n = np.tanh(sum(W[2][i] * s) + b[2][i] + r * (sum(V[2][i] * h) + c[i]))
        after[i] = (1 - z) * n + z * h[i]
    return after


def test_it_is_the_published_equation():
    """From random states, to the last digits."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        cell, h, s = cell_of(rng), rng.normal(size=UNITS), rng.normal(size=N_IN)
        weights = (np.array(part) for part in (cell.W, cell.V, cell.b, cell.c))
        assert np.array(cell(jnp.asarray(h), jnp.asarray(s), None)) == pytest.approx(
            published(*weights, h, s), abs=1e-14
        )


def test_equinoxs_unit_with_the_same_weights_remembers_the_same():
    """Over a long sequence; Equinox has the gates in the order r, z, n."""
    rng = np.random.default_rng(1)
    cell, other = cell_of(rng), eqx.nn.GRUCell(N_IN, UNITS, key=jax.random.key(0))
    order = np.array([1, 0, 2])
    W, V, b = (part[order].reshape(3 * UNITS, -1) for part in (cell.W, cell.V, cell.b))
    other = eqx.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n), other, (W, V, b[:, 0], cell.c))
    h = g = cell.start()
    for s in rng.normal(size=(100, N_IN)):
        h, g = cell(h, jnp.asarray(s), None), other(jnp.asarray(s), g)
        assert np.array(h) == pytest.approx(np.array(g), abs=1e-12)


def test_gates_start_at_the_time_constants():
    """Each unit forgets over 2 to `longest` samples where nothing else speaks, evenly spread."""
    cell = GRUCell(N_IN, 500, 30.0, np.random.default_rng(1))
    lasting = 1.0 + np.exp(np.array(cell.b[0]))  # 1 / (1 - sigmoid(b_z))
    assert lasting.min() >= 2.0 and lasting.max() <= 30.0
    assert lasting.mean() == pytest.approx(16.0, abs=1.5) and lasting.std() == pytest.approx(28 / 12**0.5, abs=1.0)


def test_its_state_is_a_mean_of_what_tanh_gave():
    """So that it stays within one, whatever the input."""
    rng = np.random.default_rng(2)
    cell = cell_of(rng)
    h = cell.start()
    for s in 50.0 * rng.normal(size=(100, N_IN)):
        h = cell(h, jnp.asarray(s), None)
    assert 0.5 < np.abs(h).max() <= 1.0

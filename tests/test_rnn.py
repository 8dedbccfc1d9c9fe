"""The plain recurrent network: its equation, its orthogonal start."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import central_differences, oscillator

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.models.recurrent import RNN, trainer  # noqa: E402
from koopctl.models.recurrent.rnn import RNNCell  # noqa: E402

N_IN, UNITS = 3, 5
QUICK = {"steps": 100, "check": 20, "batch": 8, "washout": 6, "horizon": 8, "learning_rate": 0.01}


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


def test_it_is_the_published_equation():
    """From random states, unit by unit."""
    rng = np.random.default_rng(0)
    cell = RNNCell(N_IN, UNITS, np.random.default_rng(0))
    W, V, b = (rng.normal(size=part.shape) for part in (cell.W, cell.V, cell.b))
    cell = eqx.tree_at(lambda c: (c.W, c.V, c.b), cell, (jnp.asarray(W), jnp.asarray(V), jnp.asarray(b)))
    for _ in range(5):
        h, s = rng.normal(size=UNITS), rng.normal(size=N_IN)
        expected = [np.tanh(sum(W[i] * s) + sum(V[i] * h) + b[i]) for i in range(UNITS)]
        assert np.array(cell(jnp.asarray(h), jnp.asarray(s), None)) == pytest.approx(expected, abs=1e-14)


def test_it_starts_orthogonal():
    """Small states are turned: neither they nor gradients shrink or grow."""
    cell = RNNCell(N_IN, UNITS, np.random.default_rng(1))
    assert np.array(cell.V.T @ cell.V) == pytest.approx(np.eye(UNITS), abs=1e-12)
    still = eqx.tree_at(lambda c: c.b, cell, jnp.zeros(UNITS))
    h = jnp.full(UNITS, 1e-6)
    for _ in range(100):
        h = still(h, jnp.zeros(N_IN), None)
    assert np.linalg.norm(h) == pytest.approx(1e-6 * UNITS**0.5, rel=1e-6)


@pytest.fixture(scope="module")
def model() -> RNN:
    """A small one, trained a little."""
    return RNN(6, training=QUICK).fit(oscillator(10, 40))


def test_its_held_out_error_falls(model):
    """By a third at least from what the first look found."""
    assert min(model.history_.error) < 0.7 * model.history_.error[0]


def test_its_jacobians_are_those_of_the_step(model):
    """By central differences, at a state with a memory."""
    data = oscillator(2, 30, seed=9)
    x, u = model.window_.states(data.X[0], data.U[0])[5], data.U[0][11]
    A, B = model.linearize(x, u)
    assert central_differences(lambda x: model.step(x, u), x) == pytest.approx(A, abs=1e-7)
    assert central_differences(lambda u: model.step(x, u), u) == pytest.approx(B, abs=1e-7)


def test_the_gradient_of_its_loss_is_finite(model):
    """Of every weight, and none of them is left out."""
    data, network = oscillator(1, 14), jax.tree.map(jnp.asarray, model.network_)
    Q, U = jnp.asarray(data.X[0]), jnp.asarray(np.vstack([data.U[0], np.zeros((1, 2))]))

    def loss(cell):
        whole = eqx.tree_at(lambda n: n.cell, network, cell)
        return trainer._loss(whole, Q, U, jax.random.key(0), model._settings())

    slope = eqx.filter_jit(eqx.filter_grad(loss))(network.cell)
    for part in (slope.W, slope.V, slope.b):
        assert np.isfinite(part).all() and np.abs(part).max(axis=tuple(range(1, part.ndim))).all()

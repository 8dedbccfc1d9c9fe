"""The plain recurrent network: its equation, its orthogonal start."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.models.recurrent.rnn import RNNCell  # noqa: E402

N_IN, UNITS = 3, 5


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

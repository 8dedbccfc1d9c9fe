"""Stacked undamped oscillators: the published step, its inverse in time, the volume it keeps, and the fitted model."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

from koopctl.errors import DataError

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

from koopctl.models.recurrent.unicornn import UnICORNN, UnICORNNCell  # noqa: E402

DATA = oscillator(10, 40)
QUICK = {"steps": 120, "check": 20, "batch": 16, "washout": 5, "horizon": 8, "learning_rate": 1e-2}
N_IN, UNITS, LAYERS = 3, 4, 3


def random_cell(damping: float = 0.0, alpha: float = 0.7, scale: float = 1.0):
    """Return three layers of four oscillators with random weights in double precision; call with x64 on."""
    rng = np.random.default_rng(3)
    cell = UnICORNNCell(N_IN, UNITS, LAYERS, 0.8, alpha, damping, np.random.default_rng(0))
    return jax.tree.map(lambda leaf: jax.numpy.asarray(scale * rng.normal(size=leaf.shape)), cell)


def published(cell, h, s):
    """Return the next state by the paper's equations, oscillator by oscillator."""
    y, z, below = h.reshape(LAYERS, 2, UNITS)[:, 0], h.reshape(LAYERS, 2, UNITS)[:, 1], s
    after = np.empty((LAYERS, 2, UNITS))
    for layer in range(LAYERS):
        V, w, b = (np.asarray(part[layer]) for part in (cell.V, cell.w, cell.b))
        for i in range(UNITS):
            step = 0.8 * (0.5 + 0.5 * np.tanh(float(cell.c[layer, i]) / 2))
            driven = np.tanh(w[i] * y[layer, i] + V[i] @ below + b[i])
            velocity = z[layer, i] - step * (driven + cell.alpha * y[layer, i] + cell.damping * z[layer, i])
            after[layer, 1, i], after[layer, 0, i] = velocity, y[layer, i] + step * velocity
        below = after[layer, 0]
    return after.ravel()


def undone(cell, h, s):
    """Return the state before an undamped step, from the state after it and the same input."""
    below, before = s, np.empty((LAYERS, 2, UNITS))
    for layer, (y, z) in enumerate(h.reshape(LAYERS, 2, UNITS)):
        V, w, b, c = (np.asarray(part[layer]) for part in (cell.V, cell.w, cell.b, cell.c))
        step = 0.8 / (1.0 + np.exp(-c))
        before[layer, 0] = y - step * z
        before[layer, 1] = z + step * (np.tanh(w * before[layer, 0] + V @ below + b) + cell.alpha * before[layer, 0])
        below = y
    return before.ravel()


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_one_step_is_the_published_one(damping):
    """With random weights, states and inputs; damping adds its term and nothing else."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        cell = random_cell(damping)
        for _ in range(5):
            h, s = rng.normal(size=cell.n_hidden), rng.normal(size=N_IN)
            after = np.asarray(cell(jax.numpy.asarray(h), jax.numpy.asarray(s), None))
            assert after == pytest.approx(published(cell, h, s), abs=1e-13)
            assert np.asarray(cell.readout(after)) == pytest.approx(after.reshape(LAYERS, 2, UNITS)[-1, 0])


def test_undamped_time_runs_backwards():
    """A hundred steps and back under the same inputs lead where they began, to rounding; damped ones do not."""
    rng = np.random.default_rng(1)
    inputs, start = rng.normal(size=(100, N_IN)), rng.normal(size=2 * LAYERS * UNITS)

    def there_and_back(cell):
        step, h = eqx.filter_jit(cell), start
        for s in inputs:
            h = np.asarray(step(h, s, None))
        for s in inputs[::-1]:
            h = undone(cell, h, s)
        return np.abs(h - start).max()

    with jax.enable_x64(True):
        assert there_and_back(random_cell(0.0)) < 1e-11
        assert there_and_back(random_cell(0.01)) > 1e-3


def test_undamped_steps_keep_volume():
    """The Jacobian's determinant is 1 whatever the state, and below 1 with damping."""
    rng = np.random.default_rng(2)
    h, s = rng.normal(size=2 * LAYERS * UNITS), rng.normal(size=N_IN)
    with jax.enable_x64(True):
        undamped, damped = (np.asarray(jax.jacfwd(random_cell(damping))(h, s, None)) for damping in (0.0, 0.2))
    assert np.linalg.det(undamped) == pytest.approx(1.0, abs=1e-12) and np.linalg.det(damped) < 0.9


def test_states_and_weights_are_single_where_training_is():
    """Nothing turns into double precision on the way."""
    cell = UnICORNNCell(N_IN, UNITS, LAYERS, 0.8, 0.7, 0.1, np.random.default_rng(0))
    h = cell(cell.start(), jax.numpy.ones(N_IN), None)
    assert {leaf.dtype for leaf in jax.tree.leaves(cell)} == {h.dtype} == {np.dtype(np.float32)}


@pytest.mark.parametrize("wrong", [{"n_layers": 0}, {"time_step": 0.0}, {"alpha": -1.0}, {"damping": float("nan")}])
def test_bad_arguments_are_named(wrong):
    """Before anything is trained."""
    with pytest.raises(DataError, match=next(iter(wrong))):
        UnICORNN(4, training=QUICK, **wrong).fit(DATA)

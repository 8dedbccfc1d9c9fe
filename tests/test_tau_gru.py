"""The tau-GRU: its equation on a whole sequence, its buffer, its derivatives, what it is bounded by."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.errors import DataError  # noqa: E402
from koopctl.models.recurrent import TauGRU  # noqa: E402
from koopctl.models.recurrent.tau_gru import TauGRUCell  # noqa: E402

N_IN, UNITS, LAG = 3, 4, 3
QUICK = {"steps": 300, "check": 20, "batch": 8, "washout": 6, "horizon": 8, "learning_rate": 0.01}


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


def cell_of(rng: np.random.Generator, *, lag: int = LAG, alpha: float = 0.7, beta: float = 0.9) -> TauGRUCell:
    """Return a cell with weights so large that no gate is linear."""
    cell = TauGRUCell(N_IN, UNITS, lag, alpha, beta, 20.0, np.random.default_rng(0))
    drawn = [jnp.asarray(rng.normal(size=part.shape)) for part in (cell.W, cell.V, cell.b)]
    return eqx.tree_at(lambda c: (c.W, c.V, c.b), cell, drawn)


def published(W, V, b, alpha: float, beta: float, lag: int, S: np.ndarray) -> np.ndarray:
    """Return the states (T, n) after each sample, from the equations over the whole history, h = 0 before it."""

    def sigmoid(v):
        return 1.0 / (1.0 + np.exp(-v))

    h = {n: np.zeros(V.shape[-1]) for n in range(-lag, 1)}
    for n, x in enumerate(S):
        u = np.tanh(V[0] @ h[n] + W[0] @ x + b[0])
        z = np.tanh(V[1] @ h[n - lag] + W[1] @ x + b[1])
        g = sigmoid(V[2] @ h[n] + W[2] @ x + b[2])
        a = sigmoid(V[3] @ h[n] + W[3] @ x + b[3])
        h[n + 1] = (1 - g) * h[n] + g * (beta * u + alpha * a * z)
    return np.array([h[n + 1] for n in range(len(S))])


@pytest.mark.parametrize("lag", [0, 1, LAG])
def test_it_is_the_published_equation(lag: int):
    """Over a sequence much longer than the delay, buffer and all."""
    rng = np.random.default_rng(lag)
    cell, S = cell_of(rng, lag=lag), rng.normal(size=(15, N_IN))
    expected = published(*(np.array(part) for part in (cell.W, cell.V, cell.b)), cell.alpha, cell.beta, lag, S)
    h, step = cell.start(), jax.jit(lambda h, s: cell(h, s, None))
    for k, s in enumerate(S):
        h = step(h, s)
        assert np.array(cell.readout(h)) == pytest.approx(expected[k], abs=1e-13)
        kept = expected[max(k - lag, 0) : k + 1][::-1].ravel()
        assert np.array(h)[: len(kept)] == pytest.approx(kept, abs=1e-13) and not np.any(h[len(kept) :])


def test_only_the_weighted_delay_reaches_back():
    """The oldest state acts on the next one directly, those between do not, and without alpha none does."""
    rng = np.random.default_rng(5)
    h, s = jnp.asarray(rng.normal(size=UNITS * (LAG + 1))), jnp.asarray(rng.normal(size=N_IN))
    for alpha in (0.7, 0.0):
        cell = cell_of(np.random.default_rng(6), alpha=alpha)
        J = np.array(jax.jit(jax.jacobian(lambda h, cell=cell: cell.readout(cell(h, s, None))))(h))
        by_age = np.abs(J.reshape(UNITS, LAG + 1, UNITS)).max(axis=(0, 2))
        assert by_age[0] > 0.1 and not by_age[1:-1].any()
        assert (by_age[-1] > 0.01) == (alpha > 0)


def test_its_state_is_bounded():
    """A step is a mean of the old state and of something within |alpha| + |beta|, whatever the input."""
    rng = np.random.default_rng(7)
    cell = cell_of(rng, alpha=0.5, beta=1.0)
    h, step = cell.start(), jax.jit(lambda h, s: cell(h, s, None))
    for s in 50.0 * rng.normal(size=(200, N_IN)):
        h = step(h, s)
    assert 0.5 < np.abs(h).max() <= 1.5


def test_gates_start_at_the_time_constants():
    """Each unit forgets over 2 to `longest` samples where nothing else speaks."""
    cell = TauGRUCell(N_IN, 200, 1, 1.0, 1.0, 30.0, np.random.default_rng(1))
    lasting = 1.0 + np.exp(-np.array(cell.b[2]))  # 1 / sigmoid(b)
    assert lasting.min() >= 2.0 and lasting.max() <= 30.0
    assert lasting.mean() == pytest.approx(16.0, abs=2.0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"lag": -1}, "lag is -1"),
        ({"lag": 2.5}, "lag is 2.5"),
        ({"lag": 13}, "lag is 13.*lower lag to 12"),
        ({"alpha": np.nan}, "alpha is nan"),
        ({"beta": "1"}, "beta is '1'"),
    ],
)
def test_bad_options_are_named(options: dict, why: str):
    """With what to change; a delay no stretch is long enough for, too."""
    with pytest.raises(DataError, match=why):
        TauGRU(4, training=QUICK, **options).fit(oscillator(4, 30))

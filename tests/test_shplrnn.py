"""The clipped shallow PLRNN: its equation, its place in a model, that its orbits are bounded."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator, pendulum

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.errors import DataError  # noqa: E402
from koopctl.models.recurrent import ShPLRNN, trainer  # noqa: E402
from koopctl.models.recurrent.shplrnn import ShPLRNNCell  # noqa: E402

SEEN, INPUTS, LATENTS, UNITS = 2, 1, 2, 6
QUICK = {"steps": 100, "check": 20, "batch": 8, "washout": 6, "horizon": 8, "learning_rate": 0.01}


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


def cell_of(rng: np.random.Generator) -> ShPLRNNCell:
    """Return a cell with random weights, A within one."""
    cell = ShPLRNNCell(SEEN, INPUTS, LATENTS, UNITS, 20.0, np.random.default_rng(0))
    cell = jax.tree.map(lambda part: jnp.asarray(rng.normal(size=part.shape)), cell)
    return eqx.tree_at(lambda c: c.A, cell, jnp.asarray(rng.uniform(-0.95, 0.95, SEEN + LATENTS)))


def published(A, W1, W2, B, h1, h2, z: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return the next z, element by element."""
    v = [sum(row * z) for row in W2]
    units = [max(v[l] + h2[l], 0.0) - max(v[l], 0.0) for l in range(len(h2))]  # noqa: E741  the paper's letter
    return np.array([A[i] * z[i] + sum(W1[i] * units) + h1[i] + sum(B[i] * u) for i in range(len(z))])


def weights_of(cell: ShPLRNNCell) -> tuple[np.ndarray, ...]:
    """Return them in the order of `published`."""
    return tuple(np.array(part) for part in (cell.A, cell.W1, cell.W2, cell.B, cell.h1, cell.h2))


def test_it_is_the_published_equation():
    """Of z, which is the sample's regressors and the latents of the state."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        cell, h, s = cell_of(rng), rng.normal(size=SEEN + LATENTS), rng.normal(size=SEEN + INPUTS)
        z = np.concatenate([s[:SEEN], h[SEEN:]])
        expected = published(*weights_of(cell), z, s[SEEN:])
        assert np.array(cell(jnp.asarray(h), jnp.asarray(s), None)) == pytest.approx(expected, abs=1e-13)


def test_orbits_are_bounded():
    """Where all |A| < 1, from anywhere, as no unit exceeds |h2|: by (|W1| |h2| + |h1| + |B| |u|) / (1 - |A|)."""
    rng = np.random.default_rng(1)
    step = jax.jit(lambda cell, h, u: cell(h, jnp.concatenate([h[:SEEN], u]), None))
    for _ in range(5):
        cell = cell_of(rng)
        A, W1, _, B, h1, h2 = (np.abs(part) for part in weights_of(cell))
        bound = (W1 @ h2 + h1 + B.sum(axis=1)) / (1 - A)
        h = jnp.asarray(1e4 * rng.normal(size=SEEN + LATENTS))
        for u in rng.uniform(-1, 1, (600, INPUTS)):
            h = step(cell, h, u)
        assert (np.abs(h) <= bound + 1e-6).all()


@pytest.fixture(scope="module")
def forced() -> ShPLRNN:
    """A small one, trained a little under generalised teacher forcing, with latents."""
    settings = QUICK | {"forcing": "generalised", "forcing_share": 0.2, "steps": 200}
    return ShPLRNN(8, training=settings, n_latents=2).fit(oscillator(10, 40))


def test_a_free_run_is_the_published_recursion(forced):
    """The model's path is z iterated, and read off in the coordinates' own scales: nothing lies between."""
    data, cell, scales = oscillator(1, 20, seed=4), forced.network_.cell, forced.network_.scales
    x = forced.window_.states(data.X[0], data.U[0])[0]
    path = forced.predict(x, data.U[0][6:])
    mean, scale = scales.mean, 1.0 / scales.per_scale
    z = np.concatenate([(x[:2] - mean[:2]) / scale[:2], x[4:]])
    for k, u in enumerate(data.U[0][6:]):
        z = published(*weights_of(cell), z, (u - mean[2:]) / scale[2:])
        assert path[k + 1, :2] == pytest.approx(mean[:2] + scale[:2] * z[:2], abs=1e-5)
    assert np.abs(path[-1, :2] - path[0, :2]).max() > 0.1


def test_only_the_cell_was_trained(forced):
    """Of the readout every number is where it began."""
    C, L = forced.network_.scales.reading(4)
    assert forced.network_.C == pytest.approx(C, rel=1e-6) and forced.network_.L == pytest.approx(L, rel=1e-6)
    assert not forced.network_.c.any()
    assert sum(part.size for part in jax.tree.leaves(trainer.trained(forced.network_))) == 4 + 32 + 32 + 8 + 4 + 8


def test_an_angle_is_read_as_its_increment():
    """Cos and sin are seen; in the place of the cosine is the increment, which starts at nothing and is learnt."""
    model = ShPLRNN(8, training=QUICK | {"steps": 200}).fit(pendulum(10, 40))
    (angle,), (cosine,), (sine,) = model.window_.chart.circle
    assert model.network_.C[angle, cosine] == 1.0 and not model.network_.L[angle].any()
    assert not model.network_.C[:, sine].any()
    assert min(model.history_.error) < 0.8 * model.history_.error[0]


@pytest.mark.parametrize("latents", [-1, 1.5, "two"])
def test_bad_options_are_named(latents: object):
    """With what they may be."""
    with pytest.raises(DataError, match="n_latents is"):
        ShPLRNN(4, training=QUICK, n_latents=latents).fit(oscillator(4, 30))

"""GateL0RD: its equations, gates that keep a state to the bit, a penalty that shuts them, and how many open."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import DT, oscillator

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.data.rollouts import Rollouts  # noqa: E402
from koopctl.errors import DataError, NotFittedError  # noqa: E402
from koopctl.models.recurrent import GateL0RD, trainer  # noqa: E402
from koopctl.models.recurrent.gatel0rd import GateL0RDCell  # noqa: E402

N_IN, UNITS = 3, 5
QUICK = {"steps": 300, "check": 20, "batch": 8, "washout": 6, "horizon": 8, "learning_rate": 0.01}


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


def cell_of(rng: np.random.Generator, noise: float = 0.1) -> GateL0RDCell:
    """Return a cell with large weights, about half of whose gates open."""
    cell = GateL0RDCell(N_IN, UNITS, noise, np.random.default_rng(0))
    drawn = [jnp.asarray(rng.normal(size=part.shape)) for part in (cell.W, cell.b)]
    return eqx.tree_at(lambda c: (c.W, c.b), cell, drawn)


def published(W, b, a, s) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the gates' argument, the gates, the next latent state and the output, from the equations."""
    (Wg, Wr, Wp, Wo), (bg, br, bp, bo) = W, b
    v = np.concatenate([s, a])
    argument = Wg @ v + bg
    gate = np.maximum(0.0, np.tanh(argument))
    a = gate * np.tanh(Wr @ v + br) + (1.0 - gate) * a
    v = np.concatenate([s, a])
    return argument, gate, a, np.tanh(Wp @ v + bp) / (1.0 + np.exp(-(Wo @ v + bo)))


def test_it_is_the_published_equations():
    """Latent state, output and penalty, step after step."""
    rng = np.random.default_rng(0)
    cell = cell_of(rng)
    W, b, a, h = np.array(cell.W), np.array(cell.b), np.zeros(UNITS), cell.start()
    step, opened = jax.jit(lambda h, s: (cell(h, s, None), cell.penalty(h, s, None))), []
    for s in rng.normal(size=(12, N_IN)):
        h, penalty = step(h, s)
        _, gate, a, y = published(W, b, a, s)
        assert np.array(h) == pytest.approx(np.concatenate([a, s]), abs=1e-13)
        assert np.array(cell.readout(h)) == pytest.approx(y, abs=1e-13)
        assert penalty == pytest.approx(np.mean(gate > 0), abs=1e-15)
        opened.append(penalty)
    assert 0.0 < np.mean(opened) < 1.0


def test_what_is_shut_stays_to_the_bit():
    """In single precision too, and all latent states stay within one."""
    rng = np.random.default_rng(1)
    cell = jax.tree.map(lambda leaf: leaf.astype("float32"), cell_of(rng))
    h, stayed = cell.start().astype("float32"), 0
    step = jax.jit(lambda h, s: (cell.gates(h, s), cell(h, s, None)))
    for s in 3.0 * rng.normal(size=(60, N_IN)).astype("float32"):
        before = np.array(h)[:UNITS]
        gates, h = step(h, s)
        shut = np.array(gates) == 0
        assert h.dtype == np.float32 and np.array_equal(np.array(h)[:UNITS][shut], before[shut])
        stayed += shut.sum()
    assert stayed > 60 and np.abs(np.array(h)[:UNITS]).max() <= 1.0


def test_the_penalty_reaches_open_gates_only():
    """Straight through: the derivative of the count is that of the gates, tanh' where one is open, 0 where shut."""
    rng = np.random.default_rng(2)
    cell = cell_of(rng)
    h, s = jnp.asarray(rng.uniform(-1, 1, UNITS + N_IN)), jnp.asarray(rng.normal(size=N_IN))
    argument = published(np.array(cell.W), np.array(cell.b), np.array(h)[:UNITS], np.array(s))[0]
    expected = np.where(argument > 0, 1.0 - np.tanh(argument) ** 2, 0.0) / UNITS
    slope = eqx.filter_grad(lambda cell: cell.penalty(h, s, None))(cell)
    assert expected.any() and not expected.all()
    assert np.array(slope.b[0]) == pytest.approx(expected, abs=1e-13)


def test_noise_moves_the_gates_in_training_only():
    """By the deviation asked for, before the activation; what is proposed stays as it is."""
    cell = GateL0RDCell(N_IN, UNITS, 0.1, np.random.default_rng(0))
    cell = eqx.tree_at(lambda c: c.b, cell, cell.b.at[0].set(1.0))
    h, s = cell.start(), jnp.zeros(N_IN)
    keys = jax.random.split(jax.random.key(1), 2000)
    drawn = np.arctanh(jax.jit(jax.vmap(lambda key: cell.gates(h, s, key)))(keys)) - 1.0
    assert np.abs(drawn.mean(axis=0)).max() < 0.01
    assert drawn.std(axis=0) == pytest.approx(0.1, rel=0.1)
    quiet, again, noisy = (cell(h, s, key) for key in (None, None, keys[0]))
    assert np.array_equal(quiet, again) and not np.array_equal(quiet, noisy)


@pytest.fixture(scope="module")
def data() -> Rollouts:
    """Episodes of two lengths."""
    return Rollouts.join([oscillator(8, 40), oscillator(3, 25, seed=1)])


@pytest.fixture(scope="module")
def model(data) -> GateL0RD:
    """A small one, trained a little, with nothing to keep its gates shut."""
    return GateL0RD(6, training=QUICK).fit(data)


def test_it_counts_the_gates_that_open(model, data):
    """As the equations do, one episode at a time, whatever the lengths of the others."""
    network, counts = model.network_, model.gate_openings(data)
    assert [len(c) for c in counts] == [len(U) for U in data.U]
    for i in (0, len(data) - 1):
        a = np.zeros(6)
        for Y, u, count in zip(data.X[i], data.U[i], counts[i], strict=False):
            s = (np.concatenate([Y, u]) - network.scales.mean) * network.scales.per_scale
            _, gate, a, _ = published(network.cell.W, network.cell.b, a, s)
            assert count == (gate > 0).sum()


def test_the_penalty_shuts_gates(model, data):
    """Fewer open where that is paid for."""
    paid = GateL0RD(6, training=QUICK | {"penalty": 1.0}).fit(data)
    free, sparse = (np.concatenate(m.gate_openings(data)).mean() for m in (model, paid))
    assert sparse < 0.7 * free


def test_the_gradient_of_its_loss_is_finite(model):
    """Of every layer, noise and penalty included."""
    motion, network = oscillator(1, 14), jax.tree.map(jnp.asarray, model.network_)
    Q, U = jnp.asarray(motion.X[0]), jnp.asarray(np.vstack([motion.U[0], np.zeros((1, 2))]))
    settings = trainer.Training(**QUICK, penalty=0.1)

    def loss(cell):
        return trainer._loss(eqx.tree_at(lambda n: n.cell, network, cell), Q, U, jax.random.key(0), settings)

    slope = eqx.filter_jit(eqx.filter_grad(loss))(network.cell)
    for part in (slope.W, slope.b):
        assert np.isfinite(part).all() and np.abs(part).max(axis=tuple(range(1, part.ndim))).all()


def test_bad_options_are_named(model):
    """Noise that is none, other columns, no fit."""
    for noise in (-0.1, np.inf, "much"):
        with pytest.raises(DataError, match="gate_noise"):
            GateL0RD(4, training=QUICK, gate_noise=noise).fit(oscillator(4, 30))
    with pytest.raises(DataError, match="columns"):
        model.gate_openings(Rollouts([np.zeros((3, 2))], [np.zeros((2, 2))], DT, ["a", "b"]))
    with pytest.raises(NotFittedError):
        GateL0RD().gate_openings(oscillator(1, 5))

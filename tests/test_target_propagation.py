"""Target propagation: its recursion in plain numpy, its two limits, and that it trains."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.models.chart import Chart  # noqa: E402
from koopctl.models.recurrent import GRU, RNN, ShPLRNN, Training  # noqa: E402
from koopctl.models.recurrent.network import Network, Scales  # noqa: E402
from koopctl.models.recurrent.rnn import RNNCell  # noqa: E402
from koopctl.models.recurrent.trainer import _loss  # noqa: E402

UNITS, WASHOUT = 4, 3
MEAN, PER_SCALE = np.array([0.1, -0.2, 0.0, 0.05]), np.array([1.2, 0.8, 1.5, 1.6])
GAIN, SPREAD = np.array([0.3, 0.2]), np.array([0.9, 1.3])


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def network() -> Network:
    """A network with weights so large that steps are not linear."""
    rng = np.random.default_rng(0)
    chart = Chart.plain(("p", "v"))
    scales = Scales(MEAN, PER_SCALE, GAIN, SPREAD, chart.linear, chart.circle)
    plain = Network.around(RNNCell(4, UNITS, np.random.default_rng(0)), scales, np.random.default_rng(0))
    parts = [plain.cell.W, plain.cell.V, plain.cell.b, plain.C, plain.L, plain.c]
    drawn = [jnp.asarray(0.6 * rng.normal(size=part.shape)) for part in parts]
    return eqx.tree_at(lambda n: [n.cell.W, n.cell.V, n.cell.b, n.C, n.L, n.c], plain, drawn)


def slope_of(network: Network, method: str, inversion: float = 1.0) -> np.ndarray:
    """Return what the loss of one stretch tells the weights, as one vector."""
    data = oscillator(1, 12, seed=3)
    U = np.concatenate([data.U[0], np.zeros((1, 2))])
    training = Training(washout=WASHOUT, horizon=9, method=method, inversion=inversion)

    def loss(parts):
        whole = eqx.tree_at(lambda n: [n.cell.W, n.cell.V, n.cell.b, n.C, n.L, n.c], network, parts)
        return _loss(whole, jnp.asarray(data.X[0]), jnp.asarray(U), jax.random.key(0), training)

    value, slope = jax.jit(jax.value_and_grad(loss))(
        [network.cell.W, network.cell.V, network.cell.b, network.C, network.L, network.c]
    )
    assert float(value) == pytest.approx(free_run_by_hand(network)[0], rel=1e-12)  # whatever the method
    return np.concatenate([np.ravel(part) for part in slope])


def free_run_by_hand(network: Network) -> tuple[float, list[dict[str, np.ndarray]]]:
    """Return the loss and, for each step, what it saw and made; x = [q / spread, h]."""
    data = oscillator(1, 12, seed=3)
    cell, q, h, steps, off = network.cell, data.X[0][0], np.zeros(UNITS), [], []
    W, V, b, C, L, c = (np.array(p) for p in (cell.W, cell.V, cell.b, network.C, network.L, network.c))
    for k, u in enumerate(data.U[0]):
        shown = k <= WASHOUT
        q = data.X[0][k] if shown else q
        s = (np.concatenate([q, u]) - MEAN) * PER_SCALE
        after = np.tanh(W @ s + V @ h + b)
        q_next = q + GAIN * (C @ after + L @ s + c)
        d = 1 - after**2
        h_by_q, h_by_h = d[:, None] * W[:, :2] * PER_SCALE[:2], d[:, None] * V
        q_by_q = np.eye(2) + GAIN[:, None] * (C @ h_by_q + L[:, :2] * PER_SCALE[:2])
        q_by_h = GAIN[:, None] * (C @ h_by_h)
        J = np.block([[q_by_q * SPREAD / SPREAD[:, None], q_by_h / SPREAD[:, None]], [h_by_q * SPREAD, h_by_h]])
        if shown:
            J[:, :2] = 0.0  # what it made of the past's coordinates is not looked at
        error = (q_next - data.X[0][k + 1]) / SPREAD
        off.append(error)
        steps.append({"s": s, "h": h, "after": after, "d": d, "J": J, "error": error})
        q, h = q_next, after
    return float(np.mean(np.array(off[WASHOUT:]) ** 2)), steps


def by_hand(network: Network, r: float) -> np.ndarray:
    """Return the weights' direction from the recursion of targets, last step first."""
    C = np.array(network.C)
    _, steps = free_run_by_hand(network)
    count = 2 * (len(steps) - WASHOUT)
    parts = [np.zeros(np.shape(p)) for p in (network.cell.W, network.cell.V, network.cell.b, C, network.L, network.c)]
    g = np.zeros(2 + UNITS)  # minus the displacement of the state after the step
    for k in range(len(steps) - 1, -1, -1):
        step = steps[k]
        if k >= WASHOUT:
            g[:2] += 2.0 * step["error"] / count
        by_dq = GAIN * g[:2] / SPREAD
        inner = step["d"] * (g[2:] + C.T @ by_dq)
        made = (
            np.outer(inner, step["s"]),
            np.outer(inner, step["h"]),
            inner,
            np.outer(by_dq, step["after"]),
            np.outer(by_dq, step["s"]),
            by_dq,
        )
        parts = [part + more for part, more in zip(parts, made, strict=True)]
        J = step["J"]
        g = (1 + r) * np.linalg.inv(J.T @ J + r * np.eye(len(g))) @ J.T @ g
    return np.concatenate([np.ravel(part) for part in parts])


@pytest.mark.parametrize("r", [0.05, 1.0, 30.0])
def test_it_is_the_recursion_of_targets(network, r: float):
    """Step by step backwards, with inverses by hand."""
    assert slope_of(network, "target_propagation", r) == pytest.approx(by_hand(network, r), rel=1e-9, abs=1e-11)


def test_with_much_regularisation_it_is_the_gradient(network):
    """Ever nearer, by the inverse of the regularisation."""
    gradient, off = slope_of(network, "gradient"), {}
    for r in (1.0, 1e3, 1e6):
        off[r] = np.abs(slope_of(network, "target_propagation", r) - gradient).max() / np.abs(gradient).max()
    assert off[1.0] > 0.02 and off[1e3] < 2e-2 and off[1e6] == pytest.approx(1e-3 * off[1e3], rel=0.1)


def test_with_little_it_neither_shrinks_nor_grows():
    """Targets of a contracting linear step come back whole: by its inverse, not its transpose."""
    from koopctl.models.recurrent.target_propagation import by_inversion

    chart = Chart.plain(("p",))
    one = np.ones(1)
    scales = Scales(np.zeros(2), np.ones(2), one, one, chart.linear, chart.circle)
    network = Network.around(RNNCell(2, 1, np.random.default_rng(0)), scales, np.random.default_rng(0))

    def step(network, q, h):
        return 0.5 * q, 0.25 * h

    def total(x, r):
        q, h = by_inversion(step, network, (x[:1], x[1:]), r)
        return q[0] + h[0]

    x = jnp.array([1.0, 2.0])
    assert float(total(x, 1e-12)) == pytest.approx(1.0)
    assert np.array(jax.grad(total)(x, 1e-12)) == pytest.approx([2.0, 4.0], rel=1e-6)
    assert np.array(jax.grad(total)(x, 1e9)) == pytest.approx([0.5, 0.25], rel=1e-6)


@pytest.mark.parametrize("kind", [GRU, RNN, ShPLRNN])
def test_it_trains_any_cell(kind):
    """The held-out error falls, and every number stays finite.

    All start from short time constants: a state that holds the coordinates, as the ShPLRNN's does, would predict well
    untrained where it hardly forgets.
    """
    settings = {"washout": 4, "horizon": 8, "batch": 8, "steps": 80, "check": 20, "learning_rate": 0.01}
    model = kind(4, longest=2.0, training=settings | {"method": "target_propagation"}).fit(oscillator(8, 40))
    assert min(model.history_.error) < 0.85 * model.history_.error[0]
    assert all(np.isfinite(part).all() for part in jax.tree.leaves(model.network_))

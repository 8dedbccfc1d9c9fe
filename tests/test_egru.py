"""The event-based gated recurrent unit: the published step, events and resets, the surrogate, the fitted model."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import central_differences, oscillator

from koopctl.errors import DataError

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

from koopctl.models.recurrent.egru import EGRU, EGRUCell, event  # noqa: E402

DATA = oscillator(10, 40)
QUICK = {"steps": 120, "check": 20, "batch": 16, "washout": 5, "horizon": 8, "learning_rate": 1e-2}
N_IN, N = 3, 5


@pytest.fixture(scope="module")
def model():
    """A small network, hardly trained."""
    return EGRU(5, training=QUICK, threshold=0.1).fit(DATA)


def random_cell(height: float = 0.7, width: float = 1.0):
    """Return five units with random weights in double precision; call with x64 on."""
    rng = np.random.default_rng(3)
    cell = EGRUCell(N_IN, N, 50.0, 0.5, height, width, np.random.default_rng(0))
    return jax.tree.map(lambda leaf: jax.numpy.asarray(rng.normal(size=leaf.shape)), cell)


def sigmoid(v):
    """Return 1 / (1 + exp(-v))."""
    return 1.0 / (1.0 + np.exp(-np.asarray(v)))


def published(cell, c, s, step=lambda v: (v > 0).astype(float)):
    """Return the next state before its reset, by the paper's equations, for any step function."""
    W, V, b, threshold = *(np.asarray(part) for part in (cell.W, cell.V, cell.b)), sigmoid(cell.t)
    y, kept = c * step(c - threshold), c - threshold * step(c - threshold)
    update, reset = (sigmoid(W[i] @ s + V[i] @ y + b[i]) for i in (0, 1))
    return update * np.tanh(W[2] @ s + V[2] @ (reset * y) + b[2]) + (1.0 - update) * kept


def test_one_step_is_the_published_one():
    """With random weights, states and inputs, with and without events."""
    rng, seen = np.random.default_rng(0), set()
    with jax.enable_x64(True):
        cell = random_cell()
        for _ in range(8):
            c, s = rng.normal(size=N), rng.normal(size=N_IN)
            assert np.asarray(cell(c, s, None)) == pytest.approx(published(cell, c, s), abs=1e-13)
            seen |= set(c > sigmoid(cell.t))
    assert seen == {True, False}


def test_units_speak_at_events_only_and_lose_the_threshold():
    """Below the threshold nothing is read out; with the update gate shut an event takes the threshold off, once."""
    with jax.enable_x64(True):
        cell = EGRUCell(N_IN, 3, 50.0, 0.25, 0.7, 1.0, np.random.default_rng(0))
        cell = eqx.tree_at(lambda cell: cell.b, cell, cell.b.at[0].set(-80.0))
        c = np.array([0.2, 0.9, -0.4])
        assert np.asarray(cell.readout(c)) == pytest.approx([0.0, 0.9, 0.0])
        assert np.asarray(cell(c, np.ones(N_IN), None)) == pytest.approx([0.2, 0.65, -0.4])
        assert float(cell.penalty(c, np.ones(N_IN), None)) == pytest.approx(1 / 3)


def test_the_step_functions_derivative_is_the_surrogate():
    """Forwards and backwards in mode: a triangle of the given height and width; the values stay 0 and 1."""
    v = np.array([-2.0, -0.6, -0.1, 0.0, 0.3, 0.79, 0.81])
    with jax.enable_x64(True):
        assert np.array_equal(event(v, 0.5, 0.8), [0, 0, 0, 0, 1, 1, 1])
        triangle = 0.5 * np.maximum(0.0, 1.0 - np.abs(v) / 0.8)
        forward = jax.jvp(lambda v: event(v, 0.5, 0.8), (v,), (np.ones_like(v),))[1]
        backward = jax.grad(lambda v: event(v, 0.5, 0.8).sum())(jax.numpy.asarray(v))
        assert np.asarray(forward) == pytest.approx(triangle) and np.asarray(backward) == pytest.approx(triangle)


def test_jacobians_hold_the_surrogate():
    """They are those of the equations with the step function's tangent, the surrogate, in its place at that state."""
    rng = np.random.default_rng(4)
    c, s = rng.normal(size=N), rng.normal(size=N_IN)
    with jax.enable_x64(True):
        cell = random_cell(0.6, 0.9)
        by_c, by_s = (np.asarray(part) for part in jax.jacfwd(cell, argnums=(0, 1))(c, s, None))
    at = c - sigmoid(cell.t)
    slope = 0.6 * np.maximum(0.0, 1.0 - np.abs(at) / 0.9)
    assert slope.max() > 0.1

    def tangent(v):
        return (at > 0) + slope * (v - at)

    assert central_differences(lambda c: published(cell, c, s, tangent), c) == pytest.approx(by_c, abs=1e-8)
    assert central_differences(lambda s: published(cell, c, s, tangent), s) == pytest.approx(by_s, abs=1e-8)


def test_states_and_weights_are_single_where_training_is():
    """Nothing turns into double precision on the way."""
    cell = EGRUCell(N_IN, N, 50.0, 0.2, 0.7, 1.0, np.random.default_rng(0))
    h = cell(cell.start(), jax.numpy.ones(N_IN), None)
    assert {leaf.dtype for leaf in jax.tree.leaves(cell)} == {h.dtype} == {np.dtype(np.float32)}


def narrow(model, width: float):
    """Return the same network with a surrogate of another width: the same steps, other Jacobians."""
    header, arrays = model.pack()
    return EGRU(**header["params"] | {"width": width}).unpack(header, arrays)


def test_jacobians_are_central_differences_away_from_thresholds(model):
    """Where no unit is within the surrogate's width of its threshold, before and after the step, there is no surrogate.

    At the default width there is hardly such a state, and Jacobians differ from differences by design; a narrow
    surrogate on the same network leaves the true derivative between events.
    """
    other, thresholds, found = narrow(model, 1e-3), sigmoid(model.network_.cell.t), 0
    for x, u in zip(model.window_.states(DATA.X[0], DATA.U[0]), DATA.U[0][5:], strict=False):
        after = other.step(x, u)
        if min(np.abs(state[-5:] - thresholds).min() for state in (x, after)) < 2e-3:
            continue
        A, B = other.linearize(x, u)
        assert central_differences(lambda x, u=u: model.step(x, u), x) == pytest.approx(A, abs=1e-7)
        assert central_differences(lambda u, x=x: model.step(x, u), u) == pytest.approx(B, abs=1e-7)
        assert np.abs(model.linearize(x, u)[0] - A).max() > 1e-3
        found += 1
        if found == 3:
            break
    assert found == 3


def test_active_units_are_counted(model):
    """As many as pass their thresholds when the published equations are shown the recording."""
    network, data = model.network_, DATA[:2]
    counts = model.active_units(data)
    for Y, U, count in zip(data.X, data.U, counts, strict=True):
        c, expected = np.zeros(5), []
        for y, u in zip(Y[:-1], U, strict=True):
            c = published(network.cell, c, (np.concatenate([y, u]) - network.scales.mean) * network.scales.per_scale)
            expected.append(np.sum(c > sigmoid(network.cell.t)))
        assert np.array_equal(count, expected)
    assert 0 < np.concatenate(counts).mean() < 5


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.0}, {"height": 0.0}, {"width": -1.0}])
def test_bad_arguments_are_named(wrong):
    """Before anything is trained."""
    with pytest.raises(DataError, match=next(iter(wrong))):
        EGRU(5, training=QUICK, **wrong).fit(DATA)

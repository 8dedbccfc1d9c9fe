"""The orthogonal gated recurrent unit: the published step, orthogonality through descent, the Neumann inverse."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator

from koopctl.errors import DataError

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
optax = pytest.importorskip("optax")

from koopctl.models.recurrent.nc_gru import NCGRU, NCGRUCell, neumann_inverse  # noqa: E402

DATA = oscillator(10, 40)
QUICK = {"steps": 120, "check": 20, "batch": 16, "washout": 5, "horizon": 8, "learning_rate": 1e-2}
N_IN, N, FLIPS = 3, 5, 2


def random_cell(activation: str = "modrelu"):
    """Return five units with random weights in double precision; call with x64 on."""
    rng = np.random.default_rng(3)
    cell = NCGRUCell(N_IN, N, 50.0, FLIPS, activation, np.random.default_rng(0))
    return jax.tree.map(lambda leaf: jax.numpy.asarray(rng.normal(size=leaf.shape)), cell)


def parts(cell):
    """Return A and D of the scaled Cayley transform, entry by entry."""
    A, entries = np.zeros((N, N)), iter(np.asarray(cell.a))
    for i in range(N):
        for j in range(i + 1, N):
            A[i, j] = next(entries)
            A[j, i] = -A[i, j]
    return A, np.diag([-1.0] * FLIPS + [1.0] * (N - FLIPS))


def published(cell, h, s):
    """Return the next state by the paper's equations."""
    A, D = parts(cell)
    U = np.linalg.inv(np.eye(N) + A) @ (np.eye(N) - A) @ D
    W, V, b = (np.asarray(part) for part in (cell.W, cell.V, cell.b))
    keep, reset = (1.0 / (1.0 + np.exp(-(W[i] @ s + V[i] @ h + b[i]))) for i in (0, 1))
    v = W[2] @ s + U @ (reset * h)
    if cell.activation == "tanh":
        candidate = np.tanh(v + b[2])
    else:
        candidate = np.array([np.sign(x) * max(abs(x) + shift, 0.0) for x, shift in zip(v, b[2], strict=True)])
    return keep * h + (1.0 - keep) * candidate


@pytest.mark.parametrize("activation", ["modrelu", "tanh"])
def test_one_step_is_the_published_one(activation):
    """With random weights, states and inputs."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        cell = random_cell(activation)
        for _ in range(5):
            h, s = rng.normal(size=N), rng.normal(size=N_IN)
            assert np.asarray(cell(h, s, None)) == pytest.approx(published(cell, h, s), abs=1e-13)


def off_orthogonal(cell):
    """Return the largest entry of U^T U - I in the cell's own precision."""
    U = cell.orthogonal()
    return float(np.abs(U.T @ U - np.eye(cell.n_hidden)).max())


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_descent_leaves_it_orthogonal(precision, tolerance):
    """Forty large steps of Adam through time turn U far, and it stays orthogonal to rounding."""
    rng = np.random.default_rng(1)
    with jax.enable_x64(precision == "float64"):
        inputs, target = (jax.numpy.asarray(rng.normal(size=(10, n)), precision) for n in (N_IN, 16))
        cell = NCGRUCell(N_IN, 16, 20.0, 8, "modrelu", np.random.default_rng(1))
        before, descent = np.asarray(cell.orthogonal()), optax.adam(0.1)
        state = descent.init(cell)

        @jax.jit
        def descended(cell, state):
            def error(cell):
                step = lambda h, s: (cell(h, s, None),) * 2  # noqa: E731
                return jax.numpy.mean((jax.lax.scan(step, cell.start(), inputs)[1] - target) ** 2)

            change, state = descent.update(jax.grad(error)(cell), state, cell)
            return optax.apply_updates(cell, change), state

        for _ in range(40):
            cell, state = descended(cell, state)
        assert {leaf.dtype for leaf in jax.tree.leaves(cell)} == {np.dtype(precision)}
        assert off_orthogonal(cell) < tolerance
        assert np.abs(np.asarray(cell.orthogonal()) - before).max() > 0.5
        assert np.linalg.det(np.asarray(cell.orthogonal(), dtype=float)) == pytest.approx(1.0, abs=1e-4)  # (-1)^8


def test_the_start_turns_pairs_by_at_most_a_right_angle():
    """Without flips U starts as rotations of pairs of units by 0 to pi / 2; flips alone make -1 of all of them."""
    cell = NCGRUCell(N_IN, 6, 20.0, 0, "modrelu", np.random.default_rng(0))
    angles = np.angle(np.linalg.eigvals(np.asarray(cell.orthogonal(), dtype=float)))
    assert (np.abs(angles) <= np.pi / 2 + 1e-6).all() and np.abs(angles).max() > 0.1
    flipped = NCGRUCell(N_IN, 6, 20.0, 6, "modrelu", np.random.default_rng(0))
    flipped = eqx.tree_at(lambda c: c.a, flipped, jax.numpy.zeros_like(flipped.a))
    assert np.asarray(flipped.orthogonal()) == pytest.approx(-np.eye(6))


def test_the_gradient_is_the_published_one():
    """Helfrich, Willmott and Ye: dL/dA = V^T - V, V = (I + A)^-T dL/dU (D + U^T)."""
    G = np.random.default_rng(5).normal(size=(N, N))
    with jax.enable_x64(True):
        cell = random_cell()
        found = np.asarray(jax.grad(lambda cell: jax.numpy.sum(G * cell.orthogonal()))(cell).a)
    A, D = parts(cell)
    U = np.linalg.inv(np.eye(N) + A) @ (np.eye(N) - A) @ D
    V = np.linalg.inv(np.eye(N) + A).T @ G @ (D + U.T)
    assert found == pytest.approx((V.T - V)[np.triu_indices(N, 1)], abs=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_the_neumann_inverse_is_off_by_its_order(order):
    """Within the bound, and by 2^(order + 1) less for half the change."""
    rng = np.random.default_rng(6)
    skew = lambda size: (lambda M: M - M.T)(size * rng.normal(size=(8, 8)))  # noqa: E731
    A, change = skew(0.5), skew(0.02)
    inverse = np.linalg.inv(np.eye(8) + A)
    off = []
    for share in (1.0, 0.5):
        E = np.linalg.norm(inverse @ (share * change), 2)
        exact = np.linalg.inv(np.eye(8) + A + share * change)
        off.append(np.linalg.norm(neumann_inverse(inverse, share * change, order) - exact, 2))
        assert off[-1] <= E ** (order + 1) / (1.0 - E)
    assert off[0] / off[1] == pytest.approx(2.0 ** (order + 1), rel=0.2)


def test_a_neumann_series_that_diverges_is_refused():
    """Where the change is too large for the known inverse, and with an order that is no whole number."""
    jump = np.array([[0.0, 2.0], [-2.0, 0.0]])
    with pytest.raises(DataError, match="invert anew"):
        neumann_inverse(np.eye(2), jump)
    with pytest.raises(DataError, match="order"):
        neumann_inverse(np.eye(2), 0.1 * jump, 1.5)


@pytest.mark.parametrize("wrong", [{"flipped": 1.5}, {"activation": "relu"}])
def test_bad_arguments_are_named(wrong):
    """Before anything is trained."""
    with pytest.raises(DataError, match=next(iter(wrong))):
        NCGRU(5, training=QUICK, **wrong).fit(DATA)

"""The Hamiltonian recurrent network: the stated step, its skew matrix, energy and symplecticity, the fitted model."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import central_differences, oscillator

from koopctl.errors import DataError

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

from koopctl.models.recurrent.hamiltonian import HamiltonianCell, HamiltonianRNN  # noqa: E402

DATA = oscillator(10, 40)
QUICK = {"steps": 120, "check": 20, "batch": 16, "washout": 5, "horizon": 8, "learning_rate": 1e-2}
N_IN, N = 3, 6
J = np.block([[np.zeros((3, 3)), -np.eye(3)], [np.eye(3), np.zeros((3, 3))]])


def random_cell(time_step: float = 0.3, damping: float = 0.0):
    """Return six units with random weights in double precision; call with x64 on."""
    rng = np.random.default_rng(3)
    cell = HamiltonianCell(N_IN, N, time_step, damping, np.random.default_rng(0))
    return jax.tree.map(lambda leaf: jax.numpy.asarray(rng.normal(size=leaf.shape)), cell)


def whole(cell):
    """Return K (6, 6) and b (6,) of the energy's published form."""
    K, b = np.asarray(cell.K), np.asarray(cell.b)
    return np.block([[K[0], np.zeros((3, 3))], [np.zeros((3, 3)), K[1]]]), b.ravel()


def energy(cell, y):
    """Return the sum of log cosh(K y + b)."""
    K, b = whole(cell)
    return np.log(np.cosh(K @ y + b)).sum()


def published(cell, y, s):
    """Return y + step ((J - damping D) grad H + B s), the momenta first and the positions with the new momenta."""
    K, b = whole(cell)

    def rate(seen, lost):
        """Return the rate of change where the flow sees one state and the damping another."""
        D = np.diag(np.log1p(np.exp(np.asarray(cell.d))))
        flow, loss = (K.T @ np.tanh(K @ v + b) for v in (seen, lost))
        return J @ flow - cell.damping * D @ loss + np.asarray(cell.B) @ s

    momenta = y[:3] + cell.time_step * rate(y, y)[:3]
    mixed = np.concatenate([momenta, y[3:]])
    return np.concatenate([momenta, y[3:] + cell.time_step * rate(mixed, y)[3:]])


@pytest.mark.parametrize("damping", [0.0, 0.4])
def test_one_step_is_the_stated_one(damping):
    """With random weights, states and inputs."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        cell = random_cell(damping=damping)
        for _ in range(5):
            y, s = rng.normal(size=N), rng.normal(size=N_IN)
            assert np.asarray(cell(y, s, None)) == pytest.approx(published(cell, y, s), abs=1e-13)


def test_the_flow_is_the_energys_gradient_turned_by_a_skew_matrix():
    """Short steps from many states determine J: it is skew-symmetric, the canonical one."""
    rng = np.random.default_rng(1)
    short = 1e-7
    with jax.enable_x64(True):
        cell = random_cell(time_step=short)
        step, states = eqx.filter_jit(cell), rng.normal(size=(20, N))
        rates = np.stack([(np.asarray(step(y, np.zeros(N_IN), None)) - y) / short for y in states])
    slopes = np.stack([central_differences(lambda y: np.atleast_1d(energy(cell, y)), y)[0] for y in states])
    found = np.linalg.lstsq(slopes, rates, rcond=None)[0].T
    assert found == pytest.approx(-found.T, abs=1e-4)
    assert found == pytest.approx(J, abs=1e-4)


def path(cell, steps, y):
    """Return the states (steps + 1, 6) without input."""
    states, step = [y], eqx.filter_jit(cell)
    for _ in range(steps):
        states.append(np.asarray(step(states[-1], np.zeros(N_IN), None)))
    return np.array(states)


def test_energy_drifts_by_the_step_squared():
    """Without input and damping: half the step, a quarter of the drift of one step."""
    y = np.random.default_rng(2).normal(size=N)
    with jax.enable_x64(True):
        drifts = []
        for time_step in (0.02, 0.01, 0.005):
            cell = random_cell(time_step)
            drifts.append(abs(energy(cell, path(cell, 1, y)[1]) - energy(cell, y)))
    assert np.array(drifts[:-1]) / drifts[1:] == pytest.approx([4.0, 4.0], rel=0.1)
    assert drifts[0] > 1e-8


def test_energy_stays_for_good_without_damping_and_goes_with_it():
    """Over many steps it stays near where it was, though each drifts; explicit Euler steps gain; damping loses."""
    y = 0.5 * np.random.default_rng(2).normal(size=N)
    with jax.enable_x64(True):
        cell, damped = random_cell(0.05), random_cell(0.01, damping=0.2)
        levels = np.array([energy(cell, y) for y in path(cell, 2000, y)])
        falling = np.array([energy(damped, y) for y in path(damped, 2000, y)])
    K, b = whole(cell)
    explicit = y
    for _ in range(2000):
        explicit = explicit + 0.05 * J @ K.T @ np.tanh(K @ explicit + b)
    swing = np.abs(levels - levels[0]).max()
    assert swing < 0.2 * levels[0]
    assert np.abs(levels[1000:] - levels[0]).max() < 1.5 * np.abs(levels[:1000] - levels[0]).max()
    assert energy(cell, explicit) - levels[0] > 3 * swing
    assert falling[-1] < 0.1 * falling[0] and (np.diff(falling) < 0).all()


def test_undamped_steps_are_symplectic():
    """The Jacobian M keeps M^T J M = J whatever state and input, which is why gradients cannot vanish; damped not."""
    rng = np.random.default_rng(4)
    with jax.enable_x64(True):
        for damping in (0.0, 0.4):
            M = np.asarray(jax.jacfwd(random_cell(damping=damping))(rng.normal(size=N), rng.normal(size=N_IN), None))
            off = np.abs(M.T @ J @ M - J).max()
            assert off < 1e-13 if damping == 0.0 else off > 1e-2


def test_states_and_weights_are_single_where_training_is():
    """Nothing turns into double precision on the way."""
    cell = HamiltonianCell(N_IN, N, 0.3, 0.1, np.random.default_rng(0))
    h = cell(cell.start(), jax.numpy.ones(N_IN), None)
    assert {leaf.dtype for leaf in jax.tree.leaves(cell)} == {h.dtype} == {np.dtype(np.float32)}


@pytest.mark.parametrize("wrong", [{"n_hidden": 5}, {"time_step": -0.1}, {"damping": -1.0}])
def test_bad_arguments_are_named(wrong):
    """Before anything is trained."""
    with pytest.raises(DataError, match=next(iter(wrong))):
        HamiltonianRNN(training=QUICK, **wrong).fit(DATA)

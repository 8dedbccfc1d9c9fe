"""Hautus' test on systems put together so that what is reached and seen is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.stats import ortho_group

from koopctl.controllers.reachability import lasting_modes, unmoved_modes, unseen_modes

JORDAN = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
TURN = 1.02 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
DECAYING = np.array([[0.9, 0.3], [0.0, -0.5]])
PARTS = {
    # lasting part, how its inputs act on it, moduli of the modes that are lost
    "one mode, reached": ([[1.1]], [[1.0]], []),
    "one mode, not reached": ([[1.1]], [[0.0]], [1.1]),
    "hardly reached": ([[1.1]], [[1e-5]], []),
    "twice the same, one input": (np.diag([1.1, 1.1]), [[1.0], [1.0]], [1.1]),
    "twice the same, two inputs": (np.diag([1.1, 1.1]), [[1.0, 0.0], [1.0, 1.0]], []),
    "chain, moved at its end": (JORDAN, [[0.0], [0.0], [1.0]], []),
    "chain, moved at its head": (JORDAN, [[1.0], [0.0], [0.0]], [1.0]),
    "pair, reached": (TURN, [[1.0], [0.0]], []),
    "pair, not reached": (block_diag(TURN, 1.3), [[0.0], [0.0], [1.0]], [1.02]),
    "two alike, one reached": (block_diag(TURN, TURN), [[1.0], [0.0], [0.0], [0.0]], [1.02]),
}


def mixed(lasting, inputs, units: float, size: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hide the parts among decaying modes, in turned coordinates and odd units; return A, B, what is much of each."""
    rng = np.random.default_rng(seed)
    lasting, inputs = np.array(lasting), np.array(inputs)
    A = block_diag(lasting, DECAYING)
    A[: len(lasting), len(lasting) :] = rng.normal(size=(len(lasting), 2))  # the decaying drive the lasting: no feed
    B = np.concatenate([inputs, np.zeros((2, inputs.shape[1]))]) * size
    turn = ortho_group.rvs(len(A), random_state=seed)
    scale = units ** rng.uniform(-1, 1, len(A))
    return turn @ A @ turn.T * scale[:, None] / scale, turn @ B * scale[:, None], scale


def moduli(values) -> set[float]:
    """Return the different moduli; rounding splits a chain of three by the third root of eps, some of it inwards."""
    return {round(abs(value), 3) for value in values}


@pytest.mark.parametrize("units", [1.0, 1e3])
@pytest.mark.parametrize("size", [1.0, 1e-9, 1e9])
@pytest.mark.parametrize("name", list(PARTS))
def test_what_no_input_moves_is_found(name, size, units):
    """Whatever the coordinates, the units and the size of B; repeated and defective eigenvalues included."""
    lasting, inputs, expected = PARTS[name]
    for seed in range(3):
        A, B, scale = mixed(lasting, inputs, units, size, seed)
        found = unmoved_modes(A, B, scale, np.ones(B.shape[1]))
        assert moduli(found) == moduli(expected)


@pytest.mark.parametrize("size", [1.0, 1e-9, 1e9])
@pytest.mark.parametrize("name", list(PARTS))
def test_what_no_weight_sees_is_found(name, size):
    """The same by duality, Q = C^T C."""
    lasting, inputs, expected = PARTS[name]
    A, B, scale = mixed(lasting, inputs, 10.0, 1.0, 0)
    found = unseen_modes(A.T, size * B @ B.T, 1 / scale)
    assert moduli(found) == moduli(expected)


def test_nothing_reaches_and_nothing_sees_nothing():
    """No input, no weight: every lasting mode is lost, and no other."""
    A = np.diag([1.05, 0.5, -1.0])
    ones = np.ones(3)
    assert sorted(np.abs(unmoved_modes(A, np.zeros((3, 1)), ones, np.ones(1)))) == [1.0, 1.05]
    assert sorted(np.abs(unseen_modes(A, np.zeros((3, 3)), ones))) == [1.0, 1.05]
    assert sorted(np.abs(lasting_modes(A))) == [1.0, 1.05]
    assert unmoved_modes(0.9 * A[:2, :2], np.zeros((2, 1)), ones[:2], np.ones(1)) == []

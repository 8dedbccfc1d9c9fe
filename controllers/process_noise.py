"""How wrong a learnt model is in one step, as the covariance an observer needs."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, ByName, as_vector, as_weight
from koopctl.controllers.steady_problem import half_ranges
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, DesignError
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc

_LEAST = 1e-6  # of a coordinate's half range: a filter that believes its model entirely forgets to look
_DRAWS = 200  # points of the training data's box over which the lifted noise is averaged
_STEP = 1e-6  # of the differences that give the slope, in half ranges


def process_covariance(model: Model, process_noise: ByName | None) -> Array:
    """Return the covariance (nq, nq) of a model's error of one step, in the coordinates.

    Args:
        model: A fitted model.
        process_noise: A covariance (nq, nq), standard deviations (a number, (nq,) or by name; missing ones are 0), or
            None for the covariance of the errors on the training data.

    Raises:
        DataError: A standard deviation is negative, or the covariance not positive semidefinite.
        DesignError: None is given and the model does not know its errors.
    """
    names = model.state_names
    if process_noise is not None:
        if np.ndim(cast(ArrayLike, process_noise)) == 2:
            return as_weight("process_noise", process_noise, names)
        deviation = as_vector("process_noise", process_noise, names)
        if (deviation < 0).any():
            raise DataError(f"process_noise is {deviation}; a standard deviation must not be negative.")
        return np.diag(deviation**2)
    residual = getattr(model, "residual_covariance_", None)
    if residual is None:
        raise DesignError(
            f"this {type(model).__name__} does not hold the covariance of its errors, so the process noise is unknown; "
            "give process_noise, or fit the model again."
        )
    covariance = np.array(residual, dtype=np.float64)
    diagonal = np.einsum("ii->i", covariance)  # a view
    diagonal[...] = np.maximum(diagonal, (_LEAST * half_ranges(model)) ** 2)
    return covariance


def lifted_covariance(system: EDMDc, process_noise: ByName | None) -> Array:
    """Return the covariance (nz, nz) of the lifted recursion's error of one step.

    Args:
        system: An EDMD model with linear inputs.
        process_noise: That covariance itself; or what `process_covariance` takes. The latter is lifted with the
            lift's slope, and what the recursion misses of the lifted next state is added, both averaged over the box
            of the training data: a cautious figure, as motion fills only some of the box.
    """
    if process_noise is not None and np.shape(cast(ArrayLike, process_noise)) == (system.nz, system.nz):
        return as_weight("process_noise", process_noise, [f"z[{i}]" for i in range(system.nz)])
    covariance = process_covariance(system, process_noise)
    X, U = _draws(system)
    slopes = lift_slope(system, X)[:, :, : len(covariance)]
    missed = _errors(system, system.lift_state(X), U, system.lift_state(system.step(X, U)))
    lifted = np.einsum("nzp,pq,nyq->zy", slopes, covariance, slopes, optimize=True) + missed.T @ missed
    return np.asarray((lifted + lifted.T) / (2 * _DRAWS))


def lifted_residual(system: EDMDc, rollouts: Rollouts) -> Array:
    """Return the mean square of the lifted recursion's errors of one step on recorded motion, (nz, nz).

    Raises:
        DataError: The data has other columns than the model's, or holds no transition.
    """
    system.check_data(rollouts)
    window, total, count = system.window_, np.zeros((system.nz, system.nz)), 0
    for Y, U in rollouts:
        if len(U) <= window.delays:
            continue
        X, V = window.states(Y, U), U[window.delays :]
        Z = system.lift_state(X)
        error = _errors(system, Z[:-1], V, Z[1:])
        total += error.T @ error
        count += len(error)
    if not count:
        raise DataError(f"no episode is longer than the model's {window.delays} delays; pass longer ones.")
    total /= count
    diagonal = np.einsum("ii->i", total)  # a view
    diagonal[: window.nq] = np.maximum(diagonal[: window.nq], (_LEAST * half_ranges(system)) ** 2)
    return np.asarray((total + total.T) * 0.5)


def lift_slope(system: EDMDc, X: Array) -> Array:
    """Return the slope of the lift at states X (n, nx), (n, nz, nx), by central differences."""
    window, n = system.window_, len(X)
    past = window.delays + 1
    scale = np.concatenate([np.tile(half_ranges(system), past), np.ones(window.nx - past * window.nq)])
    steps = np.diag(_STEP * scale)
    high, low = (system.lift_state((X[:, None] + sign * steps).reshape(-1, window.nx)) for sign in (1.0, -1.0))
    slope = ((high - low).reshape(n, window.nx, -1)) / (2.0 * _STEP * scale[:, None])
    return np.asarray(slope.swapaxes(1, 2))


def _errors(system: EDMDc, Z: Array, U: Array, Z_next: Array) -> Array:
    """Return the lifted recursion's errors of one step, (n, nz)."""
    error, nx = Z_next - (Z @ system.A_.T + U @ system.B_.T + system.c_), system.nx
    error[:, :nx] = system.window_.difference(error[:, :nx], np.zeros(nx))
    return np.asarray(error)


def _draws(system: EDMDc) -> tuple[Array, Array]:
    """Return states and inputs from the box of the training data."""
    rng, window = np.random.default_rng(0), system.window_
    X = rng.uniform(-np.pi, np.pi, (_DRAWS, window.nx))
    position, column = window.linear
    X[:, position] = rng.uniform(system.envelope_.low[column], system.envelope_.high[column], (_DRAWS, len(column)))
    return X, rng.uniform(system.input_range_.low, system.input_range_.high, (_DRAWS, window.nu))

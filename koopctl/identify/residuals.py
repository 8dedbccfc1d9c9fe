"""How eigenfunctions of a lifted model move in data, and how far they are from being eigenfunctions there."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.identify.eigenpairs import Complex, Eigenpairs
from koopctl.models.blocks import blocks
from koopctl.models.edmdc import EDMDc


def measure(model: EDMDc, data: Rollouts, u0: Array, pairs: Eigenpairs, pull: Complex) -> tuple[Array, Array]:
    """Return how each w^H z moves in the data, its standard deviation, and the rms of its one-step error, (n,) each.

    One pass over blocks of transitions: no more lifted states exist at a time, and no matrix of their products.

    Args:
        model: The lifted model.
        data: The motion.
        u0: The constant input the pairs belong to, (nu,).
        pairs: Eigenpairs of the model's A at u0.
        pull: w^H (c + B u0), (n,).
    """
    window, W = model.window_, pairs.left
    start: Complex | None = None
    n, total = 0, np.zeros(len(pairs.values), dtype=complex)
    squares, errors = np.zeros(len(total)), np.zeros(len(total))
    for X, u, dQ, _ in blocks(window, data):
        Z, nxt = model.lift_state(X), model.lift_state(window.advance(X, X[:, : window.nq] + dQ, u))
        P, effect = project(Z, W), (u - u0) @ model.B_.T
        if model.inputs == "bilinear":
            effect += sum((u - u0)[:, j : j + 1] * (Z @ N.T) for j, N in enumerate(model.N_))
        E = project(nxt - effect, W) - P * pairs.values - pull
        start = P.mean(axis=0) if start is None else start  # near the mean: little cancels below
        P -= start
        n += len(X)
        total += P.sum(axis=0)
        squares += np.sum(np.abs(P) ** 2, axis=0)
        errors += np.sum(np.abs(E) ** 2, axis=0)
    variance = squares / n - np.abs(total / n) ** 2
    return np.sqrt(np.maximum(variance, 0.0)), np.sqrt(errors / n)


def project(Z: Array, W: Complex) -> Complex:
    """Return w^H z of lifted states z, (nz,) or (m, nz), as (n,) or (m, n)."""
    return np.asarray(Z @ W.real - 1j * (Z @ W.imag))


def amplitudes_of(modes: Complex, data: Rollouts | None) -> Array:
    """Return the largest share of each mode (ny, n) in the spread of an observation, (n,); nan without data."""
    if data is None:
        return np.full(modes.shape[1], np.nan)
    Y = np.concatenate(data.X)
    spread = Y.std(axis=0)
    spread[spread <= 1e-12 * np.abs(Y).max(axis=0)] = np.inf  # a constant observation has no share to give
    return np.asarray((np.abs(modes) / spread[:, None]).max(axis=0))

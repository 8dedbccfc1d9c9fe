"""Whether recorded inputs react to the noise: data from a running controller, and what that does to a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from koopctl.arrays import Array

if TYPE_CHECKING:
    from koopctl.models.base import Model
    from koopctl.models.probe import Probe

_NOISE = 1e-4  # share of the increments' variance below which a bias would not matter
_SIGMAS = 4.0  # a correlation is one beyond this many standard deviations of chance ...
_SIZE = 0.05  # ... and this large


def feedback_signs(model: Model, probe: Probe) -> list[str]:
    """Return a warning where the inputs follow the noise and the noise is coloured, otherwise nothing.

    Least squares on closed-loop data is consistent as long as the noise is white; noise in the measured state enters
    the next residual again, the controller answers it, and input and regressor are correlated with the residual
    (Ljung, System Identification, 1999, ch. 13). The signs are a correlation of the residual with the input one step
    later, and with the residual one step later.
    """
    pairs = [_residuals(model, Y, U) for Y, U in probe.series if len(U) > model.window_.delays + 2]
    if not pairs or not model.nu:
        return []
    E = [e for e, _, _ in pairs]
    noise, motion = np.concatenate(E), np.concatenate([dq for _, _, dq in pairs])
    noisy = noise.var(axis=0) > _NOISE * motion.var(axis=0)
    if not noisy.any():
        return []
    U = [u for _, u, _ in pairs]
    colour = _correlation([e[:-1] for e in E], [e[1:] for e in E])
    answer = _correlation([e[:-1] for e in E], [u[1:] for u in U])
    bound = max(_SIGMAS / np.sqrt(len(noise)), _SIZE)
    own = np.abs(np.diag(colour)) * noisy
    most = float((np.abs(answer) * noisy[:, None]).max())
    if most < bound or own.max() < bound:
        return []
    return [
        f"the inputs answer the noise (correlation {most:.2f} of a residual with the next input) and the residuals are "
        f"not white ({own.max():.2f} with the next one): data of a running controller with sensor noise, so the "
        "coefficients are biased. Give the controller, koopctl.fit(data, model, feedback=law), or try more delays."
    ]


def _residuals(model: Model, Y: Array, U: Array) -> tuple[Array, Array, Array]:
    window = model.window_
    X, dQ = window.states_and_increments(Y, U)
    inputs = U[window.delays :]
    return dQ - model._increment(X, inputs), inputs, dQ


def _correlation(first: list[Array], second: list[Array]) -> Array:
    """Return the correlations (m, k) of columns (n, m) with columns (n, k), episode by episode side by side."""
    a, b = (np.concatenate(part) for part in (first, second))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.sqrt(np.outer((a**2).sum(axis=0), (b**2).sum(axis=0)))
    return np.asarray(np.divide(a.T @ b, size, out=np.zeros_like(size), where=size > 0))

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
_SIZE = 0.05  # ... and, for the residuals, this large: less of sensor noise in them leaves a bias that small


def feedback_signs(model: Model, probe: Probe) -> list[str]:
    """Return a warning where the inputs follow the noise and the noise is the sensors', otherwise nothing.

    Least squares on closed-loop data is consistent as long as the noise is white; noise in the measured state enters
    the next residual again with the opposite sign, the controller answers it, and input and regressor are correlated
    with the residual (Ljung, System Identification, 1999, ch. 13). So there are two signs: the residual explains some
    of what is new in the next input, and residuals that follow each other are correlated negatively. A plant the model
    cannot follow makes residuals that last, so their correlation is positive; process noise makes none.
    """
    if not model.nu:
        return []
    parts = [residuals_and_inputs(model, Y, U) for Y, U in probe.series if len(U) > model.window_.delays + 2]
    if not parts:
        return []
    noise, motion = np.concatenate([e for e, _, _, _ in parts]), np.concatenate([dq for _, dq, _, _ in parts])
    noisy = noise.var(axis=0) > _NOISE * motion.var(axis=0)
    before, after = (np.concatenate([e[cut] for e, _, _, _ in parts]) for cut in (slice(None, -1), slice(1, None)))
    known, following = np.concatenate([w for _, _, w, _ in parts]), np.concatenate([u for _, _, _, u in parts])
    if not noisy.any() or len(known) <= 2 * known.shape[1]:
        return []
    chance = _SIGMAS / np.sqrt(len(known))
    colour = _correlation(before, after)[noisy].min()
    answer = multiple_correlation(before[:, noisy], unexplained(known, following), following)
    if colour > -max(chance, _SIZE) or answer < chance * np.sqrt(noisy.sum()):
        return []
    return [
        f"the inputs answer the noise (correlation {answer:.2f} of a residual with what is new in the next input) and "
        f"it is the sensors' (correlation {colour:.2f} of residuals that follow each other): data of a running "
        "controller, so the coefficients are biased. Give the controller, koopctl.fit(data, model, feedback=law), or "
        "try more delays."
    ]


def residuals_and_inputs(model: Model, Y: Array, U: Array) -> tuple[Array, Array, Array, Array]:
    """Return residuals (n, nq), increments (n, nq), what is known before each next input (n - 1, k), and that input."""
    window = model.window_
    X, dQ = window.states_and_increments(Y, U)
    inputs = U[window.delays :]
    known = np.concatenate([window.embed(X), inputs, np.ones((len(X), 1))], axis=1)
    predicted = (model._next(X, inputs) - X)[:, : window.nq]
    return dQ - predicted, dQ, known[:-1], inputs[1:]


def unexplained(known: Array, wanted: Array) -> Array:
    """Return what linear combinations of the columns of `known` leave of the columns of `wanted`."""
    return np.asarray(wanted - known @ np.linalg.lstsq(known, wanted, rcond=1e-10)[0])


def _correlation(first: Array, second: Array) -> Array:
    """Return the correlation of each column of one array with the same column of the other."""
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray(np.divide((a * b).sum(axis=0), size, out=np.zeros_like(size), where=size > 0))


def multiple_correlation(known: Array, news: Array, whole: Array) -> float:
    """Return the largest correlation of a column of `news`, a part of `whole`, with the best combination of `known`."""
    total, rest = (news**2).sum(axis=0), (unexplained(known - known.mean(axis=0), news) ** 2).sum(axis=0)
    real = total > 1e-12 * ((whole - whole.mean(axis=0)) ** 2).sum(axis=0)  # else it is rounding
    share = np.divide(total - rest, total, out=np.zeros_like(total), where=real)
    return float(np.sqrt(max(0.0, share.max())))

"""Cyclic coordinates: those the motion does not depend on, such as the place of a cart on a level track."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctl.arrays import Array, index_of
from koopctl.errors import DataError
from koopctl.features.pool import stable_order
from koopctl.features.sampled import SampledFeatures
from koopctl.models.window import Window
from koopctl.regression.gram import Gram
from koopctl.regression.scaling import centre_and_spread

_UNITS = 100  # hidden units of the trial fits
_SAMPLES = 4000  # transitions they use, half to fit and half to compare
_CLEAN = 0.02  # share of the increments a trial may leave unexplained; with more, absence of effect shows nothing
_EXACT = 1e-6  # share so small that chance decides which of two trials is better (an increment linear in a rate)
_RIDGE = 1e-8


def find_cyclic(wanted: str | Sequence[str], window: Window, X: Array, U: Array, dQ: Array) -> tuple[str, ...]:
    """Return the names of the coordinates that a model of the increments should not see.

    A model that sees the cart's place learns from data in which the place is correlated with everything else (far out
    means falling), and is wrong wherever a controller breaks that correlation. So a coordinate is left out when, on
    held-out transitions, no increment is predicted worse without it. Only asked of data clean enough to show it: with
    noise a slow mode looks cyclic too.

    Args:
        wanted: "auto", or the names to leave out (none: an empty tuple).
        window: The state's layout; with delays nothing is left out, as differences of lags carry the velocity.
        X: States, (n, nx).
        U: Inputs, (n, nu).
        dQ: Increments, (n, nq).

    Raises:
        UnknownNameError: A wanted name is no coordinate, or an angle.
        DataError: `wanted` is some other word.
    """
    names = window.chart.names
    if isinstance(wanted, str) and wanted != "auto":
        raise DataError(f'cyclic is {wanted!r}; it is "auto" or a list of names.')
    if not isinstance(wanted, str):
        plain = [names[i] for i in window.chart.linear[0]]  # an angle is already read by its cos and sin only
        return tuple(plain[index_of(name, plain, "cyclic coordinate")] for name in wanted)
    if window.delays or len(X) < 4 * _UNITS:
        return ()
    S = np.concatenate([window.embed(X), U], axis=1)
    centre, spread = centre_and_spread(S)
    S, F = (S - centre) / spread, dQ / centre_and_spread(dQ)[1]
    order = stable_order(S, F, np.random.default_rng(0))[:_SAMPLES]
    S, F = S[order], F[order]
    best = _errors(S, F)
    if (best > _CLEAN * F.var(axis=0)).any():
        return ()
    found: list[str] = []
    for position, column in window.linear.T:
        trial = S.copy()
        trial[:, column] = 0.0
        errors = _errors(trial, F)
        if (errors <= np.maximum(best, _EXACT)).all():
            S, best = trial, errors
            found.append(names[position])
    return tuple(found)


def _errors(S: Array, F: Array) -> Array:
    """Return the held-out mean square error of each increment under a small sampled model of S."""
    half = len(S) // 2
    units = SampledFeatures(_UNITS).fit(S[:half], F[:half])
    Phi = np.concatenate([units.transform(S), S, np.ones((len(S), 1))], axis=1)
    gram = Gram(Phi.shape[1], F.shape[1])
    gram.add(Phi[:half], F[:half])
    return np.asarray(np.mean((Phi[half:] @ gram.solve(_RIDGE).theta.T - F[half:]) ** 2, axis=0))

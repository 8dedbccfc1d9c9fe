"""Centre and spread of the training data, the same to the last bit whatever the order of the samples."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array


def centre_and_spread(S: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column of S (n, m), the latter 1 where a column does not move.

    Whether it moves is judged by its own size, whatever the units. A sum depends on the order of its terms in the
    last bit, and hidden units are drawn by a hash of the standardised bits: sorting first keeps a permutation of the
    episodes from drawing other units.
    """
    ordered = np.sort(S, axis=0)
    centre, spread = ordered.mean(axis=0), ordered.std(axis=0)
    return centre, np.where(spread > np.maximum(1e-12 * np.abs(centre), 1e-100), spread, 1.0)

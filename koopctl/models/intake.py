"""What enters a fit: rollouts in one piece, how much each transition counts, what is left where some count nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctl.arrays import Array, as_array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError

_LARGEST = 1e100  # beyond it squares of squares overflow

Weights = Sequence[Array] | None


def joined(rollouts: object) -> Rollouts:
    """Return rollouts as one, which scikit-learn's splitters cut into lists of single episodes.

    Raises:
        DataError: It is neither.
    """
    if isinstance(rollouts, Rollouts | list | tuple):
        return Rollouts.join(rollouts)
    kind = type(rollouts).__name__
    if hasattr(rollouts, "__next__"):
        raise DataError(f"this needs the rollouts at once, not a {kind}; join them with Rollouts.join(list(...)).")
    raise DataError(f"fit takes Rollouts, not {kind}; wrap arrays as Rollouts(X, U, dt).")


def check_size(rollouts: Rollouts) -> None:
    """Raise a DataError where a value is so large that sums of its squares leave the range of doubles."""
    for arrays, names in ((rollouts.X, rollouts.x_names), (rollouts.U, rollouts.u_names)):
        ends = [(array.min(axis=0), array.max(axis=0)) for array in arrays]
        largest = np.abs(ends).max(axis=(0, 1))
        for name, value in zip(names, largest, strict=True):
            if value > _LARGEST:
                raise DataError(f"{name} reaches {value:.3g}, which cannot be squared; choose larger units.")


def check_weight(rollouts: Rollouts, sample_weight: Weights, horizon: int = 1) -> list[Array] | None:
    """Return one array (T_i,) an episode, None where nothing is weighted.

    Args:
        rollouts: The recorded motion.
        sample_weight: One array (T_i,) or one number an episode.
        horizon: Steps of the stretches that are learnt from; one of more steps counts or does not.

    Raises:
        ShapeError: An array has another length.
        DataError: It is no list, a weight is negative, all are zero, or one is neither 0 nor 1 with horizon > 1.
    """
    if sample_weight is None:
        return None
    if not isinstance(sample_weight, Sequence | np.ndarray) or np.ndim(sample_weight[:1]) == 0:
        raise DataError(f"sample_weight is {sample_weight!r}; it is a list with one array (T_i,) an episode.")
    if len(sample_weight) != len(rollouts):
        raise DataError(f"sample_weight has {len(sample_weight)} entries for {len(rollouts)} episodes; give one each.")
    weights = []
    for i, (given, U) in enumerate(zip(sample_weight, rollouts.U, strict=True)):
        full = np.full(len(U), given) if np.ndim(given) == 0 else given
        weights.append(as_array(f"sample_weight[{i}]", full, (len(U),)))
        if (weights[-1] < 0).any():
            raise DataError(f"sample_weight[{i}] holds a negative weight; a transition counts 0 or more.")
    if horizon > 1 and not all(np.isin(w, (0.0, 1.0)).all() for w in weights):
        raise DataError(
            f"with horizon={horizon} a transition counts or does not, so sample_weight is 0 or 1; leave others out, or "
            "fit with horizon=1."
        )
    if not any(w.any() for w in weights):
        raise DataError("every sample_weight is zero, which leaves nothing to learn from.")
    return weights


def faded(rollouts: Rollouts, delays: int, forgetting: float, sample_weight: Weights) -> list[Array]:
    """Return the weights times forgetting^age, the last transition of the last episode having age 0.

    Args:
        rollouts: The recorded motion.
        delays: Transitions at the start of each episode that only make the first state; they have no age.
        forgetting: Factor between 0 and 1.
        sample_weight: As in `check_weight`.

    Raises:
        ShapeError, DataError: As `check_weight`.
    """
    weight, age, fading = check_weight(rollouts, sample_weight), 0, list[Array]()
    for U in reversed(rollouts.U):
        usable = max(len(U) - delays, 0)
        ages = age + np.arange(len(U) - 1, -1, -1)
        fading.append(np.asarray(forgetting ** np.minimum(ages, age + usable), dtype=np.float64))
        age += usable
    fading.reverse()
    return fading if weight is None else [w * f for w, f in zip(weight, fading, strict=True)]


def counted_rows(rollouts: Rollouts, weight: Sequence[Array] | None) -> Array:
    """Return the observations (n, ny) that belong to a transition that counts."""
    if weight is None or all(w.all() for w in weight):
        return np.concatenate(rollouts.X)
    return np.concatenate([Y[_touched(w > 0.0)] for Y, w in zip(rollouts.X, weight, strict=True)])


def counted_parts(rollouts: Rollouts, weight: Sequence[Array] | None, delays: int) -> Rollouts:
    """Return the episodes without the transitions that count nothing, which split them.

    Where that leaves no part longer than the delays, the episodes are returned as they are.
    """
    if weight is None or all(w.all() for w in weight):
        return rollouts
    X, U = list[Array](), list[Array]()
    for (x, u), w in zip(rollouts, weight, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], w > 0.0, [0]])))
        for start, stop in edges.reshape(-1, 2):
            X.append(x[start : stop + 1])
            U.append(u[start:stop])
    if max(map(len, U), default=0) <= delays:
        return rollouts
    return Rollouts(X, U, rollouts.dt, rollouts.x_names, rollouts.u_names, rollouts.sensors)


def _touched(counts: np.ndarray) -> np.ndarray:
    return np.asarray(np.concatenate([counts, [False]]) | np.concatenate([[False], counts]))

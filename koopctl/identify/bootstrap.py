"""Models refitted to resampled episodes at the price of one solve each: the hidden layer stays, sums are enough."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.base import Model
from koopctl.models.blocks import ahead, blocks
from koopctl.models.echo_state import EchoState
from koopctl.models.readout import Readout
from koopctl.regression.gram import Gram
from koopctl.regression.stretches import Stretches
from koopctl.regression.triangle import Triangle
from koopctl.regression.whitened import Whitened

_GROUPS = 20  # of episodes, whose sums are kept apart, at most
_FEWEST = 5  # with less there are hardly different resamples
_MEMORY = 2**30  # bytes their sums may take

_M = TypeVar("_M", bound=Model)
Accumulator = Gram | Triangle | Whitened | Readout


@dataclass(frozen=True)
class Sums:
    """What a model learns from one group of episodes, its hidden layer given.

    Attributes:
        learnt: Normal equations, a triangular factor or a readout's sums, as the model itself uses.
        stretches: Moments of stretches, where the model is fitted over a horizon and an episode is long enough.
    """

    learnt: Accumulator
    stretches: Stretches | None

    @classmethod
    def of(cls, model: Model, part: Rollouts) -> Sums:
        """Go through some episodes once, block by block."""
        if isinstance(model, EchoState):
            return cls(model._taken(part, None)[0], None)
        learnt = model._learnt_.emptied()
        for _, (Phi, Y) in ahead(model._regressed, blocks(model.window_, part)):
            learnt.add(Phi, Y)
        twin = copy.copy(model)
        twin.__dict__.pop("_stretches_", None)  # else the model's own would grow
        twin._take_stretches(part)
        return cls(learnt, getattr(twin, "_stretches_", None))


def episode_groups(model: Model, data: Rollouts, rng: np.random.Generator) -> list[Rollouts]:
    """Return whole episodes in random groups of equal number, few enough for their sums to fit into memory.

    Raises:
        DataError: There are too few episodes to resample.
    """
    usable = np.array([i for i, U in enumerate(data.U) if len(U) > model.window_.delays])
    if len(usable) < _FEWEST:
        raise DataError(
            f"over='episodes' resamples whole episodes and needs at least {_FEWEST} with more than "
            f"{model.window_.delays} transitions, here are {len(usable)}; record more, or use over='layers'."
        )
    count = min(len(usable), _GROUPS, max(_FEWEST, _MEMORY // _bytes(model)))
    return [data[np.sort(part).tolist()] for part in np.array_split(rng.permutation(usable), count)]


def resampled(model: _M, sums: Sequence[Sums], counts: Sequence[int] | np.ndarray) -> _M:
    """Return a copy of a fitted model with the outer layer that groups of episodes, each taken `counts` times, give.

    The copy shares the hidden layer and does not keep what it learnt from, so it can be used but not taught further.

    Raises:
        DataError: The model is fitted over a horizon that no episode of the resample holds.
    """
    weights = np.asarray(counts) / len(sums)  # only ratios matter: the ridge is relative to the sample count
    member = copy.copy(model)
    member._learnt_ = _mixed([group.learnt for group in sums], weights)
    if hasattr(model, "_stretches_"):
        member._stretches_ = _mixed_stretches([group.stretches for group in sums], np.asarray(counts))
    if isinstance(model, EchoState):
        member.solve()
    else:
        member._adopt(member._learnt_.solve(model.ridge))
    for name in ("_learnt_", "_stretches_", "_recursive_"):
        member.__dict__.pop(name, None)
    return member


def _mixed(parts: Sequence[Accumulator], weights: Array) -> Accumulator:
    whole: Gram | None = None
    for part, weight in zip(cast("Sequence[Gram]", parts), weights, strict=True):  # all have the same verbs
        if weight > 0.0:
            scaled = copy.deepcopy(part).forget(float(weight))
            whole = scaled if whole is None else whole.merge(scaled)
    return cast(Gram, whole)


def _mixed_stretches(parts: Sequence[Stretches | None], counts: np.ndarray) -> Stretches:
    pairs = zip(parts, counts, strict=True)
    taken = [(part.fold(), int(count)) for part, count in pairs if part is not None and count]
    if not any(part.n for part, _ in taken):
        raise DataError(
            "a resample of the episodes holds none as long as the model's horizon; record longer episodes, lower the "
            "model's horizon, or use over='layers'."
        )
    whole = copy.copy(taken[0][0])
    whole.n = sum(count * part.n for part, count in taken)
    whole.G, whole.T, whole.rr = (
        np.asarray(sum(count * getattr(part, name) for part, count in taken)) for name in ("G", "T", "rr")
    )
    whole._tails = whole._tails.joined([part._tails for part, _ in taken[1:]])
    return whole


def _bytes(model: Model) -> int:
    """Return the memory of one group's sums."""
    p, m = model._problem_size()
    size = (p + m) ** 2
    if hasattr(model, "_stretches_"):
        size += model._stretches_.G.size + model._stretches_.T.size
    return int(8 * size)

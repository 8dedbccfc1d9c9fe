"""swimnetworks: the reference implementation of sampled networks; its hidden layer, the outer one by numpy's lstsq."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PACKAGE = "swimnetworks"


class Pairs(NamedTuple):
    """Standardised (x, u), the increments of x, and their scales."""

    S: Array
    D: Array
    mean: Array
    scale: Array
    gain: Array


class Network(NamedTuple):
    """A fitted network: hidden layer, outer weights (nf + 1, nx) and the pairs' scales."""

    layer: Any
    outer: Array
    pairs: Pairs


class SampledNetwork:
    """Tanh units sampled over (x, u) jointly by the package; learns the increment of the state."""

    label = "swimnetworks + lstsq"
    rollouts = ("relifted",)
    grid = tuple({"rcond": 10.0**-k} for k in range(7, 16))

    def __init__(self, problem: dict[str, Array]) -> None:
        """Keep the number of units and the seed they are drawn with."""
        self.width, self.seed = int(problem["width"]), int(problem["seed"])

    def prepare(self, data: tuple[list[Array], list[Array]]) -> Pairs:
        """Stack and standardise the pairs."""
        S = np.vstack([np.column_stack([x[:-1], u]) for x, u in zip(*data, strict=True)])
        D = np.vstack([np.diff(x, axis=0) for x in data[0]])
        mean, scale, gain = S.mean(axis=0), S.std(axis=0), D.std(axis=0)
        return Pairs((S - mean) / scale, D / gain, mean, scale, gain)

    def fit(self, prepared: Pairs, settings: dict[str, Any]) -> Network:
        """Sample the layer, solve for the outer weights."""
        from swimnetworks import Dense

        layer = Dense(layer_width=self.width, activation="tanh", parameter_sampler="tanh", random_seed=self.seed).fit(
            prepared.S, prepared.D
        )
        outer = np.linalg.lstsq(_hidden(layer, prepared.S), prepared.D, rcond=settings["rcond"])[0]
        return Network(layer, np.asarray(outer, dtype=np.float64), prepared)

    def predict(self, model: Network, start: Array, ahead: Array, rollout: str) -> Array:
        """Add up the learnt increments."""
        _, _, mean, scale, gain = model.pairs
        rows = [start]
        for k in range(ahead.shape[1]):
            S = (np.column_stack([rows[-1], ahead[:, k]]) - mean) / scale
            rows.append(rows[-1] + gain * (_hidden(model.layer, S) @ model.outer))
        return np.stack(rows, axis=1)


def entrants(problem: dict[str, Array]) -> list[SampledNetwork]:
    """Return the ways this package takes part."""
    return [SampledNetwork(problem)]


def _hidden(layer: Any, S: Array) -> Array:
    return np.column_stack([layer.transform(S), np.ones(len(S))])

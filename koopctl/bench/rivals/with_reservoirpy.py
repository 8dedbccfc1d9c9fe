"""reservoirpy: an echo-state network that predicts the next sample and then runs on its own output."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PACKAGE = "reservoirpy"


class Network(NamedTuple):
    """A fitted network and the scales of its data."""

    reservoir: Any
    readout: Any
    mean: Array
    scale: Array


class EchoState:
    """Leaky tanh units with a bias (without one no attractor is learnt), inputs to every unit, ridge readout."""

    label = "reservoirpy, echo-state network"
    rollouts = ("free",)
    grid = tuple(
        {"spectral_radius": radius, "leak": leak, "input_scaling": scaling, "ridge": ridge}
        for radius, leak, scaling, ridge in itertools.product(
            (0.1, 0.4, 0.9), (0.6, 1.0), (0.1, 0.3, 1.0), (1e-8, 1e-10, 1e-12)
        )
    )

    def __init__(self, problem: dict[str, Array]) -> None:
        """Keep the number of units and the washout."""
        self.width, self.washout = int(problem["width"]), int(problem["washout"])

    def prepare(self, data: Array) -> tuple[Array, Array, Array]:
        """Standardise the series."""
        mean, scale = data.mean(axis=0), data.std(axis=0)
        return (data - mean) / scale, mean, scale

    def fit(self, prepared: tuple[Array, Array, Array], settings: dict[str, Any]) -> Network:
        """Drive the reservoir with the series and solve for the readout."""
        from reservoirpy.mat_gen import uniform
        from reservoirpy.nodes import Reservoir, Ridge

        series, mean, scale = prepared
        reservoir = Reservoir(
            self.width,
            lr=settings["leak"],
            sr=settings["spectral_radius"],
            input_scaling=settings["input_scaling"],
            input_connectivity=1.0,
            rc_connectivity=min(1.0, 10.0 / self.width),
            Win=uniform,
            bias=uniform(low=-1.0, high=1.0),
            seed=0,
        )
        readout = Ridge(ridge=settings["ridge"])
        readout.fit(reservoir.run(series[:-1]), series[1:], warmup=self.washout)
        return Network(reservoir, readout, mean, scale)

    def predict(self, model: Network, start: Array, ahead: int, rollout: str) -> Array:
        """Drive the reservoir with each window from rest, then feed it its own output."""
        reservoir, readout, mean, scale = model
        runs = np.empty((len(start), ahead + 1, start.shape[2]))
        runs[:, 0] = (start[:, -1] - mean) / scale
        for run, window in zip(runs, (start - mean) / scale, strict=True):
            reservoir.reset()
            reservoir.run(window[:-1])
            for k in range(ahead):
                run[k + 1] = readout.step(reservoir.step(run[k]))
        return runs * scale + mean


def entrants(problem: dict[str, Array]) -> list[EchoState]:
    """Return the ways this package takes part."""
    return [EchoState(problem)]

"""What one closed-loop run recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from koopctl.archive import read_archive, write_archive
from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts

_WRITABLE = (str, int, float, bool)


@dataclass(frozen=True)
class Trajectory:
    """One run of a law on an environment.

    Attributes:
        X: Observations, (T + 1, ny).
        U: Inputs as applied (clipped to the action space), (T, nu).
        rewards: What the environment paid for each step, (T,).
        infos: What the law said at each step (status, reason, solve_time, ...).
        dt: Sampling time [s].
        x_names: Names of the observations.
        u_names: Names of the inputs.
        terminated: The environment ended the run by itself (fell over, reached a terminal state).
        truncated: The environment's time limit ended the run.
        seed: Seed the environment was reset with.
    """

    X: Array
    U: Array
    rewards: Array
    infos: tuple[dict[str, Any], ...]
    dt: float
    x_names: tuple[str, ...]
    u_names: tuple[str, ...]
    terminated: bool = False
    truncated: bool = False
    seed: int | None = field(default=None)

    @property
    def total_reward(self) -> float:
        """Sum of the rewards (the return)."""
        return float(self.rewards.sum())

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.U)

    @property
    def time(self) -> Array:
        """Times of the rows of X [s], (T + 1,)."""
        return np.asarray(np.arange(len(self.X)) * self.dt, dtype=np.float64)

    def info(self, key: str, default: float = np.nan) -> Array:
        """Return one number of the law's info along the run, (T,)."""
        return np.array([float(info.get(key, default)) for info in self.infos])

    def to_rollouts(self) -> Rollouts:
        """Return the run as data for `fit`."""
        return Rollouts([self.X], [self.U], self.dt, self.x_names, self.u_names)

    def save(self, path: str | Path) -> Path:
        """Write the run to one .npz; arrays inside `infos` (plans) are left out."""
        plain = [{k: _plain(v) for k, v in info.items() if isinstance(_plain(v), _WRITABLE)} for info in self.infos]
        header = {
            "dt": self.dt,
            "x_names": self.x_names,
            "u_names": self.u_names,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "seed": self.seed,
            "infos": json.dumps(plain),
        }
        return write_archive(path, "trajectory", header, {"X": self.X, "U": self.U, "rewards": self.rewards})

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read a file written by `save`."""
        _, header, arrays = read_archive(path, "trajectory")
        return cls(
            X=arrays["X"],
            U=arrays["U"],
            rewards=arrays["rewards"],
            infos=tuple(json.loads(header["infos"])),
            dt=float(header["dt"]),
            x_names=tuple(header["x_names"]),
            u_names=tuple(header["u_names"]),
            terminated=header["terminated"],
            truncated=header["truncated"],
            seed=header["seed"],
        )


def _plain(value: object) -> object:
    """Return numpy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value

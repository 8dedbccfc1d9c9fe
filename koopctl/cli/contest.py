"""`koopctl compare --models`: which models, on which motion."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from koopctl.cli.files import read
from koopctl.cli.kinds import TAKES, TRAINED, several, unfitted

if TYPE_CHECKING:
    from koopctl.comparison import Comparison
    from koopctl.data.rollouts import Rollouts

_FLAGS = {"steps": "--train-steps", "horizon": "--train-horizon"}  # where an option is not called as the parameter
_EPISODES, _STEPS, _HELD_OUT = 100, 60, 0.2


@dataclass(frozen=True)
class Contest:
    """Options of `compare` that only --models takes; None was not given.

    Attributes:
        models: Kinds of models, with commas between them.
        data: Recorded motion.
        episodes: Episodes to record.
        episode_steps: Most transitions of each.
        held_out: Share of the episodes kept from all fits.
        random_state: Seed of motion and models.
        sizes: Parameters for those models that have them, by name.
    """

    models: str | None
    data: Path | None
    episodes: int | None
    episode_steps: int | None
    held_out: float | None
    random_state: int | None
    sizes: Mapping[str, int | None]

    def check(self, laws: Sequence[str] | None) -> None:
        """Refuse options that do not go together, before anything is read or recorded.

        Raises:
            BadParameter: There are both laws and models, neither, or an option without what it acts on.
        """
        if (self.models is None) == (not laws):
            raise typer.BadParameter("give either laws, NAME=FILE each, or --models.")
        options: dict[str, Any] = {
            "--data": self.data,
            "--episodes": self.episodes,
            "--episode-steps": self.episode_steps,
            "--held-out": self.held_out,
            "--random-state": self.random_state,
        }
        options |= {_flag(name): value for name, value in self.sizes.items()}
        given = [flag for flag, value in options.items() if value is not None]
        if self.models is None and given:
            raise typer.BadParameter("needs --models.", param_hint=given[0])
        if self.data is not None and not {"--episodes", "--episode-steps"}.isdisjoint(given):
            raise typer.BadParameter("records motion, which --data has; leave one of them out.", param_hint=given[1])
        kinds = several(self.models or "sampled-rnn")
        for name, value in self.sizes.items():
            if value is not None and not any(_takes(kind, name) for kind in kinds):
                raise typer.BadParameter("is no option of any of these models.", param_hint=_flag(name))

    def run(self, env: str, seeds: Sequence[int], progress: bool | None, shared: dict[str, Any]) -> Comparison:
        """Record, fit, design and run.

        Args:
            env: The plant.
            seeds: Seeds of the runs.
            progress: Show bars; None only in a terminal.
            shared: Arguments of `compare` for laws and models alike.
        """
        from koopctl.model_comparison import compare_models

        seed, shown = self.random_state or 0, sys.stderr.isatty() if progress is None else progress
        given = {name: value for name, value in self.sizes.items() if value is not None}
        models = {
            kind: unfitted(kind, {name: value for name, value in given.items() if _takes(kind, name)}, seed)
            for kind in several(self.models or "")
        }
        held_out = _HELD_OUT if self.held_out is None else self.held_out
        data = self._motion(env, seed, shared["dt"], shown)
        return compare_models(env, models, data, seeds, held_out=held_out, progress=shown, **shared)

    def _motion(self, env: str, seed: int, dt: float | None, shown: bool) -> Rollouts:
        from koopctl.data.rollouts import Rollouts

        if self.data is not None:
            return read(self.data, Rollouts, "recorded motion", "collect", "import")
        from koopctl.collecting import collect

        episodes = _EPISODES if self.episodes is None else self.episodes
        steps = _STEPS if self.episode_steps is None else self.episode_steps
        return collect(env, episodes=episodes, steps=steps, seed=seed, dt=dt, progress=shown)


def _takes(kind: str, name: str) -> bool:
    """Tell whether a size is meant for a kind of model: the horizon is that of trainings only."""
    return name in TAKES[kind] and (name != "horizon" or kind in TRAINED)


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")

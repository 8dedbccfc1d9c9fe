"""The one declared setting of each plant in the closed-loop bench; nothing is chosen by seed."""

from __future__ import annotations

from dataclasses import dataclass

from koopctl.data.excitation import PiecewiseConstant


@dataclass(frozen=True)
class PlantSetting:
    """How one plant is recorded, learnt and run.

    Attributes:
        env: Gymnasium id.
        episodes: Episodes of random motion.
        steps: Most steps of an episode.
        hold: How long each random input is held [s].
        most_transitions: What the recording may not exceed.
        horizons: Horizons of the re-linearised MPC [steps].
        runs: Closed-loop runs, seeds 100, 101, ...
        length: Steps of a run.
        goal: What counts as success, in words.
    """

    env: str
    episodes: int
    steps: int
    hold: float
    most_transitions: int
    horizons: tuple[int, ...]
    runs: int
    length: int
    goal: str

    @property
    def excitation(self) -> PiecewiseConstant:
        """Random levels over the whole actuator range."""
        return PiecewiseConstant(hold=self.hold)


PLANTS = (
    PlantSetting("Pendulum-v1", 300, 60, 0.1, 18_000, (50,), 10, 200, "mean return within 5 % of the optimum"),
    PlantSetting("InvertedPendulum-v5", 200, 60, 0.08, 1_500, (25,), 10, 1000, "1000 on every seed"),
    PlantSetting("InvertedDoublePendulum-v5", 2300, 60, 0.05, 15_000, (10, 20, 40), 10, 1000, ">= 9300 on every seed"),
    PlantSetting(
        "koopctl.envs:VanDerPol-v0", 200, 60, 0.1, 20_000, (30,), 20, 200, "|x| < 0.05 at the end, every seed"
    ),
)

"""How much work `koopctl bench recurrent` does: the same for every model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecurrentBudget:
    """What a run may spend.

    Attributes:
        seeds: Seeds of data and weights whose median is shown.
        episodes: Episodes that models are fitted to; a fourth as many choose among settings, as many test.
        length: Steps of an episode.
        rates: Learning rates that every gradient-trained model tries.
        hidden: Hidden units of gradient-trained models.
        steps: Steps of descent, at most.
        check: Steps between two looks at the held-out error.
        patience: Looks without progress after which descent stops.
        batch: Stretches in a batch of descent.
        widths: Hidden units of the sampled network to choose from.
        most_delays: How many of a plant's delays it may choose from, evenly taken.
        windows: Windows to forecast, at most.
        runs: Closed-loop runs.
        run_steps: Steps of a run.
    """

    seeds: int = 2
    episodes: int = 80
    length: int = 200
    rates: tuple[float, ...] = (3e-3, 1e-3)
    hidden: int = 32
    steps: int = 1500
    check: int = 50
    patience: int = 10
    batch: int = 64
    widths: tuple[int, ...] = (100, 300)
    most_delays: int = 4
    windows: int = 200
    runs: int = 3
    run_steps: int = 120

    @classmethod
    def of(cls, quick: bool) -> RecurrentBudget:
        """Return the full budget, or the one of a first look."""
        if not quick:
            return cls()
        return cls(
            seeds=1,
            episodes=30,
            length=160,
            rates=(5e-3,),
            hidden=16,
            steps=200,
            check=50,
            patience=5,
            batch=32,
            widths=(100,),
            most_delays=2,
            windows=50,
            runs=1,
            run_steps=60,
        )

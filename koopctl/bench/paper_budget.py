"""How much work `koopctl bench paper` does: the same for every model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What a run may spend.

    Attributes:
        seeds: Seeds of data and weights, in closed loops of weights, over which a figure is averaged.
        trials: Settings tried for each model on each system.
        steps: Steps of gradient descent, at most, of the models that are shown.
        trial_steps: Those of a trial.
        check: Steps between two looks at the held-out error.
        patience: Looks without progress after which descent stops.
        sanity: Steps that LSTM and GRU get to show that they can; 0 leaves that out.
        batch: Stretches in a batch of descent.
        starts: Test windows.
        chaos: Length of a chaotic test, as a share of the full one.
        free: Samples of the free runs whose shape is compared.
        free_runs: How many runs they are.
        widths: Hidden units that gradient-free models may have.
        swept: Widths of the ablations.
        shares: Shares of the training data in the ablations.
        runs: Closed-loop runs of a plant, None for those of its setting.
        length: Steps of a closed-loop run, None for those of its setting.
        narrow: Whether the spaces of gradient-trained models leave out what makes them compile anew.
    """

    seeds: int = 5
    trials: int = 6
    steps: int = 3000
    trial_steps: int = 800
    check: int = 100
    patience: int = 12
    sanity: int = 20_000
    batch: int = 64
    starts: int = 50
    chaos: float = 1.0
    free: int = 200_000
    free_runs: int = 20
    widths: tuple[int, ...] = (300,)
    swept: tuple[int, ...] = (20, 50, 100, 300, 1000)
    shares: tuple[float, ...] = (0.05, 0.2, 1.0)
    runs: int | None = 5
    length: int | None = None
    narrow: bool = False

    @classmethod
    def of(cls, quick: bool) -> Budget:
        """Return the full budget, or the one of a first look."""
        if not quick:
            return cls()
        return cls(
            seeds=1,
            trials=2,
            steps=200,
            trial_steps=200,
            check=50,
            patience=5,
            sanity=0,
            batch=32,
            starts=10,
            chaos=0.4,
            free=2000,
            free_runs=2,
            swept=(50, 200),
            shares=(0.2, 1.0),
            runs=1,
            length=100,
            narrow=True,
        )

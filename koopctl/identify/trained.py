"""Models trained by gradient descent among others: their settings, without importing what trains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sklearn.base import clone

from koopctl.errors import DataError
from koopctl.models.base import Model
from koopctl.models.recurrent.training import Training


def training_of(model: Model) -> Training | None:
    """Return how a model is trained by gradient descent, None for one that is not.

    Raises:
        DataError: A setting is unknown or out of range.
    """
    params = model.get_params(deep=False)
    if "training" not in params:
        return None
    return Training.of(params["training"])


def reseeded(model: Model, seed: int) -> Model:
    """Return an unfitted copy of a trained model whose weights, batches and noise have another seed."""
    settings = training_of(model)
    fresh: Model = clone(model)
    if settings is not None:
        fresh.set_params(training=replace(settings, seed=seed))
    return fresh


def check_separate(models: Sequence[Model]) -> None:
    """Raise a DataError where several trainings would go on from one checkpoint."""
    for model in models:
        settings = training_of(model)
        if settings is not None and settings.checkpoint is not None:
            raise DataError(
                f"the training has checkpoint={str(settings.checkpoint)!r}, one file, but several networks are trained "
                "here, each of which would go on from it; leave checkpoint out."
            )

"""The verb that learns a model from rollouts."""

from __future__ import annotations

from typing import TypeVar

from sklearn.base import clone

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.base import Model
from koopctl.models.sampled_rnn import SampledRNN

_M = TypeVar("_M", bound=Model)


def fit(data: Rollouts, model: _M | None = None) -> _M | SampledRNN:
    """Return a fitted copy of `model`; the one passed in stays as it was, so that it can be fitted to other data too.

    Args:
        data: Recorded motion.
        model: An unfitted model with its parameters; `SampledRNN()` by default.

    Raises:
        DataError: The data cannot carry the model, or `model` is none.
    """
    template = SampledRNN() if model is None else model
    if not isinstance(template, Model):
        raise DataError(f"model is {template!r}; fit(data, model) takes an unfitted model such as SampledRNN(300).")
    return clone(template).fit(data)  # type: ignore[no-any-return]

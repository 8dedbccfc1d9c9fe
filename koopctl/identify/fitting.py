"""The verb that learns a model from rollouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, overload

from sklearn.base import clone

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.identify.search import Search
from koopctl.models.base import Model
from koopctl.models.intake import joined
from koopctl.models.sampled_rnn import SampledRNN

_M = TypeVar("_M", bound=Model)
Grid = Mapping[str, Sequence[Any]]


@overload
def fit(
    data: Rollouts | Iterable[Rollouts],
    model: None = None,
    *,
    search: Literal["auto"] | Grid | Search | None = None,
    sample_weight: Sequence[Any] | None = None,
    feedback: Callable[..., Any] | None = None,
) -> SampledRNN: ...


@overload
def fit(
    data: Rollouts | Iterable[Rollouts],
    model: _M,
    *,
    search: Literal["auto"] | Grid | Search | None = None,
    sample_weight: Sequence[Any] | None = None,
    feedback: Callable[..., Any] | None = None,
) -> _M: ...


@overload
def fit(
    data: Rollouts | Iterable[Rollouts],
    model: Sequence[Model],
    *,
    search: Literal["auto"] | Grid | Search,
    sample_weight: Sequence[Any] | None = None,
    feedback: Callable[..., Any] | None = None,
) -> Model: ...


def fit(
    data: Rollouts | Iterable[Rollouts],
    model: Model | Sequence[Model] | None = None,
    *,
    search: Literal["auto"] | Grid | Search | None = None,
    sample_weight: Sequence[Any] | None = None,
    feedback: Callable[..., Any] | None = None,
) -> Model:
    """Return a fitted copy of `model`; the one passed in stays as it was, so that it can be fitted to other data too.

    Args:
        data: Recorded motion; an iterator of Rollouts is read one by one and need not fit into memory.
        model: An unfitted model with its parameters, `SampledRNN()` by default; with `search` also several, of which
            the best is taken.
        search: "auto" for nineteen decades of ridge and three widths, lists of values by parameter, or a `Search`;
            the best on held-out episodes is fitted to all of the data, and `search_` holds the trials.
        sample_weight: How much each transition counts, one array (T_i,) an episode.
        feedback: The controller that ran while the data was recorded, `u = feedback(y)` or a law, where its inputs
            answered sensor noise: the bias this leaves in the coefficients is removed by instrumental variables.

    Raises:
        DataError: The data cannot carry the model, or `model` is none.
    """
    templates: list[Model] = [SampledRNN()] if model is None else _listed(model)
    for template in templates:
        if not isinstance(template, Model):
            raise DataError(f"model is {template!r}; fit(data, model) takes an unfitted model such as SampledRNN(300).")
    if feedback is not None:
        _check_corrigible(templates, sample_weight)
    if search is None:
        if len(templates) != 1:
            raise DataError(f"{len(templates)} models were given; one is fitted, search='auto' chooses among several.")
        fitted = clone(templates[0]).fit(data, sample_weight=sample_weight)
    else:
        fitted = _searched(data, templates, search, sample_weight)
    return fitted if feedback is None else _corrected(fitted, data, feedback)


def _check_corrigible(templates: list[Model], sample_weight: Sequence[Any] | None) -> None:
    """Refuse before anything is fitted what could not be corrected for feedback afterwards."""
    if sample_weight is not None:
        raise DataError("the correction for feedback knows no sample weights; leave one of the two out.")
    from koopctl.identify.closed_loop import check_corrigible

    for template in templates:
        check_corrigible(template)


def _listed(model: Model | Sequence[Model]) -> list[Model]:
    return list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]


def _searched(
    data: Rollouts | Iterable[Rollouts],
    templates: list[Model],
    search: Literal["auto"] | Grid | Search,
    sample_weight: Sequence[Any] | None,
) -> Model:
    data = joined(data)
    if isinstance(search, str) and search != "auto":
        raise DataError(f"search is {search!r}; it is 'auto', lists of values by parameter name, or a Search.")
    plan = search if isinstance(search, Search) else Search(None if isinstance(search, str) else search)
    trials = plan.run(data, templates, sample_weight)
    fitted = trials.best.model().fit(data, sample_weight=sample_weight)
    fitted.search_ = trials
    return fitted


def _corrected(fitted: Model, data: Rollouts | Iterable[Rollouts], feedback: Callable[..., Any]) -> Model:
    from koopctl.identify.closed_loop import refine_closed_loop

    return refine_closed_loop(fitted, joined(data), feedback)

"""The verb that measures how far predictions are off on held-out motion and turns it into a bound."""

from __future__ import annotations

import copy

import numpy as np

from koopctl.arrays import as_whole, is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.identify.calibration import Calibration, capped, spread_of
from koopctl.identify.conformal import conformal_quantile
from koopctl.identify.ensemble import Ensemble
from koopctl.identify.error_bound import ErrorBound
from koopctl.models.base import Model


def error_bound(
    model: Model | Ensemble,
    calibration: Rollouts,
    horizon: int,
    coverage: float = 0.9,
    joint: bool = True,
    relift: bool = True,
) -> ErrorBound:
    """Calibrate how far predictions may be off, by split conformal prediction with whole episodes as the units.

    The errors of every window, over a scale, are its score; the quantile of the scores, with the mass of one more
    episode at infinity (see `conformal_quantile`), times the scale is the bound. A joint bound takes the largest score
    of a window's steps and coordinates (scaled, then the maximum, as Cleaveland et al., AAAI 2024), the other one a
    quantile for each. The scale is the rms error on stretches of the model's training data; for an ensemble, `widths`
    and `bounds` follow its spread at each start and input (normalised scores: Papadopoulos, Gammerman and Vovk, AIA
    2008), while `half_widths` is still one bound for all of them.

    Args:
        model: A fitted model, or an ensemble.
        calibration: Episodes the model was not fitted to, recorded as the plant will run: at least
            1 / (1 - coverage) - 1 of them. A single long one is cut into pieces with gaps, which a note tells.
        horizon: Steps the bound reaches.
        coverage: Probability that a prediction stays inside.
        joint: Whether the bound holds for all steps and coordinates of a prediction at once, or for each by itself.
        relift: Which roll-out is bounded: False is the linear recursion, for a `LiftedMPC`.

    Raises:
        DataError: The episodes are too few for the coverage, too short, or were fitted to.
        SamplingTimeError: They were sampled at another rate.
    """
    if not isinstance(model, Model | Ensemble):
        raise DataError(f"model is {type(model).__name__}; it is a fitted model or an ensemble.")
    as_whole("horizon", horizon, 1)
    if not is_finite(coverage) or not 0.0 < coverage < 1.0:
        raise DataError(f"coverage is {coverage!r}; it is a probability between 0 and 1, such as 0.9.")
    predictor, data = _frozen(model), Rollouts.join(calibration)
    point = predictor.model if isinstance(predictor, Ensemble) else predictor
    point.check_data(data)
    base = Calibration.of(point, data, horizon, coverage, relift, joint or isinstance(model, Ensemble))
    return _bound(predictor, base, float(coverage), bool(joint), bool(relift))


def _bound(predictor: Model | Ensemble, base: Calibration, coverage: float, joint: bool, relift: bool) -> ErrorBound:
    point = predictor.model if isinstance(predictor, Ensemble) else predictor
    windows, scale = base.windows, base.scale
    half_widths = capped(base.quantile(scale, coverage, joint) * scale, point)
    if not np.isfinite(half_widths).all():
        raise DataError(
            f"more than {1 - coverage:.0%} of the predictions run away within {len(scale)} steps; lower horizon, or "
            "stabilise the model (spectral_radius=1.0)."
        )
    factor, mean_widths = np.full((1, 1), np.nan), half_widths
    if isinstance(predictor, Ensemble):
        adaptive = spread_of(predictor, windows.x0, windows.U, scale, relift)
        factor = base.quantile(adaptive, coverage, joint)
        mean_widths = base.mean(capped(factor * adaptive, point))
    return ErrorBound(
        predictor=predictor,
        half_widths=half_widths,
        names=point.state_names,
        coverage=coverage,
        joint=joint,
        relift=relift,
        n_episodes=windows.n_episodes,
        n_windows=len(windows.x0),
        mean_widths=mean_widths,
        median_errors=conformal_quantile(base.errors, windows.weight, windows.n_episodes, 0.5),
        scale=scale,
        factor=factor,
        dt=point.dt,
        notes=base.notes,
    )


def _frozen(model: Model | Ensemble) -> Model | Ensemble:
    """Return copies: what the models learn later does not reach the bound, nor the other way round."""
    if isinstance(model, Ensemble):
        return Ensemble(_copied(model.model), [_copied(member) for member in model.members], model.over)
    return _copied(model)


def _copied(model: Model) -> Model:
    """Return a shallow copy, which learning leaves alone but for what `update` changes in place."""
    twin = copy.copy(model)
    if hasattr(model, "_recursive_"):
        twin._recursive_ = copy.deepcopy(model._recursive_)
    return twin

"""`koopctl fit`."""

from __future__ import annotations

import math
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopctl.cli.files import Target, read, writable
from koopctl.cli.output import Json, Output

if TYPE_CHECKING:
    from koopctl.data.rollouts import Rollouts
    from koopctl.models.base import Model
    from koopctl.models.scores import PredictionErrors

_SHOWN = (1, 5, 20, 50, 100, 200)  # horizons of the printed table, and the longest


class ModelKind(StrEnum):
    """Models by name."""

    SAMPLED_RNN = "sampled-rnn"
    EDMDC = "edmdc"


class Inputs(StrEnum):
    """How the input enters an EDMDc."""

    LINEAR = "linear"
    BILINEAR = "bilinear"


class LiftKind(StrEnum):
    """Lifts by name."""

    SAMPLED = "sampled"
    IDENTITY = "identity"


class Sampling(StrEnum):
    """How pairs of data points are drawn."""

    GRADIENT = "gradient"
    UNIFORM = "uniform"


class Activation(StrEnum):
    """Nonlinearity of the hidden units."""

    TANH = "tanh"
    RELU = "relu"


def fit(
    data: Annotated[Path, typer.Argument(help="Recorded motion, written by collect.")],
    output: Target,
    model: Annotated[ModelKind, typer.Option(help="Kind of model.")] = ModelKind.SAMPLED_RNN,
    n_features: Annotated[
        int | None, typer.Option(help="Hidden units; by default 300, and 100 in the lift of edmdc.")
    ] = None,
    delays: Annotated[int, typer.Option(help="Older observations and inputs in the state.")] = 0,
    ridge: Annotated[float, typer.Option(help="Penalty of the least squares.")] = 1e-10,
    inputs: Annotated[Inputs | None, typer.Option(help="How the input enters edmdc; linear by default.")] = None,
    lift: Annotated[LiftKind | None, typer.Option(help="Features of edmdc; sampled by default.")] = None,
    sampling: Annotated[Sampling, typer.Option(help="How pairs of data points are drawn.")] = Sampling.GRADIENT,
    activation: Annotated[Activation, typer.Option(help="Nonlinearity of the hidden units.")] = Activation.TANH,
    manifold: Annotated[bool, typer.Option(help="Detect angles behind cos and sin, and dependent columns.")] = True,
    random_state: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the episodes kept from the fit, to score it on.")
    ] = 0.1,
    horizon: Annotated[int, typer.Option(min=1, help="Longest prediction to score, in steps.")] = 50,
    as_json: Json = False,
) -> None:
    """Learn a model from recorded motion, and score it on episodes it has not seen.

    The scores are those of the model in the file, which never sees the held-out episodes; --held-out 0 uses all.
    """
    from koopctl.data.rollouts import Rollouts
    from koopctl.identify.fitting import fit as learn

    say = Output(as_json)
    target = writable(output, data)
    unfitted = _unfitted(model, n_features, inputs, lift, str(sampling), str(activation), random_state)
    unfitted.set_params(delays=delays, ridge=ridge, manifold=manifold)
    rollouts = read(data, Rollouts, "recorded motion", "collect")
    train, test = _split(rollouts, held_out)
    with say.working("fitting"):
        start = time.perf_counter()
        fitted = learn(train, unfitted)
        seconds = time.perf_counter() - start
    fitted.save(target)
    say.say(f"{type(fitted).__name__} fitted to {train.n_samples} transitions in {seconds:.2f} s", f"wrote {target}")
    say.notes(fitted.notes_)
    with say.working("scoring"):
        scores = {name: _scored(fitted, part, horizon) for name, part in (("train", train), ("held-out", test)) if part}
    _print_scores(say, fitted, scores)
    say.result(
        output=target,
        model=type(fitted).__name__,
        params={k: v for k, v in fitted.get_params(deep=False).items() if k != "lift"},
        state_names=fitted.state_names,
        seconds=seconds,
        spectral_radius=_spectral_radius(fitted),
        notes=fitted.notes_,
        scores={name.replace("-", "_"): _numbers(score, errors) for name, (score, errors) in scores.items()},
    )


def _unfitted(
    kind: ModelKind,
    n_features: int | None,
    inputs: Inputs | None,
    lift: LiftKind | None,
    sampling: str,
    activation: str,
    random_state: int,
) -> Any:
    from koopctl.features.identity import Identity
    from koopctl.features.sampled import SampledFeatures
    from koopctl.models.edmdc import EDMDc
    from koopctl.models.sampled_rnn import SampledRNN

    drawn = {"sampling": sampling, "activation": activation, "random_state": random_state}
    if kind is ModelKind.SAMPLED_RNN:
        if inputs is not None or lift is not None:
            raise typer.BadParameter("belongs to --model edmdc.", param_hint="--inputs" if inputs else "--lift")
        return SampledRNN(n_features=300 if n_features is None else n_features).set_params(**drawn)
    coupling = str(inputs or Inputs.LINEAR)
    if lift is LiftKind.IDENTITY:
        if n_features is not None:
            raise typer.BadParameter("the identity has no features to count.", param_hint="--n-features")
        return EDMDc(Identity()).set_params(inputs=coupling)
    features = SampledFeatures(100 if n_features is None else n_features).set_params(**drawn)
    return EDMDc(features).set_params(inputs=coupling)


def _split(rollouts: Rollouts, held_out: float) -> tuple[Rollouts, Rollouts | None]:
    """Keep whole episodes back: at least one, where there are two."""
    if held_out == 0.0 or len(rollouts) < 2:
        return rollouts, None
    kept_back = min(max(1, round(held_out * len(rollouts))), len(rollouts) - 1)
    return rollouts.split(1.0 - kept_back / len(rollouts))


def _scored(model: Model, part: Rollouts, horizon: int) -> tuple[float, PredictionErrors | None]:
    from koopctl.models.scores import prediction_errors

    delays = model.window_.delays
    long = [i for i, U in enumerate(part.U) if len(U) > delays]  # shorter episodes hold nothing to predict
    if not long:
        return math.nan, None
    longest = max(len(part.U[i]) for i in long) - delays
    errors = prediction_errors(model, part[long], horizon=min(horizon, longest))
    return model.score(part), errors


def _print_scores(say: Output, model: Model, scores: dict[str, tuple[float, PredictionErrors | None]]) -> None:
    shares = ", ".join(f"{name} 1 - {1 - score:.1e}" for name, (score, _) in scores.items())
    say.say(f"share of the motion explained in one step: {shares}")
    radius = _spectral_radius(model)
    if radius is not None:
        say.say(f"spectral radius of A: {radius:.4f}" + (" (the linear recursion grows)" if radius > 1 + 1e-9 else ""))
    found = {name: errors for name, (_, errors) in scores.items() if errors is not None}
    if not found:
        return
    longest = min(len(errors.relifted) for errors in found.values())
    horizons = sorted({k for k in _SHOWN if k < longest} | {longest})
    rows = []
    for roll_out in ("relifted", "linear"):
        for name, errors in found.items():
            values = [f"{getattr(errors, roll_out)[k - 1]:.2g}" for k in horizons]
            rows.append([f"{'re-lifted' if roll_out == 'relifted' else roll_out}, {name}", *values])
    say.say("prediction error as a share of each coordinate's spread, by steps ahead:")
    say.table(["roll-out", *map(str, horizons)], rows)


def _spectral_radius(model: Model) -> float | None:
    import numpy as np

    from koopctl.models.edmdc import EDMDc

    return float(np.abs(np.linalg.eigvals(model.A_)).max()) if isinstance(model, EDMDc) else None


def _numbers(score: float, errors: PredictionErrors | None) -> dict[str, Any]:
    if errors is None:
        return {"score": score}
    return {"score": score, "relifted": errors.relifted, "linear": errors.linear, "n_starts": errors.n_starts}

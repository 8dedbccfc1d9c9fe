"""`koopctl fit`."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopctl.cli.files import Picture, Target, draw, picture, read, writable
from koopctl.cli.kinds import NAMES, SAMPLED_RNN, known_kind
from koopctl.cli.modelling import Activation, Inputs, LiftKind, Sampling, Solver, Wanted, described
from koopctl.cli.output import Json, Output
from koopctl.cli.scoring import Scores
from koopctl.cli.searching import check_not_searched, outcome, search_of

if TYPE_CHECKING:
    from koopctl.data.rollouts import Rollouts
    from koopctl.identify.search import Search
    from koopctl.models.base import Model


def fit(
    data: Annotated[Path, typer.Argument(help="Recorded motion, written by collect or import.")],
    output: Target,
    model: Annotated[
        str, typer.Option(metavar="NAME", callback=known_kind, help=f"Kind of model: {NAMES}.")
    ] = SAMPLED_RNN,
    n_features: Annotated[
        int | None,
        typer.Option(
            help="Hidden units, features, centres or units of a reservoir; by default 300 in a network, else 100."
        ),
    ] = None,
    delays: Annotated[
        int | None,
        typer.Option(help="Older observations and inputs in the state; 0 by default, 5 in sampled-rnn-p."),
    ] = None,
    ridge: Annotated[float | None, typer.Option(help="Penalty of the least squares; 1e-10 by default.")] = None,
    inputs: Annotated[Inputs | None, typer.Option(help="How the input enters edmdc; linear by default.")] = None,
    lift: Annotated[
        list[LiftKind] | None,
        typer.Option(
            metavar="LIFT",
            help="Features of edmdc: sampled (the default), fourier, gaussian, thin-plate, polynomial or identity; "
            "repeat it for a sum.",
        ),
    ] = None,
    degree: Annotated[int | None, typer.Option(help="Highest degree of --lift polynomial; 2 by default.")] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps over which edmdc's recursion (1 by default) or a trained network (30) is fitted."
        ),
    ] = None,
    spectral_radius: Annotated[
        float | None,
        typer.Option(help="Largest modulus the eigenvalues of edmdc's A may have; that of an echo-state's reservoir."),
    ] = None,
    leak: Annotated[
        float | None, typer.Option(help="Share of an echo-state's units that each step renews; 1 by default.")
    ] = None,
    input_scaling: Annotated[
        float | None, typer.Option(help="Largest input weight of an echo-state; 0.1 by default.")
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(help="Hidden units of a network trained by gradient descent; 32 by default.")
    ] = None,
    washout: Annotated[
        int | None,
        typer.Option(help="Samples a trained network or an echo-state is shown before it predicts; 20 by default."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of gradient descent, at most; 3000 by default.")] = None,
    solver: Annotated[
        Solver | None,
        typer.Option(help="Normal equations, QR of the data, or by default (auto) a second pass where it is needed."),
    ] = None,
    sampling: Annotated[
        Sampling | None,
        typer.Option(help="Hidden units through pairs of data points (gradient, the default, or uniform) or random."),
    ] = None,
    activation: Annotated[
        Activation | None, typer.Option(help="Nonlinearity of sampled hidden units; tanh by default.")
    ] = None,
    steepness: Annotated[
        float | None,
        typer.Option(help="Largest length of a hidden unit's weights, of random ones the rms; 0.5 for smooth motion."),
    ] = None,
    scatter: Annotated[
        float | None,
        typer.Option(help="Largest bias added to a sampled unit; 0 by default, 1 for smooth motion without noise."),
    ] = None,
    isotropic: Annotated[
        float | None,
        typer.Option(help="Share of sampled units turned in a random direction; 0 by default, 0.8 for smooth motion."),
    ] = None,
    manifold: Annotated[bool, typer.Option(help="Detect angles behind cos and sin, and dependent columns.")] = True,
    random_state: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="auto|NAME=V1,V2,..",
            help="Choose by multi-step error on episodes that the trials do not see: ridge and width (auto), or "
            "parameters among values such as delays=0,1,2; repeat it.",
        ),
    ] = None,
    search_horizon: Annotated[
        int | None, typer.Option(min=1, help="Steps ahead by which the search judges; 20 by default.")
    ] = None,
    search_linear: Annotated[
        bool | None, typer.Option("--search-linear", help="Judge the linear recursion, the one the law lifted uses.")
    ] = None,
    feedback: Annotated[
        Path | None,
        typer.Option(help="Law that ran while the data was recorded, where its inputs answered sensor noise."),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the episodes kept from fit and search, to score it on.")
    ] = 0.1,
    score_horizon: Annotated[int, typer.Option(min=1, help="Longest prediction to score, in steps.")] = 50,
    plot: Picture = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Bar on stderr; by default only in a terminal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn a model from recorded motion, report on the fit, and score it on episodes it has not seen.

    The scores are those of the model in the file, which never sees the held-out episodes; --held-out 0 uses all.
    """
    say = Output(as_json)
    target, drawing = writable(output, data, feedback), picture(plot)
    options: dict[str, Any] = {
        "delays": delays,
        "ridge": ridge,
        "solver": solver,
        "manifold": manifold,
        "n_features": n_features,
    }
    options |= {"inputs": inputs, "horizon": horizon, "spectral_radius": spectral_radius, "degree": degree}
    options |= {"sampling": sampling, "activation": activation, "leak": leak, "input_scaling": input_scaling}
    options |= {"steepness": steepness, "scatter": scatter, "isotropic": isotropic}
    options |= {"hidden": hidden, "washout": washout, "steps": steps}
    shown = search is None and (sys.stderr.isatty() if progress is None else progress)
    wanted = Wanted(model, tuple(lift or ()), random_state, options, shown)
    unfitted, plan = wanted.unfitted(), search_of(search, search_horizon, search_linear, progress)
    check_not_searched(plan, ridge)
    _learn(say, data, target, drawing, unfitted, plan, feedback, held_out, score_horizon)


def _learn(
    say: Output,
    data: Path,
    target: Path,
    drawing: Path | None,
    unfitted: Model,
    plan: Search | None,
    feedback: Path | None,
    held_out: float,
    score_horizon: int,
) -> None:
    from koopctl.controllers.law import Law
    from koopctl.data.rollouts import Rollouts
    from koopctl.identify.fitting import fit as learn
    from koopctl.identify.trained import training_of

    law = None if feedback is None else read(feedback, Law, "a law", "design")  # type: ignore[type-abstract]
    train, test = _split(read(data, Rollouts, "recorded motion", "collect", "import"), held_out)
    trained = training_of(unfitted)  # draws a bar of its own
    quiet = trained is not None and trained.progress if plan is None else plan.progress
    with nullcontext() if quiet else say.working("fitting"):
        start = time.perf_counter()
        fitted = learn(train, unfitted, search=plan, feedback=law)
        seconds = time.perf_counter() - start
    fitted.save(target)
    say.say(f"{type(fitted).__name__} fitted to {train.n_samples} transitions in {seconds:.2f} s", f"wrote {target}")
    with say.working("scoring"):
        parts = {"train": train, "held-out": test}
        scores = {name: Scores.of(fitted, part, score_horizon) for name, part in parts.items() if part is not None}
    _print(say, fitted, scores)
    draw(say, fitted.plot, drawing)
    say.result(
        output=target,
        **described(fitted),
        seconds=seconds,
        scores={name.replace("-", "_"): found.numbers() for name, found in scores.items()},
        search=None if plan is None else outcome(fitted.search_),
        plot=drawing,
    )


def _print(say: Output, fitted: Model, scores: dict[str, Scores]) -> None:
    if hasattr(fitted, "search_"):
        say.say("", str(fitted.search_))
    say.say("", str(fitted.report_), "")
    shares = ", ".join(f"{name} 1 - {1 - found.score:.1e}" for name, found in scores.items())
    say.say(f"share of the motion explained in one step: {shares}")
    if "held-out" in scores:
        scores["held-out"].print(say, "held-out")


def _split(rollouts: Rollouts, held_out: float) -> tuple[Rollouts, Rollouts | None]:
    """Keep whole episodes back: at least one, where there are two."""
    if held_out == 0.0 or len(rollouts) < 2:
        return rollouts, None
    kept_back = min(max(1, round(held_out * len(rollouts))), len(rollouts) - 1)
    return rollouts.split(1.0 - kept_back / len(rollouts))

"""`koopctl bench identification`: every number the README quotes about learning models, from a clean start."""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctl.bench import attractors, korda_mezic, recordings, same_data, throughput
from koopctl.bench.exact_plant import matrix_errors
from koopctl.bench.options import Options
from koopctl.features.sampled import SampledFeatures
from koopctl.models.edmdc import EDMDc

if TYPE_CHECKING:
    from rich.console import Console

_LIFTED = 200
_NO_DATA = "left out: give the folder of the recordings with --data or $KOOPCTL_DATA"


def run(options: Options, console: Console) -> dict[str, Any]:
    """Run the whole bench and return every figure it printed.

    Args:
        options: With `quick`, smaller problems everywhere.
        console: Where the tables go.
    """
    if os.environ.get("OMP_NUM_THREADS") != "1":
        console.print("times below are on as many threads as numpy takes, rivals' on one: set OMP_NUM_THREADS=1")
    parts: dict[str, Callable[[Options, Console], Any]] = {
        "forced-van-der-pol": _van_der_pol,
        "recordings": _recordings,
        "attractors": _attractors,
        "exact-plant": _exact_plant,
        "same-data": _same_data,
        "lift": _lift,
        "throughput": _throughput,
    }
    return options.run({name: partial(part, options, console) for name, part in parts.items()})


def _exact_plant(options: Options, console: Console) -> dict[str, float]:
    del options  # there is nothing to shorten
    found = matrix_errors()
    console.print(
        "\nexact linear plant, largest error of (A, B): "
        + ", ".join(f"{name} {error:.1e}" for name, error in found.items())
    )
    return found


def _van_der_pol(options: Options, console: Console) -> dict[str, Any]:
    found = korda_mezic.run(options.quick)
    console.print(
        "\nforced Van der Pol, mean of 100 relative errors over 3 s of square wave [%]; published linear: 24.4"
    )
    console.print(f"  {'':64}{'their phase':>20}{'wave from zero':>20}")
    console.print(f"  {'model':64}{'linear':>10}{'relifted':>10}{'linear':>10}{'relifted':>10}")
    for row in found["rows"]:
        cells = [f"{row[f'{kind}, {phase}']:>10.3g}" for phase in ("theirs", "from zero") for kind in _KINDS]
        console.print(f"  {row['model']:64}" + "".join(cells))
    console.print(
        f"  {'the best answer that is the same from every state (a bound for linear)':64}{'':>20}"
        f"{found['least from zero']:>10.3g}"
    )
    return found


_KINDS = ("linear", "relifted")


def _recordings(options: Options, console: Console) -> dict[str, Any]:
    if options.data is None:
        console.print(f"\nSilverbox and DaISy {_NO_DATA}")
        return {}
    box, plants = recordings.silverbox(options.data, options.quick), recordings.daisy(options.data, options.quick)
    errors = ", ".join(f"{name} {value:.3f}" for name, value in box["errors"].items())
    console.print(f"\nSilverbox, free run, rms error in mV: {errors}")
    console.print(f"  SampledRNN {box['params']}, fitted in {box['fit_s']:.1f} s, chosen in {box['search_s']:.0f} s")
    for row in plants:
        shown = ", ".join(f"{value:.3g}" for value in row["rmse"])
        console.print(f"DaISy {row['name']}, free run, rms error: {shown}   SampledRNN {row['params']}")
    return {"silverbox": box, "daisy": plants}


def _attractors(options: Options, console: Console) -> dict[str, Any]:
    found = {}
    for system in (attractors.LORENZ, attractors.ROESSLER):
        found[system.name] = rows = attractors.run(system, options)
        console.print(f"\n{system.name}, 5 000 points: Lyapunov times until the error exceeds 0.4 deviations, and KL")
        console.print(f"  {'model':70}{'median':>8}{'least':>8}{'KL':>9}{'fit s':>8}")
        for row in rows:
            if "failed" in row:
                console.print(f"  {row['model']:70} failed: {row['failed']}")
                continue
            if "median" not in row:
                console.print(f"  {row['model']:70}{'':16}{row['kl']:>9.4f}")
                continue
            numbers = f"{row['median']:>8.2f}{row['least']:>8.2f}{row['kl']:>9.4f}{row['fit_s']:>8.2f}"
            console.print(f"  {row['model']:70}{numbers}")
    return found


def _same_data(options: Options, console: Console) -> list[dict[str, Any]]:
    rows = same_data.run(options)
    fastest = min((row["fit_s"] for row in rows if row["ours"]), default=float("nan"))
    console.print(
        "\n20 000 transitions, 200 features, medians over 5 hidden layers: fit time, error 20 and 100 steps ahead"
    )
    console.print(f"  {'model':58}{'roll-out':>10}{'fit s':>8}{'ratio':>7}{'20':>10}{'100':>10}")
    for row in rows:
        if "failed" in row:
            console.print(f"  {row['label']:58} failed: {row['failed']}")
            continue
        errors = "".join(f"{row['errors'][step]:>10.1e}" for step in (20, 100))
        console.print(
            f"  {row['label']:58}{row['rollout']:>10}{row['fit_s']:>8.3f}{row['fit_s'] / fastest:>7.1f}{errors}"
        )
    return rows


def _lift(options: Options, console: Console) -> dict[str, float]:
    """Time the lift of one state: the features alone, and the whole lifted state of a model."""
    del options  # there is nothing to shorten
    data = korda_mezic.motion(20, 100, seed=0)
    model = EDMDc(SampledFeatures(_LIFTED)).fit(data)
    x = np.array([0.3, -0.2])
    w = ((x - model.mean_) / model.scale_)[None]
    found = {
        "features_us": min(timeit.repeat(lambda: model.lift_.transform(w), number=2000, repeat=15)) / 2000 * 1e6,
        "state_us": min(timeit.repeat(lambda: model.lift_state(x), number=2000, repeat=15)) / 2000 * 1e6,
    }
    console.print(
        f"\none state to {_LIFTED} features: {found['features_us']:.1f} us; "
        f"to the model's whole lifted state: {found['state_us']:.1f} us"
    )
    return found


def _throughput(options: Options, console: Console) -> dict[str, float]:
    n, p = (100_000, 500) if options.quick else (1_000_000, 1000)
    found = throughput.run(n, p)
    console.print(
        f"\n{n} transitions, {p} features: fitted in {found['fit_s']:.1f} s, {found['ratio']:.2f} x one SYRK + "
        f"Cholesky ({found['bare_s']:.1f} s); {found['extra_gib']:.2f} GiB above the data"
    )
    return found

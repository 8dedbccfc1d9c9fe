"""`koopctl bench mpc`: every number the README quotes about predictive control, from a clean start."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctl.bench import equalities, lifted_latency, motor_tracking, nonlinear_rival, swing_ups, tightened
from koopctl.bench.latency import plain_and_fast, recording, smallest_call
from koopctl.bench.options import Options
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.task import Task

if TYPE_CHECKING:
    from rich.console import Console


def run(options: Options, console: Console) -> dict[str, Any]:
    """Run the whole bench and return every figure it printed.

    Args:
        options: With `quick`, smaller problems everywhere; with `rivals`, CasADi too.
        console: Where the tables go.
    """
    if os.environ.get("OMP_NUM_THREADS") != "1":
        console.print("times below are on as many threads as numpy takes: set OMP_NUM_THREADS=1")
    parts: dict[str, Callable[[Options, Console], Any]] = {
        "lifted": _lifted,
        "relinearized": _relinearized,
        "unconstrained": _unconstrained,
        "motor": _motor,
        "swing-ups": _swing_ups,
        "tightened": _tightened,
        "fed-anything": _fed_anything,
    }
    return options.run({name: partial(part, options, console) for name, part in parts.items()})


def _lifted(options: Options, console: Console) -> dict[str, Any]:
    solvers = ("osqp", "daqp") if importlib.util.find_spec("daqp") else ("osqp",)
    found = lifted_latency.run(options.quick, solvers)
    console.print(
        "\nLiftedMPC, 2 inputs, horizon 20, input, rate and soft output bounds: one law(y) where a bound binds"
    )
    console.print(
        f"  {'solver':10}{'lifted states':>14}{'median ms':>11}{'p99 ms':>9}{'first ms':>10}{'around it ms':>14}   "
        "x the bare solvers on the same programs"
    )
    for row in found["solvers"]:
        for states, figures in row["sizes"].items():
            over = ", ".join(f"{name} {ratio:.2f}" for name, ratio in figures["over_bare"].items())
            console.print(
                f"  {row['solver']:10}{states:>14}{figures['call_ms']:>11.3f}{figures['p99_ms']:>9.3f}"
                f"{figures['first_ms']:>10.2f}{figures['overhead_ms']:>14.3f}   {over}"
            )
    console.print(
        "  200 lifted states against CVXPY on the condensed problem: rebuilt {naive_ratio:.0f} x, with parameters "
        "{dpp_ratio:.0f} x our {ours_ms:.2f} ms, first inputs {first_input_off:.0e} apart".format(**found["cvxpy"])
    )
    return found


def _relinearized(options: Options, console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {"steps": plain_and_fast(2 if options.quick else 20), "numpy_us": smallest_call()}
    console.print(
        "\nRelinearizedMPC, 300 features, 8 states, 1 input, horizon 20: one law(y), where numpy adds 8 numbers in "
        f"{found['numpy_us']:.2f} us"
    )
    for row in found["steps"]:
        console.print(
            "  {build:30}median {step_ms:.2f} ms, p99 {step_p99_ms:.2f} ms; where a bound binds "
            "{step_with_solver_ms:.2f} ms, {ratio_to_solver:.1f} x the bare solver".format(**row)
        )
    if options.rivals:
        rng = np.random.default_rng(0)
        model = SampledRNN(300).fit(recording(rng))
        task = Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, horizon=20)
        starts, steps = 0.5 * rng.normal(size=(2 if options.quick else 5, 8)), 10 if options.quick else 40
        found["ipopt"] = nonlinear_rival.against_network(model, task, starts, steps)
        if "failed" in found["ipopt"]:
            console.print(f"  CasADi + IPOPT failed: {found['ipopt']['failed']}")
        else:
            console.print(
                "  CasADi + IPOPT on the same network and horizon: {ratio:.0f} x as long a call ({ipopt_ms:.0f} ms), "
                "our closed-loop cost {cost_ratio:.4f} x theirs".format(**found["ipopt"])
            )
    return found


def _unconstrained(options: Options, console: Console) -> float:
    worst = equalities.unconstrained(options.quick)
    console.print(f"\nunconstrained, both laws against LQR at horizons 1 to 50: first inputs at most {worst:.0e} apart")
    return worst


def _motor(options: Options, console: Console) -> list[dict[str, Any]]:
    rows = motor_tracking.run(options.quick)
    if options.rivals:
        steps = motor_tracking.STEPS // (2 if options.quick else 1)
        rows.append({"law": "true model, CasADi + IPOPT"} | nonlinear_rival.true_motor(steps))
    best = rows[-1].get("cost", float("nan")) if options.rivals else float("nan")
    console.print("\nbilinear DC motor tracks 0.5 cos(2 pi t / 3) within 0.4, horizon 1 s")
    console.print(f"  {'law':64}{'cost':>9}{'x true':>8}{'outside':>10}{'ms':>8}")
    for row in rows:
        if "failed" in row:
            console.print(f"  {row['law']:64} failed: {row['failed']}")
            continue
        console.print(
            f"  {row['law']:64}{row['cost']:>9.3f}{row['cost'] / best:>8.3f}{row['beyond']:>10.4f}"
            f"{row['call_ms']:>8.1f}"
        )
    return rows


def _swing_ups(options: Options, console: Console) -> dict[str, Any]:
    found = {"pendulum": swing_ups.pendulum(options.quick), "cart-pole": swing_ups.cart_pole(options.quick)}
    console.print("\nPendulum-v1, mean return over the dynamic-programming optimum; worst block of ten seeds")
    for row in found["pendulum"]:
        console.print(f"  {row['law']:40} horizon {row['horizon']:>3}: {row['mean']:.3f}, {row['worst_block']:.3f}")
    console.print("cart-pole swing-up from hanging, 30 000 transitions: upright within 10 s and kept there")
    for row in found["cart-pole"]:
        console.print(
            f"  {row['law']:40} horizon {row['horizon']:>3}: {row['upright']} of {row['starts']}, last one after "
            f"{row['latest_s']:.1f} s, mean return {row['mean']:.0f}, worst {row['worst']:.0f}"
        )
    return found


def _tightened(options: Options, console: Console) -> list[dict[str, Any]]:
    rows = tightened.run(options.quick)
    console.print("\ncoupled pendulums under noise, told to go beyond a bound: how often they leave it")
    for row in rows:
        console.print(
            f"  {row['law']:48}{row['runs']:>7.1%} of the runs, {row['samples']:>7.2%} of the samples; on average "
            f"{row['away']:.3f} rad inside"
        )
    return rows


def _fed_anything(options: Options, console: Console) -> list[dict[str, Any]]:
    rows = equalities.fed_anything(500 if options.quick else 10_000)
    console.print(
        "\nrandom observations, a third of them NaN, inf or far outside the data; half of the runs under prices that "
        "no solver can bring to an end"
    )
    for row in rows:
        rungs = ", ".join(f"{name} {'-' if count is None else count}" for name, count in row["rungs"].items())
        console.print(
            f"  {row['law']:32}{row['calls']} calls, {row['raised']} exceptions, {row['outside']} inputs outside: "
            + rungs
        )
    return rows

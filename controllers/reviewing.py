"""The verb that reviews a designed law: what a control engineer checks before a law meets its plant."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.adaptive_law import AdaptiveLaw
from koopctl.controllers.checks import shown
from koopctl.controllers.law import Law
from koopctl.controllers.lifted_horizon import LiftedHorizon
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.lqr import LQR
from koopctl.controllers.reachability import lasting_modes, unmoved_modes, unseen_modes
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.controllers.review import Finding, Review
from koopctl.controllers.reviewed_bounds import reviewed_bounds
from koopctl.controllers.steady_problem import half_ranges
from koopctl.controllers.weights import stage_weights
from koopctl.errors import DesignError, NotFittedError
from koopctl.models.edmdc import lifted_system
from koopctl.models.fit_report import FitReport
from koopctl.models.memory import Memory

_ILL = 1e8  # condition of the Hessian beyond which digits are lost in the program
_SETTLED = 4.0  # time constants after which a mode has settled
_ERROR = 0.3  # share of the spread of the model's error at the horizon that is worth saying
_CALLS = 40


def review(law: Law | AdaptiveLaw) -> Review:
    """Review a designed law without its plant.

    Stabilisability and detectability of the linearisation at the steady pair (Popov, Belevitch and Hautus), modes
    that only the lift has, the steady state and its gain, conditioning, the horizon against the slowest mode and the
    model's own error, bounds that cannot be kept together, and the time a call takes. The law is left as it was.

    Args:
        law: A law of `koopctl.design`; of an `AdaptiveLaw`, the law as it is now.

    Raises:
        DesignError: It is no law.
    """
    law = law.law if isinstance(law, AdaptiveLaw) else law
    if not isinstance(law, Law):
        raise DesignError(f"review got {shown(law)}; expected a law: koopctl.review(koopctl.design(model, task)).")
    law = law.fresh()
    checks = (_model, _steady, _gain, _reach, _modes, _weights, _conditioning, _horizon, reviewed_bounds, _latency)
    inputs = ", ".join(law.prediction.names)
    title = f"{type(law).__name__} on {type(law.model).__name__}, inputs {inputs}, dt = {law.dt:g} s"
    return Review(title, tuple(finding for check in checks for finding in check(law)))


def _model(law: Law) -> Iterator[Finding]:
    report = _report(law)
    words = () if report is None else report.warnings
    if report is None:
        advice = "its errors are not known here; review a law whose model was fitted or loaded with its report."
        yield Finding("model", "came without its report", "note", advice)
    if words:
        yield Finding("model", f"{len(words)} warnings in its report", "note", "; ".join(words))


def _steady(law: Law) -> Iterator[Finding]:
    steady, task = law.steady, law.wanted
    pairs = ", ".join(f"{name}={value:.4g}" for name, value in zip(law.model.state_names, steady.x, strict=False))
    held = ", ".join(f"{name}={value:.4g}" for name, value in zip(law.prediction.names, steady.u, strict=True))
    if steady.note:
        yield Finding("target", f"{pairs} with {held}", "warning", steady.note)
    else:
        yield Finding("target", f"{pairs} with {held}")
    width = task.u_max - task.u_min
    left = np.minimum(task.u_max - steady.u, steady.u - task.u_min) / np.where(np.isfinite(width), width, np.nan)
    for name, share in zip(law.prediction.names, left, strict=True):
        if np.isfinite(share) and 0 <= share < 0.05:
            yield Finding(
                f"room of {name}",
                f"{share:.0%} of its range",
                "warning",
                "holding the target takes nearly all of the input, which leaves nothing against disturbances.",
            )


def _gain(law: Law) -> Iterator[Finding]:
    A, B = law.prediction.linearize(law.steady.x, law.steady.u)
    nx, nq = law.model.nx, law.prediction.nq
    try:
        gain = np.linalg.solve(np.eye(nx) - A, B)[:nq]
    except np.linalg.LinAlgError:
        gain = np.full((nq, B.shape[1]), np.inf)
    weighed = np.flatnonzero(np.diag(law.wanted.Q) > 0)
    relative = gain[weighed] / half_ranges(law.model)[weighed, None]
    if not np.isfinite(relative).all() or np.abs(relative).max(initial=0.0) > 1e6:
        yield Finding("steady-state gain", "unbounded: the plant integrates")
        return
    names = [law.model.state_names[i] for i in weighed]
    cells = "; ".join(
        f"{q}: " + ", ".join(f"{u} {g:.3g}" for u, g in zip(law.prediction.names, row, strict=True))
        for q, row in zip(names, gain[weighed], strict=True)
    )
    rank = int(np.linalg.matrix_rank(relative, 1e-6))
    if rank < min(len(weighed), B.shape[1]):
        advice = "some weighed coordinates answer to the same combination of inputs and cannot be set apart at rest."
        yield Finding("steady-state gain", cells, "note", advice)
    elif rank < len(weighed):
        advice = f"{len(weighed)} coordinates are weighed and {rank} can be set at rest; the others take what is left."
        yield Finding("steady-state gain", cells, "note", advice)
    else:
        yield Finding("steady-state gain", cells)


def _reach(law: Law) -> Iterator[Finding]:
    """Hautus' test at every mode that does not decay."""
    inputs = np.maximum((law.prediction.high - law.prediction.low) / 2, 1e-9)
    for what, A, B, Q in _systems(law):
        scale = _scale(law, len(A))
        lost, unseen = unmoved_modes(A, B, scale, inputs), unseen_modes(A, Q, scale)
        if lost:
            text = (
                "the input does not move these modes, which do not decay; no law can. Record richer inputs, or leave "
            )
            yield Finding(f"{what}stabilisable", f"no: {_list(lost)}", "warning", text + "the coordinate out.")
        else:
            left = _list(lasting_modes(A)) or "none"
            yield Finding(f"{what}stabilisable", f"yes; not decaying by themselves: {left}")
        if unseen:
            text = "the weights do not see these modes, which do not decay; weigh a coordinate they move."
            yield Finding(f"{what}detectable in the cost", f"no: {_list(unseen)}", "warning", text)
        else:
            yield Finding(f"{what}detectable in the cost", "yes")


def _systems(law: Law) -> Iterator[tuple[str, Array, Array, Array]]:
    """Yield the linear systems the law's gains come from: name, A, B, weight of the state."""
    A, B = law.prediction.linearize(law.steady.x, law.steady.u)
    yield "", A, B, stage_weights(law.model.nx, law.wanted.Q)
    if isinstance(law, LiftedMPC) or isinstance(law, LQR) and law.lifted:
        system = lifted_system(law.model)
        yield "lift ", system.A_, system.B_[:, law.prediction.free], stage_weights(system.nz, law.wanted.Q)


def _scale(law: Law, n: int) -> Array:
    """Return what is much of each state, (n,): half the data's ranges, 1 for features and what is remembered."""
    window, box = law.model.window_, law.model.input_range_
    if isinstance(window, Memory):
        return np.concatenate([half_ranges(law.model), np.ones(n - window.nq)])
    past = [np.tile(half_ranges(law.model), window.delays + 1)]
    past += [np.maximum((box.high - box.low) / 2, 1e-9)] * window.delays
    return np.concatenate([*past, np.ones(n - window.nx)])


def _modes(law: Law) -> Iterator[Finding]:
    """Unstable eigenvalues of the lift that the plant's linearisation does not have."""
    if not isinstance(law, LiftedMPC):
        return
    A, _ = law.prediction.linearize(law.steady.x, law.steady.u)
    own = np.linalg.eigvals(A)
    read = law.system.layout_.read
    lifted = np.linalg.eigvals(law.system.A_[np.ix_(read, read)])
    unstable = [value for value in lifted if abs(value) > 1.0 + 1e-6]
    spurious = [value for value in unstable if np.abs(own - value).min() > 0.02 * abs(value)]
    if spurious:
        advice = (
            "these eigenvalues are the lift's alone: the plan fights motion the plant does not have. Fit with "
            "spectral_radius=1.0, fewer features or more ridge, or use RelinearizedMPC."
        )
        yield Finding("spurious unstable modes", _list(spurious), "warning", advice)
    else:
        yield Finding("spurious unstable modes", "none")


def _weights(law: Law) -> Iterator[Finding]:
    half, Q = half_ranges(law.model), np.diag(law.wanted.Q)
    worth = {name: q * h**2 for name, q, h in zip(law.model.state_names, Q, half, strict=False) if q > 0}
    if not worth:
        yield Finding("weights", "no coordinate is weighed", "note", "the cost is the inputs' and the prices' alone.")
        return
    low, high = min(worth, key=lambda n: worth[n]), max(worth, key=lambda n: worth[n])
    text = ", ".join(f"{name} {value:.2g}" for name, value in worth.items())
    if worth[high] > 1e6 * worth[low]:
        advice = (
            f"over its range {high} costs {worth[high] / worth[low]:.0e} times what {low} does, which hardly counts."
        )
        yield Finding("cost over the data's range", text, "note", advice)
    else:
        yield Finding("cost over the data's range", text)


def _conditioning(law: Law) -> Iterator[Finding]:
    if isinstance(law, LQR):
        return
    condition = float(np.linalg.cond(_hessian(law)))
    if not condition < _ILL:
        advice = "the program loses digits: shorten the horizon, raise R, or give the inputs comparable units."
        yield Finding("condition of the Hessian", f"{condition:.1e}", "warning", advice)
    else:
        yield Finding("condition of the Hessian", f"{condition:.1e} (the identity after scaling)")


def _hessian(law: Law) -> Array:
    """Return the Hessian of the condensed problem at the steady pair, by the corrections of the feedback."""
    if isinstance(law, LiftedMPC):
        return law.condensed_hessian()
    task, none = law.wanted, np.zeros((law.model.nx, 0))
    A, B = law.prediction.linearize(law.steady.x, law.steady.u)
    gain = np.zeros((B.shape[1], len(A))) if law.K is None or task.blocked else law.K
    P = law.P if isinstance(law, RelinearizedMPC) else np.zeros_like(A)
    horizon = LiftedHorizon(A, B, none, gain, P, task, none.T)
    return horizon.hessian(stage_weights(law.prediction.nq, task.Q), task.R, task.dR)


def _horizon(law: Law) -> Iterator[Finding]:
    if isinstance(law, LQR):
        return
    N, dt = law.wanted.horizon, law.dt
    if law.K is not None:
        A, B = law.prediction.linearize(law.steady.x, law.steady.u)
        radius = float(np.abs(np.linalg.eigvals(A - B @ law.K)).max())
        needed = _SETTLED / max(-np.log(min(radius, 1.0 - 1e-12)), 1e-12)
        value = f"{N} steps, {N * dt:.3g} s; the closed loop's slowest mode settles in {needed:.0f} steps"
        ends = law.task.terminal_cost
        by_lqr = isinstance(ends, str) and ends == "lqr"
        if needed > 3 * N and by_lqr:
            advice = "the terminal cost answers for most of the motion: right near the target, not where bounds bind."
            yield Finding("horizon", value, "note", advice)
        elif needed > N and not by_lqr:
            advice = "without the LQR's terminal cost the plan ends before the motion does; lengthen the horizon."
            yield Finding("horizon", value, "warning", advice)
        else:
            yield Finding("horizon", value)
    else:
        yield Finding("horizon", f"{N} steps, {N * dt:.3g} s", "warning", "no LQR exists at the target; see the notes.")
    report = _report(law)
    if report is not None:
        errors = report.linear if isinstance(law, LiftedMPC) else report.relifted
        error, step = errors[min(N, len(errors)) - 1], min(N, len(errors))
        value = f"{error:.2g} of the spread after {step} steps"
        if not error < _ERROR:
            good = next((k for k, each in enumerate(errors) if not each < _ERROR), len(errors))
            advice = f"the model is good for about {good} steps; set horizon_error, or learn a better one."
            yield Finding("model's error at the horizon", value, "warning", advice)
        else:
            yield Finding("model's error at the horizon", value)


def _report(law: Law) -> FitReport | None:
    try:
        return law.model.report_
    except NotFittedError:
        return None


def _latency(law: Law) -> Iterator[Finding]:
    """Time calls from the middle of the data towards the target, as they come in a loop."""
    chart, rng = law.model.window_.chart, np.random.default_rng(0)
    half = half_ranges(law.model)
    times = []
    for k in range(_CALLS):
        share = 1.0 - k / _CALLS
        q = law.steady.x[: chart.nq] + 0.5 * share * half * rng.uniform(-1.0, 1.0, chart.nq)
        y = law.model.output(np.concatenate([q, law.steady.x[chart.nq :]]))
        start = time.perf_counter()
        law(y)
        times.append(time.perf_counter() - start)
    usual, worst = float(np.median(times)), float(np.max(times[1:]))
    value = f"{1e3 * usual:.2f} ms, at most {1e3 * worst:.1f} ms in {_CALLS} calls, {usual / law.dt:.1%} of dt"
    if worst > law.dt:
        advice = "a call can take longer than a sample. Shorten the horizon, use fewer candidates or control_horizon, "
        yield Finding("time of a call", value, "warning", advice + "or install the extra 'fast' and solver='daqp'.")
    elif usual > 0.3 * law.dt:
        yield Finding("time of a call", value, "note", "little room is left for sensors, actuators and jitter.")
    else:
        yield Finding("time of a call", value)


def _list(values: list[complex]) -> str:
    shown = sorted({f"{abs(v):.3f}" if abs(v.imag) < 1e-9 else f"{abs(v):.3f} (pair)" for v in values}, reverse=True)
    return ", ".join(shown[:6]) + (", ..." if len(shown) > 6 else "")

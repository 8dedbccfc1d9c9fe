"""Closed-loop data with sensor noise: the bias of least squares removed by instrumental variables."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.base import Model

_M = TypeVar("_M", bound=Model)
_ROUNDS = 5
_SETTLED = 1e-3  # relative change of the predictions at which the rounds end
_TRUST = 1e-2  # share of a direction's variance the instruments must explain to correct it
_STRAYED = 0.2  # share of simulated states at the guard's ends above which the simulation is not believed


def refine_closed_loop(model: _M, data: Rollouts, feedback: Callable[..., Any], rounds: int = _ROUNDS) -> _M:
    """Correct a model fitted to data of a running controller whose inputs answered sensor noise.

    The controller being known, so is the excitation r = u - feedback(y) that was added to it. Model and controller,
    driven by r alone, give states and inputs free of the recorded noise: their regressors are the instruments Z of
    theta = argmin |P_Z (Y - Phi theta^T)|^2, P_Z the projection on Z, solved again with each better model (refined
    instrumental variables; Gilson and Van den Hof, Automatica 41, 2005). Directions the instruments do not explain
    keep their least-squares value (a k-class estimator).

    Args:
        model: Fitted to `data` by least squares; changed in place.
        data: The recorded motion.
        feedback: The controller, a function of an observation (ny,) that returns u (nu,), or a law that returns
            (u, info); called in order along each episode, after `reset()` where it has one.
        rounds: Most corrections.

    Returns:
        The model.

    Raises:
        DataError: `feedback` returns something else, or there is no excitation besides it.
    """
    model.check_data(data)
    excitation = [_excitation(feedback, Y, U) for Y, U in data]
    spread = np.concatenate(data.U).std(axis=0)
    if not any((np.abs(r) > 1e-6 * (spread + 1e-300)).any() for r in excitation):
        raise DataError(
            "the inputs are exactly what the controller answers, so nothing tells plant and controller apart; "
            "record with a signal added to the controller's input (collect(..., law=...) does)."
        )
    least, solution = model.solution_.theta, model.solution_
    for _ in range(rounds):
        simulated = [_simulated(model, feedback, Y, U, r) for (Y, U), r in zip(data, excitation, strict=True)]
        strayed = float(np.mean(np.concatenate([at_end for *_, at_end in simulated])))
        if strayed > _STRAYED:
            warnings.warn(
                f"{strayed:.0%} of the simulated loop leaves the data: the least-squares model was not corrected. "
                "Check that `feedback` is the controller that ran, or fit with fewer features first.",
                stacklevel=3,
            )
            model._adopt(solution)
            return model
        theta, change = _corrected(model, data, [part[:2] for part in simulated], least)
        model._adopt(replace(solution, theta=theta, path="instrumental variables"))
        if change < _SETTLED:
            break
    model.notes_ += ("the controller was given: the bias of sensor noise in its inputs was removed.",)
    return model


def _answer(feedback: Callable[..., Any], y: Array, nu: int) -> Array:
    answer = feedback(y)
    u = np.asarray(answer[0] if isinstance(answer, tuple) else answer, dtype=np.float64).ravel()
    if u.shape != (nu,) or not np.isfinite(u).all():
        raise DataError(f"feedback returned {u} for an observation; it must give {nu} finite inputs.")
    return u


def _excitation(feedback: Callable[..., Any], Y: Array, U: Array) -> Array:
    """Return r (T, nu), what was added to the controller's input."""
    if hasattr(feedback, "reset"):
        feedback.reset()
    return np.array([u - _answer(feedback, y, len(u)) for y, u in zip(Y, U, strict=False)])


def _simulated(
    model: Model, feedback: Callable[..., Any], Y: Array, U: Array, excitation: Array
) -> tuple[Array, Array, np.ndarray]:
    """Return states and inputs of the loop without noise, and where it had to be kept inside the data."""
    window, d, nu = model.window_, model.window_.delays, U.shape[1]
    if hasattr(feedback, "reset"):
        feedback.reset()
    for y in Y[:d]:
        feedback(y)
    x = window.encode(Y[: d + 1], U[:d])[None]
    low, high = model._guard(x)
    states, inputs = np.empty((len(U) - d, window.nx)), np.empty((len(U) - d, nu))
    at_end = np.zeros(len(U) - d, dtype=bool)
    for k in range(len(U) - d):
        u = _answer(feedback, model.output(x[0]), nu) + excitation[d + k]
        states[k], inputs[k] = x[0], u
        Q = x[:, : window.nq] + model._increment(x, u[None])
        kept = np.clip(Q, low, high)
        at_end[k] = bool((kept != Q).any())
        x = window.advance(x, kept, u[None])
    return states, inputs, at_end


def _corrected(model: Model, data: Rollouts, simulated: list[tuple[Array, Array]], least: Array) -> tuple[Array, float]:
    """Return the instrumental solution (m, p) and how much it changes the fit of the present one."""
    p, m = least.shape[1], least.shape[0]
    ZZ, ZP, PP, ZY, n = np.zeros((p, p)), np.zeros((p, p)), np.zeros((p, p)), np.zeros((p, m)), 0
    window = model.window_
    for (Y, U), (X_free, U_free) in zip(data, simulated, strict=True):
        X, dQ = window.states_and_increments(Y, U)
        Phi, targets = model._regression(X, U[window.delays :], dQ)
        Z = model._regression(X_free, U_free, np.zeros_like(dQ))[0]
        ZZ, ZP, PP, ZY, n = ZZ + Z.T @ Z, ZP + Z.T @ Phi, PP + Phi.T @ Phi, ZY + Z.T @ targets, n + len(Z)
    # The instruments' own square root, with what is below rounding left out.
    values, vectors = np.linalg.eigh(ZZ / n)
    keep = values > 1e-12 * values[-1]
    root = vectors[:, keep] / np.sqrt(values[keep])
    projected, error = root.T @ ZP / n, root.T @ (ZY / n - ZP / n @ least.T)
    penalty = np.full(p, max(model.ridge, 1e-14))
    penalty[-1] = 0.0
    system = projected.T @ projected + _TRUST * PP / n + np.diag(penalty)
    theta = least + scipy.linalg.solve(system, projected.T @ error, assume_a="pos").T
    step = theta - model.solution_.theta
    size = np.trace(theta @ PP @ theta.T)
    return theta, float(np.sqrt(np.trace(step @ PP @ step.T) / max(size, 1e-300)))

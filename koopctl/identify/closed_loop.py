"""Closed-loop data with sensor noise: the bias of least squares removed by instrumental variables."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from koopctl.arrays import Array, as_whole
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.identify.instruments import Loop, Simulated
from koopctl.models.base import Model
from koopctl.models.feedback_signs import multiple_correlation, unexplained
from koopctl.models.learner import Learner
from koopctl.regression.solution import INSTRUMENTAL

_M = TypeVar("_M", bound=Model)
_ROUNDS = 6
_SETTLED = 1e-4  # relative change of the predictions at which the rounds end
_RESTARTS = (50, 10)  # steps from one measured state to the next; the second where the first strays
_STRAYED = 0.5  # share of simulated states outside the data's surroundings above which the loop is not believed
_CHANCE = 10.0  # times the share of a direction that as many random instruments would explain
_WEAK = 0.1  # share of a direction's variance that an instrument worth the name explains
_SAME = 1.1  # distances of simulated loops from the data that differ by less are the same
_SIGMAS = 5.0
_BLOCK = 2048


def refine_closed_loop(model: _M, data: Rollouts, feedback: Callable[..., Any], rounds: int = _ROUNDS) -> _M:
    """Correct a model fitted to data of a running controller whose inputs answered sensor noise.

    The controller being known, so is the excitation r = u - feedback(y) that was added to it. Model and controller,
    driven by r alone, give states and inputs that know nothing of the recorded noise: their regressors are the
    instruments Z of theta = argmin |P_Z (Y - Phi theta^T)|^2, P_Z the projection on Z, solved again with each better
    model (refined instrumental variables; Young, Recursive Estimation and Time-Series Analysis, 2011; Gilson and Van
    den Hof, Automatica 41, 2005). Directions of Phi that the instruments explain no better than chance keep their
    least-squares value. The last round counts, unless the simulated loop of an earlier one, or of least squares, comes
    closer to the measured one: a test that sensor noise does not distort, as the loop forgets its start.

    Args:
        model: Fitted to `data` by least squares; changed in place.
        data: The recorded motion.
        feedback: The controller, a function of an observation (ny,) that returns u (nu,), or a law that returns
            (u, info); one with a `reset` is called in order along each episode.
        rounds: Most corrections.

    Returns:
        The model; it holds no sums to learn on from, as those have the bias.

    Raises:
        DataError: `feedback` returns something else, there is no excitation besides it, the model is not found by
            least squares, or its horizon is not 1.
    """
    check_corrigible(model)
    model.check_data(data)
    as_whole("rounds", rounds, 1)
    loop = Loop(model, data, feedback)
    _check_excitation(model, loop)
    restart, simulated = _started(model, loop)
    if restart == 0:
        return model
    least = model.solution_
    tried = [(_distance(model, loop, simulated, restart), least)]
    for _ in range(rounds):
        theta, change, strength = _corrected(model, loop, simulated, least.theta)
        model._adopt(replace(least, theta=theta, path=INSTRUMENTAL))
        simulated = loop.simulate(model, restart)
        tried.append((_distance(model, loop, simulated, restart), model.solution_))
        if change < _SETTLED:
            break
    closest = min(distance for distance, _ in tried)
    found = [solution for distance, solution in tried if distance <= _SAME * closest][-1]
    model._adopt(found)
    if found is least:
        _warn("no correction kept the simulated loop as close to the recorded one, so least squares stands")
    else:
        _conclude(model, strength)
    return model


def check_corrigible(model: Model) -> None:
    """Raise a DataError unless a model, fitted or not, is of a kind that can be corrected."""
    kind = type(model).__name__
    if not isinstance(model, Learner):
        raise DataError(
            f"feedback corrects the least squares of SampledRNN and EDMDc; what {kind} remembers holds the noise of "
            "all samples before, for which there is no instrument. Fit one of the two, with delays where the state is "
            "not measured, or leave feedback out."
        )
    if model.horizon != 1:
        raise DataError("feedback corrects one-step least squares; leave horizon=1.")


def _conclude(model: Model, strength: _Strength) -> None:
    """Note what was done, warn where it could not do much, and forget the sums that have the bias."""
    there = model.window_.nq + model.nu
    if strength.explained < there:
        _warn(
            f"the excitation explains {strength.explained} directions of states and inputs, fewer than the {there} "
            "there are, so the correction is weak: record with a larger signal added to the controller's input"
        )
    del model._learnt_  # going on from them would lose the correction without a word
    model.notes_ += (
        "the controller was given: the bias of sensor noise in its inputs was removed from "
        f"{strength.share:.0%} of the regressors' directions.",
    )


def _started(model: Model, loop: Loop) -> tuple[int, Simulated]:
    """Return the restart at which the loop of the least-squares model stays near the data, 0 where none does."""
    for restart in _RESTARTS:
        restart = max(restart, 2 * (model.window_.delays + 1))
        simulated = loop.simulate(model, restart)
        if simulated.strayed.mean() <= _STRAYED:
            return restart, simulated
    _warn("the least-squares model and the controller together leave the data at once, so nothing was corrected")
    return 0, simulated


def _check_excitation(model: Model, loop: Loop) -> None:
    """Refuse a loop without excitation, and warn where what was added to the controller's answer reacts to noise."""
    if not loop.pieces or not loop.nu:
        raise DataError("feedback needs inputs, and episodes longer than the delays.")
    X, U = (np.concatenate(part) for part in zip(*((p.X[:-1], p.U) for p in loop.pieces), strict=True))
    r = np.concatenate([piece.r for piece in loop.pieces])
    if not (np.abs(r) > 1e-6 * (U.std(axis=0) + 1e-300)).any():
        raise DataError(
            "the inputs are exactly what the controller answers, so nothing tells plant and controller apart; "
            "record with a signal added to the controller's input (collect(..., law=...) does)."
        )
    known, news, errors = [], [], []
    for piece in loop.pieces:
        W = model.window_.embed(piece.X[:-1])
        known.append(np.concatenate([W, piece.U, piece.r, np.ones((len(W), 1))], axis=1)[:-1])
        news.append(piece.r[1:])
        errors.append(_errors(model, piece.X[:-1], piece.U, piece.X[1:])[:-1])
    whole, before = np.concatenate(news), np.concatenate(errors)
    if len(whole) <= 2 * known[0].shape[1] or not before.any():
        return
    answer = multiple_correlation(before, unexplained(np.concatenate(known), whole), whole)
    if answer > max(_WEAK, _SIGMAS * np.sqrt(before.shape[1] / len(whole))):
        _warn(
            f"what is left of the inputs besides the controller's answers reacts to the noise (correlation "
            f"{answer:.2f}), so `feedback` is hardly the controller that ran"
        )


def _errors(model: Model, X: Array, U: Array, nxt: Array) -> Array:
    nq = model.window_.nq
    return model.window_.difference_of_coordinates(nxt[:, :nq], X[:, :nq] + model._increment(X, U))


def _distance(model: Model, loop: Loop, simulated: Simulated, restart: int) -> float:
    """Return the mean square distance of the simulated loop from the measured one, each coordinate by its spread."""
    late = simulated.age >= min(restart // 2, int(simulated.age.max()))  # the noise of the start has died away
    X = np.concatenate([piece.X[:-1] for piece in loop.pieces])[:, : model.window_.nq]
    gap = model.window_.difference_of_coordinates(simulated.X[late, : model.window_.nq], X[late])
    spread = X.std(axis=0)
    return float(np.mean(np.square(gap / np.where(spread > 0.0, spread, 1.0))))


def _corrected(model: Model, loop: Loop, simulated: Simulated, least: Array) -> tuple[Array, float, _Strength]:
    """Return the instrumental solution (m, p), how much it changes the predictions, and how strong it is."""
    sums = _Sums.over(model, loop, simulated, least)
    step, strength = sums.correction(model.ridge)
    theta = least + step
    change = theta - model.solution_.theta
    size = max(float(np.trace(theta @ sums.PP @ theta.T)), 1e-300)
    return theta, float(np.sqrt(max(np.trace(change @ sums.PP @ change.T), 0.0) / size)), strength


@dataclass(frozen=True)
class _Strength:
    """How many directions of the regressors, but for the constant, are well explained, and the share corrected."""

    explained: int
    share: float


@dataclass(frozen=True)
class _Sums:
    """Mean products of instruments Z and regressors Phi with each other and with the least-squares residuals."""

    n: int
    ZZ: Array
    ZP: Array
    PP: Array
    ZE: Array
    ridged: Array  # what the ridge took from the least squares of all transitions, (p, m)

    @classmethod
    def over(cls, model: Model, loop: Loop, simulated: Simulated, least: Array) -> _Sums:
        """Go through the transitions whose noise the simulated states do not know, block by block."""
        X, U, nxt = (
            np.concatenate(part) for part in zip(*((p.X[:-1], p.U, p.X[1:]) for p in loop.pieces), strict=True)
        )
        window, (m, p) = model.window_, least.shape
        ZZ, ZP, PP, ZE = (np.zeros((p, width)) for width in (p, p, p, m))
        used = (simulated.age > window.delays) & ~simulated.strayed
        whole, rest = np.zeros((p, p)), np.zeros((p, m))
        for first in range(0, len(X), _BLOCK):
            k = np.arange(first, min(first + _BLOCK, len(X)))
            dQ = window.difference_of_coordinates(nxt[k, : window.nq], X[k, : window.nq])
            Phi, Y = model._regression(X[k], U[k], dQ)
            Z = model._regression(simulated.X[k], simulated.U[k], np.zeros_like(dQ))[0]
            E = Y - Phi @ least.T
            whole += Phi.T @ Phi
            rest += Phi.T @ E
            Z, Phi, E = Z[used[k]], Phi[used[k]], E[used[k]]
            for total, left, right in ((ZZ, Z, Z), (ZP, Z, Phi), (PP, Phi, Phi), (ZE, Z, E)):
                total += left.T @ right
        n = max(int(used.sum()), 1)
        root = _whitener(whole)
        return cls(int(used.sum()), ZZ / n, ZP / n, PP / n, ZE / n, root @ (root.T @ rest))

    def correction(self, ridge: float) -> tuple[Array, _Strength]:
        """Return the step from least squares, and its strength.

        In coordinates in which the regressors are white, the instruments explain a share s of each principal
        direction; p random ones would explain p / n. The difference of both solutions without ridge is shrunk by
        s^2 / (s^2 + t^2) along each, with t ten times that, and then by the ridge, as the least squares were.
        """
        p = len(self.PP)
        free, white = _whitener(self.ZZ), _whitener(self.PP)
        C, unpenalised = free.T @ self.ZP @ white, white.T @ self.PP @ self.ridged
        shares, axes = np.linalg.eigh(C.T @ C)
        shares = np.maximum(shares, 0.0)
        trust = _CHANCE * p / max(self.n, 1)
        inverse = shares / (shares**2 + trust**2)
        step = axes @ (inverse[:, None] * (axes.T @ (C.T @ (free.T @ self.ZE - C @ unpenalised))))
        penalty = np.eye(len(step)) + ridge * white[:-1].T @ white[:-1]  # the constant comes last and has none
        strength = _Strength(int(np.sum(shares > _WEAK)) - 1, float(shares @ inverse / p))
        return (white @ np.linalg.solve(penalty, step)).T, strength


def _whitener(moments: Array) -> Array:
    """Return M with M^T moments M = 1 on what is above rounding."""
    values, vectors = np.linalg.eigh(moments)
    keep = values > 1e-12 * max(float(values[-1]), 1e-300)
    return np.asarray(vectors[:, keep] / np.sqrt(values[keep]))


def _warn(what: str) -> None:
    warnings.warn(what + ".", stacklevel=3)

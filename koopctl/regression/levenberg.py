"""Levenberg-Marquardt for multi-step least squares, its steps by conjugate gradients."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.regression.multi_step import MultiStep

_STEPS = 20
_PRODUCTS = 300  # products with the Gauss-Newton matrix, in all
_INNER = 25  # of them for one step
_FORCING = 0.1  # accuracy of a step
_GAIN = 1e-4  # relative gain of a step at which the search ends
_STIFFEST = 1e10

Factor = tuple[Array, bool]


def descend(problem: MultiStep, theta: Array) -> list[Array]:
    """Return theta and what it became step by step; the loss falls at every one.

    The damping is measured in a metric close to the curvature and follows Nielsen's rule (Madsen, Nielsen, Tingleff,
    Methods for non-linear least squares problems, 2004).
    """
    path, loss = problem.roll_out(theta), problem.loss(theta)
    found, damping, stiffer, products = [theta], 1.0, 2.0, 0
    if not np.isfinite(loss):
        return found
    metric = problem.metric(theta)
    while len(found) <= _STEPS and products < _PRODUCTS and damping < _STIFFEST:
        slope = problem.slope(theta, path)
        D, CD, used = _step(problem, theta, path, slope, metric, damping)
        products += used
        promised = -2.0 * float(np.sum(slope * D)) - float(np.sum(D * CD))
        trial = problem.roll_out(theta + D)
        reached = problem.loss(theta + D, trial)
        ratio = (loss - reached) / promised if promised > 0.0 else -1.0
        if not (np.isfinite(ratio) and ratio > 0.01):
            damping, stiffer = damping * stiffer, 2.0 * stiffer
            continue
        gain, theta, path, loss = loss - reached, theta + D, trial, reached
        found.append(theta)
        if gain <= _GAIN * loss:
            break
        damping, stiffer = damping * max(0.2, 1.0 - (2.0 * min(ratio, 1.0) - 1.0) ** 3), 2.0
        metric = problem.metric(theta)
    return found


def _step(
    problem: MultiStep, theta: Array, path: Array, slope: Array, metric: tuple[Array, Array], damping: float
) -> tuple[Array, Array, int]:
    """Return a step D, the curvature times it, and the products it took."""
    R, H = metric
    rows, columns = scipy.linalg.cho_factor(R), scipy.linalg.cho_factor(H)
    D, CD, rest = np.zeros_like(theta), np.zeros_like(theta), -slope
    direction = ready = _solved(rows, columns, rest)
    size = first = float(np.sum(rest * ready))
    used = 0
    while used < _INNER and size > _FORCING**2 * first:
        product = problem.curvature(theta, path, direction)
        damped = product + damping * (R @ direction @ H)
        length = size / float(np.sum(direction * damped))
        D, CD, rest = D + length * direction, CD + length * product, rest - length * damped
        ready = _solved(rows, columns, rest)
        size, before = float(np.sum(rest * ready)), size
        direction = ready + size / before * direction
        used += 1
    return D, CD, used


def _solved(rows: Factor, columns: Factor, X: Array) -> Array:
    return np.asarray(scipy.linalg.cho_solve(columns, scipy.linalg.cho_solve(rows, X).T).T)

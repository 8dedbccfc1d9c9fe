"""Condensing of a linearised horizon around one constant gain: fewer small products than a Riccati pass."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtri

from koopctl.arrays import Array
from koopctl.controllers.riccati import Condensed


def stabilised(
    A: Array, B: Array, d: Array, H: Array, h: Array, P: Array, p: Array, gain: Array, moves: np.ndarray | None = None
) -> Condensed:
    r"""Condense the horizon of `koopctl.controllers.riccati.condense` with dx_0 = 0 around du = -gain dx + v.

    With the LQR gain of the target the responses to v stay small over any horizon although the plant is unstable,
    so the dense Hessian in v is well conditioned near the target; away from it the Riccati pass is the safer one.

    Args:
        A: (N, nx, nx).
        B: (N, nx, nu).
        d: Defects, (N, nx).
        H: Stage Hessian (nx + nu, nx + nu), or one a stage (N, nx + nu, nx + nu).
        h: Stage gradients, (N, nx + nu).
        P: Terminal Hessian, (nx, nx).
        p: Terminal gradient, (nx,).
        gain: (nu, nx).
        moves: Stages at which v may change, from 0 on; every stage by default. Fewer need a gain of zero, else it is
            not the input that is held.

    Raises:
        numpy.linalg.LinAlgError: The Hessian is not positive definite.
    """
    N, nx, nu = B.shape
    every = moves is None or len(moves) == N
    at = np.arange(N) if every else np.asarray(moves)
    block = np.searchsorted(at, np.arange(N), side="right") - 1
    n_v = len(at) * nu
    closed = A - B @ gain
    M = np.zeros((N + 1, nx, n_v + 1))  # starts as what each stage adds, ends as the responses
    M[1:, :, :-1].reshape(N, nx, len(at), nu)[range(N), :, block, :] = B
    M[1:, :, -1] = d
    for closed_k, before, after in zip(closed[1:], M[1:-1], M[2:], strict=True):
        after += closed_k.dot(before)
    Z = np.empty((N, nx + nu, n_v + 1))
    Z[:, :nx] = M[:N]
    np.matmul(-gain, M[:N], out=Z[:, nx:])
    Z[:, nx:, :-1].reshape(N, nu, len(at), nu)[range(N), :, block, :] += np.eye(nu)
    return _minimise(M, Z, H, h, P, p, gain)


def _minimise(M: Array, Z: Array, H: Array, h: Array, P: Array, p: Array, gain: Array) -> Condensed:
    """Shift v to the unconstrained optimum and scale it so that the Hessian is the identity."""
    N, n, columns = Z.shape
    nx = M.shape[1]
    flat = Z.reshape(N * n, columns)
    hessian = flat.T @ (H @ Z).reshape(N * n, columns)
    hessian += M[N].T @ (P @ M[N])
    gradient = hessian[:-1, -1] + flat[:, :-1].T @ h.ravel() + M[N, :, :-1].T @ p
    # Backwards, from the last input to the first, so that each input depends on its own w and earlier ones only.
    lower, fault = dpotrf(hessian[-2::-1, -2::-1], lower=1)
    if fault:
        raise np.linalg.LinAlgError("the condensed Hessian is not positive definite")
    inverse, _ = dtrtri(lower, lower=1)
    scale = inverse[::-1, ::-1].T
    turn = np.zeros((columns, columns))  # (v, 1) = turn (w, 1)
    turn[:-1, :-1], turn[:-1, -1], turn[-1, -1] = scale, -(scale @ (scale.T @ gradient)), 1.0
    inputs, states = Z[:, nx:] @ turn, M @ turn
    gains = np.broadcast_to(-gain, (N, *gain.shape))
    return Condensed(inputs[:, :, -1], inputs[:, :, :-1], states[:, :, -1], states[:, :, :-1], gains)

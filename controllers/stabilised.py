"""Condensing of a linearised horizon around one constant gain: fewer small products than a Riccati pass."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtri

from koopctl.arrays import Array
from koopctl.controllers.responses import corrections, responses
from koopctl.controllers.riccati import Condensed, compiled_condense
from koopctl.kernels import kernels

_VAST = 1e300


def stabilised(
    A: Array, B: Array, d: Array, H: Array, h: Array, P: Array, p: Array, gain: Array, moves: np.ndarray | None = None
) -> Condensed:
    r"""Condense the horizon of `koopctl.controllers.riccati.condense` with dx_0 = 0 around du = -gain dx + v.

    With the LQR gain of the target the responses to v stay small over any horizon although the plant is unstable,
    so the dense Hessian in v is well conditioned near the target; away from it the Riccati pass is the safer one.
    Compiled, the Riccati pass is the faster one as well. What comes out does not depend on the gain, so then it is
    made that way, except where inputs are held.

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
        numpy.linalg.LinAlgError: The Hessian is not positive definite, or something is not finite.
    """
    N, nx, nu = B.shape
    held = None if moves is None or len(moves) == N else tuple(moves)
    gains = (-gain)[None].repeat(N, axis=0)
    compiled = kernels()
    if compiled is not None and held is None:
        free_u, T, free_x, S, _ = compiled_condense(compiled, A, B, d, H, h, P, p, np.zeros(nx))
        return Condensed(free_u, T, free_x, S, gains)
    # Rows [x, u] of the next stage from [x, u, 1, v of the next stage].
    blank, known = _blank(N, nx, nu, held)
    steps = blank.copy()
    steps[:, :nx, :nx], steps[:, :nx, nx : nx + nu], steps[:, :nx, nx + nu] = A, B, d
    np.matmul(-gain, steps[:-1, :nx, : nx + nu + 1], out=steps[:-1, nx:, : nx + nu + 1])
    Z = responses(steps, known.copy())[:, : nx + nu]
    return _minimised(Z.swapaxes(0, 1).copy(), H, h, P, p, gains)


@lru_cache(maxsize=16)
def _blank(N: int, nx: int, nu: int, moves: tuple[int, ...] | None) -> tuple[Array, Array]:
    """Return the steps without dynamics and gain, and what is known of the responses; columns are v backwards, then 1.

    The last step leads to no input: nothing weighs it.
    """
    n = nx + nu
    chosen = corrections(N, nu, moves)[:, :, ::-1]
    steps, known = np.zeros((N, n, n + 1 + nu)), np.zeros((N + 1, n + 1 + nu, chosen.shape[2] + 1))
    steps[:-1, nx:, n + 1 :] = np.eye(nu)
    known[0, nx:n, :-1], known[:-2, n + 1 :, :-1], known[:, n, -1] = chosen[0], chosen[1:], 1.0
    return steps, known


def _minimised(Z: Array, H: Array, h: Array, P: Array, p: Array, gains: Array) -> Condensed:
    """Shift v to the unconstrained optimum and scale it so that the Hessian is the identity.

    Args:
        Z: Responses of [x, u], (nx + nu, N + 1, n_v + 1): stages inside, so that one product does for all of them.
        H: As in `stabilised`, and so are h, P and p.
        h: (N, nx + nu).
        P: (nx, nx).
        p: (nx,).
        gains: (N, nu, nx).
    """
    n, columns, N, nx = len(Z), Z.shape[2], len(h), len(P)
    flat, weighted = Z.reshape(-1, columns), np.empty_like(Z)
    if H.ndim == 2:
        np.dot(H, Z.reshape(n, -1), out=weighted.reshape(n, -1))
    else:
        weighted[:, :N], weighted[nx:, N] = (H @ Z[:, :N].swapaxes(0, 1)).swapaxes(0, 1), 0.0
    weighted[:nx, N] = P @ Z[:nx, N]
    weighted[:, :N, -1] += h.T
    weighted[:nx, N, -1] += p
    hessian = flat.T @ weighted.reshape(-1, columns)  # with the gradient as its last column
    # One factorisation does for both: the gradient's row of the factor, with 1 as its pivot, inverts to the optimum.
    # As v runs backwards, each input depends on its own w and earlier ones only.
    hessian[-1, -1] = _VAST
    lower, fault = dpotrf(hessian.T, lower=1, overwrite_a=1)
    if fault:
        raise np.linalg.LinAlgError("the condensed Hessian is not positive definite")
    lower[-1, -1] = 1.0
    inverse, _ = dtrtri(lower, lower=1, overwrite_c=1)
    by_w = inverse.T[:-1]  # v = by_w [w, 1], (n_v, n_v + 1)
    if not math.isfinite(by_w[:, -1] @ by_w[:, -1]):
        raise np.linalg.LinAlgError("the horizon's problem is not finite")
    turned = flat[:, :-1] @ by_w
    turned[:, -1] += flat[:, -1]
    plan = turned.reshape(n, N + 1, columns).swapaxes(0, 1)
    x, u = plan[:, :nx], plan[:N, nx:]
    return Condensed(u[:, :, -1].copy(), u[:, :, -2::-1].copy(), x[:, :, -1].copy(), x[:, :, -2::-1].copy(), gains)

"""Linear-quadratic steps shared by the laws: infinite-horizon gain, backward pass, condensing around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.dare import dare, gain
from koopctl.controllers.lasting_modes import LASTING, out_of_reach, regulated
from koopctl.controllers.responses import corrections, responses
from koopctl.errors import DesignError
from koopctl.kernels import Kernels, kernels

_RESIDUAL = 1e-6  # of the Riccati equation, relative to its solution
_MARGINAL = 1e-9  # by which rounding may put a mode beyond the unit circle that stands still
_NO_MINIMUM = "the horizon's problem is not finite or the input's Hessian not positive"
_EFFORT = 1e10  # what the gain may move against itself, relative to the motion: rounding is 1e-16 of it


def infinite_horizon(A: Array, B: Array, Q: Array, R: Array, names: Sequence[str] = ()) -> tuple[Array, Array]:
    """Return the gain K (u = -K x) and the cost-to-go P of the infinite-horizon problem.

    Constants that no weight falls on, and what goes on for ever without showing in Q, are left out of both, see
    `koopctl.controllers.lasting_modes.regulated`.

    Args:
        A: (n, n).
        B: (n, m).
        Q: (n, n), symmetric, positive semidefinite.
        R: (m, m), symmetric, positive definite.
        names: Of the states, for the text of an error.

    Raises:
        DesignError: No stabilising solution exists, or it was not found.
    """
    if not all(np.isfinite(part).all() for part in (A, B, Q, R)):
        raise DesignError("no stabilising LQR for a model that is not finite at the target; record richer data there.")
    found = _stabilising(A, B, Q, R)
    if found is None or found[2] > 1.0 - LASTING:
        found = _of_the_rest(A, B, Q, R) or found
    if found is None:
        raise DesignError(
            f"no stabilising LQR for this model and these weights: {out_of_reach(A, B, names) or 'a mode'}, does not "
            "decay, and either the input cannot move it or Q does not see it. Weigh more states, or record richer data."
        )
    K, P, _ = found
    if not (np.abs(B) @ np.abs(K)).max() <= _EFFORT * max(1.0, np.abs(A).max()):
        raise DesignError(
            f"the input hardly reaches {out_of_reach(A, B, names)}, so its gain would be {np.abs(K).max():.1g}. Use "
            "fewer features or more ridge, or record richer data."
        )
    return K, P


def _of_the_rest(A: Array, B: Array, Q: Array, R: Array) -> tuple[Array, Array, float] | None:
    """Return K, P and the spectral radius where it helps to leave modes out."""
    Z = regulated(A, B, Q)
    if Z is None:
        return None
    if not Z.shape[1]:
        return np.zeros((B.shape[1], len(A))), np.zeros_like(A), 1.0
    found = _stabilising(Z.T @ A @ Z, Z.T @ B, Z.T @ Q @ Z, R)
    return None if found is None else (found[0] @ Z.T, Z @ found[1] @ Z.T, found[2])


def _stabilising(A: Array, B: Array, Q: Array, R: Array) -> tuple[Array, Array, float] | None:
    """Return K, P and the closed loop's spectral radius where there is a verified solution that does not grow."""
    more = Q + np.eye(len(A)) * (np.abs(Q).max(initial=0.0) or 1.0)
    for weight in (Q, more):  # first a start with more weight where Q does not see an unstable mode
        try:
            P = dare(A, B, weight, R)
            P = P if weight is Q else dare(A, B, Q, R, start=P)
            K = gain(A, B, R, P)
        except np.linalg.LinAlgError:
            continue
        residual = np.abs(A.T @ P @ (A - B @ K) + Q - P).max()
        radius = float(np.abs(np.linalg.eigvals(A - B @ K)).max(initial=0.0))
        if residual <= _RESIDUAL * np.abs(P).max() and radius < 1.0 + _MARGINAL:
            return K, P, radius
    return None


@dataclass(frozen=True)
class Condensed:
    """A horizon's problem in the corrections v of the inputs around the Riccati feedback.

    The inputs' changes are du = free_u + T w, the states' dx = free_x + S w, and the cost is |w|^2 / 2 plus a
    constant: the Riccati gains make the Hessian block diagonal, scaling v to w makes it the identity.

    Attributes:
        free_u: (N, nu), the unconstrained optimum.
        T: (N, nu, N * nu), lower triangular: each input depends on its own w and earlier ones only.
        free_x: (N + 1, nx).
        S: (N + 1, nx, N * nu).
        gains: (N, nu, nx), du = gains dx + ...
    """

    free_u: Array
    T: Array
    free_x: Array
    S: Array
    gains: Array


def condense(A: Array, B: Array, d: Array, H: Array, h: Array, P: Array, p: Array, dx0: Array) -> Condensed:
    r"""Solve the unconstrained horizon and condense the rest onto it.

    Minimise :math:`\sum_k \tfrac12 s_k^T H s_k + h_k^T s_k + \tfrac12 x_N^T P x_N + p^T x_N` with
    :math:`s_k = [x_k, u_k]` and :math:`x_{k+1} = A_k x_k + B_k u_k + d_k`.

    Args:
        A: (N, nx, nx).
        B: (N, nx, nu).
        d: Defects, (N, nx).
        H: Stage Hessian (nx + nu, nx + nu), the same at every stage, or (N, nx + nu, nx + nu).
        h: Stage gradients, (N, nx + nu).
        P: Terminal Hessian, (nx, nx).
        p: Terminal gradient, (nx,).
        dx0: Change of the first state, (nx,).

    Raises:
        numpy.linalg.LinAlgError: The input's Hessian is not positive definite.
    """
    compiled = kernels()
    if compiled is not None:
        return Condensed(*compiled_condense(compiled, A, B, d, H, h, P, p, dx0))
    N, nx, nu = B.shape
    # Homogeneous coordinates [x, 1, u]: one product carries the quadratic and the linear part together.
    n = nx + 1
    F = np.zeros((N, n, n + nu))
    F[:, :nx, :nx], F[:, :nx, nx], F[:, :nx, n:], F[:, nx, nx] = A, d, B, 1.0
    Ft = np.ascontiguousarray(F.swapaxes(1, 2))
    stage = np.zeros((N, n + nu, n + nu))
    stage[:, :nx, :nx], stage[:, :nx, n:] = H[..., :nx, :nx], H[..., :nx, nx:]
    stage[:, n:, :nx], stage[:, n:, n:] = H[..., nx:, :nx], H[..., nx:, nx:]
    stage[:, nx, :nx], stage[:, nx, n:] = h[:, :nx], h[:, nx:]
    stage[:, :nx, nx], stage[:, n:, nx] = h[:, :nx], h[:, nx:]
    value = np.zeros((n, n))
    value[:nx, :nx], value[nx, :nx], value[:nx, nx] = P, p, p
    gains, scale = np.empty((N, nu, n)), np.empty((N, nu, nu))
    backward = _scalar_backward if nu == 1 else _backward
    with np.errstate(all="ignore"):  # what is not finite is refused next
        backward(F, Ft, stage, value, gains, scale)
    if not (np.isfinite(gains).all() and np.isfinite(scale).all()):
        raise np.linalg.LinAlgError(_NO_MINIMUM)
    return _forward(F[:, :nx], gains, scale, dx0)


def compiled_condense(
    compiled: Kernels, A: Array, B: Array, d: Array, H: Array, h: Array, P: Array, p: Array, dx0: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Return the fields of what `condense` returns, by the compiled kernel."""
    rows = np.ascontiguousarray
    H = rows(H if H.ndim == 3 else H[None])
    fine, *plan = compiled.condense(rows(A), rows(B), rows(d), H, rows(h), rows(P), rows(p), rows(dx0))
    if not fine:
        raise np.linalg.LinAlgError(_NO_MINIMUM)
    free_u, T, free_x, S, gains = plan
    return free_u, T, free_x, S, gains


def _scalar_backward(F: Array, Ft: Array, stage: Array, value: Array, gains: Array, scale: Array) -> None:
    """Riccati recursion for one input: the Schur complement is a division."""
    n, dot, costs = value.shape[0], np.dot, np.empty_like(stage)
    parts = (F[::-1], Ft[::-1], stage[::-1], costs[::-1], gains[::-1])
    for F_k, Ft_k, stage_k, cost, by_x in zip(*parts, strict=True):
        dot(dot(Ft_k, value), F_k, out=cost)
        cost += stage_k
        row = cost[n:, :n]
        np.divide(row, -cost[n, n], out=by_x)
        value = cost[:n, :n] + dot(row.T, by_x)
    scale[:, 0, 0] = 1.0 / np.sqrt(costs[:, n, n])  # NaN where a pivot is not positive


def _backward(F: Array, Ft: Array, stage: Array, value: Array, gains: Array, scale: Array) -> None:
    """Riccati recursion for several inputs."""
    n = value.shape[0]
    for k in range(len(F) - 1, -1, -1):
        G = Ft[k] @ value @ F[k] + stage[k]
        # Backwards within the stage too, so that each input depends on its own w and earlier ones only.
        lower = np.linalg.inv(np.linalg.cholesky(G[: n - 1 : -1, : n - 1 : -1]))[::-1, ::-1].T
        scale[k] = lower
        gains[k] = -lower @ (lower.T @ G[n:, :n])
        value = G[:n, :n] + G[:n, n:] @ gains[k]
        value = (value + value.T) * 0.5


def _forward(F: Array, gains: Array, scale: Array, dx0: Array) -> Condensed:
    """Propagate the free response (last column) and the response to each w through the closed loop."""
    N, nu, n = gains.shape
    inputs = np.concatenate([gains, scale], axis=2)  # u = inputs [x, 1, w]
    steps = F[:, :, n:] @ inputs
    steps[:, :, :n] += F[:, :, :n]
    known = np.zeros((N + 1, n + nu, N * nu + 1))
    known[0, : n - 1, -1], known[:, n - 1, -1], known[:N, n:, :-1] = dx0, 1.0, corrections(N, nu, None)
    Z = responses(steps, known)
    U, X = inputs @ Z[:N], Z[:, : n - 1]
    return Condensed(U[:, :, -1].copy(), U[:, :, :-1].copy(), X[:, :, -1].copy(), X[:, :, :-1].copy(), gains[:, :, :-1])


def stage_hessian(Q: Array, R: Array, dR: Array) -> Array:
    """Return the Hessian of |x|_Q^2 + |u|_R^2 + |u - u_last|_dR^2 by [x, u], or [x, u_last, u] where dR is not zero.

    Weights that differ by stage (N, n, n) give one Hessian a stage.
    """
    nx, nu = Q.shape[-1], R.shape[-1]
    n = nx + nu if dR.any() else nx
    stages = max((weight.shape[:-2] for weight in (Q, R, dR)), key=len)
    H = np.zeros((*stages, n + nu, n + nu))
    H[..., :nx, :nx], H[..., n:, n:] = Q, R + dR
    if n > nx:
        H[..., nx:n, nx:n], H[..., nx:n, n:], H[..., n:, nx:n] = dR, -dR, -dR
    return H


def with_last_input(A: Array, B: Array, d: Array) -> tuple[Array, Array, Array]:
    """Append the last input to the state, so that |u - u_last|^2 is a stage cost."""
    N, nx, nu = B.shape
    wide_A, wide_B, wide_d = np.zeros((N, nx + nu, nx + nu)), np.zeros((N, nx + nu, nu)), np.zeros((N, nx + nu))
    wide_A[:, :nx, :nx], wide_B[:, :nx], wide_B[:, nx:], wide_d[:, :nx] = A, B, np.eye(nu), d
    return wide_A, wide_B, wide_d

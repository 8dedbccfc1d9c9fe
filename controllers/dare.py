"""The discrete algebraic Riccati equation by structure-preserving doubling: fast at hundreds of lifted states."""

from __future__ import annotations

import numpy as np
from scipy.linalg import matrix_balance
from scipy.linalg.lapack import dpotrf, dpstrf, dtrtrs

from koopctl.arrays import Array
from koopctl.errors import DesignError

_DOUBLINGS = 40  # a closed loop that has not settled after 2^40 steps never will
_SETTLED = 1e-10  # change of the cost, relative, after which another doubling would add no more than its square
_WIDE = 16, 0.25  # columns of a factor, and share of the states, beyond which it is made thin again
_NEWTON_STEPS = 30
_EXACT = 1e-14  # relative residual, a state, at which Newton's method has nothing left to do
_UNBOUNDED = "the cost grows without bound"


def dare(A: Array, B: Array, Q: Array, R: Array, start: Array | None = None) -> Array:
    r"""Return the smallest P >= 0 with :math:`P = Q + A^T P A - A^T P B (R + B^T P B)^{-1} B^T P A`.

    It is the stabilising one where Q sees every mode that does not decay. P is the limit of the cost over 1, 2, 4, ...
    steps (Chu, Fan, Lin and Wang, Int. J. Control 2004), here with both quadratic terms in factors, :math:`G = L L^T`
    and :math:`P = M M^T`: only matrices I + X^T X are factorised, and few inputs and few weights keep the factors
    thin. Newton's method takes off what rounding has left.

    Args:
        A: (n, n).
        B: (n, m).
        Q: (n, n), symmetric, positive semidefinite.
        R: (m, m), symmetric, positive definite.
        start: A cost (n, n) whose gain stabilises. Newton's method alone then leads from it to the largest P, which is
            the stabilising one whatever Q sees (Hewer, IEEE Trans. Automatic Control 1971).

    Raises:
        numpy.linalg.LinAlgError: The cost grows without bound, or R is not positive definite.
    """
    scale = _scales(A, B, Q, R)
    A, B, Q = A * scale / scale[:, None], B / scale[:, None], Q * np.outer(scale, scale)
    with np.errstate(all="ignore"):  # what is not finite is refused by its value
        P = _doubled(A, B, Q, R) if start is None else start * np.outer(scale, scale)
        P = _improved(A, B, Q, R, P, patience=0 if start is None else 2)
    return np.asarray(P / np.outer(scale, scale))


def finite_horizon(A: Array, B: Array, Q: Array, R: Array, end: Array, steps: int) -> tuple[Array, Array]:
    """Return the gains (steps, m, n) that minimise the cost of so many steps and of their end, and the cost (n, n).

    Args:
        A: (n, n).
        B: (n, m).
        Q: (n, n), of the state at each step.
        R: (m, m), symmetric, positive definite.
        end: (n, n), of the state after the last step.
        steps: How many.

    Raises:
        DesignError: The cost overflows on the way.
    """
    gains, P = np.empty((steps, B.shape[1], len(A))), end
    with np.errstate(all="ignore"):
        for k in range(steps - 1, -1, -1):
            gains[k] = gain(A, B, R, P)
            P = Q + A.T @ P @ (A - B @ gains[k])
            P = (P + P.T) / 2
    if not np.isfinite(P).all() or not np.isfinite(gains).all():
        radius = np.abs(np.linalg.eigvals(A)).max()
        raise DesignError(
            f"the model has spectral radius {radius:.3g} and its cost overflows within {steps} steps; take fewer, or "
            "fit with more ridge or data."
        )
    return gains, P


def gain(A: Array, B: Array, R: Array, P: Array) -> Array:
    """Return K (m, n) of the best u = -K x where P is the cost from the next state on."""
    PB = P @ B
    return np.asarray(np.linalg.solve(R + B.T @ PB, PB.T @ A))


def _improved(A: Array, B: Array, Q: Array, R: Array, P: Array, patience: int) -> Array:
    """Return P after Newton's method: each step takes the cost of the gain of the one before.

    The first steps from afar may leave a larger residual; `patience` is how many such steps are forgiven.
    """
    best, smallest = P, np.inf
    for _ in range(_NEWTON_STEPS):
        K = gain(A, B, R, P)
        closed = A - B @ K
        rest = Q + K.T @ (R @ K) + closed.T @ P @ closed - P
        off = float(np.abs(rest).max() / np.abs(P).max()) if P.any() else 0.0
        if off < 0.5 * smallest:
            best, smallest = P, off
        else:
            patience -= 1
        if off <= _EXACT * len(A) or patience < 0:
            break
        P = P + _summed(closed, (rest + rest.T) / 2)
    if not np.isfinite(smallest):
        raise np.linalg.LinAlgError(_UNBOUNDED)
    return best


def _summed(closed: Array, rest: Array) -> Array:
    """Return the sum of closed^T^k rest closed^k over all k, by doubling (Smith, SIAM J. Appl. Math. 1968)."""
    for _ in range(_DOUBLINGS):
        more = closed.T @ rest @ closed
        rest = rest + more
        if not np.abs(more).max() > _SETTLED * np.abs(rest).max():
            break
        closed = closed @ closed
    return rest


def _scales(A: Array, B: Array, Q: Array, R: Array) -> Array:
    """Return units of the states (n,), powers of two, in which rows and columns of the problem are of equal size.

    As in scipy's solver, the symplectic pair [[A, G], [Q, A^T]] is balanced; costates count in the inverse units.
    """
    n = len(A)
    pair = np.abs(np.block([[A, B @ np.linalg.solve(R, B.T)], [Q, A.T]]))
    np.fill_diagonal(pair, 0.0)
    _, (units, _) = matrix_balance(pair, separate=1, permute=0)
    return np.asarray(np.exp2(np.round(np.log2(units[:n] / units[n:]) / 2)))


# ---------------------------------------------------------------------------------------------- doubling
def _doubled(A: Array, B: Array, Q: Array, R: Array) -> Array:
    """Return the limit of the cost M M^T over 2^k steps; E is the motion over them, L L^T what the inputs reach."""
    L, M, E = _divided(_cholesky(R), B.T).T, _thin(Q), A
    for _ in range(_DOUBLINGS):
        X, ME = M.T @ L, M.T @ E
        by_input = _cholesky(X.T @ X + np.eye(L.shape[1]))
        more_L = _divided(by_input, (E @ L).T).T
        more_M = _divided(_cholesky(X @ X.T + np.eye(M.shape[1])), ME).T
        settled = (np.square(more_M).sum(axis=1) <= _SETTLED * np.square(M).sum(axis=1)).all()
        M = _joined(M, more_M)
        if settled:
            return M @ M.T
        E = E @ E - more_L @ _divided(by_input, X.T @ ME)
        L = _joined(L, more_L)
    raise np.linalg.LinAlgError(_UNBOUNDED)


def _joined(F: Array, more: Array) -> Array:
    """Return a factor of F F^T + more more^T."""
    F = np.concatenate([F, more], axis=1)
    return _thin(F @ F.T) if F.shape[1] > max(_WIDE[0], _WIDE[1] * len(F)) else F


def _thin(S: Array) -> Array:
    """Return F (n, rank) with F F^T = S, which is positive semidefinite, by Cholesky's method with pivots."""
    size = np.sqrt(S.diagonal())
    if not np.isfinite(size).all():
        raise np.linalg.LinAlgError(_UNBOUNDED)
    there = np.flatnonzero(size > 0.0)
    if not len(there):
        return np.zeros((len(S), 0))
    lower, pivots, rank, _ = dpstrf((S[there] / size[there, None])[:, there] / size[there], lower=1)
    F = np.zeros((len(S), rank))
    F[there[pivots - 1]] = np.tril(lower)[:, :rank] * size[there[pivots - 1], None]
    return F


def _cholesky(S: Array) -> Array:
    lower, fault = dpotrf(S, lower=1)
    if fault or not np.isfinite(S).all():
        raise np.linalg.LinAlgError(_UNBOUNDED)
    return np.asarray(lower)


def _divided(lower: Array, S: Array) -> Array:
    """Return X with lower X = S."""
    return np.asarray(dtrtrs(lower, S, lower=1)[0]) if S.size else S  # LAPACK prints where there is nothing to do

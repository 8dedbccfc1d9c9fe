"""The horizon of a linearised plan condensed by a Riccati pass; numpy's is in `koopctl.controllers.riccati`."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.kernels.compiling import compiled


@compiled()
def _add_product(out: Array, left: Array, right: Array, columns: int) -> None:
    """Add left @ right to out in its first columns; four rows at a time, as loops over few columns cost their start."""
    rows, inner = left.shape
    whole = inner - inner % 4
    for i in range(rows):
        row = out[i]
        for j in range(0, whole, 4):
            a, b, c, d = left[i, j], left[i, j + 1], left[i, j + 2], left[i, j + 3]
            for k in range(columns):
                row[k] += a * right[j, k] + b * right[j + 1, k] + c * right[j + 2, k] + d * right[j + 3, k]
        for j in range(whole, inner):
            a = left[i, j]
            for k in range(columns):
                row[k] += a * right[j, k]


@compiled()
def _eliminate(G: Array, g: Array, gain: Array, shift: Array, scale: Array) -> bool:
    """Minimise the cost G, g of [x, u] over u, from the last input to the first; the lower triangle of G is read.

    What is left of G and g is the cost of x. Each input comes out by x and by its own w and earlier ones.
    """
    nu, nx = gain.shape
    for row in range(nx + nu - 1, nx - 1, -1):
        pivot = G[row, row]
        if not pivot > 0.0:
            return False
        for i in range(row):
            share = G[row, i] / pivot
            g[i] -= share * g[row]
            for j in range(i + 1):
                G[i, j] -= share * G[row, j]
    check = 0.0  # NaN once something is not finite
    for q in range(nu):
        row = nx + q
        pivot = G[row, row]
        shift[q], scale[q, q] = -g[row] / pivot, 1.0 / np.sqrt(pivot)
        for j in range(nx):
            gain[q, j] = -G[row, j] / pivot
        for earlier in range(q):
            share = G[row, nx + earlier] / pivot
            shift[q] -= share * shift[earlier]
            for j in range(nx):
                gain[q, j] -= share * gain[earlier, j]
            for j in range(earlier + 1):
                scale[q, j] -= share * scale[earlier, j]
        check += 0.0 * (shift[q] + scale[q, q])
        for j in range(nx):
            check += 0.0 * gain[q, j]
    return bool(check == 0.0)


@compiled()
def _backward(
    A: Array, B: Array, d: Array, H: Array, h: Array, P: Array, p: Array, gains: Array, shifts: Array, scales: Array
) -> bool:
    """Fill in the optimal u_k = gains x_k + shifts, and its scales; tell whether there is one."""
    N, nx, nu = B.shape
    n = nx + nu
    V, v = P.copy(), p.copy()  # the cost-to-go
    F, Ft, W, G, g = np.empty((nx, n)), np.empty((n, nx)), np.empty((nx, n)), np.empty((n, n)), np.empty(n)
    for k in range(N - 1, -1, -1):
        stage = k if len(H) > 1 else 0
        for j in range(n):
            g[j] = h[k, j]
            for i in range(n):
                G[i, j] = H[stage, i, j]
            for i in range(nx):
                F[i, j] = Ft[j, i] = A[k, i, j] if j < nx else B[k, i, j - nx]
                W[i, j] = 0.0
        _add_product(W, V, F, n)
        _add_product(G, Ft, W, n)
        for i in range(nx):
            slope = v[i]
            for j in range(nx):
                slope += V[i, j] * d[k, j]
            for j in range(n):
                g[j] += F[i, j] * slope
        if not _eliminate(G, g, gains[k], shifts[k], scales[k]):
            return False
        for i in range(nx):
            v[i] = g[i]
            for j in range(i + 1):
                V[i, j] = V[j, i] = G[i, j]
    return True


@compiled()
def _respond(
    A: Array, B: Array, gain: Array, scale: Array, closed: Array, S: Array, T: Array, S_next: Array, before: int
) -> None:
    """Fill in the responses T of a stage's inputs and S_next of its end; S has nonzero columns `before` the stage."""
    nx, nu = B.shape
    for i in range(nx):
        for j in range(nx):
            closed[i, j] = A[i, j]
    _add_product(closed, B, gain, nx)
    _add_product(S_next, closed, S, before)
    _add_product(T, gain, S, before)
    for q in range(nu):
        for j in range(q + 1):
            T[q, before + j] = scale[q, j]
            for i in range(nx):
                S_next[i, before + j] += B[i, q] * scale[q, j]


@compiled("f3 f3 f2 f3 f2 f2 f1 f1")
def condense(
    A: Array, B: Array, d: Array, H: Array, h: Array, P: Array, p: Array, dx0: Array
) -> tuple[bool, Array, Array, Array, Array, Array]:
    """Return whether it succeeded, and free_u, T, free_x, S, gains of `koopctl.controllers.riccati.Condensed`.

    Args:
        A: (N, nx, nx).
        B: (N, nx, nu).
        d: (N, nx).
        H: (N, nx + nu, nx + nu), or (1, nx + nu, nx + nu) where all stages have the same.
        h: (N, nx + nu).
        P: (nx, nx).
        p: (nx,).
        dx0: (nx,).

    Raises:
        ValueError: A shape is another one; compiled loops would read on beyond the end.
    """
    N, nx, nu = B.shape
    n = nx + nu
    square = A.shape == (N, nx, nx) and P.shape == (nx, nx) and H.shape[1:] == (n, n) and (len(H) == 1 or len(H) == N)
    if not square or d.shape != (N, nx) or h.shape != (N, n) or p.shape != (nx,) or dx0.shape != (nx,):
        raise ValueError("the shapes of the horizon's problem do not fit together")
    gains, shifts, scales = np.zeros((N, nu, nx)), np.zeros((N, nu)), np.zeros((N, nu, nu))
    T, S = np.zeros((N, nu, N * nu)), np.zeros((N + 1, nx, N * nu))
    U, X = np.zeros((N, nu)), np.zeros((N + 1, nx))
    fine = _backward(A, B, d, H, h, P, p, gains, shifts, scales)
    closed = np.empty((nx, nx))
    for i in range(nx):
        X[0, i] = dx0[i]
    for k in range(N if fine else 0):
        _respond(A[k], B[k], gains[k], scales[k], closed, S[k], T[k], S[k + 1], k * nu)
        for q in range(nu):
            U[k, q] = shifts[k, q]
            for j in range(nx):
                U[k, q] += gains[k, q, j] * X[k, j]
        for i in range(nx):
            total = d[k, i]
            for j in range(nx):
                total += A[k, i, j] * X[k, j]
            for q in range(nu):
                total += B[k, i, q] * U[k, q]
            X[k + 1, i] = total
    return fine, U, T, X, S, gains

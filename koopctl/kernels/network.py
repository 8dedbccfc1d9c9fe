"""The sampled recurrent network and its Jacobians; numpy's are in `koopctl.models.sampled_rnn`."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.kernels.compiling import compiled

_LARGEST = 708.0  # exp of it is finite, and of its negative a normal number
_PER_LN2 = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # ln 2 in two parts
_ROUND = 6755399441056767.0  # 1.5 * 2^52 + 1023: added to k, its last bits are the exponent of 2^k


@compiled()
def _regressors(X: Array, U: Array, nr: int, linear: np.ndarray, circle: np.ndarray) -> Array:
    """Return [w, u] (n, nr).

    Raises:
        ValueError: X or U has another shape; compiled loops would read on beyond its end.
    """
    n_linear, n_circle, nu = linear.shape[1], circle.shape[1], U.shape[1]
    if len(X) != len(U) or X.shape[1] != n_linear + n_circle or nr != n_linear + 2 * n_circle + nu:
        raise ValueError("states and inputs do not fit the network")
    R = np.empty((len(X), nr))
    for i in range(len(X)):
        for j in range(n_linear):
            R[i, linear[1, j]] = X[i, linear[0, j]]
        for j in range(n_circle):
            angle = X[i, circle[0, j]]
            R[i, circle[1, j]], R[i, circle[2, j]] = np.cos(angle), np.sin(angle)
        for j in range(nu):
            R[i, nr - nu + j] = U[i, j]
    return R


@compiled()
def _logistic(row: Array, b: Array, low: Array, high: Array, power: Array, bits: np.ndarray) -> None:
    """Set the row to 1 / (1 + exp(row + b)), to 4e-16, without a call a number: the compiler takes several at once.

    exp(v) = 2^k (1 + x) / (1 - x) with x = tanh(r / 2), v = k ln 2 + r, as in Cephes' exp.c (Moshier 1992), so that one
    division does for both. The last bits of `power` are made the exponent of 2^k.
    """
    for j in range(len(row)):
        v = row[j] + b[j]
        v = _LARGEST if v > _LARGEST else v
        v = -_LARGEST if v < -_LARGEST else v
        rounded = v * _PER_LN2 + _ROUND
        k = rounded - _ROUND
        r = (v - k * _LN2_HIGH) - k * _LN2_LOW
        z = r * r
        odd = r * ((1.26177193074810590878e-4 * z + 3.02994407707441961300e-2) * z + 1.0)
        even = ((3.00198505138664455042e-6 * z + 2.52448340349684104192e-3) * z + 2.27265548208155028766e-1) * z + 2.0
        low[j], high[j], power[j] = even - odd, even + odd, rounded
    for j in range(len(row)):
        bits[j] = bits[j] << 52
    for j in range(len(row)):
        row[j] = low[j] / (low[j] + high[j] * power[j])


@compiled()
def _activate(H: Array, b: Array, tanh: bool, slope: Array) -> None:
    """Turn H into the hidden units s of H + b; fill in s - s^2 (tanh) or the step (ReLU) where there is room."""
    n, nf = H.shape
    low, high = np.empty(nf), np.empty(nf)
    power = np.empty(nf)
    for i in range(n):
        row = H[i]
        if tanh:
            _logistic(row, b, low, high, power, power.view(np.int64))
            if len(slope):
                for j in range(nf):
                    slope[i, j] = row[j] - row[j] * row[j]
        else:
            for j in range(nf):
                v = row[j] + b[j]
                row[j] = 0.0 if v < 0.0 else v  # NaN stays NaN
            if len(slope):
                for j in range(nf):
                    slope[i, j] = 1.0 if row[j] > 0.0 else 0.0


@compiled()
def _outer_layer(H: Array, R: Array, Ct: Array, Lt: Array, c: Array) -> Array:
    Q: Array = np.dot(H, Ct)
    for i in range(len(Q)):
        for q in range(len(c)):
            Q[i, q] += c[q]
            for j in range(len(Lt)):
                Q[i, q] += R[i, j] * Lt[j, q]
    return Q


@compiled()
def _differentiate(J: Array, R: Array, Lt: Array, linear: np.ndarray, circle: np.ndarray, A: Array, B: Array) -> None:
    """Fill the newest coordinates' rows of A and B, from the hidden layer's part J (n, nq * nr)."""
    nr, nq = Lt.shape
    nu = B.shape[2]
    for i in range(len(J)):
        for q in range(nq):
            D = J[i, q * nr : (q + 1) * nr]
            for j in range(nr):
                D[j] += Lt[j, q]
            for j in range(linear.shape[1]):
                A[i, q, linear[0, j]] = D[linear[1, j]]
            for j in range(circle.shape[1]):
                angle, cos, sin = circle[0, j], circle[1, j], circle[2, j]
                A[i, q, angle] = D[sin] * R[i, cos] - D[cos] * R[i, sin]
            A[i, q, q] += 1.0
            for j in range(nu):
                B[i, q, j] = D[nr - nu + j]


@compiled()
def _age(X: Array, U: Array, nq: int, F: Array, A: Array, B: Array) -> None:
    """Fill in the older part of the next states, see `Window.advance`."""
    (n, nx), nu = X.shape, U.shape[1]
    past = nq * (1 + (nx - nq) // (nq + nu))
    for i in range(n):
        for j in range(past - nq):
            F[i, nq + j], A[i, nq + j, j] = X[i, j], 1.0
        for j in range(nu):
            F[i, past + j], B[i, past + j, j] = U[i, j], 1.0
        for j in range(past, nx - nu):
            F[i, nu + j], A[i, nu + j, j] = X[i, j], 1.0


@compiled("f2 f2 f2 f1 f2 f2 f1 i2 i2 b")
def increment(
    X: Array,
    U: Array,
    V: Array,
    b: Array,
    Ct: Array,
    Lt: Array,
    c: Array,
    linear: np.ndarray,
    circle: np.ndarray,
    tanh: bool,
) -> Array:
    """Return the increments of the coordinates (n, nq); the arguments are those of `expand`."""
    R = _regressors(X, U, len(V), linear, circle)
    H = np.dot(R, V)
    _activate(H, b, tanh, np.empty((0, 0)))
    return _outer_layer(H, R, Ct, Lt, c)


@compiled("f2 f2 f2 f1 f2 f2 f1 i2 i2 b f2")
def expand(
    X: Array,
    U: Array,
    V: Array,
    b: Array,
    Ct: Array,
    Lt: Array,
    c: Array,
    linear: np.ndarray,
    circle: np.ndarray,
    tanh: bool,
    outer: Array,
) -> tuple[Array, Array, Array]:
    """Return f (n, nx), A (n, nx, nx), B (n, nx, nu) at a batch.

    Args:
        X: States, (n, nx).
        U: Inputs, (n, nu).
        V: Hidden weights of the regressors r = [w, u], (nr, nf).
        b: Biases, (nf,).
        Ct: Outer layer, (nf, nq).
        Lt: Linear part, (nr, nq).
        c: Offset, (nq,).
        linear: `Window.linear`.
        circle: `Window.circle`.
        tanh: Whether a hidden unit is the logistic 1 / (1 + exp(v)); else it is max(v, 0).
        outer: Derivatives of the increments by the units' slopes, (nf, nq * nr).
    """
    R = _regressors(X, U, len(V), linear, circle)
    H = np.dot(R, V)
    slope = np.empty_like(H)
    _activate(H, b, tanh, slope)
    (n, nx), nq, nu = X.shape, len(c), U.shape[1]
    F, A, B = np.zeros((n, nx)), np.zeros((n, nx, nx)), np.zeros((n, nx, nu))
    Q = _outer_layer(H, R, Ct, Lt, c)
    for i in range(n):
        for q in range(nq):
            F[i, q] = X[i, q] + Q[i, q]
    _differentiate(np.dot(slope, outer), R, Lt, linear, circle, A, B)
    if nx > nq:
        _age(X, U, nq, F, A, B)
    return F, A, B

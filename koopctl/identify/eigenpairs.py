"""Eigenvalues and both kinds of eigenvectors of a block upper triangular matrix, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from koopctl.arrays import Array

Complex = NDArray[np.complex128]

_SINGULAR = 1e-12  # singular values below this share of the largest count as zero


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenpairs of A (nz, nz): A v = l v and w^H A = l w^H.

    Attributes:
        values: l, (n,).
        left: The vectors w as columns, (nz, n), of length 1 within their block.
        right: The vectors v as columns, (nz, n), of length 1 within their block.
        block: Number of the block each belongs to, (n,).
    """

    values: Complex
    left: Complex
    right: Complex
    block: np.ndarray


def block_eigenpairs(A: Array, blocks: Sequence[np.ndarray]) -> Eigenpairs:
    """Return the eigenpairs of A, each with the block it comes from.

    An eigenvector of a diagonal block is continued into the later blocks (left) and the earlier ones (right) by one
    small linear system. Solving for all of A at once gives the same numbers, but where two blocks share an eigenvalue,
    such as the 1 of a coordinate and the 1 of its undamped rate, only the blocks tell which is which.

    Args:
        A: The matrix, real.
        blocks: Positions in A; rows of a block read columns of this block and later ones only.
    """
    parts = []
    for number, own in enumerate(blocks):
        if not len(own):
            continue
        earlier = np.concatenate([*blocks[:number], np.zeros(0, int)]).astype(int)
        later = np.concatenate([*blocks[number + 1 :], np.zeros(0, int)]).astype(int)
        values, left, right = scipy.linalg.eig(A[np.ix_(own, own)], left=True, right=True)
        W, V = np.zeros((2, len(A), len(own)), dtype=np.complex128)
        W[own], V[own] = left, right
        # w_later^H (l - A_later) = w_own^H A_own,later and (l - A_earlier) v_earlier = A_earlier,own v_own
        W[later] = _resolvent(A[np.ix_(later, later)].T, values.conj(), A[np.ix_(own, later)].T @ left)
        V[earlier] = _resolvent(A[np.ix_(earlier, earlier)], values, A[np.ix_(earlier, own)] @ right)
        parts.append((values, W, V, np.full(len(own), number)))
    values, left, right, block = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    return Eigenpairs(values, left, right, block)


def _resolvent(A: Array, values: Complex, F: Complex) -> Complex:
    """Return (l_i - A)^-1 f_i as columns (m, n)."""
    X = np.zeros(F.shape, dtype=np.complex128)
    for i, value in enumerate(values):
        if F[:, i].any():
            X[:, i] = _solution(value * np.eye(len(A)) - A, F[:, i])
    return X


def _solution(system: Complex, f: Complex) -> Complex:
    """Solve, by least squares where the system is singular to rounding: two blocks share the eigenvalue."""
    try:
        x = np.linalg.solve(system, f)
        if np.linalg.norm(x) * np.linalg.norm(system) * _SINGULAR <= np.linalg.norm(f):
            return np.asarray(x, dtype=np.complex128)
    except np.linalg.LinAlgError:
        pass
    return np.asarray(np.linalg.lstsq(system, f, rcond=_SINGULAR)[0], dtype=np.complex128)

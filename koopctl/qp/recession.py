"""Whether a convex quadratic cost falls without bound inside linear constraints."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array
from koopctl.qp.active_set import ActiveSet
from koopctl.qp.backend import NO_BOUND

_NULL = 1e-13  # of the largest eigenvalue of the Hessian with unit diagonal
_FLAT = 1e-14  # of the largest curvature: a variable without any
_SLOPE = 1e-9  # of the linear cost: what is less may be rounding
_CROSSED = 1e-9  # of a row's own size: a direction does not leave it


def curvature(P: Array) -> Array:
    """Return each variable's own curvature (n,); those without any count as the least curved of the others."""
    diagonal = np.diag(P)
    curved = diagonal > _FLAT * diagonal.max(initial=0.0)
    return np.where(curved, diagonal, diagonal[curved].min() if curved.any() else 1.0)


class Recession:
    r"""Directions that cost no curvature and never meet a bound.

    A feasible program is unbounded exactly where some d has :math:`P d = 0, q^T d < 0` and leaves no row with a bound
    on that side. The steepest one is the projection of -q on the cone of all d without the slope, again a quadratic
    program, with an identity for a Hessian; it is zero where the program is bounded.
    """

    def __init__(self, P: Array, A: Array) -> None:
        """Find the directions without curvature.

        Args:
            P: Hessian, positive semidefinite, (n, n).
            A: A first constraint matrix, (m, n).
        """
        unit = 1.0 / np.sqrt(curvature(P))
        values, vectors = np.linalg.eigh(P * unit * unit[:, None])
        flat = values <= _NULL * len(P) * values.max(initial=0.0)
        self._basis = unit[:, None] * vectors[:, flat]
        k = self._basis.shape[1]
        self._A, self._rows = A, A @ self._basis
        self._steps = ActiveSet(np.eye(k), self._rows, 0.0, None, True) if k else None

    def falls(self, q: Array, lower: Array, upper: Array, A: Array) -> bool | None:
        """Tell whether there is a direction along which the cost falls for ever; None where that cannot be told.

        Args:
            q: Linear cost, (n,).
            lower: Lower bounds, (m,), of A x; -NO_BOUND and below where there is none.
            upper: Upper bounds, (m,); NO_BOUND and above where there is none.
            A: Constraint matrix, (m, n).
        """
        slope = q @ self._basis
        if self._steps is None or not np.abs(slope).max() > _SLOPE * np.abs(q).dot(np.abs(self._basis)).max():
            return False
        if A is not self._A:
            self._A, self._rows = A, A @ self._basis
        low = np.where(lower > -NO_BOUND, 0.0, -NO_BOUND)
        high = np.where(upper < NO_BOUND, 0.0, NO_BOUND)
        self._steps.reset()
        c, _, outcome, _, _ = self._steps.solve(slope, low, high, self._rows)
        if outcome != "solved":
            return None
        length = float(np.sqrt(c @ c))
        if not length > _SLOPE * float(np.sqrt(slope @ slope)):
            return False
        moved, room = self._rows @ c, _CROSSED * length * (np.abs(A) @ np.abs(self._basis)).max(axis=1)
        kept = slope @ c < 0.0 and (moved >= low - room).all() and (moved <= high + room).all()
        return True if kept else None

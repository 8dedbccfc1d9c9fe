"""A linear plant whose matrices are known, learnt back."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm

from koopctl.data.rollouts import Rollouts
from koopctl.features.identity import Identity
from koopctl.models.edmdc import EDMDc

_DT = 0.05  # [s]


def matrix_errors() -> dict[str, float]:
    """Return the largest error of an entry of (A, B), by how the regression is solved."""
    stiffness, damping = np.array([[3.0, -1.0], [-1.0, 2.0]]), np.array([[0.4, -0.1], [-0.1, 0.3]])
    slope = np.block([[np.zeros((2, 2)), np.eye(2)], [-stiffness, -damping]])
    push = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.5], [0.0, 2.0]])
    whole = expm(np.block([[slope, push], [np.zeros((2, 6))]]) * _DT)
    A, B = whole[:4, :4], whole[:4, 4:]
    rng = np.random.default_rng(0)
    X, U = [], []
    for _ in range(20):
        path, inputs = [rng.normal(size=4)], rng.uniform(-1, 1, (50, 2))
        for u in inputs:
            path.append(A @ path[-1] + B @ u)
        X.append(np.array(path))
        U.append(inputs)
    data, errors = Rollouts(X, U, _DT), {}
    for solver in ("cholesky", "qr"):
        model = EDMDc(Identity(), ridge=1e-14, solver=solver, cyclic=()).fit(data)
        errors[solver] = float(max(np.abs(model.A_ - A).max(), np.abs(model.B_ - B).max()))
    return errors

"""PySINDy: sparse regression of the next state on all monomials of state and input up to degree 5."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PACKAGE = "pysindy"


class DiscretePolynomial:
    """The package's discrete-time model, sequentially thresholded ridge regression; 0.1 and 0.05 are its defaults."""

    label = "PySINDy, degree 5"
    rollouts = ("relifted",)
    grid = tuple(
        {"threshold": threshold, "alpha": alpha}
        for threshold in (0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 0.0)
        for alpha in (0.05, 1e-6)
    )

    def __init__(self, problem: dict[str, Array]) -> None:
        """Keep the sampling time."""
        self.dt = float(problem["dt"])

    def prepare(self, data: tuple[list[Array], list[Array]]) -> tuple[list[Array], list[Array]]:
        """Give each episode as many inputs as states; no pair uses the last."""
        return list(data[0]), [np.vstack([u, u[-1:]]) for u in data[1]]

    def fit(self, prepared: tuple[list[Array], list[Array]], settings: dict[str, Any]) -> Any:
        """Return a fitted model."""
        import pysindy

        optimizer = pysindy.STLSQ(threshold=settings["threshold"], alpha=settings["alpha"])
        model = pysindy.DiscreteSINDy(optimizer=optimizer, feature_library=pysindy.PolynomialLibrary(degree=5))
        X, U = prepared
        return model.fit(X, t=self.dt, u=U)

    def predict(self, model: Any, start: Array, ahead: Array, rollout: str) -> Array:
        """Apply the one-step map to all starts at once; a run that left the floats stays at its last value."""
        rows = [start]
        for k in range(ahead.shape[1]):
            after = np.array(model.predict(rows[-1], u=ahead[:, k]))
            rows.append(np.where(np.abs(after) < _HUGE, after, rows[-1]))
        return np.stack(rows, axis=1)


_HUGE = 1e50  # the package refuses what overflows at degree 5


def entrants(problem: dict[str, Array]) -> list[DiscretePolynomial]:
    """Return the ways this package takes part."""
    return [DiscretePolynomial(problem)]

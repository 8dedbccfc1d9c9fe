"""What comes from reservoirpy: the random matrices of a reservoir, and the ridge regression of its readout.

The package is imported when one of these functions is called, as that takes a second; a fitted model does without it.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.errors import DataError, KoopctlError

_CONNECTIONS = 10.0  # to each unit from others, on average


def check_installed() -> None:
    """Import reservoirpy, or raise a KoopctlError where it is not installed."""
    try:
        import_module("reservoirpy.nodes")
    except ModuleNotFoundError as error:
        raise KoopctlError(
            f"EchoState takes its reservoir and its readout from reservoirpy, but {error.name} is not installed; run: "
            "pip install 'koopctl[baselines]'."
        ) from None


def drawn(
    units: int, n_in: int, spectral_radius: float, leak: float, input_scaling: float, seed: int
) -> tuple[Array, Array, Array]:
    """Return the recurrent weights (N, N), the input weights (N, n_in) and the biases (N,) of a reservoir.

    About ten connections a unit, normally distributed and scaled to the spectral radius; every unit reads every input,
    weights uniform within +-`input_scaling`, biases within +-1.

    Args:
        units: Number of units N.
        n_in: Number of inputs.
        spectral_radius: Of the recurrent weights.
        leak: Share of a unit that is renewed each step.
        input_scaling: Largest input weight.
        seed: Of everything random.
    """
    from reservoirpy.mat_gen import uniform
    from reservoirpy.nodes import Reservoir

    node = Reservoir(
        units,
        lr=leak,
        sr=spectral_radius,
        input_scaling=input_scaling,
        input_connectivity=1.0,
        rc_connectivity=min(1.0, _CONNECTIONS / units),
        Win=uniform,
        bias=uniform(low=-1.0, high=1.0),
        input_dim=n_in,
        seed=seed,
    )
    node.initialize(np.zeros((1, n_in)))
    W, V, b = (_plain(part) for part in (node.W, node.Win, node.bias))
    if not np.isfinite(W).all():
        raise DataError(f"a reservoir of {units} units has no loops to give a spectral radius; raise n_features.")
    return W, V, b.ravel()


def ridge_readout(moments: tuple[Array, Array, Array, Array, float], penalty: float) -> tuple[Array, Array]:
    """Return weights (p, m) and biases (m,) of reservoirpy's Ridge.

    Args:
        moments: Sums of x x^T (p, p), x y^T (p, m), x (p,), y (m,) over samples, and their number.
        penalty: Added to the diagonal of the first.

    Raises:
        DataError: The equations are singular.
    """
    from reservoirpy.nodes import Ridge

    p, m = moments[1].shape
    node = Ridge(ridge=penalty, input_dim=p, output_dim=m)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the condition number is in the report
            node.master([moments])
    except np.linalg.LinAlgError:
        raise DataError("the equations of the readout are singular; give a ridge such as 1e-10.") from None
    return np.asarray(node.Wout, dtype=np.float64), np.asarray(node.bias, dtype=np.float64)


def _plain(matrix: Any) -> Array:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)

"""How far predictions are from the truth: point by point, in the shape of the motion, in its spectrum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from koopctl.arrays import Array
from koopctl.bench.attractors import attractor_divergence

_MOST_BINNED = 5  # dimensions; above, nearly every bin is empty
_CENTRES = 4000  # points of a mixture, at most
_SMOOTHED = 1e-3  # deviation of the spectra's Gaussian smoothing, as a share of the band


def mse_by_horizon(path: Array, truth: Array, spread: Array, horizons: Mapping[str, int]) -> dict[str, float]:
    """Return the mean square error over the first steps, in squared deviations of the data, by label.

    Args:
        path: Predictions (n, T + 1, ny), row 0 the start.
        truth: What happened, (n, T + 1, ny).
        spread: Deviation of each coordinate, (ny,).
        horizons: Steps by label.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.mean(((path - truth) / spread) ** 2, axis=(0, 2))[1:]
    return {label: _finite_or_inf(float(error[:steps].mean())) for label, steps in horizons.items()}


def held_out_score(path: Array, truth: Array, spread: Array) -> float:
    """Return the rms error over all steps ahead, in deviations of the data; inf where it is no number."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.sqrt(np.mean(((path - truth) / spread)[:, 1:] ** 2))
    return _finite_or_inf(float(value))


def divergence(truth: Array, free: Array) -> float:
    """Return the empirical Kullback-Leibler divergence of the points of two motions, (n, ny) and (m, ny).

    Below six dimensions by counting in bins (`attractor_divergence`), above by mixtures of Gaussians.
    """
    return attractor_divergence(truth, free) if truth.shape[1] <= _MOST_BINNED else mixture_divergence(truth, free)


def mixture_divergence(truth: Array, free: Array, sigma: float = 1.0, samples: int = 1000, seed: int = 0) -> float:
    """Return the divergence of two mixtures, one Gaussian around each point, by sampling from the first.

    The estimate that papers on reconstructing dynamical systems use where there are too many dimensions to count in
    bins (Koppe et al., PLoS Computational Biology 2019; Brenner et al., ICML 2022).

    Args:
        truth: Points of the true motion (n, ny); their deviations are the unit of sigma.
        free: Points of the predicted motion (m, ny).
        sigma: Deviation of the Gaussians.
        samples: Points drawn from the first mixture.
        seed: Of the drawing.
    """
    if not np.isfinite(free).all():
        return float("inf")
    spread = truth.std(axis=0)
    unit = np.where(spread > 0.0, spread, 1.0)
    first, second = _thinned(truth / unit), _thinned(free / unit)
    rng = np.random.default_rng(seed)
    drawn = first[rng.integers(len(first), size=samples)] + sigma * rng.normal(size=(samples, first.shape[1]))
    return float(np.mean(_log_density(drawn, first, sigma) - _log_density(drawn, second, sigma)))


def spectrum_error(truth: Array, free: Array) -> float:
    """Return the Hellinger distance of two motions' smoothed, normalised power spectra, the mean over coordinates.

    0 is the same spectrum, 1 no frequency in common. What stands still, or is no number, has no spectrum: 1.

    Args:
        truth: Stretches of the true motion, (n, T, ny).
        free: Stretches of the predicted motion, as long, (m, T, ny).
    """
    p, q = _spectrum(truth), _spectrum(free)
    return float(np.mean(np.sqrt(np.clip(1.0 - np.sum(np.sqrt(p * q), axis=0), 0.0, 1.0))))


def _spectrum(stretches: Array) -> Array:
    """Return the power over frequency of each coordinate, its sum 1, or 0 where it stands still, (bins, ny)."""
    motion = stretches - stretches.mean(axis=1, keepdims=True)
    taper = np.hanning(motion.shape[1])[:, None]  # short stretches do not end where they began
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.mean(np.abs(np.fft.rfft(motion * taper, axis=1)) ** 2, axis=0)[1:]
    power = np.where(np.isfinite(power).all(axis=0), power, 0.0)
    power = gaussian_filter1d(power, max(1.0, _SMOOTHED * len(power)), axis=0, mode="nearest")
    total = power.sum(axis=0)
    return np.asarray(np.divide(power, total, out=np.zeros_like(power), where=total > 0.0))


def _thinned(points: Array) -> Array:
    """Return at most so many points as one mixture holds, evenly chosen."""
    chosen = np.unique(np.linspace(0, len(points) - 1, min(_CENTRES, len(points))).astype(int))
    return np.asarray(points[chosen])


def _log_density(points: Array, centres: Array, sigma: float) -> Array:
    """Return the log density of a mixture at points (k, d), without the factor that all mixtures of a sigma share."""
    squared = cdist(points, centres, "sqeuclidean")
    return np.asarray(logsumexp(-squared / (2.0 * sigma**2), axis=1) - np.log(len(centres)))


def _finite_or_inf(value: float) -> float:
    return value if np.isfinite(value) else float("inf")

"""Hidden units sampled from pairs of data points (SWIM)."""

from __future__ import annotations

from typing import Literal, Self, get_args

import numpy as np

from koopctl.arrays import Array, as_whole, is_finite
from koopctl.errors import DataError
from koopctl.features.blocked import BlockedLift
from koopctl.features.pool import POOL
from koopctl.features.pool import stable_order as stable_order

Sampling = Literal["gradient", "uniform", "random"]

# A unit is -1/2 at one point of its pair and +1/2 at the other (tanh), or 0 and 1 (ReLU).
_SCALES = {"tanh": (np.log(3.0), np.log(3.0) / 2), "relu": (1.0, 0.0)}
_SLOPE, _SHIFT = 0.5, 1.0  # of random units: deviation of what excites one, and the largest bias
_CANDIDATES = 10  # pairs looked at for each unit kept
_ZERO = np.array(0.0)  # as an array: a ufunc takes it in half the time of a Python float
_MANY = 1000  # elements from which on tanh by way of exp is the faster one


class SampledFeatures(BlockedLift):
    r"""A hidden layer :math:`\psi_i(w) = \sigma(\langle v_i, w\rangle + b_i)` with weights sampled, never trained.

    For a pair of data points (a, b): :math:`v = s_1 (b - a) / |b - a|^2` and :math:`b_i = -\langle v, a\rangle - s_2`
    (Bolager et al., "Sampling weights of deep neural networks", NeurIPS 2023). Pairs are drawn with probability
    proportional to the steepness |f(b) - f(a)| / |b - a| of what is learnt, or uniformly. Which points are drawn
    depends on their values and the seed, not on their order in the file.

    Smooth motion is spanned better by units that close pairs do not make steep, that do not all turn half-way, and of
    which some look in other directions: `steepness` limits :math:`|v|` and leaves the unit where it turns, `scatter`
    is the largest bias added at random, `isotropic` the share of units that are turned into a random direction about
    the middle of their pair (with ReLU about its first point). 0.5, 1 and 0.8 suit simulated oscillators and
    attractors; noise leaves little of the gain.

    "random" looks at no data: weights are standard normal times `steepness` / sqrt(nw), so that coordinates of unit
    variance excite a unit with that deviation (1/2 by default), and biases uniform within +-1. With the outer layer by
    least squares that is an extreme learning machine (Huang, Zhu and Siew, Neurocomputing 70, 2006).

    Attributes:
        weights_: (nw, nf).
        biases_: (nf,).
    """

    def __init__(
        self,
        n_features: int = 300,
        sampling: Sampling = "gradient",
        activation: Literal["tanh", "relu"] = "tanh",
        random_state: int = 0,
        steepness: float | None = None,
        scatter: float = 0.0,
        isotropic: float = 0.0,
    ) -> None:
        """Set the parameters.

        Args:
            n_features: Number of hidden units nf.
            sampling: How pairs are drawn, "gradient" or "uniform"; "random" draws weights without any.
            activation: The nonlinearity.
            random_state: Seed; the same seed and data give the same bytes.
            steepness: Largest length of a unit's weights, for "random" the root of their mean square; None for as
                published.
            scatter: Largest bias added to that of a pair, which is the bias of a unit that turns half-way (tanh).
            isotropic: Share of the units that look in a random direction instead of from point to point.
        """
        self.n_features = n_features
        self.sampling = sampling
        self.activation = activation
        self.random_state = random_state
        self.steepness = steepness
        self.scatter = scatter
        self.isotropic = isotropic

    def fit(self, W: Array, F: Array) -> Self:
        """Sample the layer from W (n, nw) and targets F (n, m).

        Raises:
            DataError: A parameter has an unknown value, or there are no two distinct points to make a pair of.
        """
        self._check_parameters()
        rng = np.random.default_rng(self.random_state)
        W, F = self._adopt(W, F)
        if self.sampling == "random":
            slope = (_SLOPE if self.steepness is None else self.steepness) / np.sqrt(max(W.shape[1], 1))
            self.weights_ = rng.normal(size=(W.shape[1], self.n_features)) * slope
            self.biases_ = rng.uniform(-_SHIFT, _SHIFT, self.n_features)
            return self
        pool = stable_order(W, F, rng)[:POOL]
        first, second = self._pairs(W[pool], F[pool], rng)
        a, step = W[pool[first]], W[pool[second]] - W[pool[first]]
        s1, s2 = _SCALES[self.activation]
        distance = np.linalg.norm(step, axis=1)
        slopes = s1 / distance
        if self.steepness is not None:
            np.minimum(slopes, self.steepness, out=slopes)
        directions = step / distance[:, None]
        turned = rng.normal(size=(round(self.isotropic * self.n_features), W.shape[1]))
        directions[: len(turned)] = turned / np.linalg.norm(turned, axis=1)[:, None]
        self.weights_ = np.ascontiguousarray((slopes[:, None] * directions).T)
        self.biases_ = -np.einsum("ij,ji->i", a + s2 / s1 * step, self.weights_)  # zero at that place of the pair
        if self.scatter > 0.0:
            self.biases_ += rng.uniform(-self.scatter, self.scatter, self.n_features)
        return self

    def _check_parameters(self) -> None:
        if self.activation not in _SCALES or self.sampling not in get_args(Sampling):
            raise DataError(
                f"activation={self.activation!r}, sampling={self.sampling!r}: activation is one of "
                f"{', '.join(_SCALES)}, sampling one of {', '.join(get_args(Sampling))}."
            )
        as_whole("n_features", self.n_features, 1)
        as_whole("random_state", self.random_state, 0)
        if self.steepness is not None and not (is_finite(self.steepness) and self.steepness > 0.0):
            raise DataError(f"steepness is {self.steepness!r}; it is a positive number, None for units as published.")
        if not (is_finite(self.scatter) and self.scatter >= 0.0):
            raise DataError(f"scatter is {self.scatter!r}; it is 0 or the largest bias added to a unit.")
        if not (is_finite(self.isotropic) and 0.0 <= self.isotropic <= 1.0):
            raise DataError(f"isotropic is {self.isotropic!r}; it is a share of the units, from 0 to 1.")
        if self.sampling == "random" and (self.scatter > 0.0 or self.isotropic > 0.0):
            raise DataError(
                'scatter and isotropic move units that have a place; leave them at 0 with sampling="random".'
            )

    @property
    def n_out(self) -> int:
        """Number of hidden units."""
        return len(self.biases_)

    def _features(self, W: Array) -> Array:
        H: Array = W.dot(self.weights_)
        H += self.biases_
        if self.activation == "relu":
            np.maximum(H, _ZERO, out=H)
        elif H.size < _MANY:
            np.tanh(H, out=H)
        else:
            _tanh(H)
        return H

    def slope(self, H: Array) -> Array:
        """Return the derivative of the activation, (n, nf), from the layer's values H."""
        return 1.0 - H * H if self.activation == "tanh" else (H > 0.0).astype(np.float64)

    def jacobian(self, W: Array) -> Array:
        """Return d psi / d w, (n, nf, nw)."""
        return np.asarray(self.slope(self.transform(W))[:, :, None] * self.weights_.T[None])

    def arrays(self) -> dict[str, Array]:
        """Return weights and biases."""
        return {"weights": self.weights_, "biases": self.biases_}

    def restore(self, arrays: dict[str, Array]) -> Self:
        """Set weights and biases."""
        self.weights_, self.biases_ = arrays["weights"], arrays["biases"]
        self._set_width(len(self.weights_))
        return self

    def _pairs(self, W: Array, F: Array, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw n_features pairs (two index arrays) of distinct points."""
        count = _CANDIDATES * self.n_features
        first, second = rng.integers(len(W), size=count), rng.integers(len(W), size=count)
        distance = np.linalg.norm(W[second] - W[first], axis=1)
        usable = distance > 1e-9 * (1.0 + distance.max(initial=0.0))
        if not usable.any():
            raise DataError("every sample is the same point; record motion that moves before sampling features.")
        first, second, distance = first[usable], second[usable], distance[usable]
        density = np.linalg.norm(F[second] - F[first], axis=1) / distance
        if self.sampling == "uniform" or not density.any():
            density = np.ones_like(distance)
        # Gumbel keys draw without replacement in proportion to the density; too few pairs are reused.
        keys = np.log(np.maximum(density, 1e-300)) + rng.gumbel(size=len(density))
        order = np.argsort(-keys, kind="stable")
        chosen = np.resize(order, self.n_features)
        return first[chosen], second[chosen]


def _tanh(H: Array) -> None:
    """Set H to tanh(H) = 1 - 2 / (exp(2 H) + 1): half the time of numpy's tanh, to 3e-16, and exactly +-1 far out."""
    with np.errstate(over="ignore"):  # exp may overflow to inf, which gives the right 1
        H += H
        np.exp(H, out=H)
    H += 1.0
    np.divide(-2.0, H, out=H)
    H += 1.0

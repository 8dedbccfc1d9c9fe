"""The sampled recurrent network: hidden units over state and input together, the outer layer by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from koopctl.arrays import Array
from koopctl.features.sampled import SampledFeatures, Sampling
from koopctl.kernels import kernels
from koopctl.models.learner import Learner
from koopctl.regression.scaling import centre_and_spread

_ZERO, _ONE = np.array(0.0), np.array(1.0)  # as arrays: a ufunc takes them in half the time of a Python float


class SampledRNN(Learner):
    r"""Input-augmented model :math:`q_{k+1} = q_k + C\,\psi([w_k, u_k]) + L\,[w_k, u_k] + c`.

    w are the regressors of the state (an angle appears as its cos and sin). The hidden units psi are sampled from
    pairs of data points in (w, u) jointly, so that an input gain that depends on the state is learnt; C, L and c
    are one ridge regression on the increments. Nothing is trained by gradient descent.

    Attributes:
        features_: The hidden layer, on standardised (w, u).
        C_: Outer layer in physical units, (nq, nf).
        L_: Linear part, (nq, nw + nu).
        c_: Offset, (nq,).
    """

    def __init__(
        self,
        n_features: int = 300,
        delays: int = 0,
        ridge: float = 1e-10,
        sampling: Sampling = "gradient",
        activation: Literal["tanh", "relu"] = "tanh",
        solver: Literal["auto", "cholesky", "qr"] = "auto",
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        random_state: int = 0,
        steepness: float | None = None,
        scatter: float = 0.0,
        isotropic: float = 0.0,
    ) -> None:
        """Set the parameters.

        Args:
            n_features: Number of hidden units.
            delays: Older observations and inputs in the state; 0 when the state is measured.
            ridge: Penalty of the least squares, relative to regressors of unit size.
            sampling: How pairs of data points are drawn, "gradient" or "uniform"; "random" draws weights that know
                nothing of the data, which makes this an extreme learning machine.
            activation: "tanh" or "relu".
            solver: "cholesky" of the normal equations, "qr" of the data, or "auto": where the normal equations
                lose the digits, a second pass in whitened coordinates.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            random_state: Seed of the sampling.
            steepness: Largest length of a unit's weights on standardised coordinates; None for as its pair says.
            scatter: Largest bias added to a unit at random.
            isotropic: Share of the units that look in a random direction. Smooth, noise-free motion is predicted best
                with 0.5, 1 and 0.8.
        """
        self.n_features = n_features
        self.delays = delays
        self.ridge = ridge
        self.sampling = sampling
        self.activation = activation
        self.solver = solver
        self.manifold = manifold
        self.cyclic = cyclic
        self.random_state = random_state
        self.steepness = steepness
        self.scatter = scatter
        self.isotropic = isotropic

    def _sample(self, X: Array, U: Array, dQ: Array) -> None:
        S = np.concatenate([self.window_.embed(X), U], axis=1)
        self.mean_, self.scale_ = centre_and_spread(S)
        self.scale_[self._unseen[1]] = np.inf  # standardised to zero: no unit, no coefficient reads it
        self.gain_ = centre_and_spread(dQ)[1]
        self.features_ = self._layer()
        self.features_.fit((S - self.mean_) / self.scale_, dQ / self.gain_)

    def _layer(self) -> SampledFeatures:
        kind = self.n_features, self.sampling, self.activation
        return SampledFeatures(*kind, self.random_state, self.steepness, self.scatter, self.isotropic)

    def _problem_size(self) -> tuple[int, int]:
        return self.n_features + len(self.mean_) + 1, len(self.gain_)

    def _regression(self, X: Array, U: Array, dQ: Array) -> tuple[Array, Array]:
        S = (np.concatenate([self.window_.embed(X), U], axis=1) - self.mean_) / self.scale_
        Phi = np.empty((len(S), self._problem_size()[0]))
        self.features_.transform_into(S, Phi[:, : self.n_features])
        Phi[:, self.n_features : -1], Phi[:, -1] = S, 1.0
        return Phi, dQ / self.gain_

    def _construct(self, theta: Array) -> None:
        theta = theta * self.gain_[:, None]
        nf = self.n_features
        self.C_ = theta[:, :nf]
        self.L_ = theta[:, nf:-1] / self.scale_
        self.c_ = theta[:, -1] - self.L_ @ self.mean_
        self._prepare()

    def _prepare(self) -> None:
        """Fold the standardisation into the layers and precompute the Jacobian's outer products.

        tanh(v) = 2 s - 1 with the logistic s = 1 / (1 + exp(-2 v)) costs half the time of numpy's tanh, and its slope
        is 4 (s - s^2); the constants go into the layers.
        """
        V, b = self.features_.weights_ / self.scale_[:, None], self.features_.biases_.copy()
        b -= self.mean_ @ V
        # dq/ds = sum_h C[:, h] slope_h V[:, h]: one matrix product per batch with these (nf, nq * (nw + nu)).
        outer = np.einsum("qh,sh->hqs", self.C_, V).reshape(len(b), -1)
        tanh = self.activation == "tanh"
        self._V, self._b = np.ascontiguousarray(-2.0 * V if tanh else V), -2.0 * b if tanh else b
        self._Ct, self._Lt = np.ascontiguousarray((2.0 if tanh else 1.0) * self.C_.T), np.ascontiguousarray(self.L_.T)
        self._outer = np.ascontiguousarray(4.0 * outer if tanh else outer)
        self._offset = self.c_ - self.C_.sum(axis=1) * tanh
        # For numpy: the constants as one row more, for a regressor that is always 1; the Jacobian without the layer.
        self._with_bias, self._with_offset = np.vstack([self._V, self._b]), np.vstack([self._Lt, self._offset])
        window = self.window_
        self._has_angles = bool(window.circle.size)
        self._rest = self.L_ if self._has_angles else self.L_ + np.eye(*self.L_.shape)
        linear, circle = (np.ascontiguousarray(part, dtype=np.int64) for part in (window.linear, window.circle))
        # What the kernels read, one after the other.
        self._layers = (self._V, self._b, self._Ct, self._Lt, self._offset, linear, circle, tanh)

    def _hidden(self, S: Array) -> Array:
        """Return the logistic s of the hidden layer for tanh, its values for ReLU, (n, nf)."""
        H = S @ self._V
        H += self._b
        return self._activate(H)

    def _activate(self, H: Array) -> Array:
        """Turn what goes into the hidden units into what comes out, in place."""
        if self.activation == "relu":
            np.maximum(H, _ZERO, out=H)
            return H
        with np.errstate(over="ignore"):  # exp may overflow to inf, whose reciprocal is the right 0
            np.exp(H, out=H)
        H += _ONE
        np.reciprocal(H, out=H)
        return H

    def _regressors(self, W: Array, U: Array) -> Array:
        """Return [w, u, 1] (n, nw + nu + 1)."""
        nw = W.shape[1]
        S = np.empty((len(W), nw + U.shape[1] + 1))
        S[:, :nw], S[:, nw:-1], S[:, -1] = W, U, 1.0
        return S

    def _increment(self, X: Array, U: Array) -> Array:
        compiled = kernels()
        if compiled is not None:
            return compiled.increment(_in_rows(X), _in_rows(U), *self._layers)
        S = self._regressors(self.window_.embed(X), U)
        dQ: Array = self._activate(S @ self._with_bias) @ self._Ct
        dQ += S @ self._with_offset
        return dQ

    def expand(self, X: Array, U: Array) -> tuple[Array, Array, Array]:
        """Return f (n, nx), A (n, nx, nx), B (n, nx, nu) at a batch, from one pass through the hidden layer."""
        compiled = kernels()
        if compiled is not None:
            return compiled.expand(_in_rows(X), _in_rows(U), *self._layers, self._outer)
        window = self.window_
        n, nq, nw = len(X), window.nq, window.nw
        W = window.embed(X)
        S = self._regressors(W, U)
        H = self._activate(S @ self._with_bias)
        Q = H @ self._Ct
        Q += S @ self._with_offset
        Q += X[:, :nq]
        slope = self._slope(H)
        J = (slope @ self._outer).reshape(n, nq, nw + window.nu)
        J += self._rest
        A_q, B_q = window.chain(J[:, :, :nw], W), J[:, :, nw:]
        if self._has_angles:
            np.einsum("nii->ni", A_q[:, :, :nq])[...] += 1.0  # a writable view of the diagonals
        if not window.delays:
            return Q, A_q, B_q
        A, B = np.empty((n, window.nx, window.nx)), np.empty((n, window.nx, window.nu))
        A[:, :nq], B[:, :nq] = A_q, B_q
        A[:, nq:], B[:, nq:] = window.shift
        return window.advance(X, Q, U), A, B

    def _slope(self, H: Array) -> Array:
        """Return s - s^2 of hidden units s (tanh) or the step (ReLU), (n, nf)."""
        if self.activation == "relu":
            return self.features_.slope(H)
        slope = H * H
        return np.subtract(H, slope, out=slope)

    def _arrays(self) -> dict[str, Array]:
        scales = {"mean": self.mean_, "scale": self.scale_, "gain": self.gain_}
        return scales | {"C": self.C_, "L": self.L_, "c": self.c_} | self.features_.arrays()

    def _restore(self, arrays: dict[str, Array]) -> None:
        self.mean_, self.scale_, self.gain_ = arrays["mean"], arrays["scale"], arrays["gain"]
        self.C_, self.L_, self.c_ = arrays["C"], arrays["L"], arrays["c"]
        self.features_ = self._layer()
        self.features_.restore(arrays)
        self._prepare()


def _in_rows(part: Array) -> Array:
    return np.ascontiguousarray(part, dtype=np.float64)

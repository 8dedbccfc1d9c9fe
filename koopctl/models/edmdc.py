"""Extended dynamic mode decomposition with control: linear or bilinear in a lifted state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from koopctl.arrays import Array, is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, DesignError, ShapeError
from koopctl.features.base import Lift
from koopctl.features.sampled import SampledFeatures
from koopctl.features.saving import pack_lift, unpack_lift
from koopctl.models.base import Model
from koopctl.models.layout import Layout
from koopctl.models.learner import Learner
from koopctl.regression.scaling import centre_and_spread
from koopctl.regression.stabilised import stabilised
from koopctl.regression.stretches import Stretches

if TYPE_CHECKING:
    import control

_VERIFIED = 100  # samples on which a lift of the user's own is looked at before it is trusted
_ARRAYS = ("mean_", "scale_", "gain_", "u_mean_", "u_scale_", "A_", "B_", "N_", "C_", "c_", "y_offset_")


class EDMDc(Learner):
    r"""Lifted model :math:`z_{k+1} = A z_k + B u_k + \sum_j u_{k,j} N_j z_k + c`, :math:`z = [x, e, \psi(w)]`.

    The lifted state holds the state x itself, cos and sin (e) of every angle in it, and the features psi of the
    standardised regressors w, so the outputs are y = C z + y_offset exactly. An angle is a pure sum of increments: no
    column of A, B, N reads it (only its cos and sin are read), hence turning it by a full turn changes nothing.
    Fitting is one ridge regression (Williams et al. 2016; Korda and Mezic, Automatica 2018; bilinear: Bruder et al.,
    RA-L 2021). With the `Identity` lift it is DMDc.

    Attributes:
        A_: (nz, nz).
        B_: (nz, nu).
        N_: (nu, nz, nz); zero when `inputs="linear"`.
        C_: (ny, nz).
        c_: Offset of the recursion, (nz,): the constant observable, kept out of the state.
        y_offset_: Offset of the output, (ny,).
        lift_: The fitted lift.
    """

    def __init__(
        self,
        lift: Lift | None = None,
        inputs: Literal["linear", "bilinear"] = "linear",
        delays: int = 0,
        ridge: float = 1e-10,
        horizon: int = 1,
        spectral_radius: float | None = None,
        solver: Literal["auto", "cholesky", "qr"] = "auto",
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
    ) -> None:
        """Set the parameters.

        Args:
            lift: The features psi; `SampledFeatures(100)` by default.
            inputs: "linear", or "bilinear" where the input's effect depends on the state.
            delays: Older observations and inputs in the state.
            ridge: Penalty of the least squares, relative to regressors of unit size.
            horizon: Steps over which the linear recursion is fitted; 1 is ordinary least squares. More steps make
                `predict(relift=False)` better far ahead, at some cost of the first step.
            spectral_radius: Largest modulus the eigenvalues of A may have; None leaves them as fitted. Angles and
                cyclic coordinates, which add up increments, keep their eigenvalue 1.
            solver: "cholesky" of the normal equations, "qr" of the data, or "auto": where the normal equations
                lose the digits, a second pass in whitened coordinates.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
        """
        self.lift = lift
        self.inputs = inputs
        self.delays = delays
        self.ridge = ridge
        self.horizon = horizon
        self.spectral_radius = spectral_radius
        self.solver = solver
        self.manifold = manifold
        self.cyclic = cyclic

    # ------------------------------------------------------------------ learning
    def _sample(self, X: Array, U: Array, dQ: Array) -> None:
        if self.inputs not in ("linear", "bilinear"):
            raise DataError(f"inputs is {self.inputs!r}; it is 'linear' or 'bilinear'.")
        if self.spectral_radius is not None and not (is_finite(self.spectral_radius) and self.spectral_radius > 0):
            raise DataError(f"spectral_radius is {self.spectral_radius!r}; it is None or a positive number, often 1.0.")
        W = self.window_.embed(X)
        self.mean_, self.scale_ = centre_and_spread(W)
        self.scale_[self._unseen[1]] = np.inf  # standardised to zero: no feature reads it
        self.gain_ = centre_and_spread(dQ)[1]
        self.u_mean_, self.u_scale_ = centre_and_spread(U)
        template = SampledFeatures(100) if self.lift is None else self.lift
        if not isinstance(template, Lift):
            raise DataError(f"lift is {template!r}; it is a lift such as SampledFeatures(100) or Identity().")
        self.lift_ = clone(template)
        standard = (W - self.mean_) / self.scale_
        self.lift_.fit(standard, dQ / self.gain_).verify(standard[:_VERIFIED])
        if self.inputs == "bilinear" and (self.horizon > 1 or self.spectral_radius is not None):
            raise DataError("horizon and spectral_radius shape a linear recursion; leave them out, or inputs='linear'.")
        self._lay_out()

    def _lay_out(self) -> None:
        scales = (self.mean_, self.scale_, self.gain_, self.u_mean_, self.u_scale_)
        self._per_scale = 1.0 / self.scale_
        self.layout_ = Layout(self.window_, self.lift_.n_out, self._unseen, *scales)

    @property
    def nz(self) -> int:
        """Length of the lifted state."""
        self._fitted  # noqa: B018  raises where there is no fit
        return self.layout_.nz

    def lift_state(self, x: ArrayLike) -> Array:
        """Return the lifted state z, (nz,) of x (nx,) or (n, nz) of (n, nx).

        Raises:
            ShapeError: x has another width.
        """
        given = np.asarray(x, dtype=np.float64)
        single = given.ndim == 1
        X = given[None] if single else given
        if X.ndim != 2 or X.shape[1] != self.nx:
            raise ShapeError(f"x has shape {np.shape(x)}, expected ({self.nx},) or (n, {self.nx}); see encode().")
        layout, nx = self.layout_, X.shape[1]
        W = self.window_.embed(X)
        S = W - self.mean_
        S *= self._per_scale
        Z = np.empty((len(X), layout.nz))  # one array, filled in place: a control loop lifts one state a tick
        Z[:, :nx] = X
        features = nx + len(layout.on_circle)
        if features > nx:
            Z[:, nx:features] = W[:, layout.on_circle]
        Z[:, features:] = self.lift_.transform(S)
        return Z[0] if single else Z

    def _problem_size(self) -> tuple[int, int]:
        nu, read = len(self.u_mean_), len(self.layout_.read) + 1
        return (read * (nu + 1) if self.inputs == "bilinear" else read + nu), len(self.layout_.learnt)

    def _regression(self, X: Array, U: Array, dQ: Array) -> tuple[Array, Array]:
        layout, nq = self.layout_, self.window_.nq
        base = np.ones((len(X), len(layout.read) + 1))
        base[:, :-1] = (self.lift_state(X)[:, layout.read] - layout.z_mean) / layout.z_scale
        V = (U - self.u_mean_) / self.u_scale_
        # Columns: v_1 (r, 1), ..., v_nu (r, 1), (r, 1); the linear coupling keeps only the 1 of each v_j.
        head = (V[:, :, None] * base[:, None, :]).reshape(len(X), -1) if self.inputs == "bilinear" else V
        nxt = self.lift_state(self.window_.advance(X, X[:, :nq] + dQ, U))
        return np.concatenate([head, base], axis=1), np.concatenate(
            [dQ / self.gain_, nxt[:, layout.learnt[nq:]]], axis=1
        )

    def _take_stretches(self, rollouts: Rollouts) -> None:
        if self.horizon == 1:
            return
        if not hasattr(self, "_stretches_"):
            measured = len(self.layout_.read) - self.lift_.n_out
            self._stretches_ = Stretches(len(self.layout_.read), self.window_.nu, self.horizon, measured)
        d, layout = self.window_.delays, self.layout_
        for Y, U in rollouts:
            if len(U) >= d + self.horizon:
                Z = self.lift_state(self.window_.states(Y, U))[:, layout.read]
                self._stretches_.add((Z - layout.z_mean) / layout.z_scale, (U[d:] - self.u_mean_) / self.u_scale_)

    def _refined(self, theta: Array) -> Array:
        """Go on from one-step least squares to the horizon and the spectral radius that are asked for."""
        if self.horizon > 1:
            if not self._stretches_.fold().n:
                raise DataError(f"no episode holds {self.horizon} steps beyond the delays; lower horizon.")
            theta = self._stretches_.fit(theta, *self.layout_.recursion, self.ridge)
        if self.spectral_radius is not None:
            H = self._learnt_.information(self.ridge)
            theta = stabilised(theta, *self.layout_.recursion, H, len(self.u_mean_), float(self.spectral_radius))
        return theta

    def _construct(self, theta: Array) -> None:
        self.A_, self.B_, self.N_, self.c_ = self.layout_.matrices(theta, self.inputs == "bilinear")
        self.C_, self.y_offset_ = self.layout_.output()

    def spectral_radius_of_fit(self) -> float | None:
        """Return the largest modulus of A's eigenvalues, leaving out angles and cyclic coordinates (sums)."""
        self._fitted  # noqa: B018  raises where there is no fit
        read = self.layout_.read
        return float(np.abs(np.linalg.eigvals(self.A_[np.ix_(read, read)])).max())

    def to_ss(self, offset: Literal["input", "drop"] = "input") -> control.StateSpace:
        """Return the linear lifted recursion as a python-control StateSpace; see `state_space`."""
        from koopctl.models.state_space import state_space

        return state_space(self, offset)

    # ------------------------------------------------------------------ using
    def _increment(self, X: Array, U: Array) -> Array:
        return self._increment_from(self.lift_state(X), X, U)

    def _increment_from(self, Z: Array, X: Array, U: Array) -> Array:
        """Return the increments at states X whose lifted states are Z."""
        nq = self.window_.nq
        dQ = Z @ self.A_[:nq].T - X[:, :nq] + U @ self.B_[:nq].T + self.c_[:nq]
        if self.inputs == "bilinear":
            dQ += np.einsum("nj,jqn->nq", U, self.N_[:, :nq] @ Z.T)
        return np.asarray(dQ)

    def expand(self, X: Array, U: Array) -> tuple[Array, Array, Array]:
        """Return f (n, nx), A (n, nx, nx), B (n, nx, nu) of the re-lifted model at a batch."""
        window, nx, nq = self.window_, self.window_.nx, self.window_.nq
        W, Z = window.embed(X), self.lift_state(X)
        to_circle, n_on = self.layout_.to_circle, len(self.layout_.on_circle)
        L = np.empty((len(X), n_on + self.lift_.n_out, window.nw))
        L[:, :n_on], L[:, n_on:] = to_circle, self._psi_slope(W)
        head, gain = self.A_[:nx], self.B_[:nx]
        if self.inputs == "bilinear":
            head = head + np.tensordot(U, self.N_[:, :nx], 1)
            gain = gain + (self.N_[:, :nx] @ Z.T).transpose(2, 1, 0)
        A = head[..., :nx] + window.chain(head[..., nx:] @ L, W)  # summed up over the features first, then by x
        F = window.advance(X, X[:, :nq] + self._increment_from(Z, X, U), U)
        return F, A, np.array(np.broadcast_to(gain, (len(X), nx, self.nu)))

    def _psi_slope(self, W: Array) -> Array:
        return np.asarray(self.lift_.jacobian((W - self.mean_) * self._per_scale) * self._per_scale)

    def _linear_roll_out(self, X: Array, U: Array) -> Array:
        Z = self.lift_state(X)
        path = np.empty((len(X), U.shape[1] + 1, self.nx))
        path[:, 0] = X
        for k in range(U.shape[1]):
            u = U[:, k]
            drift = np.einsum("nj,jyz,nz->ny", u, self.N_, Z) if self.inputs == "bilinear" else 0.0
            Z = Z @ self.A_.T + u @ self.B_.T + self.c_ + drift
            path[:, k + 1] = Z[:, : self.nx]
        return path

    # ------------------------------------------------------------------ files
    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return header and arrays, the lift included.

        Raises:
            DataError: The lift is not one of koopctl's own.
        """
        header, arrays = super().pack()
        lift, fitted = pack_lift(self.lift_)
        return header | {"lift": lift}, arrays | {f"lift_{name}": array for name, array in fitted.items()}

    def unpack(self, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Set everything `pack` wrote on a freshly constructed model."""
        fitted = {name.removeprefix("lift_"): array for name, array in arrays.items() if name.startswith("lift_")}
        self.lift_ = unpack_lift(header["lift"], fitted)
        self.lift = clone(self.lift_)
        return super().unpack(header, arrays)

    def _arrays(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in _ARRAYS}

    def _restore(self, arrays: dict[str, Array]) -> None:
        for name in _ARRAYS:
            setattr(self, name, arrays[name])
        self._lay_out()


def lifted_system(model: Model) -> EDMDc:
    """Return `model` where it has one linear lifted recursion.

    Raises:
        DesignError: It has not.
    """
    if isinstance(model, EDMDc) and model.inputs == "linear":
        return model
    kind = type(model).__name__ + ("(inputs='bilinear')" if isinstance(model, EDMDc) else "")
    raise DesignError(
        f"a lifted linear law needs EDMDc(lift, inputs='linear'), which has one linear recursion, not {kind}; "
        "use kind='relinearized' or kind='lqr' for this model, or fit an EDMDc."
    )

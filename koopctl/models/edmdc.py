"""Extended dynamic mode decomposition with control: linear or bilinear in a lifted state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array
from koopctl.errors import DataError, DesignError, ShapeError
from koopctl.features.base import Lift
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures
from koopctl.models.base import Model
from koopctl.models.scaling import centre_and_spread

_LIFTS: dict[str, type[Lift]] = {"Identity": Identity, "SampledFeatures": SampledFeatures}
_ARRAYS = ("mean_", "scale_", "gain_", "u_mean_", "u_scale_", "A_", "B_", "N_", "C_", "c_", "y_offset_")


class EDMDc(Model):
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
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
    ) -> None:
        """Set the parameters.

        Args:
            lift: The features psi; `SampledFeatures(100)` by default.
            inputs: "linear", or "bilinear" where the input's effect depends on the state.
            delays: Older observations and inputs in the state.
            ridge: Penalty of the least squares, relative to regressors of unit size.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
        """
        self.lift = lift
        self.inputs = inputs
        self.delays = delays
        self.ridge = ridge
        self.manifold = manifold
        self.cyclic = cyclic

    # ------------------------------------------------------------------ learning
    def _sample(self, X: Array, U: Array, dQ: Array) -> None:
        if self.inputs not in ("linear", "bilinear"):
            raise DataError(f"inputs is {self.inputs!r}; it is 'linear' or 'bilinear'.")
        W = self.window_.embed(X)
        self.mean_, self.scale_ = centre_and_spread(W)
        self.scale_[self._unseen[1]] = np.inf  # standardised to zero: no feature reads it
        self.gain_ = centre_and_spread(dQ)[1]
        self.u_mean_, self.u_scale_ = centre_and_spread(U)
        template = SampledFeatures(100) if self.lift is None else self.lift
        if not isinstance(template, Lift):
            raise DataError(f"lift is {template!r}; it is a lift such as SampledFeatures(100) or Identity().")
        self.lift_ = type(template)(**template.get_params())
        self.lift_.fit((W - self.mean_) / self.scale_, dQ / self.gain_)
        self._lay_out()

    def _lay_out(self) -> None:
        """Fix the positions of z = [x, cos and sin of angles, psi], and which of them the regression reads."""
        window = self.window_
        self._on_circle = np.sort(window.circle[1:].ravel())
        self._nz = window.nx + len(self._on_circle) + self.lift_.n_out
        self._read = np.setdiff1d(np.arange(self._nz), [*window.circle[0], *self._unseen[0]])

    @property
    def nz(self) -> int:
        """Length of the lifted state."""
        self._fitted  # noqa: B018  raises where there is no fit
        return self._nz

    def lift_state(self, x: ArrayLike) -> Array:
        """Return the lifted state z, (nz,) of x (nx,) or (n, nz) of (n, nx).

        Raises:
            ShapeError: x has another width.
        """
        X = np.atleast_2d(np.asarray(x, dtype=np.float64))
        if X.ndim != 2 or X.shape[1] != self.nx:
            raise ShapeError(f"x has shape {np.shape(x)}, expected ({self.nx},) or (n, {self.nx}); see encode().")
        W = self.window_.embed(X)
        Z = np.concatenate([X, W[:, self._on_circle], self.lift_.transform((W - self.mean_) / self.scale_)], axis=1)
        return Z[0] if np.ndim(x) == 1 else Z

    def _problem_size(self) -> tuple[int, int]:
        nu, read = len(self.u_mean_), len(self._read) + 1
        p = read * (nu + 1) if self.inputs == "bilinear" else read + nu
        return p, self.window_.nq + self._n_learnt_features

    @property
    def _n_learnt_features(self) -> int:
        return 2 * len(self.window_.chart.angles) + self.lift_.n_out

    def _regression(self, X: Array, U: Array, dQ: Array) -> tuple[Array, Array]:
        Z, nxt = self._standard(X), self.window_.advance(X, X[:, : self.window_.nq] + dQ, U)
        ones = np.ones((len(X), 1))
        V = (U - self.u_mean_) / self.u_scale_
        # Columns: v_1 (z, 1), ..., v_nu (z, 1), (z, 1); the linear coupling keeps only the 1 of each v_j.
        base = np.concatenate([Z, ones], axis=1)
        if self.inputs == "bilinear":
            Phi = np.concatenate([(V[:, :, None] * base[:, None, :]).reshape(len(X), -1), base], axis=1)
        else:
            Phi = np.concatenate([V, base], axis=1)
        return Phi, np.concatenate([dQ / self.gain_, self.lift_state(nxt)[:, self._learnt_rows]], axis=1)

    @property
    def _learnt_rows(self) -> np.ndarray:
        """Rows of z beyond x whose next value is learnt: cos and sin of the newest angles, and psi."""
        nx = self.window_.nx
        newest = np.searchsorted(self._on_circle, np.sort(self.window_.chart.circle[1:].ravel()))
        return np.concatenate([nx + newest, np.arange(nx + len(self._on_circle), self._nz)])

    def _standard(self, X: Array) -> Array:
        return (self.lift_state(X)[:, self._read] - self._z_mean) / self._z_scale

    @property
    def _z_mean(self) -> Array:
        """Means of the columns that are read: those of w, then 0 for the features."""
        return np.concatenate([self.mean_[self._w_order], np.zeros(self.lift_.n_out)])

    @property
    def _z_scale(self) -> Array:
        return np.concatenate([self.scale_[self._w_order], np.ones(self.lift_.n_out)])

    @property
    def _w_order(self) -> np.ndarray:
        """Columns of w in the order in which z holds them: linear ones as in x, then those on circles."""
        linear = self.window_.linear[:, np.argsort(self.window_.linear[0])]
        return np.concatenate([np.setdiff1d(linear[1], self._unseen[1], assume_unique=True), self._on_circle])

    def _construct(self, theta: Array) -> None:
        """Undo the standardisation: theta (m, p) acts on v (x) (z, 1), the matrices on u, z."""
        nq, nu, nr = self.window_.nq, len(self.u_mean_), len(self._read)
        theta = theta * np.concatenate([self.gain_, np.ones(self._n_learnt_features)])[:, None]
        m = len(theta)
        blocks = np.zeros((m, nu + 1, nr + 1))
        if self.inputs == "bilinear":
            blocks[:] = theta.reshape(m, nu + 1, nr + 1)
        else:
            blocks[:, :nu, -1], blocks[:, nu] = theta[:, :nu], theta[:, nu:]
        z_mean, z_scale = self._z_mean, self._z_scale
        blocks[:, :, :nr] /= z_scale
        blocks[:, :, nr] -= blocks[:, :, :nr] @ z_mean
        blocks[:, :nu] /= self.u_scale_[:, None]
        blocks[:, nu] -= np.einsum("mjr,j->mr", blocks[:, :nu], self.u_mean_)
        self._place(blocks, nq, nu, nr)

    def _place(self, blocks: Array, nq: int, nu: int, nr: int) -> None:
        window, nz = self.window_, self._nz
        rows = np.concatenate([np.arange(nq), self._learnt_rows])
        self.A_, self.B_, self.c_ = np.zeros((nz, nz)), np.zeros((nz, nu)), np.zeros(nz)
        self.N_ = np.zeros((nu, nz, nz))
        self.A_[np.ix_(rows, self._read)] = blocks[:, nu, :nr]
        self.A_[range(nq), range(nq)] += 1.0
        self.B_[rows] = blocks[:, :nu, nr]
        self.c_[rows] = blocks[:, nu, nr]
        for j in range(nu):
            self.N_[j][np.ix_(rows, self._read)] = blocks[:, j, :nr]
        if window.delays:
            self._place_shift()
        self._place_output()

    def _place_shift(self) -> None:
        """Older samples move back one place; so do the cos and sin of their angles."""
        window = self.window_
        nx, nq, ne = window.nx, window.nq, window.chart.ne
        self.A_[nq:nx, :nx], self.B_[nq:nx] = window.shift
        for i, column in enumerate(self._on_circle):
            if column >= ne:
                self.A_[nx + i, nx + int(np.searchsorted(self._on_circle, column - ne))] = 1.0

    def _place_output(self) -> None:
        chart, nx = self.window_.chart, self.window_.nx
        E = np.zeros((chart.ne, self._nz))
        E[chart.linear[1], chart.linear[0]] = 1.0
        for column in chart.circle[1:].ravel():
            E[column, nx + int(np.searchsorted(self._on_circle, column))] = 1.0
        self.C_, self.y_offset_ = np.zeros((len(chart.y_names), self._nz)), np.zeros(len(chart.y_names))
        self.C_[chart.kept], self.C_[chart.dropped] = E, chart.D @ E
        self.y_offset_[chart.dropped] = chart.offset

    # ------------------------------------------------------------------ using
    def _increment(self, X: Array, U: Array) -> Array:
        nq, Z = self.window_.nq, self.lift_state(X)
        dQ = Z @ self.A_[:nq].T - X[:, :nq] + U @ self.B_[:nq].T + self.c_[:nq]
        if self.inputs == "bilinear":
            dQ += np.einsum("nj,jqz,nz->nq", U, self.N_[:, :nq], Z)
        return np.asarray(dQ)

    def expand(self, X: Array, U: Array) -> tuple[Array, Array, Array]:
        """Return f (n, nx), A (n, nx, nx), B (n, nx, nu) of the re-lifted model at a batch."""
        window, nx, nq = self.window_, self.window_.nx, self.window_.nq
        W, Z = window.embed(X), self.lift_state(X)
        L = np.concatenate([np.eye(window.nw)[self._on_circle][None].repeat(len(X), 0), self._psi_slope(W)], axis=1)
        dZ = np.concatenate([np.broadcast_to(np.eye(nx), (len(X), nx, nx)), window.chain(L, W)], axis=1)
        head, gain = np.broadcast_to(self.A_[:nx], (len(X), nx, self._nz)), self.B_[:nx][None]
        if self.inputs == "bilinear":
            head = head + np.einsum("nj,jxz->nxz", U, self.N_[:, :nx])
            gain = gain + np.einsum("jxz,nz->nxj", self.N_[:, :nx], Z)
        F = window.advance(X, X[:, :nq] + self._increment(X, U), U)
        return F, head @ dZ, np.array(np.broadcast_to(gain, (len(X), nx, self.nu)))

    def _psi_slope(self, W: Array) -> Array:
        return self.lift_.jacobian((W - self.mean_) / self.scale_) / self.scale_

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
        name = type(self.lift_).__name__
        if name not in _LIFTS:
            raise DataError(f"a model with the lift {name} cannot be saved; known lifts are {', '.join(_LIFTS)}.")
        return header | {"lift": {"type": name, "params": self.lift_.get_params()}}, arrays

    def unpack(self, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Set everything `pack` wrote on a freshly constructed model."""
        self.lift = _LIFTS[header["lift"]["type"]](**header["lift"]["params"])
        return super().unpack(header, arrays)

    def _arrays(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in _ARRAYS} | {
            f"lift_{name}": array for name, array in self.lift_.arrays().items()
        }

    def _restore(self, arrays: dict[str, Array]) -> None:
        for name in _ARRAYS:
            setattr(self, name, arrays[name])
        template = cast(Lift, self.lift)
        lifted = {name[5:]: array for name, array in arrays.items() if name.startswith("lift_")}
        self.lift_ = type(template)(**template.get_params()).restore(lifted)
        self._lay_out()


def lifted_system(model: Model) -> EDMDc:
    """Return `model` where it has one linear lifted recursion.

    Raises:
        DesignError: It has not.
    """
    if isinstance(model, EDMDc) and model.inputs == "linear":
        return model
    raise DesignError(
        f"a lifted linear law needs EDMDc(lift, inputs='linear'), not {type(model).__name__}; "
        "use kind='relinearized' or kind='lqr' for this model, or fit an EDMDc."
    )

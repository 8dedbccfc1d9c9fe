"""The Kalman filter on the lifted linear recursion of an EDMD model."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from koopctl.arrays import Array, ByName
from koopctl.controllers.joseph import corrected, gain_of
from koopctl.controllers.observer import Observer
from koopctl.controllers.process_noise import lift_slope, lifted_covariance, lifted_residual
from koopctl.controllers.steady_covariance import steady_covariance
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DesignError
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc, lifted_system

_FADED = 1e-6  # of the steady standard deviations: an uncertainty of the start that makes no difference any more


class KalmanFilter(Observer):
    r"""Kalman filter of :math:`z_{k+1} = A z_k + B u_k + c + w_k`, the newest coordinates q = z[:nq] measured.

    Nothing is lifted anew while it runs, so its cost and its gain are fixed, and it is right as far as the lifted
    recursion is; on a plant that is far from linear in the lift an `ExtendedKalmanFilter` on the same model, which
    lifts every estimate anew, is the better one. Angles are measured as angles; the recursion reads their cos and
    sin, which the gain corrects with them. (Anderson and Moore, Optimal Filtering, 1979, chapters 3 and 4.)

    Attributes:
        P: Covariance of the prediction's error where `steady`, else of the estimate's, (nz, nz).
        gain: The gain of P for the measured coordinates, (nz, m), which is used once an uncertain start has faded; None
            unless `steady`.
        process_noise: Covariance of w, (nz, nz).
    """

    kind: ClassVar[str] = "lifted"

    def __init__(
        self,
        model: Model,
        sensor_noise: ByName,
        process_noise: ByName | None = None,
        rollouts: Rollouts | None = None,
        steady: bool = True,
        gate: float = 10.0,
    ) -> None:
        """Set the noises and design the steady gain.

        Args:
            model: A fitted `EDMDc` with linear inputs.
            sensor_noise: Standard deviation of the measurement of each coordinate (`model.state_names`): one number,
                an array (nq,), or a mapping by name whose missing entries are not measured. An angle's is in rad.
            process_noise: Covariance (nz, nz) of w. Or covariance (nq, nq) or standard deviations of the coordinates'
                errors of one step, which are lifted with the lift's mean slope; by default, and without `rollouts`,
                those on the training data.
            rollouts: Recorded motion on which the covariance of w is measured: better than the default, as it holds
                what the recursion of the features misses.
            steady: Use the steady gain. False runs the covariance's recursion at every sample, which costs of the
                order of nz^3 but starts, and bridges missing samples, optimally.
            gate: Standard deviations from the prediction beyond which a measured coordinate is an outlier.

        Raises:
            DataError: A noise is out of range, or no coordinate is measured.
            DesignError: The model has no single linear lifted recursion, or no process noise is given and the model
                does not know its errors, or a mode that does not decay is invisible; the text says which.
            UnknownNameError: A noise speaks of names the model does not have.
        """
        self.system = _recursion(model)
        self.steady = bool(steady)
        self.P, self._V = np.zeros((self.system.nz, self.system.nz)), np.zeros((self.system.nz, 0))
        if process_noise is None and rollouts is not None:
            self.process_noise = lifted_residual(self.system, rollouts)
        else:
            self.process_noise = lifted_covariance(self.system, process_noise)
        super().__init__(model, sensor_noise, gate)
        self._R = self.sensor_noise**2
        self._gains: dict[bytes, Array] = {}
        self.gain: Array | None = None
        if self.steady:
            self.P = self._steady_covariance()
            self.gain = self._steady_gain(np.flatnonzero(self._measurable))

    @property
    def z(self) -> Array | None:
        """The estimate of the lifted state (nz,), of which x is the beginning; None before the first measurement."""
        return None if self.x is None else self._z.copy()

    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return the JSON-able options and the arrays that, as keywords, make this observer again."""
        options = {"steady": self.steady, "gate": self.gate}
        return options, {"sensor_noise": self.sensor_noise, "process_noise": self.process_noise}

    # ------------------------------------------------------------------ the filter
    def _steady_covariance(self) -> Array:
        window, nq = self.model.window_, len(self._prior)
        scale, past = np.ones(self.system.nz), window.delays + 1
        scale[: past * nq] = np.tile(self._prior, past)
        names = (*window.names, *(f"z[{i}]" for i in range(window.nx, self.system.nz)))
        rows, unit = np.flatnonzero(self._measurable), np.outer(scale, scale)
        A = self.system.A_ * scale / scale[:, None]
        return unit * steady_covariance(A, rows, self.process_noise / unit, (self._R / scale[:nq] ** 2)[rows], names)

    def _steady_gain(self, rows: np.ndarray) -> Array:
        """Return the gain (nz, m) of P for the coordinates `rows` (m,); for fewer than all it is no optimum."""
        key = rows.tobytes()
        if key not in self._gains:
            self._gains[key] = gain_of(self.P, rows, self._R[rows])
        return self._gains[key]

    def _set(self, x: Array, variance: Array) -> None:
        self._z = self.system.lift_state(x)
        V = lift_slope(self.system, x[None])[0] * np.sqrt(variance)
        if self.steady:
            self._V = V[:, variance > 0]  # the inputs in a window are known
        else:
            self.P = V @ V.T

    def _predict(self, u: Array) -> Array:
        system = self.system
        self._z = system.A_ @ self._z + system.B_ @ u + system.c_
        self._z[: len(self.offset)] += self.offset
        if self.steady:
            self._V = system.A_ @ self._V
        else:
            self.P = system.A_ @ self.P @ system.A_.T + self.process_noise
        return self._z

    def _variance(self) -> Array:
        nq = len(self._R)
        return np.asarray(np.diag(self.P)[:nq] + np.square(self._V[:nq]).sum(axis=1) + self._R)

    def _correct(self, innovation: Array, rows: np.ndarray) -> None:
        if not self.steady:
            K, self.P = corrected(self.P, rows, self._R[rows])
        elif self._V.shape[1]:
            K = self._starting_gain(rows)
        else:
            K = self._steady_gain(rows)
        self._z = self._z + K @ innovation

    def _starting_gain(self, rows: np.ndarray) -> Array:
        """Return the gain (nz, m) while the covariance is P + V V^T, and correct V.

        The covariance of an uncertain start exceeds the steady one by a matrix of the rank of x, whose factor V
        follows the filter's own recursion: Riccati's equation without its cubes (Morf, Sidhu and Kailath, IEEE Trans.
        Automatic Control 1974).
        """
        V, K = self._V, self._steady_gain(rows)
        seen = V[rows]
        PH = self.P[:, rows]
        S = PH[rows] + np.diag(self._R[rows])
        C = np.linalg.cholesky(np.eye(V.shape[1]) + seen.T @ np.linalg.solve(S, seen))
        self._V = np.linalg.solve(C, (V - K @ seen).T).T
        if (np.abs(self._V).max(axis=1) <= _FADED * np.sqrt(np.diag(self.P))).all():
            self._V = V[:, :0]
        return np.asarray(np.linalg.solve(S + seen @ seen.T, (PH + V @ seen.T).T).T)

    def _estimate(self) -> tuple[Array, Array]:
        return self._z[: self.model.nx], self._V if self.steady else self.P


def _recursion(model: Model) -> EDMDc:
    try:
        return lifted_system(model)
    except DesignError:
        raise DesignError(
            f"a KalmanFilter needs EDMDc(lift, inputs='linear'), not {type(model).__name__} as it is; "
            "use an ExtendedKalmanFilter for this model, or fit an EDMDc."
        ) from None

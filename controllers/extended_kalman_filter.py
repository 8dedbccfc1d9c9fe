"""The extended Kalman filter: any learnt model, linearised anew at every sample."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from koopctl.arrays import Array, ByName
from koopctl.controllers.joseph import corrected
from koopctl.controllers.observer import Observer
from koopctl.controllers.process_noise import process_covariance
from koopctl.models.base import Model


class ExtendedKalmanFilter(Observer):
    r"""Kalman filter of the re-lifted model: :math:`x_{k+1} = f(x_k, u_k) + w_k`, q measured with noise.

    The state is predicted by the model and its covariance P by the model's Jacobian at the estimate (`model.expand`).
    The noise w enters the newest coordinates only: with delays the state is a window, whose older samples move back
    one place with their covariances and are smoothed by each new measurement, and whose inputs are known.
    (Anderson and Moore, Optimal Filtering, 1979, chapter 8; the correction in Joseph's form.)

    Attributes:
        P: Covariance of the estimate's error, (nx, nx).
        process_noise: Covariance of w, (nq, nq).
    """

    kind: ClassVar[str] = "extended"

    def __init__(
        self, model: Model, sensor_noise: ByName, process_noise: ByName | None = None, gate: float = 10.0
    ) -> None:
        """Set the noises.

        Args:
            model: A fitted model.
            sensor_noise: Standard deviation of the measurement of each coordinate (`model.state_names`): one number,
                an array (nq,), or a mapping by name whose missing entries are not measured. An angle's is in rad.
            process_noise: Covariance (nq, nq) of the model's error of one step, or standard deviations as for
                `sensor_noise` (missing entries are 0); by default the covariance of the errors on the training data.
            gate: Standard deviations from the prediction beyond which a measured coordinate is an outlier.

        Raises:
            DataError: A noise is out of range, or no coordinate is measured.
            DesignError: No process noise is given, and the model does not know its errors.
            UnknownNameError: A noise speaks of names the model does not have.
        """
        self.process_noise = process_covariance(model, process_noise)
        self.P = np.zeros((model.nx, model.nx))
        super().__init__(model, sensor_noise, gate)
        self._R = self.sensor_noise**2

    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return the JSON-able options and the arrays that, as keywords, make this observer again."""
        return {"gate": self.gate}, {"sensor_noise": self.sensor_noise, "process_noise": self.process_noise}

    def _set(self, x: Array, variance: Array) -> None:
        self._x, self.P = x, np.diag(variance)

    def _predict(self, u: Array) -> Array:
        nq = len(self.process_noise)
        F, A, _ = self.model.expand(self._x[None], u[None])
        self._x, self.P = F[0], A[0] @ self.P @ A[0].T
        self._x[:nq] += self.offset
        self.P[:nq, :nq] += self.process_noise
        return self._x

    def _variance(self) -> Array:
        return np.asarray(self.P.diagonal()[: len(self._R)] + self._R)

    def _correct(self, innovation: Array, rows: np.ndarray) -> None:
        K, self.P = corrected(self.P, rows, self._R[rows])
        self._x = self._x + K @ innovation

    def _estimate(self) -> tuple[Array, Array]:
        return self._x, self.P

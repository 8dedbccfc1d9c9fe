"""Linear-quadratic regulator on a learnt model."""

from __future__ import annotations

from typing import ClassVar

from koopctl.arrays import Array
from koopctl.controllers.law import Answer, Law, RefusedError
from koopctl.controllers.observer import Observer
from koopctl.controllers.plans import stage_weights
from koopctl.controllers.riccati import infinite_horizon
from koopctl.controllers.steady import last
from koopctl.models.base import Model
from koopctl.models.edmdc import lifted_system
from koopctl.task import Task


class LQR(Law):
    r"""The law :math:`u = u_s - K (x - x_s)`, clipped to the bounds.

    K solves the infinite-horizon problem for the model's Jacobian at the steady pair nearest to the target
    (python-control's `dlqr`). For a model with a linear lift, `lifted=True` solves it for the lifted system instead:
    :math:`u = u_s - K (\psi(x) - \psi(x_s))`, one gain for the whole state space as far as the lift is linear.
    """

    kind: ClassVar[str] = "lqr"

    def __init__(
        self,
        model: Model,
        task: Task,
        lifted: bool = False,
        observer: Observer | None = None,
        offset_free: float = False,
    ) -> None:
        """Design the gain.

        Args:
            model: A fitted model.
            task: Target, weights, bounds.
            lifted: Use the lifted linear system of an `EDMDc` model.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.
            offset_free: True, or the gain of the estimate of what the plant adds to the model at every step.

        Raises:
            DesignError: No stabilising gain exists for this model and these weights, or the observer was made for
                another model.
        """
        self.lifted = lifted
        super().__init__(model, task, observer, offset_free)
        self._target_moved()

    def _target_moved(self) -> None:
        if self.lifted:
            self._lifted_gain()
            return
        task, Q = self.wanted, stage_weights(self.model.nx, last(self.wanted.Q, 2))
        A, B = self.prediction.linearize(self.steady.x, self.steady.u)
        self.K, self.P = infinite_horizon(A, B, Q, last(task.R, 2) + last(task.dR, 2))

    def _lifted_gain(self) -> None:
        system = lifted_system(self.model)
        task, Q = self.wanted, stage_weights(system.nz, last(self.wanted.Q, 2))
        B = system.B_[:, self.prediction.free]
        self.K_lifted, self.P = infinite_horizon(system.A_, B, Q, last(task.R, 2) + last(task.dR, 2))

    def _act(self, x: Array) -> Answer:
        if self.lifted:
            system = lifted_system(self.model)
            near = self.steady.x + self.model.difference(x, self.steady.x)
            dz = system.lift_state(near) - system.lift_state(self.steady.x)
            return Answer(self.steady.u - self.K_lifted @ dz)
        answer = self._gain(x, "")
        if answer is None:
            raise RefusedError("not_finite")
        answer.status = "solved"
        return answer

    def options(self) -> dict[str, object]:
        """Return the options of the design."""
        return {"lifted": self.lifted} | super().options()

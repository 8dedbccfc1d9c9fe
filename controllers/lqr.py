"""Linear-quadratic regulator on a learnt model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, ByName, as_whole
from koopctl.controllers.answer import Answer
from koopctl.controllers.checks import check_parts, shown
from koopctl.controllers.dare import finite_horizon
from koopctl.controllers.integral import Integral
from koopctl.controllers.law import Law
from koopctl.controllers.observer import Observer
from koopctl.controllers.riccati import infinite_horizon
from koopctl.controllers.steady_problem import last
from koopctl.controllers.weights import stage_weights
from koopctl.errors import DesignError
from koopctl.models.base import Model
from koopctl.models.edmdc import lifted_system
from koopctl.models.state_space import state_names
from koopctl.task import Task

if TYPE_CHECKING:
    import control


class LQR(Law):
    r"""The law :math:`u = u_s - K (x - x_s) - K_I s`, clipped to the bounds.

    K solves the infinite-horizon problem for the model's Jacobian at the steady pair nearest to the target. For a
    model with a linear lift, `lifted=True` solves it for the lifted system instead:
    :math:`u = u_s - K (\psi(x) - \psi(x_s))`, one gain for the whole state space as far as the lift is linear.

    With `integral` the integrals s of q - target are states of the problem too, so that constant disturbances and
    errors of the model leave no offset in these coordinates. With `horizon=N` the law minimises the cost of the first
    N steps from `reset` on and the task's terminal cost after them, with a gain for each step; then it goes on with
    the infinite horizon's gain. With a `KalmanFilter` as observer it is LQG.

    Attributes:
        K: Gain on the state, (nu, nx); that of the infinite horizon. None where `lifted`.
        K_lifted: Gain on the lifted state, (nu, nz), where `lifted`.
        K_integral: Gain on the integrals, (nu, ni); ni is 0 without them.
        P: Cost-to-go of the deviations of x or z, and the integrals; with `horizon` from the first step on.
        gains: One gain a step of the horizon, (N, nu, n + ni); None without `horizon`.
    """

    kind: ClassVar[str] = "lqr"

    def __init__(
        self,
        model: Model,
        task: Task,
        lifted: bool = False,
        observer: Observer | None = None,
        offset_free: float = False,
        integral: ByName | None = None,
        horizon: int | None = None,
    ) -> None:
        """Design the gain.

        Args:
            model: A fitted model.
            task: Target, weights, bounds.
            lifted: Use the lifted linear system of an `EDMDc` model.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.
            offset_free: True, or the gain of the estimate of what the plant adds to the model at every step.
            integral: Weights of the integrals of q - target over time [s], by name of the coordinate or (nq,): at most
                as many as there are inputs. An integral stops while the inputs saturate in its direction.
            horizon: Steps from `reset` on whose cost is minimised, with `Task.terminal_cost` at their end; None for
                the infinite horizon.

        Raises:
            DesignError: No stabilising gain exists for this model and these weights, the observer was made for
                another model, integral and offset_free are both asked for, or an argument is not what it should be.
            DataError: The horizon is no whole number.
            UnknownNameError: The integral speaks of names the model does not have.
        """
        check_parts(model, task, observer)
        if not isinstance(lifted, bool | np.bool_):
            raise DesignError(f"lifted is {shown(lifted)}; expected True or False.")
        self.lifted, self.horizon = bool(lifted), None if horizon is None else as_whole("horizon", horizon, 1)
        if integral is not None and offset_free is not False:
            raise DesignError("integral and offset_free do the same and would work against each other; leave one out.")
        self.integral = None if integral is None else Integral(model, integral, model.nu - len(task.disturbances))
        self._problem: tuple[Array, ...] = ()
        super().__init__(model, task, observer, offset_free)
        self._target_moved()

    def reset(self) -> None:
        """Forget the past; integrals and the horizon start again."""
        super().reset()
        self._measured: Array | None = None
        if self.integral is not None:
            self.integral.reset()

    # ------------------------------------------------------------------ design
    def _target_moved(self) -> None:
        task, prediction = self.wanted, self.prediction
        if self.lifted:
            system = lifted_system(self.model)
            A, B = system.A_, system.B_[:, prediction.free]
        else:
            A, B = prediction.linearize(self.steady.x, self.steady.u)
        Q = stage_weights(len(A), last(task.Q, 2))
        if self.integral is not None:
            A, B, Q = self.integral.appended(A, B, Q)
        problem = A, B, Q, last(task.R, 2) + last(task.dR, 2)
        if self._problem and all(np.array_equal(a, b) for a, b in zip(problem, self._problem, strict=True)):
            return  # another target of a linear model has the same gain
        if self.horizon is None:
            K, self.P = infinite_horizon(*problem, self._names())
            self.gains: Array | None = None
        else:
            K = self._over_horizon(problem, self.horizon)
        self._problem, self._lasting = tuple(map(np.copy, problem)), K
        n = len(A) - (0 if self.integral is None else len(self.integral.rows))
        self.K_integral = K[:, n:]
        if self.lifted:
            self.K_lifted = K[:, :n]
        else:
            self.K = K[:, :n]

    def _over_horizon(self, problem: tuple[Array, Array, Array, Array], horizon: int) -> Array:
        """Set the gains of a finite horizon; return the one after it, the infinite horizon's where there is one."""
        A, B, Q, R = problem
        try:
            K, end = infinite_horizon(A, B, Q, R, self._names())
        except DesignError as error:
            K, end = None, Q
            note = f"after its horizon the law goes on with the horizon's first gain: {error}"
            self.notes += [note] if note not in self.notes else []
        if not (isinstance(self.task.terminal_cost, str) and self.task.terminal_cost == "lqr"):
            given = self.wanted.terminal_cost
            end = np.zeros_like(Q) if given is None else stage_weights(len(Q), given)
        self.gains, self.P = finite_horizon(A, B, Q, R, end, horizon)
        return self.gains[0] if K is None else K

    def _names(self) -> tuple[str, ...]:
        names = state_names(lifted_system(self.model)) if self.lifted else self.model.window_.names
        return names if self.integral is None else (*names, *self.integral.names)

    # ------------------------------------------------------------------ one call
    def _observe(self, y: ArrayLike) -> tuple[Array | None, str]:
        x, fault = super()._observe(y)
        if self.integral is not None:
            self._measured = None if x is None or fault == "outlier" else self.integral.measured(y, x)
        return x, fault

    def _act(self, x: Array) -> Answer:
        K, integral = self.gain_at(self.rungs.total()), self.integral  # as many calls since reset
        if integral is None:
            return Answer(self.steady.u - K @ self.deviation(x))
        u = self.asked(K, x, integral.value)
        answer = Answer(u, detail={"integral": integral.value})
        if self._measured is not None and np.isfinite(u).all():
            beyond = u - self._channel.inside(u, self.wanted)
            integral.value = self.integrated(K, integral.value, self._measured, beyond)
        return answer

    def gain_at(self, k: int) -> Array:
        """Return the gain (nu, n + ni) of the k-th sample after `reset`."""
        return self._lasting if self.gains is None or k >= len(self.gains) else self.gains[k]

    def deviation(self, x: Array) -> Array:
        """Return the deviation of a state (nx,) from the steady one, (nx,), or (nz,) where `lifted`."""
        dx = self.model.difference(x, self.steady.x)
        if not self.lifted:
            return dx
        system = lifted_system(self.model)
        return system.lift_state(self.steady.x + dx) - system.lift_state(self.steady.x)

    def asked(self, K: Array, x: Array, integral: Array) -> Array:
        """Return the input (nu,) before the bounds for a gain, a state (nx,) and integrals (ni,)."""
        return np.asarray(self.steady.u - K @ np.concatenate([self.deviation(x), integral]))

    def integrated(self, K: Array, value: Array, q: Array, held_back: Array) -> Array:
        """Return the integrals (ni,) one step after `value`.

        Args:
            K: The gain in use, (nu, n + ni).
            value: The integrals, (ni,).
            q: Measured coordinates, (nq,).
            held_back: What the bounds have taken off the inputs, (nu,).
        """
        if self.integral is None:
            return value
        goal = self.wanted.target if self.wanted.path is None else self.wanted.path[0]
        width = np.maximum(self.prediction.high - self.prediction.low, 1e-9)
        share = K[:, K.shape[1] - len(value) :] / width[:, None]
        error = self.model.window_.difference_of_coordinates(q, goal)
        return self.integral.grown(value, error, share, held_back)

    # ------------------------------------------------------------------ out
    def to_ss(self) -> control.StateSpace:
        """Return the law without bounds, between deviations from its steady pair, as a python-control StateSpace.

        Its sign is that of u = -K x: close the loop with `control.feedback(plant, law.to_ss(), sign=1)`. Without an
        observer, delays and integral it is a static gain; with a steady `KalmanFilter` it is the LQG compensator.

        Raises:
            DesignError: The law is not linear or varies in time; the text says why.
        """
        from koopctl.controllers.compensator import linear_compensator

        return linear_compensator(self)

    def to_iosystem(self) -> control.NonlinearIOSystem:
        """Return the law for its task's target, bounds included, as a python-control NonlinearIOSystem.

        Its states are what the law remembers, the last input among them; give it the initial state
        `koopctl.controllers.compensator.initial_memory(law)`, at which the first observation fills the window of
        delays, or starts the filter, as in the law. From there it gives the numbers of the law itself, as long as
        every observation is finite: the ladder of fallbacks stays here. With a `KalmanFilter` that holds for the first
        sample, and again once the start has faded: the law's filter begins with the gain of an uncertain start, which
        fades to the steady one, takes its first delays + 1 samples as measured, and refuses outliers; the system
        corrects by the steady gain from the second sample on, and believes every sample. What an integral has gathered
        of the difference fades as slowly as that integral acts.

        Raises:
            DesignError: The law keeps more than a system can: another observer, an offset estimate, a delay, or
                measured disturbances.
        """
        from koopctl.controllers.compensator import compensator

        return compensator(self)

    def options(self) -> dict[str, object]:
        """Return the options of the design."""
        chosen: dict[str, object] = {"lifted": self.lifted}
        if self.integral is not None:
            chosen["integral"] = self.integral.weights
        if self.horizon is not None:
            chosen["horizon"] = self.horizon
        return chosen | super().options()

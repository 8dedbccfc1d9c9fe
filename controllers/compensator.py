"""A linear-quadratic law as a system of python-control, from observations to inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.history import History
from koopctl.controllers.kalman_filter import KalmanFilter
from koopctl.errors import DesignError
from koopctl.models.edmdc import lifted_system
from koopctl.models.remembering import Remembering
from koopctl.models.state_space import plain_names, state_names

if TYPE_CHECKING:
    import control

    from koopctl.controllers.lqr import LQR


def compensator(law: LQR) -> control.NonlinearIOSystem:
    """Return the law with its bounds as a `control.NonlinearIOSystem`; see `LQR.to_iosystem`."""
    import control

    part = Compensator(law)
    inputs, outputs, memory = part.names
    return control.NonlinearIOSystem(
        lambda t, w, y, params: part.next_memory(t, w, y),
        lambda t, w, y, params: part.input(t, w, y),
        inputs=inputs,
        outputs=outputs,
        states=memory,
        dt=law.dt,
        name="law",
    )


def initial_memory(law: LQR) -> Array:
    """Return the memory that `LQR.to_iosystem` starts with: nothing measured yet, no integral, the safe input.

    Older samples and a filter's prediction are NaN there: the first observation takes their place, as it does in the
    law. For a plant known to rest at the steady pair put `law.steady.x[model.window_.nq:]`, or
    `law.observer.system.lift_state(law.steady.x)`, in their place.
    """
    part = Compensator(law)
    return np.concatenate([np.full(part.n_memory, np.nan), np.zeros(part.n_integral), part.law.wanted.u_safe])


def linear_compensator(law: LQR) -> control.StateSpace:
    """Return the law without bounds as a `control.StateSpace`; see `LQR.to_ss`."""
    import control

    part = Compensator(law)
    window, ni, n = part.law.model.window_, part.n_integral, part.n_memory
    if part.law.horizon is not None:
        raise DesignError("a gain that changes with time is no StateSpace; use to_iosystem(), or leave horizon out.")
    if len(window.circle[0]) or (part.law.lifted and lifted_system(part.law.model).nz != window.nx):
        raise DesignError("the law reads angles or features, which is not linear; use to_iosystem().")
    (A, B, _), (F, G), (by_read, by_state) = part.recursion, part.estimate, part.integration
    K = np.zeros((B.shape[1], A.shape[1]))
    K[:, : window.nx] = part.law.gain_at(0)[:, : window.nx]
    C, D = np.concatenate([-K @ F, -part.law.K_integral], axis=1), -K @ G
    Ac = np.block([[A @ F, np.zeros((n, ni))], [by_state @ F, np.eye(ni)]])
    Bc = np.concatenate([A @ G, by_read + by_state @ G])
    by_u = np.concatenate([B, np.zeros((ni, B.shape[1]))])
    inputs, outputs, memory = part.names
    return control.StateSpace(
        Ac + by_u @ C,
        Bc + by_u @ D,
        C,
        D,
        law.dt,
        inputs=inputs,
        outputs=outputs,
        states=memory[: n + ni],
        name="law",
        remove_useless_states=False,
    )


class Compensator:
    """What an LQR computes at one sample, as functions that remember nothing themselves.

    The memory is w = [m, s, u_last]: m holds the older samples of the model's window, or the Kalman filter's
    prediction of the lifted state, NaN before the first sample; s the integrals.

    Attributes:
        law: A copy of the law, at its task's own target.
        filter: Its observer, or None.
        rows: Coordinates that are measured.
        columns: Observations that are read.
        n_memory: Length of m.
        n_integral: Length of s.
    """

    def __init__(self, law: LQR) -> None:
        """Look at the law and refuse what has no such form.

        Args:
            law: An `LQR`, with or without integral, horizon and steady `KalmanFilter`.

        Raises:
            DesignError: The law has another observer, an offset estimate, a delay or measured disturbances.
        """
        _check(law)
        self.law = law.fresh()
        window, observer = self.law.model.window_, self.law.observer
        self.filter = observer if isinstance(observer, KalmanFilter) else None
        every = np.ones(window.nq, dtype=bool)
        self.rows = np.flatnonzero(every if self.filter is None else np.isfinite(self.filter.sensor_noise))
        chart = window.chart
        line, circle = chart.linear, chart.circle
        read = [line[1, np.isin(line[0], self.rows)], circle[1:, np.isin(circle[0], self.rows)].ravel()]
        self.columns = np.sort(chart.kept[np.concatenate(read)])
        self.n_memory = window.nx - window.nq if self.filter is None else self.filter.system.nz
        self.n_integral = 0 if self.law.integral is None else len(self.law.integral.rows)

    @property
    def names(self) -> tuple[list[str], list[str], list[str]]:
        """Names of the observations read, of the inputs and of the memory."""
        law, window = self.law, self.law.model.window_
        memory = window.names[window.nq :] if self.filter is None else state_names(self.filter.system)
        integrals = () if law.integral is None else law.integral.names
        inputs, outputs = [window.chart.y_names[i] for i in self.columns], list(law.prediction.names)
        whole = [*memory, *integrals, *(f"last {name}" for name in outputs)]
        return plain_names(inputs), plain_names(outputs), plain_names(whole)

    # ------------------------------------------------------------------ matrices
    @cached_property
    def recursion(self) -> tuple[Array, Array, Array]:
        """A, B, c of m+ = A state + B u + c; the state is x, or z where there is a filter."""
        if self.filter is None:
            by_x, by_u = self.law.model.window_.shift
            return by_x, by_u, np.zeros(len(by_x))
        system = self.filter.system
        return system.A_, system.B_, system.c_

    @cached_property
    def estimate(self) -> tuple[Array, Array]:
        """F, G of state = F m + G q, q what is measured, angles within half a turn of what is expected."""
        n, nq = self.n_memory, self.law.model.window_.nq
        if self.filter is None or self.filter.gain is None:
            return np.eye(n + nq, n, -nq), np.eye(n + nq, nq)
        return np.eye(n) - self.filter.gain @ np.eye(n)[self.rows], self.filter.gain

    @cached_property
    def integration(self) -> tuple[Array, Array]:
        """What the integrals grow by: a matrix on what is measured, and one on the state for what is not."""
        nq, law, width = self.law.model.window_.nq, self.law, self.recursion[0].shape[1]
        every = np.zeros((0, nq)) if law.integral is None else law.dt * np.eye(nq)[law.integral.rows]
        hidden = np.setdiff1d(np.arange(nq), self.rows)
        by_state = np.zeros((len(every), width))
        by_state[:, hidden] = every[:, hidden]
        return every[:, self.rows], by_state

    # ------------------------------------------------------------------ one sample
    def input(self, t: float, w: Array, y: Array) -> Array:
        """Return the input (nu,) at time t [s], for the memory w and the observations read."""
        return self._sample(t, np.asarray(w), np.asarray(y)).u

    def next_memory(self, t: float, w: Array, y: Array) -> Array:
        """Return the memory at the next sample."""
        now, (A, B, c) = self._sample(t, np.asarray(w), np.asarray(y)), self.recursion
        measured = now.state[: len(now.q)].copy()
        measured[self.rows] = now.q[self.rows]
        integral = self.law.integrated(now.K, now.integral, measured, now.asked - now.u)
        return np.concatenate([A @ now.state + B @ now.u + c, integral, now.u])

    def _sample(self, t: float, w: Array, y: Array) -> _Sample:
        law, window = self.law, self.law.model.window_
        memory, integral, u_last = np.split(w, [self.n_memory, self.n_memory + self.n_integral])
        q, (F, G) = self._coordinates(y), self.estimate
        if np.isnan(memory).any():
            state = self._first(y, u_last)
        else:
            if self.filter is not None:
                expected = memory[: window.nq]
                q = expected + window.difference_of_coordinates(q, expected)
            state = F @ memory + G @ q[self.rows]
        K = law.gain_at(round(t / law.dt))
        asked, task = law.asked(K, state[: window.nx], integral), law.wanted
        u = np.clip(np.clip(asked, u_last - task.du_max, u_last + task.du_max), task.u_min, task.u_max)
        return _Sample(q, state, integral, K, asked, u)

    def _first(self, y: Array, u_last: Array) -> Array:
        """Return the state, or lifted state, that the law makes of a first sample; NaN where y is not finite."""
        window, law = self.law.model.window_, self.law
        full = np.full(len(window.chart.y_names), np.nan)
        full[self.columns] = y
        if self.filter is None:
            state = History(law.model).observe(full, u_last)[0]
        else:
            observer = self.filter.fresh()
            observer.update(full, u_last)
            state = observer.z
        return np.full(len(self.estimate[0]), np.nan) if state is None else state

    def _coordinates(self, y: Array) -> Array:
        """Return the coordinates (nq,) of the observations read; those that are not measured are of no account."""
        chart = self.law.model.window_.chart
        full = np.zeros(len(chart.y_names))
        full[self.columns] = y
        return chart.to_coordinates(full)


@dataclass(frozen=True)
class _Sample:
    """One sample: coordinates, state (nx,) or lifted state, integrals, gain, input asked for, input within bounds."""

    q: Array
    state: Array
    integral: Array
    K: Array
    asked: Array
    u: Array


def _check(law: LQR) -> None:
    remedy = "python-control gets an LQR without it"
    if isinstance(law.model, Remembering):
        raise DesignError(
            f"what {type(law.model).__name__} remembers is no shift of older samples; python-control gets an LQR of "
            "SampledRNN or EDMDc, with delays or without."
        )
    if law.observer is not None and not (isinstance(law.observer, KalmanFilter) and law.observer.steady):
        kind = type(law.observer).__name__
        raise DesignError(f"the law has a {kind}; {remedy}, or with KalmanFilter(model, sensor_noise, steady=True).")
    if law.offset_free is not False:
        raise DesignError(f"the law has an offset estimate, which moves its target; {remedy}: use integral.")
    if law.task.delay:
        raise DesignError(f"the law allows for a delay of {law.task.delay} samples; {remedy}.")
    if law.task.disturbances:
        names = ", ".join(law.task.disturbances)
        raise DesignError(f"the law reads measured disturbances ({names}); {remedy}.")

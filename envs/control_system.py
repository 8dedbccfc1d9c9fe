"""A system of python-control as a plant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctl.arrays import Array, ByName, as_array, as_names, as_vector, is_finite
from koopctl.errors import DataError, EnvironmentUnsupportedError

if TYPE_CHECKING:
    import control

_TOLERANCE = {"rtol": 1e-9, "atol": 1e-11}  # of a step in continuous time


class ControlSystem(gymnasium.Env[Array, Array]):
    r"""Any `StateSpace` or `NonlinearIOSystem` of python-control, in discrete or continuous time.

    ## Description
    Discrete time: $x_{k+1} = f(t_k, x_k, u_k)$, one step of the system a step of the environment. Continuous time:
    the input is held over `dt` and the motion integrated to a relative tolerance of 1e-9. The environment draws
    nothing and has no noise; a system whose functions draw random numbers brings its own.

    ## Action Space
    A `Box(-u_range, u_range, (nu,), float64)` named after the system's inputs. Larger inputs are clipped.

    ## Observation Space
    A `Box(-inf, inf, (ny + number of hidden,), float64)`: the system's outputs, then NaN for each name in `hidden`.
    Outputs are read before the next input is chosen; where they depend on the input, the last one counts. Names are
    the system's labels; python-control's own `y[0]` becomes `y0`.

    ## Rewards
    `reward(y, u)` of the outputs before the step and the input as applied; 0 where no function is given.

    ## Starting State
    Uniform between `-x_range` and `x_range`. `set_state(x)` puts the plant anywhere.

    ## Episode End
    The plant never ends by itself.

    ## Arguments
    `kc.simulate(lambda: kc.envs.ControlSystem(system, u_range=5.0), law)`

    | Parameter | Type                               | Default  | Description                                         |
    |-----------|------------------------------------|----------|-----------------------------------------------------|
    | `system`  | **control.NonlinearIOSystem**      | required | The plant; a `StateSpace` is one                    |
    | `u_range` | **float**, array (nu,), or by name | required | Largest input; a name left out has 0                |
    | `x_range` | **float**, array (nx,), or by name | `0.0`    | Half range of the starting states                   |
    | `dt`      | **float**                          | `None`   | Sampling time [s], where the system does not say it |
    | `hidden`  | **sequence of str**                | `()`     | States of a law's model that nobody measures        |
    | `reward`  | **function**                       | `None`   | `reward(y, u) -> float`                             |

    ## Version History
    * v0: Initial version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self,
        system: control.NonlinearIOSystem,
        u_range: ByName,
        x_range: ByName = 0.0,
        dt: float | None = None,
        hidden: Sequence[str] = (),
        reward: Callable[[Array, Array], float] | None = None,
    ) -> None:
        """Make the plant; see the class for the arguments.

        Args:
            system: The system.
            u_range: Largest input.
            x_range: Half range of the starting states.
            dt: Sampling time [s].
            hidden: Names that are observed as NaN, behind the outputs.
            reward: Makes the reward of a step.

        Raises:
            EnvironmentUnsupportedError: It is no such system, or there is no sampling time.
            DataError: A range is no number or negative, the system has another sampling time, or names repeat.
            ShapeError: A range has another length.
            UnknownNameError: A range speaks of names the system does not have.
        """
        from koopctl.models.state_space import bare_name

        self.system, self.dt = _checked(system), _sampling_time(system, dt)
        if isinstance(hidden, str):
            raise DataError(f"hidden is {hidden!r}; it is a list of names, e.g. ['{hidden}'].")
        self.u_names = tuple(map(bare_name, system.input_labels))
        observed = (*map(bare_name, system.output_labels), *hidden)
        self.x_names = as_names("outputs and hidden states", observed, len(observed), "y")
        half = _half_range("u_range", u_range, self.u_names)
        self._x_half = _half_range("x_range", x_range, tuple(map(bare_name, system.state_labels)))
        if not np.isfinite(self._x_half).all():
            raise DataError(f"x_range is {self._x_half}; starts are drawn from it, so it must be finite.")
        self.action_space = spaces.Box(-half, half, dtype=np.float64)
        self.observation_space = spaces.Box(-np.inf, np.inf, (len(self.x_names),), np.float64)
        self._reward, self._hidden = reward, np.full(len(hidden), np.nan)
        self.state, self._u, self._t = np.zeros(system.nstates), np.zeros(system.ninputs), 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Draw a starting state; the time starts at 0.

        Args:
            seed: Seed of the draw; None goes on with the last one.
            options: None are known.
        """
        super().reset(seed=seed)
        self._u, self._t = np.zeros(self.system.ninputs), 0.0
        self.state = self.np_random.uniform(-self._x_half, self._x_half)
        return self._get_obs(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply an input for one sampling time.

        Args:
            action: The input, (nu,).
        """
        space = self.action_space
        u = np.clip(np.asarray(action, dtype=np.float64), space.low, space.high)  # type: ignore[attr-defined]
        reward = 0.0 if self._reward is None else float(self._reward(self._outputs(), u))
        self.state, self._u = self._moved(u), u
        self._t += self.dt
        return self._get_obs(), reward, False, False, {}

    def set_state(self, x: ArrayLike) -> None:
        """Put the plant into the system's state x (nx,).

        Raises:
            ShapeError: x has another length.
            DataError: x is not finite.
        """
        self.state = as_array("x", x, (self.system.nstates,)).copy()

    def _moved(self, u: Array) -> Array:
        if self.system.dt != 0:
            return np.array(self.system.dynamics(self._t, self.state, u), dtype=np.float64)
        from scipy.integrate import solve_ivp

        span = (self._t, self._t + self.dt)
        path = solve_ivp(lambda t, x: self.system.dynamics(t, x, u), span, self.state, t_eval=span[1:], **_TOLERANCE)
        return np.array(path.y[:, -1]) if path.success else np.full_like(self.state, np.nan)

    def _outputs(self) -> Array:
        return np.array(self.system.output(self._t, self.state, self._u), dtype=np.float64).reshape(-1)

    def _get_obs(self) -> Array:
        return np.concatenate([self._outputs(), self._hidden])


def _checked(system: control.NonlinearIOSystem) -> control.NonlinearIOSystem:
    import control

    if not isinstance(system, control.NonlinearIOSystem):
        raise EnvironmentUnsupportedError(
            f"the plant is a {type(system).__name__}; expected a control.StateSpace or control.NonlinearIOSystem. "
            "Convert a transfer function with control.ss(...)."
        )
    if not (system.nstates and system.ninputs and system.noutputs):
        raise EnvironmentUnsupportedError(
            f"the system has {system.ninputs} inputs, {system.noutputs} outputs and {system.nstates} states; a plant "
            "needs at least one of each: give their names or numbers to control.NonlinearIOSystem."
        )
    return system


def _half_range(what: str, value: ByName, names: tuple[str, ...]) -> Array:
    half = as_vector(what, value, names, finite=False)
    if not (half >= 0).all():
        raise DataError(f"{what} is {half} for {', '.join(names)}; a half range is a number from 0 up.")
    return half


def _sampling_time(system: control.NonlinearIOSystem, dt: float | None) -> float:
    own = system.dt
    if isinstance(own, int | float) and own is not True and own > 0:
        if dt is not None and not (is_finite(dt) and abs(dt - own) <= 1e-9 * own):
            raise DataError(f"dt is {dt!r} s, but the system's own sampling time is {own:g} s; leave dt out.")
        return float(own)
    if not is_finite(dt) or dt <= 0:
        kind = "in continuous time" if own == 0 else "without a sampling time"
        remedy = "give dt" if dt is None else f"give a positive dt, not {dt!r}"
        raise EnvironmentUnsupportedError(
            f"the system is {kind}; {remedy}, e.g. ControlSystem(system, u_range=1.0, dt=0.05), in s."
        )
    return float(dt)

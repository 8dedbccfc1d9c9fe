"""A pole to be swung up by a cart."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_array
from koopctl.errors import DataError

_CART, _POLE, _HALF_LENGTH, _G = 1.0, 0.1, 0.5, 9.81  # [kg], [kg], [m], [m/s^2]
_FORCE = 10.0  # [N]
_NOISE = 0.05  # half width of the starting states around the hanging rest
_SUBSTEPS = 4


class CartPoleSwingUp(gymnasium.Env[Array, Array]):
    r"""A pole on a cart that is pushed along a level track without ends, hanging at the start.

    ## Description
    The cart (1 kg) carries a uniform pole (0.1 kg, half length l = 0.5 m) on a hinge, both without friction. With the
    angle $\theta$ counted from upright, m the pole's and M the total mass, F the force and g = 9.81 m/s^2,

    $$\ddot\theta = \frac{g \sin\theta - a \cos\theta}{l (4/3 - (m/M) \cos^2\theta)}, \qquad
    \ddot x = a - \frac{m l}{M} \ddot\theta \cos\theta, \qquad a = \frac{F + m l \dot\theta^2 \sin\theta}{M}.$$

    The force is held over a step of 0.04 s, which is integrated by four steps of the classical Runge-Kutta method.
    Source: A. Barto, R. Sutton, C. Anderson, Neuronlike adaptive elements, IEEE Trans. SMC 13 (1983), with the
    equations as corrected by R. Florian (2007) and the friction left out.

    ## Action Space
    A `Box(-10, 10, (1,), float64)`. Larger forces are clipped.

    | Num | Action | Min | Max | Unit |
    |-----|--------|-----|-----|------|
    | 0   | force  | -10 | 10  | N    |

    ## Observation Space
    A `Box(..., (5,), float64)`: the whole state without noise, the angle as its cos and sin (upright is 1, 0).

    | Num | Observation | Min  | Max | Unit  |
    |-----|-------------|------|-----|-------|
    | 0   | pos         | -Inf | Inf | m     |
    | 1   | cos(theta)  | -1   | 1   | 1     |
    | 2   | sin(theta)  | -1   | 1   | 1     |
    | 3   | vel         | -Inf | Inf | m/s   |
    | 4   | thetadot    | -Inf | Inf | rad/s |

    ## Rewards
    $-(x^2 + 5 \theta^2 + 0.1 \dot x^2 + 0.1 \dot\theta^2 + 0.01 F^2)$ with the state before the step, the angle
    within $[-\pi, \pi)$ and the force as applied; 0 is the best.

    ## Starting State
    Hanging at rest, each of $x, \theta - \pi, \dot x, \dot\theta$ moved by a uniform number within 0.05.
    `set_state((x, theta, vel, thetadot))` puts the plant anywhere.

    ## Episode End
    The plant never terminates. `gymnasium.make` truncates at 250 steps (10 s).

    ## Arguments
    `gymnasium.make("koopctl.envs:CartPoleSwingUp-v0")`

    | Parameter     | Type          | Default | Description                                     |
    |---------------|---------------|---------|-------------------------------------------------|
    | `render_mode` | **None**      | `None`  | The plant draws nothing; for `gymnasium.make`   |

    ## Version History
    * v0: Initial version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 25}  # type: ignore[misc]
    dt = 0.04  # [s]
    x_names = ("pos", "cos(theta)", "sin(theta)", "vel", "thetadot")
    u_names = ("force",)

    def __init__(self, render_mode: None = None) -> None:
        """Make the plant; see the class.

        Args:
            render_mode: None, the only mode.

        Raises:
            DataError: A render mode is asked for.
        """
        if render_mode is not None:
            raise DataError(f"render_mode is {render_mode!r}; this plant draws nothing, plot the trajectory instead.")
        self.render_mode = None
        self.action_space = spaces.Box(-_FORCE, _FORCE, (1,), np.float64)
        high = np.array([np.inf, 1.0, 1.0, np.inf, np.inf])
        self.observation_space = spaces.Box(-high, high, dtype=np.float64)
        self.state: Array = np.array([0.0, np.pi, 0.0, 0.0])  # x, theta, vel, thetadot

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Draw a starting state near the hanging rest.

        Args:
            seed: Seed of the draw; None goes on with the last one.
            options: None are known.
        """
        super().reset(seed=seed)
        self.state = np.array([0.0, np.pi, 0.0, 0.0]) + self.np_random.uniform(-_NOISE, _NOISE, 4)
        return self._get_obs(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply a force for one sampling time.

        Args:
            action: The force, (1,).
        """
        force = float(np.clip(action, -_FORCE, _FORCE)[0])
        x, theta, vel, rate = self.state.tolist()
        angle = (theta + math.pi) % (2 * math.pi) - math.pi
        reward = -(x**2 + 5 * angle**2 + 0.1 * vel**2 + 0.1 * rate**2 + 0.01 * force**2)
        h = self.dt / _SUBSTEPS
        for _ in range(_SUBSTEPS):
            self.state = _runge_kutta(self.state, force, h)
        return self._get_obs(), reward, False, False, {}

    def set_state(self, x: ArrayLike) -> None:
        """Put the plant into state x = (x, theta, vel, thetadot), the angle counted from upright.

        Raises:
            ShapeError: x is no array of four finite numbers.
        """
        self.state = as_array("x", x, (4,)).copy()

    def _get_obs(self) -> Array:
        x, theta, vel, rate = self.state.tolist()
        return np.array([x, math.cos(theta), math.sin(theta), vel, rate])


def _runge_kutta(state: Array, force: float, h: float) -> Array:
    a = _slope(state, force)
    b = _slope(state + 0.5 * h * a, force)
    c = _slope(state + 0.5 * h * b, force)
    d = _slope(state + h * c, force)
    return np.asarray(state + h / 6.0 * (a + 2.0 * (b + c) + d))


def _slope(state: Array, force: float) -> Array:
    """Return the state's derivative by time, (4,)."""
    _, theta, vel, rate = state.tolist()
    cos, sin, mass = math.cos(theta), math.sin(theta), _CART + _POLE
    push = (force + _POLE * _HALF_LENGTH * rate**2 * sin) / mass
    turn = (_G * sin - push * cos) / (_HALF_LENGTH * (4.0 / 3.0 - _POLE / mass * cos**2))
    return np.array([vel, rate, push - _POLE * _HALF_LENGTH / mass * turn * cos, turn])

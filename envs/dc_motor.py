"""A bilinear DC motor: its field current is the input."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_array
from koopctl.errors import DataError

_SUBSTEPS = 5
_FARTHEST = 2.0  # states a user may start from
# No input leads from those states out of this box: along every motion 22.9478 x1^2 + 32.2293 x2^2, in which the input
# cancels, falls wherever it is above 195, and it is 221 at the farthest start.
_BOX = np.array([3.5, 3.0])


class DCMotor(gymnasium.Env[Array, Array]):
    r"""The DC motor of Korda and Mezic, whose input multiplies the state.

    ## Description
    The armature current $x_1$ (in 10 A) and the speed $x_2$ (in 100 rad/s) of a motor under a constant armature
    voltage and load; the input is the field current (in 4 A):

    $$\dot x_1 = 19.10828025 - 39.3153 x_1 - 32.2293 x_2 u, \qquad
    \dot x_2 = -3.333333333 - 1.6599 x_2 + 22.9478 x_1 u.$$

    The input is held over a step of 0.01 s, which is integrated by five steps of the classical Runge-Kutta method.
    Without a field the load drives the motor to -2. Source: M. Korda, I. Mezic, Linear predictors for nonlinear
    dynamical systems: Koopman operator meets model predictive control, Automatica 93 (2018).

    ## Action Space
    A `Box(-1, 1, (1,), float64)`. Larger inputs are clipped.

    | Num | Action | Min | Max | Unit |
    |-----|--------|-----|-----|------|
    | 0   | field  | -1  | 1   | 4 A  |

    ## Observation Space
    A `Box([-3.5, -3], [3.5, 3], (2,), float64)`, both states without noise; with `sensors="speed"` the speed alone.

    | Num | Observation | Min  | Max | Unit      |
    |-----|-------------|------|-----|-----------|
    | 0   | current     | -3.5 | 3.5 | 10 A      |
    | 1   | speed       | -3   | 3   | 100 rad/s |

    No input leads out of the box.

    ## Rewards
    $-(x_2^2 + 0.01 u^2)$ with the state before the step and the input as applied; 0 is the best, and out of reach: the
    load asks for an input of 0.3 to stand still.

    ## Starting State
    Uniform in $[-1, 1]^2$. `set_state(x)` puts the plant anywhere in $[-2, 2]^2$.

    ## Episode End
    The plant never terminates. `gymnasium.make` truncates at 300 steps (3 s).

    ## Arguments
    `gymnasium.make("koopctl.envs:DCMotor-v0", sensors="speed")`

    | Parameter     | Type          | Default  | Description                                     |
    |---------------|---------------|----------|-------------------------------------------------|
    | `sensors`     | **str**       | `"both"` | What is observed: "both" states or the "speed"  |
    | `render_mode` | **None**      | `None`   | The plant draws nothing; for `gymnasium.make`   |

    ## Version History
    * v0: Initial version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 100}  # type: ignore[misc]
    dt = 0.01  # [s]
    u_names = ("field",)

    def __init__(self, sensors: Literal["both", "speed"] = "both", render_mode: None = None) -> None:
        """Make the plant; see the class for the arguments.

        Args:
            sensors: What is observed.
            render_mode: None, the only mode.

        Raises:
            DataError: There are no such sensors, or a render mode is asked for.
        """
        if sensors not in ("both", "speed"):
            raise DataError(f"sensors is {sensors!r}; the motor has 'both' (current and speed) or 'speed'.")
        if render_mode is not None:
            raise DataError(f"render_mode is {render_mode!r}; this plant draws nothing, plot the trajectory instead.")
        self.render_mode = None
        self._first = 0 if sensors == "both" else 1
        self.x_names = ("current", "speed")[self._first :]
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)
        self.observation_space = spaces.Box(-_BOX[self._first :], _BOX[self._first :], dtype=np.float64)
        self.state: Array = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Draw a starting state.

        Args:
            seed: Seed of the draw; None goes on with the last one.
            options: None are known.
        """
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1.0, 1.0, 2)
        return self._get_obs(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply a field current for one sampling time.

        Args:
            action: The field current, (1,).
        """
        u = float(np.clip(action, -1.0, 1.0)[0])
        x1, x2 = self.state.tolist()
        reward = -(x2**2 + 0.01 * u**2)
        for _ in range(_SUBSTEPS):
            x1, x2 = _runge_kutta(x1, x2, u, self.dt / _SUBSTEPS)
        self.state = np.array([x1, x2])
        return self._get_obs(), reward, False, False, {}

    def set_state(self, x: ArrayLike) -> None:
        """Put the plant into state x = (x1, x2).

        Raises:
            DataError: x is outside [-2, 2]^2.
        """
        state = as_array("x", x, (2,))
        if (np.abs(state) > _FARTHEST).any():
            raise DataError(f"state {state} is outside [-2, 2]^2; choose one inside.")
        self.state = state.copy()

    def _get_obs(self) -> Array:
        return self.state[self._first :].copy()


def _slope(x1: float, x2: float, u: float) -> tuple[float, float]:
    return 19.10828025 - 39.3153 * x1 - 32.2293 * x2 * u, -3.333333333 - 1.6599 * x2 + 22.9478 * x1 * u


def _runge_kutta(x1: float, x2: float, u: float, h: float) -> tuple[float, float]:
    a1, a2 = _slope(x1, x2, u)
    b1, b2 = _slope(x1 + 0.5 * h * a1, x2 + 0.5 * h * a2, u)
    c1, c2 = _slope(x1 + 0.5 * h * b1, x2 + 0.5 * h * b2, u)
    d1, d2 = _slope(x1 + h * c1, x2 + h * c2, u)
    return x1 + h / 6.0 * (a1 + 2.0 * (b1 + c1) + d1), x2 + h / 6.0 * (a2 + 2.0 * (b2 + c2) + d2)

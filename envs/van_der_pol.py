"""The driven Van der Pol oscillator."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_array
from koopctl.errors import DataError

_SUBSTEPS = 5
_FARTHEST = np.array([5.0, 10.0])  # states a user may start from; from there no input leads out of twice this box


class VanDerPol(gymnasium.Env[Array, Array]):
    r"""The Van der Pol oscillator, pushed by a force.

    ## Description
    An oscillator with a damping that feeds small motions and brakes large ones, and an input u:

    $$\dot x_1 = x_2, \qquad \dot x_2 = \mu (1 - x_1^2) x_2 - x_1 + u.$$

    Undriven it settles on a limit cycle of amplitude about 2; the rest at the origin is unstable. The force is held
    over a step of 0.05 s, which is integrated by five steps of the classical Runge-Kutta method. Source: B. van der
    Pol, On relaxation-oscillations, Phil. Mag. 2 (1926).

    ## Action Space
    A `Box(-3, 3, (1,), float64)`. Larger forces are clipped.

    | Num | Action | Min | Max | Unit |
    |-----|--------|-----|-----|------|
    | 0   | force  | -3  | 3   | 1    |

    ## Observation Space
    A `Box([-10, -20], [10, 20], (2,), float64)`: the whole state, without noise.

    | Num | Observation | Min | Max | Unit |
    |-----|-------------|-----|-----|------|
    | 0   | x1          | -10 | 10  | 1    |
    | 1   | x2          | -20 | 20  | 1/s  |

    Motion stays well inside: no force leads from the starting states beyond 4 and 11.

    ## Rewards
    $-(x_1^2 + x_2^2 + 0.01 u^2)$ with the state before the step and the force as applied; 0 is the best.

    ## Starting State
    Uniform in $[-3, 3]^2$. `set_state(x)` puts the plant anywhere in $[-5, 5] \times [-10, 10]$.

    ## Episode End
    The plant never terminates. `gymnasium.make` truncates at 200 steps (10 s).

    ## Arguments
    `gymnasium.make("koopctl.envs:VanDerPol-v0", mu=2.0)`

    | Parameter     | Type          | Default | Description                                     |
    |---------------|---------------|---------|-------------------------------------------------|
    | `mu`          | **float**     | `1.0`   | Strength of the damping [1/s], from 0.5 to 5    |
    | `render_mode` | **None**      | `None`  | The plant draws nothing; for `gymnasium.make`   |

    ## Version History
    * v0: Initial version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 20}  # type: ignore[misc]
    dt = 0.05  # [s]
    x_names = ("x1", "x2")
    u_names = ("force",)

    def __init__(self, mu: float = 1.0, render_mode: None = None) -> None:
        """Make the plant; see the class for the arguments.

        Args:
            mu: Strength of the damping [1/s].
            render_mode: None, the only mode.

        Raises:
            DataError: mu is out of range, or a render mode is asked for.
        """
        if not 0.5 <= mu <= 5.0:
            raise DataError(f"mu is {mu!r}; the plant is specified for 0.5 <= mu <= 5.")
        if render_mode is not None:
            raise DataError(f"render_mode is {render_mode!r}; this plant draws nothing, plot the trajectory instead.")
        self.mu = float(mu)
        self.render_mode = None
        self.action_space = spaces.Box(-3.0, 3.0, (1,), np.float64)
        self.observation_space = spaces.Box(-2.0 * _FARTHEST, 2.0 * _FARTHEST, dtype=np.float64)
        self.state: Array = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Draw a starting state.

        Args:
            seed: Seed of the draw; None goes on with the last one.
            options: None are known.
        """
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-3.0, 3.0, 2)
        return self._get_obs(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply a force for one sampling time.

        Args:
            action: The force, (1,).
        """
        u = float(np.clip(action, self.action_space.low, self.action_space.high)[0])  # type: ignore[attr-defined]
        x1, x2 = self.state.tolist()
        reward = -(x1**2 + x2**2 + 0.01 * u**2)
        for _ in range(_SUBSTEPS):
            x1, x2 = self._runge_kutta(x1, x2, u, self.dt / _SUBSTEPS)
        self.state = np.array([x1, x2])
        return self._get_obs(), reward, False, False, {}

    def set_state(self, x: ArrayLike) -> None:
        """Put the plant into state x = (x1, x2).

        Raises:
            DataError: x is outside [-5, 5] x [-10, 10].
        """
        state = as_array("x", x, (2,))
        if (np.abs(state) > _FARTHEST).any():
            raise DataError(f"state {state} is outside [-5, 5] x [-10, 10]; choose one inside.")
        self.state = state.copy()

    def _get_obs(self) -> Array:
        return self.state.copy()

    def _runge_kutta(self, x1: float, x2: float, u: float, h: float) -> tuple[float, float]:
        mu = self.mu
        a1, a2 = x2, mu * (1.0 - x1 * x1) * x2 - x1 + u
        y1, y2 = x1 + 0.5 * h * a1, x2 + 0.5 * h * a2
        b1, b2 = y2, mu * (1.0 - y1 * y1) * y2 - y1 + u
        y1, y2 = x1 + 0.5 * h * b1, x2 + 0.5 * h * b2
        c1, c2 = y2, mu * (1.0 - y1 * y1) * y2 - y1 + u
        y1, y2 = x1 + h * c1, x2 + h * c2
        d1, d2 = y2, mu * (1.0 - y1 * y1) * y2 - y1 + u
        return x1 + h / 6.0 * (a1 + 2.0 * (b1 + c1) + d1), x2 + h / 6.0 * (a2 + 2.0 * (b2 + c2) + d2)

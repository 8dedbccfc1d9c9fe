"""A plant of 8 states for timing: four masses in a row. Only numpy is imported, so that rivals can run it too."""

import numpy as np
import numpy.typing as npt

MASSES, DT, SUBSTEPS = 4, 0.05, 5


def chain_step(x: npt.NDArray[np.float64], u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the next state (8,) of four unit masses in a row between walls, the last one driven by u (1,).

    Springs of 20 N/m with a hardening term of 5 N/m^3, damping 0.3 N s/m; Runge-Kutta of order 4, 0.05 s.
    """
    stiffness = 20.0 * (2 * np.eye(MASSES) - np.eye(MASSES, k=1) - np.eye(MASSES, k=-1))

    def rate(state: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        place, speed = state[:MASSES], state[MASSES:]
        force = -stiffness @ place - 0.3 * speed - 5.0 * place**3
        force[-1] += 5.0 * u[0]
        return np.concatenate([speed, force])

    h = DT / SUBSTEPS
    for _ in range(SUBSTEPS):
        k1 = rate(x)
        k2 = rate(x + h / 2 * k1)
        k3 = rate(x + h / 2 * k2)
        k4 = rate(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x

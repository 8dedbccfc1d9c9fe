"""Plants: Gymnasium environments, one a file, whose docstring is the specification."""

from __future__ import annotations

import gymnasium

from koopctl.envs.cart_pole import CartPoleSwingUp
from koopctl.envs.control_system import ControlSystem
from koopctl.envs.dc_motor import DCMotor
from koopctl.envs.tasks import task
from koopctl.envs.van_der_pol import VanDerPol

__all__ = ["CartPoleSwingUp", "ControlSystem", "DCMotor", "VanDerPol", "register", "task"]

_TIME_LIMITS = {"CartPoleSwingUp": 250, "DCMotor": 300, "VanDerPol": 200}  # [steps]
_ENTRY_POINTS = {
    "CartPoleSwingUp": "koopctl.envs.cart_pole:CartPoleSwingUp",
    "DCMotor": "koopctl.envs.dc_motor:DCMotor",
    "VanDerPol": "koopctl.envs.van_der_pol:VanDerPol",
}


def register() -> None:
    """Add the plants to Gymnasium's registry; what is already there stays."""
    for name, entry_point in _ENTRY_POINTS.items():
        if f"{name}-v0" not in gymnasium.registry:
            gymnasium.register(f"{name}-v0", entry_point=entry_point, max_episode_steps=_TIME_LIMITS[name])


# Gymnasium has no plug-ins: "koopctl.envs:VanDerPol-v0" imports this module and expects to find the id afterwards.
register()

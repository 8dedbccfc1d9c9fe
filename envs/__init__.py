"""Plants: Gymnasium environments, one a file, whose docstring is the specification."""

from __future__ import annotations

import gymnasium

from koopctl.envs.tasks import task
from koopctl.envs.van_der_pol import VanDerPol

__all__ = ["VanDerPol", "register", "task"]

_TIME_LIMITS = {"VanDerPol": 200}  # [steps]
_ENTRY_POINTS = {"VanDerPol": "koopctl.envs.van_der_pol:VanDerPol"}


def register() -> None:
    """Add the plants to Gymnasium's registry; what is already there stays."""
    for name, entry_point in _ENTRY_POINTS.items():
        if f"{name}-v0" not in gymnasium.registry:
            gymnasium.register(f"{name}-v0", entry_point=entry_point, max_episode_steps=_TIME_LIMITS[name])


# Gymnasium has no plug-ins: "koopctl.envs:VanDerPol-v0" imports this module and expects to find the id afterwards.
register()

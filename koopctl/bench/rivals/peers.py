"""The rivals of the identification bench, with the versions they were measured in."""

from __future__ import annotations

from pathlib import Path

from koopctl.bench.rivals.rival import Rival

# The same numerical libraries everywhere, so that a difference in time is the package's own.
_NUMERICAL = ("numpy==2.4.6", "scipy==1.17.1")
_LEARNING = (*_NUMERICAL, "scikit-learn==1.9.1")


def _script(name: str) -> Path:
    return Path(__file__).with_name(name)


PYKOOP = Rival("pykoop", ("pykoop==2.0.1", *_LEARNING), _script("with_pykoop.py"))
SWIMNETWORKS = Rival("swimnetworks", ("swimnetworks==0.0.2", *_LEARNING), _script("with_swimnetworks.py"))
PYSINDY = Rival("pysindy", ("pysindy==2.1.0", *_LEARNING), _script("with_pysindy.py"))
RESERVOIRPY = Rival("reservoirpy", ("reservoirpy==0.4.2", *_NUMERICAL), _script("with_reservoirpy.py"))
CASADI = Rival("casadi", ("casadi==3.8.2", _NUMERICAL[0]), _script("nmpc_with_casadi.py"))

MOTION_RIVALS = (PYKOOP, SWIMNETWORKS, PYSINDY)
ATTRACTOR_RIVALS = (RESERVOIRPY,)

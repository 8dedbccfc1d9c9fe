"""What the observations of well-known Gymnasium plants are called, and which of them are state."""

from __future__ import annotations

from typing import NamedTuple


class Sensors(NamedTuple):
    """Names of one plant's channels.

    Attributes:
        names: The entries of the observation, in order.
        state_names: Those that describe the motion; the rest are forces or follow from others.
        u_names: The entries of the action, in order.
    """

    names: tuple[str, ...]
    state_names: tuple[str, ...]
    u_names: tuple[str, ...]


def _all_state(names: str, inputs: str) -> Sensors:
    return Sensors(tuple(names.split()), tuple(names.split()), tuple(inputs.split()))


def _partly_state(names: str, rest: str, inputs: str) -> Sensors:
    state = tuple(names.split())
    return Sensors((*state, *rest.split()), state, tuple(inputs.split()))


_ARM = "cos(theta1) cos(theta2) sin(theta1) sin(theta2)"
_CHEETAH = "bthigh bshin bfoot fthigh fshin ffoot"
_WALKER = "thigh leg foot thigh_left leg_left foot_left"


def _walking(joints: str) -> str:
    rates = " ".join(f"{joint}dot" for joint in joints.split())
    return f"z pitch {joints} vel_x vel_z pitchdot {rates}"


# Read off the _get_obs methods of gymnasium 1.4 (default arguments).
_KNOWN: dict[str, Sensors] = {
    "Pendulum-v1": _all_state("cos(theta) sin(theta) thetadot", "torque"),
    "MountainCarContinuous-v0": _all_state("pos vel", "force"),
    "InvertedPendulum-v5": _all_state("pos theta vel thetadot", "force"),
    "InvertedDoublePendulum-v5": _partly_state(
        "pos sin(theta1) sin(theta2) cos(theta1) cos(theta2) vel theta1dot theta2dot", "constraint_force", "force"
    ),
    # where the target lies does not move the arm, and the distance to it follows from both
    "Reacher-v5": Sensors(
        (*_ARM.split(), "target_x", "target_y", "theta1dot", "theta2dot", "to_target_x", "to_target_y"),
        (*_ARM.split(), "theta1dot", "theta2dot"),
        ("torque1", "torque2"),
    ),
    "Swimmer-v5": _all_state("theta theta1 theta2 vel_x vel_y thetadot theta1dot theta2dot", "torque1 torque2"),
    "HalfCheetah-v5": _all_state(_walking(_CHEETAH), _CHEETAH),
    "Hopper-v5": _all_state(_walking("thigh leg foot"), "thigh leg foot"),
    "Walker2d-v5": _all_state(_walking(_WALKER), _WALKER),
}


def known_sensors(env_id: str) -> Sensors | None:
    """Return `(names, state_names, u_names)` of a Gymnasium id, None where it is not known.

    Args:
        env_id: The id, with or without a leading `module:`.
    """
    return _KNOWN.get(env_id.rpartition(":")[2])

"""What is usually wanted of the plants koopctl knows."""

from __future__ import annotations

from koopctl.errors import UnknownNameError
from koopctl.task import Task

_TASKS: dict[str, Task] = {
    # The weights are those of the environment's own reward.
    "Pendulum-v1": Task(target=0.0, Q={"theta": 1.0, "thetadot": 0.1}, R=0.001, u_min=-2.0, u_max=2.0, horizon=50),
    "InvertedPendulum-v5": Task(
        target=0.0,
        Q={"pos": 1.0, "theta": 10.0, "vel": 0.1, "thetadot": 0.1},
        R=0.1,
        u_min=-3.0,
        u_max=3.0,
        horizon=25,
    ),
    "InvertedDoublePendulum-v5": Task(
        target=0.0,
        Q={"pos": 1.0, "theta1": 10.0, "theta2": 10.0, "vel": 0.1, "theta1dot": 0.1, "theta2dot": 0.1},
        R=0.1,
        u_min=-1.0,
        u_max=1.0,
        horizon=20,
    ),
    # The weights are those of the environment's own reward.
    "VanDerPol-v0": Task(target=0.0, Q=1.0, R=0.01, u_min=-3.0, u_max=3.0, horizon=30),
    # The weights are those of the environment's own reward.
    "CartPoleSwingUp-v0": Task(
        target=0.0,
        Q={"pos": 1.0, "theta": 5.0, "vel": 0.1, "thetadot": 0.1},
        R=0.01,
        u_min=-10.0,
        u_max=10.0,
        horizon=40,
    ),
    # The problem of Korda and Mezic: weights, bounds and a horizon of 1 s; only the speed is wanted somewhere.
    "DCMotor-v0": Task(
        target=0.0,
        Q={"speed": 1.0},
        R=0.01,
        u_min=-1.0,
        u_max=1.0,
        y_min={"speed": -0.4},
        y_max={"speed": 0.4},
        horizon=100,
    ),
}


def task(env_id: str) -> Task:
    """Return the usual task of a plant; change it with `task.replace(horizon=40)`.

    Args:
        env_id: The environment's id, with or without a leading `module:`.

    Raises:
        UnknownNameError: No task is known for this id; the error lists those that are.
    """
    name = env_id.rpartition(":")[2]
    if name not in _TASKS:
        raise UnknownNameError("task for the environment", name, tuple(_TASKS))
    return _TASKS[name]

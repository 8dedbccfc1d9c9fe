"""The loop: a controller meets an environment, step by step, and what happened is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_array
from koopctl.environment import Plant, open_plant, place_state
from koopctl.errors import DataError, SamplingTimeError
from koopctl.trajectory import Trajectory

if TYPE_CHECKING:
    from koopctl.environment import Environment, EnvSource

Act: TypeAlias = Callable[[int, Array], tuple[ArrayLike, dict[str, Any]]]
Reference: TypeAlias = ArrayLike | Callable[[int], ArrayLike | None]

_STEPS_WITHOUT_LIMIT = 1000


@runtime_checkable
class Controller(Protocol):
    """What the loop asks of a control law. It sees observations, never an environment.

    Attributes:
        dt: Sampling time the law was designed for [s].
    """

    @property
    def dt(self) -> float:
        """Sampling time [s]."""

    def reset(self) -> None:
        """Forget the past; called before every run."""

    def __call__(self, y: Array, reference: Array | None = None) -> tuple[Array, dict[str, Any]]:
        """Return the input u (nu,) for observation y (ny,) and what there is to say about it.

        Args:
            y: The newest observation, (ny,).
            reference: Where to go instead of the law's own target.
        """


@dataclass(frozen=True)
class Episode:
    """One pass through the step loop.

    Attributes:
        X: Observations, (T + 1, ny).
        U: Inputs as applied, (T, nu).
        rewards: Rewards, (T,).
        infos: What the law said, T of them.
        end: "steps" (as many as asked for), "terminated", "truncated" or "not finite".
    """

    X: Array
    U: Array
    rewards: Array
    infos: tuple[dict[str, Any], ...]
    end: str


def run_episode(plant: Plant, y: Array, act: Act, steps: int | None, *, stop_at_nan: bool) -> Episode:
    """Step a plant that was just reset; the one loop behind `simulate` and `collect`.

    Args:
        plant: The plant.
        y: Its first observation, (ny,).
        act: Returns the input and an info for step k and observation y.
        steps: Most steps to make; None goes on until the environment ends.
        stop_at_nan: End before the first observation that is not finite, instead of recording it.
    """
    X, U, rewards = [y], list[Array](), list[float]()
    infos: list[dict[str, Any]] = []
    end = "steps"
    if stop_at_nan and not np.isfinite(y).all():
        steps, end = 0, "not finite"
    while steps is None or len(U) < steps:
        u, info = act(len(U), X[-1].copy())  # a copy: a law that changes its y must not change the record
        action = plant.action(u, len(U))
        observation, reward, terminated, truncated, _ = plant.env.step(action)
        y = np.array(observation, dtype=np.float64)
        if stop_at_nan and not np.isfinite(y).all():
            end = "not finite"
            break
        X.append(y)
        U.append(action.astype(np.float64))
        rewards.append(float(reward))
        infos.append(info)
        if terminated or truncated:
            end = "terminated" if terminated else "truncated"
            break
    inputs = np.array(U).reshape(len(U), len(plant.low))
    return Episode(np.array(X), inputs, np.array(rewards), tuple(infos), end)


def simulate(
    env: EnvSource | Environment,
    law: Controller,
    *,
    seed: int = 0,
    steps: int | None = None,
    dt: float | None = None,
    reference: Reference | None = None,
    initial_state: ArrayLike | None = None,
) -> Trajectory:
    """Run a law on the real environment and return what happened.

    Inputs are clipped to the action space and recorded as applied. To watch, pass an environment that renders, e.g.
    `lambda: gymnasium.make("Pendulum-v1", render_mode="human")`. Observations that are not finite reach the law, as
    they would on a machine.

    Args:
        env: An id, an EnvSpec, a function that makes an environment, or an environment (which is left open).
        law: The controller; it is reset first.
        seed: Seed of the environment's reset.
        steps: Most steps to run; by default until the environment ends, and 1000 where it has no time limit.
        dt: Sampling time [s] of an environment that does not say it.
        reference: Handed to the law at every step: one array (ny,); a path (n, ny), of which the law gets the rows
            from its step on; or a function of the step number that returns either, or None for the law's own target.
        initial_state: Where to start instead of where the reset puts the plant; see `koopctl.environment.place_state`.

    Raises:
        EnvironmentUnsupportedError: The environment is unknown or has no continuous, one-dimensional spaces.
        SamplingTimeError: The law was made for another sampling time.
        DataError: The law returned something that is not a finite input.
    """
    plant = open_plant(env, dt)
    try:
        check_law_dt(law, plant)
        if steps is not None and steps < 1:
            raise DataError(f"steps is {steps!r}; run at least one step.")
        y = start(plant, seed, initial_state)
        law.reset()
        limit = steps if steps is not None or _has_time_limit(plant.env) else _STEPS_WITHOUT_LIMIT
        run = run_episode(plant, y, follow(law, reference, len(y)), limit, stop_at_nan=False)
    finally:
        if plant.env is not env:
            plant.env.close()
    return Trajectory(
        run.X,
        run.U,
        run.rewards,
        run.infos,
        plant.dt,
        plant.x_names,
        plant.u_names,
        terminated=run.end == "terminated",
        truncated=run.end == "truncated",
        seed=seed,
    )


def start(plant: Plant, seed: int, initial_state: ArrayLike | None = None) -> Array:
    """Reset a plant with a seed, place it where an initial state is given, and return the observation (ny,)."""
    observation, _ = plant.env.reset(seed=seed)
    if initial_state is not None:
        return place_state(plant, initial_state)
    return np.array(observation, dtype=np.float64)


def follow(law: Controller, reference: Reference | None, ny: int) -> Act:
    """Return the law as the loop's `act`, handed its reference at every step."""
    fixed = None if reference is None or callable(reference) else _goal("reference", reference, ny)

    def act(k: int, y: Array) -> tuple[ArrayLike, dict[str, Any]]:
        given = reference(k) if callable(reference) else None
        goal = fixed if given is None else _goal(f"reference({k})", given, ny)
        if fixed is not None and fixed.ndim == 2:
            goal = fixed[min(k, len(fixed) - 1) :]  # at the end of the path its last row stays
        answer = law(y) if goal is None else law(y, goal)
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
            raise DataError(f"the law returned {answer!r} at step {k}; expected the pair (u, info), info a dict.")
        return answer

    return act


def _goal(name: str, value: ArrayLike, ny: int) -> Array:
    """Return a reference (ny,), or a path (n, ny) with a row at least."""
    try:
        rows = np.ndim(value)
    except ValueError:  # of unequal length, which as_array says
        rows = 1
    if rows != 2:
        return as_array(name, value, (ny,))
    path = as_array(name, value, ("n", ny))
    if not len(path):
        raise DataError(f"{name} has no rows; a path needs one at least.")
    return path


def check_law_dt(law: Controller, plant: Plant) -> None:
    """Raise SamplingTimeError unless the law was made for the plant's sampling time."""
    if not (callable(law) and callable(getattr(law, "reset", None))):
        raise DataError(f"law is a {type(law).__name__}; expected a controller: reset(), law(y) -> (u, info) and dt.")
    expected = getattr(law, "dt", None)
    if expected is not None and abs(expected - plant.dt) > 1e-6 * expected:
        raise SamplingTimeError("the environment", float(expected), plant.dt)


def _has_time_limit(env: Environment) -> bool:
    import gymnasium

    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            return True
        layer = layer.env
    return False

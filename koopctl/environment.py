"""Gymnasium environments as plants: made, checked, named, timed and placed."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctl.arrays import Array, as_array, as_names
from koopctl.data.sensors import known_sensors
from koopctl.errors import DataError, EnvironmentUnsupportedError, ShapeError

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

    Environment: TypeAlias = gymnasium.Env[Any, Any]
    EnvSource: TypeAlias = str | EnvSpec | Callable[[], Environment]

_PLUGIN_HINT = "a plant that lives in a module of its own is named 'module:Id', e.g. 'koopctl.envs:VanDerPol-v0'"


@dataclass(frozen=True)
class Plant:
    """An environment with what a loop needs to know about it.

    Attributes:
        env: The environment (or a vector environment, whose single spaces count).
        dt: Sampling time [s].
        x_names: Names of the entries of the observation.
        u_names: Names of the entries of the action.
        state_names: The known state among x_names; None where the plant is not known.
        low: Lower ends of the actuators, (nu,).
        high: Upper ends of the actuators, (nu,).
        dtype: What the action space counts in.
    """

    env: Any
    dt: float
    x_names: tuple[str, ...]
    u_names: tuple[str, ...]
    state_names: tuple[str, ...] | None
    low: Array
    high: Array
    dtype: np.dtype[Any]

    def action(self, u: ArrayLike, k: int) -> NDArray[Any]:
        """Return input u of step k as an action: checked (Gymnasium lets NaN pass), clipped, of the space's type.

        Raises:
            ShapeError: u has another length.
            DataError: u is not finite.
        """
        value = np.asarray(u, dtype=np.float64)
        if value.shape != self.low.shape:
            names = ", ".join(self.u_names)
            raise ShapeError(f"the input of step {k} has shape {value.shape}, expected {self.low.shape} for {names}.")
        if not np.isfinite(value).all():
            raise DataError(
                f"the input of step {k} is {value}; the environment was not stepped. A law must return finite numbers, "
                "also for observations it cannot use."
            )
        return np.clip(value, self.low, self.high).astype(self.dtype)


def make_env(env: EnvSource) -> Environment:
    """Return a new environment from an id, a Gymnasium EnvSpec or a zero-argument callable.

    Args:
        env: `"Pendulum-v1"`, `"koopctl.envs:VanDerPol-v0"`, an EnvSpec, or a callable that makes an environment.

    Raises:
        EnvironmentUnsupportedError: The id is unknown, a package it needs is missing, or `env` is something else.
    """
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

    if isinstance(env, gymnasium.Env | gymnasium.vector.VectorEnv):
        raise EnvironmentUnsupportedError(
            f"{env} is one environment, but fresh ones are needed; pass its id or a function that makes it, "
            "e.g. lambda: gymnasium.make('Pendulum-v1', g=9.81)."
        )
    if isinstance(env, str | EnvSpec):
        return _make_registered(env)
    if not callable(env):
        raise EnvironmentUnsupportedError(
            f"env is a {type(env).__name__}; expected an id such as 'Pendulum-v1', or a function that makes one."
        )
    made = env()
    if not isinstance(made, gymnasium.Env | gymnasium.vector.VectorEnv):
        raise EnvironmentUnsupportedError(f"env() returned a {type(made).__name__}; it must return a gymnasium.Env.")
    return made  # possibly a VectorEnv: collect takes those, open_plant refuses them


def find_spec(env: EnvSource) -> EnvSource:
    """Return what worker processes can make `env` from: an id becomes its EnvSpec, everything else stays.

    Raises:
        EnvironmentUnsupportedError: The id is unknown.
    """
    import gymnasium

    if not isinstance(env, str):
        return env
    module, _, name = env.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gymnasium.spec(name)
    except (gymnasium.error.Error, ImportError, ValueError) as error:
        raise EnvironmentUnsupportedError(_unknown(env, error)) from None


def sampling_time(env: Environment, dt: float | None = None) -> float:
    """Return the sampling time of an environment [s]: `dt` where given, else its `dt`, else its `tau`.

    The frame rate in the metadata is for films and not used: Pendulum-v1 says 30 a second and steps by 0.05 s.

    Args:
        env: The environment.
        dt: Overrides what the environment says.

    Raises:
        EnvironmentUnsupportedError: Neither is there.
        DataError: The time is not positive.
    """
    source = "dt"
    if dt is None:
        for source in ("dt", "tau"):
            dt = getattr(env.unwrapped, source, None)
            if isinstance(dt, int | float | np.number):
                break
        else:
            raise EnvironmentUnsupportedError(
                f"{env} does not say its sampling time (no attribute dt or tau); pass dt= in seconds."
            )
    if not (math.isfinite(dt) and dt > 0):
        raise DataError(f"the sampling time ({source}) is {dt!r}; it must be a positive number of seconds.")
    return float(dt)


def open_plant(
    env: EnvSource | Environment,
    dt: float | None = None,
    x_names: Sequence[str] | None = None,
    u_names: Sequence[str] | None = None,
) -> Plant:
    """Return an environment as a Plant.

    Names are, in this order: those given, the environment's own `x_names` / `u_names`, those of the table of known
    plants, `x0, x1, ...` / `u0, u1, ...`.

    Args:
        env: What `make_env` takes, or an environment.
        dt: Sampling time [s]; the environment's own by default.
        x_names: Names of the observation's entries.
        u_names: Names of the action's entries.

    Raises:
        EnvironmentUnsupportedError: The spaces are not one-dimensional boxes, or there is no sampling time.
    """
    import gymnasium

    made = env if isinstance(env, gymnasium.Env) else make_env(env)
    if not isinstance(made, gymnasium.Env):
        raise EnvironmentUnsupportedError(f"{made} is a vector environment; only collect() takes those.")
    return describe_plant(made, made, dt, x_names, u_names)


def describe_plant(
    env: Any, sample: Environment, dt: float | None, x_names: Sequence[str] | None, u_names: Sequence[str] | None
) -> Plant:
    """Return `env` as a Plant with the spaces, names and sampling time of `sample` (itself, or a sub-environment)."""
    action = _box("action", sample, sample.action_space)
    observation = _box("observation", sample, sample.observation_space)
    nx, nu = observation.shape[0], action.shape[0]
    known = known_sensors(sample.spec.id) if sample.spec is not None else None
    if known is not None and (len(known.names), len(known.u_names)) != (nx, nu):
        known = None  # made with arguments that change its observation
    own_x, own_u = (getattr(sample.unwrapped, name, None) for name in ("x_names", "u_names"))
    given = x_names if x_names is not None else own_x
    return Plant(
        env=env,
        dt=sampling_time(sample, dt),
        x_names=as_names("x_names", given if given is not None else known and known.names, nx, "x"),
        u_names=as_names("u_names", u_names or own_u or (known and known.u_names), nu, "u"),
        state_names=known.state_names if known is not None and given is None else None,
        low=action.low.astype(np.float64),
        high=action.high.astype(np.float64),
        dtype=np.dtype(action.dtype),
    )


def place_state(plant: Plant, x: ArrayLike) -> Array:
    """Put a plant that was just reset into state x (n,) and return the observation (ny,) there.

    Args:
        plant: The plant.
        x: What the environment's `set_state(x)` takes; for MuJoCo environments qpos and qvel in one array; for
            classic-control ones the new value of their attribute `state`.

    Raises:
        EnvironmentUnsupportedError: The environment offers none of the three.
        ShapeError: x has another length.
    """
    state = as_array("initial state", x, ("n",))
    raw = plant.env.unwrapped
    setter = getattr(raw, "set_state", None)
    arguments = _required_arguments(setter) if callable(setter) else 0
    if callable(setter) and arguments == 1:
        setter(state)
    elif callable(setter) and arguments == 2 and hasattr(raw, "model"):
        nq, nv = int(raw.model.nq), int(raw.model.nv)
        as_array("initial state (qpos, qvel)", state, (nq + nv,))
        setter(state[:nq], state[nq:])
    elif getattr(raw, "state", None) is not None:
        as_array("initial state", state, np.shape(raw.state))
        raw.state = state.copy()
    else:
        raise EnvironmentUnsupportedError(
            f"{plant.env} cannot be put into a state: it has neither set_state(x), nor MuJoCo's set_state(qpos, qvel), "
            "nor an attribute state; give it a method set_state(x), or leave the initial state to its reset."
        )
    return _observe(plant, state)


def _observe(plant: Plant, state: Array) -> Array:
    import gymnasium

    raw, wrappers, layer = plant.env.unwrapped, [], plant.env
    while layer is not raw:
        wrappers.append(layer)
        layer = layer.env
    look = getattr(raw, "_get_obs", None) or getattr(raw, "_get_ob", None)
    if callable(look):
        y = look()
    elif raw.observation_space.shape == state.shape:
        y = state.astype(raw.observation_space.dtype)  # the state itself is observed
    else:
        raise EnvironmentUnsupportedError(
            f"{raw} has no method _get_obs(), so its observation after set_state is unknown; give it one."
        )
    for wrapper in reversed(wrappers):
        if isinstance(wrapper, gymnasium.ObservationWrapper):
            y = wrapper.observation(y)
    return np.array(y, dtype=np.float64)


def _make_registered(env: str | EnvSpec) -> Environment:
    import gymnasium

    spec, name = find_spec(env), env if isinstance(env, str) else env.id
    try:
        # the passive checker only repeats what is checked here, at a cost in every loop
        return gymnasium.make(spec, disable_env_checker=True)  # type: ignore[arg-type]
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        remedy = ' Run: pip install "gymnasium[mujoco]"' if "mujoco" in str(error).lower() else ""
        raise EnvironmentUnsupportedError(f"'{name}' needs a package that is not installed: {error}.{remedy}") from None
    except gymnasium.error.Error as error:
        raise EnvironmentUnsupportedError(f"'{name}' cannot be made: {error}") from None


def _unknown(env_id: str, error: Exception) -> str:
    import gymnasium

    module, _, name = env_id.rpartition(":")
    if module and isinstance(error, ImportError):
        return f"environment '{env_id}': the module '{module}' cannot be imported ({error}); check its name."
    near = difflib.get_close_matches(name, list(gymnasium.registry), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    return f"unknown environment '{env_id}'{hint} Ids are those of gymnasium.registry; {_PLUGIN_HINT}."


def _box(what: str, env: Environment, space: Any) -> Any:
    import gymnasium

    if not isinstance(space, gymnasium.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise EnvironmentUnsupportedError(
            f"the {what} space of {env} is {space}, expected a Box of floats; koopctl models continuous motion. "
            "Choose a continuous variant of the plant or wrap it (gymnasium.wrappers)."
        )
    if len(space.shape) != 1 or space.shape[0] == 0:
        raise EnvironmentUnsupportedError(
            f"the {what} space of {env} has shape {space.shape}, expected (n,); flatten it in a factory, "
            "e.g. lambda: gymnasium.wrappers.FlattenObservation(gymnasium.make(...))."
        )
    return space


def _required_arguments(method: Callable[..., Any]) -> int:
    parameters = inspect.signature(method).parameters.values()
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)

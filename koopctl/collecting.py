"""Recording motion for identification: excited episodes, in parallel, the same bytes whatever the number of workers."""

from __future__ import annotations

import contextlib
import functools
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import as_array
from koopctl.data.excitation import Excitation, by_name
from koopctl.data.rollouts import Rollouts
from koopctl.environment import Plant, describe_plant, find_spec, make_env, open_plant
from koopctl.episodes import Recipe, record
from koopctl.errors import DataError, EnvironmentUnsupportedError
from koopctl.loop import Controller, Episode, check_law_dt
from koopctl.progress import progress_bar
from koopctl.vector_collecting import sample_of, vector_episodes

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from koopctl.environment import EnvSource

InitialStates: TypeAlias = ArrayLike | Callable[[np.random.Generator], ArrayLike]

_BLOCKS = 32  # a fixed number, so that which episodes share an environment does not depend on the workers
_SHARE_BESIDE_LAW = 0.25  # of the actuator range, for an excitation named without an amplitude on top of a law


def collect(
    env: EnvSource | VectorEnv[Any, Any, Any],
    *,
    episodes: int,
    steps: int,
    excitation: str | Excitation | None = "piecewise",
    law: Controller | None = None,
    seed: int = 0,
    jobs: int = 1,
    dt: float | None = None,
    initial_states: InitialStates | None = None,
    x_names: Sequence[str] | None = None,
    u_names: Sequence[str] | None = None,
    select: str | Sequence[str] | None = None,
    progress: bool | None = None,
) -> Rollouts:
    """Record episodes of an excited environment.

    Each episode has seeds of its own, so the data depends on `seed` alone, not on `jobs`. An episode ends after
    `steps`, or where the environment ends it (the transition into a terminal state is kept), or before an observation
    that is not finite. After an interrupt (Ctrl-C) the finished episodes are returned with a warning. A vector
    environment is stepped as a whole and reset as a whole, one episode a sub-environment at a time.

    Args:
        env: An id, an EnvSpec, or a function that makes an environment; also a vector environment or one that makes it.
        episodes: Number of episodes.
        steps: Most transitions an episode.
        excitation: "prbs", "multisine", "chirp", "piecewise", "ou", or one made with parameters of your own
            (`koopctl.data.excitation`); None applies the law alone.
        law: A controller to run; the excitation is then added to its input, and named without parameters it takes a
            quarter of the actuator range. Every episode gets a copy, reset.
        seed: Seed of everything random.
        jobs: Worker processes; -1 takes every core.
        dt: Sampling time [s] of an environment that does not say it.
        initial_states: Where the episodes start: an array (episodes, n), or a function that returns one state (n,) from
            a random generator; the environment's own reset by default. See `koopctl.environment.place_state`.
        x_names: Names of the observation's entries; the environment's own, or those of known plants, by default.
        u_names: Names of the action's entries.
        select: Names of the observations to keep, or "all"; by default the known plants lose the entries that are no
            state (forces of constraint), with a note, and others keep all.
        progress: Show a bar on stderr; by default only where stderr is a terminal.

    Raises:
        EnvironmentUnsupportedError: The environment is unknown, or discrete, or cannot do what was asked.
        SamplingTimeError: The law was made for another sampling time.
        UnknownNameError: There is no such excitation, or no such observation to select.
        DataError: An argument cannot be used, or no episode holds a single transition.
    """
    _check_counts(episodes=episodes, steps=steps, seed=seed, jobs=jobs)
    if excitation is None and law is None:
        raise DataError("there is neither an excitation nor a law, so nothing would move; give at least one.")
    share = _SHARE_BESIDE_LAW if isinstance(excitation, str) else 1.0
    signal = by_name(excitation) if isinstance(excitation, str) else excitation
    if not isinstance(signal, Excitation | None):
        raise DataError(f"excitation is {signal!r}; expected a name such as 'prbs', or one of koopctl.data.excitation.")
    states = initial_states
    if states is not None and not callable(states):
        states = as_array("initial_states", states, (episodes, "n"))
    shippable = find_spec(env) if isinstance(env, str) else env
    recipe = Recipe(shippable, episodes, steps, signal, share, law, seed, dt, states)
    plant, source = _prepare(recipe, jobs, x_names, u_names)
    if law is not None:
        check_law_dt(law, plant)
    shown = sys.stderr.isatty() if progress is None else progress
    kept, interrupted = _gather(source, episodes, shown)
    return _to_rollouts(plant, kept, recipe, interrupted, select)


def _prepare(
    recipe: Recipe, jobs: int, x_names: Sequence[str] | None, u_names: Sequence[str] | None
) -> tuple[Plant, Iterator[Episode]]:
    from gymnasium.vector import VectorEnv

    given = isinstance(recipe.env, VectorEnv)
    made: Any = recipe.env if given else make_env(recipe.env)
    if not isinstance(made, VectorEnv):
        try:
            plant = open_plant(made, recipe.dt, x_names, u_names)
        finally:
            made.close()
        size = -(-recipe.episodes // _BLOCKS)
        blocks = [range(i, min(i + size, recipe.episodes)) for i in range(0, recipe.episodes, size)]
        return plant, _serial(recipe, blocks) if jobs == 1 else _parallel(recipe, blocks, jobs)
    if jobs != 1 or recipe.initial_states is not None:
        raise EnvironmentUnsupportedError(
            f"{made} is a vector environment: it is stepped as a whole, from its own initial states; leave jobs and "
            "initial_states out, or pass a function that makes a single environment."
        )
    with sample_of(made) as sample:
        plant = describe_plant(made, sample, recipe.dt, x_names, u_names)
    return plant, vector_episodes(recipe, plant, close=not given)


def _serial(recipe: Recipe, blocks: Sequence[range]) -> Iterator[Episode]:
    for block in blocks:
        yield from record(recipe, block)


def _block(recipe: Recipe, indices: range) -> list[Episode]:
    return list(record(recipe, indices))


def _parallel(recipe: Recipe, blocks: Sequence[range], jobs: int) -> Iterator[Episode]:
    import joblib

    work = joblib.Parallel(n_jobs=jobs, return_as="generator")
    results = work(joblib.delayed(functools.partial(_block, recipe))(block) for block in blocks)
    try:
        for episodes in results:
            yield from episodes
    except pickle.PicklingError as error:
        raise DataError(
            f"the law or the environment's factory cannot be sent to worker processes ({error}); leave jobs at 1."
        ) from error
    finally:
        results.close()  # stops workers whose results nobody waits for


def _gather(source: Iterator[Episode], episodes: int, shown: bool) -> tuple[list[Episode], bool]:
    kept: list[Episode] = []
    try:
        with contextlib.closing(source), progress_bar("episodes", episodes, shown) as advance:  # type: ignore[type-var]
            for episode in source:
                kept.append(episode)
                advance()
    except KeyboardInterrupt:
        if not kept:
            raise
        return kept, True
    return kept, False


def _to_rollouts(
    plant: Plant, kept: Sequence[Episode], recipe: Recipe, interrupted: bool, select: str | Sequence[str] | None
) -> Rollouts:
    notes = []
    if interrupted:
        notes.append(f"interrupted: {len(kept)} of {recipe.episodes} episodes kept")
        warnings.warn(f"collect was {notes[0]}.", stacklevel=3)
    useful = [episode for episode in kept if len(episode.U)]
    broken = sum(episode.end == "not finite" for episode in kept)
    if not useful:
        raise DataError(
            f"none of {len(kept)} episodes holds a transition between finite observations; check the environment's "
            "observations (NaN, inf) at reset and at the first step."
        )
    if broken:
        lost = f", {len(kept) - len(useful)} of them at once and dropped" if len(useful) < len(kept) else ""
        notes.append(f"{broken} of {len(kept)} episodes ended before an observation that was not finite{lost}")
    early = sum(episode.end in ("terminated", "truncated") and len(episode.U) < recipe.steps for episode in useful)
    if early:
        notes.append(f"{early} of {len(kept)} episodes were ended by the environment before {recipe.steps} steps")
    names = plant.x_names
    if select is None and plant.state_names is not None and plant.state_names != names:
        dropped = ", ".join(name for name in names if name not in plant.state_names)
        notes.append(f"not state, dropped: {dropped}; collect(..., select='all') keeps them")
        select = plant.state_names
    X, U = [e.X for e in useful], [e.U for e in useful]
    rollouts = Rollouts(X, U, plant.dt, names, plant.u_names, notes=notes)
    if select is None or select == "all":
        return rollouts
    return rollouts.select((select,) if isinstance(select, str) else select)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        allowed = value >= 0 if name == "seed" else value != 0 if name == "jobs" else value >= 1
        if not isinstance(value, int | np.integer) or not allowed:
            rule = {"seed": ">= 0", "jobs": ">= 1, or -1 for every core"}.get(name, ">= 1")
            raise DataError(f"{name} is {value!r}; it must be a whole number {rule}.")

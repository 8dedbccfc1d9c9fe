"""Gradient descent through free-running predictions, the same for every cell."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from koopctl.archive import read_archive, write_archive
from koopctl.errors import DataError, FileFormatError
from koopctl.models.recurrent.cell import Key, placed
from koopctl.models.recurrent.gaps import bridged, first, mean_square, recalled, show
from koopctl.models.recurrent.network import Network
from koopctl.models.recurrent.stretches import Stretches
from koopctl.models.recurrent.target_propagation import Carried, by_inversion
from koopctl.models.recurrent.training import Training, learning_rate
from koopctl.progress import progress_bar

_JUDGED = 256  # held-out stretches
_OF_LOSS = ("washout", "noise", "forcing", "forcing_interval", "forcing_share", "method", "inversion", "penalty")


@dataclass
class History:
    """What training went through.

    Attributes:
        step: Steps of descent at each check.
        seconds: Time spent by then, compilation included [s].
        loss: Mean training error since the check before.
        error: Held-out error, the root of the mean square in deviations of the data.
    """

    step: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """Which check had the least held-out error."""
        return int(np.argmin(self.error))


class Trainer:
    """Trains one network on one set of stretches.

    Attributes:
        network: The best network so far.
        history: What training went through.
    """

    def __init__(self, network: Network, training: Training, train: Stretches, held_out: Stretches) -> None:
        """Set up the descent; where the checkpoint exists, go on from it, or on and further with more steps.

        Args:
            network: The network as it starts.
            training: Settings.
            train: Stretches to descend on.
            held_out: Stretches to judge by.

        Raises:
            FileFormatError: The checkpoint is of other settings, another network or other data.
        """
        self.training, self._train = training, train
        Q, U = held_out.evenly(_JUDGED)
        self._judged = placed(Q, training.precision), placed(U, training.precision)
        self.network = self._network = _cast(network, training.precision)
        self._of_loss = Training(**{name: getattr(training, name) for name in _OF_LOSS})  # others compile nothing anew
        self._state = _at_rest(trained(self._network))
        self._rng, self._step, self.history = np.random.default_rng(training.seed), 0, History()
        self._origin = _digest(self._network, train, held_out)
        self._file = None if training.checkpoint is None else _archive(Path(training.checkpoint))
        if self._file is not None and self._file.exists():
            self._resume(self._file)

    def run(self) -> Network:
        """Train until nothing is gained or the steps are used up, and return the best network.

        Raises:
            DataError: The network never predicted anything finite.
        """
        training, begin = self.training, time.perf_counter()
        before = self.history.seconds[-1] if self.history.seconds else 0.0
        with progress_bar(type(self.network.cell).__name__, training.steps - self._step, training.progress) as advance:
            while self._step < training.steps and not self._done():
                losses = [self._one() for _ in range(min(training.check, training.steps - self._step))]
                for _ in losses:
                    advance()
                self._look(float(np.mean(losses)), before + time.perf_counter() - begin)
        if not self.history.error or not np.isfinite(min(self.history.error)):
            raise DataError("training never came to a finite held-out error; lower learning_rate, or clip more.")
        return self.network

    def _one(self) -> float:
        """Take one step of descent; return the error before it."""
        which = self._rng.integers(len(self._train.starts), size=self.training.batch)
        training = self.training
        Q, U = (placed(part, training.precision) for part in self._train.take(which))
        clip, rate = (placed(x, training.precision) for x in (training.clip, learning_rate(training, self._step)))
        key = jax.random.key(int(self._rng.integers(2**31)))
        self._network, self._state, loss = _descend(self._network, self._state, Q, U, key, self._of_loss, clip, rate)
        self._step += 1
        return float(loss)

    def _look(self, loss: float, seconds: float) -> None:
        """Judge the network as it is, and keep it where it is the best so far."""
        Q, U = self._judged
        error = float(held_out_error(self._network, Q, U, self.training.washout))
        error = error if np.isfinite(error) else float("inf")
        history = self.history
        if not history.error or error < min(history.error):
            self.network = self._network
        for name, value in (("step", self._step), ("seconds", seconds), ("loss", loss), ("error", error)):
            getattr(history, name).append(value)
        if self._file is not None:
            self._save(self._file)

    def _done(self) -> bool:
        return bool(self.history.error) and len(self.history.error) - 1 - self.history.best >= self.training.patience

    # ------------------------------------------------------------------ checkpoints
    def _parts(self) -> Any:
        return self._network, self._state, self.network

    def _save(self, path: Path) -> None:
        leaves = jax.tree.leaves(eqx.filter(self._parts(), eqx.is_array))
        arrays = {f"leaf{i}": np.asarray(leaf, dtype=np.float64) for i, leaf in enumerate(leaves)}
        header = {
            "training": self._settings(),
            "origin": self._origin,
            "step": self._step,
            "history": vars(self.history),
            "generator": self._rng.bit_generator.state,
        }
        write_archive(path, "training", header, arrays)

    def _resume(self, path: Path) -> None:
        kind, header, arrays = read_archive(path)
        parts, rest = eqx.partition(self._parts(), eqx.is_array)
        leaves, shape = jax.tree.flatten(parts)
        if kind != "training" or (header["training"], header["origin"]) != (self._settings(), self._origin):
            raise FileFormatError(f"{path} is the checkpoint of another training; remove it, or name another file.")
        filled = [placed(arrays[f"leaf{i}"], leaf.dtype) for i, leaf in enumerate(leaves)]
        self._network, self._state, self.network = eqx.combine(jax.tree.unflatten(shape, filled), rest)
        self._step, self.history = header["step"], History(**header["history"])
        self._rng.bit_generator.state = header["generator"]

    def _settings(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self.training).items() if k not in ("checkpoint", "progress", "steps")}


def free_run(network: Network, Q: jax.Array, U: jax.Array, washout: int) -> jax.Array:
    """Return the coordinates predicted after the washout, (length - washout - 1, nq), of one stretch."""

    def step(carry: tuple[jax.Array, jax.Array], u: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        q, h = network(*carry, u)
        return (q, h), q

    path: jax.Array = jax.lax.scan(step, recalled(network, Q[: washout + 1], U[:washout]), U[washout:-1])[1]
    return path


@eqx.filter_jit
def held_out_error(network: Network, Q: jax.Array, U: jax.Array, washout: int) -> jax.Array:
    """Return the root of the mean square error of free runs over stretches (m, length, ...), in deviations."""
    path = jax.vmap(lambda q, u: free_run(network, q, u, washout))(Q, U)
    off = network.scales.difference(path, Q[:, washout + 1 :]) / jnp.asarray(network.scales.spread, Q.dtype)
    return jnp.sqrt(mean_square(off, Q[:, washout + 1 :]))


def _loss(network: Network, Q: jax.Array, U: jax.Array, key: Key, training: Training) -> jax.Array:
    """Return the error and the penalty of one stretch, (length, nq) and (length, nu); what is NaN does not count."""
    scales, washout = network.scales, training.washout
    spread = jnp.asarray(scales.spread, Q.dtype)
    of_noise, of_cells = jax.random.split(key)
    noisy = Q
    if training.noise:  # drawing what is not needed would be a third of the compilation
        noisy = Q + training.noise * spread * jax.random.normal(of_noise, Q.shape, Q.dtype)
    shown = bridged(network, noisy, washout + 1)
    keys = jax.random.split(of_cells, len(Q) - 1)
    forced = _forced(training, len(Q)).astype(Q.dtype)

    def step(carry: Carried, sample: Any) -> tuple[Carried, Any]:
        seen, truth, u, key, share = sample

        def advance(network: Network, q: jax.Array, h: jax.Array) -> Carried:
            return network(*show(network, q, h, seen, share), u, key)

        q, h = show(network, *carry, seen, share)
        penalty = network.cell.penalty(h, scales.standard(q, u), key)
        if training.method == "gradient":
            carry = network(q, h, u, key)
        else:
            carry = by_inversion(advance, network, carry, training.inversion)
        return carry, (scales.difference(carry[0], truth) / spread, penalty)

    start = first(network, Q[0]), network.cell.start().astype(Q.dtype)
    off, penalty = jax.lax.scan(step, start, (shown[:-1], Q[1:], U[:-1], keys, forced[:-1]))[1]
    return mean_square(off[washout:], Q[washout + 1 :]) + training.penalty * jnp.mean(penalty)


def _forced(training: Training, length: int) -> np.ndarray:
    """Return how much of the measurement replaces the prediction at each sample, (length,)."""
    share = np.zeros(length)
    if training.forcing == "sparse":
        share[training.washout :: training.forcing_interval] = 1.0
    elif training.forcing == "generalised":
        share[:] = training.forcing_share
    share[: training.washout + 1] = 1.0
    return share


@eqx.filter_jit
def _descend(
    network: Network,
    state: Any,
    Q: jax.Array,
    U: jax.Array,
    key: Key,
    training: Training,
    clip: jax.Array,
    rate: jax.Array,
) -> tuple[Network, Any, jax.Array]:
    """Take one step of descent on a batch; return network, optimiser's state and the error before it.

    It is compiled for each network's shape, stretch and loss, of which `training` says no more than `_OF_LOSS`; clip
    and rate are numbers like the data. A gradient that is not finite, as of a free run that diverged, counts as zero.
    """
    free, fixed = eqx.partition(network, _mask(network))

    def error(free: Network) -> jax.Array:
        whole = eqx.combine(free, fixed)
        keys = jax.random.split(key, len(Q))
        return jnp.mean(jax.vmap(lambda q, u, k: _loss(whole, q, u, k, training))(Q, U, keys))

    loss, slope = jax.value_and_grad(error)(free)
    finite = jnp.all(jnp.array([jnp.isfinite(part).all() for part in jax.tree.leaves(slope)]))
    slope = jax.tree.map(lambda part: jnp.where(finite, part, 0.0), slope)
    change, state = _optimiser(clip, rate).update(slope, state, free)
    return eqx.combine(eqx.apply_updates(free, change), fixed), state, loss


def _optimiser(clip: Any, rate: Any) -> Any:
    return optax.chain(optax.clip_by_global_norm(clip), optax.scale_by_adam(), optax.scale(-rate))


@eqx.filter_jit
def _at_rest(free: Any) -> Any:
    """Return the optimiser's state before the first step; compiled at once instead of array by array."""
    return _optimiser(1.0, 1.0).init(free)


def _mask(network: Network) -> Any:
    """Return which leaves are trained: all numbers but the scales, and the readout of a cell that holds coordinates."""
    every = jax.tree.map(eqx.is_inexact_array, network)
    every = eqx.tree_at(lambda n: n.scales, every, jax.tree.map(lambda _: False, network.scales))
    return eqx.tree_at(lambda n: (n.C, n.L, n.c), every, [not network.cell.holds_coordinates] * 3)


def trained(network: Network) -> Any:
    """Return the network with nothing but what is trained."""
    return eqx.filter(network, _mask(network))


def _cast(network: Network, precision: str) -> Network:
    """Return the network as JAX's arrays in a precision."""

    def cast(leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        return placed(leaf, precision if eqx.is_inexact_array(leaf) else None)

    whole: Network = jax.tree.map(cast, network)
    return whole


def _archive(path: Path) -> Path:
    """Return the path that an archive of this name is written to."""
    return path if path.suffix == ".npz" else path.with_name(path.name + ".npz")


def _digest(network: Network, *stretches: Stretches) -> str:
    """Return what tells one training from another: the cell, the network as it starts, and the data."""
    options = {name: v for name, v in vars(network.cell).items() if isinstance(v, int | float | str)}
    whole = hashlib.sha256(f"{type(network.cell).__qualname__} {sorted(options.items())}".encode())
    numbers = [leaf for leaf in jax.tree.leaves(network) if eqx.is_array(leaf)]
    for array in numbers + [part for s in stretches for part in (s.Q, s.U, s.starts)]:
        whole.update(f"{array.shape}".encode() + np.asarray(array).tobytes())
    return whole.hexdigest()

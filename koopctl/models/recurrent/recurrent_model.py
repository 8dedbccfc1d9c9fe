"""A trained recurrent network as a model like any other: laws, scores and files need not know what it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from koopctl.arrays import Array, as_whole, is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.intake import Weights, joined
from koopctl.models.probe import Probe
from koopctl.models.recurrent.cell import Cell, placed
from koopctl.models.recurrent.compiled import Compiled
from koopctl.models.recurrent.network import Network, Scales
from koopctl.models.recurrent.stretches import Motion, Stretches, split
from koopctl.models.recurrent.trainer import History, Trainer, trained
from koopctl.models.recurrent.training import Training
from koopctl.models.remembering import Remembering
from koopctl.regression.scaling import centre_and_spread

_TRAINING = "training__"


class RecurrentModel(Remembering):
    """q_{k+1} = q_k + gain (C readout(h_{k+1}) + L s_k + c), h_{k+1} = cell(h_k, s_k), trained by gradient descent.

    s are the standardised regressors and inputs of a sample. The state is [q, h]; `encode` shows the network the last
    `washout` samples. `linearize` is automatic differentiation, in double precision whatever it was trained in.

    Attributes:
        network_: The trained network.
        history_: What training went through: steps, seconds, errors.
        train_seconds_: Time until the network that was kept had been found [s].
    """

    def __init__(
        self,
        n_hidden: int = 32,
        longest: float = 50.0,
        training: Training | Mapping[str, Any] | None = None,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
    ) -> None:
        """Set the parameters.

        Args:
            n_hidden: Hidden units.
            longest: Longest time constant that gates start with [samples], where the cell has gates.
            training: How it is trained; `Training()` by default.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
        """
        self.n_hidden = n_hidden
        self.longest = longest
        self.training = training
        self.manifold = manifold
        self.cyclic = cyclic

    def _to_show(self) -> int:
        return self._settings().washout

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, and where `deep` those of the training as `training__name`, too.

        Args:
            deep: Whether the training's are among them.
        """
        own: dict[str, Any] = super().get_params(deep=deep)
        return own | ({_TRAINING + name: v for name, v in vars(self._settings()).items()} if deep else {})

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, `training__name` for one of the training, and return self.

        Raises:
            DataError: The training knows no such setting, or not with this value.
        """
        inner = {name.removeprefix(_TRAINING): params.pop(name) for name in list(params) if name.startswith(_TRAINING)}
        if inner:
            settings = Training.of(params.get("training", self.training))
            params["training"] = Training.of(vars(settings) | inner)
        super().set_params(**params)
        return self

    @abstractmethod
    def _cell(self, n_in: int, rng: Generator) -> Cell:
        """Return the cell as training starts."""

    def fit(self, rollouts: Rollouts | Iterable[Rollouts], y: None = None, sample_weight: Weights = None) -> Self:
        """Train on rollouts, some of their episodes held out, and return self.

        Args:
            rollouts: The recorded motion; several are joined.
            y: Ignored; present for scikit-learn's grammar.
            sample_weight: Must be None: batches are drawn evenly.

        Raises:
            DataError: The data cannot carry the model, or training came to nothing finite.
        """
        del y
        if sample_weight is not None:
            raise DataError(f"{type(self).__name__} knows no sample weights; leave them out.")
        self._check_sizes()
        data, settings = joined(rollouts), self._settings()
        self._forget()
        try:
            self._begin(data)
            train = self._train(data, settings)
            self._probe_ = Probe.of(self.window_, data)
            self.residual_covariance_ = self._residuals(train)
        except BaseException:
            self._forget()  # half a fit would pass for a whole one
            raise
        return self

    def _train(self, motion: Motion, settings: Training, *, gaps: bool = False) -> Stretches:
        """Train a network, adopt it, and return the stretches it was trained on."""
        length = settings.washout + settings.horizon + 1
        train, held_out = (
            Stretches.of(self.window_.chart, part, length, gaps=gaps)
            for part in split(motion, settings.held_out, settings.seed, length)
        )
        with jax.enable_x64(settings.precision == "float64"):
            cell_rng, readout_rng = np.random.default_rng(settings.seed).spawn(2)
            network = Network.around(self._cell(len(self._scales.mean), cell_rng), self._scales, readout_rng)
            trainer = Trainer(network, settings, train, held_out)
            network = trainer.run()
        self._adopt(network, trainer.history)
        return train

    def _check_sizes(self) -> None:
        """Refuse what no cell can be made of.

        Raises:
            DataError: The number of units or the longest time constant is none.
        """
        as_whole("n_hidden", self.n_hidden, 1)
        if not (is_finite(self.longest) and self.longest >= 1):
            raise DataError(f"longest is {self.longest!r}; it must be a finite number of samples, 1 or more.")

    def _settings(self) -> Training:
        return Training.of(self.training)

    def _begin(self, data: Rollouts) -> None:
        """Fix coordinates, scales and boxes."""
        mean, per_scale = self._look_at(data)
        chart = self.window_.chart
        spread = centre_and_spread(self.window_.transitions(data)[0])[1]
        spread[chart.angles] = 1.0
        self._scales = Scales(mean, per_scale, self.gain_, spread, chart.linear, chart.circle)

    def _adopt(self, network: Network, history: History) -> None:
        """Take a trained network, in double precision."""
        self.network_: Network = jax.tree.map(_as_numpy, network)
        self.history_ = history
        self.train_seconds_ = history.seconds[history.best]
        self._remember()
        self._keep_parameters()

    def _remember(self) -> None:
        """Let states hold what the network remembers, and the box around the data hold any such memory."""
        self._compiled_ = compiled = Compiled(self.network_, self.delays)
        self._recall_by(self.network_.cell.n_hidden, compiled.recall, compiled.recall_slopes)

    def _residuals(self, train: Stretches) -> Array:
        """Return the covariance of one-step errors of the coordinates on training data, (nq, nq)."""
        Q, U = train.evenly(256)
        washout, nq = self.delays, self.window_.nq
        X = np.concatenate([Q[:, washout], self._compiled_.recall(Q[:, :washout], U[:, :washout])], axis=1)
        off = self.window_.difference_of_coordinates(self._next(X, U[:, washout])[:, :nq], Q[:, washout + 1])
        return np.asarray(off.T @ off / len(off))

    # ------------------------------------------------------------------ using
    def _next(self, X: Array, U: Array) -> Array:
        return self._compiled_.step(X, U)

    def expand(self, X: Array, U: Array) -> tuple[Array, Array, Array]:
        """Return f (n, nx), A (n, nx, nx), B (n, nx, nu) at a batch, by automatic differentiation."""
        return self._compiled_.expand(X, U)

    def prepare(self) -> None:
        """Compile now what a law will evaluate, instead of in its first ticks."""
        self._compiled_.prepare()

    def _fitting(self) -> tuple[int, float, str, float]:
        count = sum(leaf.size for leaf in jax.tree.leaves(trained(self.network_)))
        how = f"trained for {self.history_.step[-1]} steps, kept at {self.train_seconds_:.3g} s"
        return count, float("nan"), how, float("nan")

    # ------------------------------------------------------------------ files
    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a JSON-able header and the arrays that rebuild this model."""
        header, arrays = super().pack()
        settings = asdict(Training.of(header["params"]["training"])) | {"checkpoint": None}
        header["params"] = header["params"] | {"training": settings}
        return header | {"history": vars(self.history_)}, arrays

    def unpack(self, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Set everything `pack` wrote on a freshly constructed model."""
        self.history_ = History(**header["history"])
        self.train_seconds_ = self.history_.seconds[self.history_.best]
        return super().unpack(header, arrays)

    def _arrays(self) -> dict[str, Array]:
        scales = self.network_.scales
        own = {name: np.asarray(getattr(scales, name), dtype=float) for name in ("mean", "per_scale", "gain", "spread")}
        leaves = jax.tree.leaves(eqx.filter(eqx.tree_at(lambda n: n.scales, self.network_, None), eqx.is_array))
        return own | {f"leaf{i}": np.asarray(leaf, dtype=np.float64) for i, leaf in enumerate(leaves)}

    def _restore(self, arrays: dict[str, Array]) -> None:
        chart = self.window_.chart
        mean, per_scale, gain, spread = (np.array(arrays[name]) for name in ("mean", "per_scale", "gain", "spread"))
        scales = Scales(mean, per_scale, gain, spread, chart.linear, chart.circle)
        self.gain_ = scales.gain
        with jax.enable_x64(True):
            cell = self._cell(len(scales.mean), np.random.default_rng(0))
            bare = eqx.tree_at(lambda n: n.scales, Network.around(cell, scales, np.random.default_rng(0)), None)
            parts, rest = eqx.partition(bare, eqx.is_array)
            leaves, shape = jax.tree.flatten(parts)
            filled = [placed(arrays[f"leaf{i}"], _double(leaf.dtype)) for i, leaf in enumerate(leaves)]
            bare = eqx.combine(jax.tree.unflatten(shape, filled), rest)
            whole = eqx.tree_at(lambda n: n.scales, bare, scales, is_leaf=lambda leaf: leaf is None)
        self.network_ = jax.tree.map(_as_numpy, whole)
        self._remember()


def _double(dtype: Any) -> Any:
    """Return the type that numbers have in double precision; positions, too, so that all copies run the same code."""
    if jnp.issubdtype(dtype, jnp.integer):
        return np.int64
    return np.float64 if jnp.issubdtype(dtype, jnp.inexact) else dtype


def _as_numpy(leaf: Any) -> Any:
    """Return an array's double-precision copy: JAX's own would lose their digits where double precision is off."""
    return np.asarray(leaf, dtype=_double(leaf.dtype)) if eqx.is_array_like(leaf) and np.ndim(leaf) else leaf

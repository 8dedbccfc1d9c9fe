"""Several models of the same motion: where they part, the data did not say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from koopctl.archive import read_archive, write_archive
from koopctl.arrays import Array, as_whole
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.bootstrap import Sums, episode_groups, resampled
from koopctl.identify.model_files import model_from, prefixed, under
from koopctl.identify.stacked import Stacked
from koopctl.identify.trained import check_separate, reseeded, training_of
from koopctl.models.base import Model
from koopctl.models.echo_state import EchoState
from koopctl.models.edmdc import EDMDc
from koopctl.models.learner import Learner

Over = Literal["layers", "episodes"]


class Ensemble:
    """Models that agree about the state and its coordinates and differ in hidden layer or data; `ensemble` makes one.

    Attributes:
        model: The model fitted to everything; the one to design a law on.
        members: The models whose disagreement is the uncertainty.
        over: What they differ in: "layers" or "episodes".
    """

    def __init__(self, model: Model, members: Sequence[Model], over: Over) -> None:
        """Keep the models.

        Args:
            model: The model fitted to everything.
            members: At least two models with its coordinates and delays.
            over: "episodes" says that all share the hidden layer.

        Raises:
            DataError: The members are too few or of other coordinates.
        """
        if over not in get_args(Over):
            raise DataError(f"over is {over!r}; it is 'layers' or 'episodes'.")
        if len(members) < 2:
            raise DataError(f"an ensemble of {len(members)} members has no spread; give at least 2.")
        window = model.window_
        for member in members:
            if member.window_.names != window.names or member.u_names_ != model.u_names_:
                raise DataError(f"a member has the state {member.window_.names}, the model {window.names}.")
        self.model, self.members, self.over = model, tuple(members), over
        self._stacked = Stacked.of(self.members) if over == "episodes" else None

    def predict(self, x0: ArrayLike, U: ArrayLike, relift: bool = True) -> Array:
        """Roll out every member; see `Model.predict`.

        Args:
            x0: Initial state (nx,), or (n, nx).
            U: Inputs (T, nu), or (n, T, nu).
            relift: Re-evaluate the network at every step, or run the linear recursion.

        Returns:
            States (K, T + 1, nx), or (K, n, T + 1, nx) for a batch.
        """
        if self._stacked is None or not relift:
            return np.stack([member.predict(x0, U, relift) for member in self.members])
        start, inputs, single = self.model._roll_out_input(x0, U)
        with np.errstate(over="ignore", invalid="ignore"):
            paths = self._stacked.roll_out(start, inputs)
        return paths[:, 0] if single else paths

    def spread(self, x0: ArrayLike, U: ArrayLike, relift: bool = True) -> Array:
        """Return the standard deviation of the members' coordinates, in their units; angles are compared wrapped.

        It grows where the data says little. It knows nothing of noise, nor of what all members have wrong alike:
        `error_bound` measures how much wider the error is.

        Args:
            x0: Initial state (nx,), or (n, nx).
            U: Inputs (T, nu), or (n, T, nu).
            relift: Which roll-out, as in `predict`.

        Returns:
            (T + 1, nq), or (n, T + 1, nq) for a batch; row 0 is 0.
        """
        window, nq = self.model.window_, self.model.window_.nq
        paths = self.predict(x0, U, relift)[..., :nq]
        with np.errstate(over="ignore", invalid="ignore"):
            # Against one of them first: a mean of angles on both sides of +-pi would be on neither.
            apart = window.difference_of_coordinates(paths, paths[:1])
            return np.asarray(apart.std(axis=0, ddof=1))

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.members)

    def __repr__(self) -> str:
        """Return one line."""
        return f"Ensemble({len(self)} members over {self.over} of {self.model!r})".replace("\n", " ")

    # ------------------------------------------------------------------ files
    def save(self, path: str | Path) -> Path:
        """Write the models to one .npz without pickle; `koopctl.load` reads it."""
        return write_archive(path, "ensemble", *self.pack())

    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a JSON-able header and the arrays that rebuild this ensemble (without Gram matrices)."""
        header, arrays = self.model.pack()
        arrays, headers = prefixed("model_", arrays), []
        for i, member in enumerate(self.members):
            described, its = member.pack()
            headers.append(described)
            arrays |= prefixed(f"member{i}_", its)
        return {"over": self.over, "model": header, "members": headers}, arrays

    @classmethod
    def unpack(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Ensemble:
        """Rebuild from `pack`."""
        members = [model_from(its, under(f"member{i}_", arrays)) for i, its in enumerate(header["members"])]
        return cls(model_from(header["model"], under("model_", arrays)), members, header["over"])

    @classmethod
    def load(cls, path: str | Path) -> Ensemble:
        """Read a file written by `save`.

        Raises:
            FileFormatError: The file is foreign or damaged; nothing was loaded.
        """
        _, header, arrays = read_archive(path, "ensemble")
        return cls.unpack(header, arrays)


def ensemble(data: Rollouts, model: Model, n_members: int = 10, over: Over = "layers", seed: int = 0) -> Ensemble:
    """Fit several models to the same motion, so that their spread tells where it says little.

    Over layers, every member draws hidden units of its own, or is trained from other weights: what chance decides. Over
    episodes, all share the hidden layer of the model fitted to everything, and each is the least squares of episodes
    drawn with replacement (Efron, Ann. Statist. 1979, by episodes because samples of one depend on each other): what
    the data decides. The second goes through the data twice, keeps one accumulator for each of at most 20 groups of
    episodes and then solves once a member; the first costs a fit a member, and the first of its members is `model`
    itself.

    Args:
        data: Recorded motion.
        model: An unfitted model with its parameters; it stays as it is.
        n_members: Number of members K.
        over: "layers" or "episodes".
        seed: Seed of the layers' seeds, or of the resampling.

    Raises:
        DataError: The data cannot carry the model, holds too few episodes to resample, the model has no random layer
            to vary, or no outer layer to fit again.
    """
    as_whole("n_members", n_members, 2)
    rng = np.random.default_rng(as_whole("seed", seed, 0))
    if not isinstance(model, Model):
        raise DataError(f"model is {model!r}; ensemble(data, model) takes an unfitted model such as SampledRNN(300).")
    if over not in get_args(Over):
        raise DataError(f"over is {over!r}; it is 'layers' or 'episodes'.")
    whole = Rollouts.join(data)
    if over == "layers":
        members = _over_layers(whole, model, n_members, rng)
        return Ensemble(members[0], members, over)
    if not isinstance(model, Learner | EchoState):
        raise DataError(
            f"over='episodes' fits the outer layer anew to resampled episodes, the rest given; {type(model).__name__} "
            "is trained as a whole, and copies of one episode would be learnt from and held out. Use over='layers'."
        )
    fitted: Model = clone(model).fit(whole)
    sums = [Sums.of(fitted, part) for part in episode_groups(fitted, whole, rng)]
    counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=n_members)
    return Ensemble(fitted, [resampled(fitted, sums, its) for its in counts], over)


def _over_layers(data: Rollouts, model: Model, n_members: int, rng: np.random.Generator) -> list[Model]:
    check_separate([model])
    training = training_of(model)
    if training is not None:
        seeds = [seed for seed in rng.choice(2**31, n_members, replace=False).tolist() if seed != training.seed]
        return [reseeded(model, seed).fit(data) for seed in [training.seed, *seeds][:n_members]]
    template: Model = clone(model)
    if isinstance(template, EDMDc) and template.lift is None:
        template.set_params(lift=SampledFeatures(100))  # what None stands for, with its seed in reach
    params = template.get_params()
    drawn = [name for name in params if name.split("__")[-1] == "random_state"]
    if not drawn:
        raise DataError(f"{template!r} has no random layer, so all members would be the same; use over='episodes'.")
    members = [template.fit(data)]
    taken = {params[name] for name in drawn}
    while len(members) < n_members:
        fresh = rng.integers(2**31, size=len(drawn))
        if taken.isdisjoint(fresh.tolist()):
            taken |= set(fresh.tolist())
            members.append(clone(template).set_params(**dict(zip(drawn, fresh.tolist(), strict=True))).fit(data))
    return members

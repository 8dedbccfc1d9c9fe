"""The models of `koopctl bench paper`, and the settings each may try."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from koopctl.bench.paper_budget import Budget
from koopctl.bench.paper_systems import Scope
from koopctl.features.identity import Identity
from koopctl.models.base import Model
from koopctl.models.echo_state import EchoState
from koopctl.models.edmdc import EDMDc
from koopctl.models.recurrent.training import Training
from koopctl.models.sampled_rnn import SampledRNN

OURS = "sampled RNN"
Space = Mapping[str, Sequence[Any]]
_OF_TRAINING = ("learning_rate", "horizon", "forcing", "forcing_share")


@dataclass(frozen=True)
class Contender:
    """One kind of model.

    Attributes:
        name: Its name in the tables.
        template: Makes one that is not fitted.
        space: Values to try for each parameter; the first of each are the first trial.
        trained: Whether it is trained by gradient descent.
    """

    name: str
    template: Callable[[], Model]
    space: Callable[[Scope, Budget], Space]
    trained: bool = False

    def build(self, scope: Scope, budget: Budget, params: Mapping[str, Any], seed: int, steps: int) -> Model:
        """Return a model with these parameters, not fitted.

        Args:
            scope: What it may use.
            budget: How descent goes on.
            params: The parameters.
            seed: Of everything random in it.
            steps: Of descent.
        """
        model = self.template()
        chosen = {"cyclic": "auto" if scope.find_cyclic else (), **params}
        if self.trained:
            own = {name: chosen.pop(name) for name in _OF_TRAINING if name in chosen}
            settings = Training(
                washout=scope.washout,
                batch=budget.batch,
                steps=steps,
                check=min(budget.check, steps),
                patience=budget.patience,
                seed=seed,
            )
            return _with(model, chosen | {"training": vars(settings) | own})
        known = model.get_params(deep=False)
        given = {"random_state": seed, "washout": scope.past, "solver": scope.solver}
        return _with(model, chosen | {name: value for name, value in given.items() if name in known})


def contenders(rivals: bool = True) -> list[Contender]:
    """Return all models; without `rivals` none that is trained by gradient descent."""
    free = [
        Contender(OURS, SampledRNN, _sampled),
        Contender("ELM", with_random_weights, _random),
        Contender("echo state", EchoState, _reservoir),
    ]
    spaces = {"LSTM": _gated, "GRU": _gated, "ShPLRNN": _shallow}
    trained = [Contender(name, partial(_recurrent, name), space, trained=True) for name, space in spaces.items()]
    return [*free, *trained] if rivals else free


def linear_ar() -> Contender:
    """Return the linear autoregression on older samples and inputs, tuned like the others."""

    def space(scope: Scope, budget: Budget) -> Space:
        return {"ridge": scope.ridges, "delays": scope.delays}

    return Contender("linear AR", partial(EDMDc, Identity()), space)


def draws(space: Space, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return `count` settings: the first of every value, then others at random, none twice while there are new ones."""
    every = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    order = 1 + np.random.default_rng(seed).permutation(len(every) - 1)
    return [every[i] for i in np.resize(np.append(0, order), count)]


def _with(model: Model, params: Mapping[str, Any]) -> Model:
    changed: Model = model.set_params(**params)
    return changed


def with_random_weights() -> SampledRNN:
    """Return the same network with hidden weights drawn at random: an extreme learning machine."""
    made: SampledRNN = SampledRNN().set_params(sampling="random")
    return made


def _recurrent(name: str) -> Model:
    from koopctl.models import recurrent  # imports JAX, which `koopctl bench` of other names does without

    made: Model = getattr(recurrent, name)()
    return made


def _units(scope: Scope, budget: Budget) -> Space:
    return {"n_features": scope.widths or budget.widths, "ridge": scope.ridges, "delays": scope.delays}


def _random(scope: Scope, budget: Budget) -> Space:
    return {**_units(scope, budget), "steepness": scope.steepness}


def _sampled(scope: Scope, budget: Budget) -> Space:
    return {**_random(scope, budget), "scatter": (1.0,), "isotropic": (0.8,)}


def _reservoir(scope: Scope, budget: Budget) -> Space:
    return {
        "n_features": scope.reservoirs or scope.widths or budget.widths,
        "ridge": scope.squared,
        "spectral_radius": (0.4, 0.1, 0.8, 1.0),
        "leak": (1.0, 0.6, 0.3),
        "input_scaling": (0.3, 0.1, 1.0),
    }


def _gated(scope: Scope, budget: Budget) -> Space:
    if budget.narrow:  # another start of the same network: what was compiled for the first trial serves the second
        return {"horizon": scope.descents[:1], "longest": (50.0, 5.0)}
    return {
        "n_hidden": (32, 64),
        "learning_rate": (3e-3, 1e-2, 1e-3),
        "horizon": scope.descents,
        "longest": (50.0, 5.0),
        "forcing": ("none", "generalised"),
    }


def _shallow(scope: Scope, budget: Budget) -> Space:
    forcing = {"horizon": scope.descents, "forcing": ("generalised",), "forcing_share": (0.15, 0.05, 0.3)}
    if budget.narrow:
        return {"longest": (50.0, 500.0)} | {name: values[:1] for name, values in forcing.items()}
    return {
        "n_hidden": (64, 128),
        "n_latents": (0, 4),
        "learning_rate": (3e-3, 1e-3, 1e-2),
        "longest": (50.0, 500.0),
        **forcing,
    }

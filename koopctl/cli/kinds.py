"""Models by the names the command line has for them, and the options each takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from koopctl.models import recurrent  # its cells by name; nothing of them is imported before one is asked for

if TYPE_CHECKING:
    from koopctl.models.base import Model

SAMPLED_RNN = "sampled-rnn"
TRAINED = {file.replace("_", "-"): name for name, file in recurrent.CELLS.items()}  # class by name

OF_UNITS = ("sampling", "activation", "steepness", "scatter", "isotropic")
_LEAST_SQUARES = ("delays", "ridge", "solver", "manifold")
_NETWORK = ("n_features", *_LEAST_SQUARES, "activation", "steepness")
_RECURSION = (*_LEAST_SQUARES, "inputs", "horizon", "spectral_radius")
_TRAINED = ("hidden", "washout", "steps", "horizon", "manifold")
_LAGS = 5  # older samples that sampled-rnn-p reads, by default

TAKES: dict[str, tuple[str, ...]] = {
    SAMPLED_RNN: (*_NETWORK, "sampling", "scatter", "isotropic"),
    "sampled-rnn-p": (*_NETWORK, "sampling", "scatter", "isotropic"),
    "elm": _NETWORK,
    "edmdc": (*_RECURSION, "lift", "n_features", "degree", *OF_UNITS),
    "edmdc-polynomial": (*_RECURSION, "degree"),
    "edmdc-rbf": (*_RECURSION, "n_features"),
    "dmdc": _RECURSION,
    "echo-state": ("n_features", "spectral_radius", "leak", "input_scaling", "ridge", "washout", "manifold"),
} | dict.fromkeys(TRAINED, _TRAINED)

NAMES = ", ".join(TAKES)


def known_kind(value: str) -> str:
    """Return the name of a kind of model that --model gave, refused where there is no such kind."""
    return _known(value, "--model")


def _known(value: str, flag: str) -> str:
    if value not in TAKES:
        raise typer.BadParameter(f"'{value}' is no kind of model; known: {NAMES}.", param_hint=flag)
    return value


def check_takes(kind: str, given: Mapping[str, Any]) -> None:
    """Refuse the first option that a kind of model does not take."""
    for option in given:
        if option not in TAKES[kind]:
            others = ", ".join(name for name, takes in TAKES.items() if option in takes)
            flag = f"--{option.replace('_', '-')}"
            raise typer.BadParameter(f"is no option of --model {kind}; it belongs to {others}.", param_hint=flag)


def unfitted(kind: str, given: Mapping[str, Any], random_state: int, progress: bool = False) -> Model:
    """Return a model that is not fitted; a lift of several parts is not made here.

    Args:
        kind: Its name.
        given: Options that were given.
        random_state: Seed of everything random.
        progress: Whether a training shows a bar.

    Raises:
        KoopctlError: It needs a package that is not installed.
    """
    if kind in TRAINED:
        return _trained(TRAINED[kind], given, random_state, progress)
    if kind == "echo-state":
        from koopctl.models.echo_state import EchoState
        from koopctl.models.with_reservoirpy import check_installed

        check_installed()
        return EchoState(**given, random_state=random_state)
    if kind in (SAMPLED_RNN, "sampled-rnn-p", "elm"):
        from koopctl.models.sampled_rnn import SampledRNN

        usual: dict[str, dict[str, Any]] = {"elm": {"sampling": "random"}, "sampled-rnn-p": {"delays": _LAGS}}
        own = usual.get(kind, {})
        return SampledRNN(**{**own, **given}, random_state=random_state)
    return _lifted(kind, dict(given), random_state)


def several(names: str) -> Sequence[str]:
    """Return the kinds in a list with commas that --models gave, each once.

    Raises:
        BadParameter: One is unknown, or named twice.
    """
    kinds = [_known(name.strip(), "--models") for name in names.split(",")]
    if len(set(kinds)) < len(kinds):
        raise typer.BadParameter(f"'{names}' names a kind twice.", param_hint="--models")
    return kinds


def _trained(name: str, given: Mapping[str, Any], random_state: int, progress: bool) -> Model:
    from koopctl.models.recurrent.training import Training

    settings = {option: given[option] for option in ("washout", "steps", "horizon") if option in given}
    sizes = {"n_hidden": given["hidden"]} if "hidden" in given else {}
    sizes |= {"manifold": given["manifold"]} if "manifold" in given else {}
    model: Model = getattr(recurrent, name)(
        training=Training(seed=random_state, progress=progress, **settings), **sizes
    )
    return model


def _lifted(kind: str, given: dict[str, Any], random_state: int) -> Model:
    from koopctl.features.gaussian import GaussianRBF
    from koopctl.features.identity import Identity
    from koopctl.features.polynomial import Polynomial
    from koopctl.models.edmdc import EDMDc

    if kind == "dmdc":
        return EDMDc(Identity(), **given)
    if kind == "edmdc-polynomial":
        degree = given.pop("degree", None)
        return EDMDc(Polynomial() if degree is None else Polynomial(degree), **given)
    return EDMDc(GaussianRBF(given.pop("n_features", 100), random_state=random_state), **given)

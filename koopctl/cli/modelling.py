"""The model that the options of `koopctl fit` describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from koopctl.cli.kinds import OF_UNITS, check_takes, unfitted

if TYPE_CHECKING:
    from koopctl.features.base import Lift
    from koopctl.models.base import Model


class Inputs(StrEnum):
    """How the input enters an EDMDc."""

    LINEAR = "linear"
    BILINEAR = "bilinear"


class LiftKind(StrEnum):
    """Lifts by name."""

    SAMPLED = "sampled"
    FOURIER = "fourier"
    GAUSSIAN = "gaussian"
    THIN_PLATE = "thin-plate"
    POLYNOMIAL = "polynomial"
    IDENTITY = "identity"


class Sampling(StrEnum):
    """How hidden units are drawn."""

    GRADIENT = "gradient"
    UNIFORM = "uniform"
    RANDOM = "random"


class Activation(StrEnum):
    """Nonlinearity of the hidden units."""

    TANH = "tanh"
    RELU = "relu"


class Solver(StrEnum):
    """How the least squares are solved."""

    AUTO = "auto"
    CHOLESKY = "cholesky"
    QR = "qr"


_OF_LIFTS = ("n_features", "degree", *OF_UNITS)
_COUNTED = {LiftKind.SAMPLED, LiftKind.FOURIER, LiftKind.GAUSSIAN, LiftKind.THIN_PLATE}


@dataclass(frozen=True)
class Wanted:
    """Options as they were given; None was not given, and leaves what Python's default is.

    Attributes:
        kind: Kind of model, by name.
        lifts: Parts of the lift of an edmdc, which add up.
        random_state: Seed of everything random.
        options: Parameters by name.
        progress: Whether a training shows a bar.
    """

    kind: str
    lifts: tuple[LiftKind, ...]
    random_state: int
    options: dict[str, Any]
    progress: bool = False

    def unfitted(self) -> Model:
        """Return the model, not fitted.

        Raises:
            BadParameter: An option belongs to another kind of model or lift.
            KoopctlError: It needs a package that is not installed.
        """
        given = _given(**self.options)
        check_takes(self.kind, given | ({"lift": self.lifts} if self.lifts else {}))
        if self.kind != "edmdc":
            return unfitted(self.kind, given, self.random_state, self.progress)
        from koopctl.models.edmdc import EDMDc

        own = {name: given.pop(name) for name in _OF_LIFTS if name in given}
        return EDMDc(self._lift(own), **given)

    def _lift(self, own: dict[str, Any]) -> Lift:
        kinds = self.lifts or (LiftKind.SAMPLED,)
        if len(set(kinds)) < len(kinds):
            raise typer.BadParameter("names a lift twice; a sum has each kind once.", param_hint="--lift")
        if not _COUNTED & set(kinds):
            _refuse(own, ("n_features",), "a lift without a number of features to choose.")
        if LiftKind.POLYNOMIAL not in kinds:
            _refuse(own, ("degree",), "belongs to --lift polynomial.")
        if LiftKind.SAMPLED not in kinds:
            _refuse(own, OF_UNITS, "belongs to --lift sampled.")
        from koopctl.features.sum import LiftSum

        parts = [self._part(kind, own) for kind in kinds]
        return parts[0] if len(parts) == 1 else LiftSum(parts)

    def _part(self, kind: LiftKind, own: dict[str, Any]) -> Lift:
        from koopctl.features.fourier import RandomFourier
        from koopctl.features.gaussian import GaussianRBF
        from koopctl.features.identity import Identity
        from koopctl.features.polynomial import Polynomial
        from koopctl.features.sampled import SampledFeatures
        from koopctl.features.thin_plate import ThinPlate

        count, seed = own.get("n_features", 100), self.random_state
        if kind is LiftKind.SAMPLED:
            drawn = {name: own[name] for name in OF_UNITS if name in own}
            return SampledFeatures(count, **drawn, random_state=seed)
        if kind is LiftKind.FOURIER:
            return RandomFourier(count, random_state=seed)
        if kind is LiftKind.GAUSSIAN:
            return GaussianRBF(count, random_state=seed)
        if kind is LiftKind.THIN_PLATE:
            return ThinPlate(count, random_state=seed)
        if kind is LiftKind.POLYNOMIAL:
            return Polynomial(own["degree"]) if "degree" in own else Polynomial()
        return Identity()


def described(model: Model) -> dict[str, Any]:
    """Return what JSON says of a fitted model; a lift's own parameters are called `lift__name`."""
    from koopctl.identify.trained import training_of

    report, found = model.report_, model.get_params()
    plain = {name: value for name, value in found.items() if isinstance(value, str | int | float | None)}
    kinds = {name: type(value).__name__ for name, value in found.items() if hasattr(value, "get_params")}
    training = training_of(model)
    settings = {} if training is None else {f"training__{name}": value for name, value in vars(training).items()}
    return {
        "model": type(model).__name__,
        "params": plain | kinds | settings,
        "state_names": model.state_names,
        "u_names": model.u_names_,
        "dt": model.dt,
        "spectral_radius": report.spectral_radius,
        "notes": report.notes,
        "warnings": report.warnings,
        "report": asdict(report),
    }


def _given(**options: Any) -> dict[str, Any]:
    plain = {name: str(value) if isinstance(value, StrEnum) else value for name, value in options.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _refuse(own: dict[str, Any], options: Sequence[str], why: str) -> None:
    for option in options:
        if option in own:
            raise typer.BadParameter(why, param_hint=f"--{option.replace('_', '-')}")

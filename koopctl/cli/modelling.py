"""The model that the options of `koopctl fit` describe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from koopctl.features.base import Lift
    from koopctl.models.base import Model


class ModelKind(StrEnum):
    """Models by name."""

    SAMPLED_RNN = "sampled-rnn"
    EDMDC = "edmdc"


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
    """How pairs of data points are drawn."""

    GRADIENT = "gradient"
    UNIFORM = "uniform"


class Activation(StrEnum):
    """Nonlinearity of the hidden units."""

    TANH = "tanh"
    RELU = "relu"


class Solver(StrEnum):
    """How the least squares are solved."""

    AUTO = "auto"
    CHOLESKY = "cholesky"
    QR = "qr"


_COUNTED = {LiftKind.SAMPLED, LiftKind.FOURIER, LiftKind.GAUSSIAN, LiftKind.THIN_PLATE}


@dataclass(frozen=True)
class Wanted:
    """Options as they were given; None was not given, and leaves what Python's default is.

    Attributes:
        kind: Kind of model.
        lifts: Parts of the lift, which add up.
        random_state: Seed of the sampling.
        shared: Parameters of every model, by name.
        recursion: Parameters of EDMDc only.
        sampled: Parameters of hidden units sampled from pairs.
        n_features: Hidden units, features or centres.
        degree: Highest degree of the monomials.
    """

    kind: ModelKind
    lifts: tuple[LiftKind, ...]
    random_state: int
    shared: dict[str, Any]
    recursion: dict[str, Any]
    sampled: dict[str, Any]
    n_features: int | None
    degree: int | None

    def unfitted(self) -> Model:
        """Return the model, not fitted.

        Raises:
            BadParameter: An option belongs to another kind of model or lift.
        """
        if self.kind is ModelKind.SAMPLED_RNN:
            from koopctl.models.sampled_rnn import SampledRNN

            for option, value in {"lift": self.lifts, "degree": self.degree, **self.recursion}.items():
                _refuse(option, value, "belongs to --model edmdc.")
            given = _given(n_features=self.n_features, **self.shared, **self.sampled)
            return SampledRNN(**given, random_state=self.random_state)
        from koopctl.models.edmdc import EDMDc

        return EDMDc(self._lift(), **_given(**self.shared, **self.recursion))

    def _lift(self) -> Lift:
        kinds = self.lifts or (LiftKind.SAMPLED,)
        if len(set(kinds)) < len(kinds):
            raise typer.BadParameter("names a lift twice; a sum has each kind once.", param_hint="--lift")
        if not _COUNTED & set(kinds):
            _refuse("n_features", self.n_features, "a lift without a number of features to choose.")
        if LiftKind.POLYNOMIAL not in kinds:
            _refuse("degree", self.degree, "belongs to --lift polynomial.")
        if LiftKind.SAMPLED not in kinds:
            for option, value in self.sampled.items():
                _refuse(option, value, "belongs to --lift sampled.")
        from koopctl.features.sum import LiftSum

        parts = [self._part(kind) for kind in kinds]
        return parts[0] if len(parts) == 1 else LiftSum(parts)

    def _part(self, kind: LiftKind) -> Lift:
        from koopctl.features.fourier import RandomFourier
        from koopctl.features.gaussian import GaussianRBF
        from koopctl.features.identity import Identity
        from koopctl.features.polynomial import Polynomial
        from koopctl.features.sampled import SampledFeatures
        from koopctl.features.thin_plate import ThinPlate

        count, seed = 100 if self.n_features is None else self.n_features, self.random_state
        if kind is LiftKind.SAMPLED:
            return SampledFeatures(count, **_given(**self.sampled), random_state=seed)
        if kind is LiftKind.FOURIER:
            return RandomFourier(count, random_state=seed)
        if kind is LiftKind.GAUSSIAN:
            return GaussianRBF(count, random_state=seed)
        if kind is LiftKind.THIN_PLATE:
            return ThinPlate(count, random_state=seed)
        return Polynomial(**_given(degree=self.degree)) if kind is LiftKind.POLYNOMIAL else Identity()


def described(model: Model) -> dict[str, Any]:
    """Return what JSON says of a fitted model; a lift's own parameters are called `lift__name`."""
    report, found = model.report_, model.get_params()
    plain = {name: value for name, value in found.items() if isinstance(value, str | int | float | None)}
    kinds = {name: type(value).__name__ for name, value in found.items() if hasattr(value, "get_params")}
    return {
        "model": type(model).__name__,
        "params": plain | kinds,
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


def _refuse(option: str, value: object, why: str) -> None:
    if value is not None and value != ():
        raise typer.BadParameter(why, param_hint=f"--{option.replace('_', '-')}")

"""What a fit found, on one screen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from koopctl.models.feedback_signs import feedback_signs
from koopctl.models.scores import errors_on

if TYPE_CHECKING:
    from koopctl.models.base import Model

_SHOWN = (1, 2, 5, 10, 20, 50)
_UNSAID = ("manifold", "cyclic", "solver", "random_state")
_FEW = 5.0  # transitions an effective regressor needs, at least
_DRIFT = 10.0  # times the re-lifted error at which the linear roll-out is said to be worse
_WIDE = 8  # coordinates listed, at most


@dataclass(frozen=True)
class FitReport:
    """Errors, conditioning, coverage and warnings of one fit; printing it fills one screen.

    Attributes:
        title: The model in a line.
        n_transitions: Transitions learnt from.
        n_episodes: Episodes they came from.
        dt: Sampling time [s].
        n_regressors: Columns of the regression.
        effective: How many of them the penalty leaves effective.
        independent: About how many independent samples each coordinate's autocorrelation leaves, by name.
        path: How the regression was solved.
        condition: Condition number of its penalised regressors.
        relifted: Error of the re-lifted roll-out after 1..H steps on training data, as a share of the spread.
        linear: The same for the linear recursion.
        n_starts: Starts the errors are averaged over.
        spectral_radius: Of A, without the angles' and cyclic coordinates' sums; None where there is no A.
        envelope: Smallest and largest value seen of each coordinate and input, by name.
        notes: What was found in the data.
        warnings: What to beware of.
    """

    title: str
    n_transitions: int
    n_episodes: int
    dt: float
    n_regressors: int
    effective: float
    independent: dict[str, float]
    path: str
    condition: float
    relifted: tuple[float, ...]
    linear: tuple[float, ...]
    n_starts: int
    spectral_radius: float | None
    envelope: dict[str, tuple[float, float]]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, model: Model) -> Self:
        """Report on a fitted model, with errors on stretches of its training data."""
        probe, solution, names = model._probe_, model.solution_, model.state_names
        errors = errors_on(model, probe)
        report = cls(
            title=_title(model),
            n_transitions=probe.n_transitions,
            n_episodes=probe.n_episodes,
            dt=model.dt,
            n_regressors=solution.theta.shape[1],
            effective=solution.effective,
            independent={name: float(n) for name, n in zip(names, probe.independent, strict=True)},
            path=solution.path,
            condition=solution.condition,
            relifted=tuple(map(float, errors.relifted)),
            linear=tuple(map(float, errors.linear)),
            n_starts=errors.n_starts,
            spectral_radius=model.spectral_radius_of_fit(),
            envelope=_envelope(model),
            notes=model.notes_,
            warnings=tuple(feedback_signs(model, probe)),
        )
        return replace(report, warnings=(*report.warnings, *report._judge()))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description that keeps the order of the names."""
        ordered = {key: list(getattr(self, key).items()) for key in ("independent", "envelope")}
        return asdict(self) | ordered

    @classmethod
    def from_dict(cls, header: dict[str, Any]) -> Self:
        """Rebuild from `to_dict`."""
        pairs: dict[str, Any] = {"independent": dict(header["independent"])}
        pairs["envelope"] = {name: tuple(ends) for name, ends in header["envelope"]}
        whole: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in header.items()
        }
        return cls(**(whole | pairs))

    def __str__(self) -> str:
        """Return the report as text, at most about 30 lines of 100 characters."""
        shown = [k for k in _SHOWN if k <= len(self.relifted)]
        rows = [("", *(f"{k} steps" if k > 1 else "1 step" for k in shown))]
        for name, values in (("re-lifted", self.relifted), ("linear", self.linear)):
            rows.append((name, *(f"{values[k - 1]:.2g}" for k in shown)))
        independent = [f"{name} {n:.0f}" for name, n in list(self.independent.items())[:_WIDE]]
        lines = [
            self.title,
            f"data       {self.n_transitions} transitions in {self.n_episodes} episodes, dt {self.dt:g} s",
            f"           independent samples, about: {', '.join(independent)}",
            f"regression {self.n_regressors} regressors, {self.effective:.1f} of them effective, "
            f"{self.n_transitions / self.effective:.0f} transitions for each",
            f"           solved by {self.path}, condition number {self.condition:.1e}",
            *(
                ("error      " if i == 0 else "           ") + "".join(f"{cell:>11}" for cell in row)
                for i, row in enumerate(rows)
            ),
            f"           share of each coordinate's spread, {self.n_starts} starts in the training data",
        ]
        if self.spectral_radius is not None:
            lines.append(f"spectrum   spectral radius of A {self.spectral_radius:.6g}")
        ranges = [f"{name} {low:.4g} .. {high:.4g}" for name, (low, high) in list(self.envelope.items())[: 2 * _WIDE]]
        lines += _wrapped("envelope   ", ranges)
        lines += [f"note       {note}" for note in self.notes[:_WIDE]]
        return "\n".join(lines + [f"warning    {warning}" for warning in self.warnings])

    def _judge(self) -> list[str]:
        """Return the warnings that the numbers give cause for."""
        found = []
        if self.n_transitions < _FEW * self.effective:
            found.append(
                f"only {self.n_transitions / self.effective:.1f} transitions for each effective regressor: record "
                "more, take fewer features or a larger ridge."
            )
        if self.path in ("eigen", "svd"):
            found.append(
                "the regressors are linearly dependent to rounding: the solution of smallest norm was taken; a ridge "
                "such as 1e-10, fewer features or richer data settle it."
            )
        radius = self.spectral_radius
        if radius is not None and radius > 1.0 + 1e-3:
            found.append(
                f"A has spectral radius {radius:.4g}, so the linear recursion grows; unless the plant is unstable, "
                "set spectral_radius=1.0, a larger horizon= or a larger ridge."
            )
        last, relifted = self.linear[-1], self.relifted[-1]
        if radius is not None and not last <= _DRIFT * max(relifted, 1e-3):
            found.append(
                f"after {len(self.linear)} steps the linear roll-out is off by {last:.2g} of the spread, the re-lifted "
                f"one by {relifted:.2g}: prefer RelinearizedMPC, or keep LiftedMPC's horizon short."
            )
        if relifted > 1.0:
            found.append(
                f"after {len(self.relifted)} steps the re-lifted roll-out is off by {relifted:.2g} of the spread, no "
                "better than the mean: shorten the horizon, record more, or search over ridge and width."
            )
        return found


def _title(model: Model) -> str:
    params = model.get_params(deep=False)
    said = {k: v for k, v in params.items() if k not in _UNSAID and v}
    return f"{type(model).__name__}({', '.join(f'{k}={v}' for k, v in said.items())})".replace("\n", " ")


def _envelope(model: Model) -> dict[str, tuple[float, float]]:
    """Return the range of each coordinate that appears as itself, and of each input."""
    window, box, inputs = model.window_, model.envelope_, model.input_range_
    found = {}
    for position, column in window.chart.linear.T:
        found[model.state_names[position]] = (float(box.low[column]), float(box.high[column]))
    for position in window.chart.angles:
        found[model.state_names[position]] = (-np.pi, np.pi)
    for name, low, high in zip(model.u_names_, inputs.low, inputs.high, strict=True):
        found[name] = (float(low), float(high))
    return found


def _wrapped(head: str, items: list[str]) -> list[str]:
    lines, line = [], head
    for item in items:
        if len(line) + len(item) > 100 and line.strip():
            lines.append(line.rstrip(", "))
            line = " " * len(head)
        line += item + ", "
    return [*lines, line.rstrip(", ")]

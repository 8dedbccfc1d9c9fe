"""What a fit found, on one screen."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, replace
from math import isnan
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from koopctl.models.feedback_signs import feedback_signs
from koopctl.models.scores import errors_on
from koopctl.regression.solution import ILL_CONDITIONED, INSTRUMENTAL

if TYPE_CHECKING:
    from koopctl.models.base import Model

_SHOWN = (1, 2, 5, 10, 20, 50)
_USUAL = ("horizon", 1)
_UNSAID = ("manifold", "cyclic", "solver", "random_state", "training")
_FEW = 5.0  # transitions an effective regressor needs, at least
_DRIFT = 10.0  # times the re-lifted error at which the linear roll-out is said to be worse
_DEPENDENT = 1e14  # condition number beyond which the solution is one of many
_WIDTH, _LINES = 100, 40  # one screen
_RANGES = 6  # lines of the envelope, at most
_WORDS = 3  # lines of a note or warning, at most
_HEAD = " " * 11


@dataclass(frozen=True)
class FitReport:
    """Errors, conditioning, coverage and warnings of one fit; printing it fills one screen.

    Attributes:
        title: The model in a line.
        n_transitions: Transitions learnt from.
        n_episodes: Episodes they came from.
        dt: Sampling time [s].
        n_regressors: Columns of the regression, or trained parameters.
        effective: How many of them the penalty leaves effective; NaN without a regression.
        independent: About how many independent samples each coordinate's autocorrelation leaves, by name.
        path: How the regression was solved, or the network trained.
        condition: Condition number of the penalised regressors; NaN without a regression.
        relifted: Error of the re-lifted roll-out after 1..H steps on training data, as a share of the spread.
        linear: The same for the linear recursion.
        n_starts: Starts the errors are averaged over.
        spectral_radius: Of A, without the angles' and cyclic coordinates' sums; None where there is no A.
        envelope: Smallest and largest value seen of each coordinate and input, by name.
        notes: What was found in the data.
        warnings: What to beware of.
        has_recursion: Whether the model is a linear recursion that `LiftedMPC` can use.
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
    has_recursion: bool = False

    @classmethod
    def of(cls, model: Model) -> Self:
        """Report on a fitted model, with errors on stretches of its training data."""
        probe, names = model._probe_, model.state_names
        n_parameters, effective, path, condition = model._fitting()
        errors = errors_on(model, probe)
        report = cls(
            title=_title(model),
            n_transitions=probe.n_transitions,
            n_episodes=probe.n_episodes,
            dt=model.dt,
            n_regressors=n_parameters,
            effective=effective,
            independent={name: float(n) for name, n in zip(names, probe.independent, strict=True)},
            path=path,
            condition=condition,
            relifted=tuple(map(float, errors.relifted)),
            linear=tuple(map(float, errors.linear)),
            n_starts=errors.n_starts,
            spectral_radius=model.spectral_radius_of_fit(),
            envelope=_envelope(model),
            notes=model.notes_,
            warnings=() if path == INSTRUMENTAL else tuple(feedback_signs(model, probe)),
            has_recursion=model.get_params(deep=False).get("inputs") == "linear",
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
        """Return the report as text, at most 40 lines of 100 characters."""
        lines = _paragraph("", self.title, 2) + self._numbers()
        ranges = [f"{name} {low:.4g} .. {high:.4g}" for name, (low, high) in self.envelope.items()]
        lines += _listed("envelope", ranges, _RANGES)
        warnings = [line for text in self.warnings for line in _paragraph("warning", text, _WORDS)]
        room = max(_LINES - len(lines) - min(len(warnings), _LINES // 2), 1)
        lines += _fitting([_paragraph("note", text, _WORDS) for text in self.notes], room, "note", "model.notes_")
        room = max(_LINES - len(lines), 1)
        paragraphs = [_paragraph("warning", text, _WORDS) for text in self.warnings]
        return "\n".join(lines + _fitting(paragraphs, room, "warning", "model.report_.warnings"))

    def _numbers(self) -> list[str]:
        """Return the lines on data, regression, errors and spectrum."""
        H = len(self.relifted)
        shown = sorted({k for k in _SHOWN if k < H} | {H})
        rows = [("", *(f"{k} steps" if k > 1 else "1 step" for k in shown))]
        for name, values in (("re-lifted", self.relifted), ("linear", self.linear)):
            rows.append((name, *(f"{values[k - 1]:.2g}" for k in shown)))
        heads = ["error", "", ""]
        lines = [
            f"data       {_count(self.n_transitions, 'transition')} in {_count(self.n_episodes, 'episode')}, "
            f"dt {self.dt:g} s",
            *_listed(
                "", [f"{name} {n:.0f}" for name, n in self.independent.items()], 2, "independent samples, about: "
            ),
            *self._learning(),
            *(f"{head:<11}" + "".join(f"{cell:>11}" for cell in row) for head, row in zip(heads, rows, strict=True)),
            f"           share of each coordinate's spread, {_count(self.n_starts, 'start')} in the training data",
        ]
        if self.spectral_radius is not None:
            lines.append(f"spectrum   spectral radius of A {self.spectral_radius:.6g}")
        return lines

    def _learning(self) -> list[str]:
        """Return the lines on how the coefficients were found."""
        if isnan(self.condition):
            return [f"network    {_count(self.n_regressors, 'parameter')}, {self.path}"]
        return [
            f"regression {_count(self.n_regressors, 'regressor')}, {self.effective:.1f} of them effective, "
            f"{self._share:.3g} transitions for each",
            f"           solved by {self.path}, condition number {self.condition:.1e}",
        ]

    @property
    def _share(self) -> float:
        """Transitions for each effective regressor."""
        return self.n_transitions / max(self.effective, 1.0)

    def _judge(self) -> list[str]:
        """Return the warnings that the numbers give cause for."""
        found = []
        if self._share < _FEW:
            found.append(
                f"only {self._share:.1f} transitions for each effective regressor: record more, take fewer features or "
                "a larger ridge."
            )
        if self.path in ("eigen", "svd") or self.condition >= _DEPENDENT:
            found.append(
                "the regressors are linearly dependent to rounding: the solution of smallest norm was taken; a ridge "
                "such as 1e-10, fewer features or richer data settle it."
            )
        elif self.path == "cholesky" and self.condition > ILL_CONDITIONED:
            found.append(
                f"condition number {self.condition:.1e}: the normal equations have lost the digits of some directions; "
                "solver='qr' keeps them, a larger ridge does without."
            )
        radius = self.spectral_radius if self.has_recursion else None
        if radius is not None and radius > 1.0 + 1e-3:
            found.append(
                f"A has spectral radius {radius:.4g}, so the linear recursion grows; unless the plant is unstable, "
                "set spectral_radius=1.0, a larger horizon= or a larger ridge."
            )
        last, relifted = self.linear[-1], self.relifted[-1]
        if radius is not None and not last <= _DRIFT * max(relifted, 1e-3):
            found.append(
                f"after {_count(len(self.linear), 'step')} the linear roll-out is off by {last:.2g} of the spread, the "
                f"re-lifted one by {relifted:.2g}: prefer RelinearizedMPC, or keep LiftedMPC's horizon short."
            )
        if relifted > 1.0:
            found.append(
                f"after {_count(len(self.relifted), 'step')} the re-lifted roll-out is off by {relifted:.2g} of the "
                "spread, no better than the mean: shorten the horizon, record more, or search over ridge and width."
            )
        return found


def _title(model: Model) -> str:
    params = {k: v for k, v in model.get_params(deep=False).items() if k not in _UNSAID}
    said = {k: v for k, v in params.items() if (k == "ridge" or v) and (k, v) != _USUAL}
    return " ".join(f"{type(model).__name__}({', '.join(f'{k}={v}' for k, v in said.items())})".split())


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


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _paragraph(head: str, text: str, most: int) -> list[str]:
    """Return text in lines behind a head, shortened to `most` lines."""
    first = f"{head:<11}" if head else ""
    lines = textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=_HEAD, max_lines=most, placeholder=" ..."
    )
    return lines or [first.rstrip()]


def _listed(head: str, items: list[str], most: int, opening: str = "") -> list[str]:
    """Return items side by side in at most `most` lines, and how many found no room."""
    items = [textwrap.shorten(item, _WIDTH - 40, placeholder=" ...") or item[: _WIDTH - 40] for item in items]
    for shown in range(len(items), -1, -1):
        rest = [f"{len(items) - shown} more"] if shown < len(items) else []
        glued = ", ".join(item.replace(" ", "\0") for item in items[:shown] + rest)  # items are not torn apart
        lines = textwrap.wrap(opening + glued, _WIDTH, initial_indent=f"{head:<11}", subsequent_indent=_HEAD)
        if len(lines) <= most:
            break
    return [line.replace("\0", " ") for line in lines]


def _fitting(paragraphs: list[list[str]], room: int, head: str, where: str) -> list[str]:
    """Return as many paragraphs as fit into `room` lines, and where to read the rest."""
    lines: list[str] = []
    for i, paragraph in enumerate(paragraphs):
        last = i == len(paragraphs) - 1
        if len(lines) + len(paragraph) > room - (0 if last else 1):
            return [*lines, f"{head:<11}{len(paragraphs) - i} more in {where}"]
        lines += paragraph
    return lines

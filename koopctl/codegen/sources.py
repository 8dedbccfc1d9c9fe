"""The text of the C sources."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from string import Template

import numpy as np

from koopctl import __version__
from koopctl.arrays import Array
from koopctl.codegen.templates import EXAMPLE, HEADER, MAKEFILE, SOURCE
from koopctl.controllers.law import Law
from koopctl.errors import DesignError


def sources(law: Law) -> dict[str, str]:
    """Return the C sources of an LQR on a model without delays, by file name."""
    if law.K is None:
        raise DesignError("the law holds no gain; design it again with kind='lqr'.")
    _check(law)
    values = _sizes(law) | _chart(law) | _numbers(law, law.K)
    texts = {"law.h": HEADER, "law.c": SOURCE, "main.c": EXAMPLE, "Makefile": MAKEFILE}
    return {name: Template(text).substitute(values) for name, text in texts.items()}


def _check(law: Law) -> None:
    """Refuse what the C code does not do: everything that the law remembers beyond its last input."""
    options, task = law.options(), law.task
    for told, what, remedy in (
        ("integral" in options, "integral action", "leave integral out"),
        ("horizon" in options, "a gain that changes with time", "leave horizon out"),
        ("offset_free" in options, "an offset estimate", "leave offset_free out"),
        (bool(task.delay), f"a delay of {task.delay} samples", "design for delay=0"),
        (bool(task.disturbances), "measured disturbances", "leave disturbances out of the task"),
    ):
        if told:
            raise DesignError(f"a law with {what} cannot be written as C, which covers a constant gain; {remedy}.")


def _sizes(law: Law) -> dict[str, str]:
    model = law.model
    return {
        "version": __version__,
        "dt": _number(law.dt),
        "ny": str(len(model.sensors_)),
        "nq": str(model.nx),
        "nu": str(model.nu),
        "y_lines": _listed("y", model.sensors_),
        "q_lines": _listed("q", model.state_names),
        "u_lines": _listed("u", model.u_names_),
    }


def _chart(law: Law) -> dict[str, str]:
    """How each coordinate is read: the column of y that it is, or the columns of its sin and cos."""
    chart, sensors = law.model.window_.chart, list(law.model.sensors_)
    column = [sensors.index(chart.y_names[k]) for k in chart.kept]
    reads = [""] * chart.nq
    for q, e in chart.linear.T:
        reads[q] = f"q[{q}] = y[{column[e]}];"
    for q, c, s in chart.circle.T:
        reads[q] = f"q[{q}] = atan2(y[{column[s]}], y[{column[c]}]);"
    angles = [int(q in chart.angles) for q in range(chart.nq)]
    # The law looks at every column the model was given, dropped ones too: a NaN there says that a sensor is broken.
    used = sorted(sensors.index(name) for name in chart.y_names)
    return {
        "reads": "\n    ".join(reads),
        "n_used": str(len(used)),
        "used": _braces(map(str, used)),
        "is_angle": _braces(map(str, angles)),
    }


def _numbers(law: Law, K: Array) -> dict[str, str]:
    wanted, steady = law.wanted, law.steady
    vectors = {
        "q_steady": steady.x,
        "u_steady": steady.u,
        "u_safe": wanted.u_safe,
        "u_min": wanted.u_min,
        "u_max": wanted.u_max,
        "du_max": wanted.du_max,
    }
    rows = ",\n    ".join(_braces(map(_number, row)) for row in K)
    return {name: _braces(map(_number, values)) for name, values in vectors.items()} | {"gain": f"{{\n    {rows}\n}}"}


def _number(value: float | np.floating) -> str:
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.17g}"
    return text if any(mark in text for mark in ".e") else f"{text}.0"


def _braces(items: Iterable[str]) -> str:
    return f"{{{', '.join(items)}}}"


def _listed(letter: str, names: Sequence[str]) -> str:
    return "\n".join(f" *   {letter}[{i}]  {_comment(name)}" for i, name in enumerate(names))


def _comment(name: str) -> str:
    """Return a name as it may stand in a C comment: ASCII, printable, and not the comment's end."""
    plain = name.encode("ascii", "backslashreplace").decode()
    printable = "".join(letter if letter.isprintable() else " " for letter in plain)
    return printable.replace("*/", "* /").replace("/*", "/ *")

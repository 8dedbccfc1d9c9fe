"""The proof that compiled C and Python give the same inputs."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.law import Law
from koopctl.controllers.steady_problem import half_ranges
from koopctl.errors import DesignError

N_CHECKED = 1000
_COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-pedantic", "-shared", "-fPIC")


def largest_difference(law: Law, folder: Path) -> float:
    """Return the largest difference of any input between law.c in `folder` and `law`; inf where the statuses differ.

    Both run through the same sequence of observations, so that the rate bounds take part.

    Raises:
        DesignError: There is no C compiler, or it refuses the code.
    """
    Y = observations(law)
    law.reset()
    answers = [law(y) for y in Y]
    expected = np.array([u for u, _ in answers])
    safe = np.array([info["status"] == "safe" for _, info in answers])
    with tempfile.TemporaryDirectory(prefix="koopctl-") as build:
        U, statuses = _run(_compile(folder, Path(build)), Y, law.model.nu)
    if not np.array_equal(safe, statuses != 0):
        return math.inf
    return float(np.abs(U - expected).max())


def observations(law: Law) -> Array:
    """Return observations (N_CHECKED, ny): up to twice as far out as the data, some far beyond, some with NaN or inf.

    Two in five lie near the target, where the bounds do not hide the gain.
    """
    rng = np.random.default_rng(0)
    model, chart = law.model, law.model.window_.chart
    box = model.envelope_
    places = [model.sensors_.index(chart.y_names[int(column)]) for column in chart.kept]
    Y = rng.standard_normal((N_CHECKED, len(model.sensors_)))
    Y[:, places] = (box.high + box.low) / 2 + (box.high - box.low) * rng.uniform(-1.0, 1.0, (N_CHECKED, len(places)))
    near = np.flatnonzero(rng.random(N_CHECKED) < 0.4)
    away = rng.standard_normal((len(near), chart.nq)) * 10.0 ** rng.uniform(-4.0, 0.0, (len(near), 1))
    columns = np.array([model.sensors_.index(name) for name in chart.y_names])
    Y[near[:, None], columns] = model.output(law.steady.x[: chart.nq] + away * half_ranges(model))
    far = np.flatnonzero(rng.random(N_CHECKED) < 0.1)
    Y[far] *= 10.0 ** rng.uniform(1.0, 6.0, (len(far), 1))
    for value in (math.nan, math.inf, -math.inf):
        rows = np.flatnonzero(rng.random(N_CHECKED) < 0.04)
        Y[rows, rng.integers(Y.shape[1], size=len(rows))] = value
    return Y


def _compile(folder: Path, build: Path) -> Path:
    compiler = os.environ.get("CC") or next((name for name in _COMPILERS if shutil.which(name)), None)
    if compiler is None:
        raise DesignError(
            f"the check needs a C compiler, and none of {', '.join(_COMPILERS)} is on the PATH; install one, set CC, "
            "or export without the check."
        )
    library = build / "law.so"
    command = [*compiler.split(), *_FLAGS, str(folder / "law.c"), "-o", str(library), "-lm"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DesignError(f"the C compiler '{compiler}' cannot be run ({error}); set CC to one that can.") from None
    if result.returncode != 0:
        said = result.stderr.strip().splitlines()
        raise DesignError(
            f"'{' '.join(command)}' failed: {said[0] if said else 'no message'}; the sources are in {folder}."
        )
    return library


def _run(library: Path, Y: Array, nu: int) -> tuple[Array, Array]:
    """Return inputs (n, nu) and statuses (n,) of the compiled law along observations (n, ny)."""
    compiled = ctypes.CDLL(str(library))
    pointer = ctypes.POINTER(ctypes.c_double)
    compiled.law_reset.argtypes, compiled.law_reset.restype = [pointer], None
    compiled.law_step.argtypes, compiled.law_step.restype = [pointer, pointer, pointer], ctypes.c_int
    state = (ctypes.c_double * nu)()  # law_state holds the last input and nothing else
    U, statuses = np.empty((len(Y), nu)), np.empty(len(Y))
    compiled.law_reset(state)
    for k, y in enumerate(np.ascontiguousarray(Y)):
        u = np.empty(nu)
        statuses[k] = compiled.law_step(state, y.ctypes.data_as(pointer), u.ctypes.data_as(pointer))
        U[k] = u
    return U, statuses

"""Another package at the same work, in a virtual environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctl.errors import DataError, KoopctlError

_HARNESS = Path(__file__).with_name("harness.py")
_MARKER = "koopctl-rival.json"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_INSTALL_TIMEOUT = 900.0  # [s]


class RivalError(KoopctlError, RuntimeError):
    """A rival could not be installed or did not deliver; the bench prints why and goes on."""


@dataclass(frozen=True)
class Rival:
    """A package to measure beside koopctl.

    Attributes:
        name: Names its environment's folder: letters, digits, dots and hyphens.
        requirements: What pip installs, pinned; empty: it runs in the interpreter that is running now.
        script: What `harness.py` runs there.
    """

    name: str
    requirements: tuple[str, ...]
    script: Path

    def __post_init__(self) -> None:
        """Refuse a name that is no plain folder name."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", self.name):
            raise DataError(f"the rival's name {self.name!r} is a folder's too: use letters, digits, dots, hyphens.")


def cache_folder() -> Path:
    """Return where environments are kept: $KOOPCTL_CACHE, or koopctl in the user's cache folder."""
    if chosen := os.environ.get("KOOPCTL_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "koopctl"


def environment(rival: Rival, folder: str | Path | None = None) -> Path:
    """Return the interpreter of a rival's environment, made if it is not there.

    An environment is reused while the requirements and this interpreter's version are those it was made for.

    Args:
        rival: Whose environment.
        folder: Folder of the environments, one sub-folder each; `cache_folder()` by default.

    Raises:
        RivalError: It cannot be made: no network, a package that does not install, no room.
    """
    if not rival.requirements:
        return Path(sys.executable)
    place = (cache_folder() if folder is None else Path(folder)).absolute() / "rivals" / rival.name
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    marker, wanted = place / _MARKER, json.dumps({"requirements": rival.requirements, "python": sys.version})
    try:
        if python.exists() and marker.exists() and marker.read_text(encoding="utf-8") == wanted:
            return python
        place.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)  # an interrupted build is no environment
        execute(f"making an environment for {rival.name}", [sys.executable, "-m", "venv", "--clear", str(place)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        pip += ["--retries", "2", "--timeout", "30", *rival.requirements]
        execute(f"installing {', '.join(rival.requirements)}", pip)
        marker.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise RivalError(f"no environment can be made in {place} ({error}); set KOOPCTL_CACHE elsewhere.") from None
    return python


def run_rival(
    rival: Rival, problem: Mapping[str, ArrayLike], folder: str | Path | None = None, timeout: float = 900.0
) -> dict[str, Any]:
    """Let a rival work on a problem, on one thread, and return its result.

    Args:
        rival: Who.
        problem: Arrays by name, as `koopctl.bench.rivals` describes.
        folder: Folder of the environments; `cache_folder()` by default.
        timeout: Longest run [s], the installation not counted.

    Returns:
        The result as `koopctl.bench.rivals` describes it, or `{"rival": name, "failed": "why"}`.

    Raises:
        DataError: The problem holds something that is no plain array.
    """
    arrays = {name: np.asarray(value) for name, value in problem.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise DataError(f"problem[{name!r}] is no plain array; concatenate ragged episodes and give their lengths.")
    try:
        python = environment(rival, folder)
        with tempfile.TemporaryDirectory(prefix="koopctl-rival-") as place:
            task, answer = Path(place, "problem.npz"), Path(place, "result.npz")
            np.savez(task, **arrays)  # type: ignore[arg-type]
            command = [str(python), "-I", str(_HARNESS), str(rival.script), str(task), str(answer)]
            execute(f"{rival.name}'s run", command, timeout)
            return {"rival": rival.name, **_read(rival, answer)}
    except (RivalError, OSError) as error:
        return {"rival": rival.name, "failed": str(error)}


def execute(what: str, command: Sequence[str], timeout: float = _INSTALL_TIMEOUT) -> None:
    """Run a command on one thread.

    Args:
        what: What is being done, for the error.
        command: The command.
        timeout: Longest run [s].

    Raises:
        RivalError: It failed or took too long; the text ends with the last line it wrote.
    """
    surroundings = os.environ | dict.fromkeys(_THREADS, "1")
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    try:
        done = subprocess.run(
            command,
            env=surroundings,
            stdin=nothing,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise RivalError(f"{what} took more than {timeout:g} s; allow it longer or give it less to do.") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        said = [line for line in lines if line.startswith("ERROR")] or lines or ["it said nothing"]
        raise RivalError(f"{what} failed with exit code {done.returncode}: {said[-1]}")


def _read(rival: Rival, answer: Path) -> dict[str, Any]:
    """Return the result a harness wrote, its arrays back in their entries.

    Raises:
        RivalError: There is none, or it is not one.
    """
    try:
        with np.load(answer, allow_pickle=False) as file:
            report: dict[str, Any] = json.loads(str(file["report"]))
            for name in file.files:
                if name != "report":
                    index, key = name.split("/")
                    report["entries"][int(index)][key] = file[name]
            return {"package": report["package"], "numpy": report["numpy"], "entries": report["entries"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise RivalError(
            f"{rival.name} ended well but left no readable result ({type(error).__name__}: {error}); "
            f"its script {rival.script.name} must leave the writing to the harness."
        ) from None

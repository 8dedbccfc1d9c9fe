"""Every public name exists, is documented and annotated, and `import koopctl` stays fast."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import koopctl

HEAVY = ("control", "cvxpy", "gymnasium", "joblib", "matplotlib", "numpy", "osqp", "rich", "scipy", "sklearn", "typer")


def public_objects() -> Iterator[tuple[str, object]]:
    """Yield the classes and functions of koopctl, koopctl.envs and koopctl.controllers with their full names."""
    for module in (koopctl, importlib.import_module("koopctl.envs"), importlib.import_module("koopctl.controllers")):
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isroutine(value):
                yield f"{module.__name__}.{name}", value


def members(cls: type) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the public methods and properties that koopctl itself defines for a class."""
    for name in dir(cls):
        raw = inspect.getattr_static(cls, name)
        function = raw.fget if isinstance(raw, property) else getattr(raw, "__func__", raw)
        if not name.startswith("_") and inspect.isfunction(function) and function.__module__.startswith("koopctl"):
            yield name, function


def arguments(function: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the parameters a caller gives."""
    parameters = inspect.signature(function).parameters.values()
    return [parameter for parameter in parameters if parameter.name not in ("self", "cls")]


def described(*texts: str | None) -> set[str]:
    """Return the names with an entry in the Args or Attributes sections of docstrings."""
    names: set[str] = set()
    for text in texts:
        for section in re.findall(r"^(?:Args|Attributes):\n((?:(?: .*)?\n?)+)", inspect.cleandoc(text or ""), re.M):
            names |= set(re.findall(r"^ {4}\*{0,2}(\w+)(?: \([^)]*\))?:", section, re.M))
    return names


def undocumented(value: object) -> list[str]:
    """Return the arguments of a function or constructor that its docstring does not explain."""
    if not inspect.isclass(value):
        known, given = described(inspect.getdoc(value)), arguments(value)  # type: ignore[arg-type]
    elif issubclass(value, BaseException) or value.__init__ is object.__init__:
        return []
    else:
        known, given = described(value.__doc__, value.__init__.__doc__), arguments(value.__init__)
        if dataclasses.is_dataclass(value):
            known |= {name for base in value.__mro__ for name in described(base.__doc__)}
    return [parameter.name for parameter in given if parameter.name not in known]


def test_all_is_sorted_and_complete():
    """`__all__` and the table of homes are one list; nobody can export a name that does not exist."""
    assert list(koopctl.__all__) == sorted(koopctl._HOMES)
    assert set(koopctl.__all__) <= set(dir(koopctl))


def test_type_checkers_see_the_same_names():
    """The imports for type checkers agree with where the names are imported from."""
    tree = ast.parse(Path(koopctl.__file__).read_text())
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and str(node.module)[:7] == "koopctl"
    ]
    assert {alias.name: node.module for node in imports for alias in node.names} == koopctl._HOMES


@pytest.mark.parametrize("name", koopctl.__all__)
def test_name_resolves(name: str):
    """Every exported name can be used, and is the object its home module defines."""
    value = getattr(koopctl, name)
    assert value.__name__.split(".")[-1] == name
    assert value is getattr(koopctl, name)


def test_unknown_name_is_an_attribute_error_that_lists_the_known_ones():
    """A misspelt name gives the error Python programs expect, with help."""
    with pytest.raises(AttributeError, match="'Rollout'.*Rollouts"):
        koopctl.Rollout  # noqa: B018


def test_every_public_object_is_documented():
    """Each function, class, method and property says what it does."""
    silent = [name for name, value in public_objects() if not inspect.getdoc(value)]
    for name, value in public_objects():
        if inspect.isclass(value):
            silent += [f"{name}.{member}" for member, function in members(value) if not function.__doc__]
    assert silent == []


def test_every_argument_is_documented():
    """Each argument of a public function or constructor has an entry under Args or Attributes."""
    gaps = {name: undocumented(value) for name, value in public_objects()}
    assert {name: missing for name, missing in gaps.items() if missing} == {}


def test_every_argument_is_annotated():
    """Each argument of a public function, constructor or method, and each result, has a type."""
    gaps = []
    for name, value in public_objects():
        inside = {f"{name}.{member}": function for member, function in members(value)} if inspect.isclass(value) else {}
        own = value.__init__ if inspect.isclass(value) else value
        if inspect.isfunction(own) and own.__module__.startswith("koopctl"):
            inside[name] = own
        for place, function in inside.items():
            gaps += [f"{place}({p.name})" for p in arguments(function) if p.annotation is inspect.Parameter.empty]
            if not inspect.isclass(value) and inspect.signature(function).return_annotation is inspect.Signature.empty:
                gaps.append(f"{place} -> ?")
    assert gaps == []


def test_description_parser_reads_google_sections():
    """The check above is only as good as its reading of docstrings."""
    text = """One line.

    Args:
        first: A thing, see
            second: not an entry, the text of first goes on.
        *rest: More.

    Returns:
        nothing: At all.

    Attributes:
        held (int): Kept.
    """
    assert described(text) == {"first", "rest", "held"}


def test_import_is_fast():
    """`import koopctl` in a new process stays under 0.6 s, interpreter included (median of three)."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import koopctl"], check=True, timeout=60)
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 0.6


def test_import_loads_no_heavy_package():
    """`import koopctl` leaves every dependency for the file that needs it."""
    code = "import sys, json, koopctl; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(HEAVY) & set(json.loads(result.stdout)) == set()

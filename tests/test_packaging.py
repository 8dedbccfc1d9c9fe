"""What a user installs: every module of every package, under the right names, from wheel, sdist and checkout alike."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("controllers", "envs")
_BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""


def settings() -> dict:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def source_files() -> set[str]:
    """Return every file that belongs into the wheel, by its path there, links followed."""
    folders = {path.parent for path in (ROOT / "koopctl").rglob("__init__.py")}
    for name in LINKED:
        folders |= {path.parent for path in (ROOT / "koopctl" / name).rglob("__init__.py")}
    files = (path for folder in folders for path in folder.iterdir() if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if path.suffix not in (".pyc", ".md")}


def build(kind: str, source: Path, target: Path) -> Path:
    """Build `kind` ("wheel" or "sdist") of the project in `source` without network and return the file."""
    target.mkdir()
    command = [sys.executable, "-c", _BUILD, kind, str(target)]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return target / result.stdout.split()[-1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the build reads, so that no stale build folder takes part."""
    setuptools = pytest.importorskip("setuptools", minversion="77", reason="building needs setuptools >= 77")
    del setuptools
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("koopctl", *LINKED):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout."""
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel") / "dist")


def wheel_files(wheel: Path) -> set[str]:
    """Return the files of a wheel, its metadata left aside."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_every_package_folder_is_listed():
    """A sub-package missing from `packages` would vanish from the wheel without a word."""
    found = {Path(name).parent.as_posix().replace("/", ".") for name in source_files() if name.endswith("/__init__.py")}
    assert found == set(settings()["tool"]["setuptools"]["packages"])


def test_every_folder_with_modules_is_a_package():
    """Modules in a folder without __init__.py would be importable here and missing from the wheel."""
    bare = {path.parent for name in ("koopctl", *LINKED) for path in (ROOT / name).rglob("*.py")}
    assert [str(folder) for folder in sorted(bare) if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("name", LINKED)
def test_links_are_relative(name: str):
    """An absolute link would work on one machine only."""
    link = ROOT / "koopctl" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_wheel_holds_every_file(wheel: Path):
    """Every module and data file of every package is in the wheel, and nothing else is."""
    assert wheel_files(wheel) == source_files()


def test_sdist_makes_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path):
    """Whoever builds from the source distribution gets the same files."""
    sdist = build("sdist", checkout, tmp_path / "dist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert wheel_files(build("wheel", source, tmp_path / "again")) == wheel_files(wheel)


def test_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path):
    """Unpacked elsewhere, the packages import from there and only under their full names."""
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import koopctl.envs, koopctl.controllers; "
        "print(*(m.__file__ for m in (koopctl, koopctl.envs, koopctl.controllers)), sep='\\n')"
    )
    command = [sys.executable, "-I", "-c", code, str(tmp_path / "site")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert all(Path(line).is_relative_to(tmp_path / "site") for line in result.stdout.splitlines())


@pytest.mark.parametrize("name", LINKED)
def test_bare_names_do_not_exist(name: str, tmp_path: Path):
    """`import envs` must fail for users; it would make a second copy of each class."""
    code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "None", result.stdout + result.stderr


def test_version_is_said_once():
    """The citation file follows the package's version."""
    import koopctl

    assert settings()["project"]["dynamic"] == ["version"]
    assert f"\nversion: {koopctl.__version__}\n" in (ROOT / "CITATION.cff").read_text()

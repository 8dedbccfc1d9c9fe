"""What a new user copies: the README's blocks, the example and the notebook."""

from __future__ import annotations

import ast
import base64
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from typer.testing import CliRunner

from koopctl.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_INLINE = "%matplotlib inline\n"


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """Return the README's command lines of koopctl, split into words."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("koopctl ")]


def code_cells(path: Path) -> list[Any]:
    """Return the code cells of a notebook."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def statements(code: str) -> list[str]:
    """Return the statements of some code, comments and layout left aside."""
    return [ast.unparse(node) for node in ast.parse(code).body]


def sections(path: Path) -> list[str]:
    """Return the numbered sections of an example's main(), dedented, with their comments."""
    source = path.read_text(encoding="utf-8")
    main = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "main")
    body = "\n".join(source.splitlines()[main.lineno : main.end_lineno])
    return [textwrap.dedent(part).strip() for part in re.split(r"\n\n(?=    # \d+ )", body)[1:]]


# ---------------------------------------------------------------------- the README
@pytest.mark.slow
def test_the_readmes_python_runs_as_printed(monkeypatch, tmp_path, capsys):
    """The blocks run in order in one session; their controllers reach what the text says."""
    monkeypatch.chdir(tmp_path)
    first, arrays, environment = blocks("python")
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(first, "README.md, first block", "exec"), names)
    assert names["data"].n_samples == 18_000
    assert names["table"]["mpc"].total_reward.mean > -200 > names["table"]["lqr"].total_reward.mean
    assert names["run"].X[-1] == pytest.approx([1.0, 0.0, 0.0], abs=0.05)  # upright, at rest
    exec(compile(arrays, "README.md, arrays", "exec"), names)
    assert np.abs(names["x"]).max() < 0.02
    exec(compile(environment, "README.md, environment", "exec"), names)
    assert names["info"]["status"] == "solved"
    assert "mpc" in capsys.readouterr().out


def test_the_first_block_is_six_lines():
    """The first screen promises a short way: one line a verb."""
    lines = blocks("python")[0].splitlines()
    assert len(lines) == 6
    for line, verb in zip(
        lines, ("import", "kc.collect", "kc.fit", "kc.design", "kc.simulate", "kc.compare"), strict=True
    ):
        assert verb in line


@pytest.mark.slow
def test_the_readmes_command_lines_run_one_after_the_other(monkeypatch, tmp_path):
    """Each verb reads what the one before wrote; the demo and the benchmarks have tests of their own."""
    monkeypatch.chdir(tmp_path)
    for words in commands():
        if words[0] in ("demo", "bench"):
            continue
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (words, result.output)
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "c" / "law.c").is_file()


def test_the_readme_names_every_verb():
    """Nobody should have to find a verb by accident, nor look for one that does not exist."""
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {words[0] for words in commands()} == known


def test_links_lead_somewhere():
    """Every relative link of the documents points at a file that is there."""
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/decisions.md"):
        page = ROOT / name
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{name}: {target}"


def test_the_picture_is_small():
    """A clone should not pay for the documents; the demo writes the picture anew at any time."""
    assert (ROOT / "docs" / "demo.png").stat().st_size < 200_000


# ---------------------------------------------------------------------- examples and notebooks
@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_from_anywhere(path, tmp_path):
    """It ends well, says where its report is, and writes nowhere else."""
    command = [sys.executable, str(path), "--output", "told"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert f"report: {Path('told', 'report.html')}" in result.stdout
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["told", "told/report.html"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_does_nothing_when_imported(path):
    """Its constants can be looked at without running it, and it is short."""
    names = runpy.run_path(str(path))
    assert callable(names["main"]) and names["main"].__doc__
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80


def test_every_example_has_its_notebook():
    """Same number, same name."""
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in EXAMPLES] != []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_the_examples_code(path):
    """Its cells are the constants, then the example's sections word for word; beside them only lines that draw."""
    example = ROOT / "examples" / f"{path.stem}.py"
    head, *rest = [cell.source for cell in code_cells(path)]
    assert head.startswith(_INLINE)  # without it a figure is shown as its name only
    constants = {line for line in statements(head.removeprefix(_INLINE)) if not line.startswith(("import", "from"))}
    theirs = {ast.unparse(n) for n in ast.parse(example.read_text()).body if isinstance(n, ast.Assign)}
    assert {line for line in constants if not line.startswith("output =")} == theirs
    drawing = [cell for cell in rest if re.fullmatch(r"plots\.plot_\w+\(.*\)", cell)]
    assert [cell for cell in rest if cell not in drawing] == sections(example)
    assert sum(len(source.splitlines()) for source in (head, *rest)) < 80


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_and_shows_its_pictures(path):
    """Valid, run from top to bottom without an error, every drawing line with its picture, and not large."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    for cell in (cell for cell in cells if cell.source.startswith("plots.")):
        (picture,) = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_tells_nothing_about_the_machine(path):
    """No times of execution, no paths from the root, no name of an interpreter's version."""
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}
    assert all(not cell.metadata for cell in notebook.cells)
    told = "".join(output.get("text", "") for cell in code_cells(path) for output in cell.outputs)
    assert not re.findall(r"(?:^|[\s'\"(])/\w+/\S*", told)

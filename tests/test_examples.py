"""What a new user copies: the README's blocks, the example and the notebook."""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import numpy as np
import pytest
from typer.testing import CliRunner

import koopctl as kc
from koopctl.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Each example's last line, and the files it leaves in the folder it is told.
WRITTEN = {
    "01_pendulum": ("report: told/report.html", {"report.html"}),
    "02_identification": ("pictures: told", {"recording.csv", "report.png", "spectrum.png", "bound.png"}),
    "03_mpc": ("law and picture: told", {"law.npz", "crane.png"}),
}
_INLINE = "%matplotlib inline\n"
_LONGEST = 100  # lines of an example
_DRAWING = r"(plots\.plot_\w+|\w+\.plot)\([^\n]*\)"  # a cell that does nothing but draw


class Session(NamedTuple):
    """What the README's blocks left behind."""

    folder: Path
    blocks: list[tuple[dict[str, Any], str]]

    def after(self, words: str) -> tuple[dict[str, Any], str]:
        """Return the names after the one block that holds `words`, and what it printed."""
        (number,) = (i for i, block in enumerate(blocks("python")) if words in block)
        return self.blocks[number]


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


def write_recording(cart: Callable[..., np.ndarray], path: Path) -> None:
    """Write what a logger on the README's cart wrote: a pause of 1.2 s, and three positions missing."""
    rng = np.random.default_rng(0)
    x, lines = np.array([0.2, 0.0]), ["time,pos,vel,force"]
    for k in range(400):
        force = round(rng.uniform(-1.0, 1.0) - 0.5 * x[0], 3)
        pos = "" if k % 150 == 2 else f"{x[0]:.4f}"
        lines.append(f"{0.1 * k + (1.2 if k > 120 else 0.0):.1f},{pos},{x[1]:.4f},{force}")
        x = cart(x, [force])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def the_cart() -> Callable[..., np.ndarray]:
    """Return the plant that the README defines as a function."""
    (source,) = (block for block in blocks("python") if "\ndef cart(" in block)
    (function,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "cart")
    names: dict[str, Any] = {"np": np}
    exec(compile(ast.Module([function], []), "README.md, cart", "exec"), names)
    return names["cart"]


# ---------------------------------------------------------------------- the README
@pytest.fixture(scope="module")
def readme_session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The README's Python, run as printed: all blocks in order, in one session and a folder of its own."""
    folder = tmp_path_factory.mktemp("readme")
    write_recording(the_cart(), folder / "recording.csv")
    names: dict[str, Any] = {"__name__": "readme"}
    after: list[tuple[dict[str, Any], str]] = []
    with contextlib.chdir(folder):
        for number, block in enumerate(blocks("python")):
            with contextlib.redirect_stdout(io.StringIO()) as said:
                exec(compile(block, f"README.md, block {number}", "exec"), names)
            after.append((dict(names), said.getvalue()))
    return Session(folder, after)


@pytest.mark.slow
def test_the_readmes_controllers_reach_what_the_text_says(readme_session):
    """From the environment, from arrays, from an environment of one's own, and from a noisy position alone."""
    first, said = readme_session.after('kc.compare("Pendulum-v1"')
    assert first["data"].n_samples == 18_000
    assert first["table"]["mpc"].total_reward.mean > -200 > first["table"]["lqr"].total_reward.mean
    assert first["run"].X[-1] == pytest.approx([1.0, 0.0, 0.0], abs=0.05)  # upright, at rest
    arrays, _ = readme_session.after("def cart(")
    assert np.abs(arrays["x"]).max() < 0.02 and arrays["info"]["status"] == "solved"
    _, said = readme_session.after("class Cart(")
    assert "mpc" in said
    noisy, _ = readme_session.after("observer=kc.ExtendedKalmanFilter")
    assert np.abs(noisy["x"]).max() < 0.1 and noisy["info"]["status"] == "solved"


@pytest.mark.slow
def test_the_readmes_models_are_what_the_text_says(readme_session):
    """A search that searched, a residual that tells a slow pair, a bound that holds, a model that goes on learning."""
    searched, said = readme_session.after('search="auto"')
    assert str(searched["chosen"].search_) in said
    assert len(searched["chosen"].search_.trials) == 19 * 3
    assert searched["lifted"].inputs in ("linear", "bilinear")
    _, said = readme_session.after("feedback=hold")
    biased, found = map(float, said.split())
    assert abs(biased - 1.13) < 0.01 and abs(found - 1.20) < 0.01
    spectrum, said = readme_session.after("kc.spectrum(")
    assert said.strip() == spectrum["spectrum"].table(by="amplitude")
    bounded, _ = readme_session.after("kc.error_bound(")
    fresh = kc.collect(bounded["Cart"], episodes=40, steps=40, excitation="piecewise", seed=9)
    for bound in (bounded["bound"], bounded["adaptive"]):
        assert bound.coverage_on(fresh) > 0.8  # 0.9 asked for, less what ten calibration episodes may miss
    assert 4.9 < bounded["careful"].y_max["pos"] < 5.0 and len(bounded["several"]) == 5
    chosen = readme_session.after("chosen.update(")[0]["chosen"]
    assert chosen.report_.n_transitions > bounded["train"].n_samples
    assert all((readme_session.folder / name).is_file() for name in ("report.png", "spectrum.png"))


@pytest.mark.slow
def test_the_readme_shows_what_is_printed(readme_session):
    """The text blocks: what the logger's file lacked, word for word, and the report, line for line but for digits."""
    lacked, report = blocks("text")
    _, said = readme_session.after("from_csv")
    assert said == lacked
    _, said = readme_session.after("print(model.report_)")
    assert [re.sub(r"[\d.e+-]+", "0", line).split() for line in said.splitlines()] == [
        re.sub(r"[\d.e+-]+", "0", line).split() for line in report.splitlines()
    ]


def test_the_logger_file_begins_as_shown(tmp_path):
    """The README's first lines of a recording are those of the file that its blocks read."""
    write_recording(the_cart(), tmp_path / "recording.csv")
    (shown,) = blocks("csv")
    assert (tmp_path / "recording.csv").read_text(encoding="utf-8").startswith(shown)


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
    write_recording(the_cart(), tmp_path / "recording.csv")
    for words in commands():
        if words[0] in ("demo", "bench"):
            continue
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (words, result.output)
    for made in ("report/report.html", "c/law.c", "fit.png", "spectrum.png", "noisy.npz"):
        assert (tmp_path / made).is_file()


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


def test_the_pictures_are_small():
    """A clone should not pay for the documents; demo and model.plot() draw the pictures anew at any time."""
    pictures = sorted((ROOT / "docs").glob("*.png"))
    assert [path.name for path in pictures] == ["demo.png", "report.png"]
    assert all(path.stat().st_size < 200_000 for path in pictures)


# ---------------------------------------------------------------------- examples and notebooks
@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_from_anywhere(path, tmp_path):
    """It ends well, says where its report or pictures are, and writes nowhere else."""
    command = [sys.executable, str(path), "--output", "told"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    last, files = WRITTEN[path.stem]
    assert result.stdout.splitlines()[-1] == last
    assert {p.relative_to(tmp_path / "told").as_posix() for p in tmp_path.rglob("*") if p.is_file()} == files


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_does_nothing_when_imported(path):
    """Its constants can be looked at without running it, and it is short."""
    names = runpy.run_path(str(path))
    assert callable(names["main"]) and names["main"].__doc__
    assert len(path.read_text(encoding="utf-8").splitlines()) <= _LONGEST


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
    drawing = [cell for cell in rest if re.fullmatch(_DRAWING, cell)]
    # In a cell a function has two empty lines around it, in main() one.
    code = [re.sub(r"\n{3,}", "\n\n", cell) for cell in rest if cell not in drawing]
    assert code == sections(example)
    assert sum(len(source.splitlines()) for source in (head, *rest)) <= _LONGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_and_shows_its_pictures(path):
    """Valid, run from top to bottom without an error, every drawing line with its picture, and not large."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    for cell in (cell for cell in cells if re.fullmatch(_DRAWING, cell.source)):
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

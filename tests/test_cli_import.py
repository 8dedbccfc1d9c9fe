"""`koopctl import`: a logger's text file becomes recorded motion, and what it lacked is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import done, failure, invoke, shell

import koopctl as kc


def recording(folder: Path, separator: str = ",") -> Path:
    """Write 60 samples of a cart with a pause of 0.5 s after row 20, an empty cell in row 30 and nan in row 40."""
    rng = np.random.default_rng(0)
    pos, vel, t, lines = 0.3, 0.0, 0.0, [["time", "pos", "vel", "force", "remark"]]
    for k in range(60):
        force = rng.uniform(-1, 1)
        cells = [f"{t:.2f}", f"{pos!r}", f"{vel!r}", f"{force!r}", "text"]
        cells[1] = "" if k == 30 else cells[1]
        cells[3] = "nan" if k == 40 else cells[3]
        lines.append(cells)
        pos, vel = pos + 0.1 * vel, vel + 0.1 * (force - vel)
        t += 0.6 if k == 20 else 0.1
    path = folder / "recording.csv"
    path.write_text("\n".join(separator.join(cells) for cells in lines) + "\n", encoding="utf-8")
    return path


def test_import_writes_what_python_reads(tmp_path):
    """The same columns, the same episodes, to the last bit; with a gap and two missing values."""
    path = recording(tmp_path)
    said = done("import", path, "--x", "pos,vel", "--u", "force", "--time", "time", "-o", tmp_path / "data")
    data = kc.load(tmp_path / "data.npz")
    again = kc.Rollouts.from_csv(path, x=["pos", "vel"], u="force", time="time")
    assert all(np.array_equal(a, b) for a, b in zip(data.X + data.U, again.X + again.U, strict=True))
    assert (said["episodes"], said["n_samples"], said["dt"]) == (4, 59 - 1 - 2 - 1, 0.1)
    lost = said["missing"]
    assert (lost["gaps"], lost["samples"], lost["rows_x"], lost["rows_u"], lost["parts"]) == (1, 5, 1, 1, 4)
    assert (said["x_names"], said["u_names"]) == (["pos", "vel"], ["force"])


def test_import_says_in_words_what_was_dropped(tmp_path):
    """A person reads how much is left and why the rest is not."""
    path = recording(tmp_path)
    result = invoke("import", path, "--x", "pos", "--x", "vel", "--u", "force", "--time", "time", "-o", tmp_path / "d")
    first, wrote = result.stdout.splitlines()
    assert first.startswith("Rollouts(4 episodes, 55 transitions, dt=0.1 s, x=(pos, vel), u=(force)")
    assert "1 step between time stamps was not dt (5 samples missing)" in first
    assert "3 of 58 transitions were dropped, 1 episode was split into 4" in first
    assert wrote == f"wrote {tmp_path / 'd.npz'}"


def test_import_of_tabs_without_time_or_inputs(tmp_path):
    """Another delimiter, a sampling time from the option, a plant without inputs."""
    path = recording(tmp_path, "\t")
    options = ["--x", "pos,vel", "--dt", 0.1, "--delimiter", r"\t"]
    said = done("import", path, *options, "-o", tmp_path / "data.npz")
    assert (said["u_names"], said["n_samples"], said["episodes"]) == ([], 57, 2)


def test_import_of_several_episodes(tmp_path):
    """A column of labels keeps recordings apart; what cannot be learnt from them is said."""
    lines = ["run,q,u", *(f"{run},{k * run},1" for run in (1, 2) for k in range(10))]
    (tmp_path / "runs.csv").write_text("\n".join(lines), encoding="utf-8")
    options = ["--x", "q", "--u", "u", "--dt", 0.5, "--episode", "run"]
    said = done("import", tmp_path / "runs.csv", *options, "-o", tmp_path / "data.npz")
    assert (said["episodes"], said["n_samples"]) == (2, 18)
    assert "input u never moves" in said["weaknesses"][0]
    result = invoke("import", tmp_path / "runs.csv", *options, "-o", tmp_path / "data.npz")
    assert "note: input u never moves" in result.stdout


def test_a_newcomers_way_from_a_shell(tmp_path):
    """From the text file to a fitted model and its report, with programs of their own."""
    recording(tmp_path)
    for command in (
        "import recording.csv --x pos,vel --u force --time time -o data.npz",
        "fit data.npz --n-features 10 --plot fit.png -o model.npz",
        "inspect model.npz",
    ):
        result = shell(*command.split(), cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
    assert "1 step between time stamps was not dt" in " ".join(result.stdout.split())  # the report remembers


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--x pos,speed --time time", "speed"),
        ("--x pos --time clock", "clock"),
        ("--x remark --time time", "recording.csv, line 2, column 'remark' holds the text 'text'"),
        ("--x pos --time time --dt 0.2", "dt is 0.2 s"),
        ("--x pos --time time --jitter 0.7", "jitter is 0.7"),
        ("--x pos --dt -1", "dt is -1"),
        ("--x pos --dt 1 --delimiter ::", "delimiter"),
    ],
)
def test_what_cannot_be_read_is_named(options, words, tmp_path):
    """One line that names column, line or option, and no file."""
    path = recording(tmp_path)
    assert words in failure("import", path, *options.split(), "-o", tmp_path / "data.npz")
    assert not (tmp_path / "data.npz").exists()


def test_a_missing_file_and_a_missing_option(tmp_path):
    """No such file is a failure; no sampling time, or the input as output, is a wrong command."""
    assert "none.csv" in failure("import", tmp_path / "none.csv", "--x", "q", "--dt", 1, "-o", tmp_path / "d")
    path = recording(tmp_path)
    assert "--time" in failure("import", path, "--x", "pos", "-o", tmp_path / "d", status=2)
    npz = path.rename(tmp_path / "recording.npz")
    before = npz.read_bytes()
    failure("import", npz, "--x", "pos", "--dt", 1, "-o", npz, status=2)
    assert npz.read_bytes() == before

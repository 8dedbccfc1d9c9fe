"""Rivals of the identification bench: environments, runs that end in any way, and the protocol between them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import koopctl as kc
from koopctl.bench.rivals import peers
from koopctl.bench.rivals.problems import TanhLayer, attractor_problem, motion_problem, step_errors
from koopctl.bench.rivals.rival import Rival, RivalError, cache_folder, environment, run_rival
from koopctl.errors import DataError, ShapeError

RIVALS = (*peers.MOTION_RIVALS, *peers.ATTRACTOR_RIVALS)
FOLDER = Path(peers.__file__).parent

# x+ = A x + B u by ridge regression: the true answer on a linear plant, with a bad setting to be avoided.
LINEAR = """
import os
import numpy as np

PACKAGE = None


class Linear:
    label = "linear on " + os.environ["OMP_NUM_THREADS"]
    rollouts = ("linear",)
    grid = ({"ridge": 10.0}, {"ridge": 0.0})

    def prepare(self, data):
        X, U = data
        pairs = [np.column_stack([x[:-1], u]) for x, u in zip(X, U)]
        return np.vstack(pairs), np.vstack([x[1:] for x in X])

    def fit(self, prepared, settings):
        S, Y = prepared
        return np.linalg.solve(S.T @ S + settings["ridge"] * np.eye(S.shape[1]), S.T @ Y)

    def predict(self, model, start, ahead, rollout):
        rows = [start]
        for k in range(ahead.shape[1]):
            rows.append(np.column_stack([rows[-1], ahead[:, k]]) @ model)
        return np.stack(rows, axis=1)


def entrants(problem):
    return [Linear()]
"""

# A rotation continues by the matrix that least squares finds.
ROTATION = """
import numpy as np

PACKAGE = None


class Rotation:
    label, rollouts, grid = "rotation", ("free",), ({},)

    def prepare(self, data):
        return data

    def fit(self, prepared, settings):
        return np.linalg.lstsq(prepared[:-1], prepared[1:], rcond=None)[0]

    def predict(self, model, start, ahead, rollout):
        rows = [start[:, -1]]
        for _ in range(ahead):
            rows.append(rows[-1] @ model)
        return np.stack(rows, axis=1)


def entrants(problem):
    return [Rotation()]
"""


@pytest.fixture
def rival(tmp_path: Path) -> Callable[[str], Rival]:
    """Make a rival without requirements from the text of its script."""

    def make(text: str) -> Rival:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(text))
        return Rival("tiny", (), script)

    return make


@pytest.fixture(scope="module")
def plant() -> tuple[kc.Rollouts, kc.Rollouts]:
    """Ragged episodes of an exact linear plant, to learn from and to predict."""
    A, B = np.array([[0.9, 0.2], [-0.1, 0.95]]), np.array([[0.0], [0.3]])
    rng = np.random.default_rng(0)

    def record(lengths: list[int]) -> kc.Rollouts:
        X, U = [], []
        for length in lengths:
            u, x = rng.uniform(-1, 1, (length, 1)), [rng.uniform(-1, 1, 2)]
            for k in range(length):
                x.append(A @ x[-1] + B @ u[k])
            X.append(np.array(x))
            U.append(u)
        return kc.Rollouts(X, U, 0.1)

    return record([12, 9, 15, 12, 11, 10]), record([8, 12, 8, 5])


@pytest.fixture(scope="module")
def problem(plant: tuple[kc.Rollouts, kc.Rollouts]) -> dict[str, np.ndarray]:
    """The plant as a problem, with layers of ten random features."""
    rng = np.random.default_rng(1)
    state = TanhLayer(rng.normal(size=(2, 10)), rng.normal(size=10), np.zeros(2), np.ones(2))
    joint = TanhLayer(rng.normal(size=(3, 10)), rng.normal(size=10), np.zeros(3), np.ones(3))
    return motion_problem(*plant, width=10, layer=state, joint_layer=joint, repeats=3)


@pytest.fixture(scope="module")
def rotation() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A quasi-periodic series as a problem, and the truth that follows the training part."""
    time = 0.3 * np.arange(700)
    full = np.column_stack([np.cos(time), np.sin(time), np.cos(0.37 * time), np.sin(0.37 * time)])
    windows = np.stack([full[500 + k - 30 : 500 + k] for k in (0, 50, 90)])
    return attractor_problem(full[:500], windows, 0.3, width=50, steps=20, free_steps=150, washout=30), full


def test_a_rival_predicts_what_the_plant_does(rival, problem, plant):
    """Ragged episodes come back in order, from the first states alone, on one thread, with the better setting."""
    result = run_rival(rival(LINEAR), problem)
    (entry,) = result["entries"]
    assert entry["label"] == "linear on 1"
    assert entry["settings"] == {"ridge": 0.0}
    assert [trial["settings"] for trial in entry["trials"]] == [{"ridge": 10.0}, {"ridge": 0.0}]
    assert entry["trials"][0]["error"] > entry["trials"][1]["error"]
    assert entry["predictions"] == pytest.approx(np.concatenate(plant[1].X), abs=1e-9)
    assert len(entry["fit_times"]) == 3 and sorted(entry["fit_times"])[1] == entry["fit_s"] > 0
    assert result["rival"] == "tiny" and result["numpy"] == np.__version__


def test_a_rival_continues_a_series(rival, rotation):
    """Predictions go on from the windows' last states, the free run from the end of the training data."""
    problem, full = rotation
    (entry,) = run_rival(rival(ROTATION), problem)["entries"]
    assert entry["free_run"] == pytest.approx(full[499:650], abs=1e-6)
    truth = np.stack([full[499 + k : 520 + k] for k in (0, 50, 90)])
    assert entry["predictions"] == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise RuntimeError('no such luck')", "no such luck"),
        ("import os; os._exit(7)", "exit code 7"),
        ("import os; os._exit(0)", "no readable result"),
        ("import os, sys; open(sys.argv[3], 'wb').write(b'PK rubbish'); os._exit(0)", "no readable result"),
        ("import os, sys, numpy; numpy.savez(open(sys.argv[3], 'wb'), a=1); os._exit(0)", "no readable result"),
        ("PACKAGE = 'no-such-package'\ndef entrants(problem):\n    return []", "no-such-package"),
        ("def entrants(problem:", "SyntaxError"),
    ],
    ids=["raises", "exits", "writes nothing", "writes rubbish", "writes something else", "no package", "no Python"],
)
def test_every_end_is_a_result(rival, problem, text: str, why: str):
    """Whatever a script does, run_rival returns why there is nothing."""
    result = run_rival(rival(text), problem)
    assert result.keys() == {"rival", "failed"}
    assert result["rival"] == "tiny" and why in result["failed"]


def test_a_rival_that_does_not_end_is_stopped(rival, problem):
    """The time limit holds, and the text names it."""
    result = run_rival(rival("while True: pass"), problem, timeout=1.5)
    assert "1.5 s" in result["failed"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("return np.stack(rows, axis=1)", "return np.stack(rows, axis=0)"), "expected"),
        (("S, Y = prepared", "raise MemoryError('too\\n big')"), "MemoryError: too big"),
    ],
    ids=["wrong shape", "fit raises"],
)
def test_one_entrant_may_fail_alone(rival, problem, change: tuple[str, str], why: str):
    """The others are measured all the same."""
    bad = LINEAR.replace(*change).replace("class Linear", "class Bad").split("def entrants")[0]
    text = bad + LINEAR.replace("return [Linear()]", "return [Bad(), Linear()]")
    first, second = run_rival(rival(text), problem)["entries"]
    assert why in first["failed"]
    assert "predictions" in second


def test_a_setting_that_cannot_be_fitted_is_not_chosen(rival, problem):
    """Its trial says why; a roll-out that ran away has no error."""
    text = LINEAR.replace('({"ridge": 10.0}', '({"ridge": "none"}, {"ridge": -1e-3}, {"ridge": np.nan}')
    (entry,) = run_rival(rival(text), problem)["entries"]
    assert entry["settings"] == {"ridge": 0.0}
    assert "failed" in entry["trials"][0] and entry["trials"][0]["error"] is None
    assert entry["trials"][2]["error"] is None


def test_objects_are_no_problem_of_ours(rival, problem):
    """What would need a pickle is refused before anything runs."""
    ragged = np.array([np.zeros(2), np.zeros(3)], dtype=object)
    with pytest.raises(DataError, match="X.*lengths"):
        run_rival(rival(LINEAR), problem | {"X": ragged})


def test_a_name_is_a_folder_name():
    """No rival leaves the cache folder."""
    with pytest.raises(DataError, match="folder"):
        Rival("../elsewhere", (), Path("script.py"))


def test_the_cache_can_be_moved(monkeypatch, tmp_path):
    """$KOOPCTL_CACHE wins over the user's cache folder."""
    monkeypatch.delenv("KOOPCTL_CACHE", raising=False)
    assert cache_folder().name == "koopctl"
    monkeypatch.setenv("KOOPCTL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package of one line, installable without any network."""
    path = tmp_path / "tiny_package-1.5-py3-none-any.whl"
    info = "tiny_package-1.5.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny_package.py", "ANSWER = 42\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.5\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"tiny_package.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.mark.slow
def test_an_environment_is_made_once(tmp_path, wheel, problem):
    """It holds the requirement and no koopctl; it is made anew for other requirements or after an interruption."""
    rival = Rival("tiny", (str(wheel),), tmp_path / "script.py")
    python = environment(rival, tmp_path / "cache")
    code = "import importlib.util as i, tiny_package; print(tiny_package.ANSWER, i.find_spec('koopctl'))"
    said = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["42", "None"]
    (marker,) = (tmp_path / "cache").rglob("koopctl-rival.json")
    trace = marker.with_name("trace")
    trace.touch()
    assert environment(rival, tmp_path / "cache") == python and trace.exists()
    missing = Rival("tiny", (str(wheel), str(tmp_path / "missing-1.0-py3-none-any.whl")), rival.script)
    assert "missing-1.0" in run_rival(missing, problem, tmp_path / "cache")["failed"]
    assert not trace.exists() and not marker.exists()
    assert environment(rival, tmp_path / "cache") == python and marker.exists()


def test_a_place_that_is_no_folder_is_a_result(tmp_path, problem):
    """A file where the cache should be is said, with the way out."""
    (tmp_path / "file").touch()
    rival = Rival("tiny", ("anything==1.0",), tmp_path / "script.py")
    with pytest.raises(RivalError, match="KOOPCTL_CACHE"):
        environment(rival, tmp_path / "file")
    assert "KOOPCTL_CACHE" in run_rival(rival, problem, tmp_path / "file")["failed"]


def test_step_errors_are_deviations(plant):
    """An offset of one standard deviation in one of two states is sqrt(1/2) at every step; nan is inf."""
    _, test = plant
    truth = np.concatenate(test.X)
    off = truth + [truth[:, 0].std(), 0.0]
    assert step_errors(off, test, (1, 8, 12)) == pytest.approx(dict.fromkeys((1, 8, 12), np.sqrt(0.5)))
    only_last = truth.copy()
    only_last[9 + 12] = np.nan  # the last state of the second episode, the only one with 12 steps
    assert step_errors(only_last, test, (8, 12)) == {8: 0.0, 12: float("inf")}
    with pytest.raises(ShapeError, match="step 13"):
        step_errors(truth, test, (13,))
    with pytest.raises(ShapeError, match="predictions"):
        step_errors(truth[1:], test, (1,))


def test_a_layer_of_another_width_is_refused(plant):
    """A layer over (x, u) cannot be one over x."""
    layer = TanhLayer(np.ones((3, 4)), np.ones(4), np.zeros(3), np.ones(3))
    assert motion_problem(*plant, width=4, joint_layer=layer)["joint_weights"].shape == (3, 4)
    with pytest.raises(ShapeError, match=r"expected \(2, nf\)"):
        motion_problem(*plant, width=4, layer=layer)


def test_missing_samples_are_refused(plant):
    """No rival knows what to do with a gap; said before anything is installed."""
    train, test = plant
    with pytest.raises(DataError):
        gap = kc.Rollouts([np.array([[0.0, 1.0], [np.nan, 1.0], [0.5, 0.5]])], [np.zeros((2, 1))], train.dt)
        motion_problem(gap, test, width=10)


def imports(path: Path) -> set[str]:
    """Return the modules a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def foreign(path: Path) -> set[str]:
    """Return the packages outside the standard library that a file imports."""
    return {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_scripts_stand_alone(rival: Rival):
    """A script imports what its pins install, each pinned to one version; of koopctl only a model of its own does."""
    assert all("==" in requirement for requirement in rival.requirements)
    pinned = {requirement.split("==")[0].replace("scikit-learn", "sklearn") for requirement in rival.requirements}
    assert {rival.name, "numpy"} <= foreign(rival.script) <= pinned
    assert foreign(FOLDER / "harness.py") == {"numpy"}
    package = FOLDER.parents[1]
    importers = {path for path in package.rglob("*.py") if rival.name in foreign(path)}
    of_models = {package / "models" / "with_reservoirpy.py"} if rival.name == "reservoirpy" else set()
    assert importers == {rival.script} | of_models
    full_name = f"koopctl.bench.rivals.{rival.script.stem}"
    assert not any(full_name in imports(path) for path in FOLDER.parents[1].rglob("*.py"))


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the real rivals live: $KOOPCTL_CACHE, or a folder that goes after the tests (a gigabyte)."""
    reachable = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "numpy", "--retries", "1", "--timeout", "10"],
        capture_output=True,
    )
    if reachable.returncode:
        pytest.skip("no package index answers pip; rivals cannot be installed")
    if "KOOPCTL_CACHE" in os.environ:
        yield cache_folder()
        return
    import shutil

    folder = tmp_path_factory.mktemp("rivals")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("rival", peers.MOTION_RIVALS, ids=lambda rival: rival.name)
def test_real_rivals_of_motion(rival: Rival, problem, plant, environments: Path):
    """Each installs, fits every entrant to an easy plant, and predicts it better than standing still would."""
    result = run_rival(rival, problem, environments)
    assert "failed" not in result, result
    assert result["package"].startswith(rival.name)
    first = np.cumsum([0, *(len(x) for x in plant[1].X[:-1])])
    for entry in result["entries"]:
        assert "failed" not in entry, entry
        assert entry["predictions"][first] == pytest.approx(np.array([x[0] for x in plant[1].X]))
        assert step_errors(entry["predictions"], plant[1], (5,))[5] < 0.3, entry["label"]
    rollouts = {(entry["label"], entry["rollout"]) for entry in result["entries"]}
    if rival is peers.PYKOOP:
        assert {("pykoop, same features", "relifted"), ("pykoop, same features", "linear")} < rollouts


@pytest.mark.slow
def test_the_real_echo_state_network(rotation, environments: Path):
    """It installs, learns a quasi-periodic series and stays on it."""
    problem, full = rotation
    result = run_rival(peers.RESERVOIRPY, problem, environments)
    assert "failed" not in result, result
    (entry,) = result["entries"]
    assert entry["free_run"][0] == pytest.approx(full[499])
    assert entry["predictions"][:, 1:6] == pytest.approx(
        np.stack([full[500 + k : 505 + k] for k in (0, 50, 90)]), abs=0.05
    )

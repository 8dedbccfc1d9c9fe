"""The command line from end to end: files, words, JSON and exit statuses, as a shell sees them."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import RUNNER, done, failure, invoke, shell

import koopctl as kc
from koopctl.errors import DataError

TASK = {"target": 0.0, "Q": {"theta": 1.0, "thetadot": 0.1}, "R": 0.001, "u_min": -2.0, "u_max": 2.0, "horizon": 10}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model, and three laws, all written by the command line."""
    folder = tmp_path_factory.mktemp("files")
    done("collect", "Pendulum-v1", "--episodes", 60, "--steps", 40, "--seed", 0, "-o", folder / "data.npz")
    done("fit", folder / "data.npz", "--n-features", 100, "-o", folder / "model.npz")
    done("fit", folder / "data.npz", "--model", "edmdc", "--n-features", 30, "-o", folder / "edmdc.npz")
    (folder / "task.json").write_text(json.dumps(TASK))
    for kind, model in (("relinearized", "model"), ("lifted", "edmdc"), ("lqr", "model")):
        made = folder / f"{kind}.npz"
        done("design", folder / f"{model}.npz", "--env", "Pendulum-v1", "--kind", kind, "--horizon", 15, "-o", made)
    return folder


# ---------------------------------------------------------------------- from end to end
def test_the_way_from_a_shell(tmp_path):
    """Six programs, each reading the file of the one before, and a controller that balances at the end."""
    steps = (
        "collect Pendulum-v1 --episodes 60 --steps 40 --seed 0 --jobs 2 --excitation piecewise -o data.npz",
        "fit data.npz --model sampled-rnn --n-features 100 --delays 0 --ridge 1e-10 -o model.npz",
        "design model.npz --env Pendulum-v1 --kind lqr -o law.npz",
        "simulate Pendulum-v1 law.npz --seed 100 --steps 50 --initial-state 0.1,0 -o run.npz",
        "export law.npz c",
    )
    for step in steps:
        result = shell(*step.split(), cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""  # no bar where nobody watches
        assert "wrote " in result.stdout
    run = kc.load(tmp_path / "run.npz")
    assert isinstance(run, kc.Trajectory)
    assert abs(run.X[-1, 1]) < 0.02 and run.X[-1, 0] > 0.99
    assert (tmp_path / "c" / "law.c").is_file()


def test_collect_writes_what_python_collects(files):
    """The same arguments, the same bytes of motion."""
    data = kc.load(files / "data.npz")
    again = kc.collect("Pendulum-v1", episodes=60, steps=40, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(data.X + data.U, again.X + again.U, strict=True))


def test_fit_scores_the_model_in_the_file_on_episodes_it_has_not_seen(files, tmp_path):
    """The printed numbers can be had again from the file and the episodes that were kept back."""
    said = done("fit", files / "data.npz", "--n-features", 100, "--held-out", 0.2, "-o", tmp_path / "m")
    model, data = kc.load(tmp_path / "m.npz"), kc.load(files / "data.npz")
    train, test = data.split(0.8)
    assert said["output"] == str(tmp_path / "m.npz")
    assert model._learnt_.n == train.n_samples
    assert said["scores"]["held_out"]["score"] == pytest.approx(model.score(test), rel=1e-12)
    assert said["scores"]["train"]["score"] == pytest.approx(model.score(train), rel=1e-12)
    assert len(said["scores"]["held_out"]["relifted"]) == len(said["scores"]["held_out"]["linear"]) == 40
    assert said["spectral_radius"] is None
    assert any("cos and sin of one angle" in note for note in said["notes"])


def test_fit_on_everything_is_what_python_fits(files, tmp_path):
    """Nothing held out, no held-out scores, and the model of `kc.fit`."""
    said = done("fit", files / "data.npz", "--n-features", 100, "--held-out", 0, "-o", tmp_path / "m.npz")
    assert list(said["scores"]) == ["train"]
    model = kc.fit(kc.load(files / "data.npz"), kc.SampledRNN(n_features=100))
    assert np.array_equal(kc.load(tmp_path / "m.npz").C_, model.C_)


def test_design_takes_a_task_from_json(files, tmp_path):
    """The law in the file is designed for the task in the file."""
    said = done("design", files / "model.npz", "--task", files / "task.json", "-o", tmp_path / "law.npz")
    assert said["kind"] == "relinearized"
    law = kc.load(tmp_path / "law.npz")
    assert law.task.to_dict() == kc.Task.from_dict(TASK).to_dict() == said["task"]


@pytest.mark.parametrize(
    ("noise", "expected"),
    [("0.01", [0.01, 0.01]), ("theta=0.01,thetadot=0.1", [0.01, 0.1]), ("theta=0.02", [0.02, np.inf])],
)
def test_design_takes_an_observer_from_the_sensor_noise(noise, expected, files, tmp_path):
    """The law in the file has it: extended by default, lifted where asked for; what is not named is not measured."""
    for model, options, kind in (("model", (), "extended"), ("edmdc", ("--observer", "lifted"), "lifted")):
        made = ["design", files / f"{model}.npz", "--env", "Pendulum-v1", "--sensor-noise", noise, *options]
        assert done(*made, "-o", tmp_path / "law.npz")["observer"] == kind
        observer = kc.load(tmp_path / "law.npz").observer
        assert observer.kind == kind
        assert list(observer.sensor_noise) == expected


@pytest.mark.parametrize(
    ("model", "kind", "typed", "options"),
    [
        ("edmdc", "lifted", "--solver active_set --offset-free 0.2", {"solver": "active_set", "offset_free": 0.2}),
        (
            "model",
            "relinearized",
            "--iterations 3 --tolerance 1e-5 --candidates 4 --step-bound 1.5 --reserve 0 --random-state 7 "
            "--rival-rounds 2 --solver active_set --offset-free 0.1",
            {"iterations": 3, "tolerance": 1e-5, "candidates": 4, "step_bound": 1.5, "reserve": 0.0}
            | {"random_state": 7, "rival_rounds": 2, "solver": "active_set", "offset_free": 0.1},
        ),
        ("model", "lqr", "--integral theta=0.5", {"lifted": False, "integral": {"theta": 0.5}}),
        ("edmdc", "lqr", "--lifted --finite-horizon 12", {"lifted": True, "horizon": 12}),
    ],
)
def test_design_takes_every_option_of_the_law(model, kind, typed, options, files, tmp_path):
    """The law in the file was designed with what was typed; its own defaults stand for the rest."""
    made = ["design", files / f"{model}.npz", "--env", "Pendulum-v1", "--kind", kind, *typed.split()]
    said = done(*made, "-o", tmp_path / "law.npz")
    assert kc.load(tmp_path / "law.npz").options() == options
    assert said["options"].items() >= {k: v for k, v in options.items() if k not in ("lifted", "horizon")}.items()


@pytest.mark.slow
def test_design_fits_a_value(files, tmp_path):
    """By default, or with settings; the file holds the settings."""
    made = ["design", files / "model.npz", "--env", "Pendulum-v1", "--horizon", 15, "-o", tmp_path / "law.npz"]
    done(*made, "--value", "n_features=200,n_states=3000")
    settings = kc.load(tmp_path / "law.npz").value.settings
    assert (settings["n_features"], settings["n_states"], settings["sweeps"]) == (200, 3000, 40)


def test_design_names_the_inputs_it_chooses(tmp_path):
    """Measured inputs are not among them."""
    rng = np.random.default_rng(0)
    A, B = np.array([[0.9, 0.1], [0.0, 0.8]]), np.array([[0.0, 0.1], [0.2, 0.0]])
    X, U = [rng.normal(size=(1, 2))], rng.normal(size=(200, 2))
    for u in U:
        X.append(X[-1] @ A.T + B @ u)
    kc.EDMDc(kc.Identity()).fit(kc.Rollouts([np.concatenate(X)], [U], 0.1, ["a", "b"], ["push", "load"])).save(
        tmp_path / "model.npz"
    )
    (tmp_path / "task.json").write_text(json.dumps({"target": 0.0, "Q": 1.0, "R": 0.1, "disturbances": ["load"]}))
    said = done("design", tmp_path / "model.npz", "--task", tmp_path / "task.json", "-o", tmp_path / "law.npz")
    assert list(said["steady_u"]) == ["push"]


@pytest.mark.parametrize(
    ("model", "typed", "words"),
    [
        ("model", "--kind lqr --candidates 4", "the law 'lqr' has no option 'candidates'"),
        ("edmdc", "--iterations 2", "the law 'lifted', which suits this model, has no option 'iterations'"),
        ("model", "--iterations 0", "iterations=0"),
        ("model", "--value n_feature=30", "did you mean 'n_features'"),
        ("model", "--kind lqr --integral theta=-1", "weights must not be negative"),
        ("model", "--offset-free 2", "a gain above 0 and at most 1"),
    ],
)
def test_an_option_that_does_not_suit_the_law_is_one_line(model, typed, words, files, tmp_path):
    """Which law takes it, or what it may be."""
    said = failure("design", files / f"{model}.npz", "--env", "Pendulum-v1", *typed.split(), "-o", tmp_path / "law")
    assert words in said and not (tmp_path / "law.npz").exists()


def test_simulate_records_what_python_simulates(files, tmp_path):
    """The same run, to the last bit, with its summary."""
    said = done("simulate", "Pendulum-v1", files / "lqr.npz", "--seed", 7, "--steps", 30, "-o", tmp_path / "run.npz")
    run, again = kc.load(tmp_path / "run.npz"), kc.simulate("Pendulum-v1", kc.load(files / "lqr.npz"), seed=7, steps=30)
    assert np.array_equal(run.X, again.X) and np.array_equal(run.U, again.U)
    assert said["total_reward"] == again.total_reward
    assert (said["steps"], said["end"], said["statuses"]) == (30, "steps", {"solved": 30})


def test_compare_tells_the_laws_apart(files, tmp_path):
    """JSON, table and report name every law."""
    laws = [f"mpc={files / 'relinearized.npz'}", files / "lqr.npz"]
    options = ["--seeds", "100:102", "--steps", 40]
    said = done("compare", "Pendulum-v1", *laws, *options, "--report", tmp_path / "report")
    assert [law["name"] for law in said["laws"]] == ["mpc", "lqr"]
    assert said["seeds"] == [100, 101]
    assert Path(said["report"]).read_text(encoding="utf-8").count("lqr") > 0
    table = invoke("compare", "Pendulum-v1", *laws, *options).stdout
    assert "mpc" in table and "lqr" in table
    assert "note:" not in table


def test_compare_says_each_note_once(files):
    """In the table's caption and nowhere else, whether the words go to stdout or, beside JSON, to stderr."""
    command = ["compare", "Pendulum-v1", files / "lqr.npz", "--seeds", "0:2", "--steps", 3, "--jobs", 2]
    result = invoke(*command)
    assert result.exit_code == 0, result.stderr
    assert " ".join(result.stdout.split()).count("2 runs shared the cores") == 1
    assert len(json.loads(invoke(*command, "--json").stdout)["notes"]) == 1


def test_collect_runs_a_law_too(files, tmp_path):
    """On-policy data: the law alone, without any excitation."""
    options = ["--law", files / "lqr.npz", "--excitation", "none", "--episodes", 2, "--steps", 20]
    said = done("collect", "Pendulum-v1", *options, "-o", tmp_path / "more")
    assert (said["episodes"], said["n_samples"]) == (2, 40)


# ---------------------------------------------------------------------- failures
def test_unknown_environment_lists_the_nearest(tmp_path):
    """A misspelt id fails at once, with the right one."""
    assert "Pendulum-v1" in failure("collect", "Pendulm-v1", "-o", tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_broken_and_foreign_files_are_named(files, tmp_path):
    """Nothing is written from a file that is damaged, of another kind, missing, or not koopctl's."""
    whole = (files / "data.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(bytes(flipped))
    np.savez(tmp_path / "foreign.npz", X=np.zeros(3))
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("cut", "flipped", "foreign", "empty", "missing"):
        said = failure("fit", tmp_path / f"{name}.npz", "-o", tmp_path / "out.npz")
        assert f"{name}.npz" in said
    said = failure("fit", files / "lqr.npz", "-o", tmp_path / "out.npz")
    assert "holds a law, expected recorded motion" in said and "koopctl collect" in said
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds a list"),
        ('{"target": 0}', "missing: Q, R"),
        ('{"Z": 1}', "unknown here: Z"),
    ],
)
def test_a_wrong_task_is_explained(text, words, files, tmp_path):
    """Whatever is wrong with the JSON of a task, the line says it."""
    (tmp_path / "task.json").write_text(text)
    assert words in failure("design", files / "model.npz", "--task", tmp_path / "task.json", "-o", tmp_path / "law")


def test_other_failures_have_status_one(files, tmp_path):
    """Unknown plant, unknown excitation, a law that C does not cover, a file where a folder must be."""
    model = files / "model.npz"
    assert "Pendulum-v1" in failure("design", model, "--env", "Pendulum-v2", "-o", tmp_path / "law")
    assert "piecewise" in failure("collect", "Pendulum-v1", "--excitation", "pieces", "-o", tmp_path / "data")
    assert "kind='lqr'" in failure("export", files / "relinearized.npz", tmp_path / "c")
    (tmp_path / "file").write_text("")
    assert "file" in failure("export", files / "lqr.npz", tmp_path / "file")
    assert "lifted linear law" in failure(
        "design", model, "--env", "Pendulum-v1", "--kind", "lifted", "-o", tmp_path / "l"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "collect Pendulum-v1",
        "fit {f}/data.npz --model kalman -o {t}/m",
        "fit {f}/data.npz --held-out 1 -o {t}/m",
        "fit {f}/data.npz -o {f}/data",
        "fit {f}/data.npz -o {f}/../",
        "design {f}/model.npz -o {t}/law",
        "design {f}/model.npz --env Pendulum-v1 --task {f}/task.json -o {t}/law",
        "design {f}/model.npz --env Pendulum-v1 --task {f}/task.json -o {f}/model.npz",
        "design {f}/model.npz --env Pendulum-v1 --observer extended -o {t}/law",
        "design {f}/model.npz --env Pendulum-v1 --sensor-noise little -o {t}/law",
        "design {f}/model.npz --env Pendulum-v1 --solver gurobi -o {t}/law",
        "design {f}/model.npz --env Pendulum-v1 --value large -o {t}/law",
        "design {f}/model.npz --env Pendulum-v1 --integral some -o {t}/law",
        "simulate Pendulum-v1 {f}/lqr.npz --initial-state up -o {t}/run",
        "compare Pendulum-v1 a={f}/lqr.npz a={f}/lifted.npz",
        "compare Pendulum-v1 {f}/lqr.npz --seeds 5:5",
        "compare Pendulum-v1 {f}/lqr.npz --seeds five",
        "bench everything",
        "fly",
    ],
)
def test_usage_errors_have_status_two(arguments, files, tmp_path):
    """What is wrong with the command itself, not with files or mathematics; nothing is touched."""
    before = (files / "data.npz").read_bytes(), (files / "model.npz").read_bytes()
    target = tmp_path / "new"
    failure(*arguments.format(f=files, t=target).split(), status=2)
    assert not target.exists()
    assert before == ((files / "data.npz").read_bytes(), (files / "model.npz").read_bytes())


def test_a_folder_is_no_output(files, tmp_path):
    """It is refused before any work."""
    (tmp_path / "law.npz").mkdir()
    said = failure("design", files / "model.npz", "--env", "Pendulum-v1", "-o", tmp_path / "law", status=2)
    assert "folder" in said


def test_an_existing_output_is_replaced(files, tmp_path):
    """Writing twice leaves one whole file and no leftovers."""
    for steps in (5, 6):
        done("simulate", "Pendulum-v1", files / "lqr.npz", "--steps", steps, "-o", tmp_path / "run.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
    assert kc.load(tmp_path / "run.npz").steps == 6


def test_warnings_are_lines_on_stderr(files, tmp_path):
    """A warning of the library is one line without the source line it came from; JSON stays clean."""
    data = kc.load(files / "data.npz")
    short = kc.Rollouts([data.X[0][:2], *data.X[1:]], [data.U[0][:1], *data.U[1:]], data.dt, data.x_names, data.u_names)
    short.save(tmp_path / "short.npz")
    result = invoke("fit", tmp_path / "short.npz", "--delays", 2, "--held-out", 0, "-o", tmp_path / "m", "--json")
    json.loads(result.stdout)
    lines = [line for line in result.stderr.splitlines() if line.startswith("koopctl: warning: ")]
    assert len(lines) == 1 and "shorter than 3" in lines[0]
    assert "UserWarning" not in result.stderr


SLOW = """
import os, time
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv

class Slow(PendulumEnv):
    def reset(self, **options):
        with open(os.environ["RESETS"], "ab") as log:
            log.write(b".")
        return super().reset(**options)

    def step(self, action):
        time.sleep(0.002)
        return super().step(action)

gymnasium.register("Slow-v0", Slow)
"""


def interrupted(folder: Path, resets: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Collect from a slow plant, interrupted by a real Ctrl-C after some resets."""
    (folder / "slowplant.py").write_text(SLOW)
    log = folder / "resets"
    log.write_bytes(b"")
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "koopctl", "collect", "slowplant:Slow-v0", "--episodes", "3000", *options]
    process = subprocess.Popen(
        [*command, "-o", str(folder / "data.npz")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"RESETS": str(log), "PYTHONPATH": paths},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    try:
        while log.stat().st_size < resets:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_an_interrupted_collect_keeps_the_finished_episodes(tmp_path):
    """Status 1, one line that counts them, and a file that holds them."""
    result = interrupted(tmp_path, 5, "--steps", "20", "--json")
    assert result.returncode == 1
    said = json.loads(result.stdout)
    kept = said["episodes"]
    assert said["interrupted"] is True and 0 < kept < 3000
    assert f"interrupted: {kept} of 3000 episodes kept" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(kc.load(tmp_path / "data.npz")) == kept


def test_an_interrupt_with_nothing_to_keep_writes_nothing(tmp_path):
    """Before the first episode is finished there is only the message."""
    result = interrupted(tmp_path, 1, "--steps", "100000")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "koopctl: interrupted before there was a result to keep; nothing was written."
    ]
    assert not (tmp_path / "data.npz").exists()


# ---------------------------------------------------------------------- at rest
def _child_seconds() -> float:
    """Return the processor time of all child processes that have ended [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_fast_and_loads_nothing_heavy():
    """Asking for help must not wait for numerical packages: it takes little more than any program's of this kind."""
    code = (
        "import sys; sys.argv = ['koopctl', '--help']\n"
        "from koopctl.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        "    heavy = {'numpy', 'scipy', 'gymnasium', 'sklearn', 'matplotlib', 'cvxpy', 'control', 'jax'}\n"
        "    print(end.code, sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    plain = "import sys, typer; sys.argv = ['plain', '--help']\ntyper.run(lambda: None)\n"
    ours, theirs = [], []
    for _ in range(4):
        for source, seconds in ((code, ours), (plain, theirs)):
            start = _child_seconds()  # of the processor: the clock on the wall tells what else the machine does
            command = [sys.executable, "-c", source]
            result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            seconds.append(_child_seconds() - start)
            assert result.stderr.strip() == ("0 []" if source == code else "")
    assert min(ours) < 2.0 * min(theirs)


def test_version():
    """The version is that of the package."""
    assert invoke("--version").stdout == f"koopctl {kc.__version__}\n"


# Of `compare --models`: those of `compare_models`, and what makes its data and its models.
OF_MODELS = {"models", "data", "held_out", "episodes", "episode_steps", "random_state"}
OF_MODELS |= {"n_features", "hidden", "washout", "train_steps", "train_horizon"}


@pytest.mark.parametrize(
    ("verb", "function"),
    [
        ("collect", kc.collect),
        ("design", kc.design),
        ("simulate", kc.simulate),
        ("compare", kc.compare),
        ("export", kc.export),
    ],
)
def test_options_are_called_like_the_arguments(verb, function):
    """What the command line offers is called as in Python; only files and words for a shell come on top."""
    import inspect

    from koopctl.cli import closed_loop, designing, recording, shipping

    command = next(getattr(m, verb) for m in (recording, designing, closed_loop, shipping) if hasattr(m, verb))
    own = set(inspect.signature(command).parameters) - {"output", "as_json", "report"}
    extra = {"design": {"env", "horizon", "sensor_noise"}, "compare": OF_MODELS}.get(verb, set())
    assert own - extra <= set(inspect.signature(function).parameters)


def test_too_little_memory_is_one_line():
    """Whoever asks for a hundred thousand features gets a remedy, no traceback."""
    import typer

    from koopctl.cli.statuses import Verbs

    app = typer.Typer(cls=Verbs)
    app.callback()(lambda: None)

    @app.command()
    def hungry() -> None:
        np.empty((1 << 40, 1 << 10))

    result = RUNNER.invoke(app, ["hungry"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("koopctl: not enough memory (Unable to allocate 8.00 PiB")
    assert result.stderr.count("\n") == 1 and "fewer features" in result.stderr


def test_errors_of_our_own_are_not_swallowed():
    """Only failures the library raises on purpose become one line; a bug keeps its traceback."""
    from koopctl.cli.statuses import Verbs

    assert issubclass(DataError, kc.KoopctlError)
    group = Verbs(name="koopctl", commands={})
    with pytest.raises(AttributeError):
        group.invoke(None)

"""Models side by side under one controller, in Python and at the shell; and every kind of model by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from commands import done, failure, invoke

import koopctl as kc
from koopctl import model_comparison
from koopctl.cli.kinds import TAKES, TRAINED, unfitted
from koopctl.comparison import Comparison
from koopctl.envs import task as usual_task
from koopctl.errors import DataError, EnvironmentUnsupportedError, SamplingTimeError, UnknownNameError
from koopctl.learnt import HeldOut
from koopctl.model_comparison import compare_models
from koopctl.models import recurrent
from koopctl.models.recurrent.gapped_rollouts import GappedRollouts

pytest.importorskip("reservoirpy")

TASK = usual_task("Pendulum-v1").replace(horizon=6)
DATA = kc.collect("Pendulum-v1", episodes=20, steps=30, seed=0)
GAPPED = GappedRollouts(DATA.X, DATA.U, DATA.dt, DATA.x_names)
MODELS = {
    "ours": kc.SampledRNN(40),
    "elm": kc.SampledRNN(40, sampling="random", delays=2),
    "echo-state": kc.EchoState(15, washout=5),
}
TINY = ("--seeds", "0:2", "--steps", 5, "--n-features", 15, "--washout", 5)


class Broken(kc.SampledRNN):
    """A model with a bug of its own."""

    def fit(self, rollouts, y=None, sample_weight=None):
        """Fail as no koopctl model does."""
        raise ZeroDivisionError("by\n   nought")


class Mute(kc.SampledRNN):
    """A model that can be fitted and designed for, but predicts nothing."""

    def predict(self, x0, U, relift=True):
        """Fail."""
        raise RuntimeError("nothing to say")


class Stopped(kc.SampledRNN):
    """A model whose fit is interrupted."""

    def fit(self, rollouts, y=None, sample_weight=None):
        """Be interrupted."""
        raise KeyboardInterrupt


@pytest.fixture
def unfittable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fit may begin."""

    def fit(*_: object) -> None:
        pytest.fail("a model was fitted")

    monkeypatch.setattr(model_comparison, "_fitted", fit)


@pytest.fixture(scope="module")
def table() -> Comparison:
    """Three models on two seeds."""
    return compare_models("Pendulum-v1", MODELS, DATA, range(2), task=TASK, steps=6)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recorded motion and a task."""
    folder = tmp_path_factory.mktemp("files")
    DATA.save(folder / "data.npz")
    (folder / "task.json").write_text(json.dumps(TASK.to_dict()))
    return folder


# ---------------------------------------------------------------------------------------------- in Python
def test_every_model_meets_the_same_data_task_and_controller(table):
    """One split for all; the same law with the same options; the same seeds."""
    train, test = DATA.split(0.8)
    for name, template in MODELS.items():
        model = table.models[name]
        assert type(model) is type(template) and model.get_params() == template.get_params()
        assert model.report_.n_transitions == train.n_samples
        x = model.encode(test.X[0][: model.delays + 1], test.U[0][: model.delays])
        assert np.array_equal(model.step(x, [0.1]), kc.fit(train, template).step(x, [0.1]))
        assert [run.seed for run in table.runs[name]] == [0, 1] and not table[name].failures
    assert table.task == TASK
    alone = kc.simulate("Pendulum-v1", kc.RelinearizedMPC(table.models["ours"], TASK), seed=1, steps=6)
    assert np.array_equal(alone.U, table.runs["ours"][1].U)
    assert not hasattr(MODELS["ours"], "window_")


def test_held_out_errors_are_of_the_same_samples(table):
    """All predict from sample 5 on, the first that the longest memory allows: recomputed one roll-out at a time.

    In observations, each as a share of its deviation over the training data.
    """
    train, test = DATA.split(0.8)
    spread = np.std(np.concatenate(train.X), axis=0)
    for name, row in ((row.name, row) for row in table.rows):
        model, squares = table.models[name], []
        for Y, U in test:
            for k in range(5, len(U) - 6 + 1):
                x = model.encode(Y[k - model.delays : k + 1], U[k - model.delays : k])
                path = model.predict(x, U[k : k + 6])[1:]
                squares.append(((model.output(path) - Y[k + 1 : k + 7]) / spread) ** 2)
        expected = np.sqrt(np.mean(squares, axis=(0, 2)))
        assert len(squares) == 80 and row.learnt.horizon == 6
        assert (row.learnt.one_step, row.learnt.ahead) == pytest.approx((expected[0], expected[-1]), rel=1e-9)
        assert 0.0 < row.learnt.seconds < 60.0 and row.learnt.until_best == row.learnt.seconds


def test_errors_do_not_depend_on_a_model_s_coordinates():
    """The same linear map in other coordinates, of a plant without angles, with a column that stands still.

    On the manifold the two columns that say the same are one coordinate and the third is none, yet the errors agree
    and are those of three columns: recomputed here with the deviation of each, 1 for the one that stands still.
    """
    rng = np.random.default_rng(0)
    X, U = [], []
    for _ in range(8):
        u, y = rng.uniform(-1, 1, (25, 1)), [rng.uniform(-1, 1)]
        for k in range(25):
            y.append(0.9 * y[-1] + 0.1 * u[k, 0] + 0.01 * rng.standard_normal())
        X.append(np.column_stack([y, 3.0 * np.array(y), np.full(26, 7.0)]))
        U.append(u)
    data = kc.Rollouts(X, U, 0.05)
    train, test = data.split(0.75)
    unseen = HeldOut.of(train, test, 1, 4)
    assert unseen.spread == pytest.approx([*np.std(np.concatenate(train.X), axis=0)[:2], 1.0])
    errors = []
    for manifold in (True, False):
        model = kc.fit(train, kc.EDMDc(kc.Identity(), manifold=manifold))
        assert model.window_.nq == (1 if manifold else 3)
        errors.append(unseen.errors(model))
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)
    expected = []
    for Y, V in test:
        for k in range(1, 22):
            path = model.output(model.predict(model.encode(Y[k]), V[k : k + 4])[1:])
            expected.append(((path - Y[k + 1 : k + 5]) / unseen.spread) ** 2)
    assert errors[1] == pytest.approx(np.sqrt(np.mean(expected, axis=(0, 2))), rel=1e-9)


def test_the_table_the_json_and_the_report_tell_time_and_error(table, tmp_path):
    """In every form, with what the columns mean; the page draws the errors on the held-out episodes unasked."""
    text = str(table)
    assert "trained [s]" in text and "held-out" in text and "4 episodes were held out" in text
    assert "EchoState, 15 hidden states, made of 5 samples" in text
    described = table.to_dict()["laws"]
    assert [set(law["learnt"]) for law in described] == [
        {"seconds", "until_best", "one_step", "ahead", "horizon"} for _ in MODELS
    ]
    page = table.report(tmp_path).read_text()
    assert "trained = time of the fit" in page and "after 1 step / 6 steps" in page
    assert (
        page.count("open-loop predictions on held-out episodes") == 2
    )  # the figure's words for readers of either kind


def test_laws_alone_have_no_such_columns(table):
    """Nothing is said of learning where nothing was learnt."""
    law = kc.LQR(table.models["ours"], TASK)
    plain = kc.compare("Pendulum-v1", {"lqr": law}, [0], steps=3)
    assert "trained" not in str(plain) and "learnt" not in plain.to_dict()["laws"][0] and plain.held_out is None


def test_a_model_that_cannot_be_fitted_is_left_out_with_a_note():
    """Its words are in the notes; where none is left that is an error."""
    models = {"ours": kc.SampledRNN(20), "long": kc.EchoState(10, washout=40), "wrong": kc.SampledRNN(20, ridge=-1.0)}
    found = compare_models("Pendulum-v1", models, DATA, [0], task=TASK, steps=2)
    assert [row.name for row in found.rows] == ["ours"]
    assert any("long is left out: DataError: a state is made of 40 samples" in note for note in found.notes)
    assert any("wrong is left out: DataError: ridge" in note for note in found.notes)
    del models["ours"]
    with pytest.raises(DataError, match="no model could be fitted.*long is left out.*wrong is left out"):
        compare_models("Pendulum-v1", models, DATA, [0], task=TASK)


def test_any_failure_of_one_model_leaves_the_others():
    """A bug in somebody's own model, in its fit or its predictions: its type and words, on one line."""
    models = {"broken": Broken(5), "ours": kc.SampledRNN(20), "mute": Mute(5)}
    found = compare_models("Pendulum-v1", models, DATA, [0], task=TASK, steps=2)
    assert [row.name for row in found.rows] == ["ours"] == list(found.models)
    assert "broken is left out: ZeroDivisionError: by nought" in found.notes
    assert "mute is left out: RuntimeError: nothing to say" in found.notes
    with pytest.raises(DataError, match="no model could be fitted.*mute is left out: RuntimeError"):
        compare_models("Pendulum-v1", {"mute": Mute(5)}, DATA, [0], task=TASK)
    with pytest.raises(KeyboardInterrupt):
        compare_models("Pendulum-v1", {"ours": kc.SampledRNN(5), "stopped": Stopped(5)}, DATA, [0], task=TASK)


def test_a_window_longer_than_the_held_out_episodes_costs_that_model_alone():
    """Long enough to learn from, but nothing to judge by: left out before its fit; the others keep their horizon."""
    _, test = DATA.split(0.8)
    short = {X.tobytes() for X in test.X}
    X = [x[:10] if x.tobytes() in short else x for x in DATA.X]
    data = kc.Rollouts(X, [u[: len(x) - 1] for x, u in zip(X, DATA.U, strict=True)], DATA.dt, DATA.x_names)
    assert max(map(len, data.split(0.8)[1].U)) == 9
    models = {
        "ours": kc.SampledRNN(15),
        "echo-state": kc.EchoState(10, washout=9),
        "delayed": Broken(10, delays=9),
        "just": kc.SampledRNN(15, delays=8),
    }
    found = compare_models("Pendulum-v1", models, data, [0], task=TASK, steps=1)
    assert [row.name for row in found.rows] == ["ours", "just"]
    assert {row.learnt.horizon for row in found.rows} == {1}
    for name in ("echo-state", "delayed"):
        words = f"{name} is left out: DataError: a state is made of 9 samples"
        assert any(note.startswith(words) and "has 9 transitions" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"models": {}}, DataError, "no models"),
        ({"models": {"a": 3}}, DataError, "'a' is 3"),
        ({"held_out": 0.0}, DataError, "held_out is 0.0"),
        ({"data": DATA[:1]}, DataError, "record more episodes"),
        ({"env": lambda: None}, DataError, "pass task="),
        ({"env": "Nothing-v0"}, UnknownNameError, "Nothing-v0"),
        ({"env": "Nothing-v0", "task": TASK}, EnvironmentUnsupportedError, "unknown environment 'Nothing-v0'"),
        ({"data": GAPPED}, DataError, "data is a GappedRollouts; expected Rollouts"),
        ({"data": [DATA, DATA]}, DataError, "data is a list; expected Rollouts.*join"),
        ({"data": kc.Rollouts(DATA.X, DATA.U, 0.1)}, SamplingTimeError, "dt = 0.05 s but .* dt = 0.1 s"),
        ({"seeds": []}, DataError, "seeds are"),
        ({"seeds": [-1]}, DataError, "seeds are"),
        ({"seeds": [0, 0]}, DataError, "seeds are"),
        ({"jobs": 0}, DataError, "jobs is 0"),
        ({"dt": -1.0}, DataError, "sampling time .* -1.0"),
        ({"steps": 0}, DataError, "steps is 0"),
        ({"steps": 1.5}, DataError, "steps is 1.5"),
    ],
)
@pytest.mark.usefixtures("unfittable")
def test_what_cannot_be_compared_is_refused(change, error, words):
    """In words, before anything is fitted."""
    arguments = {"env": "Pendulum-v1", "models": {"ours": kc.SampledRNN(10)}, "data": DATA, "seeds": [0], "steps": 1}
    with pytest.raises(error, match=words):
        compare_models(**(arguments | change))


def test_the_plant_is_closed_and_seeds_may_come_once():
    """What is opened to look at it is closed again; a generator of seeds reaches the runs whole."""
    opened, closed = [], []

    def make():
        env = gymnasium.make("Pendulum-v1")
        opened.append(env)
        close = env.close
        env.close = lambda: (closed.append(env), close())
        return env

    models = {"ours": kc.SampledRNN(10)}
    found = compare_models(make, models, DATA, (seed for seed in (4, 2)), task=TASK, steps=1)
    assert found.seeds == (4, 2) and len(found.runs["ours"]) == 2
    assert len(opened) >= 3 and len(closed) == len(opened)


def test_two_episodes_are_one_each():
    """At least one to learn from and one to judge by."""
    found = compare_models("Pendulum-v1", {"ours": kc.SampledRNN(10)}, DATA[:2], [0], task=TASK, steps=1)
    assert "the same 30 transitions, 1 episodes" in found.notes[0]


# ---------------------------------------------------------------------------------------------- at the shell
def test_compare_models_at_the_shell(files, tmp_path):
    """From a file: the numbers Python has, and a report."""
    said = done(
        *("compare", "Pendulum-v1", "--models", "sampled-rnn,elm,echo-state", "--data", files / "data.npz"),
        *("--task", files / "task.json", "--report", tmp_path, *TINY),
    )
    assert [law["name"] for law in said["laws"]] == ["sampled-rnn", "elm", "echo-state"]
    models = {"elm": kc.SampledRNN(15, sampling="random"), "echo-state": kc.EchoState(15, washout=5)}
    same = compare_models("Pendulum-v1", models, DATA, [0], task=TASK, steps=5)
    assert said["laws"][1]["learnt"]["one_step"] == pytest.approx(same["elm"].learnt.one_step, rel=1e-9)
    assert said["laws"][1]["runs"][0]["cost"] == pytest.approx(same["elm"].measured[0].cost, rel=1e-9)
    assert Path(said["report"]).read_text().count("trained [s]") == 1


def test_motion_is_recorded_where_no_file_is_given(tmp_path):
    """Episodes as asked for, and the plant's usual task."""
    words = ("compare", "Pendulum-v1", "--models", "dmdc", "--episodes", 10, "--episode-steps", 20, "--held-out", 0.3)
    result = invoke(*words, "--seeds", 3, "--steps", 2, "--random-state", 5)
    assert result.exit_code == 0, result.stderr
    assert "the same 140 transitions, 3 episodes were held out" in result.stdout and "dmdc" in result.stdout
    assert result.stdout.count("3 episodes were held out") == 1 and "note:" not in result.stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("", "either laws"),
        ("law.npz --models elm", "either laws"),
        ("--models elm,nothing", "Invalid value for --models: 'nothing' is no kind of model"),
        ("--models elm,elmo", "Invalid value for --models: 'elmo' is no kind of model"),
        ("--models elm,elm", "twice"),
        ("--models elm --episodes 0", "Invalid value for '--episodes'"),
        ("--models elm --episode-steps 0", "Invalid value for '--episode-steps'"),
        ("law.npz --episodes 3", "--episodes"),
        ("law.npz --hidden 3", "--hidden"),
        ("--models elm --data d.npz --episodes 3", "--episodes"),
        ("--models elm,dmdc --train-steps 3", "--train-steps"),
        ("--models elm --hidden 3", "--hidden"),
        ("--models elm,dmdc --train-horizon 3", "--train-horizon"),
        ("--models elm --washout 3", "--washout"),
    ],
)
def test_options_of_compare_that_do_not_belong_together(words, hint):
    """A wrong command: status 2, in words, and nothing is recorded."""
    said = " ".join(failure("compare", "Pendulum-v1", *words.split(), status=2).replace("│", " ").split())
    assert hint in said


# ---------------------------------------------------------------------------------------------- models by name
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sampled-rnn", kc.SampledRNN()),
        ("sampled-rnn --sampling random --n-features 30", kc.SampledRNN(30, sampling="random")),
        ("sampled-rnn-p --n-features 30", kc.SampledRNN(30, delays=5)),
        ("sampled-rnn-p --delays 2 --n-features 30", kc.SampledRNN(30, delays=2)),
        ("elm --n-features 30 --random-state 3", kc.SampledRNN(30, sampling="random", random_state=3)),
        ("dmdc --delays 1", kc.EDMDc(kc.Identity(), delays=1)),
        ("edmdc-polynomial --degree 3 --inputs bilinear", kc.EDMDc(kc.Polynomial(3), inputs="bilinear")),
        ("edmdc-rbf --n-features 20 --ridge 1e-6", kc.EDMDc(kc.GaussianRBF(20), ridge=1e-6)),
        (
            "echo-state --n-features 20 --washout 5 --leak 0.8 --spectral-radius 0.3 --input-scaling 0.2 --ridge 1e-8",
            kc.EchoState(20, spectral_radius=0.3, leak=0.8, input_scaling=0.2, ridge=1e-8, washout=5),
        ),
    ],
)
def test_every_kind_has_its_name(words, expected, files, tmp_path):
    """The model in the file is the one Python fits with these parameters: the same predictions."""
    said = done("fit", files / "data.npz", "--model", *words.split(), "--held-out", 0, "-o", tmp_path / "m")
    model, same = kc.load(tmp_path / "m.npz"), kc.fit(DATA, expected)
    d = same.window_.delays
    x, U = same.encode(DATA.X[0][: d + 1], DATA.U[0][:d]), DATA.U[0][d:]
    assert np.array_equal(model.predict(x, U), same.predict(x, U))
    assert said["model"] == type(expected).__name__


@pytest.mark.slow
def test_trained_networks_have_theirs(files, tmp_path):
    """Size, washout, steps and seed reach the training."""
    for package in ("jax", "equinox", "optax"):
        pytest.importorskip(package)
    words = "--model gru --hidden 4 --washout 5 --steps 4 --horizon 8 --random-state 3 --no-manifold"
    said = done("fit", files / "data.npz", *words.split(), "-o", tmp_path / "m")
    model = kc.load(tmp_path / "m.npz")
    assert type(model).__name__ == said["model"] == "GRU"
    assert model.n_hidden == 4 and not model.manifold
    training = {"washout": 5, "steps": 4, "horizon": 8, "seed": 3}
    assert {f"training__{name}": value for name, value in training.items()}.items() <= said["params"].items()
    assert said["scores"]["held_out"]["relifted"]
    said = done(
        *("compare", "Pendulum-v1", "--models", "gru,elm", "--data", files / "data.npz", "--hidden", 4),
        *("--task", files / "task.json", "--train-steps", 4, "--train-horizon", 8, *TINY, "--seeds", 0),
    )
    gru, elm = said["laws"]
    assert gru["learnt"]["until_best"] < gru["learnt"]["seconds"] > elm["learnt"]["seconds"]
    assert "GRU, 4 hidden states, made of 5 samples" in gru["knows"]


def test_every_cell_is_named_after_its_file():
    """Lower case with dashes, none lost and none twice; the class behind the name is the cell's."""
    assert sorted(TRAINED.values()) == sorted(recurrent.CELLS) and set(TRAINED) <= set(TAKES)
    assert all(name == name.lower() and "_" not in name for name in TRAINED)
    assert {"gru": "GRU", "lstm": "LSTM", "rnn": "RNN"}.items() <= TRAINED.items()
    pytest.importorskip("jax")
    model = unfitted("lstm", {"hidden": 7, "steps": 9}, 4)
    assert type(model) is recurrent.LSTM and (model.n_hidden, model.training.steps, model.training.seed) == (7, 9, 4)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("--model nothing", "--model"),
        ("--model gru --ridge 1e-3", "--ridge"),
        ("--model gru --n-features 30", "--n-features"),
        ("--model gru --delays 2", "--delays"),
        ("--model elm --sampling uniform", "--sampling"),
        ("--model elm --hidden 3", "--hidden"),
        ("--model dmdc --lift fourier", "--lift"),
        ("--model dmdc --n-features 3", "--n-features"),
        ("--model echo-state --delays 3", "--delays"),
        ("--model echo-state --solver qr", "--solver"),
        ("--model edmdc --washout 3", "--washout"),
        ("--washout 3", "--washout"),
        ("--steps 3", "--steps"),
    ],
)
def test_options_of_other_kinds_are_refused(words, hint, files, tmp_path):
    """Status 2, the option's name, and no file."""
    said = " ".join(failure("fit", files / "data.npz", *words.split(), "-o", tmp_path / "m", status=2).split())
    assert f"Invalid value for {hint}" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("package", "kind"), [("reservoirpy", "echo-state"), ("jax", "gru")])
def test_without_the_extra_the_shell_is_told_the_command(package, kind, files, tmp_path):
    """One line that names it, before anything is fitted or recorded."""
    code = f"import sys; sys.modules[{package!r}] = None; from koopctl.cli import main; main()"
    fit = ["fit", str(files / "data.npz"), "--model", kind, "-o", str(tmp_path / "m")]
    for words in (fit, ["compare", "Pendulum-v1", "--models", f"sampled-rnn,{kind}"]):
        found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert found.returncode == 1 and found.stdout == ""
        assert "pip install 'koopctl[baselines]'" in found.stderr and found.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())

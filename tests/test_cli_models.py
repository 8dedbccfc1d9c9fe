"""`koopctl fit` and `koopctl inspect`: models of every kind, searches, reports and pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import done, failure, invoke, shell
from recorded import linear, oscillator, pendulum

import koopctl as kc


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with motion of three plants and two models."""
    folder = tmp_path_factory.mktemp("files")
    oscillator(20, 40).save(folder / "data.npz")
    oscillator(6, 40, seed=1).save(folder / "other.npz")
    pendulum(20, 30).save(folder / "pendulum.npz")
    linear(8, 40).save(folder / "linear.npz")
    done("fit", folder / "data.npz", "--n-features", 30, "-o", folder / "rnn.npz")
    done("fit", folder / "pendulum.npz", "--model", "edmdc", "--n-features", 30, "-o", folder / "edmdc.npz")
    return folder


# ---------------------------------------------------------------------- kinds of model
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sampled --n-features 20 --sampling uniform", kc.SampledFeatures(20, "uniform")),
        ("sampled --activation relu", kc.SampledFeatures(100, activation="relu")),
        ("fourier --n-features 20 --random-state 3", kc.RandomFourier(20, random_state=3)),
        ("gaussian --n-features 20", kc.GaussianRBF(20)),
        ("thin-plate", kc.ThinPlate(100)),
        ("polynomial --degree 3", kc.Polynomial(3)),
        ("identity", kc.Identity()),
        ("polynomial --lift fourier --n-features 20", kc.Polynomial(2) + kc.RandomFourier(20)),
    ],
)
def test_every_lift_has_its_name(words, expected, files, tmp_path):
    """The model in the file is the one that Python fits with this lift, to the last bit."""
    options = ["--model", "edmdc", "--held-out", 0, "--lift", *words.split()]
    said = done("fit", files / "data.npz", *options, "-o", tmp_path / "m.npz")
    model, again = kc.load(tmp_path / "m.npz"), kc.fit(kc.load(files / "data.npz"), kc.EDMDc(expected))
    assert np.array_equal(model.A_, again.A_)
    assert said["params"]["lift"] == type(expected).__name__
    own = {f"lift__{name}": value for name, value in expected.get_params().items() if isinstance(value, int | str)}
    assert own.items() <= said["params"].items()


@pytest.mark.parametrize(
    ("options", "params"),
    [
        ("--inputs bilinear --solver qr --ridge 1e-6", {"inputs": "bilinear", "solver": "qr", "ridge": 1e-6}),
        ("--horizon 5 --delays 1 --solver cholesky", {"horizon": 5, "delays": 1, "solver": "cholesky"}),
        ("--spectral-radius 0.9 --no-manifold", {"spectral_radius": 0.9, "manifold": False}),
    ],
)
def test_options_reach_the_model(options, params, files, tmp_path):
    """The parameters in the file and in the JSON are those that were asked for."""
    asked = ["--model", "edmdc", "--n-features", 20, *options.split()]
    said = done("fit", files / "data.npz", *asked, "-o", tmp_path / "m.npz")
    found = kc.load(tmp_path / "m.npz").get_params()
    assert params.items() <= found.items() and params.items() <= said["params"].items()


def test_the_spectral_radius_is_kept_and_said(files, tmp_path):
    """Eigenvalues of A stay within what was asked for, and the number is theirs."""
    options = ["--model", "edmdc", "--n-features", 20, "--spectral-radius", 0.9]
    said = done("fit", files / "data.npz", *options, "-o", tmp_path / "m.npz")
    largest = np.abs(np.linalg.eigvals(kc.load(tmp_path / "m.npz").A_)).max()
    assert said["spectral_radius"] == pytest.approx(largest, rel=1e-9)
    assert largest <= 0.9 + 1e-9


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ("--lift identity", "--lift"),
        ("--degree 2", "--degree"),
        ("--horizon 3", "--horizon"),
        ("--spectral-radius 1", "--spectral-radius"),
        ("--inputs linear", "--inputs"),
        ("--model edmdc --lift identity --n-features 9", "--n-features"),
        ("--model edmdc --degree 2", "--degree"),
        ("--model edmdc --lift fourier --activation tanh", "--activation"),
        ("--model edmdc --lift fourier --lift fourier", "--lift"),
        ("--search wide", "--search"),
        ("--search delays=", "--search"),
        ("--search delays=0 --search delays=1", "--search"),
        ("--search-horizon 5", "--search-horizon"),
        ("--search auto --ridge 1e-3", "--ridge"),
        ("--plot picture.jpg", "--plot"),
        ("--plot picture", "--plot"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(options, hint, files, tmp_path):
    """Nothing that was asked for is left out silently: status 2, the option's name, and no file."""
    said = failure("fit", files / "data.npz", *options.split(), "-o", tmp_path / "m.npz", status=2)
    assert f"for {hint}" in said or f"Invalid value for {hint}" in " ".join(said.split())
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- words and numbers
def test_fit_prints_the_report_and_the_held_out_errors(files, tmp_path):
    """A reader sees what Python's report says, then both roll-outs on the episodes that were kept back."""
    result = invoke("fit", files / "pendulum.npz", "--model", "edmdc", "-o", tmp_path / "m.npz")
    assert str(kc.load(tmp_path / "m.npz").report_) in result.stdout
    for words in ("re-lifted, held-out", "linear, held-out", "held-out 1 - "):
        assert words in result.stdout
    assert len(result.stdout.splitlines()) < 40  # one screen


def test_the_json_holds_the_whole_report(files, tmp_path):
    """Every field of the report, and names as keys."""
    said = done("fit", files / "data.npz", "--n-features", 30, "-o", tmp_path / "m.npz")
    report = kc.load(tmp_path / "m.npz").report_
    assert said["report"].keys() == vars(report).keys()
    assert said["report"]["condition"] == pytest.approx(report.condition)
    assert said["report"]["envelope"]["push"] == pytest.approx(report.envelope["push"])
    assert (said["search"], said["plot"]) == (None, None)


def test_a_single_episode_is_fitted_whole(tmp_path):
    """There is nothing to hold out, so there are no held-out numbers."""
    oscillator(1, 60).save(tmp_path / "one.npz")
    said = done("fit", tmp_path / "one.npz", "--n-features", 5, "-o", tmp_path / "m.npz")
    assert list(said["scores"]) == ["train"]


# ---------------------------------------------------------------------- search
def test_search_auto_is_pythons(files, tmp_path):
    """Ridge and width are those that `kc.fit(search="auto")` chooses on the same episodes, and they are in the file."""
    said = done("fit", files / "data.npz", "--n-features", 20, "--search", "auto", "-o", tmp_path / "m.npz")
    train, _ = kc.load(files / "data.npz").split(0.9)
    again = kc.fit(train, kc.SampledRNN(20), search=kc.Search(progress=False))
    best = again.search_.best.params
    assert said["search"]["best"] == best
    assert best.items() <= kc.load(tmp_path / "m.npz").get_params().items()
    assert len(said["search"]["trials"]) == len(again.search_.trials) > 20
    assert said["search"]["horizon"] == 20 and said["search"]["roll_out"] == "relifted"


def test_search_among_values(files, tmp_path):
    """Delays, coupling and ridge as listed, judged over as many steps as asked, by the linear recursion."""
    grid = ["--search", "delays=0,1", "--search", "inputs=linear,bilinear", "--search", "ridge=1e-4,1e-8"]
    options = ["--model", "edmdc", "--n-features", 10, *grid, "--search-horizon", 7, "--search-linear"]
    said = done("fit", files / "data.npz", *options, "-o", tmp_path / "m.npz")["search"]
    tried = {(t["params"]["delays"], t["params"]["inputs"], t["params"]["ridge"]) for t in said["trials"]}
    assert tried == {(d, i, r) for d in (0, 1) for i in ("linear", "bilinear") for r in (1e-4, 1e-8)}
    assert (said["horizon"], said["roll_out"]) == (7, "linear")
    scores = [trial["score"] for trial in said["trials"]]
    assert scores == sorted(scores) and said["score"] <= 1.1 * scores[0]


def test_a_search_prints_its_table_and_no_bar_where_nobody_watches(files, tmp_path):
    """Best trials on stdout, stderr empty; an unknown parameter is a failure that lists the known ones."""
    command = ["fit", files / "data.npz", "--n-features", 10, "--search", "ridge=1e-4,1e-8", "-o", tmp_path / "m"]
    result = shell(*command)
    assert result.returncode == 0 and result.stderr == ""
    assert "2 trials judged by the re-lifted roll-out" in result.stdout
    said = failure("fit", files / "data.npz", "--search", "depth=1,2", "-o", tmp_path / "n")
    assert "depth" in said and "n_features" in said


# ---------------------------------------------------------------------- closed loop
def test_the_law_that_ran_can_be_given(files, tmp_path):
    """With the controller the model is the one that Python corrects, not the one of plain least squares."""
    model = kc.load(files / "rnn.npz")
    law = kc.LQR(model, kc.Task(target=0.0, Q=1.0, R=1.0, u_min=-1.0, u_max=1.0))
    law.save(tmp_path / "law.npz")
    rng = np.random.default_rng(0)
    X, U = [], []
    for _ in range(10):
        law.reset()
        x, Y, V = rng.uniform(-1, 1, 2), [], []
        for _ in range(40):
            Y.append(x + rng.normal(0.0, 0.05, 2))
            V.append(law(Y[-1])[0] + rng.uniform(-0.3, 0.3, 2))
            x = model.step(x, V[-1])
        X.append(np.array(Y))
        U.append(np.array(V[:-1]))
    data = kc.Rollouts(X, U, model.dt, ["pos", "vel"], ["push", "nudge"])
    data.save(tmp_path / "loop.npz")
    options = ["--model", "edmdc", "--lift", "identity", "--held-out", 0, "--feedback", tmp_path / "law.npz"]
    said = done("fit", tmp_path / "loop.npz", *options, "-o", tmp_path / "m.npz")
    found = kc.load(tmp_path / "m.npz").A_
    plain, corrected = (kc.fit(data, kc.EDMDc(kc.Identity()), feedback=given).A_ for given in (None, law))
    assert found == pytest.approx(corrected, abs=1e-9)
    assert np.abs(found - plain).max() > 0.01
    assert any("controller was given" in note for note in said["notes"])


# ---------------------------------------------------------------------- pictures
def signature(path: Path) -> str:
    """Return what kind of picture a file holds, by its first bytes."""
    head = path.read_bytes()[:200]
    return (
        "png" if head.startswith(b"\x89PNG") else "svg" if b"<?xml" in head else "pdf" if head[:4] == b"%PDF" else "?"
    )


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_pictures_of_every_format(kind, files, tmp_path):
    """Report and spectrum, each the format its name says, in a folder that is made for them."""
    report, eigenvalues = tmp_path / "new" / f"report.{kind}", tmp_path / "new" / f"spectrum.{kind}"
    said = done("inspect", files / "edmdc.npz", "--plot", report, "--plot-spectrum", eigenvalues)
    assert (said["plot"], said["plot_spectrum"]) == (str(report), str(eigenvalues))
    assert signature(report) == signature(eigenvalues) == kind
    assert report.read_bytes() != eigenvalues.read_bytes()


def test_fit_draws_its_report(files, tmp_path):
    """Beside the model lies the picture."""
    options = ["--n-features", 10, "--plot", tmp_path / "fit.png"]
    result = invoke("fit", files / "data.npz", *options, "-o", tmp_path / "m")
    assert f"wrote {tmp_path / 'fit.png'}" in result.stdout
    assert signature(tmp_path / "fit.png") == "png"


# ---------------------------------------------------------------------- inspect
def test_inspect_shows_the_report_of_any_model(files):
    """What fit printed can be printed again, from the file alone."""
    for name in ("rnn", "edmdc"):
        result = invoke("inspect", files / f"{name}.npz")
        assert result.stdout.startswith(str(kc.load(files / f"{name}.npz").report_))
    assert "eigenvalue" in result.stdout and "structure left out: 1 for theta" in result.stdout


def test_inspect_lists_the_plants_own_eigenvalues(files, tmp_path):
    """On a linear plant the table is that of the exact matrix, with residuals of nothing on other data."""
    from recorded import exact_linear

    done("fit", files / "linear.npz", "--model", "edmdc", "--lift", "identity", "--ridge", 0, "-o", tmp_path / "m.npz")
    linear(3, 40, seed=9).save(tmp_path / "more.npz")
    said = done("inspect", tmp_path / "m.npz", "--data", tmp_path / "more.npz")
    found = np.array(said["spectrum"]["real"]) + 1j * np.array(said["spectrum"]["imag"])
    truth = np.linalg.eigvals(exact_linear()[0])
    assert np.sort_complex(found) == pytest.approx(np.sort_complex(truth), abs=1e-9)
    assert max(said["spectrum"]["residual"]) < 1e-9
    assert said["scores"]["relifted"][-1] < 1e-9


def test_inspect_measures_a_model_on_other_data(files):
    """The numbers are those of Python on the same episodes."""
    said = done("inspect", files / "rnn.npz", "--data", files / "other.npz", "--score-horizon", 10)
    model, other = kc.load(files / "rnn.npz"), kc.load(files / "other.npz")
    assert said["scores"]["score"] == pytest.approx(model.score(other), rel=1e-12)
    assert len(said["scores"]["relifted"]) == 10
    assert said["spectrum"] is None


def test_inspect_orders_the_eigenvalues_as_asked(files):
    """By decay without data; by residual or amplitude only where there is data to measure them on."""
    result = invoke("inspect", files / "edmdc.npz", "--by", "decay", "--rows", 3)
    lines = result.stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if "eigenvalue" in line and "residual" in line)
    moduli = [float(line.split()[-7]) for line in lines[head + 1 : head + 4]]
    assert moduli == sorted(moduli, reverse=True)
    assert "--data" in failure("inspect", files / "edmdc.npz", "--by", "residual", status=2)
    ordered = invoke("inspect", files / "edmdc.npz", "--data", files / "pendulum.npz", "--by", "amplitude", "--rows", 3)
    assert "the order is by amplitude" in ordered.stdout


def test_inspect_says_why_there_is_nothing_to_show(files, tmp_path):
    """No spectrum without a lifted recursion, no model in a file of motion, no other columns."""
    assert "EDMDc" in failure("inspect", files / "rnn.npz", "--plot-spectrum", tmp_path / "s.png")
    assert "expected a model" in failure("inspect", files / "data.npz")
    assert "columns" in failure("inspect", files / "rnn.npz", "--data", files / "pendulum.npz")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- help
@pytest.mark.parametrize("verb", ["collect", "import", "fit", "inspect", "design", "simulate", "compare"])
def test_every_option_is_explained_and_units_survive(verb):
    """No option without a word about it, and no unit that the terminal's markup swallows."""
    import typer

    from koopctl.cli import app

    command = typer.main.get_command(app).commands[verb]
    assert [option.name for option in command.params if option.name != "help" and not option.help] == []
    code = f"import sys; sys.argv = ['koopctl', '{verb}', '--help']; from koopctl.cli import main; main()"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    if any(option.name == "dt" for option in command.params):
        assert "[s]" in shown

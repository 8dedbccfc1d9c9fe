"""The demo: the whole way on one plant, told to a console, with files that work."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

import koopctl as kc
from koopctl.demo import Scale, _design, run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    """A small demo: its folder, what it returned and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    words = io.StringIO()
    scale = Scale(episodes=60, n_features=100, seeds=range(100, 102), steps=60)
    return folder, run(folder, 0, Console(file=words, width=140), scale), words.getvalue()


def test_it_tells_the_whole_way(small):
    """Recording, learning, designing and comparing are told in order, and where the results are."""
    folder, _, words = small
    order = [words.index(word) for word in ("record", "learn", "design", "compare", "look at")]
    assert order == sorted(order)
    for word in ("re-linearised MPC", "lifted MPC", "LQR", str(folder / "demo.png")):
        assert word in words


def test_its_files_can_be_used(small):
    """Every file it leaves loads, and the law runs again with the same return."""
    folder, said, _ = small
    kinds = {path.name: type(kc.load(path)).__name__ for path in folder.glob("*.npz")}
    assert kinds == {
        "data.npz": "Rollouts",
        "model.npz": "SampledRNN",
        "lifted_model.npz": "EDMDc",
        "mpc.npz": "RelinearizedMPC",
        "lifted.npz": "LiftedMPC",
        "lqr.npz": "LQR",
    }
    runs = [kc.simulate("Pendulum-v1", kc.load(folder / "lqr.npz"), seed=s, steps=60) for s in (100, 101)]
    row = next(law for law in said["comparison"]["laws"] if law["name"] == "LQR")
    assert row["total_reward"]["mean"] == pytest.approx(np.mean([r.total_reward for r in runs]), rel=1e-6)


def test_it_draws_and_writes_the_report(small):
    """The picture is a picture with something on it, the report a page that needs no network."""
    from matplotlib.image import imread

    _, said, _ = small
    pixels = imread(said["picture"])[:, :, :3]
    assert pixels.shape[0] > 400 and pixels.shape[1] > 800
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert said["report"].read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html")


def test_a_law_that_cannot_be_designed_is_named(tmp_path):
    """On a plant that no input moves there is no LQR: the demo says so instead of ending there."""
    rng = np.random.default_rng(0)
    theta, rate = rng.uniform(-np.pi, np.pi, 60), rng.uniform(-3, 3, 60)
    seen = []
    for _ in range(31):
        seen.append(np.stack([np.cos(theta), np.sin(theta), rate], axis=1))
        rate = rate + 0.05 * 15.0 * np.sin(theta)
        theta = theta + 0.05 * rate
    X = list(np.stack(seen, axis=1))
    data = kc.Rollouts(X, [np.zeros((30, 1))] * 60, 0.05, ["cos(theta)", "sin(theta)", "thetadot"], ["torque"])
    models = {"SampledRNN": kc.fit(data, kc.SampledRNN(n_features=50)), "EDMDc": kc.fit(data, kc.EDMDc())}
    laws, refused = _design(models, tmp_path, Console(file=io.StringIO()))
    assert "LQR" in refused and "LQR" not in laws
    assert {*laws, *refused} == {"re-linearised MPC", "lifted MPC", "LQR"}
    assert not (tmp_path / "lqr.npz").exists()


@pytest.mark.slow
def test_demo_swings_the_pendulum_up_in_time(tmp_path):
    """`koopctl demo` from a shell: within 90 s, and the MPC comes near the optimum of about -155."""
    start = time.monotonic()
    command = [sys.executable, "-m", "koopctl", "demo", "--json", "--output", str(tmp_path / "demo")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - start < 90
    laws = {law["name"]: law for law in json.loads(result.stdout)["comparison"]["laws"]}
    assert laws["re-linearised MPC"]["total_reward"]["mean"] > -200

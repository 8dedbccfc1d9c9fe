"""Saved and loaded: the same bytes predicted, learning goes on, and nothing half-loaded ever comes back."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import oscillator, pendulum, without_inputs

from koopctl.archive import read_archive, write_archive
from koopctl.controllers.designer import design
from koopctl.errors import FileFormatError, NotFittedError
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.fitting import fit
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.store import load
from koopctl.task import Task
from koopctl.trajectory import Trajectory

MODELS = {
    "tanh": SampledRNN(20),
    "relu-delays": SampledRNN(20, delays=2, activation="relu", sampling="uniform", random_state=3),
    "plain": SampledRNN(20, manifold=False),
    "linear": EDMDc(SampledFeatures(10, random_state=2), delays=1),
    "bilinear": EDMDc(SampledFeatures(10, activation="relu"), inputs="bilinear"),
    "dmdc": EDMDc(Identity(), ridge=1e-8),
    "default": EDMDc(ridge=1e-6),
}
DATA = {"pendulum": pendulum(), "oscillator": oscillator(), "autonomous": without_inputs(pendulum())}


def same_predictions(left, right) -> bool:
    """Tell whether two models predict the same bytes, by both roll-outs, and have the same Jacobians."""
    rng = np.random.default_rng(0)
    X, U = rng.normal(size=(7, left.nx)), rng.normal(size=(7, 6, left.nu))
    pairs = [(left.predict(X, U, r), right.predict(X, U, r)) for r in (True, False)]
    pairs += zip(left.expand(X, U[:, 0]), right.expand(X, U[:, 0]), strict=True)
    pairs += [(left.step(X[0], U[0, 0]), right.step(X[0], U[0, 0])), (left.output(X), right.output(X))]
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", MODELS)
def test_a_loaded_model_predicts_the_same_bytes_and_goes_on_learning(tmp_path, kind, data):
    """Parameters, names, boxes, notes and predictions; then partial_fit on both gives the same bytes again."""
    first, more = DATA[data][:6], DATA[data][3:]
    model = fit(first, MODELS[kind])
    loaded = load(model.save(tmp_path / "model.npz"))
    assert type(loaded) is type(model) and same_predictions(loaded, model)
    for name in ("dt_", "u_names_", "sensors_", "notes_", "state_names", "nx", "nu", "delays", "ridge"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert np.array_equal(loaded.envelope_.low, model.envelope_.low)
    assert np.array_equal(loaded.input_range_.high, model.input_range_.high)
    assert loaded.score(first, 3) == model.score(first, 3)
    assert same_predictions(loaded.partial_fit(more), model.partial_fit(more))
    assert not same_predictions(model, fit(first, MODELS[kind]))
    refitted, fresh = loaded.fit(first), fit(first, MODELS[kind])
    assert same_predictions(refitted, fresh)


def test_a_second_generation_is_the_first(tmp_path):
    """Saving what was loaded writes the same file."""
    first = fit(DATA["pendulum"], MODELS["bilinear"]).save(tmp_path / "first.npz")
    second = load(first).save(tmp_path / "second.npz")
    (kind, header, arrays), (kind2, header2, arrays2) = read_archive(first), read_archive(second)
    assert (kind, header) == (kind2, header2)
    assert arrays.keys() == arrays2.keys() and all(np.array_equal(arrays[k], arrays2[k]) for k in arrays)


def test_a_run_is_loaded_as_it_was(tmp_path):
    """Numbers, names, seed and the law's plain remarks, numpy's scalars too; plans are left out."""
    rng = np.random.default_rng(1)
    infos = (
        {"status": "solved", "solve_time": np.float64(1e-3), "late": np.bool_(False), "rung": np.int64(2), "plan": rng},
        {"status": "fallback", "solve_time": 2e-3, "cost": float("nan"), "plan": np.ones(3)},
    )
    run = Trajectory(
        rng.normal(size=(3, 2)),
        rng.normal(size=(2, 1)),
        rng.normal(size=2),
        infos,
        0.1,
        ("a", "b"),
        ("f",),
        True,
        seed=4,
    )
    back = load(run.save(tmp_path / "run.npz"))
    assert isinstance(back, Trajectory)
    for name in ("X", "U", "rewards"):
        assert getattr(back, name).tobytes() == getattr(run, name).tobytes()
    for name in ("dt", "x_names", "u_names", "terminated", "truncated", "seed"):
        assert getattr(back, name) == getattr(run, name)
    assert back.infos[0] == {"status": "solved", "solve_time": 1e-3, "late": False, "rung": 2}
    assert back.infos[1]["status"] == "fallback" and np.isnan(back.infos[1]["cost"])
    assert (back.steps, back.total_reward) == (2, pytest.approx(run.rewards.sum()))
    assert back.time == pytest.approx([0.0, 0.1, 0.2])
    assert back.info("solve_time") == pytest.approx([1e-3, 2e-3]) and np.isnan(back.info("missing")).all()
    data = back.to_rollouts()
    assert (data.x_names, data.n_samples, data.dt) == (("a", "b"), 2, 0.1)


def test_a_model_out_of_a_laws_file_predicts_but_does_not_learn_on(tmp_path):
    """A law's file holds the model without what it learnt from: said in words, before anything changes."""
    model = fit(DATA["oscillator"], EDMDc(Identity()))
    law = load(design(model, Task(target=0, Q=1, R=1), kind="lqr").save(tmp_path / "law.npz"))
    inner = law.model
    assert same_predictions(inner, model)
    with pytest.raises(NotFittedError, match="without what it learnt from"):
        inner.partial_fit(DATA["oscillator"])
    again = load(inner.save(tmp_path / "model.npz"))
    assert same_predictions(again, model)


@pytest.mark.parametrize("kind", ["tanh", "linear"])
def test_a_damaged_model_is_refused_whole(tmp_path, kind):
    """A flipped byte anywhere in the arrays and every cut: FileFormatError, never a model."""
    path = fit(DATA["pendulum"], MODELS[kind]).save(tmp_path / "model.npz")
    sound = path.read_bytes()
    for position in range(200, len(sound), len(sound) // 40):
        flipped = bytearray(sound)
        flipped[position] ^= 0x10
        path.write_bytes(flipped)
        try:
            survivor = load(path)
        except FileFormatError:
            continue
        path.write_bytes(sound)
        assert same_predictions(survivor, load(path)), position  # a byte that held nothing, such as a date
    for length in range(0, len(sound), len(sound) // 20):
        path.write_bytes(sound[:length])
        with pytest.raises(FileFormatError):
            load(path)


def test_files_that_lack_or_invent_something_are_refused(tmp_path):
    """Sound checksums, wrong contents: as a later or foreign program might write them."""
    source = fit(DATA["pendulum"], MODELS["linear"]).save(tmp_path / "sound.npz")
    _, header, arrays = read_archive(source)
    wrong = [
        ("model", {}, arrays),
        ("model", header | {"type": "Transformer"}, arrays),
        ("model", header | {"params": header["params"] | {"depth": 3}}, arrays),
        ("model", header | {"lift": {"type": "Wavelets", "params": {}}}, arrays),
        ("model", header | {"chart": header["chart"] | {"kept": ["a"]}}, arrays),
        ("model", header | {"chart": header["chart"] | {"linear": [1, 2, 3]}}, arrays),
        ("model", header, {k: v for k, v in arrays.items() if k != "A_"}),
        ("model", header, {k: v for k, v in arrays.items() if k != "lift_weights"}),
        ("trajectory", {}, {}),
        ("rollouts", {}, {}),
        ("law", {}, {}),
        ("weather", header, arrays),
    ]
    for kind, changed, kept in wrong:
        with pytest.raises(FileFormatError):
            load(write_archive(tmp_path / "wrong.npz", kind, changed, kept))
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.npz")


def test_a_failed_save_keeps_the_old_model(tmp_path):
    """An unfitted model over a good file."""
    path = fit(DATA["pendulum"], MODELS["tanh"]).save(tmp_path / "model.npz")
    before = path.read_bytes()
    with pytest.raises(NotFittedError):
        SampledRNN().save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["model.npz"]

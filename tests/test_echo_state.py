"""The echo-state network against reservoirpy itself, as a model like any other, and without reservoirpy."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from recorded import central_differences, oscillator, pendulum, without_inputs
from scipy.integrate import solve_ivp
from sklearn.base import clone

import koopctl as kc
from koopctl.errors import DataError, NotFittedError
from koopctl.models.scores import prediction_errors

nodes = pytest.importorskip("reservoirpy.nodes")

WASHOUT = 8
PENDULUM, OSCILLATOR = pendulum(20, 40), oscillator(20, 60)


@pytest.fixture(scope="module", params=["pendulum", "oscillator", "leaky", "autonomous", "large"])
def model(request):
    """Angles, two inputs, leaky units, no inputs, and more units than are multiplied as a full matrix."""
    if request.param == "large":
        return kc.EchoState(200, washout=WASHOUT).fit(OSCILLATOR)
    data = {"pendulum": PENDULUM, "autonomous": without_inputs(OSCILLATOR)}.get(request.param, OSCILLATOR)
    return kc.EchoState(30, leak=0.6 if request.param == "leaky" else 1.0, washout=WASHOUT).fit(data)


def data_of(model) -> kc.Rollouts:
    """Return what a model of the fixture was fitted to."""
    return PENDULUM if model.nu == 1 else OSCILLATOR if model.nu else without_inputs(OSCILLATOR)


def twin_of(model) -> tuple[object, object]:
    """Return reservoirpy's own nodes with the model's matrices, on standardised regressors."""
    V = np.divide(model.reservoir_.V, model.per_scale_)
    bias = model.reservoir_.b + model.reservoir_.V @ model.mean_
    reservoir = nodes.Reservoir(W=model.reservoir_.W, Win=V, bias=bias, lr=model.leak)
    weights = np.concatenate([model.C_, model.L_ / model.per_scale_], axis=1).T / model.gain_
    readout = nodes.Ridge(Wout=weights, bias=(model.c_ + model.L_ @ model.mean_) / model.gain_)
    return reservoir, readout


def standardised(model, Y: np.ndarray, U: np.ndarray) -> np.ndarray:
    """Return what reservoirpy's nodes are shown of an episode."""
    chart = model.window_.chart
    S = np.concatenate([chart.embed(chart.to_coordinates(Y[: len(U)])), U], axis=1)
    return (S - model.mean_) * model.per_scale_


# ---------------------------------------------------------------------------------------------- against reservoirpy
def test_a_step_is_reservoirpys_own(model):
    """Along an episode: units of `Reservoir.run` from rest, increments of `Ridge.run` on [units, regressors]."""
    reservoir, readout = twin_of(model)
    Y, U = data_of(model).X[3], data_of(model).U[3]
    S = standardised(model, Y, U)
    units = reservoir.run(S)
    moved = readout.run(np.concatenate([units, S], axis=1)) * model.gain_
    Q = model.window_.chart.to_coordinates(Y)
    before = np.concatenate([np.zeros((1, units.shape[1])), units[:-1]])
    nxt = model.step(np.concatenate([Q[:-1], before], axis=1), U)
    assert nxt[:, model.window_.nq :] == pytest.approx(units, abs=1e-10)
    assert nxt[:, : model.window_.nq] - Q[:-1] == pytest.approx(moved, abs=1e-10)


def test_a_state_is_a_reservoir_that_saw_the_washout(model):
    """`encode` is `Reservoir.run` over the samples before the newest one, begun at rest."""
    Y, U = data_of(model).X[0], data_of(model).U[0]
    reservoir, _ = twin_of(model)
    x = model.encode(Y[5 : 6 + WASHOUT], U[5 : 5 + WASHOUT])
    seen = reservoir.run(standardised(model, Y[5 : 5 + WASHOUT], U[5 : 5 + WASHOUT]))
    assert x[model.window_.nq :] == pytest.approx(seen[-1], abs=1e-12)
    assert model.output(x) == pytest.approx(Y[5 + WASHOUT], abs=1e-12)
    assert model.window_.states(Y, U)[5] == pytest.approx(x, abs=1e-13)


def test_the_readout_is_reservoirpys_fit(model):
    """`Ridge.fit` over the same units, one series an episode, its penalty the sample count times ours."""
    data = data_of(model)
    reservoir, _ = twin_of(model)
    window, series, targets = model.window_, [], []
    for Y, U in data:
        S = standardised(model, Y, U)
        units = reservoir.run(S)
        reservoir.reset()
        Q = window.chart.to_coordinates(Y)
        series.append(np.concatenate([units, S], axis=1)[WASHOUT:])
        targets.append(window.difference_of_coordinates(Q[1:], Q[:-1])[WASHOUT:] / model.gain_)
    node = nodes.Ridge(ridge=model.ridge * sum(map(len, series)))
    node.fit(series, targets)
    ours = np.concatenate([model.C_, model.L_ / np.where(model.per_scale_ > 0, model.per_scale_, 1.0)], axis=1)
    every = np.concatenate(series)
    predicted = every @ ours.T + model.c_ + model.L_ @ model.mean_
    assert predicted == pytest.approx(model.gain_ * node.run(every), abs=1e-6 * model.gain_.max())


def test_the_matrices_are_reservoirpys(model):
    """Spectral radius as asked for, biases and standardised input weights within their bounds."""
    radius = np.abs(np.linalg.eigvals(model.reservoir_.W)).max()
    assert radius == pytest.approx(model.spectral_radius, rel=1e-6)
    V = np.divide(model.reservoir_.V, model.per_scale_)
    assert 0.8 * model.input_scaling < np.abs(V).max() <= model.input_scaling
    b = model.reservoir_.b + model.reservoir_.V @ model.mean_
    assert 0.5 < np.abs(b).max() <= 1.0


# ---------------------------------------------------------------------------------------------- a model like any other
def test_jacobians_are_central_differences(model):
    """Of the step, at states with memories off the ones recalled; and of the state that has long stood still."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, u = rng.normal(size=model.nx), rng.normal(size=model.nu)
        A, B = model.linearize(x, u)
        assert pytest.approx(central_differences(lambda v, u=u: model.step(v, u), x), abs=1e-7) == A
        if model.nu:
            assert pytest.approx(central_differences(lambda v, x=x: model.step(x, v), u), abs=1e-7) == B
    window, q, u = model.window_, rng.normal(size=model.window_.nq), rng.normal(size=model.nu)
    by_q, by_u = window.standing_slopes(q[None], u[None])
    assert by_q[0] == pytest.approx(central_differences(lambda v: window.standing(v, u), q), abs=1e-7)
    if model.nu:
        assert by_u[0] == pytest.approx(central_differences(lambda v: window.standing(q, v), u), abs=1e-7)


def test_a_batch_is_its_rows(model):
    """Of step and linearize."""
    rng = np.random.default_rng(1)
    X, U = rng.normal(size=(4, model.nx)), rng.normal(size=(4, model.nu))
    A, B = model.linearize(X, U)
    for i in range(4):
        assert model.step(X[i], U[i]) == pytest.approx(model.step(X, U)[i], abs=1e-12)
        a, b = model.linearize(X[i], U[i])
        assert a == pytest.approx(A[i], abs=1e-12) and b == pytest.approx(B[i], abs=1e-12)


def test_files_copies_and_pickles_are_the_same_bytes(model, tmp_path):
    """Predictions, the state of a window, the report and the box."""
    data = data_of(model)
    Y, U = data.X[2], data.U[2]
    x = model.encode(Y[: WASHOUT + 1], U[:WASHOUT])
    expected = model.predict(x, U[WASHOUT:])
    kinds = kc.load(model.save(tmp_path / "m")), copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for twin in kinds:
        assert np.array_equal(twin.encode(Y[: WASHOUT + 1], U[:WASHOUT]), x)
        assert np.array_equal(twin.predict(x, U[WASHOUT:]), expected)
        assert str(twin.report_) == str(model.report_) and twin.get_params() == model.get_params()
        assert np.array_equal(twin.excess(2 * x[None]), model.excess(2 * x[None]))
    again = kc.load(kinds[0].save(tmp_path / "n"))
    assert (tmp_path / "m.npz").read_bytes() == (tmp_path / "n.npz").read_bytes()
    assert np.array_equal(again.predict(x, U[WASHOUT:]), expected)


def test_a_hidden_coordinate_stays_hidden_in_a_file(tmp_path):
    """A cyclic coordinate is read by no unit, does not count as excess, and neither does after loading."""
    rng = np.random.default_rng(0)
    X, inputs = [], []
    for _ in range(12):
        U, x = rng.uniform(-1, 1, (40, 1)), np.array([rng.normal(), 0.0])
        path = [x]
        for u in U[:, 0]:
            x = x + 0.1 * np.array([x[1], np.sin(2 * u) - 0.5 * x[1]])
            path.append(x)
        X.append(np.array(path))
        inputs.append(U)
    data = kc.Rollouts(X, inputs, 0.1, ["place", "speed"], ["force"])
    model = kc.EchoState(20, washout=5).fit(data)
    assert model.cyclic_ == ("place",)
    far = np.concatenate([[1e6, 0.0], np.zeros(20)])
    for each in (model, kc.load(model.save(tmp_path / "m"))):
        assert each.excess(far[None])[0] == 0.0
        assert np.abs(each.linearize(far, [0.0])[0][1:, 0]).max() == 0.0


def test_it_forecasts_lorenz_for_more_than_a_lyapunov_time():
    """55 steps of 0.02 s: the error on another series is below a tenth of the attractor's spread."""

    def series(steps: int, start: list[float]) -> np.ndarray:
        def slope(_, s):
            return [10.0 * (s[1] - s[0]), s[0] * (28.0 - s[2]) - s[1], s[0] * s[1] - 8.0 / 3.0 * s[2]]

        times = np.arange(steps + 1) * 0.02
        found = solve_ivp(slope, (0, 21 + times[-1]), start, "DOP853", 20 + times, rtol=1e-9, atol=1e-9)
        return found.y.T

    train, test = (
        kc.Rollouts([series(n, start)], [np.zeros((n, 0))], 0.02)
        for n, start in ((3000, [1, 1, 5]), (800, [3, -2, 20]))
    )
    model = kc.EchoState(200, input_scaling=0.3, ridge=1e-12).fit(train)
    errors = prediction_errors(model, test, 55).relifted
    assert errors[0] < 1e-4 and errors[-1] < 0.1


def test_it_drops_into_the_same_controller(tmp_path):
    """RelinearizedMPC brings an oscillator to a target and holds it there, with the inputs a law's file gives, too."""
    model = kc.EchoState(40, washout=6).fit(oscillator(40, 60))
    task = kc.Task(target={"pos": 0.5, "vel": 0.0}, Q=1.0, R=0.01, horizon=15, u_min=-1.0, u_max=1.0)
    law = kc.design(model, task)
    assert type(law).__name__ == "RelinearizedMPC" and law.notes == []
    x, path = np.array([-1.0, 0.0]), []
    for _ in range(150):
        u, info = law(x)
        assert info["status"] in ("solved", "feasible")
        p, v = x
        x = np.array([p + 0.05 * (v + 0.3 * u[1]), v + 0.05 * (v * (1 - p * p) - p + (2 + p) * u[0])])
        path.append(x)
    assert path[-1] == pytest.approx([0.5, 0.0], abs=0.02)
    other = kc.load(law.save(tmp_path / "law"))
    law.reset()
    assert np.array_equal(law([0.2, 0.1])[0], other([0.2, 0.1])[0])


# ---------------------------------------------------------------------------------------------- learning
def test_learning_in_two_parts_is_learning_at_once(tmp_path):
    """`partial_fit`, also after saving; the boxes and the count of transitions are those of both."""
    whole, first, rest = OSCILLATOR, OSCILLATOR[:12], OSCILLATOR[12:]
    model = kc.EchoState(20, washout=WASHOUT, ridge=1e-8).fit(first)
    loaded = kc.load(model.save(tmp_path / "m"))
    for each in (model, loaded):
        each.partial_fit(rest)
        # The scales and the reservoir are those of the first part; sums over all of it with them:
        twin = kc.EchoState(20, washout=WASHOUT, ridge=1e-8).fit(first)
        twin._learnt_ = twin._taken(whole, None)[0]
        twin.solve()
        assert each.C_ == pytest.approx(twin.C_, rel=1e-6, abs=1e-8)
        assert each.excess(np.concatenate([whole.X[15][3], np.zeros(20)])[None])[0] == 0.0
    assert model.report_.n_transitions == whole.n_samples


def test_weights_count_as_copies():
    """An episode of weight two is that episode twice; one of weight zero is absent, from the scales, too."""
    doubled = [2.0] * 10 + [1.0] * 10
    twice = kc.Rollouts.join([OSCILLATOR[:10], OSCILLATOR])
    one = kc.EchoState(15, washout=5, ridge=1e-6, cyclic=())
    a, b = clone(one).fit(OSCILLATOR, sample_weight=doubled), clone(one).fit(twice)
    b.mean_, b.per_scale_, b.gain_ = a.mean_, a.per_scale_, a.gain_  # a weight above zero does not shape the scales
    b.reservoir_ = a.reservoir_
    b._learnt_ = b._taken(twice, None)[0]
    b.solve()
    assert a.C_ == pytest.approx(b.C_, rel=1e-6, abs=1e-9)
    absent = clone(one).fit(OSCILLATOR, sample_weight=[1.0] * 10 + [0.0] * 10)
    assert absent.C_ == pytest.approx(clone(one).fit(OSCILLATOR[:10]).C_, rel=1e-6, abs=1e-9)


def test_forgetting_leaves_the_new_plant():
    """With forgetting, motion of another plant soon outweighs the old one's; without, both count."""
    other = kc.Rollouts(OSCILLATOR.X, [-u for u in OSCILLATOR.U], OSCILLATOR.dt, OSCILLATOR.x_names, OSCILLATOR.u_names)
    truth = kc.EchoState(20, washout=WASHOUT, ridge=1e-8).fit(other)
    forgets, keeps = (
        kc.EchoState(20, washout=WASHOUT, ridge=1e-8).fit(OSCILLATOR).partial_fit(other, forgetting=f)
        for f in (0.995, 1.0)
    )
    assert keeps.score(other) + 0.1 < forgets.score(other) < truth.score(other)


def test_an_order_of_episodes_changes_nothing():
    """But for rounding."""
    shuffled = OSCILLATOR[np.random.default_rng(0).permutation(len(OSCILLATOR)).tolist()]
    a, b = (kc.EchoState(20, washout=WASHOUT, ridge=1e-6).fit(data) for data in (OSCILLATOR, shuffled))
    assert a.C_ == pytest.approx(b.C_, rel=1e-6, abs=1e-9)


def test_a_seed_is_a_reservoir():
    """The same seed gives the same bytes, another seed another reservoir."""
    a, b, c = (kc.EchoState(20, washout=WASHOUT, random_state=s).fit(OSCILLATOR) for s in (3, 3, 4))
    assert a.C_.tobytes() == b.C_.tobytes() and a.reservoir_.W.tobytes() == b.reservoir_.W.tobytes()
    assert not np.array_equal(a.reservoir_.W, c.reservoir_.W)


def test_a_memory_that_outlasts_the_washout_is_said():
    """A note where a window is too short for what the reservoir remembers, none where it is long enough."""
    short = kc.EchoState(20, spectral_radius=0.95, leak=0.1, washout=4).fit(OSCILLATOR)
    assert any("older than its washout of 4 samples" in note for note in short.notes_)
    assert not any("washout" in note for note in kc.EchoState(20, washout=15).fit(OSCILLATOR).notes_)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_features": 0}, "n_features"),
        ({"washout": 0}, "washout"),
        ({"leak": 0.0}, "leak is 0.0"),
        ({"leak": 1.5}, "at most 1"),
        ({"spectral_radius": -1.0}, "spectral_radius"),
        ({"input_scaling": np.nan}, "input_scaling"),
        ({"ridge": -1.0}, "ridge"),
        ({"random_state": -1}, "random_state"),
        ({"washout": 100}, "too short"),
    ],
)
def test_bad_arguments_are_refused_in_words(options, words):
    """Nothing is fitted afterwards."""
    model = kc.EchoState(**options)
    with pytest.raises(DataError, match=words):
        model.fit(OSCILLATOR)
    with pytest.raises(NotFittedError):
        model.step([0.0], [0.0])


def test_other_data_is_refused_and_changes_nothing():
    """`partial_fit` on other columns."""
    model = kc.EchoState(10, washout=5).fit(OSCILLATOR)
    before = model.C_.copy()
    with pytest.raises(DataError, match="columns"):
        model.partial_fit(PENDULUM)
    assert np.array_equal(model.C_, before)


WITHOUT = """
import sys
sys.modules["reservoirpy"] = None  # as if it were not installed
import koopctl as kc
from recorded import oscillator
try:
    kc.EchoState(10).fit(oscillator())
except kc.KoopctlError as error:
    print(type(error).__name__, error)
print(kc.load(sys.argv[1]).predict([0.1] * 12, [[0.0, 0.1]])[1, 0])
"""


def test_without_reservoirpy_the_error_names_the_command(tmp_path):
    """A fit says what to install, before it looks at the data; a fitted model from a file runs."""
    path = kc.EchoState(10, washout=5).fit(OSCILLATOR).save(tmp_path / "m")
    expected = kc.load(path).predict([0.1] * 12, [[0.0, 0.1]])[1, 0]
    command = [sys.executable, "-c", WITHOUT, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=__file__.rpartition("/")[0])
    error, number = said.stdout.splitlines()
    assert error.startswith("KoopctlError ") and "pip install 'koopctl[baselines]'" in error
    assert float(number) == expected


def test_importing_it_imports_no_reservoirpy():
    """Only a fit does."""
    code = "import sys, koopctl; koopctl.EchoState(); koopctl.load; print('reservoirpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

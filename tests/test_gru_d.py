"""GRU-D: the published equations, gaps in recordings and windows, and what drop-outs cost with and without it."""

from __future__ import annotations

import numpy as np
import pytest
from gapped import forecast_error, hanging
from recorded import central_differences

import koopctl as kc
from koopctl.errors import DataError, ShapeError
from koopctl.models.chart import Chart
from koopctl.models.recurrent.gap_memory import GapMemory
from koopctl.models.recurrent.gapped_rollouts import GappedRollouts
from koopctl.models.recurrent.stretches import Stretches, split

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

from koopctl.models.recurrent import trainer  # noqa: E402
from koopctl.models.recurrent.gaps import mean_square, recalled  # noqa: E402
from koopctl.models.recurrent.gru import GRU  # noqa: E402
from koopctl.models.recurrent.gru_d import GRUD, GRUDCell  # noqa: E402
from koopctl.models.recurrent.training import Training  # noqa: E402

QUICK = {"steps": 200, "check": 50, "batch": 16, "washout": 8, "horizon": 8, "learning_rate": 1e-2}
WHOLE = hanging()
GAPPED = GappedRollouts.thinned(WHOLE, 0.3)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    """A small network, fitted to a recording of which three in ten samples are missing."""
    return GRUD(8, training=QUICK).fit(GAPPED)


def random_cell(n_in: int = 5, n_seen: int = 3, n_units: int = 4) -> GRUDCell:
    """Return a cell whose every weight is drawn anew, decays of both signs included."""
    with jax.enable_x64(True):
        cell = GRUDCell(n_in, n_seen, n_units, 20.0, np.random.default_rng(1))
        leaves, shape = jax.tree.flatten(cell)
        return jax.tree.unflatten(shape, [RNG.normal(size=leaf.shape) for leaf in leaves])


def published(cell: GRUDCell, x: np.ndarray, u: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Transcribe the paper: x (T, D) of which m (T, D) says what counts; return h after each step."""

    def sigmoid(v):
        return 1.0 / (1.0 + np.exp(-v))

    T, D = x.shape
    (Wz, Wr, W), (Uz, Ur, U), (Vz, Vr, V), (bz, br, b) = (np.asarray(part) for part in (cell.W, cell.V, cell.M, cell.b))
    h, found = np.zeros(len(b)), []
    for t in range(T):
        delta, last = np.zeros(D), np.zeros(D)  # s_t = t; the empirical mean is 0
        for d in range(D):
            before = [i for i in range(t) if m[i, d]]
            delta[d] = t - before[-1] if before else t
            last[d] = x[before[-1], d] if before else 0.0
        gamma_x = np.exp(-np.maximum(0.0, cell.w_x * delta + cell.b_x))
        gamma_h = np.exp(-np.maximum(0.0, cell.W_a @ delta + cell.b_a))
        imputed = np.concatenate([np.where(m[t], x[t], gamma_x * last), u[t]])
        h = gamma_h * h
        z = sigmoid(Wz @ imputed + Uz @ h + Vz @ m[t] + bz)
        r = sigmoid(Wr @ imputed + Ur @ h + Vr @ m[t] + br)
        new = np.tanh(W @ imputed + U @ (r * h) + V @ m[t] + b)
        h = (1.0 - z) * h + z * new
        found.append(h)
    return np.array(found)


def test_it_is_the_published_network():
    """Along samples of which half is missing, times since the last measurement counted from the definition."""
    cell, x, u = random_cell(), RNG.normal(size=(30, 3)), RNG.normal(size=(30, 2))
    m = RNG.uniform(size=x.shape) < 0.5
    with jax.enable_x64(True):
        h, found = cell.start(), []
        step = jax.jit(lambda h, measured, s: cell(cell.told(h, measured), s, None))
        for k in range(len(x)):
            garbage = np.where(m[k], x[k], 1e3 * RNG.normal(size=3))  # nobody looks at what was not measured
            h = step(h, m[k].astype(float), np.concatenate([garbage, u[k]]))
            found.append(np.asarray(cell.readout(h)))
    assert np.array(found) == pytest.approx(published(cell, x, u, m), abs=1e-12)


def test_predictions_count_as_measured():
    """A cell that is told nothing is the published network without a gap."""
    cell, x, u = random_cell(), RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))
    with jax.enable_x64(True):
        h, step = cell.start(), jax.jit(lambda h, s: cell(h, s, None))
        for k in range(len(x)):
            h = step(h, np.concatenate([x[k], u[k]]))
    truth = published(cell, x, u, np.ones(x.shape, dtype=bool))[-1]
    assert np.asarray(cell.readout(h)) == pytest.approx(truth, abs=1e-12)


def test_what_is_long_past_is_forgotten():
    """After an endless gap neither the memory nor the last value matters: the sample is the mean."""
    with jax.enable_x64(True):
        cell = GRUDCell(5, 3, 4, 20.0, np.random.default_rng(2))
        states = []
        for a, last in ((1.0, 2.0), (-1.0, 0.5)):
            h = np.concatenate([np.full(4, a), np.full(3, last), np.full(3, 1e6), np.zeros(3)])
            states.append(np.asarray(cell.readout(cell(h, np.concatenate([np.full(3, last), [0.3, 0.4]]), None))))
    assert states[0] == pytest.approx(states[1], abs=1e-12) and np.abs(states[0]).max() > 0.0


# ------------------------------------------------------------------ windows
def test_a_window_without_a_gap_makes_the_same_state_either_way(model):
    """Whether it is recalled as whole or as one that may have gaps."""
    Q, U = model.window_.chart.to_coordinates(WHOLE.X[0]), WHOLE.U[0]
    d = model.delays
    x = model._compiled_.complete(Q[None, : d + 1], U[None, :d])[0]
    assert model.encode(WHOLE.X[0][: d + 1], U[:d]) == pytest.approx(x, abs=1e-12)


def test_the_newest_coordinates_are_predicted_where_they_are_missing(model):
    """By the step from the sample before; a rate alone may be missing too, and the states of an episode agree."""
    d, Y, U = model.delays, WHOLE.X[1][: model.delays + 1].copy(), WHOLE.U[1][: model.delays]
    Y[3:5], Y[6, 2] = np.nan, np.nan
    Q = model.window_.chart.to_coordinates(Y)
    with jax.enable_x64(True):
        network = model._compiled_._network
        ahead = jax.jit(lambda Q, U: network(*recalled(network, Q[:-1], U[:-1]), U[-1]))
        q, h = (np.array(part) for part in ahead(Q, U))
    Y[-1, 2] = np.nan
    x, seen = model.encode(Y, U), model.window_.chart.to_coordinates(Y[-1])
    assert x[0] == pytest.approx(seen[0], abs=1e-12) and x[1] == pytest.approx(q[1], abs=1e-12)
    assert x[2:-3] == pytest.approx(h[:-3], abs=1e-12) and x[-3:].tolist() == [1.0, 1.0, 0.0]
    assert model.window_.states(np.vstack([Y, Y[:1]]), np.vstack([U, U[:1]]))[0] == pytest.approx(x, abs=1e-12)
    assert np.isfinite(model.predict(x, WHOLE.U[1][d:])).all()


def test_the_jacobians_are_those_of_the_step(model):
    """At a state made across a gap that is not over yet."""
    d, Y = model.delays, GAPPED.X[2][: model.delays + 1].copy()
    Y[-2:] = np.nan
    x, u = model.encode(Y, GAPPED.U[2][:d]), np.array([0.3])
    A, B = model.linearize(x, u)
    assert A == pytest.approx(central_differences(lambda v: model.step(v, u), x), abs=1e-6)
    assert B == pytest.approx(central_differences(lambda v: model.step(x, v), u), abs=1e-6)


def test_files_hold_it(model, tmp_path):
    """With its way with gaps."""
    loaded, d = kc.load(model.save(tmp_path / "model.npz")), model.delays
    window = GAPPED.X[3][: d + 1], GAPPED.U[3][:d]
    assert np.isnan(window[0]).any()
    assert np.array_equal(loaded.encode(*window), model.encode(*window))


def test_a_system_without_inputs_has_windows_too():
    """Nothing is nothing in any shape: `encode` takes inputs (delays, 0) as well as an empty list."""

    def complete(Q, U):
        assert U.shape == (len(Q), 2, 0)
        return np.concatenate([Q[:, -1], np.nansum(Q[:, :-1], axis=(1, 2))[:, None]], axis=1)

    memory = GapMemory(Chart.plain(("p", "v")), 2, 0, 1, lambda Q, U: np.sum(Q, axis=(1, 2))[:, None], None, complete)
    Y = np.arange(6.0).reshape(3, 2)
    gappy = np.where(Y == 1.0, np.nan, Y)
    for nothing in (np.zeros((2, 0)), []):
        assert memory.encode(Y, nothing) == pytest.approx([4.0, 5.0, 6.0])
        assert memory.encode(gappy, nothing) == pytest.approx([4.0, 5.0, 5.0])
    with pytest.raises(ShapeError, match="U has shape"):
        memory.encode(gappy, np.zeros((2, 1)))


def test_windows_that_say_nothing_are_refused(model):
    """In words: nothing measured, infinite, an input missing, another shape."""
    d, Y, U = model.delays, WHOLE.X[0][: model.delays + 1], WHOLE.U[0][: model.delays]
    with pytest.raises(DataError, match="at least one"):
        model.encode(np.full_like(Y, np.nan), U)
    with pytest.raises(DataError, match="inf"):
        model.encode(np.where(np.arange(d + 1)[:, None] == 2, np.inf, Y), U)
    with pytest.raises(DataError, match="U holds"):
        model.encode(Y, np.full_like(U, np.nan))
    with pytest.raises(ShapeError):
        model.encode(Y[1:], U)


# ------------------------------------------------------------------ training
def test_gradients_are_finite_and_missing_entries_do_not_count(model):
    """Of the loss of one stretch with gaps, its first and last row among them."""
    training = Training(**(QUICK | {"noise": 0.1}))
    Q, U = model.window_.chart.to_coordinates(WHOLE.X[0][:17]), WHOLE.U[0][:17]
    Q[[0, 4, 5, 12, 16]], Q[9, 1] = np.nan, np.nan
    with jax.enable_x64(True):
        network = model._compiled_._network
        network = eqx.tree_at(lambda n: n.cell, network, GRUDCell(4, 3, 8, 20.0, np.random.default_rng(4)))
        free, fixed = eqx.partition(network, trainer._mask(network))
        error = jax.jit(
            jax.value_and_grad(
                lambda free, Q: trainer._loss(eqx.combine(free, fixed), Q, U, jax.random.key(0), training)
            )
        )
        loss, slope = jax.tree.map(np.array, error(free, Q))
    assert 0.0 < loss < np.inf
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    assert np.abs(slope.cell.W_a).max() > 0.0 and np.abs(slope.cell.w_x).max() > 0.0


def test_only_what_was_measured_counts():
    """The mean square leaves out what is missing of the truth, whatever was predicted there."""
    off, truth = RNG.normal(size=(2, 6, 3))
    truth[1:3, 1] = np.nan
    with jax.enable_x64(True):
        assert mean_square(off, truth) == pytest.approx(np.nanmean((off + 0.0 * truth) ** 2), rel=1e-12)
        assert mean_square(off, np.full_like(off, np.nan)) == 0.0


def test_held_out_error_falls(model):
    """To less than half of what it was at the first check, and the residuals' covariance is one."""
    errors = model.history_.error
    assert min(errors) < 0.6 * errors[0]
    assert np.linalg.eigvalsh(model.residual_covariance_).min() >= 0.0
    assert any("shown as missing" in note for note in model.notes_)


def test_drop_outs_cost_it_less_than_holding_the_last_value(model):
    """Three in ten samples missing: forecasts of fresh motion, from windows with gaps, against a GRU of equal size."""
    fresh = hanging(6, 50, seed=5)
    gapped = GappedRollouts.thinned(fresh, 0.3, seed=6)
    held = GRU(8, training=QUICK).fit(GAPPED.held())
    mine, theirs = forecast_error(model, gapped, fresh, 8), forecast_error(held, gapped.held(), fresh, 8)
    assert mine < 0.8 * theirs


def test_stretches_with_gaps_are_left_out_unless_the_model_bears_them():
    """Each stretch that is kept is whole; with `gaps` each holds something."""
    X = WHOLE.X[0].copy()
    X[10], X[30:45] = np.nan, np.nan
    data = GappedRollouts([X], [WHOLE.U[0]], WHOLE.dt)
    chart = Chart.plain(data.x_names)
    whole, any_ = Stretches.of(chart, data, 9), Stretches.of(chart, data, 9, gaps=True)
    assert whole.starts.tolist() == [0, 1, *range(11, 22), *range(45, 53)]
    assert any_.starts.tolist() == [*range(30), *range(30, 30), *range(37, 53)]
    with pytest.raises(DataError, match="holds a gap"):
        Stretches.of(chart, data, 25)
    with pytest.raises(DataError, match="lower washout"):
        Stretches.of(chart, data, 99)
    assert np.isfinite(whole.take(np.arange(len(whole.starts)))[0]).all()


# ------------------------------------------------------------------ recordings
def test_a_recording_keeps_its_gaps():
    """It can be cut as `Rollouts` does, held, and split into episodes that keep theirs."""
    X = [np.array([[np.nan, 1.0], [2.0, np.nan], [3.0, np.nan], [4.0, 5.0], [6.0, 7.0]])]
    data = GappedRollouts(X, [np.zeros((4, 1))], 0.1, ["a", "b"])
    assert data.missing == pytest.approx(0.3) and "30 % of x missing" in repr(data)
    assert data.held().X[0].tolist() == [[2.0, 1.0], [2.0, 1.0], [3.0, 1.0], [4.0, 5.0], [6.0, 7.0]]
    assert data.whole().X[0].tolist() == [[4.0, 5.0], [6.0, 7.0]]
    train, held_out = split(GAPPED, 0.25, 0)
    assert (len(train), len(held_out)) == (18, 6) and train.missing > 0.2 and isinstance(train, GappedRollouts)


def test_recordings_without_a_whole_transition_are_learnt_from():
    """Two sensors that take turns: scales come from held values, the residuals' covariance from each column alone."""
    X = []
    for x in WHOLE.X:
        part = x[:, [1, 2]].copy()
        part[::2, 0], part[1::2, 1] = np.nan, np.nan
        X.append(part)
    data = GappedRollouts(X, WHOLE.U, WHOLE.dt)
    with pytest.raises(DataError):
        data.whole()
    model = GRUD(4, training=QUICK | {"steps": 2, "check": 1}).fit(data)
    covariance = model.residual_covariance_
    assert np.isfinite(covariance).all() and (np.diag(covariance) > 0.0).all() and covariance[0, 1] == 0.0


@pytest.mark.parametrize(
    ("X", "U", "fault", "words"),
    [
        ([np.full((5, 2), np.nan)], [np.zeros((4, 1))], DataError, "never measured"),
        ([np.ones((5, 2))], [np.full((4, 1), np.nan)], DataError, "U.0. holds nan"),
        ([np.full((5, 2), np.inf)], [np.zeros((4, 1))], DataError, "inf"),
        ([np.ones((5, 2))], [np.zeros((3, 1))], ShapeError, "U.0. has shape"),
        ([np.ones((5, 2))], [], ShapeError, "one array of each"),
        ([np.ones(5)], [np.zeros((4, 1))], ShapeError, "reshape"),
    ],
)
def test_recordings_that_make_no_sense_are_refused(X, U, fault, words):
    """In words."""
    with pytest.raises(fault, match=words):
        GappedRollouts(X, U, 0.1)


def test_other_models_refuse_gaps_and_this_one_refuses_weights():
    """In words that say what is expected."""
    with pytest.raises(DataError, match="takes Rollouts"):
        GRU(4, training=QUICK).fit(GAPPED)
    with pytest.raises(DataError, match="weights"):
        GRUD(4, training=QUICK).fit(GAPPED, sample_weight=[1.0])
    with pytest.raises(DataError, match="n_hidden"):
        GRUD(0, training=QUICK).fit(GAPPED)
    with pytest.raises(DataError, match="longest"):
        GRUD(4, longest=0.0, training=QUICK).fit(GAPPED)

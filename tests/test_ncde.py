"""The attentive neural CDE: its field, its solution against another integrator, paths across gaps, and the contract."""

from __future__ import annotations

import numpy as np
import pytest
from gapped import forecast_error, hanging
from recorded import central_differences
from scipy.integrate import solve_ivp

from koopctl.errors import DataError
from koopctl.models.recurrent.gapped_rollouts import GappedRollouts

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")
pytest.importorskip("diffrax")

from koopctl.models.recurrent import trainer  # noqa: E402
from koopctl.models.recurrent.gaps import bridged, recalled  # noqa: E402
from koopctl.models.recurrent.ncde import NCDE, NCDECell  # noqa: E402
from koopctl.models.recurrent.network import Network, Scales  # noqa: E402
from koopctl.models.recurrent.training import Training  # noqa: E402

QUICK = {"steps": 100, "check": 25, "batch": 16, "washout": 8, "horizon": 8, "learning_rate": 1e-2}
SMALL = {"n_hidden": 6, "n_attention": 4, "width": 8, "solver": "euler"}  # compiled sooner than the others
WHOLE = hanging()
GAPPED = GappedRollouts.thinned(WHOLE, 0.3)
N_IN, N_Z, N_B = 3, 4, 5


@pytest.fixture(autouse=True)
def in_double_precision():
    """Leave no digits to chance."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def model():
    """A small network, fitted to a recording of which three in ten samples are missing."""
    return NCDE(**SMALL, training=QUICK).fit(GAPPED)


def random_cell(attention="element", solver="tsit5", substeps=8, longest=2.0, n_in=N_IN) -> NCDECell:
    """Return a cell whose weights are all drawn anew, so large that nothing is nearly linear."""
    cell = NCDECell(n_in, N_Z, N_B, attention, 7, substeps, solver, longest, np.random.default_rng(0))
    leaves, shape = jax.tree.flatten(cell)
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(shape, [jax.numpy.asarray(0.7 * rng.normal(size=leaf.shape)) for leaf in leaves])


def field(part, z: np.ndarray) -> np.ndarray:
    """Transcribe the vector field: a hidden layer, a final tanh, the matrix row by row."""
    hidden = np.log1p(np.exp(np.asarray(part.W1) @ z + part.b1))
    flat = np.tanh(np.asarray(part.W2) @ hidden + part.b2)
    channels = len(flat) // len(z)
    return np.array([flat[i * channels : (i + 1) * channels] for i in range(len(z))])


def gates(cell: NCDECell, b: np.ndarray) -> np.ndarray:
    """Transcribe the attention."""
    return 1.0 / (1.0 + np.exp(-(np.asarray(cell.A) @ b + cell.a0)))


def right_side(cell: NCDECell, y: np.ndarray, X: np.ndarray, dX: np.ndarray) -> np.ndarray:
    """Transcribe both equations; the slope of Y = a X is taken by central differences along the way."""
    z, b, rate = y[:N_Z], y[N_Z:], cell.rate
    if not len(b):
        return field(cell.g, z) @ np.array([rate, *dX])
    db, eps = field(cell.f, b) @ np.array([rate, *dX]), 1e-6
    ahead, behind = (gates(cell, b + e * db) * (X + e * dX) for e in (eps, -eps))
    return np.concatenate([field(cell.g, z) @ np.array([rate, *(ahead - behind) / (2 * eps)]), db])


@pytest.mark.parametrize("attention", ["element", "time", "none"])
def test_its_field_is_the_published_one(attention):
    """At random places of the path, whatever the attention; the shapes are those the docstring names."""
    cell, rng = random_cell(attention), np.random.default_rng(2)
    n_b = 0 if attention == "none" else N_B
    assert cell.A.shape == {"element": (N_IN, N_B), "time": (1, N_B), "none": (0, 0)}[attention]
    assert cell.n_hidden == N_Z + n_b + N_IN
    slope = jax.jit(lambda *at: cell.slope(*at))
    for _ in range(5):
        y, X, dX = rng.normal(size=N_Z + n_b), rng.normal(size=N_IN), rng.normal(size=N_IN)
        assert np.array(slope(y, X, dX)) == pytest.approx(right_side(cell, y, X, dX), abs=1e-8)


@pytest.mark.parametrize(("attention", "solver", "substeps"), [("element", "tsit5", 40), ("none", "heun", 4000)])
def test_its_solution_is_that_of_another_integrator(attention, solver, substeps):
    """SciPy's, segment by segment along the same path, which begins at the mean."""
    cell, path = random_cell(attention, solver, substeps), np.random.default_rng(3).normal(size=(6, N_IN))
    y, h, step = np.zeros(cell.n_hidden - N_IN), cell.start(), jax.jit(lambda h, s: cell(h, s, None))
    for start, stop in zip(np.vstack([np.zeros(N_IN), path[:-1]]), path, strict=True):
        h = step(h, stop)
        y = solve_ivp(
            lambda t, y, a=start, b=stop: np.array(right_side(cell, y, a + t * (b - a), b - a)),
            (0.0, 1.0),
            y,
            method="DOP853",
            rtol=1e-10,
            atol=1e-10,
        ).y[:, -1]
        assert np.array(h) == pytest.approx(np.concatenate([y, stop]), abs=1e-6)
    assert np.array(cell.readout(h)) == pytest.approx(y[:N_Z], abs=1e-6)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2), ("tsit5", 5)])
def test_its_solvers_have_their_order(solver, order):
    """Half the step, 2^order times less error."""
    h = np.random.default_rng(4).normal(size=N_Z + N_B + N_IN)
    s = np.array([1.0, -1.5, 0.5])

    def after(name: str, substeps: int) -> np.ndarray:
        cell = random_cell("element", name, substeps)
        return np.array(jax.jit(lambda h, s: cell(h, s, None))(h, s))

    truth, steps = after("tsit5", 64), (8, 16) if order < 3 else (2, 4)
    coarse, fine = (np.abs(after(solver, n) - truth).max() for n in steps)
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.5)


def test_only_the_path_counts_and_not_how_fast_it_is_run_through():
    """Without the time channel a detour of samples on the straight line changes nothing; with it, it does."""
    s = np.array([1.0, -0.5, 2.0])
    for longest, same in ((np.inf, True), (2.0, False)):
        cell = random_cell(longest=longest)
        step = jax.jit(lambda h, s, cell=cell: cell(h, s, None))
        at_once, by_steps = step(cell.start(), s), cell.start()
        for share in (0.2, 0.5, 0.9, 1.0):
            by_steps = step(by_steps, share * s)
        assert (np.abs(np.array(at_once - by_steps)).max() < 1e-6) == same


# ------------------------------------------------------------------ gaps
def network_on_the_line(cell, nq: int = 2, angle: bool = False) -> Network:
    """Return a network of standardised coordinates and one input; of the coordinates the last may be an angle."""
    n_linear = nq - angle
    linear = np.array([range(n_linear)] * 2)
    circle = np.array([[nq - 1], [n_linear], [n_linear + 1]]) if angle else np.zeros((3, 0), dtype=int)
    ne = n_linear + 2 * angle
    scales = Scales(np.zeros(ne + 1), np.ones(ne + 1), np.ones(nq), np.ones(nq), linear, circle)
    return Network.around(cell, scales, np.random.default_rng(0))


def test_gaps_are_bridged_by_straight_lines():
    """Each coordinate alone, as numpy does; held before the first measurement, left to the network after the last."""
    rng, T = np.random.default_rng(5), 15
    Q = rng.normal(size=(T, 2))
    Q[rng.uniform(size=Q.shape) < 0.5] = np.nan
    Q[0], Q[3], Q[12:, 0] = np.nan, 1.0, np.nan
    found = np.array(bridged(network_on_the_line(random_cell()), jax.numpy.asarray(Q), 13))
    for j in range(2):
        known = np.flatnonzero(~np.isnan(Q[:13, j]))
        expected = np.interp(np.arange(13), known, Q[known, j], right=np.nan)
        assert found[:13, j] == pytest.approx(expected, nan_ok=True)
    assert np.array_equal(found[13:], Q[13:], equal_nan=True) and np.isnan(found[12, 0])


def test_angles_are_bridged_the_shorter_way_round():
    """Across pi, not through zero."""
    network = network_on_the_line(random_cell(n_in=4), angle=True)
    Q = np.array([[0.0, 3.0], [np.nan, np.nan], [2.0, -3.0]])
    found = np.array(bridged(network, jax.numpy.asarray(Q), 3))
    assert found[1] == pytest.approx([1.0, np.pi], abs=1e-12)


def test_a_sample_on_a_straight_line_may_as_well_be_missing():
    """Samples at uneven times of a path that is straight between them leave the same memory as all of them."""
    network = network_on_the_line(random_cell())
    Q = np.stack([np.interp(np.arange(12), [0, 4, 7, 11], values) for values in ([1, -1, 2, 0], [0, 2, 1, 3])], axis=1)
    gappy, U = Q.copy(), np.random.default_rng(6).normal(size=(11, 1))
    gappy[[1, 2, 3, 5, 6, 8, 9, 10]] = np.nan
    recall = jax.jit(lambda Q, U: recalled(network, Q, U))
    for mine, truth in zip(recall(gappy, U), recall(Q, U), strict=True):
        assert np.array(mine) == pytest.approx(np.array(truth), abs=1e-10)


def test_nothing_after_the_window_is_looked_at(model):
    """A forecast across the end of a window is the same whatever comes after, and whether it is missing."""
    Q, U = model.window_.chart.to_coordinates(WHOLE.X[0][:17]), jax.numpy.asarray(WHOLE.U[0][:17])
    Q[[2, 7, 8]] = np.nan
    run = jax.jit(lambda Q: trainer.free_run(model._compiled_._network, Q, U, 8))
    path = np.array(run(Q))
    for other in (Q[9:] + 1.0, np.full_like(Q[9:], np.nan)):
        assert np.array_equal(np.array(run(np.concatenate([Q[:9], other]))), path)
    x = model.encode(np.where(np.isin(np.arange(9), [2, 7, 8])[:, None], np.nan, WHOLE.X[0][:9]), WHOLE.U[0][:8])
    assert model.predict(x, WHOLE.U[0][8:16])[1:, :2] == pytest.approx(path, abs=1e-9)


# ------------------------------------------------------------------ as a model
def test_a_window_without_a_gap_makes_the_same_state_either_way(model):
    """Whether it is recalled as whole or as one that may have gaps."""
    d, U = model.delays, WHOLE.U[0]
    Q = model.window_.chart.to_coordinates(WHOLE.X[0])
    x = model._compiled_.complete(Q[None, : d + 1], U[None, :d])[0]
    assert model.encode(WHOLE.X[0][: d + 1], U[:d]) == pytest.approx(x, abs=1e-12)


def test_the_jacobians_are_those_of_the_step(model):
    """Through the solver, at a state made across a gap."""
    d = model.delays
    assert np.isnan(GAPPED.X[2][: d + 1]).any()
    x, u = model.encode(GAPPED.X[2][: d + 1], GAPPED.U[2][:d]), np.array([0.3])
    A, B = model.linearize(x, u)
    assert A == pytest.approx(central_differences(lambda v: model.step(v, u), x), abs=1e-6)
    assert B == pytest.approx(central_differences(lambda v: model.step(x, v), u), abs=1e-6)


def test_gradients_are_finite(model):
    """Of the loss of one stretch with gaps, after training, in every weight; and none of them is idle."""
    training = Training(**(QUICK | {"noise": 0.1}))
    Q, U = model.window_.chart.to_coordinates(WHOLE.X[0][:17]), jax.numpy.asarray(WHOLE.U[0][:17])
    Q[[0, 4, 5, 8, 12, 16]], Q[9, 1] = np.nan, np.nan
    network = model._compiled_._network
    free, fixed = eqx.partition(network, trainer._mask(network))
    error = jax.jit(
        jax.value_and_grad(lambda free, Q: trainer._loss(eqx.combine(free, fixed), Q, U, jax.random.key(0), training))
    )
    loss, slope = error(free, Q)
    assert 0.0 < loss < np.inf
    for leaf in jax.tree.leaves(slope):
        assert np.isfinite(np.array(leaf)).all() and np.abs(np.array(leaf)).max() > 0.0


def test_held_out_error_falls(model):
    """And forecasts of fresh motion from windows with gaps are far better than the mean."""
    fresh = hanging(4, 50, seed=5)
    assert min(model.history_.error) < 0.7 * model.history_.error[0]
    assert forecast_error(model, GappedRollouts.thinned(fresh, 0.3, seed=6), fresh, 8) < 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attention": "hard"}, "attention is 'hard'; it is 'element' or 'time' or 'none'"),
        ({"solver": "dopri5"}, "solver is 'dopri5'"),
        ({"substeps": 0}, "substeps"),
        ({"width": -1}, "width"),
        ({"n_attention": 0}, "n_attention"),
        ({"longest": 0.0}, "longest"),
    ],
)
def test_bad_arguments_are_refused_in_words(options, words):
    """Each names itself and what it may be."""
    with pytest.raises(DataError, match=words):
        NCDE(training=QUICK, **options).fit(GAPPED)

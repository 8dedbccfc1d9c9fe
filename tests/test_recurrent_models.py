"""Every recurrent model keeps the contract of a model: states from windows, Jacobians, files, laws, copies."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from recorded import central_differences

import koopctl as kc
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.steady import nearest_steady, resolve
from koopctl.errors import DataError, KoopctlError
from koopctl.models import recurrent

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
pytest.importorskip("optax")

from koopctl.models.recurrent.stretches import Stretches  # noqa: E402  only where JAX is installed
from koopctl.models.recurrent.trainer import held_out_error  # noqa: E402

QUICK = {"steps": 60, "check": 20, "batch": 16, "washout": 6, "horizon": 8, "learning_rate": 0.01}
TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=10, u_min=-1.0, u_max=1.0)


def recording(episodes=20, steps=80, seed=0):
    """Record a damped, driven pendulum seen as Gymnasium shows it: cos, sin, rate.

    An episode holds more than 64 windows, so that what is compiled for 256 rows by the fit serves its states, too.
    """
    rng = np.random.default_rng(seed)
    X, U = [], []
    for _ in range(episodes):
        angle, rate = rng.uniform(-1.5, 1.5, 2)
        inputs, path = rng.uniform(-1.0, 1.0, (steps, 1)), [(np.cos(angle), np.sin(angle), rate)]
        for u in inputs[:, 0]:
            rate += 0.1 * (-2.0 * np.sin(angle) - 0.3 * rate + u)
            angle += 0.1 * rate
            path.append((np.cos(angle), np.sin(angle), rate))
        X.append(np.array(path))
        U.append(inputs)
    return kc.Rollouts(X, U, 0.1, ("cos", "sin", "rate"), ("torque",))


DATA = recording()
# A plain cell, one with gaps in its windows, one whose state is the plant's: a law's functions take long to compile.
CONTROLLED = ("GRU", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("GRUD", "ShPLRNN")))
OPTIONS = {
    "NCDE": {"n_attention": 3, "width": 4, "solver": "euler"},  # compiled sooner
    "HamiltonianRNN": {"damping": 0.1},
    "RNNp": {"p": 3},
    "TauGRU": {"lag": 2},
    "UnICORNN": {"damping": 0.1, "n_layers": 2},
}


@cache
def fitted(kind):
    """Return a model of a cell, hardly trained: the contract does not ask for skill."""
    return getattr(recurrent, kind)(n_hidden=6, training=QUICK, **OPTIONS.get(kind, {})).fit(DATA)


@pytest.fixture(scope="module", params=sorted(recurrent.CELLS))
def model(request):
    """Each cell; tests must not change it."""
    return fitted(request.param)


def test_the_state_is_the_angle_and_the_memory(model):
    """What `encode` makes of a window begins with its newest coordinates; `output` gives the observation back."""
    Y, U = DATA.X[0], DATA.U[0]
    x = model.encode(Y[: model.delays + 1], U[: model.delays])
    assert model.state_names[0].startswith("theta") or len(model.state_names) == 2
    assert model.output(x) == pytest.approx(Y[model.delays], abs=1e-12)
    assert x == pytest.approx(model.window_.states(Y, U)[0], abs=1e-12)


def test_a_state_goes_on_as_a_longer_window_would(model):
    """Shown the sample that it predicts, the memory is what the step made of it."""
    Y, U = DATA.X[1], DATA.U[1]
    x = model.encode(Y[: model.delays + 1], U[: model.delays])
    after = model.step(x, U[model.delays])
    assert after.shape == (model.nx,) and np.isfinite(after).all()
    path = model.predict(x, U[model.delays :])
    assert path[1] == pytest.approx(after, abs=1e-12) and np.isfinite(path).all()


def test_batches_are_rows(model):
    """Any number of rows gives what each row gives alone, though they are filled up on the way."""
    X, U = model.window_.states(DATA.X[2], DATA.U[2])[:70], DATA.U[2][:70]
    together = model.step(X, U)
    assert len(together) == 70
    for k in range(0, 70, 7):
        assert model.step(X[k], U[k]) == pytest.approx(together[k], abs=1e-10)


def test_its_report_fits_a_screen_and_names_the_training(model):
    """With the network's size and the time it took."""
    text = str(model.report_)
    assert "trained for" in text and len(text.splitlines()) <= 40


def test_files_copies_and_pickles_are_the_same_model(model, tmp_path):
    """To the last bit, and `koopctl.load` needs no hint of what it is."""
    loaded = kc.load(model.save(tmp_path / "model.npz"))
    states, inputs = model.window_.states(DATA.X[3], DATA.U[3])[:70], DATA.U[3][:70]
    for twin in (loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin) is type(model)
        assert np.array_equal(twin.step(states, inputs), model.step(states, inputs))
        window = DATA.X[3][: model.delays + 1], DATA.U[3][: model.delays]
        assert np.array_equal(twin.encode(*window), model.encode(*window))


def test_what_stands_still_is_remembered_as_a_window_that_does(model):
    """And its derivatives, which steady states are found with, are those of that memory."""
    q, u = np.array([0.3, -0.2])[: model.window_.nq], np.array([0.4])
    still = model.window_.standing(q, u)
    d = model.delays
    Y = np.tile([np.cos(q[0]), np.sin(q[0]), q[1]], (d + 1, 1))
    assert still == pytest.approx(model.encode(Y, np.tile(u, (d, 1))), abs=1e-9)
    by_q, by_u = model.window_.standing_slopes(q[None], u[None])
    if isinstance(model, recurrent.EGRU):  # says of its events that they have slopes; that is not what moves them
        assert by_q.shape == (1, model.nx, 2) and np.isfinite(by_q).all() and np.isfinite(by_u).all()
        return
    assert by_q[0] == pytest.approx(central_differences(lambda v: model.window_.standing(v, u), q), abs=1e-6)
    assert by_u[0] == pytest.approx(central_differences(lambda v: model.window_.standing(q, v), u), abs=1e-6)


def test_its_held_out_error_falls(model):
    """By a tenth at least from what the first look found."""
    assert min(model.history_.error) < 0.9 * model.history_.error[0]


def test_its_jacobians_are_those_of_the_step(model):
    """By central differences, at states with a memory."""
    if isinstance(model, recurrent.EGRU):
        pytest.skip("its Jacobians hold a surrogate by design; they have a test of their own")
    for k in (3, 30):
        x, u = model.window_.states(DATA.X[0], DATA.U[0])[k], DATA.U[0][k + model.delays]
        A, B = model.linearize(x, u)
        assert central_differences(lambda x, u=u: model.step(x, u), x) == pytest.approx(A, abs=1e-7)
        assert central_differences(lambda u, x=x: model.step(x, u), u) == pytest.approx(B, abs=1e-7)


def test_the_gradient_of_its_loss_is_finite(model):
    """After the descent, of every weight; and no kind of them is left out."""
    if isinstance(model, recurrent.GRUD | recurrent.NCDE):
        pytest.skip("they learn from stretches with gaps; they have tests of their own")
    Q, U = Stretches.of(model.window_.chart, DATA, 14).evenly(8)
    with jax.enable_x64(True):
        network = jax.tree.map(jax.numpy.asarray, model.network_)
        slopes = eqx.filter_jit(eqx.filter_grad(lambda net: held_out_error(net, Q, U, 6)))(network).cell
    for leaf in jax.tree.leaves(slopes):
        assert np.isfinite(leaf).all() and np.any(np.asarray(leaf) != 0)


@pytest.mark.parametrize("kind", CONTROLLED)
def test_it_drops_into_the_same_controller(kind, tmp_path):
    """`design` gives it the re-linearised MPC; inputs keep their bounds, a saved law is the same law."""
    law = kc.design(fitted(kind), TASK)
    assert isinstance(law, kc.RelinearizedMPC)
    twin = kc.load(law.save(tmp_path / "law.npz"))
    for y in DATA.X[4][:10]:
        u, info = law(y)
        assert np.abs(u).max() <= 1.0 and info["status"] in ("solved", "feasible", "shifted", "lqr", "safe")
        assert np.array_equal(twin(y)[0], u)
    assert law.rungs["solved"] > 0


@pytest.mark.parametrize("kind", CONTROLLED)
def test_the_steady_pair_stands_still(kind):
    """With the memory of having long been there."""
    model = fitted(kind)
    prediction = Prediction(model, TASK)
    steady = nearest_steady(prediction, resolve(model, TASK))
    still = model.window_.standing(steady.x[: prediction.nq], steady.u)
    assert steady.x == pytest.approx(still, abs=1e-9)


def test_batches_of_any_size_are_rows():
    """Whatever size they are filled up to, one beyond the largest that is compiled at once among them."""
    model = recurrent.RNN(2, training=QUICK | {"steps": 1}).fit(DATA)
    X = np.concatenate([model.window_.states(Y, U)[:-1] for Y, U in DATA])[:300]
    U = np.concatenate([U[model.delays :] for U in DATA.U])[:300]
    every = model.step(X, U)
    for count in (1, 2, 17, 64, 65):
        assert model.step(X[:count], U[:count]) == pytest.approx(every[:count], abs=1e-10)
    assert model.step(X[299], U[299]) == pytest.approx(every[299], abs=1e-10)


def test_one_seed_gives_one_network():
    """The same bytes twice; another seed, another network."""
    first, again = (recurrent.GRU(6, training=QUICK).fit(DATA) for _ in range(2))
    other = recurrent.GRU(6, training=QUICK | {"seed": 1}).fit(DATA)
    one, two, three = (m.predict(m.window_.states(DATA.X[0], DATA.U[0])[0], DATA.U[0]) for m in (first, again, other))
    assert np.array_equal(one, two) and not np.array_equal(one, three)


def test_bad_input_is_named():
    """Weights, sizes, settings, short episodes."""
    with pytest.raises(DataError, match="sample weights"):
        recurrent.GRU(training=QUICK).fit(DATA, sample_weight=[np.ones(80)] * 20)
    with pytest.raises(DataError, match="n_hidden"):
        recurrent.GRU(0, training=QUICK).fit(DATA)
    for wrong in (0.5, -1.0, np.inf, np.nan, "long", None):
        with pytest.raises(DataError, match="longest is .* it must be a finite number of samples, 1 or more"):
            recurrent.GRU(longest=wrong, training=QUICK).fit(DATA)
    with pytest.raises(DataError, match="no episode holds"):
        recurrent.GRU(training=QUICK | {"horizon": 100}).fit(DATA)
    with pytest.raises(DataError, match="forcing"):
        recurrent.GRU(training=QUICK | {"forcing": "strong"}).fit(DATA)


def test_koopctl_needs_no_jax():
    """Importing it loads none; a trained model without it names the command that installs it."""
    code = (
        "import sys, koopctl as kc\nassert 'jax' not in sys.modules\nsys.modules['jax'] = None\n"
        "from koopctl.models import recurrent\n"
        "try:\n    recurrent.GRU\nexcept kc.KoopctlError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'koopctl[baselines]'" in done.stdout
    assert issubclass(KoopctlError, Exception)

"""The sampled recurrent network and what every model promises: derivatives, roll-outs, streaming, order, files."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import DT, central_differences, linear, oscillator, pendulum, without_inputs
from sklearn.base import clone

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, NotFittedError, SamplingTimeError, ShapeError
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.fitting import fit
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN

PENDULUM, OSCILLATOR = pendulum(), oscillator()
few = settings(max_examples=25, deadline=None)

# Every kind of model, on angles and on plain states, with and without delays.
KINDS = {
    "tanh": SampledRNN(25),
    "relu": SampledRNN(25, activation="relu", sampling="uniform"),
    "random": SampledRNN(25, sampling="random"),
    "delays": SampledRNN(25, delays=2),
    "plain": SampledRNN(25, delays=1, manifold=False),
    "linear": EDMDc(SampledFeatures(15)),
    "bilinear": EDMDc(SampledFeatures(15), inputs="bilinear"),
    "linear-delays": EDMDc(SampledFeatures(15), delays=2),
    "bilinear-delays": EDMDc(SampledFeatures(15, activation="relu"), inputs="bilinear", delays=1),
    "dmdc": EDMDc(Identity(), delays=1),
}
CASES = [(kind, data) for kind in KINDS for data in ("pendulum", "oscillator", "autonomous")]
DATA = {"pendulum": PENDULUM, "oscillator": OSCILLATOR, "autonomous": without_inputs(PENDULUM)}
MODELS = {(kind, data): fit(DATA[data], KINDS[kind]) for kind, data in CASES}


@pytest.fixture(params=CASES, ids="-".join)
def model(request):
    """Return each kind of model fitted to each plant; tests must not change it."""
    return MODELS[request.param]


def somewhere(model, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return n states and inputs in and around the data."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, model.nx)) * 1.2, rng.normal(size=(n, model.nu))


def layer(model):
    """Return the model's sampled features."""
    return model.features_ if isinstance(model, SampledRNN) else model.lift_


# ---------------------------------------------------------------------------------------------- derivatives
def test_jacobians_are_central_differences(model):
    """A and B of `linearize` at random states, delays and angles included; `expand` adds the step itself."""
    X, U = somewhere(model, 6, seed=1)
    A, B = model.linearize(X, U)
    assert A.shape == (6, model.nx, model.nx) and B.shape == (6, model.nx, model.nu)
    for x, u, a, b in zip(X, U, A, B, strict=True):
        coarse, fine = (central_differences(lambda v, u=u: model.step(v, u), x, step) for step in (1e-5, 1e-6))
        if np.abs(coarse - fine).max() < 1e-6:  # no ReLU kink between the two points
            assert a == pytest.approx(fine, rel=1e-6, abs=1e-6)
            if model.nu:
                assert b == pytest.approx(central_differences(lambda v, x=x: model.step(x, v), u), rel=1e-6, abs=1e-5)
    F, A2, B2 = model.expand(X, U)
    assert F == pytest.approx(model.step(X, U), abs=1e-12)
    assert A2.tobytes() == A.tobytes() and B2.tobytes() == B.tobytes()


def test_one_sample_is_a_batch_of_one(model):
    """step, linearize and both roll-outs."""
    X, U = somewhere(model, 4, seed=2)
    path = np.random.default_rng(3).normal(size=(4, 6, model.nu))
    A, B = model.linearize(X, U)
    for i in range(4):
        assert model.step(X[i], U[i]) == pytest.approx(model.step(X, U)[i], abs=1e-12)
        assert model.linearize(X[i], U[i])[0] == pytest.approx(A[i], abs=1e-12)
        assert model.linearize(X[i], U[i])[1] == pytest.approx(B[i], abs=1e-12)
        for relift in (True, False):
            single, batch = model.predict(X[i], path[i], relift), model.predict(X, path, relift)[i]
            assert single == pytest.approx(batch, rel=1e-9, abs=1e-9)


# ---------------------------------------------------------------------------------------------- roll-outs
@pytest.mark.parametrize("relift", [True, False])
def test_a_prediction_starts_where_it_starts(model, relift):
    """Row 0 is x0 to the last bit, for any horizon, 0 included."""
    x0 = somewhere(model, 1)[0][0]
    for steps in (0, 1, 5):
        path = model.predict(x0, np.zeros((steps, model.nu)), relift=relift)
        assert path.shape == (steps + 1, model.nx) and np.array_equal(path[0], x0)


def test_the_relifted_roll_out_is_the_repeated_step(model):
    """Ten steps, one at a time, as long as they stay within a width of the data's box; see test_guarded.py."""
    (x, *_), U = somewhere(model, 1)[0], np.random.default_rng(4).normal(size=(10, model.nu))
    path, near = model.predict(x, U), 0
    for k, u in enumerate(U):
        x = model.step(x, u)
        if model.excess(x[None])[0] > 2.0:  # half widths
            break
        near += 1
        assert path[k + 1] == pytest.approx(x, rel=1e-9, abs=1e-9)
    assert near >= 2


@pytest.mark.parametrize("kind", ["tanh", "delays"])
def test_the_linear_roll_out_of_a_network_is_its_tangent(kind):
    """x+ = f + A (x - x0) + B (u - u0), by hand."""
    model = MODELS[kind, "pendulum"]
    (x0,), _ = somewhere(model, 1)
    U = np.random.default_rng(5).normal(size=(6, 1))
    (A, B), f, x = model.linearize(x0, U[0]), model.step(x0, U[0]), x0
    path = model.predict(x0, U, relift=False)
    for k, u in enumerate(U):
        x = f + A @ (x - x0) + B @ (u - U[0])
        assert path[k + 1] == pytest.approx(x, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("relift", [True, False])
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "plain"])
def test_a_full_turn_changes_nothing(kind, relift):
    """Turn every angle of the state, older ones too: the same motion, turned."""
    model = MODELS[kind, "pendulum"]
    (x,), _ = somewhere(model, 1)
    turn = np.zeros(model.nx)
    turn[model.window_.circle[0]] = 4 * np.pi
    assert turn.any()
    U = np.random.default_rng(6).normal(size=(5, 1))
    straight, turned = model.predict(x, U, relift), model.predict(x + turn, U, relift)
    assert turned - straight == pytest.approx(np.tile(turn, (6, 1)), rel=1e-9, abs=1e-8)
    assert model.output(x + turn) == pytest.approx(model.output(x), abs=1e-12)


def test_the_output_of_an_encoded_observation_is_the_observation(model):
    """encode, then output; the newest of the window."""
    window, data = model.window_, DATA["autonomous" if not model.nu else "pendulum" if model.nu == 1 else "oscillator"]
    d = window.delays
    x = model.encode(data.X[0][3 : 4 + d], data.U[0][3 : 3 + d])
    assert x.shape == (model.nx,)
    assert model.output(x) == pytest.approx(data.X[0][3 + d], abs=1e-12)
    if d == 0:
        assert np.array_equal(model.encode(data.X[0][3]), x)


# ---------------------------------------------------------------------------------------------- learning
@pytest.mark.parametrize("ridge", [1e-10, 1e-4])
def test_pieces_give_the_least_squares_of_everything(ridge):
    """partial_fit block by block equals lstsq over all samples with the same hidden units, ridge rows stacked below."""
    model = SampledRNN(20, ridge=ridge)
    for part in (OSCILLATOR[:2], OSCILLATOR[2], OSCILLATOR[3:]):
        model.partial_fit(part)
    X = np.concatenate([x[:-1] for x in OSCILLATOR.X])
    dX = np.concatenate([np.diff(x, axis=0) for x in OSCILLATOR.X])
    S = np.concatenate([X, np.concatenate(OSCILLATOR.U)], axis=1)
    H = np.tanh((S - model.mean_) / model.scale_ @ model.features_.weights_ + model.features_.biases_)
    Phi = np.concatenate([H, (S - model.mean_) / model.scale_, np.ones((len(S), 1))], axis=1)
    penalty = np.sqrt(ridge * len(S)) * np.eye(Phi.shape[1])
    penalty[-1] = 0.0
    target = np.concatenate([dX / model.gain_, np.zeros((len(penalty), 2))])
    theta = np.linalg.lstsq(np.concatenate([Phi, penalty]), target, rcond=None)[0]
    assert model.step(X, S[:, 2:]) == pytest.approx(X + Phi @ theta * model.gain_, abs=1e-8)
    assert model.C_ == pytest.approx(theta[:20].T * model.gain_[:, None], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_more_pieces_or_fewer_give_the_same_model(kind):
    """After the first piece, which fixes the hidden units, cuts between episodes do not matter: 1e-8."""
    first, rest = PENDULUM[:4], PENDULUM[4:]
    whole = clone(KINDS[kind]).set_params(ridge=1e-6).fit(first).partial_fit(rest)
    pieces = clone(KINDS[kind]).set_params(ridge=1e-6).fit(first)
    for i in range(len(rest)):
        pieces.partial_fit(rest[i])
    X, U = somewhere(whole, 20)
    assert pieces.step(X, U) == pytest.approx(whole.step(X, U), rel=1e-8, abs=1e-8)
    assert np.array_equal(pieces.envelope_.high, whole.envelope_.high)
    assert np.array_equal(pieces.input_range_.low, whole.input_range_.low)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pendulum", "oscillator"])
def test_the_order_of_the_episodes_changes_nothing(kind, name):
    """Hidden units identical bytes, the model to 1e-6."""
    data = DATA[name]
    order = np.random.default_rng(7).permutation(len(data)).tolist()
    template = clone(KINDS[kind]).set_params(ridge=1e-6)
    base, shuffled = fit(data, template), fit(data[order], template)
    for mine, other in zip(layer(base).arrays().values(), layer(shuffled).arrays().values(), strict=True):
        assert mine.tobytes() == other.tobytes()
    X, U = somewhere(base, 20)
    assert shuffled.step(X, U) == pytest.approx(base.step(X, U), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "dmdc"])
def test_same_seed_same_bytes_and_another_seed_differs(kind):
    """The random state is all the chance there is."""
    again = fit(PENDULUM, KINDS[kind])
    X, U = somewhere(again, 20)
    assert again.step(X, U).tobytes() == MODELS[kind, "pendulum"].step(X, U).tobytes()
    seed = "random_state" if isinstance(again, SampledRNN) else "lift__random_state"
    other = fit(PENDULUM, clone(KINDS[kind]).set_params(**{seed: 1}))
    assert not np.allclose(layer(other).weights_, layer(again).weights_)


def test_a_smooth_plant_is_learnt():
    """Held out, ten steps: the hidden units leave a hundredth of what a linear model leaves unexplained."""
    data, held_out = oscillator(30), oscillator(3, seed=9)
    network, linear_model = fit(data, SampledRNN(80, ridge=1e-8)), fit(data, EDMDc(Identity()))
    assert 1 - network.score(held_out, 10) < 0.01 * (1 - linear_model.score(held_out, 10))


def test_fit_returns_self_and_the_verb_leaves_its_template_alone():
    """scikit-learn's grammar: the template stays unfitted and equal to its clone."""
    template = SampledRNN(10)
    assert template.fit(PENDULUM) is template
    fresh = SampledRNN(10)
    fitted = fit(PENDULUM, fresh)
    assert fitted is not fresh and vars(fresh) == vars(SampledRNN(10))
    assert type(fit(PENDULUM[:2])) is SampledRNN
    for wrong in (PENDULUM, SampledRNN, "SampledRNN"):
        with pytest.raises(DataError, match="^model is"):
            fit(PENDULUM, wrong)
    with pytest.raises(DataError, match="wrap arrays as Rollouts"):
        SampledRNN(10).fit(PENDULUM.X)


@pytest.mark.parametrize("kind", KINDS)
def test_models_are_cloned_and_parametrised_like_estimators(kind):
    """get_params round-trips; a clone of a fitted model is unfitted; set_params reaches the lift."""
    fitted = MODELS[kind, "pendulum"]
    copy = clone(fitted)
    assert repr(copy.get_params()) == repr(KINDS[kind].get_params()) and not hasattr(copy, "window_")
    assert copy.set_params(delays=3, ridge=0.5) is copy and (copy.delays, copy.ridge) == (3, 0.5)
    nested = EDMDc(SampledFeatures(5)).set_params(lift__n_features=9)
    assert fit(PENDULUM, nested).lift_.n_out == 9 and not hasattr(nested.lift, "weights_")


def test_a_refit_forgets_the_first_fit():
    """Other columns, other plant, nothing left over."""
    model = SampledRNN(10).fit(PENDULUM).fit(OSCILLATOR)
    fresh = SampledRNN(10).fit(OSCILLATOR)
    X, U = somewhere(fresh, 5)
    assert model.nx == 2 and model.step(X, U).tobytes() == fresh.step(X, U).tobytes()


# ---------------------------------------------------------------------------------------------- bad data
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_features": 0}, "n_features is 0"),
        ({"n_features": 1.5}, "n_features is 1.5"),
        ({"ridge": -1.0}, "ridge is -1.0"),
        ({"ridge": np.nan}, "ridge is nan"),
        ({"ridge": "small"}, "ridge is 'small'"),
        ({"delays": -1}, "delays is -1"),
        ({"delays": 1.0}, "delays is 1.0"),
        ({"delays": 40}, "too short: delays=40"),
        ({"sampling": "grid"}, "sampling"),
        ({"activation": "sine"}, "activation"),
        ({"random_state": -3}, "random_state"),
    ],
)
def test_a_failed_fit_leaves_an_unfitted_model(change, says):
    """The error says what; afterwards the model is as if it had never seen data, and can still be fitted."""
    model = SampledRNN(5).fit(OSCILLATOR)
    kept = {name: getattr(model, name) for name in change}
    model.set_params(**change)
    with pytest.raises(DataError, match=says):
        model.fit(PENDULUM)
    for use in (lambda: model.step([0, 0], [0]), lambda: model.dt, lambda: model.score(PENDULUM)):
        with pytest.raises(NotFittedError, match="call fit"):
            use()
    assert model.set_params(**kept).fit(PENDULUM).nx == 2


def test_numpys_integers_are_parameters_too(tmp_path):
    """As they come out of a search over np.arange, into a file and back."""
    from koopctl.store import load

    model = fit(PENDULUM, SampledRNN(np.int64(7), delays=np.int64(1), ridge=np.float64(1e-6), random_state=np.int64(2)))
    assert load(model.save(tmp_path / "m")).get_params() == model.get_params()


def test_nothing_moves_nothing_is_learnt():
    """Constant states are refused; constant inputs are a plant like any other."""
    still = Rollouts([np.ones((9, 2))] * 2, [np.random.default_rng(0).normal(size=(8, 1))] * 2, DT)
    with pytest.raises(DataError, match="no measured state ever changes"):
        SampledRNN(5).fit(still)
    frozen = Rollouts([np.ones((9, 2))], [np.ones((8, 1))], DT)
    with pytest.raises(DataError, match="same point"):
        SampledRNN(5, manifold=False).fit(frozen)
    driven = Rollouts(PENDULUM.X, [np.full_like(u, 0.1) for u in PENDULUM.U], DT)
    path = SampledRNN(20).fit(driven).predict([0.1, 0.0], np.full((20, 1), 0.1))
    assert np.isfinite(path).all()


def test_short_episodes_are_left_out_of_the_fit():
    """With a warning; the model is the one of the long episodes."""
    stub = Rollouts([PENDULUM.X[0][:2]], [PENDULUM.U[0][:1]], DT, PENDULUM.x_names, PENDULUM.u_names)
    with pytest.warns(UserWarning, match="1 of 9 episodes"):
        model = fit(PENDULUM + stub, SampledRNN(10, delays=2))
    X, U = somewhere(model, 5)
    assert model.step(X, U).tobytes() == fit(PENDULUM, SampledRNN(10, delays=2)).step(X, U).tobytes()


def test_partial_fit_takes_only_what_the_first_fit_took():
    """Other columns, their order, another rate: refused, and the model stays as it was."""
    model = SampledRNN(10).fit(PENDULUM)
    X, U = somewhere(model, 5)
    before = model.step(X, U)
    for other in (OSCILLATOR, PENDULUM.select(["sin(theta)", "cos(theta)", "thetadot"])):
        for use in (model.partial_fit, model.score):
            with pytest.raises(DataError, match="columns"):
                use(other)
    slow = Rollouts(PENDULUM.X, PENDULUM.U, 2 * DT, PENDULUM.x_names, PENDULUM.u_names)
    for use in (model.partial_fit, model.score):
        with pytest.raises(SamplingTimeError, match="0.1 s but the model was fitted at dt = 0.05 s"):
            use(slow)
    with pytest.raises(DataError, match="ridge"):
        model.set_params(ridge=-1).partial_fit(PENDULUM)
    assert model.step(X, U).tobytes() == before.tobytes()
    model.set_params(ridge=1e-10).partial_fit(PENDULUM)
    twice = SampledRNN(10).fit(PENDULUM).partial_fit(PENDULUM)
    assert model.step(X, U).tobytes() == twice.step(X, U).tobytes()


@pytest.mark.parametrize("dt", [0.1, 0.0, np.nan, np.inf])
def test_another_rate_is_refused(dt):
    """The sampling time belongs to the model."""
    model = MODELS["tanh", "pendulum"]
    model.check_dt(DT * (1 + 1e-9))
    with pytest.raises(SamplingTimeError):
        model.check_dt(dt, "the law")


def test_before_fit_every_use_says_so(tmp_path):
    """One error for all of them."""
    model = SampledRNN()
    uses = [
        lambda: model.step([0], [0]),
        lambda: model.linearize([0], [0]),
        lambda: model.predict([0], [[0]]),
        lambda: model.encode([0]),
        lambda: model.output([0]),
        lambda: model.difference([0], [0]),
        lambda: model.score(PENDULUM),
        lambda: model.save(tmp_path / "m"),
        lambda: model.check_dt(0.1),
        lambda: (model.nx, model.nu),
        lambda: model.state_names,
        lambda: EDMDc().nz,
        lambda: EDMDc().lift_state([0.0]),
    ]
    for use in uses:
        with pytest.raises(NotFittedError, match="not fitted"):
            use()


@few
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_wrong_widths_are_refused_by_shape(x_shape, u_shape):
    """Whatever does not fit (2,) and (1,), or (n, 2) and (n, 1), is a ShapeError that says so."""
    model = MODELS["tanh", "pendulum"]
    x, u = np.zeros(x_shape), np.zeros(u_shape)
    single = x.shape == (2,) and u.size == 1
    batch = x.ndim == u.ndim == 2 and x.shape[1] == 2 and u.shape == (len(x), 1)
    for use in (model.step, model.linearize):
        if single or batch:
            use(x, u)
        else:
            with pytest.raises(ShapeError, match=r"expected \(2,\) and \(1,\)"):
                use(x, u)


def test_a_roll_out_of_wrong_shape_is_refused():
    """x0 and U by name; an observation is no state."""
    model = MODELS["tanh", "pendulum"]
    for x0, U in ((np.zeros(3), np.zeros((4, 1))), (np.zeros(2), np.zeros((4, 2))), (np.zeros(2), np.zeros(4))):
        with pytest.raises(ShapeError, match=r"^(x0|U) has shape"):
            model.predict(x0, U)
    with pytest.raises(ShapeError):
        model.predict(np.zeros((3, 2)), np.zeros((2, 4, 1)))
    with pytest.raises(DataError, match="nan"):
        model.predict([np.nan, 0.0], np.zeros((4, 1)))
    for wrong in (np.zeros(3), 0.0):
        with pytest.raises(ShapeError, match="no state"):
            model.output(wrong)
    with pytest.raises(ShapeError):
        MODELS["linear", "pendulum"].lift_state(np.zeros(3))


def test_a_diverging_roll_out_says_nothing_and_ends():
    """Far outside the data numbers may overflow; that is a result, not a warning or an error."""
    model = MODELS["bilinear", "pendulum"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = model.predict([0.1, 0.0], np.full((400, 1), 1e6))
        model.predict([0.1, 0.0], np.full((400, 1), 1e6), relift=False)
    assert path.shape == (401, 2)


# ---------------------------------------------------------------------------------------------- scores
@pytest.mark.parametrize("horizon", [0, -1, 2.0, "long"])
def test_a_horizon_is_a_whole_number_of_steps(horizon):
    """At least one."""
    with pytest.raises(DataError, match="^horizon is"):
        MODELS["tanh", "pendulum"].score(PENDULUM, horizon)


def test_the_score_is_the_share_explained_by_hand():
    """One minus error over motion, per coordinate, each step of the horizon; standing still scores 0."""
    model, data = MODELS["tanh", "oscillator"], oscillator(2, 12, seed=5)
    error, motion = np.zeros(2), np.zeros(2)
    for X, U in data:
        for k in range(len(U) - 2):
            path = model.predict(X[k], U[k : k + 3])
            error += ((path[1:] - X[k + 1 : k + 4]) ** 2).sum(axis=0)
            motion += ((X[k + 1 : k + 4] - X[k]) ** 2).sum(axis=0)
    assert model.score(data, 3) == pytest.approx(1 - np.mean(error / motion), abs=1e-9)
    with pytest.raises(DataError, match="to score 13 steps"):
        model.score(data, 13)
    still = fit(OSCILLATOR, EDMDc(Identity(), ridge=1e12))  # nothing but the mean increment is left
    assert still.score(OSCILLATOR, 1) == pytest.approx(0.0, abs=0.05)


def test_the_notes_say_what_was_found():
    """The angle in words; nothing on plain data; names of coordinates."""
    assert "cos and sin of one angle" in MODELS["tanh", "pendulum"].notes_[0]
    assert MODELS["tanh", "pendulum"].state_names == ("theta", "thetadot")
    assert fit(linear(), SampledRNN(5)).notes_ == ()
    assert MODELS["plain", "pendulum"].state_names == PENDULUM.x_names
    assert MODELS["tanh", "pendulum"].sensors_ == PENDULUM.x_names

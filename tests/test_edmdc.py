"""EDMD with control against the exact plant, ordinary least squares and its own matrices."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import exact_linear, linear, oscillator, pendulum, without_inputs

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, DesignError
from koopctl.features.base import Lift
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.fitting import fit
from koopctl.models.edmdc import EDMDc, lifted_system
from koopctl.models.sampled_rnn import SampledRNN

LINEAR, PENDULUM, OSCILLATOR = linear(), pendulum(), oscillator()

KINDS = {
    "linear": EDMDc(SampledFeatures(12), ridge=1e-6),
    "bilinear": EDMDc(SampledFeatures(12), inputs="bilinear", ridge=1e-6),
    "linear-delays": EDMDc(SampledFeatures(12), delays=2, ridge=1e-6),
    "bilinear-delays": EDMDc(SampledFeatures(12), inputs="bilinear", delays=2, ridge=1e-6),
    "dmdc": EDMDc(Identity(), delays=1),
}


@pytest.mark.parametrize("inputs", ["linear", "bilinear"])
def test_the_exact_plant_is_recovered(inputs):
    """(Ad, Bd) from the matrix exponential and the offset, from data far off zero, to 1e-8; nothing bilinear in it."""
    Ad, Bd, c = exact_linear()
    model = EDMDc(Identity(), inputs=inputs, ridge=1e-12).fit(LINEAR)
    assert model.A_ == pytest.approx(Ad, abs=1e-8)
    assert model.B_ == pytest.approx(Bd, abs=1e-8)
    assert model.c_ == pytest.approx(c, abs=1e-7)
    assert model.N_ == pytest.approx(0, abs=1e-8)
    assert np.array_equal(model.C_, np.eye(4)) and not model.y_offset_.any()
    A, B = model.linearize(LINEAR.X[0][7], LINEAR.U[0][7])
    assert A == pytest.approx(Ad, abs=1e-7) and B == pytest.approx(Bd, abs=1e-7)


def test_the_exact_plant_is_recovered_from_pieces():
    """partial_fit episode by episode, from a first piece that alone would do."""
    Ad, Bd, c = exact_linear()
    model = EDMDc(Identity(), ridge=1e-12)
    for i in range(len(LINEAR)):
        model.partial_fit(LINEAR[i])
    assert model.A_ == pytest.approx(Ad, abs=1e-8) and model.B_ == pytest.approx(Bd, abs=1e-8)
    assert model.c_ == pytest.approx(c, abs=1e-7)


@pytest.mark.parametrize("units", [1e-3, 1e3])
def test_units_do_not_matter(units):
    """The same plant in millimetres or kilometres."""
    Ad, _, _ = exact_linear()
    scale = np.array([units, units, 1.0, 1.0])
    data = Rollouts([x * scale for x in LINEAR.X], LINEAR.U, LINEAR.dt)
    A = EDMDc(Identity(), ridge=1e-12).fit(data).A_
    assert A * scale / scale[:, None] == pytest.approx(Ad, abs=1e-8)


def test_an_exact_bilinear_plant_is_recovered():
    """x+ = A x + B u + u1 N1 x + u2 N2 x + c, all of it."""
    rng = np.random.default_rng(1)
    A, B, c = 0.9 * np.eye(3) + 0.1 * rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), rng.normal(size=3)
    N = 0.1 * rng.normal(size=(2, 3, 3))
    X, U = [], []
    for _ in range(10):
        inputs, path = rng.uniform(-1, 2, size=(12, 2)), [rng.normal(size=3)]
        for u in inputs:
            path.append((A + np.tensordot(u, N, 1)) @ path[-1] + B @ u + c)
        X.append(np.array(path))
        U.append(inputs)
    model = EDMDc(Identity(), inputs="bilinear", ridge=1e-13).fit(Rollouts(X, U, 0.1))
    for found, truth in ((model.A_, A), (model.B_, B), (model.N_, N), (model.c_, c)):
        assert found == pytest.approx(truth, abs=1e-7)


def test_the_identity_lift_is_ordinary_dmdc():
    """Against lstsq with an intercept on a plant that is not linear."""
    model = EDMDc(Identity(), ridge=1e-14).fit(OSCILLATOR)
    X, Y = (np.concatenate([x[part] for x in OSCILLATOR.X]) for part in (slice(0, -1), slice(1, None)))
    Phi = np.concatenate([X, np.concatenate(OSCILLATOR.U), np.ones((len(X), 1))], axis=1)
    theta = np.linalg.lstsq(Phi, Y, rcond=None)[0].T
    assert np.column_stack([model.A_, model.B_, model.c_]) == pytest.approx(theta, abs=1e-8)


@pytest.mark.parametrize("delays", [0, 1])
def test_features_are_rows_of_one_least_squares(delays):
    """Learnt rows of A, B, c by lstsq over z = [x, psi(x)], plain coordinates, tiny ridge."""
    model = EDMDc(SampledFeatures(6), delays=delays, manifold=False, ridge=1e-13).fit(OSCILLATOR)
    states = [model.window_.states(X, U) for X, U in OSCILLATOR]
    Z = model.lift_state(np.concatenate([x[:-1] for x in states]))
    nxt = model.lift_state(np.concatenate([x[1:] for x in states]))
    U = np.concatenate([u[delays:] for u in OSCILLATOR.U])
    Phi = np.concatenate([Z, U, np.ones((len(Z), 1))], axis=1)
    fitted = Phi @ np.linalg.lstsq(Phi, nxt, rcond=None)[0]
    assert Z @ model.A_.T + U @ model.B_.T + model.c_ == pytest.approx(fitted, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pendulum", "oscillator", "autonomous", "redundant"])
def test_the_linear_roll_out_is_the_recursion_of_the_matrices(kind, name):
    """z+ = A z + B u + sum u_j N_j z + c from the lifted start, and C z + offset is the observation there."""
    redundant = Rollouts(
        [np.column_stack([x[:, :2] @ [1.0, 2.0] + 3, x, np.full(len(x), 7.0)]) for x in PENDULUM.X], PENDULUM.U, 0.05
    )
    sets = {"pendulum": PENDULUM, "oscillator": OSCILLATOR, "autonomous": without_inputs(PENDULUM)}
    data = sets.get(name, redundant)
    model = fit(data, KINDS[kind])
    d, nz, nu = model.delays, model.nz, model.nu
    assert (model.A_.shape, model.B_.shape, model.N_.shape) == ((nz, nz), (nz, nu), (nu, nz, nz))
    x = model.encode(data.X[0][: d + 1], data.U[0][:d])
    z = model.lift_state(x)
    assert z.shape == (nz,) and np.array_equal(z[: model.nx], x)
    assert model.C_ @ z + model.y_offset_ == pytest.approx(data.X[0][d], abs=1e-9)
    U = data.U[0][d : d + 8]
    path = model.predict(x, U, relift=False)
    for k, u in enumerate(U):
        z = model.A_ @ z + model.B_ @ u + np.einsum("j,jyz,z->y", u, model.N_, z) + model.c_
        assert path[k + 1] == pytest.approx(z[: model.nx], rel=1e-9, abs=1e-9)
    first = model.predict(x, U[:1], relift=False)
    assert first == pytest.approx(model.predict(x, U[:1], relift=True), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_older_samples_only_move_back(kind):
    """Rows of older samples, and of their cos and sin, copy: after one step they equal the true older part."""
    model = fit(PENDULUM, KINDS[kind])
    d, nx, nq = model.delays, model.nx, model.window_.nq
    X = model.window_.states(PENDULUM.X[0], PENDULUM.U[0])
    Z = model.lift_state(X)
    u = PENDULUM.U[0][d]
    nxt = model.A_ @ Z[0] + model.B_ @ u + np.einsum("j,jyz,z->y", u, model.N_, Z[0]) + model.c_
    circle = np.sort(model.window_.circle[1:].ravel())
    older = [*range(nq, nx), *(nx + i for i, column in enumerate(circle) if column >= model.window_.chart.ne)]
    assert len(older) == nx - nq + 2 * d
    turns = (nxt - Z[1])[older]
    assert turns == pytest.approx(0, abs=1e-12)


def test_no_matrix_reads_an_angle():
    """Only increments and cos, sin are used: the column of the angle is the identity's."""
    model = fit(PENDULUM, KINDS["bilinear"])
    assert np.array_equal(model.A_[:, 0], np.eye(model.nz)[0])
    assert not model.N_[:, :, 0].any()


def test_the_linear_coupling_has_no_bilinear_part():
    """N is zero, whatever the data."""
    assert not fit(OSCILLATOR, KINDS["linear"]).N_.any()


def test_bilinear_terms_learn_a_gain_that_depends_on_the_state():
    """The oscillator's push counts 2 + pos times as much: bilinear explains it better than linear."""
    held_out = oscillator(4, seed=11)
    linear_error, bilinear_error = (
        1 - fit(OSCILLATOR, EDMDc(SampledFeatures(30), inputs=inputs, ridge=1e-8)).score(held_out)
        for inputs in ("linear", "bilinear")
    )
    assert bilinear_error < 0.5 * linear_error


def test_the_default_lift_is_a_hundred_sampled_features():
    """As the docstring says; the parameter stays None."""
    model = fit(OSCILLATOR, EDMDc(ridge=1e-6))
    assert model.nz == 102 and model.lift is None


def test_one_transition_is_data():
    """Two samples: DMDc explains them, and its prediction is finite."""
    tiny = Rollouts([OSCILLATOR.X[0][:2]], [OSCILLATOR.U[0][:1]], 0.05)
    model = fit(tiny, EDMDc(Identity()))
    assert model.step(tiny.X[0][0], tiny.U[0][0]) == pytest.approx(tiny.X[0][1])


def test_redundant_columns_without_manifold_still_predict():
    """Repeated columns and no ridge: the minimum-norm solution, no blow-up."""
    data = Rollouts([np.column_stack([x, x, 2 * x[:, :1]]) for x in OSCILLATOR.X], OSCILLATOR.U, 0.05)
    doubled = fit(data, EDMDc(Identity(), ridge=0.0, manifold=False))
    single = fit(OSCILLATOR, EDMDc(Identity(), ridge=0.0))
    assert np.abs(doubled.A_).max() < 10
    assert doubled.step(data.X[0][3], data.U[0][3])[:2] == pytest.approx(
        single.step(OSCILLATOR.X[0][3], OSCILLATOR.U[0][3]), abs=1e-6
    )


@pytest.mark.parametrize(
    ("change", "says"), [({"inputs": "quadratic"}, "inputs is 'quadratic'"), ({"lift": "fourier"}, "lift is 'fourier'")]
)
def test_unknown_choices_are_refused(change, says):
    """At fit, by name."""
    with pytest.raises(DataError, match=says):
        EDMDc(Identity()).set_params(**change).fit(OSCILLATOR)
    with pytest.raises(DataError, match="lift is <class"):
        EDMDc(SampledFeatures).fit(OSCILLATOR)


def test_only_a_linear_lifted_model_is_a_lifted_system():
    """The lifted law's gate."""
    model = fit(OSCILLATOR, KINDS["linear"])
    assert lifted_system(model) is model
    for other in (fit(OSCILLATOR, KINDS["bilinear"]), fit(OSCILLATOR, SampledRNN(5))):
        with pytest.raises(DesignError, match="kind='relinearized'"):
            lifted_system(other)


class Squares(Lift):
    """Somebody's own lift."""

    def fit(self, W, F):
        self.width_ = W.shape[1]
        return self

    @property
    def n_out(self):
        return self.width_

    def transform(self, W):
        return W**2

    def jacobian(self, W):
        return 2 * W[:, :, None] * np.eye(self.width_)

    def arrays(self):
        return {}

    def restore(self, arrays):
        return self


def test_a_lift_of_ones_own_fits_and_predicts_but_is_not_saved(tmp_path):
    """A file must be readable by whoever has koopctl alone; the refusal leaves nothing behind."""
    model = fit(OSCILLATOR, EDMDc(Squares()))
    assert model.nz == 4 and model.score(OSCILLATOR) > fit(OSCILLATOR, EDMDc(Identity())).score(OSCILLATOR)
    with pytest.raises(DataError, match="lift Squares cannot be saved"):
        model.save(tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())

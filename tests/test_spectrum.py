"""Spectra against plants whose eigenvalues and eigenfunctions are known in closed form."""

from __future__ import annotations

import copy
import io
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from recorded import DT, exact_linear, linear, oscillator, pendulum, without_inputs

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, DesignError, NotFittedError, SamplingTimeError, ShapeError
from koopctl.features.base import Lift
from koopctl.features.identity import Identity
from koopctl.features.polynomial import Polynomial
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.spectrum import spectrum
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN

LINEAR, PENDULUM, OSCILLATOR = linear(), pendulum(), oscillator()
FAST, SLOW = 0.5, 0.9  # b and a of the slow manifold


class Squares(Lift):
    """The squares of all coordinates, or of the first one alone."""

    def __init__(self, first_only=False):
        self.first_only = first_only

    def fit(self, W, F):
        self.width_ = 1 if self.first_only else W.shape[1]
        return self

    @property
    def n_out(self):
        return self.width_

    def transform(self, W):
        return W[:, : self.width_] ** 2

    def jacobian(self, W):
        return 2 * W[:, : self.width_, None] * np.eye(W.shape[1])[: self.width_]

    def arrays(self):
        return {}

    def restore(self, arrays):
        return self


def roll(step, starts, inputs, names=None, u_names=None):
    """Episodes of x+ = step(x, u)."""
    X = []
    for x, U in zip(starts, inputs, strict=True):
        path = [x]
        for u in U:
            path.append(step(path[-1], u))
        X.append(np.array(path))
    return Rollouts(X, inputs, DT, names, u_names)


def slow_manifold(force, episodes=40, steps=12):
    """Return x1+ = a x1, x2+ = b x2 + (a^2 - b) x1^2 + u with inputs up to `force`: linear in (x1, x2, x1^2)."""
    rng = np.random.default_rng(2)

    def step(x, u):
        return np.array([SLOW * x[0], FAST * x[1] + (SLOW**2 - FAST) * x[0] ** 2 + u[0]])

    inputs = [rng.uniform(-force, force, size=(steps, 1)) for _ in range(episodes)]
    return roll(step, rng.uniform(-1, 1, size=(episodes, 2)), inputs)


def cart(force=0.0):
    """Return a body on a track without friction: p+ = p + dt v, v+ = v + dt (u + force)."""
    rng = np.random.default_rng(3)
    starts, inputs = rng.uniform(-1, 1, size=(20, 2)), [rng.uniform(-1, 1, size=(25, 1)) for _ in range(20)]
    return roll(lambda x, u: np.array([x[0] + DT * x[1], x[1] + DT * (u[0] + force)]), starts, inputs, ["p", "v"])


def transitions(model, data):
    """States, inputs and next states (angles unwrapped) of every transition."""
    X, U, dQ = model.window_.transitions(data)
    return X, U, model.window_.advance(X, X[:, : model.window_.nq] + dQ, U)


# ---------------------------------------------------------------------------------------------- closed forms
def test_the_eigenvalues_of_a_linear_plant():
    """Those of the exact Ad, with residuals of rounding, although the data lies far from zero and is driven hard."""
    found = spectrum(EDMDc(Identity(), ridge=1e-13).fit(LINEAR), LINEAR)
    truth = np.linalg.eigvals(exact_linear()[0])
    assert sorted(found.eigenvalues, key=np.angle) == pytest.approx(sorted(truth, key=np.angle), abs=1e-8)
    assert found.residuals.max() < 1e-7 and found.conditions.max() < 2


def test_continuous_time_values():
    """A mass on a spring at 1.5 Hz, damping ratio 0.2, and a first-order lag of 0.4 s, from dt alone."""
    omega, ratio, lag = 2 * np.pi * 1.5, 0.2, 0.4
    A = np.array([[0.0, 1.0, 0.0], [-(omega**2), -2 * ratio * omega, 0.0], [0.0, 0.0, -1 / lag]])
    values, vectors = np.linalg.eig(A * DT)
    Ad = (vectors * np.exp(values) @ np.linalg.inv(vectors)).real
    data = roll(lambda x, u: Ad @ x, np.random.default_rng(0).normal(size=(5, 3)), [np.zeros((30, 0))] * 5)
    found = spectrum(EDMDc(Identity(), ridge=1e-14).fit(data), data)
    damped = np.sqrt(1 - ratio**2)
    expected = [-ratio * omega + 1j * omega * damped, -ratio * omega - 1j * omega * damped, -1 / lag]
    by_frequency = np.argsort(-found.continuous.imag)[[0, 2, 1]]
    assert found.continuous[by_frequency] == pytest.approx(np.array(expected), abs=1e-6)
    assert found.frequencies[by_frequency] == pytest.approx([1.5 * damped, 1.5 * damped, 0], abs=1e-6)
    assert found.damping[by_frequency] == pytest.approx([ratio, ratio, 1], abs=1e-6)
    assert found.time_constants[by_frequency] == pytest.approx([1 / (ratio * omega)] * 2 + [lag], abs=1e-6)


@pytest.mark.parametrize("force", [0.0, 3.0])
def test_the_slow_manifold(force):
    """Eigenvalues a, a^2, b; eigenfunctions x1, x1^2, x2 - x1^2; the input moves the last alone, by 1 a unit."""
    data = slow_manifold(force)
    model = EDMDc(Squares(first_only=True), ridge=1e-14).fit(data)
    found = spectrum(model, data)
    assert found.eigenvalues == pytest.approx([SLOW, SLOW**2, FAST], abs=1e-7)
    assert found.residuals.max() < 1e-6
    x = np.random.default_rng(8).uniform(-1, 1, size=(50, 2))
    closed = np.column_stack([x[:, 0], x[:, 0] ** 2, x[:, 1] - x[:, 0] ** 2])
    phi = found.eigenfunctions(x)
    factor = phi[0] / closed[0]
    assert phi == pytest.approx(closed * factor, abs=1e-5)
    assert found.eigenfunctions(np.zeros(2)) == pytest.approx(0, abs=1e-5)  # the fixed point, by the offsets
    assert found.state_modes * factor == pytest.approx(np.array([[1, 0, 0], [0, 1, 1]]), abs=1e-5)
    if force:
        assert found.gains[:, 0] / factor == pytest.approx([0, 0, 1], abs=1e-5)


def test_the_constant_part_of_an_eigenfunction():
    """About a rest at (2, -1): the offsets put the zero of every eigenfunction there, and the modes count from it."""
    rest, still = np.array([2.0, -1.0]), slow_manifold(1.0)
    data = Rollouts([x + rest for x in still.X], still.U, DT)
    found = spectrum(EDMDc(Squares(first_only=True), ridge=1e-14).fit(data), data)
    assert found.eigenvalues == pytest.approx([SLOW, SLOW**2, FAST], abs=1e-7)
    assert found.eigenfunctions(rest) == pytest.approx(0, abs=1e-5)
    x = data.X[0]
    assert rest + (found.eigenfunctions(x) @ found.modes.T).real == pytest.approx(x, abs=1e-5)


def test_products_of_eigenvalues():
    """Monomials of degree 2 of a linear plant: with the eigenvalues come their products, all true to the data."""
    single = [0.95, 0.8, 0.6]
    data = roll(lambda x, u: single * x, np.random.default_rng(5).normal(size=(60, 3)), [np.zeros((8, 0))] * 60)
    found = spectrum(EDMDc(Polynomial(2), ridge=1e-15).fit(data), data)
    truth = [*single, *(a * a for a in single), *(a * b for a, b in combinations(single, 2))]
    assert found.eigenvalues == pytest.approx(sorted(truth, reverse=True), abs=1e-6)
    assert found.residuals.max() < 1e-5


def test_the_spectrum_of_a_bilinear_plant_depends_on_the_input():
    """Eigenvalues of A + u0 N, residuals of rounding under any inputs, and the constant input is named."""
    A, N = np.array([[0.9, 0.1], [-0.1, 0.9]]), np.array([[0.0, 0.05], [0.02, -0.03]])
    rng = np.random.default_rng(6)
    inputs = [rng.uniform(-1, 3, size=(15, 1)) for _ in range(20)]
    data = roll(lambda x, u: (A + u[0] * N) @ x + [0.3, 0.2] * u, rng.normal(size=(20, 2)), inputs)
    model = EDMDc(Identity(), inputs="bilinear", ridge=1e-14).fit(data)
    for u0 in (0.0, 2.5):
        found = spectrum(model, data, u=[u0])
        truth = np.linalg.eigvals(A + u0 * N)
        assert sorted(found.eigenvalues, key=np.angle) == pytest.approx(sorted(truth, key=np.angle), abs=1e-7)
        assert found.residuals.max() < 1e-6
        assert f"at the constant input ({u0:g})" in str(found)


# ---------------------------------------------------------------------------------------------- residuals
MODELS = {
    "linear": EDMDc(SampledFeatures(25), ridge=1e-7),
    "bilinear": EDMDc(SampledFeatures(15), inputs="bilinear", ridge=1e-7),
    "delays": EDMDc(SampledFeatures(15), delays=2, ridge=1e-6),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("data", [oscillator(60), pendulum(70)], ids=["oscillator", "pendulum"])
def test_residuals_are_those_of_the_gram_matrices(kind, data):
    """Over several blocks: ResDMD's quotient from dense G, A, L of the dictionary (z, 1), the mean of g taken off."""
    model = EDMDc(**MODELS[kind].get_params(deep=False)).fit(data)
    found = spectrum(model, data, u=np.full(data.nu, 0.2))
    X, U, nxt = transitions(model, data)
    assert len(X) > 2048
    Z, Zn, V = model.lift_state(X), model.lift_state(nxt), U - 0.2
    Zn = Zn - V @ model.B_.T - np.einsum("nj,jyz,nz->ny", V, model.N_, Z)
    one = np.ones((len(Z), 1))
    Z, Zn = np.hstack([Z, one]), np.hstack([Zn, one])
    G, A, L = Z.T @ Z / len(Z), Z.T @ Zn / len(Z), Zn.T @ Zn / len(Z)
    checked = 0
    for i in np.flatnonzero(found.is_motion):
        value, g = found.eigenvalues[i], np.append(found.weights[:, i].conj(), found.offsets[i])
        top = g.conj() @ (L - value * A.T - np.conj(value) * A + np.abs(value) ** 2 * G) @ g
        spread = g.conj() @ G @ g - np.abs(Z.mean(axis=0) @ g) ** 2
        assert spread == pytest.approx(1.0, abs=1e-4)
        if abs(found.offsets[i]) < 1e3:  # beyond, the Gram matrices have no digits left
            assert found.residuals[i] == pytest.approx(np.sqrt(abs(top / spread)), rel=1e-3)
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("kind", MODELS)
def test_the_relation_every_pair_is_measured_by(kind):
    """phi(x+) - l phi(x) - gain (u - u0) - drift of the callables, structure included, has the residual's size."""
    model = EDMDc(**MODELS[kind].get_params(deep=False)).fit(PENDULUM)
    u0 = np.array([0.7])
    found = spectrum(model, PENDULUM, u=u0)
    X, U, nxt = transitions(model, PENDULUM)
    phi, V = found.eigenfunctions(X), U - u0
    bilinear = np.einsum("nj,jyz,nz->ny", V, model.N_, model.lift_state(X)) @ found.weights.conj()
    error = found.eigenfunctions(nxt) - phi * found.eigenvalues - V @ found.gains.T - found.drifts - bilinear
    moving = np.isfinite(found.residuals)
    assert np.std(phi[:, moving], axis=0) == pytest.approx(1.0, abs=1e-6)
    rms = np.sqrt(np.mean(np.abs(error[:, moving]) ** 2, axis=0))
    assert rms == pytest.approx(found.residuals[moving], abs=1e-6)


def test_inputs_are_taken_off_first():
    """Strong inputs leave the true pairs' residuals at rounding; a model that ignores them calls the pairs false."""
    model = EDMDc(Identity(), ridge=1e-13).fit(LINEAR)
    blind = copy.copy(model)
    blind.B_ = np.zeros_like(model.B_)
    blind.c_ = model.c_ + model.B_ @ np.concatenate(LINEAR.U).mean(axis=0)
    assert spectrum(model, LINEAR).residuals.max() < 1e-7
    assert spectrum(blind, LINEAR).residuals.min() > 0.01


def test_spurious_pairs_show():
    """Random features of a nonlinear oscillator, on fresh data: some pairs are far from any eigenfunction."""
    model = EDMDc(SampledFeatures(60), ridge=1e-8).fit(oscillator(40))
    residuals = spectrum(model, oscillator(10, seed=7)).residuals
    assert residuals.max() > 0.3 and residuals.min() < 0.1


def test_a_slow_pair_far_from_its_zero_is_not_true_for_that():
    """Noise about 100 with eigenvalue near 1: the constant does not lend the pair a small residual."""
    rng = np.random.default_rng(0)
    data = Rollouts([100 + rng.normal(size=(200, 1)) for _ in range(5)], [np.zeros((199, 0))] * 5, DT)
    model = EDMDc(Identity()).fit(data)
    model.A_, model.c_ = np.array([[0.99]]), np.array([1.0])
    assert spectrum(model, data).residuals[0] == pytest.approx(np.sqrt(1 + 0.99**2), rel=0.1)


def test_what_never_moves_is_said():
    """Columns twice: eigenfunctions of their difference vanish on the data, which says nothing of them."""
    data = Rollouts([np.column_stack([x, x]) for x in OSCILLATOR.X], OSCILLATOR.U, DT)
    found = spectrum(EDMDc(Identity(), ridge=1e-10, manifold=False).fit(data), data)
    dead = np.isinf(found.residuals)
    assert dead.sum() == 2 and not found.amplitudes[dead].any()
    once = spectrum(EDMDc(Identity()).fit(OSCILLATOR), OSCILLATOR)
    assert found.amplitudes[~dead] == pytest.approx(once.amplitudes, rel=1e-3)
    assert "2 eigenfunctions do not move in the data" in str(found)
    assert found.plot()


# ---------------------------------------------------------------------------------------------- structure
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("data", [OSCILLATOR, PENDULUM, without_inputs(PENDULUM)], ids=["two", "angle", "autonomous"])
def test_eigenvectors_of_the_whole_matrix(kind, data):
    """w^H A = l w^H, A v = l v, w^H v = 1, every eigenvalue of A there; modes are C v and their first rows."""
    model = EDMDc(**MODELS[kind].get_params(deep=False)).fit(data)
    found = spectrum(model, data)
    A, W, motion = model.A_, found.weights, found.is_motion
    assert len(found.eigenvalues) == model.nz == len(found.kinds)
    left = W.conj().T @ A - found.eigenvalues[:, None] * W.conj().T
    assert np.abs(left[motion]).max() < 1e-10 * np.abs(W[:, motion]).max()
    # The right vectors are seen through C and through the state's own rows; A v = l v holds in the rows of x, which
    # read all of z, so v is rebuilt from w: the columns of the inverse of W^H where nothing is defective.
    if np.isfinite(found.conditions).all():
        V = np.linalg.inv(W.conj().T)
        assert found.modes == pytest.approx(model.C_ @ V, abs=1e-6)
        assert found.state_modes == pytest.approx(V[: model.nx], abs=1e-6)
    alone = np.linalg.eigvals(A)
    for value in alone[np.abs(alone) > 0.05]:
        assert np.abs(found.eigenvalues - value).min() < 1e-6
    assert found.eigenvalues.sum() == pytest.approx(np.trace(A), abs=1e-8)


def test_structure_is_told_from_motion():
    """With two delays: 1 and 0, 0 for the angle and its copies, 0, 0 for remembered inputs; all else is motion."""
    model = EDMDc(SampledFeatures(10), delays=2, ridge=1e-6).fit(PENDULUM)
    found = spectrum(model, PENDULUM)
    kinds = np.array(found.kinds)
    assert found.eigenvalues[kinds == "sum"] == pytest.approx([1, 0, 0], abs=1e-12)
    assert found.eigenvalues[kinds == "past input"] == pytest.approx([0, 0], abs=1e-12)
    assert list(kinds[: model.nz - 5]) == ["motion"] * (model.nz - 5)
    assert not found.weights[0, found.is_motion].any()  # no eigenfunction of the motion reads the angle itself
    assert found.residuals[kinds == "past input"] == pytest.approx(0, abs=1e-12)
    for part in ("3 for theta, which only adds up", "2 zeros for remembered inputs"):
        assert part in str(found)
    moduli = np.abs(found.eigenvalues[found.is_motion])
    assert (np.diff(moduli) <= 0).all() and str(found).count("1.0000  ") == 0


def test_the_place_of_a_cart_is_structure_and_its_speed_is_not():
    """Without friction both have the eigenvalue 1, and one eigenvector: only the blocks tell which is which."""
    found = spectrum(EDMDc(Identity(), cyclic=["p"], ridge=1e-14).fit(cart()), cart())
    assert found.kinds == ("motion", "sum")
    assert found.eigenvalues == pytest.approx([1, 1], abs=1e-9)
    assert found.weights[:, 0] / found.weights[1, 0] == pytest.approx([0, 1], abs=1e-9)
    assert found.residuals[0] < 1e-6
    assert "for p, which only adds up" in str(found)


def test_where_the_eigenvalue_is_one_there_is_a_drift_and_no_offset():
    """A constant force on the cart: the speed grows by dt * force a step, whatever it is."""
    data = cart(force=2.0)
    model = EDMDc(Identity(), cyclic=["p"], ridge=0.0).fit(data)
    model.A_[1, 1] = 1.0  # exactly, where the fit has it to rounding
    found = spectrum(model, data)
    assert found.offsets[0] == 0
    assert found.drifts[0] / found.weights[1, 0].real == pytest.approx(2.0 * DT, abs=1e-6)
    assert found.residuals[0] < 1e-6 and np.isnan(found.damping[0]) and found.time_constants[0] == np.inf
    assert "nan" not in str(found)


def test_an_eigenvalue_of_zero():
    """A coordinate that forgets at once: no warning, -inf as rate, 0 as time."""
    rng = np.random.default_rng(1)
    data = roll(lambda x, u: np.array([0.9 * x[0], u[0]]), rng.normal(size=(9, 2)), rng.normal(size=(9, 20, 1)))
    model = EDMDc(Identity(), ridge=0.0).fit(data)
    model.A_ = np.diag([0.9, 0.0])
    found = spectrum(model, data)
    assert found.continuous[1] == -np.inf and found.damping[1] == 1 and found.time_constants[1] == 0
    assert np.isfinite(found.residuals).all()
    assert str(found) and found.plot()


# ---------------------------------------------------------------------------------------------- using
def test_without_data():
    """Eigenvalues and modes as with data, up to the scale of phi; nothing is said of truth."""
    model = EDMDc(SampledFeatures(20), ridge=1e-7).fit(OSCILLATOR)
    bare, measured = spectrum(model), spectrum(model, OSCILLATOR)
    assert np.array_equal(bare.eigenvalues, measured.eigenvalues)
    assert np.isnan(bare.residuals).all() and np.isnan(bare.amplitudes).all()
    x = OSCILLATOR.X[0]
    for i in range(3):
        product = bare.modes[:, i] * bare.eigenfunctions(x)[:, [i]]
        assert product == pytest.approx(measured.modes[:, i] * measured.eigenfunctions(x)[:, [i]], rel=1e-6)
    assert "residuals" not in str(bare)
    with pytest.raises(DataError, match=r"spectrum\(model, data\)"):
        bare.table(by="amplitude")


def test_the_modes_add_up_to_the_observation():
    """The observation is the fixed point plus the sum of modes times eigenfunctions, everywhere."""
    model = EDMDc(SampledFeatures(20), ridge=1e-6).fit(OSCILLATOR)
    found = spectrum(model, OSCILLATOR)
    x = OSCILLATOR.X[1]
    parts = (found.eigenfunctions(x) @ found.modes.T).real
    assert parts - parts[0] == pytest.approx(x - x[0], abs=1e-6)
    rest = model.C_ @ np.linalg.solve(np.eye(model.nz) - model.A_, model.c_)
    assert rest + parts == pytest.approx(x, abs=1e-6)


def test_units_do_not_matter():
    """In micrometres: the same eigenvalues, conditions, residuals and shares; modes in the new units."""
    first = spectrum(EDMDc(Squares(), ridge=1e-8).fit(OSCILLATOR), OSCILLATOR)
    data = Rollouts([x * [1e6, 1.0] for x in OSCILLATOR.X], OSCILLATOR.U, DT)
    other = spectrum(EDMDc(Squares(), ridge=1e-8).fit(data), data)
    for name in ("eigenvalues", "conditions", "residuals", "amplitudes"):
        assert getattr(other, name) == pytest.approx(getattr(first, name), rel=1e-4)
    assert np.abs(other.modes) == pytest.approx(np.abs(first.modes) * [[1e6], [1.0]], rel=1e-4)


def test_one_state_and_many():
    """A single state gives a row of the batch; the wrong width is refused by the lift."""
    found = spectrum(EDMDc(SampledFeatures(5), ridge=1e-6).fit(OSCILLATOR), OSCILLATOR)
    x = OSCILLATOR.X[0][:4]
    assert found.eigenfunctions(x).shape == (4, 7)
    assert found.eigenfunctions(x[2]) == pytest.approx(found.eigenfunctions(x)[2])
    with pytest.raises(ShapeError):
        found.eigenfunctions(np.zeros(3))


def test_a_new_fit_does_not_reach_an_old_spectrum():
    """The eigenfunctions keep the features they were made with."""
    model = EDMDc(SampledFeatures(8), ridge=1e-6).fit(OSCILLATOR)
    found, x = spectrum(model, OSCILLATOR), OSCILLATOR.X[0][3]
    before = found.eigenfunctions(x)
    model.fit(oscillator(3, seed=9))
    assert np.array_equal(found.eigenfunctions(x), before)


def test_the_table_fits_a_screen_and_is_in_the_order_asked_for():
    """24 lines of 100 columns; complex pairs are one row; a pair that is gone at once is not first for that."""
    found = spectrum(EDMDc(SampledFeatures(80), ridge=1e-8).fit(OSCILLATOR), OSCILLATOR)
    lines = str(found).splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 110
    head, rows = (
        lines[1].split(),
        [line for line in lines if line[0] in " -0123456789" and ("e+" in line or "e-" in line)],
    )
    assert head[0] == "eigenvalue" and len(rows) == 16
    order = {"amplitude": -found.amplitudes, "decay": -np.abs(found.eigenvalues)}
    order["residual"] = found.residuals / np.abs(found.eigenvalues)
    for by, key in order.items():
        best = found.eigenvalues[np.argmin(key)]
        assert found.table(by=by, rows=1).splitlines()[2].split()[0] == f"{best.real:.4f}"
    assert len(found.table(rows=500).splitlines()) == 2 + (found.eigenvalues.imag >= 0).sum() + 1
    with pytest.raises(DataError, match="residual, amplitude, decay"):
        found.table(by="energy")
    with pytest.raises(DataError, match="rows"):
        found.table(rows=0)


def test_what_it_refuses():
    """Other models, other data, unfitted models: each by name."""
    model = EDMDc(Identity()).fit(OSCILLATOR)
    with pytest.raises(DesignError, match="not SampledRNN; the eigenvalues of any model's Jacobian"):
        spectrum(SampledRNN(5).fit(OSCILLATOR))
    with pytest.raises(NotFittedError):
        spectrum(EDMDc(Identity()))
    with pytest.raises(DataError, match="expected Rollouts"):
        spectrum(model, OSCILLATOR.X)
    with pytest.raises(DataError, match="columns"):
        spectrum(model, PENDULUM)
    with pytest.raises(SamplingTimeError):
        spectrum(model, Rollouts(OSCILLATOR.X, OSCILLATOR.U, 2 * DT, OSCILLATOR.x_names, OSCILLATOR.u_names))
    with pytest.raises(ShapeError, match="u has shape"):
        spectrum(model, u=[1.0])


# ---------------------------------------------------------------------------------------------- the picture
def texts(figure):
    """Boxes of every text that is drawn, by its words."""
    figure.savefig(io.BytesIO(), format="png")
    renderer = FigureCanvasAgg(figure).get_renderer()
    found = []
    for ax in figure.axes:
        ticks = [*ax.get_xticklabels(), *ax.get_yticklabels()]
        inside = [t for t in ticks if ax.get_window_extent(renderer).expanded(1.2, 1.2).contains(*_middle(t, renderer))]
        found += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts, *inside]
    found += figure.legends[0].get_texts()
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found if t.get_visible() and t.get_text()]


def _middle(text, renderer):
    box = text.get_window_extent(renderer)
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("measured", [True, False])
def test_the_picture_is_legible(kind, measured):
    """Units on both planes, the residual's meaning on the bar, and no text on another."""
    model = EDMDc(**MODELS[kind].get_params(deep=False)).fit(PENDULUM)
    figure = spectrum(model, PENDULUM if measured else None).plot()
    boxes = texts(figure)
    words = [word for word, _ in boxes]
    for expected in ("growth rate [1/s]", "frequency [Hz]", "imaginary part", "structure of the model"):
        assert expected in words
    assert ("residual, share of the eigenfunction's spread" in words) == measured
    for (one, a), (other, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"'{one}' lies on '{other}'"


def test_the_picture_holds_every_eigenvalue_of_the_motion():
    """All of them in the left plane, those above the axis that last a sample in the right one, in 1/s and Hz."""
    found = spectrum(EDMDc(SampledFeatures(30), ridge=1e-7).fit(OSCILLATOR), OSCILLATOR)
    left, right = found.plot().axes[:2]
    drawn = np.concatenate([points.get_offsets() for points in left.collections])
    truth = np.column_stack([found.eigenvalues.real, found.eigenvalues.imag])
    assert sorted(map(tuple, np.round(drawn, 12))) == sorted(map(tuple, np.round(truth, 12)))
    lasting = (np.abs(found.eigenvalues) > np.exp(-1)) & (found.eigenvalues.imag >= 0)
    s = found.continuous[lasting]
    drawn = np.concatenate([points.get_offsets() for points in right.collections])
    truth = np.column_stack([s.real, s.imag / (2 * np.pi)])
    assert sorted(map(tuple, np.round(drawn, 9))) == sorted(map(tuple, np.round(truth, 9)))
    x, y = right.get_xlim(), right.get_ylim()
    assert ((x[0] < drawn[:, 0]) & (drawn[:, 0] < x[1]) & (y[0] < drawn[:, 1]) & (drawn[:, 1] < y[1])).all()

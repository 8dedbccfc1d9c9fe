"""Data that is poor, odd or wrong: a clear error, or a model that is right and says what was found."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import DT, exact_linear, linear, oscillator, pendulum

import koopctl as kc
from koopctl.archive import read_archive, write_archive
from koopctl.errors import DataError, FileFormatError, KoopctlError, ShapeError
from koopctl.features.base import Lift

KINDS = {
    "network": kc.SampledRNN(40),
    "edmd": kc.EDMDc(kc.SampledFeatures(30)),
    "polynomial": kc.EDMDc(kc.Polynomial(2)),
    "bilinear": kc.EDMDc(kc.Identity(), inputs="bilinear"),
}
kinds = pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)


def changed(data: kc.Rollouts, x=lambda x: x, u=lambda u: u) -> kc.Rollouts:
    """Return rollouts with other columns."""
    return kc.Rollouts([x(part) for part in data.X], [u(part) for part in data.U], data.dt)


def one_step(model: kc.SampledRNN | kc.EDMDc, data: kc.Rollouts) -> np.ndarray:
    """Return the predictions of all next observations, (n, ny)."""
    X, U, _ = model.window_.transitions(data)
    return model.output(model.step(X, U))


def noted(model: kc.SampledRNN | kc.EDMDc, words: str) -> bool:
    """Tell whether the report speaks of something."""
    return any(words in note for note in (*model.report_.notes, *model.report_.warnings))


# ------------------------------------------------------------------ columns
@kinds
def test_constant_and_equal_states_are_reconstructed(model):
    """They cost nothing, come back in every output, and the report tells of them."""
    plain = oscillator(8, 40)
    data = changed(
        plain, lambda x: np.column_stack([x[:, 0], np.full(len(x), 7.5), x[:, 1], x[:, 0], 2 * x[:, 1] - x[:, 0]])
    )
    found, truth = kc.fit(data, model), kc.fit(plain, model)
    Y = one_step(found, data)
    assert found.nx == 2 and Y[:, [0, 2]] == pytest.approx(one_step(truth, plain), abs=1e-6)
    assert Y[:, 1] == pytest.approx(7.5) and Y[:, 3] == pytest.approx(Y[:, 0], abs=1e-9)
    assert Y[:, 4] == pytest.approx(2 * Y[:, 2] - Y[:, 0], abs=1e-9)
    assert (
        noted(found, "x1 is constant") and noted(found, "x3 equals x0") and noted(found, "x4 is a linear combination")
    )


@kinds
@pytest.mark.parametrize("ridge", [1e-10, 0.0])
def test_constant_and_equal_inputs_do_no_harm(model, ridge):
    """What they do cannot be known; what the plant does is predicted all the same, by small numbers."""
    plain = oscillator(8, 40)
    odd = changed(plain, u=lambda u: np.column_stack([u, u[:, 0], np.full(len(u), -3.0)]))
    found = kc.fit(odd, kc_clone(model, ridge))
    truth = kc.fit(plain, kc_clone(model, ridge))
    scale = np.concatenate(plain.X).std(axis=0)
    errors = [
        np.abs(one_step(m, d) - np.concatenate([x[1:] for x in plain.X])) / scale
        for m, d in ((found, odd), (truth, plain))
    ]
    assert errors[0].max() < 3 * errors[1].max() + 1e-6
    assert np.abs(found.linearize(np.zeros(2), [0.0, 0.0, 0.0, -3.0])[1]).max() < 1.0
    assert noted(found, "u2 equals u0") and noted(found, "u3 never moves")


def kc_clone(model: kc.SampledRNN | kc.EDMDc, ridge: float) -> kc.SampledRNN | kc.EDMDc:
    """Return an unfitted copy with another ridge."""
    from sklearn.base import clone

    return clone(model).set_params(ridge=ridge)


@kinds
@pytest.mark.parametrize("manifold", [True, False])
def test_units_do_not_matter(model, manifold):
    """Columns of 1e-12 beside 1e12: the rescaled problem, by powers of two so that bits stay, has the same solution."""
    plain = oscillator(8, 40)
    x_units, u_units = np.array([2.0**-40, 2.0**40]), np.array([2.0**40, 2.0**-40])
    wild = changed(plain, lambda x: x * x_units, lambda u: u * u_units)
    models = [kc_clone(model, 1e-8).set_params(manifold=manifold, cyclic=()).fit(data) for data in (plain, wild)]
    truth, found = one_step(models[0], plain), one_step(models[1], wild) / x_units
    assert found == pytest.approx(truth, abs=1e-9)
    paths = [m.predict(d.X[0][0], d.U[0]) for m, d in zip(models, (plain, wild), strict=True)]
    assert paths[1] / x_units == pytest.approx(paths[0], abs=1e-9)
    far = models[1].excess(np.array([[5.0, 5.0]]) * x_units)
    assert far == pytest.approx(models[0].excess(np.array([[5.0, 5.0]])), rel=1e-6)
    assert noted(models[1], "too far apart") and models[1].report_.relifted[0] == pytest.approx(
        models[0].report_.relifted[0], rel=1e-3
    )


def test_an_exact_plant_in_odd_units_is_found_exactly():
    """(A, B) to 1e-8 of their size, entry by entry."""
    A, B, _ = exact_linear()
    x_units, u_units = np.array([1e-6, 1e3, 1e6, 1.0]), np.array([1e-9, 1e9])
    data = changed(linear(8, 60), lambda x: x * x_units, lambda u: u * u_units)
    model = kc.EDMDc(kc.Identity(), ridge=1e-13, cyclic=()).fit(data)
    assert model.A_ * x_units / x_units[:, None] == pytest.approx(A, abs=1e-8)
    assert model.B_ * u_units / x_units[:, None] == pytest.approx(B, abs=1e-8)


@pytest.mark.parametrize("size", [1e101, 1e200, 1e300])
def test_numbers_that_cannot_be_squared_are_refused(size):
    """By name, instead of inf and NaN later."""
    with pytest.raises(DataError, match="x1 reaches .* choose larger units"):
        kc.SampledRNN(10).fit(changed(oscillator(), lambda x: x * [1.0, size]))
    with pytest.raises(DataError, match="u0 reaches"):
        kc.EDMDc(kc.Identity()).fit(changed(oscillator(), u=lambda u: u * [size, 1.0]))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_refused(value):
    """In states and in inputs, when the rollouts are made."""
    data = oscillator()
    X = [x.copy() for x in data.X]
    X[1][3, 0] = value
    with pytest.raises(DataError, match="finite|infinite"):
        kc.Rollouts(X, data.U, DT)
    with pytest.raises(DataError, match="finite|infinite"):
        kc.Rollouts(data.X, [u * value for u in data.U], DT)


# ------------------------------------------------------------------ few samples
def test_one_transition_is_said_to_be_too_few():
    """A linear model may be made of it, exact there, and warns; sampled features need two points."""
    data = oscillator(1, 1)
    model = kc.EDMDc(kc.Identity()).fit(data)
    assert model.predict(data.X[0][0], data.U[0])[1] == pytest.approx(data.X[0][1], abs=1e-8)
    assert (
        noted(model, "1 of the 10 transitions")
        and noted(model, "only 1.0 transitions")
        and "1 transition in" in str(model.report_)
    )
    for lacking in (
        kc.SampledRNN(10),
        kc.EDMDc(kc.SampledFeatures(10)),
        kc.EDMDc(kc.ThinPlate(10)),
        kc.EDMDc(kc.RandomFourier(9)),
    ):
        with pytest.raises(DataError, match="same point|distinct samples"):
            lacking.fit(data)
    with pytest.raises(DataError, match="too short: delays=1"):
        kc.EDMDc(kc.Identity(), delays=1).fit(data)


@pytest.mark.parametrize("ridge", [1e-10, 0.0])
def test_more_features_than_samples(ridge):
    """The samples are met, the solution is a small one, and the report says how little they say."""
    data = oscillator(1, 30)
    model = kc.SampledRNN(300, ridge=ridge).fit(data)
    assert one_step(model, data) == pytest.approx(data.X[0][1:], abs=1e-5)
    assert np.abs(model.solution_.theta).max() < 1e3 and model.solution_.effective < 31
    assert noted(model, "transitions for each effective regressor")


@kinds
def test_data_in_which_nothing_moves(model):
    """Also where the manifold is not looked for."""
    still = changed(oscillator(), lambda x: 0 * x + 2.0)
    for manifold in (True, False):
        with pytest.raises(DataError, match="record motion"):
            kc_clone(model, 1e-8).set_params(manifold=manifold).fit(still)


# ------------------------------------------------------------------ lifts of one's own
class Odd(Lift):
    """A lift that breaks one promise."""

    def __init__(self, how: str = "") -> None:
        """Remember which."""
        self.how = how

    @property
    def n_out(self) -> int:
        """Number of features."""
        return 3 if self.how == "promised" else 2

    def fit(self, W: np.ndarray, F: np.ndarray) -> Odd:
        """Do nothing."""
        return self

    def transform(self, W: np.ndarray) -> np.ndarray:
        """Return the squares, or something else."""
        H = W[:, :2] ** 2
        if self.how == "rarely NaN":  # not in the samples a fit looks at first
            H[np.abs(W[:, 0]) > 2.2] = np.nan
        return {"transposed": H.T, "wide": np.hstack([H, H]), "NaN": H * np.nan, "huge": H * 1e300}.get(self.how, H)

    def jacobian(self, W: np.ndarray) -> np.ndarray:
        """Return the derivatives."""
        J = np.zeros((len(W), self.n_out, W.shape[1]))
        for i in range(2):
            J[:, i, i] = 2 * W[:, i]
        return J[:, :, :1] if self.how == "slopes" else J

    def arrays(self) -> dict[str, np.ndarray]:
        """Return nothing."""
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> Odd:
        """Do nothing."""
        return self


@pytest.mark.parametrize("how", ["promised", "transposed", "wide", "slopes"])
def test_a_lift_of_the_wrong_width_is_refused(how):
    """With the shapes returned and expected."""
    assert kc.EDMDc(Odd()).fit(oscillator(12, 60)).nz == 4
    model = kc.EDMDc(Odd(how))
    with pytest.raises(ShapeError, match="Odd.(transform|jacobian) returned shape"):
        model.fit(oscillator(12, 60))
    assert not hasattr(model, "window_")


@pytest.mark.parametrize(
    ("how", "said"), [("NaN", "not finite"), ("rarely NaN", "NaN or inf on some"), ("huge", "squared|finite")]
)
@pytest.mark.parametrize("solver", ["auto", "cholesky", "qr"])
def test_features_that_are_no_numbers_are_refused(how, said, solver):
    """Also where only a few samples show it; nothing half-fitted is left."""
    model = kc.EDMDc(Odd(how), solver=solver)
    with np.errstate(all="ignore"), pytest.raises(DataError, match=said):
        model.fit(oscillator(12, 60))
    assert not hasattr(model, "window_")


@pytest.mark.parametrize(
    "model",
    [
        kc.SampledRNN(0), kc.SampledRNN(10, ridge=-1.0), kc.SampledRNN(10, ridge=np.nan), kc.SampledRNN(10, delays=-1),
        kc.SampledRNN(10, solver="svd"), kc.SampledRNN(2.5), kc.EDMDc(kc.Identity(), horizon=0),
        kc.EDMDc(kc.Identity(), spectral_radius=-1.0), kc.EDMDc("polynomial"), kc.EDMDc(inputs="cubic"),
        kc.SampledRNN(10, cyclic="some"), kc.SampledRNN(10, cyclic=["speed"]), kc.SampledRNN(10, delays=1.0),
    ],
    ids=lambda model: " ".join(repr(model).split()),
)  # fmt: skip
def test_parameters_are_checked(model):
    """Each one of them before anything is learnt, in words of its own."""
    with pytest.raises(KoopctlError):
        model.fit(oscillator())
    assert not hasattr(model, "window_")


# ------------------------------------------------------------------ files
def test_a_file_that_was_changed_is_refused(tmp_path):
    """One bit anywhere: nothing is loaded, or what was saved (a time stamp of the archive was hit)."""
    model = kc.SampledRNN(8).fit(pendulum(3, 20))
    path = model.save(tmp_path / "model")
    good, refused = path.read_bytes(), 0
    places = np.unique(np.linspace(0, len(good) - 1, 150).astype(int))
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 4
        path.write_bytes(bytes(bad))
        try:
            loaded = kc.load(path)
        except FileFormatError:
            refused += 1
        else:
            assert loaded.C_.tobytes() == model.C_.tobytes() and loaded.report_ == model.report_
    assert refused > 0.8 * len(places)


@pytest.mark.parametrize("name", ["solution", "report", "chart", "params"])
def test_a_header_that_lacks_something_is_refused(tmp_path, name):
    """Also one of the newer parts, and one that holds what this version does not know."""
    path = kc.SampledRNN(8).fit(oscillator(2, 30)).save(tmp_path / "model")
    kind, header, arrays = read_archive(path)
    broken = {key: value for key, value in header.items() if key != name or name == "report"}
    broken |= {"report": {"title": "half"}} if name == "report" else {}
    with pytest.raises(FileFormatError, match="write it again"):
        kc.load(write_archive(path, kind, broken, arrays))
    newer = header | {name: header[name] | {"unheard_of": 1}}
    if name != "chart":  # whose further entries do no harm
        with pytest.raises(FileFormatError, match="write it again"):
            kc.load(write_archive(path, kind, newer, arrays))


def test_a_file_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    """Before its parts are looked at."""
    monkeypatch.setattr("koopctl.archive.VERSION", 99)
    path = kc.EDMDc(kc.Identity(), solver="qr").fit(linear(2)).save(tmp_path / "model")
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match="version 99"):
        kc.load(path)

"""What every lift promises: derivative, seed, order of the data, blocks, width, copy and file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import central_differences
from sklearn.base import clone

from koopctl.archive import read_archive, write_archive
from koopctl.errors import DataError, FileFormatError, NotFittedError, ShapeError
from koopctl.features.fourier import RandomFourier
from koopctl.features.function import Function
from koopctl.features.gaussian import GaussianRBF
from koopctl.features.identity import Identity
from koopctl.features.polynomial import Polynomial
from koopctl.features.sampled import SampledFeatures
from koopctl.features.saving import LIFTS, pack_lift, unpack_lift
from koopctl.features.sum import LiftSum
from koopctl.features.thin_plate import ThinPlate

RNG = np.random.default_rng(2)
W = RNG.normal(size=(300, 3))
F = np.stack([np.sin(W[:, 0]) * W[:, 1], W[:, 2] ** 2], axis=1)
CENTERS = RNG.uniform(-1, 1, size=(6, 3))
SAVED = {
    "tanh": SampledFeatures(20),
    "relu": SampledFeatures(20, "uniform", "relu", 3),
    "fourier": RandomFourier(20),
    "fourier of width 2": RandomFourier(20, width=2.0, random_state=np.int64(7)),
    "gaussian": GaussianRBF(20),
    "gaussian uniform": GaussianRBF(20, 0.8, 1, "uniform"),
    "gaussian given": GaussianRBF(width=np.float64(1.1), centers=CENTERS),
    "thin plate": ThinPlate(20),
    "thin plate uniform": ThinPlate(20, "uniform", 4),
    "thin plate given": ThinPlate(centers=CENTERS.tolist()),
    "polynomial": Polynomial(4),
    "identity": Identity(),
    "sum": SampledFeatures(10) + Polynomial(3) + GaussianRBF(centers=CENTERS) + Identity(),
    "sum of sums": LiftSum([RandomFourier(5), LiftSum((ThinPlate(4), Polynomial()))]),
}
LIFTED = SAVED | {
    "function": Function(lambda W: np.stack([np.sin(W[:, 0] * W[:, 1]), W[:, 2] ** 3], axis=1)),
    "sum with a function": Polynomial() + Function(lambda W: np.exp(-np.abs(W))),
}
everyone = pytest.mark.parametrize("name", LIFTED)
saveable = pytest.mark.parametrize("name", SAVED)


def fitted(name):
    """Return a fresh copy, fitted to the data above."""
    return clone(LIFTED[name]).fit(W, F)


@everyone
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_jacobian_is_the_derivative(name, seed):
    """Central differences at a random point, off the kinks of ReLU and abs."""
    lift, w = fitted(name), np.random.default_rng(seed).normal(size=3)
    if name == "relu" and np.abs(w @ lift.weights_ + lift.biases_).min() < 1e-3:
        return
    if np.abs(w).min() < 1e-3:
        return
    numeric = central_differences(lambda v: lift.transform(v[None])[0], w)
    assert lift.jacobian(w[None])[0] == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@everyone
@pytest.mark.parametrize("n", [0, 1, 2, 31, 33, 300, 5000])
def test_many_samples_are_lifted_as_one_is(name, n):
    """However they are cut into blocks; into a piece of a larger matrix, too."""
    lift, many = fitted(name), np.resize(W, (n, 3))
    H = lift.transform(many)
    assert H.shape == (n, lift.n_out) and H.dtype == np.float64
    picked = range(0, n, max(1, n // 20))
    assert H[picked] == pytest.approx(np.reshape([lift.transform(many[i][None])[0] for i in picked], H[picked].shape))
    wide = np.full((n, lift.n_out + 3), np.nan)
    lift.transform_into(many, wide[:, 1:-2])
    assert np.array_equal(wide[:, 1:-2], H) and np.isnan(wide[:, [0, -2, -1]]).all()
    assert lift.jacobian(many[:40]).shape == (min(n, 40), lift.n_out, 3)


@everyone
def test_the_memory_layout_of_the_samples_does_not_matter(name):
    """Columns in Fortran's order, every second row, whole numbers, read-only."""
    lift, fortran = fitted(name), np.asfortranarray(W)
    fortran.setflags(write=False)
    assert lift.transform(fortran) == pytest.approx(lift.transform(W), abs=1e-12)
    assert lift.transform(W[::2]) == pytest.approx(lift.transform(W)[::2], abs=1e-12)
    assert lift.transform(np.eye(3, dtype=int)) == pytest.approx(lift.transform(np.eye(3)), abs=1e-12)


@everyone
def test_the_result_is_the_callers_own(name):
    """Writing into it changes neither the next result nor the argument."""
    lift, w = fitted(name), W[:1].copy()
    first = lift.transform(w)
    kept = first.copy()
    first += 1.0
    assert np.array_equal(lift.transform(w), kept) and np.array_equal(w, W[:1])


@everyone
@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(300)))
def test_the_order_of_the_samples_changes_no_byte(name, order):
    """Not even where samples repeat and differ only in what is to be explained."""
    rounded = np.round(2 * W)  # some 200 distinct points
    base = clone(LIFTED[name]).fit(rounded, F)
    shuffled = clone(LIFTED[name]).fit(rounded[order], F[order])
    assert base.transform(W).tobytes() == shuffled.transform(W).tobytes()


@everyone
def test_same_seed_same_bytes(name):
    """Fitted twice, also after another fit on the same object."""
    again = clone(LIFTED[name]).fit(2 * W[:50, :2], F[:50]) if name not in GIVEN else clone(LIFTED[name])
    again.fit(W, F)
    assert again.transform(W).tobytes() == fitted(name).transform(W).tobytes()


GIVEN = {"gaussian given", "thin plate given", "sum", "function"}  # made for three coordinates


@pytest.mark.parametrize("lift", [SampledFeatures(9), RandomFourier(9), GaussianRBF(9), ThinPlate(9)])
def test_another_seed_gives_other_features(lift):
    """Also of centres that are data points."""
    other = clone(lift).set_params(random_state=1).fit(W, F)
    assert not np.allclose(lift.fit(W, F).transform(W[:1]), other.transform(W[:1]))


@everyone
def test_the_constructor_only_stores_and_fit_changes_no_parameter(name):
    """scikit-learn's grammar: a clone is equal and unfitted, whatever was fitted."""
    lift = fitted(name)
    copy = clone(lift)
    assert repr(copy) == repr(clone(LIFTED[name]))
    assert vars(copy).keys() == copy.get_params(deep=False).keys()
    with pytest.raises(NotFittedError, match="not fitted") if name != "identity" else pytest.raises(AttributeError):
        copy.transform(W) if name != "identity" else copy.n_in_  # noqa: B018


@everyone
@pytest.mark.parametrize("shape", [(4, 2), (4, 4), (1, 2), (1, 4), (3,), (2, 3, 1)])
def test_another_width_is_refused(name, shape):
    """With both shapes in the text; only Identity, which reads nothing, takes any width."""
    lift = fitted(name)
    if name == "identity":
        assert lift.transform(np.zeros(shape)).shape == (shape[0], 0)
        return
    for use in (lift.transform, lift.jacobian, lambda W: lift.transform_into(W, np.empty((shape[0], lift.n_out)))):
        with pytest.raises(ShapeError, match=r"W has shape .* expected \(n, 3\)"):
            use(np.zeros(shape))


@everyone
def test_a_wrong_place_to_write_to_is_refused(name):
    """Numpy would repeat or leave out samples silently."""
    lift = fitted(name)
    for shape in ((8, lift.n_out), (9, lift.n_out + 1)):
        with pytest.raises(ShapeError, match="out has shape"):
            lift.transform_into(W[:9], np.empty(shape))


@everyone
@pytest.mark.parametrize(
    ("points", "targets", "says"),
    [
        (W[:, 0], F, "W has shape"),
        (W, F[:-1], "F has shape"),
        (W[:0], F[:0], "no samples"),
        (np.where(W == W[7, 1], np.nan, W), F, r"W holds nan at index \(7, 1\)"),
        (W, np.where(F == F[5, 0], np.inf, F), r"F holds inf at index \(5, 0\)"),
        (W.astype(str) + "m", F, "W is not numeric"),
    ],
)
def test_unusable_data_is_refused_at_fit(name, points, targets, says):
    """One sample more or less, none at all, numbers that are none."""
    with pytest.raises((ShapeError, DataError), match=says):
        clone(LIFTED[name]).fit(points, targets)


@saveable
def test_a_file_holds_the_whole_lift(name, tmp_path):
    """The header is plain JSON, the arrays plain numbers; what comes back is equal to the last bit."""
    lift = fitted(name)
    header, arrays = pack_lift(lift)
    assert json.loads(json.dumps(header)) == header
    path = write_archive(tmp_path / "lift", "lift", header, arrays)
    _, read, found = read_archive(path)
    back = unpack_lift(read, found)
    assert type(back) is type(lift) and back.n_out == lift.n_out
    for points in (W, W[:1]):
        assert back.transform(points).tobytes() == lift.transform(points).tobytes()
        assert back.jacobian(points).tobytes() == lift.jacobian(points).tobytes()
    again = clone(back).fit(W, F)  # the parameters came back, too
    assert again.transform(W).tobytes() == lift.transform(W).tobytes()


@saveable
def test_arrays_and_restore_are_enough_for_the_same_features(name):
    """On an unfitted copy."""
    lift = fitted(name)
    restored = clone(lift).restore(lift.arrays())
    assert restored.transform(W).tobytes() == lift.transform(W).tobytes()
    assert all(isinstance(array, np.ndarray) and not array.dtype.hasobject for array in lift.arrays().values())


@pytest.mark.parametrize("name", ["function", "sum with a function"])
def test_a_function_is_not_saved(name):
    """And the text says why and what to do."""
    with pytest.raises(DataError, match="no Python code. Use koopctl's own lifts"):
        pack_lift(fitted(name))
    with pytest.raises(DataError, match="cannot be saved"):
        fitted(name).arrays()
    with pytest.raises(DataError, match="cannot be saved"):
        Function(np.sin).restore({})


class Cubes(Identity):
    """Somebody's own lift."""


class Polynomial2(Polynomial):
    """One that took a known name."""


Polynomial2.__name__ = "Polynomial"


@pytest.mark.parametrize("lift", [Cubes(), Polynomial2(), LiftSum([Polynomial(), Cubes()])])
def test_a_lift_of_ones_own_is_not_saved(lift):
    """A file must be readable by whoever has koopctl alone."""
    with pytest.raises(DataError, match=r"lift \w+ cannot be saved; known lifts are GaussianRBF, "):
        pack_lift(lift.fit(W, F))


@pytest.mark.parametrize("name", sorted(SAVED.keys() - {"identity"}))
def test_an_unfitted_lift_is_not_saved(name):
    """There is nothing to keep."""
    with pytest.raises(NotFittedError):
        pack_lift(clone(SAVED[name]))


def test_a_file_from_a_newer_version_is_refused():
    """By the name of the lift it holds, alone and inside a sum."""
    for header in ({"type": "Wavelets", "params": {}}, {"type": "LiftSum", "lifts": [{"type": "Wavelets"}]}):
        with pytest.raises(FileFormatError, match="lift of type Wavelets.*upgrade koopctl"):
            unpack_lift(header, {"n_in": np.array(3)})


def test_every_lift_is_registered_under_its_own_name():
    """The registry is what files and the command line choose from."""
    assert all(name == kind.__name__ for name, kind in LIFTS.items())
    assert {type(lift) for lift in SAVED.values()} == set(LIFTS.values())

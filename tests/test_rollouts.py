"""Recorded motion: what is kept, what is refused and by which name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import pendulum
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils import _safe_indexing

from koopctl.archive import write_archive
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, FileFormatError, KoopctlError, ShapeError, UnknownNameError
from koopctl.store import load

few = settings(max_examples=25, deadline=None)
lengths = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def ragged(counts, nx=2, nu=1) -> Rollouts:
    """Return episodes of the given lengths in which no two numbers are equal."""
    X = [i * 100.0 + np.arange((T + 1) * nx).reshape(T + 1, nx) for i, T in enumerate(counts)]
    U = [i * 100.0 + 0.5 + np.arange(T * nu).reshape(T, nu) for i, T in enumerate(counts)]
    return Rollouts(X, U, 0.1)


def same(left: Rollouts, right: Rollouts) -> bool:
    """Tell whether two sets of episodes are equal in everything."""
    words = ("dt", "x_names", "u_names", "sensors", "notes", "missing")
    arrays = zip((*left.X, *left.U), (*right.X, *right.U), strict=True)
    return all(getattr(left, w) == getattr(right, w) for w in words) and all(np.array_equal(a, b) for a, b in arrays)


@few
@given(lengths, st.integers(1, 4), st.integers(0, 3))
def test_ragged_episodes_are_kept_counted_and_saved(tmp_path_factory, counts, nx, nu):
    """Lengths differ, widths do not, nu may be 0; a file holds all of it."""
    data = ragged(counts, nx, nu)
    assert (len(data), data.n_samples, data.nx, data.nu) == (len(counts), sum(counts), nx, nu)
    assert [len(u) for _, u in data] == counts
    path = tmp_path_factory.mktemp("data") / "rollouts.npz"
    assert same(Rollouts.load(data.save(path)), data)
    assert same(load(path), data)


def test_names_sensors_and_notes_survive_a_file(tmp_path):
    """Everything that is not a number, too."""
    data = Rollouts([[[1, 2], [3, 4]]], [[[5]]], 0.02, ["a", "b"], ["f"], ["b", "c", "a"], ["resampled"])
    assert same(Rollouts.load(data.save(tmp_path / "d.npz")), data)


@few
@given(st.integers(2, 12), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_split_is_disjoint_and_whole(count, fraction, seed):
    """Every episode is on exactly one side, in order; the same seed gives the same sides."""
    data = ragged([1 + i % 3 for i in range(count)])
    if not 0 < round(fraction * count) < count:
        with pytest.raises(DataError, match="one side empty"):
            data.split(fraction, seed)
        return
    left, right = data.split(fraction, seed)
    assert len(left) == round(fraction * count)
    firsts = [[x[0, 0] for x in side.X] for side in (left, right)]
    assert sorted(firsts[0] + firsts[1]) == [x[0, 0] for x in data.X]
    assert all(side == sorted(side) for side in firsts)
    again = data.split(fraction, seed)
    assert same(again[0], left) and same(again[1], right)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0, np.nan, np.inf])
def test_a_split_needs_a_real_share(fraction):
    """Neither side may be empty."""
    with pytest.raises(DataError, match="split"):
        ragged([2, 2, 2]).split(fraction)


def test_different_seeds_split_differently():
    """The shuffle uses its seed."""
    data = ragged([2] * 10)
    assert len({tuple(x[0, 0] for x in data.split(0.5, seed)[0].X) for seed in range(8)}) > 1


def test_selected_columns_are_contiguous_and_nobody_changes_them():
    """As every other episode: C order, read-only."""
    x = pendulum(1, 3).select(["thetadot", "cos(theta)"]).X[0]
    assert x.flags.c_contiguous and not x.flags.writeable


def test_selected_columns_keep_the_sensors():
    """The order asked for is the order given; the full observation stays known, selection after selection."""
    data = pendulum(2, 3)
    part = data.select(["thetadot", "cos(theta)"])
    assert part.x_names == ("thetadot", "cos(theta)") and part.sensors == data.x_names
    assert np.array_equal(part.X[1], data.X[1][:, [2, 0]]) and np.array_equal(part.U[1], data.U[1])
    assert part.select(["cos(theta)"]).sensors == data.x_names


def test_wrong_names_list_the_nearest():
    """A misspelt name, a position, none at all, one twice."""
    data = pendulum(2, 3)
    with pytest.raises(UnknownNameError, match=r"measured state 'thetdot'; did you mean 'thetadot'"):
        data.select(["thetdot"])
    with pytest.raises(UnknownNameError, match="Known: cos"):
        data.select([0])
    with pytest.raises(DataError, match="at least one"):
        data.select([])
    with pytest.raises(DataError, match="repeats thetadot"):
        data.select(["thetadot", "thetadot"])
    with pytest.raises(ShapeError, match="u_names has 2 names but the data has 1 columns"):
        Rollouts(data.X, data.U, data.dt, u_names=["a", "b"])
    with pytest.raises(UnknownNameError, match="sensor 'x1'"):
        Rollouts([[[1, 2], [3, 4]]], [[[5]]], 0.1, sensors=["x0"])


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("which", ["X", "U"])
def test_an_infinite_number_names_its_episode(bad, which):
    """Episode, row and column stand in the text; NaN alone says that nothing was measured."""
    arrays = {"X": [np.zeros((4, 2)), np.zeros((4, 2))], "U": [np.zeros((3, 2)), np.zeros((3, 2))]}
    arrays[which][1][2, 0] = bad
    says = rf"{which}\[1\] \(episode 1\), row 2, column 0 \('{which.lower()}0'\) holds {bad}; .*or NaN"
    with pytest.raises(DataError, match=says):
        Rollouts(arrays["X"], arrays["U"], 0.1)


@pytest.mark.parametrize(
    ("X", "U", "says"),
    [
        ([], [], "no episodes"),
        ([np.zeros((3, 1))], [], "X has 1 episodes but U has 0"),
        ([np.zeros((3, 2)), np.zeros((3, 1))], [np.zeros((2, 1))] * 2, "episode 1"),
        ([np.zeros((3, 1))] * 2, [np.zeros((2, 1)), np.zeros((2, 2))], "episode 1"),
        ([np.zeros((3, 1))], [np.zeros((1, 1))], "3 states and 1 inputs"),
        ([np.zeros((3, 1))], [np.zeros((4, 1))], "3 states and 4 inputs"),
        ([np.zeros((1, 1))], [np.zeros((0, 1))], "1 states and 0 inputs"),
        ([np.zeros((1, 1))], [np.zeros((1, 1))], "1 states and 1 inputs"),
        ([np.zeros((0, 1))], [np.zeros((0, 1))], "0 states and 0 inputs"),
        ([np.zeros(3)], [np.zeros((2, 1))], r"\[:, None\]"),
        ([np.zeros((3, 1))], [np.zeros(2)], r"\[:, None\]"),
        (np.zeros((3, 1)), np.zeros((2, 1)), "X has 3 episodes but U has 2"),
        (np.zeros((3, 1)), np.zeros((3, 1)), r"\[:, None\]"),
        ([[[1], [2, 3]]], [[[1]]], "episode 0"),
        ([[["a"], ["b"]]], [[[1]]], "not numeric"),
        ([np.zeros((3, 1)), np.zeros(3)], [np.zeros((2, 1))] * 2, "episode 1"),
    ],
)
def test_what_is_no_set_of_episodes_is_refused(X, U, says):
    """Empty, uneven, one-dimensional, ragged inside an episode: koopctl's own error, saying which."""
    with pytest.raises(KoopctlError, match=says):
        Rollouts(X, U, 0.1)


@pytest.mark.parametrize("dt", [0, -0.1, np.nan, np.inf, None, "0.1", [0.1], 1j])
def test_the_sampling_time_is_a_positive_number(dt):
    """Seconds, one number."""
    with pytest.raises(DataError, match="^dt is "):
        Rollouts([np.zeros((2, 1))], [np.zeros((1, 1))], dt)


def test_an_input_too_many_is_dropped_with_a_warning_and_a_note():
    """Where U is as long as X the last input has no recorded effect; the note stays with every part of the data."""
    X, U = [np.zeros((4, 1)), np.ones((3, 1))], [np.arange(4.0)[:, None], np.ones((2, 1))]
    with pytest.warns(UserWarning, match="as long as X in 1 of 2") as caught:
        data = Rollouts(X, U, 0.1)
    assert caught[0].filename == __file__
    assert np.array_equal(data.U[0][:, 0], [0, 1, 2]) and len(data.U[1]) == 2
    assert len(data.notes) == 1 and "dropped" in data.notes[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data[:1].notes == data.select(["x0"]).notes == (data + data).notes == data.notes


def test_the_arrays_are_the_datas_own():
    """Changing the source changes nothing, and nobody changes the data."""
    source = np.zeros((3, 1))
    data = Rollouts([source], [np.zeros((2, 1))], 0.1)
    source[0] = 7.0
    assert data.X[0][0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        data.X[0][0] = 1.0


def test_episodes_are_taken_by_number_slice_and_list():
    """As from a list."""
    data = ragged([1, 2, 3])
    assert [len(u) for u in data[-1].U] == [3]
    assert [len(u) for u in data[1:].U] == [2, 3]
    assert [len(u) for u in data[[2, 0]].U] == [3, 1]
    with pytest.raises(DataError, match="selects none"):
        data[5:]
    with pytest.raises(IndexError):
        data[3]


def test_only_alike_recordings_join():
    """Sampling time and names must agree; the text says which does not."""
    data = ragged([1, 2])
    assert same(data[:1] + data[1:], data)
    with pytest.raises(DataError, match="dt is 0.1 in part 0 and 0.2 in part 1"):
        data + Rollouts(data.X, data.U, 0.2)
    with pytest.raises(DataError, match="u_names"):
        data + Rollouts(data.X, data.U, 0.1, u_names=["f"])


@few
@given(st.lists(lengths, min_size=1, max_size=5))
def test_many_recordings_join_as_two_do(several):
    """A list is joined in its order, as by adding one after the other; no array is copied."""
    parts = [ragged(counts) for counts in several]
    added = parts[0]
    for part in parts[1:]:
        added = added + part
    joined = Rollouts.join(parts)
    assert same(joined, added)
    assert all(a is b for a, b in zip(joined.X, (x for part in parts for x in part.X), strict=True))
    assert Rollouts.join(joined) is joined


def test_joined_recordings_keep_the_remarks_of_all():
    """In their order, each once."""
    data = ragged([2])
    remarks = [("a",), ("b", "a"), (), ("c",)]
    parts = [Rollouts(data.X, data.U, data.dt, notes=notes) for notes in remarks]
    assert Rollouts.join(parts).notes == ("a", "b", "c")


def test_a_rate_read_from_time_stamps_joins_its_like():
    """Two recordings of one rate differ by rounding; the first names it."""
    data = ragged([2])
    assert Rollouts.join([data, Rollouts(data.X, data.U, 0.1 + 1e-9)]).dt == 0.1
    with pytest.raises(DataError, match="dt is 0.1 in part 0 and 0.101 in part 2"):
        Rollouts.join([data, data, Rollouts(data.X, data.U, 0.101)])


@pytest.mark.parametrize(("parts", "says"), [([], "no rollouts to join"), ([[1.0]], "list is no"), (3, "int is no")])
def test_what_is_no_list_of_rollouts_does_not_join(parts, says):
    """The text says what was given."""
    with pytest.raises(DataError, match=says):
        Rollouts.join(parts)


def test_scikit_learn_cuts_rollouts_into_a_list_that_joins():
    """To it rows are episodes: numbers of rows give a list of one-episode rollouts, a slice gives rollouts."""
    data = ragged([1, 2, 3, 4])
    cut = _safe_indexing(data, np.array([3, 1]))
    assert isinstance(cut, list) and [len(part) for part in cut] == [1, 1]
    assert same(Rollouts.join(cut), data[[3, 1]])
    assert same(_safe_indexing(data, slice(1, 3)), data[1:3])
    train, test = train_test_split(data, test_size=0.25, random_state=0)
    assert sorted(len(u) for part in (*train, *test) for u in part.U) == [1, 2, 3, 4]


class MeanState(BaseEstimator):
    """The least estimator that takes rollouts: it predicts every state by their mean plus an offset."""

    def __init__(self, offset=0.0):
        self.offset = offset

    def fit(self, rollouts, y=None):
        """Average the states of whole episodes."""
        self.mean_ = np.concatenate(Rollouts.join(rollouts).X).mean() + self.offset
        return self

    def score(self, rollouts, y=None):
        """Return minus the mean distance."""
        return -np.abs(np.concatenate(Rollouts.join(rollouts).X) - self.mean_).mean()


def test_a_grid_search_of_scikit_learn_keeps_episodes_whole():
    """Folds are sets of episodes, and the search finds the offset that does no harm."""
    data = pendulum(6, 20)
    search = GridSearchCV(MeanState(), {"offset": [-3.0, 0.0, 3.0]}, cv=3, error_score="raise").fit(data)
    assert search.best_params_ == {"offset": 0.0}
    assert search.best_estimator_.mean_ == np.concatenate(data.X).mean()


def test_the_one_line_says_what_there_is():
    """Episodes, transitions, dt and names."""
    text = repr(pendulum(2, 3))
    assert "2 episodes, 6 transitions, dt=0.05 s" in text and "torque" in text


def test_a_file_of_another_kind_is_refused(tmp_path):
    """A model is no data; neither is a file that says it is but lacks the arrays."""
    with pytest.raises(FileFormatError, match="holds model, expected rollouts"):
        Rollouts.load(write_archive(tmp_path / "m.npz", "model", {}, {}))
    for arrays in ({}, {"X": np.zeros((4, 1)), "U": np.zeros((9, 1)), "lengths": np.array([3])}):
        header = {"dt": 0.1, "x_names": ["a"], "u_names": ["b"], "sensors": ["a"], "notes": []}
        with pytest.raises(FileFormatError):
            load(write_archive(tmp_path / "r.npz", "rollouts", header, arrays))

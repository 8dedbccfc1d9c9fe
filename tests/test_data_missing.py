"""What was not measured: which transitions are left, that nothing spans a gap, and that the counts are true."""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from recorded import oscillator, pendulum

from koopctl.archive import read_archive, write_archive
from koopctl.data.missing import Missing
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.chart import Chart
from koopctl.models.window import Window
from koopctl.store import load

few = settings(max_examples=60, deadline=None)


@st.composite
def recordings(draw, longest=12):
    """Draw episodes in which every number names its row, and holes in them: (X, U, rows of X gone, rows of U gone)."""
    X, U, gone_x, gone_u = [], [], [], []
    nx, nu = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    for i, T in enumerate(draw(st.lists(st.integers(1, longest), min_size=1, max_size=4))):
        x = 1000.0 * i + np.arange(T + 1)[:, None] + 0.1 * np.arange(nx)
        u = 1000.0 * i + np.arange(T)[:, None] + 0.5 + 0.1 * np.arange(nu)
        holes_x = draw(st.lists(st.tuples(st.integers(0, T), st.integers(0, nx - 1)), max_size=4))
        holes_u = draw(st.lists(st.tuples(st.integers(0, T - 1), st.integers(0, nu - 1)), max_size=3))
        for array, holes in ((x, holes_x), (u, holes_u)):
            for hole in holes:
                array[hole] = np.nan
        X.append(x)
        U.append(u)
        gone_x.append({row for row, _ in holes_x})
        gone_u.append({row for row, _ in holes_u})
    return X, U, gone_x, gone_u


def whole_windows(X, U, gone_x, gone_u, delays):
    """Enumerate (episode, k) for which every row from k - delays on up to the transition k -> k + 1 was measured."""
    return [
        (i, k)
        for i, u in enumerate(U)
        for k in range(delays, len(u))
        if not gone_x[i] & set(range(k - delays, k + 2)) and not gone_u[i] & set(range(k - delays, k + 1))
    ]


def triples(data):
    """Return the set of transitions (x, u, x next) as numbers."""
    return {(*x[k], *u[k], *x[k + 1]) for x, u in data for k in range(len(u))}


@few
@given(recordings())
def test_the_transitions_kept_are_those_that_touch_no_hole(recording):
    """Brute force over every row: the same set, each once, in order; and never a NaN."""
    X, U, gone_x, gone_u = recording
    kept = whole_windows(*recording, 0)
    if not kept:
        with pytest.raises(DataError, match="no transition is left"):
            Rollouts(X, U, 0.1)
        return
    data = Rollouts(X, U, 0.1)
    assert triples(data) == {(*X[i][k], *U[i][k], *X[i][k + 1]) for i, k in kept}
    assert data.n_samples == len(kept)
    assert [row[0] for u in data.U for row in u] == [U[i][k, 0] for i, k in kept]
    assert all(np.isfinite(array).all() for array in (*data.X, *data.U))
    assert all(len(x) == len(u) + 1 and (np.diff(x[:, 0]) == 1).all() for x, u in data)


@few
@given(recordings())
def test_every_count_is_what_counting_by_hand_gives(recording):
    """Rows with NaN, transitions dropped, episodes split and vanished."""
    X, U, gone_x, gone_u = recording
    kept = whole_windows(*recording, 0)
    assume(kept)
    missing = Rollouts(X, U, 0.1).missing
    if not any(gone_x) and not any(gone_u):
        assert missing == Missing() and not missing
        return
    pieces = [0] * len(U)
    for i, k in kept:
        pieces[i] += (i, k - 1) not in kept
    assert missing == Missing(
        rows_x=sum(map(len, gone_x)),
        rows_u=sum(map(len, gone_u)),
        transitions=sum(map(len, U)),
        dropped=sum(map(len, U)) - len(kept),
        split=sum(count > 1 for count in pieces),
        parts=sum(count for count in pieces if count > 1),
        vanished=sum(count == 0 for count in pieces),
    )


@few
@given(recordings(), st.integers(1, 4))
def test_no_window_of_delays_spans_a_hole(recording, delays):
    """The states and inputs a model with delays learns from are the windows in which every row was measured."""
    X, U, *_ = recording
    assume(whole_windows(*recording, 0))
    kept = whole_windows(*recording, delays)
    data = Rollouts(X, U, 0.1)
    window = Window(Chart.plain(data.x_names), delays, data.nu)
    if not kept:
        with pytest.raises(DataError, match="too short"):
            window.transitions(data)
        return
    with pytest.warns(UserWarning) if min(map(len, data.U)) <= delays else nullcontext():
        states, inputs, steps = window.transitions(data)
    wanted = [
        np.concatenate([X[i][k - delays : k + 1][::-1].ravel(), U[i][k - delays : k][::-1].ravel()]) for i, k in kept
    ]
    assert np.array_equal(states, wanted)
    assert np.array_equal(inputs, [U[i][k] for i, k in kept])
    assert np.allclose(steps, 1.0)


def test_a_hole_at_either_end_only_shortens():
    """No episode is split where nothing lies beyond the hole."""
    x, u = np.arange(6.0)[:, None], np.arange(5.0)[:, None]
    x[0] = x[5] = np.nan
    data = Rollouts([x], [u], 0.1)
    assert len(data) == 1 and data.X[0].ravel().tolist() == [1, 2, 3, 4] and data.U[0].ravel().tolist() == [1, 2, 3]
    assert data.notes == ("2 rows of X held NaN: 2 of 5 transitions were dropped",)


def test_a_missing_input_leaves_both_states_beside_it():
    """The state before ends one episode, the state after begins the next."""
    u = np.arange(4.0)[:, None]
    u[1] = np.nan
    data = Rollouts([np.arange(5.0)[:, None]], [u], 0.1)
    assert [x.ravel().tolist() for x in data.X] == [[0, 1], [2, 3, 4]]
    assert data.notes == ("1 row of U held NaN: 1 of 4 transitions was dropped, 1 episode was split into 2",)


def test_the_note_says_everything_in_one_sentence():
    """Rows, transitions, episodes split and vanished; the one line of the data says it too."""
    data = holed()
    text = (
        "4 rows of X and 1 of U held NaN: 8 of 32 transitions were dropped, 1 episode was split into 3, "
        "1 episode without a transition left vanished"
    )
    assert data.notes == (text,)
    assert repr(data).endswith(f"u=(u0); {text})")


def holed() -> Rollouts:
    """Return three episodes of 20, 10 and 2 transitions: the first with two holes, the last all hole."""
    X = [np.arange(T + 1.0)[:, None] + [0.0, 0.5] for T in (20, 10, 2)]
    U = [np.arange(T + 0.0)[:, None] for T in (20, 10, 2)]
    X[0][5, 0] = X[0][6, 1] = X[0][12, 1] = X[2][1, 0] = np.nan
    U[1][9] = np.nan
    return Rollouts(X, U, 0.1)


def test_an_input_too_many_is_no_missing_one():
    """A logger's last line often has no input; it drives nothing."""
    u = np.arange(4.0)[:, None]
    u[3] = np.nan
    with pytest.warns(UserWarning, match="as long as X"):
        data = Rollouts([np.arange(4.0)[:, None]], [u], 0.1)
    assert data.n_samples == 3 and not data.missing


def test_none_and_masked_values_are_missing_too():
    """What numpy and Python use for no value; the numbers under a mask are never read."""
    x = np.ma.masked_values([[0.0], [1.0], [-999.0], [3.0], [4.0]], -999.0)
    masked = Rollouts([x], [np.zeros((4, 1))], 0.1)
    listed = Rollouts([[[0.0], [1.0], [None], [3.0], [4.0]]], [np.zeros((4, 1))], 0.1)
    for data in (masked, listed):
        assert [x.ravel().tolist() for x in data.X] == [[0, 1], [3, 4]]


def test_a_column_never_measured_is_named():
    """Nothing is left: the text says whose fault it is and what to do."""
    X = np.zeros((5, 3))
    X[:, 1] = np.nan
    X[2, 0] = np.nan
    with pytest.raises(DataError, match=r"'b' in 5 of 5 rows, 'a' in 1 of 5 rows\); leave out"):
        Rollouts([X], [np.zeros((4, 1))], 0.1, ["a", "b", "c"])


def test_counts_and_words_survive_a_file(tmp_path):
    """Saved, loaded by either name, the same."""
    data = holed()
    path = data.save(tmp_path / "holed.npz")
    for again in (Rollouts.load(path), load(path)):
        assert again.missing == data.missing and again.notes == data.notes
        assert triples(again) == triples(data)
    assert path.read_bytes() == holed().save(tmp_path / "again.npz").read_bytes()


def test_a_file_from_before_there_were_counts_is_read(tmp_path):
    """A header without them means that nothing was missing."""
    _, header, arrays = read_archive(pendulum(2, 3).save(tmp_path / "d.npz"))
    assert json.dumps(header.pop("missing")) == "{}"
    assert Rollouts.load(write_archive(tmp_path / "old.npz", "rollouts", header, arrays)).missing == Missing()


def test_parts_tell_of_their_whole_recording_and_joined_count_it_once():
    """However the data is cut and put together, the counts stay those of the recording."""
    data = holed()
    left, right = data.split(0.5)
    for part in (left, right, data[0], data[1:], data.select(["x1"]), left + right, data + data):
        assert part.missing == data.missing and part.notes == data.notes
    assert Rollouts.join([data[i] for i in range(len(data))]).missing == data.missing


def test_the_counts_of_two_recordings_add():
    """Also where both lack the same numbers of rows, and where one lacks nothing."""
    first, whole = oscillator(2, 10, seed=1), oscillator(2, 10, seed=2)
    holes = []
    for data in (first, whole):
        X = [x.copy() for x in data.X]
        X[0][3] = np.nan
        holes.append(Rollouts(X, data.U, data.dt, data.x_names, data.u_names))
    assert holes[0].missing == holes[1].missing == Missing(rows_x=1, transitions=20, dropped=2, split=1, parts=2)
    both = holes[0] + holes[1]
    assert both.missing == Missing(rows_x=2, transitions=40, dropped=4, split=2, parts=4)
    assert both.notes == ("2 rows of X held NaN: 4 of 40 transitions were dropped, 2 episodes were split into 4",)
    assert (first + holes[1]).missing == holes[1].missing

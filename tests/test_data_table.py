"""One table with time stamps: where it is cut, which dt it has, and when it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from koopctl.data.missing import Missing
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, KoopctlError, ShapeError

few = settings(max_examples=60, deadline=None)
DT = 0.01  # [s]


def numbered(rows, nx=1):
    """Return states and inputs in which every number names its row."""
    count = np.arange(float(rows))[:, None]
    return count + 0.1 * np.arange(nx), count + 0.5


def table(t, **options) -> Rollouts:
    """Return the episodes of time stamps `t`, every state and input naming its row."""
    return Rollouts.from_table(t, *numbered(len(t)), **options)


def rows(data):
    """Return the rows kept, one list an episode."""
    return [x[:, 0].tolist() for x in data.X]


@st.composite
def logs(draw):
    """Draw episodes of a steady clock with samples lost and values missing, and the transitions that are whole."""
    ticks, labels, holes_x, holes_u = [], [], [], []
    for label in range(draw(st.integers(1, 3))):
        steps = draw(st.lists(st.sampled_from([1] * 30 + [2, 3, 7]), min_size=12, max_size=40))
        ticks += np.cumsum([draw(st.integers(0, 500)), *steps]).tolist()
        labels += [label] * (len(steps) + 1)
    count = len(ticks)
    holes_x = draw(st.sets(st.integers(0, count - 1), max_size=4))
    holes_u = draw(st.sets(st.integers(0, count - 1), max_size=4))
    whole = [
        k
        for k in range(count - 1)
        if labels[k] == labels[k + 1] and ticks[k + 1] - ticks[k] == 1 and not {k, k + 1} & holes_x and k not in holes_u
    ]
    return np.array(ticks), labels, sorted(holes_x), sorted(holes_u), whole


@few
@given(logs(), st.floats(1e-4, 100.0), st.floats(0.0, 0.01), st.integers(0, 9))
def test_the_transitions_kept_are_those_one_dt_long_that_touch_no_hole(log, dt, jitter, seed):
    """Brute force over the rows, whatever the rate and a little jitter: the same transitions, each once, in order."""
    ticks, labels, holes_x, holes_u, whole = log
    steps = np.diff(ticks)[np.diff(labels) == 0]
    assume(whole and (steps != 1).sum() <= 0.1 * len(steps))
    X, U = numbered(len(ticks), 2)
    X[holes_x, 1], U[holes_u] = np.nan, np.nan
    t = dt * (ticks + jitter * np.random.default_rng(seed).uniform(-1, 1, len(ticks)))
    data = Rollouts.from_table(t, X, U, episode=labels)
    assert [x for episode in data.X for x in episode[:-1, 0]] == whole
    assert [u for episode in data.U for u in episode[:, 0]] == [k + 0.5 for k in whole]
    assert all((np.diff(x[:, 0]) == 1).all() for x in data.X)
    assert data.dt == pytest.approx(dt, rel=0.02)
    assert (data.missing.gaps, data.missing.samples) == ((steps != 1).sum(), (steps[steps > 1] - 1).sum())
    driving = [k for k in range(len(ticks) - 1) if labels[k] == labels[k + 1] and ticks[k + 1] - ticks[k] == 1]
    assert (data.missing.rows_x, data.missing.rows_u) == (len(holes_x), len(set(holes_u) & set(driving)))
    assert data.missing.transitions == ((steps == 1).sum() if data.missing else 0)


def test_a_gap_splits_and_is_counted():
    """No transition spans it; what was lost is said in samples."""
    data = table([0.0, 0.1, 0.2, 0.5, 0.6, 0.7])
    assert rows(data) == [[0, 1, 2], [3, 4, 5]] and data.dt == 0.1
    assert data.missing == Missing(gaps=1, samples=2, transitions=4, split=1, parts=2)
    assert data.notes == ("1 step between time stamps was not dt (2 samples missing): 1 episode was split into 2",)


def test_a_pause_need_not_be_a_whole_number_of_samples():
    """A logger that starts anew keeps no phase; each piece is steady by itself."""
    data = table(np.r_[np.arange(20), 19 + 123.37 + np.arange(20)] * DT)
    assert rows(data) == [list(range(20)), list(range(20, 40))]


def test_a_hiccup_drops_the_transitions_it_touches():
    """One sample comes late and the next on time: neither step lasted dt."""
    t = np.arange(30) * DT
    t[10] += 0.5 * DT
    data = table(t)
    assert rows(data) == [list(range(10)), list(range(11, 30))] and data.missing.gaps == 2


def test_what_is_written_down_as_regular_is_taken_as_it_is():
    """No time stamps: rows are dt apart, a single episode, nothing said."""
    X, U = numbered(5)
    data = Rollouts.from_table(None, X, U, DT, x_names=["pos"], u_names=["force"])
    assert rows(data) == [[0, 1, 2, 3, 4]] and data.U[0][:, 0].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert data.notes == () and data.dt == DT and data.x_names == data.sensors == ("pos",)
    with pytest.raises(DataError, match="neither a time column nor dt"):
        Rollouts.from_table(None, X, U)


@pytest.mark.parametrize("dt", [1e-3, 0.01, 0.0125, 0.05, 0.3, 600.0])
@pytest.mark.parametrize("start", [0.0, 12.5, 1.7e9])
def test_dt_is_the_number_the_logger_was_set_to(dt, start):
    """Rounding of doubles does not show, not even with seconds since 1970."""
    found = table(start + dt * np.arange(2000))
    assert found.dt == dt if start < 100 else found.dt == pytest.approx(dt, rel=1e-6)
    assert len(found) == 1


def test_rounded_time_stamps_give_the_mean_rate():
    """30 Hz in milliseconds: steps of 33 and 34, none of them dt; the median would be 1 % off."""
    data = table(np.round(np.arange(300) / 30, 3))
    assert data.dt == pytest.approx(1 / 30, rel=1e-4) and len(data) == 1
    assert any("by up to 0.02 dt" in note for note in data.notes)


def test_jitter_is_said_and_bounded():
    """Within the tolerance it is a note, beyond it an error, and the tolerance is the user's."""
    rng = np.random.default_rng(0)
    t = (np.arange(200) + 0.1 * rng.uniform(-1, 1, 200)) * DT
    with pytest.raises(DataError, match=r"keep no one dt: \d+ of 199 steps .* within 5 %, the first from row \d+ to"):
        table(t)
    data = table(t, dt=DT, jitter=0.25)
    assert len(data) == 1
    assert data.notes[0].startswith("the steps between time stamps differ from dt = 0.01 s by up to 0.")
    assert table(np.arange(200) * DT).notes == ()
    for wrong in (0.5, -0.1, np.nan, "no"):
        with pytest.raises(DataError, match="^jitter is"):
            table(t, jitter=wrong)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (501, 499, "between row 500 (t = 5 s) and row 999 (t = 14.98 s) the steps are 0.02 s, elsewhere 0.01 s"),
        (700, 300, "between row 699 (t = 6.99 s) and row 999 (t = 12.99 s) the steps are 0.02 s, elsewhere 0.01 s"),
        (300, 700, "between row 0 (t = 0 s) and row 299 (t = 2.99 s) the steps are 0.01 s, elsewhere 0.02 s"),
        (985, 15, "between row 984 (t = 9.84 s) and row 999 (t = 10.14 s) the steps are 0.02 s, elsewhere 0.01 s"),
    ],
)
def test_a_dt_that_changes_is_refused_though_every_step_is_a_multiple(first, second, says):
    """Half at 0.01 s, half at 0.02 s is no row of gaps: the text says where it changes and what to do."""
    steps = np.r_[np.full(first - 1, 0.01), np.full(second, 0.02)]
    with pytest.raises(DataError) as caught:
        table(np.round(np.r_[0.0, np.cumsum(steps)], 9))
    assert says in str(caught.value) and "resample to one rate, or split the file" in str(caught.value)


def test_time_stamps_that_keep_no_rate_are_refused():
    """Every third sample lost, evenly: no run of another dt, but no steady recording either."""
    with pytest.raises(DataError, match=r"keep no one dt: 33 of 66 steps .* from row 1 to row 2 \(0.02 s\); resample"):
        table(DT * np.delete(np.arange(100), np.arange(2, 100, 3)))


@pytest.mark.parametrize("other", [0.013, 0.0085, 0.025])
def test_a_dt_that_changes_to_no_multiple_is_refused(other):
    """Faster, slower, by little or by much."""
    steps = np.r_[np.full(60, 0.01), np.full(30, other), np.full(60, 0.01)]
    with pytest.raises(DataError, match=rf"between row 60 .* and row 90 .* the steps are {other} s, elsewhere 0.01 s"):
        table(np.r_[0.0, np.cumsum(steps)])


@pytest.mark.parametrize(
    ("t", "says"),
    [
        ([0, 1, 2, 2, 3], "2 s of row 3 repeats the one before"),
        ([0, 1, 2, 1.5, 3], "1.5 s of row 3 lies before the one before it, 2 s"),
        ([0, 1, np.nan, 3], "row 2 has the time stamp nan"),
        ([0, 1, np.inf, 3], "row 2 has the time stamp inf"),
        ([0, 10, 20, 30], r"step by 10 s \(median\) but dt is 0.01 s"),
        ([0, 0.005, 0.01], r"step by 0.005 s \(median\) but dt is 0.01 s"),
        ([0], "has two of them"),
        ([], "has two of them"),
    ],
)
def test_time_that_does_not_run_is_refused(t, says):
    """Repeated, backwards, absent, in another unit: the row stands in the text."""
    with pytest.raises(DataError, match=says):
        table(t, dt=0.01 if "but dt" in says else None)


@pytest.mark.parametrize("dt", [0, -1.0, np.nan, "fast"])
def test_dt_must_be_a_time(dt):
    """As everywhere."""
    with pytest.raises(DataError, match="^dt is"):
        table([0.0, 1.0], dt=dt)


def test_datetimes_are_seconds_whatever_they_count():
    """The unit numpy keeps them in, and the zone they begin in, do not matter."""
    first = np.datetime64("2024-06-09T11:40:00")
    for unit in ("s", "ms", "ns"):
        t = first + (600 * np.arange(20)).astype("m8[s]").astype(f"m8[{unit}]")
        assert table(t).dt == table(t - t[0]).dt == 600.0
    t[7] = np.datetime64("NaT")
    with pytest.raises(DataError, match="row 7 has the time stamp nan"):
        table(t)


def test_episodes_are_the_runs_of_one_label():
    """Time may begin anew in each; a lone row goes, and is counted."""
    data = table([0, 1, 5, 6, 7, 0], episode=["b", "b", "a", "a", "a", "c"])
    assert rows(data) == [[0, 1], [2, 3, 4]]
    assert data.notes == ("1 episode without a transition left vanished",)


@pytest.mark.parametrize(
    ("episode", "says"),
    [
        ([1, 1, 2, 2, 1], "episode 1 comes back in row 4"),
        ([1, 1, np.nan, 2, 2], "row 2 has no episode label"),
        (["a", "a", "a", "", "b"], "row 3 has no episode label"),
        ([1, None, 1, 1, 1], "row 1 has no episode label"),
        ([1, 2, 3, 4, 5], "no episode of the 5 rows has two"),
        ([1, 1], r"episode has shape \(2,\), expected \(5,\)"),
    ],
)
def test_labels_that_name_no_runs_are_refused(episode, says):
    """Each recording has its own, every row one."""
    with pytest.raises(KoopctlError, match=says):
        table(np.arange(5.0), episode=episode)


def test_arrays_that_do_not_belong_together_are_refused():
    """Lengths, widths, infinite values: the text names which."""
    X, U = numbered(4)
    with pytest.raises(ShapeError, match=r"U has shape \(3, 1\), expected \(4, nu\)"):
        Rollouts.from_table(None, X, U[:3], DT)
    with pytest.raises(ShapeError, match=r"X has shape \(4,\)"):
        Rollouts.from_table(None, X[:, 0], U, DT)
    with pytest.raises(ShapeError, match=r"t has shape \(3,\), expected \(4,\)"):
        Rollouts.from_table([0, 1, 2], X, U)
    X[2] = -np.inf
    with pytest.raises(DataError, match=r"row 2, column 0 \('pos'\) holds -inf"):
        Rollouts.from_table(None, X, U, DT, x_names=["pos"])


def test_the_arrays_of_the_table_are_not_the_datas():
    """Changing the source changes nothing."""
    X, U = numbered(4)
    data = Rollouts.from_table(None, X, U, DT)
    X[:], U[:] = -1.0, -1.0
    assert rows(data) == [[0, 1, 2, 3]] and not data.X[0].flags.writeable


def test_counts_and_rate_survive_a_file(tmp_path):
    """A table with gaps saved as rollouts tells the same."""
    data = table([0.0, 0.1, 0.2, 0.5, 0.6, 0.7])
    again = Rollouts.load(data.save(tmp_path / "t.npz"))
    assert again.missing == data.missing and again.notes == data.notes and again.dt == data.dt

"""What data cannot teach is said before anything is learnt from it; sound data is left in peace."""

from __future__ import annotations

import time

import numpy as np
import pytest
from recorded import linear, oscillator, pendulum, without_inputs

from koopctl.data.columns import Columns
from koopctl.data.rollouts import Rollouts
from koopctl.data.weaknesses import weaknesses

N = 400


def signals(count, seed=0, rows=N):
    """Return independent random columns."""
    return np.random.default_rng(seed).uniform(-1, 1, (rows, count))


def told(U=None, X=None, names=None):
    """Return what is said of one episode with these inputs and states."""
    U = signals(2, 1) if U is None else U
    X = signals(2, 2, len(U) + 1) if X is None else X
    return weaknesses(Rollouts([X], [U], 0.1, u_names=names))


@pytest.mark.parametrize("data", [pendulum(), oscillator(), linear(), without_inputs(linear())])
def test_sound_recordings_are_left_in_peace(data):
    """Angles, offsets, two inputs or none: nothing to say."""
    assert weaknesses(data) == ()


def test_an_input_that_never_moves_is_told():
    """Also where rounding makes it tremble; one that moved once did move."""
    U = signals(4)
    U[:, 1], U[:, 2] = 3.0, 0.1 + np.spacing(0.1) * (np.arange(N) % 2)
    U[:, 3], U[N // 2, 3] = 0.0, 1e-6
    found = [text for text in told(U) if "never moves" in text]
    assert found == [
        "input u1 never moves (it stays at 3): its effect cannot be learnt; excite it.",
        "input u2 never moves (it stays at 0.1): its effect cannot be learnt; excite it.",
    ]


def test_inputs_that_follow_from_others_are_told():
    """Equal, scaled and shifted, summed: each with the inputs it follows from, and no other."""
    a, b, c = signals(3).T
    U = np.column_stack([a, b, c, a, -2.0 * b + 7.0, 0.5 * a - 3.0 * c + 1.0])
    why = ": their effects cannot be told apart; move them independently, or record fewer."
    assert told(U, names=list("abcdef")) == (
        f"input d equals a{why}",
        f"input e follows from b{why}",
        f"input f is a sum of a, c{why}",
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_dependence_is_seen_through_the_rounding_of_a_file(kind):
    """float32 rounds the copy by itself; scales and offsets do not hide it."""
    a, b = signals(2).T
    U = np.column_stack([1e6 * a, 1e-3 * b, 0.3 * a + 0.7 * b]).astype(kind)
    assert any("input u2 is a sum of u0, u1" in text for text in told(U))


def test_inputs_that_are_nearly_alike_can_be_told_apart():
    """A part in a thousand of their own, in all rows or in a few, is enough."""
    a, b = signals(2).T
    assert told(np.column_stack([a, a + 1e-3 * b])) == ()
    rare = a.copy()
    rare[200:204] += 0.1
    assert told(np.column_stack([a, rare])) == ()


def test_a_difference_outside_the_rows_looked_at_counts():
    """Of many rows a part is looked at first; what is told holds for all."""
    rows = 200_000
    a = signals(1, rows=rows)[:, 0]
    other = a.copy()
    other[137] += 5.0
    pulse, level = np.zeros(rows), np.where(a > 0, 1.0, -1.0)
    pulse[137], level[137] = 1.0, 0.5
    X = signals(2, 3, rows + 1)
    X[:, 1] = X[:, 0]
    X[137, 1] += 0.25
    data = Rollouts([X], [np.column_stack([a, other, pulse, level])], 0.1)
    assert weaknesses(data) == (
        "input u2 takes two levels only, 0 and 1: enough for a model that is linear in it; one that is curved in it, "
        "as SampledRNN is, has nothing to go by between them.",
    )


def test_the_rows_looked_at_come_from_the_whole_data():
    """Mean and spread of a long drift, over many episodes, are those of all rows."""
    drift = np.linspace(1.0, 5.0, 300_000)[:, None]
    columns = Columns.of(np.split(drift, 1000), ("drift",))
    assert columns.count == 300_000 and len(columns.rows) < 30_000
    assert columns.mean == pytest.approx(3.0, rel=0.01) and columns.spread == pytest.approx(drift.std(), rel=0.01)
    assert np.isin(columns.rows, drift).all() and len(np.unique(columns.rows)) == len(columns.rows)
    assert (columns.low, columns.high) == (1.0, 5.0)


def test_two_levels_are_told_and_three_are_not():
    """Whatever the levels; an input that is too short to have more is not accused."""
    level = signals(2)
    level[:, 0] = np.where(level[:, 0] > 0, 5.0, -1.0)
    assert told(level) == (
        "input u0 takes two levels only, -1 and 5: enough for a model that is linear in it; one that is curved in it, "
        "as SampledRNN is, has nothing to go by between them.",
    )
    level[0, 0] = 0.0
    assert told(level) == ()


def test_equal_measured_columns_are_told_once():
    """Three alike are two too many; scaled copies are the chart's business."""
    x = signals(2, rows=N + 1)
    X = np.column_stack([x[:, 0], x[:, 1], x[:, 0], x[:, 0], 2 * x[:, 1]])
    assert told(X=X) == (
        "measured x2 equals x0 in every row; one of them is enough.",
        "measured x3 equals x0 in every row; one of them is enough.",
    )


def test_motion_lost_in_an_offset_is_told():
    """Nine digits of offset leave seven of motion; six are fine."""
    x = signals(2, rows=N + 1)
    assert told(X=x * [1.0, 1.0] + [1e7, 0.0]) == ()
    (text,) = told(X=x * [1e-3, 1.0] + [1e6, 0.0])
    assert text.startswith("measured x0 moves by 0.0005") and "about 1e+06" in text and "without the offset" in text
    (text,) = told(U=signals(2) + [0.0, 3e8])
    assert text.startswith("input u1 moves by")


def test_scales_too_far_apart_are_told():
    """Millions and micros together are fine, thirteen decades are not."""
    assert told(U=1e-6 * signals(1), X=1e5 * signals(2, 4, N + 1)) == ()
    (text,) = told(U=1e-7 * signals(1), X=[1.0, 1e6] * signals(2, 4, N + 1))
    assert "x1 moves by 5" in text and "u0 by 5" in text and "other units" in text


@pytest.mark.parametrize("step", [0.1, 1e-3])
def test_the_resolution_of_a_sensor_is_no_weakness(step):
    """Counts of an encoder, values of a single-precision logger, far from zero too."""
    X, U = signals(3, rows=N + 1), signals(2)
    assert told(np.round(U / step) * step, np.round((X + 20.0) / step) * step) == ()
    assert told(U.astype(np.float32), (X * [1.0, 1e-4, 1e4] + [1e3, 1.0, 0.0]).astype(np.float32)) == ()


@pytest.mark.parametrize("count", [1, 2, 9, 10])
def test_a_handful_of_transitions_is_told(count):
    """A few samples are data, and say nothing; then the levels of an input and its likeness to others mean nothing."""
    found = told(signals(2, rows=count))
    few = f"the data holds {count} of the 10 transitions any model needs; record more motion."
    assert found[:1] == ((few,) if count < 10 else ())
    assert not any("levels" in text or "told apart" in text for text in found)


def test_episodes_are_looked_at_together():
    """An input that rests in every episode but differs between them moves."""
    X, U = [signals(1, i, 8) for i in range(6)], [np.full((7, 1), float(i)) for i in range(6)]
    assert weaknesses(Rollouts(X, U, 0.1)) == ()


@pytest.mark.parametrize("length", [1_000_000, 100])
def test_a_million_rows_take_a_fraction_of_a_second(length):
    """Long episodes or many: 0.3 s, or on a busy machine a few times what reading the numbers takes (best of three)."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(length + 1, 4)) for _ in range(1_000_000 // length)]
    U = [rng.normal(size=(length, 2)) for _ in range(1_000_000 // length)]
    data = Rollouts(X, U, 0.1)
    seconds, reading = [], []
    for _ in range(3):
        start = time.perf_counter()
        assert weaknesses(data) == ()
        seconds.append(time.perf_counter() - start)
        np.concatenate(data.X).max(axis=0)
        reading.append(time.perf_counter() - start - seconds[-1])
    assert min(seconds) < max(0.3, 8 * min(reading))

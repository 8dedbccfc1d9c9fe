"""The state of a model with delays: the same from a window, from an episode and by advancing it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import central_differences, pendulum, without_inputs

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, ShapeError
from koopctl.models.chart import Chart
from koopctl.models.window import Window

few = settings(max_examples=25, deadline=None)
DATA = pendulum(3, 20)
CHART = Chart.detect(np.concatenate(DATA.X), DATA.x_names)


def window(delays: int, nu: int = 1, manifold: bool = True) -> Window:
    """Return a window on the pendulum's coordinates or on its plain observation."""
    return Window(CHART if manifold else Chart.plain(DATA.x_names), delays, nu)


@few
@given(st.integers(0, 4), st.booleans(), st.booleans())
def test_encode_states_and_advance_agree(delays, manifold, driven):
    """Three ways to the same state, angles, delays and missing inputs included."""
    data = DATA if driven else without_inputs(DATA)
    w = window(delays, data.nu, manifold)
    Y, U = data.X[1], data.U[1]
    X = w.states(Y, U)
    assert X.shape == (len(Y) - delays, w.nx) and len(w.names) == w.nx
    for k in (delays, delays + 3, len(U)):
        assert np.array_equal(w.encode(Y[k - delays : k + 1], U[k - delays : k]), X[k - delays])
    Q = w.chart.to_coordinates(Y)
    assert np.array_equal(w.advance(X[:-1], Q[delays + 1 :], U[delays:]), X[1:])
    shift_x, shift_u = w.shift
    assert np.array_equal(X[:-1] @ shift_x.T + U[delays:] @ shift_u.T, X[1:, w.nq :])


@pytest.mark.parametrize(("delays", "newest", "previous"), [(1, [3, 4], [1, 2]), (2, [5, 6], [3, 4])])
def test_the_layout_is_newest_first(delays, newest, previous):
    """By hand: two observations wide, one input; states in front, inputs behind, each newest first."""
    w = Window(Chart.plain(("a", "b")), delays, 1)
    Y = np.arange(1.0, 2 * (delays + 1) + 1).reshape(-1, 2)
    U = 10.0 * np.arange(1, delays + 1)[:, None]
    x = w.encode(Y, U)
    assert list(x[:4]) == [*newest, *previous]
    assert list(x[2 * (delays + 1) :]) == list(U[::-1, 0])
    assert w.names[:3] == ("a", "b", "a[-1]")


@few
@given(st.integers(0, 3), st.integers(0, 1000))
def test_the_chain_rule_is_the_derivative_of_the_embedding(delays, seed):
    """The derivative d w / d x by `chain` against central differences."""
    w = window(delays)
    x = np.random.default_rng(seed).normal(size=w.nx) * 2
    W = w.embed(x[None])
    numeric = central_differences(lambda v: w.embed(v[None])[0], x)
    assert w.chain(np.eye(w.nw)[None], W)[0] == pytest.approx(numeric, abs=1e-8)


@few
@given(st.integers(0, 3), st.integers(-3, 3), st.integers(0, 1000))
def test_full_turns_make_no_difference(delays, turns, seed):
    """Neither in the regressors nor in the difference of two states."""
    w = window(delays)
    x, other = np.random.default_rng(seed).normal(size=(2, w.nx))
    turned = x.copy()
    turned[w.circle[0]] += 2 * np.pi * turns
    assert w.embed(turned[None]) == pytest.approx(w.embed(x[None]), abs=1e-13)
    assert w.difference(turned, x) == pytest.approx(0, abs=1e-13)
    delta = w.difference(turned, other)
    assert (np.abs(delta[w.circle[0]]) <= np.pi).all()
    assert w.embed((other + delta)[None]) == pytest.approx(w.embed(x[None]), abs=1e-12)


def test_angles_wrap_the_short_way():
    """From -179 to 179 degrees it is two degrees back, and the arguments stay as they were."""
    w = window(0)
    a, b = np.deg2rad([[179.0, 0.0], [-179.0, 0.0]])
    kept = a.copy()
    assert np.rad2deg(w.difference(a, b)) == pytest.approx([-2.0, 0.0])
    assert np.array_equal(a, kept)


@pytest.mark.parametrize("delays", [0, 1, 3])
def test_no_pair_spans_two_episodes(delays):
    """All transitions of a set are exactly those of each episode alone."""
    w = window(delays)
    together = w.transitions(DATA)
    alone = [w.transitions(DATA[i]) for i in range(len(DATA))]
    for i, whole in enumerate(together):
        assert np.array_equal(whole, np.concatenate([part[i] for part in alone]))
    assert len(together[0]) == DATA.n_samples - delays * len(DATA)
    X, U, dQ = together
    assert np.abs(dQ[:, 0]).max() < 1.0  # the pendulum turns over the top: no increment jumps by a full turn
    first, inputs = w.states(DATA.X[0], DATA.U[0]), DATA.U[0][delays:]
    assert np.array_equal(X[: len(inputs)], first[:-1]) and np.array_equal(U[: len(inputs)], inputs)


def test_short_episodes_are_left_out_with_a_warning():
    """Two transitions do not reach back two delays and forward one step."""
    data = Rollouts([DATA.X[0], DATA.X[1][:3]], [DATA.U[0], DATA.U[1][:2]], DATA.dt, DATA.x_names)
    w = window(2)
    with pytest.warns(UserWarning, match="1 of 2 episodes are shorter than 3"):
        X, _, _ = w.transitions(data)
    assert np.array_equal(X, w.transitions(DATA[0])[0])
    with pytest.raises(DataError, match=r"delays=2 needs at least 3 transitions an episode, the longest has 2"):
        w.transitions(data[1])


def test_a_window_of_another_size_is_refused():
    """One observation too few, an input too many, columns missing, NaN."""
    w = window(2)
    Y, U = DATA.X[0][:3], DATA.U[0][:2]
    for bad_y, bad_u in ((Y[:2], U), (Y, U[:1]), (Y[:, :2], U), (Y, U[:, 0]), (Y, ())):
        with pytest.raises(ShapeError):
            w.encode(bad_y, bad_u)
    with pytest.raises(DataError, match="nan"):
        w.encode(np.full((3, 3), np.nan), U)
    with pytest.raises(ShapeError):
        window(0).encode(Y[:1], U)

"""Redundant coordinates: found where they are, not where they only seem to be, and always put back together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctl.errors import DataError
from koopctl.models.chart import Chart

few = settings(max_examples=25, deadline=None)
N = 300


def signals(seed: int = 0) -> dict[str, np.ndarray]:
    """Return two angles, two rates and a constant, independent of each other."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-3, 3, size=(2, N))
    return {
        "cos(a)": np.cos(a),
        "sin(a)": np.sin(a),
        "cos(b)": np.cos(b),
        "sin(b)": np.sin(b),
        "rate": rng.normal(size=N),
        "pos": 5 + rng.normal(size=N),
        "gravity": np.full(N, 9.81),
        "angle_a": a,
        "angle_b": b,
    }


def stack(values: dict[str, np.ndarray], names) -> np.ndarray:
    """Return the columns by name."""
    return np.stack([values[name] for name in names], axis=1)


@few
@given(st.permutations(["cos(a)", "sin(a)", "cos(b)", "sin(b)", "rate", "pos", "gravity"]), st.integers(0, 50))
def test_pairs_are_found_in_any_order_and_angles_are_the_true_ones(names, seed):
    """Whatever stands where, each angle is the one whose cos and sin were recorded, and y comes back."""
    values = signals(seed)
    Y = stack(values, names)
    chart = Chart.detect(Y, names)
    assert set(chart.names) == {"a", "b", "rate", "pos"} and chart.y_names == tuple(names)
    q = chart.to_coordinates(Y)
    for coordinate, truth in (("a", "angle_a"), ("b", "angle_b"), ("rate", "rate"), ("pos", "pos")):
        assert q[:, chart.names.index(coordinate)] == pytest.approx(values[truth], abs=1e-12)
    assert chart.to_observations(q) == pytest.approx(Y, abs=1e-12)
    assert {chart.names[i] for i in chart.angles} == {"a", "b"}
    assert len(chart.describe()) == 3 and any("gravity is constant" in line for line in chart.describe())


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("cos(theta)", "sin(theta)", "w"), ("theta", "w")),
        (("sin(theta)", "cos(theta)", "w"), ("theta", "w")),
        (("theta_cos", "theta_sin", "w"), ("theta", "w")),
        (("cos theta", "sin theta", "w"), ("theta", "w")),
        (("Cosine(theta)", "Sine(theta)", "w"), ("theta", "w")),
        (("sine", "cosine", "w"), ("angle(cosine,sine)", "w")),
        (("c1", "s1", "w"), ("angle(c1,s1)", "w")),
        (("x0", "x1", "x2"), ("angle(x0,x1)", "x2")),
        (("cos(theta)", "sin(theta)", "theta"), ("angle(cos(theta),sin(theta))", "theta")),
    ],
)
def test_the_angle_is_named_after_its_pair(names, found):
    """The names say which is cos; where they are silent the first is; no name is given twice."""
    values = signals()
    a, w = values["angle_a"], values["rate"]
    sine_first = names[0].lower().startswith("sin")
    first, second = (np.sin(a), np.cos(a)) if sine_first else (np.cos(a), np.sin(a))
    Y = np.stack([first, second, w], axis=1)
    chart = Chart.detect(Y, names)
    assert chart.names == found
    assert chart.to_coordinates(Y)[:, 0] == pytest.approx(a)


def test_the_double_pendulums_order_is_sorted_out():
    """In the order sin sin cos cos, as MuJoCo's inverted double pendulum reports them, near upright and in float32."""
    rng = np.random.default_rng(2)
    a, b = rng.uniform(-0.3, 0.3, size=(2, N))
    names = ("pos", "sin(theta1)", "sin(theta2)", "cos(theta1)", "cos(theta2)", "vel")
    columns = [rng.normal(size=N), np.sin(a), np.sin(b), np.cos(a), np.cos(b), rng.normal(size=N)]
    Y = np.stack(columns, axis=1).astype(np.float32).astype(float)
    chart = Chart.detect(Y, names)
    assert chart.names == ("pos", "theta1", "theta2", "vel")
    assert chart.to_coordinates(Y)[:, 1:3] == pytest.approx(np.stack([a, b], axis=1), abs=1e-6)


@few
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_independent_columns_stay_as_they_are(seed, width):
    """Noise of any size and offset makes no angle and no dependency."""
    rng = np.random.default_rng(seed)
    Y = rng.normal(size=(60, width)) * 10.0 ** rng.uniform(-4, 4, size=width) + rng.normal(size=width) * 10
    chart = Chart.detect(Y, [f"x{i}" for i in range(width)])
    assert chart.names == chart.y_names and chart.describe() == []
    assert np.array_equal(chart.to_coordinates(Y), Y)


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6])
def test_two_columns_near_one_and_zero_are_no_angle(noise):
    """c^2 + s^2 is nearly 1 there too, but neither gains what the other loses."""
    rng = np.random.default_rng(3)
    Y = np.stack([1 + noise * rng.normal(size=N), noise * rng.normal(size=N), rng.normal(size=N)], axis=1)
    assert len(Chart.detect(Y, ("a", "b", "c")).angles) == 0


def test_two_switches_of_which_one_is_on_are_no_angle():
    """Left or right foot on the ground: one follows from the other, nothing turns."""
    left = np.random.default_rng(4).integers(2, size=N).astype(float)
    Y = np.stack([left, 1 - left, np.random.default_rng(5).normal(size=N)], axis=1)
    chart = Chart.detect(Y, ("left", "right", "speed"))
    assert chart.names == ("left", "speed")
    assert chart.to_observations(chart.to_coordinates(Y)) == pytest.approx(Y, abs=1e-12)


@few
@given(st.integers(0, 1000), st.floats(-8, 8), st.booleans())
def test_dependent_columns_are_reconstructed_in_any_unit(seed, decades, single):
    """A sum of two others, scaled to any unit and perhaps rounded to float32, is left out and put back."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, N)) + 3
    scale = 10.0**decades
    Y = np.stack([a * scale, b, (2 * a - b + 4) / scale if abs(decades) < 4 else a], axis=1)
    if single:
        Y = Y.astype(np.float32).astype(float)
    chart = Chart.detect(Y, ("a", "b", "c"))
    assert chart.names == ("a", "b")
    back = chart.to_observations(chart.to_coordinates(Y))
    assert np.abs(back - Y).max(axis=0) / np.abs(Y).max(axis=0) == pytest.approx(0, abs=1e-5)
    assert "c is a linear combination of a" in chart.describe()[0]


def test_a_cosine_that_also_shows_elsewhere_is_dropped_there():
    """A height that follows from the angle is linear in its cos; the circle itself is never given up."""
    values = signals()
    Y = np.stack([0.5 + 2 * values["cos(a)"], values["sin(a)"], values["cos(a)"]], axis=1)
    chart = Chart.detect(Y, ("height", "sin(a)", "cos(a)"))
    assert chart.names == ("a",) and list(chart.dropped) == [0]
    assert chart.to_observations(chart.to_coordinates(Y)) == pytest.approx(Y, abs=1e-12)


def test_few_samples_prove_no_dependency():
    """With fewer samples than twice the columns anything is a combination of anything."""
    Y = np.random.default_rng(6).normal(size=(4, 6))
    assert Chart.detect(Y, tuple("abcdef")).names == tuple("abcdef")


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_motion_is_needed(value):
    """All constant, the mean's rounding included."""
    with pytest.raises(DataError, match="no measured state ever changes"):
        Chart.detect(np.full((101, 2), value), ("a", "b"))


@pytest.mark.parametrize("plain", [True, False])
def test_a_chart_survives_json_and_a_single_row(plain):
    """Header of a file; also where there are no angles and nothing dropped."""
    names = ("sin(a)", "gravity", "pos", "cos(a)")
    Y = stack(signals(), names)
    chart = Chart.plain(names) if plain else Chart.detect(Y, names)
    back = Chart.from_dict(json.loads(json.dumps(chart.to_dict())))
    assert back.names == chart.names and back.y_names == chart.y_names
    q = chart.to_coordinates(Y)
    assert back.to_coordinates(Y).tobytes() == q.tobytes()
    assert back.to_observations(q).tobytes() == chart.to_observations(q).tobytes()
    assert np.array_equal(chart.to_coordinates(Y[5]), q[5])
    assert chart.to_observations(q[5]) == pytest.approx(Y[5], abs=1e-12)
    assert chart.to_observations(q.reshape(3, 100, -1)) == pytest.approx(Y.reshape(3, 100, -1), abs=1e-12)


def test_a_full_turn_is_the_same_observation():
    """The angle is a number, what is observed a direction."""
    names = ("cos(a)", "sin(a)", "pos")
    chart = Chart.detect(stack(signals(), names), names)
    q = np.array([2.0, 1.0])
    assert chart.to_observations(q + [2 * np.pi, 0]) == pytest.approx(chart.to_observations(q), abs=1e-14)

"""Figures hold what they claim to show: the lines' numbers are those of the runs, models and errors."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import koopctl as kc
from koopctl import plots
from koopctl.comparison import compare
from koopctl.controllers.lqr import LQR
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.envs import task as usual_task
from koopctl.errors import DataError, UnknownNameError
from koopctl.features.identity import Identity
from koopctl.metrics import Yardstick
from koopctl.models.chart import Chart
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.models.scores import PredictionErrors
from koopctl.panels import COLOURS, cut
from koopctl.task import Task
from koopctl.trajectory import Trajectory


@pytest.fixture(scope="module")
def table():
    """Return the recipe's two laws compared."""
    data = kc.collect("Pendulum-v1", episodes=100, steps=60, excitation="piecewise", seed=0)
    model = SampledRNN(150).fit(data)
    task = usual_task("Pendulum-v1")
    laws = {"mpc": RelinearizedMPC(model, task), "_lqr $K$": LQR(model, task)}
    return compare("Pendulum-v1", laws, [100, 101], steps=40)


def svg(figure) -> str:
    """Return the figure as SVG text, which draws everything."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()


def of_colour(ax, colour: str) -> list:
    """Return the lines of one colour."""
    return [line for line in ax.lines if line.get_color() == colour]


def test_response_shows_every_run_with_its_bounds(table):
    """One panel a coordinate and input, one line a run, target and bounds where they are."""
    figure = plots.plot_response(table.runs, table.yardstick, which=1)
    theta, rate, torque = figure.axes
    assert [ax.get_ylabel() for ax in figure.axes] == ["theta [rad]", "thetadot [rad/s]", "torque"]
    assert torque.get_xlabel() == "time [s]"
    for name, colour in zip(table.runs, COLOURS, strict=False):
        assert len(of_colour(theta, colour)) == 2
        for run, line in zip(table.runs[name], of_colour(rate, colour), strict=True):
            assert line.get_xdata() == pytest.approx(run.time)
            assert line.get_ydata() == pytest.approx(run.X[:, 2])
        held = of_colour(torque, colour)[0].get_ydata()
        assert held[:-1] == pytest.approx(table.runs[name][0].U[:, 0]) and held[-1] == held[-2]
        assert [line.get_alpha() for line in of_colour(rate, colour)] == [0.22, 1.0]
    levels = {float(line.get_ydata()[0]) for line in torque.lines if line.get_linestyle() == "--"}
    assert levels == {-2.0, 2.0}
    assert svg(figure).startswith("<?xml")


def test_names_are_shown_as_they_are_written(table):
    """A name with a leading underscore stays in the legend, and dollars are no mathematics."""
    figure = plots.plot_latency(table.runs)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.strip("\u200b").replace("\\$", "$") for text in texts][:2] == ["mpc", "_lqr $K$"]
    assert svg(figure)


def test_phase_starts_and_ends_where_the_runs_do(table):
    """Paths in the plane of two coordinates, whichever are asked for."""
    (ax,) = plots.plot_phase(table.runs, table.yardstick).axes
    path = of_colour(ax, COLOURS[0])[0]
    Q = table.yardstick.coordinates(table.runs["mpc"][0])
    assert (path.get_xdata()[0], path.get_ydata()[0]) == pytest.approx(tuple(Q[0]))
    assert (path.get_xdata()[-1], path.get_ydata()[-1]) == pytest.approx(tuple(Q[-1]))
    (swapped,) = plots.plot_phase(table.runs, table.yardstick, x="thetadot", y="theta").axes
    assert (swapped.get_xlabel(), swapped.get_ylabel()) == ("thetadot [rad/s]", "theta [rad]")
    with pytest.raises(UnknownNameError, match="'thetadott'; did you mean 'thetadot'"):
        plots.plot_phase(table.runs, table.yardstick, x="thetadott")


def test_phase_needs_two_coordinates():
    """One coordinate has no plane."""
    run = Trajectory(np.zeros((3, 1)), np.zeros((2, 1)), np.zeros(2), ({}, {}), 0.1, ("a",), ("u",))
    yardstick = Yardstick.choose(Task(target=0.0, Q=1.0, R=1.0), [run], [Chart.plain(("a",))])
    with pytest.raises(DataError, match="one coordinate, a"):
        plots.plot_phase({"x": [run]}, yardstick)


def test_plans_are_drawn_from_the_time_they_were_made(table):
    """The plan of step k starts at k dt at the state that was measured there."""
    run = table.runs["mpc"][0]
    figure = plots.plot_plan(run, table.yardstick, times=[0.5, 1.0])
    rate, torque = figure.axes[1], figure.axes[2]
    for k, colour in ((10, COLOURS[0]), (20, COLOURS[1])):
        line = of_colour(rate, colour)[0]
        assert line.get_xdata()[0] == pytest.approx(k * run.dt)
        assert line.get_ydata() == pytest.approx(run.infos[k]["plan"][:, 1])
        assert line.get_ydata()[0] == pytest.approx(run.X[k, 2], abs=1e-6)
        assert of_colour(torque, colour)[0].get_ydata()[:-1] == pytest.approx(run.infos[k]["plan_u"][:, 0])
    assert svg(plots.plot_plan(run, table.yardstick))
    with pytest.raises(DataError, match="holds no plan"):
        plots.plot_plan(table.runs["_lqr $K$"][0], table.yardstick)


def test_errors_show_both_roll_outs():
    """Solid and dashed of one colour; infinite errors leave a gap instead of a broken axis."""
    errors = PredictionErrors(np.array([0.01, 0.02]), np.array([0.1, np.inf]), np.ones((2, 1)), 0.5, 7)
    (ax,) = plots.plot_errors({"model": errors}).axes
    solid, dashed = of_colour(ax, COLOURS[0])
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert solid.get_xdata().tolist() == [0.5, 1.0] and solid.get_ydata().tolist() == [0.01, 0.02]
    assert dashed.get_ydata()[0] == 0.1 and np.isnan(dashed.get_ydata()[1])
    assert ax.get_yscale() == "log" and np.isfinite(ax.get_ylim()).all()


def test_eigenvalues_of_a_known_plant():
    """A rotation by 0.3 that shrinks by 0.9 and a mode that grows by 1.1, from data, appear where they belong."""
    turn = 0.9 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    A = np.zeros((3, 3))
    A[:2, :2], A[2, 2] = turn, 1.1
    rng = np.random.default_rng(0)
    X, U = [rng.normal(size=3)], rng.normal(size=(40, 1))
    for u in U:
        X.append(A @ X[-1] + np.array([1.0, 0.0, 0.5]) * u)
    model = EDMDc(Identity(), ridge=1e-14).fit(kc.Rollouts([np.array(X)], [U], 0.1))
    for figure in (plots.plot_eigenvalues(model), plots.plot_eigenvalues(model, x=np.ones(3))):
        (ax,) = figure.axes
        inside, outside = (line for line in ax.lines if line.get_marker() == "o")
        assert np.sort(np.abs(inside.get_xdata() + 1j * inside.get_ydata()))[-2:] == pytest.approx([0.9, 0.9], abs=1e-5)
        assert outside.get_xdata() == pytest.approx([1.1], abs=1e-5)
        assert "spectral radius 1.1000" in ax.get_title()


def test_latency_curve_is_the_share_that_took_longer():
    """Of the times 1, 2, 3, 4 ms half are longer than 2 ms."""
    infos = tuple({"solve_time": t * 1e-3} for t in (3, 1, 4, 2))
    run = Trajectory(np.zeros((5, 1)), np.zeros((4, 1)), np.zeros(4), infos, 0.02, ("a",), ("u",))
    (ax,) = plots.plot_latency({"x": [run]}).axes
    (line,) = of_colour(ax, COLOURS[0])
    assert line.get_xdata() == pytest.approx([1, 2, 3, 4])
    assert line.get_ydata() == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert [limit.get_xdata()[0] for limit in ax.lines if limit.get_linestyle() == "--"] == [20.0]


def test_returns_show_every_run(table):
    """One dot a run, the mean and its interval."""
    (ax,) = plots.plot_returns(table.rows).axes
    dots, bar, mean = of_colour(ax, COLOURS[0])
    assert list(dots.get_xdata()) == [run.rewards.sum() for run in table.runs["mpc"]]
    assert list(mean.get_xdata()) == [table["mpc"].total_reward.mean]
    assert list(bar.get_xdata()) == [table["mpc"].total_reward.low, table["mpc"].total_reward.high]


def test_nothing_to_draw_is_said_in_words():
    """Empty lists are refused."""
    with pytest.raises(DataError, match="no runs to draw"):
        plots.plot_latency({"x": []})


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=20), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_a_cut_path_keeps_its_points_and_never_jumps(moves: list[float], start: float, centre: float):
    """All points of a wrapped angle stay; consecutive ones are less than half a turn apart; cuts lie on the edges."""
    angle = start + np.cumsum([0.0, *moves])
    wrapped = centre + (angle - centre + np.pi) % (2 * np.pi) - np.pi
    path = cut(np.column_stack([np.arange(len(angle)), wrapped]), {1: centre})
    kept = np.isin(path[:, 0], np.arange(len(angle)))
    assert set(zip(range(len(angle)), wrapped, strict=True)) <= set(map(tuple, path[kept].tolist()))
    steps = np.diff(path[:, 1])
    assert (np.abs(steps[np.isfinite(steps)]) <= np.pi + 1e-9).all()
    for gap in np.flatnonzero(np.isnan(path[:, 1])):
        assert np.abs(path[[gap - 1, gap + 1], 1] - centre) == pytest.approx([np.pi, np.pi])
        assert path[gap - 1, 0] == path[gap + 1, 0]


def test_nothing_global_is_touched():
    """Drawing neither imports pyplot nor changes matplotlib's settings."""
    code = """
import sys, numpy as np, matplotlib
before = dict(matplotlib.rcParams)
from koopctl import plots
from koopctl.models.scores import PredictionErrors
errors = PredictionErrors(np.ones(3), np.ones(3), np.ones((3, 1)), 0.1, 1)
plots.plot_errors({"m": errors}).savefig("/dev/null", format="svg")
assert "matplotlib.pyplot" not in sys.modules
assert before == dict(matplotlib.rcParams)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

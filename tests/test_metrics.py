"""Numbers of runs against sums done by hand, the plant's own rewards and made-up trajectories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from koopctl.errors import DataError, ShapeError
from koopctl.loop import simulate
from koopctl.metrics import SETTLED, Interval, Yardstick, bootstrap, latencies, measure, settling_time
from koopctl.models.chart import Chart
from koopctl.task import Task
from koopctl.trajectory import Trajectory


def trajectory(X, U, dt=0.1, x_names=("a", "b"), infos=None) -> Trajectory:
    """Return a made-up run."""
    X, U = np.array(X, dtype=float), np.array(U, dtype=float)
    infos = tuple({} for _ in U) if infos is None else infos
    names = tuple(f"u{i}" for i in range(U.shape[1]))
    return Trajectory(X, U, -np.arange(len(U), dtype=float), infos, dt, x_names, names)


class Wobble:
    """Some smooth input that does not care."""

    dt = 0.05

    def reset(self) -> None:
        self.k = 0

    def __call__(self, y, reference=None):
        self.k += 1
        return np.array([1.9 * np.sin(0.3 * self.k)]), {}


def test_costs_are_the_sums_done_by_hand():
    """Two steps, every term of the cost and every other number worked out on paper."""
    run = trajectory([[1, 2], [3, 0], [9, 9]], [[2], [-1]])
    task = Task(target={"a": 1}, Q={"a": 2, "b": 3}, R=10, dR=100, u_target=1, u_min=-5, u_max=5)
    yardstick = Yardstick.choose(task, [run], [Chart.plain(("a", "b"))])
    first = 2 * 0**2 + 3 * 2**2 + 10 * (2 - 1) ** 2 + 100 * (2 - 0) ** 2
    second = 2 * 2**2 + 3 * 0**2 + 10 * (-1 - 1) ** 2 + 100 * (-1 - 2) ** 2
    assert yardstick.stage_costs(run) == pytest.approx([first, second])
    numbers = measure(run, yardstick)
    assert numbers.cost == pytest.approx((first + second) / 2)
    assert (numbers.total_reward, numbers.steps) == (-1.0, 2)
    assert numbers.effort == pytest.approx((4 + 1) * 0.1)
    assert numbers.variation == pytest.approx(3.0)


def test_full_weights_couple_coordinates():
    """A weight that is a matrix is used as one: (1, -1) costs 1 + 1 - 2 q12."""
    run = trajectory([[1, -1], [0, 0]], [[0]])
    task = Task(target=0.0, Q=[[1.0, 0.9], [0.9, 1.0]], R=1.0)
    yardstick = Yardstick.choose(task, [run], [Chart.plain(("a", "b"))])
    assert yardstick.stage_costs(run) == pytest.approx([0.2])


@pytest.mark.parametrize("env", ["Pendulum-v1", "koopctl.envs:VanDerPol-v0"])
def test_cost_is_what_the_plant_itself_charges(env: str):
    """Both plants pay minus the usual task's cost, angles wrapped, so the return is minus the sum of the costs."""
    from koopctl.envs import task

    run = simulate(env, Wobble(), seed=5, steps=150)
    yardstick = Yardstick.choose(task(env), [run])
    assert -run.rewards == pytest.approx(yardstick.stage_costs(run), rel=1e-4, abs=1e-4)
    assert measure(run, yardstick).cost == pytest.approx(-run.total_reward / 150, rel=1e-5)


def test_an_unstated_input_target_is_zero_for_every_law():
    """The input a law's model finds must not measure the other laws."""
    run = trajectory([[0, 0], [0, 0]], [[3]])
    assert Yardstick.choose(Task(target=0.0, Q=1.0, R=2.0), [run]).stage_costs(run) == pytest.approx([18.0])


def circle_run(angles, dt=0.1) -> Trajectory:
    """Return a run that observes cos and sin of angles."""
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return trajectory(X, np.zeros((len(angles) - 1, 1)), dt, ("cos(t)", "sin(t)"))


def test_without_a_model_the_angle_is_found_in_the_recording():
    """Laws without a model are measured in the coordinates the task speaks of."""
    run = circle_run(np.linspace(3.0, 3.4, 9))
    yardstick = Yardstick.choose(Task(target={"t": np.pi}, Q={"t": 1.0}, R=1.0), [run])
    assert yardstick.chart.names == ("t",)
    assert yardstick.coordinates(run)[:, 0] == pytest.approx(np.linspace(3.0, 3.4, 9))
    assert yardstick.distance(run) == pytest.approx(np.abs(np.linspace(3.0, 3.4, 9) - np.pi))


def test_a_resting_or_very_short_run_keeps_all_coordinates():
    """Where nothing moves and columns depend on each other, names still tell angles, and nothing is dropped."""
    X = [[1, 0, 0.0, 0.0], [1, 0, 0.0, 0.0]]
    run = trajectory(X, [[0]], x_names=("cos(t)", "sin(t)", "tdot", "t2dot"))
    yardstick = Yardstick.choose(Task(target=0.0, Q={"t": 1.0, "t2dot": 1.0}, R=1.0), [run])
    assert yardstick.chart.names == ("t", "tdot", "t2dot")


def test_pairs_without_telling_names_are_found_in_the_recording():
    """Names x0, x1 say nothing; the circle in the data does. A pair named cos, sin off the circle is none."""
    t = np.linspace(0.0, 2.0, 20)
    run = trajectory(np.column_stack([t, np.cos(t), np.sin(t)]), np.zeros((19, 1)), x_names=("x0", "x1", "x2"))
    assert Yardstick.choose(Task(target=0.0, Q=1.0, R=1.0), [run]).chart.names == ("x0", "angle(x1,x2)")
    run = trajectory(np.column_stack([t, 2 * t**2]), np.zeros((19, 1)), x_names=("cos(a)", "sin(a)"))
    assert Yardstick.choose(Task(target=0.0, Q=1.0, R=1.0), [run]).chart.names == ("cos(a)", "sin(a)")


def test_soft_bounds_of_an_angle_hold_across_the_cut():
    """Near pi an angle is read as 3.2, not as -3.08, when the target is pi."""
    run = circle_run(np.array([3.0, 3.1, 3.2, 3.3, 3.4, 3.5]))
    task = Task(target={"t": np.pi}, Q={"t": 1.0}, R=1.0, y_min={"t": 3.05}, y_max={"t": 3.35})
    numbers = measure(run, Yardstick.choose(task, [run]))
    assert numbers.violations == 2  # 3.4 and 3.5; the start at 3.0 is not the law's doing
    assert numbers.worst_violation == pytest.approx(0.15)


def test_columns_a_model_left_out_are_left_out_here():
    """A chart of selected observations finds its columns by name."""
    run = trajectory([[7, 1, 2], [7, 3, 4]], [[0]], x_names=("force", "a", "b"))
    yardstick = Yardstick.choose(Task(target=0.0, Q=1.0, R=1.0), [run], [Chart.plain(("b", "a"))])
    assert yardstick.coordinates(run).tolist() == [[2, 1], [4, 3]]


def test_target_given_as_an_observation():
    """A redundant target (cos, sin) means the angle, as it does for a law."""
    run = circle_run(np.linspace(0.0, 1.0, 5))
    yardstick = Yardstick.choose(Task(target=[np.cos(0.5), np.sin(0.5)], Q=1.0, R=1.0), [run])
    assert yardstick.task.target == pytest.approx([0.5])


def test_input_bounds_are_checked_up_to_float32():
    """What float32 rounds is no violation, a real one is."""
    task = Task(target=0.0, Q=1.0, R=1.0, u_min=-0.1, u_max=0.1)
    for u, broken in ((float(np.float32(0.1)), 0), (0.11, 1), (-0.11, 1), (np.nan, 1)):
        run = trajectory([[0, 0], [0, 0]], [[u]])
        assert measure(run, Yardstick.choose(task, [run])).input_violations == broken


def test_a_run_that_left_the_numbers_is_infinitely_bad():
    """NaN observations give an infinite cost, a violation where there are bounds, and no settling."""
    run = trajectory([[1, 0], [np.nan, 0], [np.nan, 0]], [[0], [0]])
    task = Task(target=0.0, Q=1.0, R=1.0, y_max={"a": 5.0})
    numbers = measure(run, Yardstick.choose(task, [run], [Chart.plain(("a", "b"))]))
    assert numbers.cost == np.inf and numbers.settling == np.inf
    assert numbers.violations == 2 and numbers.worst_violation == np.inf


def test_settling_of_an_exponential_decay():
    """exp(-t / tau) reaches 5 % at t = tau ln 20; the first sample at or below counts."""
    dt, tau = 0.01, 0.7
    decay = np.exp(-np.arange(500) * dt / tau)
    exact = tau * np.log(1 / SETTLED)
    assert exact <= settling_time(decay, SETTLED, dt) < exact + dt


def test_settling_counts_only_what_stays():
    """Passing through the target is not settling; staying from the start is 0; ending outside is never."""
    assert settling_time(np.array([1, 0, 1, 0, 0]), 0.1, 0.5) == 1.5
    assert settling_time(np.array([0.1, 0.0, 0.05]), 0.1, 0.5) == 0.0
    assert settling_time(np.array([1, 0, 0, 0.2]), 0.1, 0.5) == np.inf


@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 10)),
    st.floats(0, 10),
    st.floats(1e-3, 1.0),
)
def test_settling_by_its_definition(distance, band: float, dt: float):
    """From the settling time on everything is inside, and the sample before it is not."""
    time = settling_time(distance, band, dt)
    if np.isinf(time):
        assert distance[-1] > band
        return
    k = round(time / dt)
    assert (distance[k:] <= band).all() and (k == 0 or distance[k - 1] > band)


def test_band_is_a_share_of_the_farthest_start():
    """All runs share one band, so a run that starts near the target is not asked for more than the others."""
    far, near = trajectory([[4, 0], [0, 0]], [[0]]), trajectory([[0.1, 0], [0.1, 0]], [[0]])
    task = Task(target=0.0, Q={"a": 4.0}, R=1.0)
    yardstick = Yardstick.choose(task, [far, near])
    assert yardstick.band == pytest.approx(SETTLED * 8.0)
    assert measure(near, yardstick).settling == 0.0


def test_latencies_are_those_the_laws_report():
    """Steps without a time are left out."""
    infos = ({"solve_time": 0.25}, {}, {"solve_time": 0.5})
    run = trajectory(np.zeros((4, 2)), np.zeros((3, 1)), infos=infos)
    assert latencies([run, run]).tolist() == [0.25, 0.5, 0.25, 0.5]
    assert latencies([]).tolist() == []


def test_bootstrap_agrees_with_scipy():
    """Scipy's percentile bootstrap is another implementation of the same interval."""
    scipy_stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(1).normal(5.0, 2.0, 30)
    mine = bootstrap(values)
    theirs = scipy_stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=2).confidence_interval
    assert mine.mean == pytest.approx(values.mean())
    assert [mine.low, mine.high] == pytest.approx([theirs.low, theirs.high], abs=0.06)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    """Of 300 samples of 40 normal numbers, about 95 % of the intervals hold the true mean."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap(rng.normal(3.0, 1.0, 40), resamples=1000) for _ in range(300)]
    assert 0.90 <= np.mean([i.low <= 3.0 <= i.high for i in intervals]) <= 0.985


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.float64, st.integers(2, 20), elements=st.floats(-1e6, 1e6)))
def test_bootstrap_lies_within_the_data(values):
    """The interval holds no mean the data could not have, and is the same every time."""
    first = bootstrap(values, resamples=200)
    slack = 1e-9 * (1 + np.abs(values).max())
    assert values.min() - slack <= first.low <= first.high <= values.max() + slack
    assert first == bootstrap(values, resamples=200)


def test_bootstrap_without_spread_to_judge():
    """One value has no interval; infinity stays visible in the mean; no value is NaN."""
    assert bootstrap([4.0]).mean == 4.0 and np.isnan(bootstrap([4.0]).low)
    assert bootstrap([1.0, np.inf]).mean == np.inf and np.isnan(bootstrap([1.0, np.inf]).high)
    assert np.isnan(bootstrap([]).mean)
    assert bootstrap([2.0, 2.0]) == Interval(2.0, 2.0, 2.0)
    with pytest.raises(DataError, match="level is 95"):
        bootstrap([1.0, 2.0], level=95)


def test_what_cannot_be_measured_is_refused_in_words():
    """No runs, no steps, a task of another plant, another number of inputs."""
    run = trajectory([[1, 0], [0, 0]], [[0]])
    task = Task(target=0.0, Q=1.0, R=1.0)
    with pytest.raises(DataError, match="no runs"):
        Yardstick.choose(task, [])
    with pytest.raises(DataError, match="unknown name in Q 'theta'"):
        Yardstick.choose(Task(target=0.0, Q={"theta": 1.0}, R=1.0), [run])
    yardstick = Yardstick.choose(task, [run])
    with pytest.raises(DataError, match="no steps"):
        measure(trajectory(np.zeros((1, 2)), np.zeros((0, 1))), yardstick)
    with pytest.raises(ShapeError, match="2 inputs but the task 1"):
        measure(trajectory(np.zeros((2, 2)), np.zeros((1, 2))), yardstick)

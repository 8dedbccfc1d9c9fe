"""compare() on real environments: same seeds, same numbers for any jobs, failures as rows, what each law knew."""

from __future__ import annotations

import json
import threading

import gymnasium
import numpy as np
import pytest

import koopctl as kc
from koopctl.comparison import compare
from koopctl.controllers.lqr import LQR
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.envs import task as usual_task
from koopctl.errors import DataError, EnvironmentUnsupportedError, SamplingTimeError, UnknownNameError
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.task import Task

STEPS = 40
SEEDS = range(100, 103)


class Push:
    """A constant input, from somebody else's library."""

    def __init__(self, u: float = 0.5, dt: float | None = 0.05) -> None:
        self.u, self.dt = u, dt

    def reset(self) -> None:
        pass

    def __call__(self, y, reference=None):
        return np.array([self.u]), {"said": "push"}


class Breaks(Push):
    """Raises at its fifth call, but only where the pendulum starts on the left."""

    def reset(self) -> None:
        self.k, self.left = 0, None

    def __call__(self, y, reference=None):
        self.left = y[1] > 0 if self.left is None else self.left
        self.k += 1
        if self.k == 5 and self.left:
            raise RuntimeError("out of <luck>")
        return super().__call__(y)


class Drifts(Push):
    """Never forgets: without a copy of its own each run would push harder than the last."""

    def __call__(self, y, reference=None):
        self.u += 0.01
        return super().__call__(y)


class Locked(Push):
    """Can be neither copied nor sent to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.fixture(scope="module")
def laws():
    """Return the recipe's two laws."""
    data = kc.collect("Pendulum-v1", episodes=100, steps=60, excitation="piecewise", seed=0)
    model = SampledRNN(150).fit(data)
    task = usual_task("Pendulum-v1")
    return {"mpc": RelinearizedMPC(model, task), "lqr": LQR(model, task)}


@pytest.fixture(scope="module")
def table(laws):
    """Return them compared with a law that knows nothing and one that breaks."""
    return compare("Pendulum-v1", laws | {"push": Push(), "breaks": Breaks()}, SEEDS, steps=STEPS)


def test_every_law_meets_the_same_seeds(table):
    """All runs of one seed start at the same observation, and are what simulate() gives alone."""
    assert table.seeds == (100, 101, 102)
    for name in ("mpc", "lqr", "push"):
        assert [run.seed for run in table.runs[name]] == [100, 101, 102]
        for mine, other in zip(table.runs[name], table.runs["push"], strict=True):
            assert (mine.X[0] == other.X[0]).all()
    alone = kc.simulate("Pendulum-v1", Push(), seed=101, steps=STEPS)
    assert (alone.X == table.runs["push"][1].X).all()
    assert table["push"].total_reward.mean == np.mean([run.rewards.sum() for run in table.runs["push"]])


def test_numbers_agree_with_the_plants_own_rewards(table):
    """Pendulum-v1 charges the usual task's cost, so cost a step times the steps is minus the return, for each law."""
    for row in table.rows:
        for measured in row.measured:
            assert measured.cost * STEPS == pytest.approx(-measured.total_reward, rel=1e-4)


def test_results_do_not_depend_on_jobs_or_order(laws, table):
    """Two processes, the laws in another order: the same bytes, but for latencies."""
    again = compare("Pendulum-v1", {"lqr": laws["lqr"], "mpc": laws["mpc"]}, SEEDS, steps=STEPS, jobs=2)
    for name in laws:
        for one, two in zip(table.runs[name], again.runs[name], strict=True):
            assert (one.X == two.X).all() and (one.U == two.U).all() and (one.rewards == two.rewards).all()
        assert table[name].measured == again[name].measured
        assert table[name].rungs == again[name].rungs
    assert any("shared the cores" in note for note in again.notes) and not table.notes


def test_a_law_never_sees_the_run_before():
    """Every run gets a copy, so a law that forgets nothing still meets all seeds alike."""
    law = Drifts()
    runs = compare("Pendulum-v1", {"drifts": law}, SEEDS, steps=5).runs["drifts"]
    assert all((run.U == runs[0].U).all() for run in runs)
    assert law.u == 0.5


def test_a_law_that_raises_loses_its_run_and_no_other(table):
    """The row says which seed, where and why; the other laws are complete."""
    starts = {run.seed: run.X[0] for run in table.runs["push"]}
    left = [seed for seed, y in starts.items() if y[1] > 0]
    row = table["breaks"]
    assert 0 < len(left) < 3, "the seeds must hold both cases"
    assert [(f.seed, f.step, f.error) for f in row.failures] == [(s, 4, "RuntimeError: out of <luck>") for s in left]
    assert len(row.measured) == 3 - len(left)
    assert f"{len(left)} of 3 runs failed" in str(table) and "out of <luck>" in str(table)


def test_a_table_of_failures_only():
    """Nothing can be measured, everything is still told."""

    class Never(Push):
        def __call__(self, y, reference=None):
            return np.array([np.nan]), {}

    table = compare("Pendulum-v1", {"never": Never()}, SEEDS, steps=STEPS)
    assert table.yardstick is None and table["never"].measured == ()
    assert "A law must return finite numbers" in str(table)
    json.dumps(table.to_dict(), allow_nan=False)
    table.table()


def test_what_each_law_knew(laws):
    """From the mapping, else the law's own word, else its model; else the table says that nothing was said."""
    informed = Push()
    informed.knows = "true equations"
    data = kc.collect("Pendulum-v1", episodes=10, steps=30, seed=0)
    linear = LQR(EDMDc(delays=1).fit(data), usual_task("Pendulum-v1"))
    table = compare(
        "Pendulum-v1",
        laws | {"edmdc": linear, "informed": informed, "push": Push(), "told": Push()},
        [100],
        steps=2,
        knows={"told": "an oracle"},
    )
    assert {row.name: row.knows for row in table.rows} == {
        "mpc": "learnt: SampledRNN, 150 features",
        "lqr": "learnt: SampledRNN, 150 features",
        "edmdc": "learnt: EDMDc, 100 features, linear inputs, 1 delays",
        "informed": "true equations",
        "push": "not stated",
        "told": "an oracle",
    }
    assert all(row.knows in str(table) for row in table.rows)


def test_rungs_and_latencies(table):
    """Rungs add up to the steps; foreign laws are timed from outside."""
    assert table["mpc"].rungs.total() == 3 * STEPS and table["push"].rungs.total() == 0
    assert table["mpc"].fallbacks == 3 * STEPS - table["mpc"].rungs["solved"]
    for row in table.rows:
        assert 0 < row.latency_p50 <= row.latency_p99
    assert table["push"].latency_p50 < table["mpc"].latency_p50


def test_the_task_that_measures(laws):
    """What the laws were designed for, where they agree; else the plant's usual one, with a note; else the first's."""
    usual = usual_task("Pendulum-v1")
    other = usual.replace(R=0.5, horizon=5)
    dear = LQR(laws["lqr"].model, other)
    assert compare("Pendulum-v1", {"dear": dear, "push": Push()}, [1], steps=2).task == other
    mixed = compare("Pendulum-v1", {"dear": dear, "lqr": laws["lqr"]}, [1], steps=2)
    assert mixed.task == usual
    assert mixed.notes == ("dear: designed for another task than the one that measures here.",)
    shorter = LQR(laws["lqr"].model, usual.replace(horizon=3))
    assert compare("Pendulum-v1", {"shorter": shorter, "lqr": laws["lqr"]}, [1], steps=2).notes == ()
    assert compare("Pendulum-v1", {"push": Push()}, [1], steps=2).task == usual
    assert compare("Pendulum-v1", {"push": Push()}, [1], steps=2, task=other).task == other


def test_a_plant_nobody_knows():
    """Without a usual task one must be given; coordinates are then those of the recording."""
    make = lambda: gymnasium.make("MountainCarContinuous-v0")  # noqa: E731
    with pytest.raises(DataError, match="no law has a task .* pass task="):
        compare(make, {"push": Push(dt=None)}, [0], steps=5, dt=1.0)
    task = Task(target={"pos": 0.45}, Q={"pos": 1.0}, R=0.1, y_max={"vel": 1e-4})
    table = compare(make, {"push": Push(dt=None)}, [0], steps=50, dt=1.0, task=task)
    assert table.env == "MountainCarContinuous-v0" and table.yardstick.chart.names == ("pos", "vel")
    run = table.runs["push"][0]
    assert table["push"].cost.mean == pytest.approx(np.mean((run.X[:-1, 0] - 0.45) ** 2 + 0.1 * 0.25))
    assert table["push"].measured[0].violations == (run.X[1:, 1] > 1e-4 * (1 + 1e-6) + 1e-6).sum() > 0
    assert "outside" in str(table)


def test_the_table_in_all_its_forms(table):
    """Plain text, rich, HTML and JSON say the same; names are escaped where they must be."""
    text = str(table)
    assert text.splitlines()[0] == "Pendulum-v1, 3 seeds (100..102), dt = 0.05 s"
    assert max(map(len, text.splitlines()[:6])) <= 130
    rich = table.table()
    assert rich.row_count == 4 and [c.header for c in rich.columns][:3] == ["law", "return", "cost"]
    assert "out of &lt;luck&gt;" not in table._repr_html_() and "<luck>" not in table._repr_html_()
    numbers = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert [law["name"] for law in numbers["laws"]] == ["mpc", "lqr", "push", "breaks"]
    assert numbers["laws"][0]["total_reward"]["mean"] == table["mpc"].total_reward.mean
    assert numbers["laws"][2]["runs"][0]["settling"] == "inf"
    assert repr(table) == "Comparison(mpc, lqr, push, breaks on Pendulum-v1, 3 seeds)"


def test_markup_in_names_is_text():
    """A law may be called anything."""
    table = compare("Pendulum-v1", {"[red]x[/] & <b>": Push()}, [3], steps=2)
    assert "[red]x[/] & &lt;b&gt;" not in table._repr_html_() and "&amp; &lt;b&gt;" in table._repr_html_()
    from rich.console import Console

    console = Console(width=200, file=None, record=True, quiet=False)
    with console.capture() as captured:
        console.print(table.table())
    assert "[red]x[/] & <b>" in captured.get()


def test_what_is_refused_before_any_run(laws):
    """Mistakes of the caller are errors at once, not rows."""
    with pytest.raises(DataError, match="there are no laws"):
        compare("Pendulum-v1", {}, SEEDS)
    for seeds in ([], [1, 1], [-1], [0.5]):
        with pytest.raises(DataError, match="seeds are"):
            compare("Pendulum-v1", {"push": Push()}, seeds)
    with pytest.raises(DataError, match="jobs is 0"):
        compare("Pendulum-v1", {"push": Push()}, SEEDS, jobs=0)
    with pytest.raises(UnknownNameError, match="unknown law in knows 'pusch'; did you mean 'push'"):
        compare("Pendulum-v1", {"push": Push()}, SEEDS, knows={"pusch": "all"})
    with pytest.raises(SamplingTimeError):
        compare("Pendulum-v1", {"push": Push(dt=0.02)}, SEEDS)
    with pytest.raises(EnvironmentUnsupportedError):
        compare("Pendulum-v2", {"push": Push()}, SEEDS)
    with pytest.raises(UnknownNameError, match="unknown law 'mpk'"):
        compare("Pendulum-v1", {"mpc": Push()}, [1], steps=1)["mpk"]


def test_a_law_that_cannot_be_copied_runs_where_it_is():
    """Alone it works; for worker processes there is an error that says what to do."""
    assert len(compare("Pendulum-v1", {"locked": Locked()}, SEEDS, steps=3).runs["locked"]) == 3
    with pytest.raises(DataError, match="cannot be sent to worker processes.*leave jobs at 1"):
        compare("Pendulum-v1", {"locked": Locked()}, SEEDS, steps=3, jobs=2)

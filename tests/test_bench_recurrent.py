"""The pieces of `koopctl bench recurrent`: plants, sensors, choices and the table, each against a truth of its own."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from scipy.integrate import solve_ivp

pytest.importorskip("jax")
pytest.importorskip("equinox")
pytest.importorskip("optax")
pytest.importorskip("diffrax")

from koopctl.bench import recurrent, recurrent_equations, recurrent_plants  # noqa: E402
from koopctl.bench.recurrent_budget import RecurrentBudget  # noqa: E402
from koopctl.bench.recurrent_choices import BASELINE, OURS, Choice, choices, models_on  # noqa: E402
from koopctl.bench.recurrent_plant import SmallPlant  # noqa: E402
from koopctl.bench.recurrent_record import filled  # noqa: E402
from koopctl.bench.recurrent_runs import Arena  # noqa: E402
from koopctl.bench.recurrent_sensing import Sensing  # noqa: E402
from koopctl.controllers.designer import design  # noqa: E402
from koopctl.errors import DataError  # noqa: E402
from koopctl.models.recurrent import CELLS  # noqa: E402
from koopctl.models.sampled_rnn import SampledRNN  # noqa: E402
from koopctl.task import Task  # noqa: E402

PLANTS = {plant.name: plant for plant in recurrent_plants.plants()}
_FEW = {"seeds": 1, "episodes": 12, "length": 60, "windows": 10, "runs": 2, "run_steps": 30}
_SMALL = {"rates": (1e-2,), "hidden": 4, "steps": 4, "check": 2, "batch": 4, "widths": (30,), "most_delays": 1}
MICRO = RecurrentBudget(**_FEW, **_SMALL)


def _tank(x, u):
    T, W = x
    return [1.5 * u - 0.5 * T - 0.3 * T**3 + 0.4 * (W - T), 0.1 * (T - W)]


def _masses(x, u):
    q, v = np.array(x[:3]), np.array(x[3:])
    first = 10 * (q[0] - q[1]) + 0.02 * (v[0] - v[1])
    second = 10 * (q[1] - q[2]) + 4 * (q[1] - q[2]) ** 3 + 0.02 * (v[1] - v[2])
    return [*v, 4 * u - 2 * q[0] - 0.05 * v[0] - first, first - second, second]


def _vehicle(x, u):
    ratio, drag = {0: (4.0, 1.2), 1: (2.0, 0.5), 2: (1.2, 0.2)}[round(x[1])]
    return [ratio * u - (0.4 + drag) * x[0] - 0.2 * x[0] * abs(x[0]), 0.0]


def _shift(x):
    v, gear = x
    above, below = {0: (0.6, -np.inf), 1: (1.2, 0.3), 2: (np.inf, 0.9)}[round(gear)]
    return [v, gear + 1 if v > above else gear - 1 if v < below else gear]


def _hand_over(x):
    return [x[0], x[1], 1.0 if x[0] > 0.6 else 0.0 if x[0] < -0.6 else x[2]]


def _valve(x, u):
    push = 0.0 if abs(u) < 0.2 else u - 0.2 if u > 0 else u + 0.2
    return [x[1], 6 * push - 4 * x[0] - 4 * x[1]]


# The same equations once more, of one state and one input; and what happens between two samples.
EQUATIONS = {
    "transport-delay": (_tank, None),
    "flexible-structure": (_masses, None),
    "switching-payload": (lambda x, u: [x[1], (2 * u - x[1] / 2 - 1.5 * x[0]) / (1 + 2 * x[2]), 0.0], _hand_over),
    "mode-switching": (_vehicle, _shift),
    "long-memory": (lambda x, u: [3 * u / (1 + 2 * x[1]) - x[0], (u * u - x[1]) / 8], None),
    "noise-and-rest": (_valve, None),
    "drop-outs": (lambda x, u: [x[1], 2 * u - 0.4 * x[1] - x[0] - x[0] ** 3], None),
    "irregular-sampling": (lambda x, u: [x[1], 2 * u + (1 - x[0] ** 2) * x[1] - x[0]], None),
}


def test_every_plant_has_its_equations_here():
    """And none has been forgotten."""
    assert set(EQUATIONS) == set(PLANTS)


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_plant_moves_as_an_adaptive_integrator_says(name):
    """100 samples, each integrated to 1e-10, the delayed input looked up in what was sent; noise is 20 times that."""
    plant, (slope, jump) = PLANTS[name], EQUATIONS[name]
    rng = np.random.default_rng(3)
    start, U = plant.start(1, rng), plant.excite(100, rng)
    path = plant.motion(start, U[None])[0]
    late = recurrent_plants.LATE if name == "transport-delay" else 0
    width = 2 if late else path.shape[1]
    x = start[0, :width]
    for k in range(len(U)):
        u = U[k - late] if k >= late else 0.0
        x = solve_ivp(lambda _, s, u=u: slope(s, u), (0.0, plant.dt), x, rtol=1e-10, atol=1e-12).y[:, -1]
        x = np.array(x if jump is None else jump(x))
        assert path[k + 1, :width] == pytest.approx(x, abs=1e-4)
    assert np.ptp(path[:, 0]) > 0.1


def test_the_delay_really_delays():
    """Two tanks that differ in one input are the same for eight samples more, and different from the ninth on."""
    plant, U = PLANTS["transport-delay"], np.zeros((2, 30))
    U[1, 5] = 1.0
    apart = np.abs(np.diff(plant.measure(plant.motion(np.zeros((2, 10)), U)), axis=0)).ravel()
    assert (apart[: 5 + recurrent_plants.LATE + 1] == 0.0).all()
    assert (apart[5 + recurrent_plants.LATE + 1 :] > 0.01).all()


def test_the_structure_rings_on():
    """After 20 s on its own it still holds a good part of its motion; the valve holds nothing."""
    plant = PLANTS["flexible-structure"]
    start = np.zeros((1, 6))
    start[0, 1:3] = 0.5, -0.5
    path = plant.motion(start, np.zeros((1, 200)))[0]
    relative = path[:, 1] - path[:, 2]
    assert np.ptp(relative[-30:]) > 0.3 * np.ptp(relative[:30])
    valve = PLANTS["noise-and-rest"]
    assert np.abs(valve.motion(np.array([[0.5, 0.0]]), np.zeros((1, 200)))[0, -1]).max() < 1e-6


def test_payload_and_gear_depend_on_where_the_plant_has_been():
    """The same place or speed, reached from either side."""
    cart = recurrent_equations.handed_over
    there_and_back = cart(cart(np.array([[0.7, 0.0, 0.0]]), np.zeros(1)) * [0, 1, 1], np.zeros(1))
    assert there_and_back[0, 2] == 1.0 and cart(np.array([[0.0, 0.0, 0.0]]), np.zeros(1))[0, 2] == 0.0
    gears = [
        recurrent_equations.shifted(np.array([[v, g]]), np.zeros(1))[0, 1] for v, g in ((1.0, 1), (1.0, 2), (0.8, 2))
    ]
    assert gears == [1.0, 2.0, 1.0]


def test_the_valve_rests_most_of_the_time():
    """More than half of its inputs do nothing."""
    plant, rng = PLANTS["noise-and-rest"], np.random.default_rng(0)
    U = np.stack([plant.excite(200, rng) for _ in range(50)])
    assert 0.55 < (np.abs(U) < 0.2).mean() < 0.85


def test_the_dropped_share_is_the_asked_one():
    """Each sensor's by itself, in bursts of the asked mean length; the rest has the asked noise."""
    added = PLANTS["drop-outs"].sensing.added(200_000, 2, np.random.default_rng(0))
    gone = np.isnan(added)
    assert gone.mean(axis=0) == pytest.approx([0.3, 0.3], abs=0.01)
    assert gone.all(axis=1).mean() == pytest.approx(0.09, abs=0.01)
    ends = np.flatnonzero(gone[:-1, 0] & ~gone[1:, 0])
    assert gone[:, 0].sum() / len(ends) == pytest.approx(3.0, abs=0.1)
    assert np.nanstd(added) == pytest.approx(0.01, rel=0.02) and not gone[0].any()


def test_uneven_samples_are_one_to_five_apart():
    """All intervals equally likely."""
    added = PLANTS["irregular-sampling"].sensing.added(100_000, 1, np.random.default_rng(0))
    apart, counts = np.unique(np.diff(np.flatnonzero(~np.isnan(added[:, 0]))), return_counts=True)
    assert apart.tolist() == [1, 2, 3, 4, 5]
    assert counts / counts.sum() == pytest.approx(np.full(5, 0.2), abs=0.01)


def test_impossible_sensors_are_refused():
    """Shares beyond 1, and bursts too short for their share."""
    for wrong in ({"dropped": 1.0}, {"dropped": 0.9, "burst": 2.0}, {"longest": 0}):
        with pytest.raises(DataError):
            Sensing(**wrong)


def test_gaps_are_filled_by_the_last_value_or_by_lines():
    """By hand, with what comes before the first and after the last."""
    nan = np.nan
    Y = np.array([[[nan], [1.0], [nan], [nan], [4.0], [nan]]])
    assert filled(Y, "held")[0, :, 0].tolist() == [1.0, 1.0, 1.0, 1.0, 4.0, 4.0]
    assert filled(Y, "lines")[0, :, 0] == pytest.approx([1.0, 1.0, 2.0, 3.0, 4.0, 4.0])


def test_windows_go_on_where_they_were_measured():
    """Without noise, what is forecast is the plant's motion from the last seen state under the window's inputs."""
    plant = replace(PLANTS["drop-outs"], sensing=Sensing())
    windows = plant.record(3, 80, seed=1).windows(past=10, steps=20, count=7)
    assert windows.seen.shape == (7, 11, 2) and windows.U.shape == (7, 30, 1)
    again = plant.motion(windows.seen[:, -1], windows.U[:, 10:, 0])[:, 1:]
    assert windows.truth == pytest.approx(again, abs=1e-12) and (windows.later == windows.truth).all()
    with pytest.raises(DataError):
        plant.record(1, 20, seed=1).windows(past=10, steps=20, count=1)


def test_records_are_seeded():
    """The same seed gives the same data, another one other data."""
    first, again, other = (PLANTS["irregular-sampling"].record(2, 50, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.measured, again.measured, equal_nan=True) and (first.U == again.U).all()
    assert not np.array_equal(first.truth, other.truth)


def test_every_cell_with_a_claim_has_its_plant_and_as_many_settings_as_the_others():
    """All cells but the plain network, the baseline, and the one for chaos; whatever the plant."""
    assert {name for plant in PLANTS.values() for name in plant.cells} == set(CELLS) - {"RNN", "GRU", "ShPLRNN"}
    budget = RecurrentBudget()
    for plant in PLANTS.values():
        names = models_on(plant)
        assert names[-2:] == (BASELINE, OURS)
        assert {len(choices(name, plant, budget, 0)) for name in names[:-1]} == {len(budget.rates)}
        for name, options in plant.cells.items():
            for choice in choices(name, plant, budget, 7):
                given = choice.model.get_params(deep=False)
                assert all(given[key] == value for key, value in options.items() if key != "training")
                assert given["training"].seed == 7 and given["training"].washout == plant.past


def test_what_bears_no_gaps_gets_them_filled_and_what_does_is_shown_them():
    """On the two plants with gaps; elsewhere there is nothing to fill."""
    for plant in PLANTS.values():
        ways = {
            name: [choice.gaps for choice in choices(name, plant, RecurrentBudget(), 0)] for name in models_on(plant)
        }
        if plant.sensing.gaps:
            (cell,) = plant.cells
            assert ways == {cell: ["shown", "shown"], BASELINE: ["held", "lines"], OURS: ["cut", "held", "lines"]}
        else:
            assert {way for each in ways.values() for way in each} == {"cut"}


def _lag() -> SmallPlant:
    """Return x' = u - x, seen through next to no noise."""
    return SmallPlant(
        name="lag",
        about="first-order lag",
        cells={},
        dt=0.1,
        slope=lambda x, u: u[:, None] - x,
        start=lambda n, rng: rng.uniform(-1.0, 1.0, size=(n, 1)),
        excite=recurrent_plants.levels(5),
        outputs=(0,),
        y_names=("x",),
        task=Task(target=0.5, Q=1.0, R=0.01, u_min=-1.0, u_max=1.0, horizon=10),
        sensing=Sensing(noise=1e-6),
        past=5,
        descent=5,
        delays=(0,),
        horizons=(1, 5, 20),
    )


def test_forecasts_are_judged_in_spreads_of_the_truth():
    """A linear model of a linear plant is right; against a truth moved by half a spread it is half a spread off."""
    arena = Arena.of(_lag(), MICRO, 0)
    model, _ = Choice("cut", SampledRNN(20, cyclic=()), choices(OURS, _lag(), MICRO, 0)[0].search).fit(arena.train)
    assert arena.errors(model, "cut", arena.test, arena.test.truth).max() < 1e-3
    moved = arena.test.truth + 0.5 * arena.train.spread
    assert arena.errors(model, "cut", arena.test, moved) == pytest.approx(0.5, abs=1e-3)
    moved[::2] = np.nan  # what was not measured does not count
    assert arena.errors(model, "cut", arena.test, moved) == pytest.approx(0.5, abs=1e-3)


def test_the_cost_is_that_of_the_exact_loop():
    """Without input x falls as exp(-t); with a law it goes to the target, at far less than no input costs."""
    plant, arena = _lag(), Arena.of(_lag(), MICRO, 0)
    starts = plant.start(2, np.random.default_rng(3000))
    paths = starts * np.exp(-0.1 * np.arange(1, 31))
    assert arena.cost(None)["cost"] == pytest.approx(np.mean((paths - 0.5) ** 2), rel=1e-6)
    law = design(SampledRNN(20, cyclic=()).fit(arena.train.rollouts("cut")), plant.task)
    found = arena.cost(law)
    assert found["planned"] == 1.0 and found["cost"] < 0.3 * arena.cost(None)["cost"]
    assert found == arena.cost(law) | {"call_ms": found["call_ms"]}


def test_the_table_has_a_row_for_each_model_the_failed_one_too():
    """A GRU of four units and four steps against a sampled network with more delays than samples."""
    plant, stream = replace(_lag(), delays=(100,)), StringIO()
    found = recurrent.on_plant(plant, MICRO, Console(file=stream, width=160), (BASELINE, OURS))
    gru, ours = found["rows"]
    assert gru["model"] == BASELINE and set(gru["errors"]) == {"1", "5", "20"}
    assert all(np.isfinite(gru[name]) for name in ("score", "cost", "train_s", "search_s", "call_ms"))
    assert "too short" in ours["failed"] and "score" not in ours
    assert (found["best_forecast"], found["best_control"]) == (BASELINE, BASELINE)
    text = stream.getvalue()
    assert "forecasts: GRU wins; closed loop: GRU wins" in text and "failed:" in text and "*" in text


def test_whoever_is_best_wins_and_whoever_failed_once_has_failed():
    """Medians over seeds, by hand."""
    several = [{"score": s, "cost": 2.0, "errors": {"1": s}, "setting": "a"} for s in (1.0, 3.0, 2.0)]
    row = recurrent._middle(several)
    assert (row["score"], row["cost"], row["errors"]) == (2.0, 2.0, {"1": 2.0})
    assert recurrent._middle([*several, {"failed": "why"}])["failed"] == "why"
    uncontrolled = several[0] | {"uncontrolled": "no LQR"}
    uncontrolled.pop("cost")
    halved = recurrent._middle([several[1], uncontrolled])
    assert "cost" not in halved and halved["uncontrolled"] == "no LQR" and halved["score"] == 2.0
    rows = [{"model": "a", "failed": "why"}, {"model": "b", "score": 2.0}, {"model": "c", "score": 1.0, "cost": np.inf}]
    assert recurrent._best(rows, "score") == "c" and recurrent._best(rows, "cost") is None


def test_the_command_knows_this_bench():
    """By its name."""
    from koopctl.cli.shipping import _BENCHES

    assert _BENCHES["recurrent"] == "koopctl.bench.recurrent"

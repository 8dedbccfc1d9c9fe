"""The plants of `koopctl bench recurrent`: on each, the authors of a cell claim an edge."""

from __future__ import annotations

from functools import partial

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.recurrent_equations import (
    SPEED_DOWN,
    cart,
    duffing,
    handed_over,
    masses,
    motor,
    sent_on,
    shifted,
    tank,
    valve,
    van_der_pol,
    vehicle,
)
from koopctl.bench.recurrent_plant import Excite, SmallPlant
from koopctl.bench.recurrent_sensing import Sensing
from koopctl.data.excitation import PiecewiseConstant
from koopctl.task import Task

LATE = 8  # samples that the heated stream is on its way


def plants() -> list[SmallPlant]:
    """Return all plants."""
    return [
        _delayed(),
        _flexible(),
        _loaded(),
        _geared(),
        _heating(),
        _resting(),
        _dropping(),
        _uneven(),
    ]


# ------------------------------------------------------------------ starts and inputs
def levels(samples: int) -> Excite:
    """Return inputs of random levels, each held for so many samples."""
    return partial(_levels, samples)


def _levels(samples: int, steps: int, rng: np.random.Generator) -> Array:
    signal = PiecewiseConstant(hold=float(samples)).signal(steps, 1.0, -np.ones(1), np.ones(1), rng)
    return np.asarray(signal[:, 0])


def swelling(steps: int, rng: np.random.Generator) -> Array:
    """Return random levels of 5 samples whose size changes every 60, so that there are hot and cold times."""
    late = int(rng.integers(60))
    sizes = np.repeat(rng.uniform(size=steps // 60 + 2), 60)[late : late + steps]
    return np.asarray(sizes * np.clip(2.0 * levels(5)(steps, rng), -1.0, 1.0))


def pulses(steps: int, rng: np.random.Generator) -> Array:
    """Return inputs that are 0 for two thirds of the time: levels of 6 samples, each there with a chance of a third."""
    there = np.repeat(rng.uniform(size=steps // 6 + 1) < 1.0 / 3.0, 6)[:steps]
    return levels(6)(steps, rng) * there


def _within(size: Array, n: int, rng: np.random.Generator) -> Array:
    """Return n states (n, nx) drawn evenly from within +-size (nx,)."""
    return size * rng.uniform(-1.0, 1.0, size=(n, len(size)))


def _tank_start(n: int, rng: np.random.Generator) -> Array:
    x = np.zeros((n, 2 + LATE))
    x[:, :2] = rng.uniform(-0.8, 0.8, size=(n, 1))
    return x


def _cart_start(n: int, rng: np.random.Generator) -> Array:
    x = _within(np.array([1.0, 0.3, 0.0]), n, rng)
    x[:, 2] = rng.integers(2, size=n)
    return handed_over(x, np.zeros(n))


def _vehicle_start(n: int, rng: np.random.Generator) -> Array:
    v = rng.uniform(0.0, 1.5, size=n)
    return np.stack([v, (v > SPEED_DOWN[0]).astype(float) + (v > SPEED_DOWN[1])], axis=1)


def _motor_start(n: int, rng: np.random.Generator) -> Array:
    return np.stack([rng.uniform(-0.5, 0.5, size=n), rng.uniform(0.0, 1.0, size=n)], axis=1)


# ------------------------------------------------------------------ plants
def _delayed() -> SmallPlant:
    return SmallPlant(
        name="transport-delay",
        about=f"tank whose stream is heated far upstream: the input acts {LATE} samples later",
        cells={"TauGRU": {"lag": LATE}, "RNNp": {"p": LATE + 2, "feedback": "output"}},
        dt=0.2,
        slope=tank,
        jump=sent_on,
        start=_tank_start,
        excite=levels(5),
        outputs=(0,),
        y_names=("T",),
        sensing=Sensing(noise=0.005),
        task=Task(target=0.8, Q=1.0, R=0.01, u_min=-1.0, u_max=1.0, horizon=25),
        delays=(8, 10, 14, 20),
    )


def _flexible() -> SmallPlant:
    return SmallPlant(
        name="flexible-structure",
        about="three masses on springs with next to no damping; the first and the last are seen",
        cells={"UnICORNN": {"damping": 0.01}, "HamiltonianRNN": {"damping": 0.01}},
        dt=0.1,
        slope=masses,
        start=partial(_within, np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5])),
        excite=levels(4),
        outputs=(0, 2),
        y_names=("first", "last"),
        sensing=Sensing(noise=0.002),
        task=Task(target=0.0, Q={"first": 0.2, "last": 1.0}, R=0.01, u_min=-1.0, u_max=1.0, horizon=30),
        delays=(4, 8, 12, 20),
    )


def _loaded() -> SmallPlant:
    return SmallPlant(
        name="switching-payload",
        about="cart that takes up a payload at one end and leaves it at the other; only its position is seen",
        cells={"GateL0RD": {"training": {"penalty": 1e-3}}},
        dt=0.1,
        slope=cart,
        jump=handed_over,
        start=_cart_start,
        excite=levels(12),
        outputs=(0,),
        y_names=("p",),
        sensing=Sensing(noise=0.005),
        task=Task(target=0.3, Q=1.0, R=0.01, u_min=-1.0, u_max=1.0, horizon=25),
    )


def _geared() -> SmallPlant:
    return SmallPlant(
        name="mode-switching",
        about="vehicle with an automatic gearbox of three gears that change with hysteresis; only its speed is seen",
        cells={"StateRegularisedRNN": {}},
        dt=0.1,
        slope=vehicle,
        jump=shifted,
        start=_vehicle_start,
        excite=levels(12),
        outputs=(0,),
        y_names=("v",),
        sensing=Sensing(noise=0.03),
        task=Task(target=1.05, Q=1.0, R=0.01, u_min=-1.0, u_max=1.0, horizon=20),
    )


def _heating() -> SmallPlant:
    return SmallPlant(
        name="long-memory",
        about="motor that heats over 80 samples and loses two thirds of its torque; its speed is seen, with noise",
        cells={"LSTM": {}, "NCGRU": {}},
        dt=0.1,
        slope=motor,
        start=_motor_start,
        excite=swelling,
        outputs=(0,),
        y_names=("v",),
        sensing=Sensing(noise=0.05),
        task=Task(target=1.0, Q=1.0, R=0.01, u_min=-1.0, u_max=1.0, horizon=20),
        past=80,
        descent=60,
        longest=160.0,
        delays=(4, 8, 16, 32),
        horizons=(1, 10, 60),
    )


def _resting() -> SmallPlant:
    return SmallPlant(
        name="noise-and-rest",
        about="valve with a dead zone that rests most of the time, seen through noise of a quarter of its motion",
        cells={"EGRU": {"training": {"penalty": 1e-3}}},
        dt=0.1,
        slope=valve,
        start=partial(_within, np.array([0.5, 0.0])),
        excite=pulses,
        outputs=(0,),
        y_names=("p",),
        sensing=Sensing(noise=0.05),
        task=Task(target=0.4, Q=1.0, R=0.01, u_min=-1.0, u_max=1.0, horizon=20),
    )


def _dropping() -> SmallPlant:
    return SmallPlant(
        name="drop-outs",
        about="Duffing's oscillator; 30 % of what its two sensors say is missing, three samples at a time",
        cells={"GRUD": {}},
        dt=0.1,
        slope=duffing,
        start=partial(_within, np.array([1.0, 1.0])),
        excite=levels(8),
        outputs=(0, 1),
        y_names=("p", "v"),
        sensing=Sensing(noise=0.01, dropped=0.3),
        task=Task(target={"p": 0.5}, Q={"p": 1.0, "v": 0.1}, R=0.01, u_min=-1.0, u_max=1.0, horizon=20),
        delays=(0, 2, 4, 8),
    )


def _uneven() -> SmallPlant:
    return SmallPlant(
        name="irregular-sampling",
        about="Van der Pol's oscillator; its position is measured every 1 to 5 samples, by chance",
        cells={"NCDE": {}},
        dt=0.1,
        slope=van_der_pol,
        start=partial(_within, np.array([2.0, 2.0])),
        excite=levels(8),
        outputs=(0,),
        y_names=("p",),
        sensing=Sensing(noise=0.01, longest=5),
        task=Task(target=0.0, Q=1.0, R=0.01, u_min=-1.0, u_max=1.0, horizon=20),
        past=30,
    )

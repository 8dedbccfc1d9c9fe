"""The bench's table of laws fed with anything: what it feeds, what it counts, and that every rung is reached."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from koopctl.bench.equalities import RUNGS, _fed, _Sensor, fed_anything, unconstrained


def test_unconstrained_laws_are_the_lqr():
    """Both laws, at the shortest, a middle and the longest horizon."""
    assert unconstrained(quick=True) < 1e-6


@pytest.mark.slow
def test_every_law_reaches_every_rung_and_keeps_its_bounds():
    """In a few hundred calls; the bench makes ten thousand. An LQR has no plan and no program to fall back from."""
    rows = {row["law"]: row for row in fed_anything(400)}
    assert len(rows) == 8
    for name, row in rows.items():
        assert (row["calls"], row["raised"], row["outside"]) == (400, 0, 0)
        assert list(row["rungs"]) == list(RUNGS)
        reached = {rung for rung, count in row["rungs"].items() if count}
        missing = {rung for rung, count in row["rungs"].items() if count is None}
        assert missing == ({"feasible", "shifted", "lqr"} if name.startswith("LQR") else set())
        # Laws with exact programs are stopped early about once in three thousand calls: only the bench asks as often.
        assert (reached | missing) >= set(RUNGS) - ({"feasible"} if name != "ConvexMPC" else set()), name
        assert sum(count or 0 for count in row["rungs"].values()) == 400


class Wild:
    """A law that leaves its bounds, its rate bound or its shape, or raises, in turn; good for two calls in between."""

    def __init__(self) -> None:
        self.k = 0

    def reset(self) -> None:
        pass

    def __call__(self, y: Any) -> tuple[np.ndarray, dict[str, str]]:
        self.k += 1
        if self.k % 12 == 0:
            raise ValueError("no")
        wrong = {2: [0.9], 4: [-0.6], 6: [np.nan], 8: [0.1, 0.1]}
        return np.array(wrong.get(self.k % 12, [0.1])), {"status": "solved"}


def test_faults_are_counted():
    """Beyond a bound and back at too high a rate, too high a rate there and back, NaN, another shape, an exception."""
    row = _fed([Wild()], 1200)
    assert row["raised"] == 100
    # 0.9 is out and 0.8 away; the way back is as far. So it is for -0.6. NaN spoils the rate of the next one too.
    assert 6.5 * 100 < row["outside"] <= 7 * 100  # a reset may come between
    assert row["rungs"]["solved"] == 1100


def test_a_third_of_the_samples_is_spoilt():
    """Of all kinds, singly and in stretches longer than the plans; the rest is the state with little noise."""
    x, sensor = np.linspace(-0.5, 0.5, 8), _Sensor(np.random.default_rng(0))
    seen = [sensor.read(x) for _ in range(20_000)]
    good = np.array([len(y) == 8 and bool(np.all(np.abs(y - x) < 0.1)) for y in seen])
    assert abs(sensor.spoilt / len(seen) - 1 / 3) < 0.02 and abs((~good).mean() - sensor.spoilt / len(seen)) < 0.002
    assert any(np.isnan(y).any() and len(y) == 8 for y in seen) and any(np.isinf(y).any() for y in seen)
    assert any(len(y) != 8 for y in seen)
    far = np.array([np.abs(y).max() for y in seen if np.isfinite(y).all()])
    assert (far > 1e20).any() and ((far > 10) & (far < 1e8)).any()
    edges = np.flatnonzero(np.diff(np.concatenate([[1], good, [1]])))
    assert np.diff(edges)[::2].max() >= 15

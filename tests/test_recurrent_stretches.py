"""The stretches that recurrent networks are trained on, and the episodes that are held out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from recorded import oscillator

from koopctl.errors import DataError
from koopctl.models.chart import Chart
from koopctl.models.recurrent.stretches import Stretches, split

DATA = oscillator(6, 40)


def test_stretches_stay_within_an_episode():
    """Each is a piece of the recording, each place is found once, and the episode's last input counts for nothing."""
    found = Stretches.of(Chart.plain(DATA.x_names), DATA, 35)
    Q, U = found.take(np.arange(len(found.starts)))
    expected = list(itertools.product(range(6), range(41 - 35 + 1)))
    assert len(Q) == len(expected)
    for q, u, (episode, k) in zip(Q, U, expected, strict=True):
        assert np.array_equal(q, DATA.X[episode][k : k + 35])
        assert np.array_equal(u[:-1], DATA.U[episode][k : k + 34])
    assert len(found.evenly(5)[0]) == 5 and len(found.evenly(500)[0]) == len(expected)
    with pytest.raises(DataError, match="no episode holds 42 samples, the longest has 41; lower washout and horizon"):
        Stretches.of(Chart.plain(DATA.x_names), DATA, 42)


def test_held_out_episodes_are_others():
    """All are in one of the two; of a single episode the end is held out."""
    train, held_out = split(DATA, 0.3, seed=0)
    first = [[float(x[0, 0]) for x in part.X] for part in (train, held_out, DATA)]
    assert len(first[1]) == 2 and sorted(first[0] + first[1]) == sorted(first[2])
    train, held_out = split(DATA[:1], 0.25, seed=0)
    assert np.array_equal(np.concatenate([train.X[0], held_out.X[0][1:]]), DATA.X[0]) and len(held_out.U[0]) == 10

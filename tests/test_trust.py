"""Horizons that end where the model's own error says so."""

from __future__ import annotations

import numpy as np
import pytest

import koopctl as kc
from koopctl.errors import DataError, DesignError


@pytest.fixture(scope="module")
def rough_model():
    """A model with few features, whose error grows over the horizon."""
    data = kc.collect("koopctl.envs:VanDerPol-v0", episodes=30, steps=100, seed=0)
    return kc.SampledRNN(25, random_state=1).fit(data)


TASK = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, horizon=40)


def test_the_horizon_ends_where_the_error_reaches_the_bound(rough_model):
    """The report's error is within the bound at every planned step, not at the next; a generous bound cuts nothing."""
    errors = np.array(rough_model.report_.relifted)
    bound = float(np.sort(errors[:40])[20])
    law = kc.RelinearizedMPC(rough_model, TASK.replace(horizon_error=bound), candidates=0)
    N = law.wanted.horizon
    assert 1 <= N < 40 and (errors[:N] <= bound).all() and errors[N] > bound
    assert law(np.array([0.5, 0.0]))[1]["plan_u"].shape == (N, 1)
    assert any("cut from 40" in note for note in law.notes)
    free = kc.RelinearizedMPC(rough_model, TASK.replace(horizon_error=1e3), candidates=0)
    assert free.wanted.horizon == 40 and not any("cut" in note for note in free.notes)


def test_moves_shrink_with_the_horizon(rough_model):
    """A number of moves larger than the cut horizon becomes the horizon."""
    bound = float(np.sort(rough_model.report_.relifted[:40])[20])
    law = kc.RelinearizedMPC(rough_model, TASK.replace(horizon_error=bound, control_horizon=39), candidates=0)
    assert len(law.wanted.moves) == law.wanted.horizon < 39


def test_a_file_designs_the_same_horizon(rough_model, tmp_path):
    """The report travels in the law's file, so that the law read is the law written, and a review knows its errors."""
    bound = float(np.sort(rough_model.report_.relifted[:40])[20])
    law = kc.RelinearizedMPC(rough_model, TASK.replace(horizon_error=bound), candidates=0)
    read = kc.load(law.save(tmp_path / "law.npz"))
    assert read.wanted.horizon == law.wanted.horizon
    assert read.model.report_ == rough_model.report_
    assert "came without" not in str(kc.review(read))


def test_nonsense_is_refused(rough_model):
    """A bound that is no positive number, and one the model misses at once, say what to change."""
    with pytest.raises(DataError, match="positive share"):
        TASK.replace(horizon_error=-0.1)
    with pytest.raises(DesignError, match="better model"):
        kc.RelinearizedMPC(rough_model, TASK.replace(horizon_error=1e-9))

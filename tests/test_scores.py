"""Prediction errors by horizon, both roll-outs, against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import DT, linear, oscillator, pendulum

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, NotFittedError, SamplingTimeError
from koopctl.features.identity import Identity
from koopctl.features.sampled import SampledFeatures
from koopctl.identify.fitting import fit
from koopctl.models.edmdc import EDMDc
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.models.scores import prediction_errors


@pytest.mark.parametrize("delays", [0, 2])
def test_an_exact_model_has_no_error(delays):
    """A linear plant, both roll-outs, thirty steps from everywhere."""
    errors = prediction_errors(fit(linear(), EDMDc(Identity(), delays=delays, ridge=1e-13)), linear(seed=1), horizon=30)
    assert errors.relifted.shape == errors.linear.shape == (30,)
    assert errors.relifted.max() < 1e-5 and errors.linear.max() < 1e-5
    assert errors.horizons == pytest.approx(DT * np.arange(1, 31)) and errors.dt == DT
    assert errors.n_starts == 5 * (40 - delays - 30 + 1)


@pytest.mark.parametrize("delays", [0, 1])
def test_the_errors_are_those_of_predict(delays):
    """Root mean square over all starts and coordinates, in units of each coordinate's spread; angles wrap."""
    data, H = pendulum(3, 12, seed=4), 5
    model = fit(pendulum(), EDMDc(SampledFeatures(10), delays=delays, ridge=1e-6))
    errors = prediction_errors(model, data, horizon=H)
    q = np.concatenate([np.column_stack([np.arctan2(x[:, 1], x[:, 0]), x[:, 2]]) for x in data.X])
    for relift, found in ((True, errors.relifted), (False, errors.linear)):
        squares = []
        for Y, U in data:
            truth = np.column_stack([np.unwrap(np.arctan2(Y[:, 1], Y[:, 0])), Y[:, 2]])
            for k in range(delays, len(U) - H + 1):
                x0 = model.encode(Y[k - delays : k + 1], U[k - delays : k])
                error = model.predict(x0, U[k : k + H], relift)[1:, :2] - truth[k + 1 : k + H + 1]
                error[:, 0] = np.angle(np.exp(1j * error[:, 0]))
                squares.append((error / q.std(axis=0)) ** 2)
        assert found == pytest.approx(np.sqrt(np.mean(squares, axis=(0, 2))), rel=1e-6)


def test_relifting_helps_a_nonlinear_plant():
    """Both are reported because they differ: equal after one step, far apart after twenty."""
    model = fit(oscillator(30), EDMDc(SampledFeatures(30), inputs="bilinear", ridge=1e-8))
    errors = prediction_errors(model, oscillator(3, seed=8), horizon=20)
    assert errors.linear[0] == pytest.approx(errors.relifted[0], rel=1e-6)
    assert errors.linear[-1] > 4 * errors.relifted[-1]


def test_starting_points_are_bounded_and_spread():
    """At most so many, and never twice the same."""
    model, data = fit(linear(), EDMDc(Identity())), linear(seed=1)
    assert prediction_errors(model, data, horizon=10, max_starts=7).n_starts == 7
    assert prediction_errors(model, data, horizon=10, max_starts=10**6).n_starts == 5 * 31
    assert prediction_errors(model, data, horizon=10, max_starts=1).relifted.shape == (10,)


def test_a_roll_out_that_explodes_counts_as_infinite():
    """Not as NaN, and without a warning."""
    model = fit(linear(), EDMDc(Identity()))
    model.A_[0, 0] = 1e30
    errors = prediction_errors(model, linear(seed=1), horizon=20)
    assert np.isinf(errors.linear[-1]) and not np.isnan(errors.relifted).any()


def test_a_coordinate_that_rests_is_measured_as_it_is():
    """No division by its zero spread."""
    still = Rollouts([np.zeros((6, 2))], [np.zeros((5, 1))], 0.05, ["pos", "vel"], ["push"])
    moving = Rollouts([x for x in oscillator().X], [u[:, :1] for u in oscillator().U], 0.05, ["pos", "vel"], ["push"])
    model = fit(moving, EDMDc(Identity()))
    errors = prediction_errors(model, still, horizon=2)
    assert errors.relifted[0] == pytest.approx(np.sqrt(np.mean(model.step([0, 0], [0]) ** 2)), rel=1e-9)


def test_what_cannot_be_measured_is_refused():
    """No horizon, an episode too short, another rate, other columns, no fit."""
    model, data = fit(linear(), EDMDc(Identity(), delays=2)), linear(2, 10)
    for horizon in (0, -3, 1.5):
        with pytest.raises(DataError, match="^horizon is"):
            prediction_errors(model, data, horizon)
    with pytest.raises(DataError, match="^max_starts is"):
        prediction_errors(model, data, 2, max_starts=0)
    assert prediction_errors(model, data, 8).n_starts == 2
    with pytest.raises(DataError, match="no episode holds 9 steps beyond the delays; the longest has 10"):
        prediction_errors(model, data, 9)
    with pytest.raises(SamplingTimeError):
        prediction_errors(model, Rollouts(data.X, data.U, 0.1, data.x_names, data.u_names), 2)
    with pytest.raises(DataError, match="columns"):
        prediction_errors(model, data.select(["p1", "p2"]), 2)
    with pytest.raises(NotFittedError):
        prediction_errors(SampledRNN(), data, 2)

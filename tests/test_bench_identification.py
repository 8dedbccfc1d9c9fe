"""The parts of the identification bench that have a truth of their own."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import linear
from scipy.integrate import solve_ivp

from koopctl.bench import attractors, korda_mezic, throughput
from koopctl.bench.exact_plant import matrix_errors
from koopctl.bench.options import Options
from koopctl.bench.recordings import _free_run
from koopctl.features.identity import Identity
from koopctl.models.edmdc import EDMDc


def test_the_plant_is_the_published_one():
    """One Runge-Kutta step against an accurate solution of x1' = 2 x2, x2' = -0.8 x1 - 10 x1^2 x2 + 2 x2 - u."""
    x, u = np.array([0.4, -0.7]), 0.3
    exact = solve_ivp(
        lambda _, s: [2 * s[1], -0.8 * s[0] - 10 * s[0] ** 2 * s[1] + 2 * s[1] - u], (0, 0.01), x, rtol=1e-12
    ).y[:, -1]
    assert korda_mezic.plant(x[None], np.array([u]))[0] == pytest.approx(exact, abs=1e-9)


def test_the_wave_switches_every_thirty_samples():
    """Their phase switches first after 15 samples, the other after 30."""
    for late in (0, 15):
        switches = np.flatnonzero(np.diff(korda_mezic._wave(late)))
        assert switches[0] == 29 - late and (np.diff(switches) == 30).all()


def test_the_bound_of_linear_roll_outs_holds_for_a_linear_model():
    """Even the best state-independent answer misses by more than a quarter from phase zero."""
    model = EDMDc(Identity()).fit(korda_mezic.motion(20, 100, seed=0))
    assert korda_mezic._error(model, 0, False, 100) > korda_mezic._bound(0, 100) > 20.0


def test_valid_times_count_steps_to_the_first_departure():
    """A prediction that leaves at step 7, one that never does, one that holds NaN."""
    truth, path = np.zeros((3, 20, 3)), np.zeros((3, 20, 3))
    path[0, 7:] = 0.5
    path[2, 3] = np.nan
    assert attractors.valid_times(path, truth, np.ones(3)).tolist() == [7.0, 19.0, 3.0]


def test_the_divergence_is_zero_for_the_same_motion_and_grows_with_the_distance():
    """Against a direct sum over bins; runs that left space altogether are far, not an error."""
    rng = np.random.default_rng(0)
    truth, near, far = rng.normal(size=(3, 20_000, 3)) * np.array([1.0, 1.02, 2.0])[:, None, None]
    assert attractors.attractor_divergence(truth, truth) == 0.0
    assert 0.0 < attractors.attractor_divergence(truth, near) < attractors.attractor_divergence(truth, far)
    assert attractors.attractor_divergence(truth, np.full((10, 3), np.nan)) > 1.0
    low, high = truth.min(axis=0), truth.max(axis=0)
    count = [np.zeros((30, 30, 30)) for _ in range(2)]
    for share, points in zip(count, (truth, near), strict=True):
        cells = np.clip(((np.clip(points, low, high) - low) / (high - low) * 30).astype(int), 0, 29)
        np.add.at(share, tuple(cells.T), 1 / 20_000)
    p, q = ((share + 1e-5) / (share + 1e-5).sum() for share in count)
    assert attractors.attractor_divergence(truth, near) == pytest.approx(np.sum(p * np.log(p / q)), rel=1e-3)


def test_the_systems_stay_on_their_attractors():
    """Known means of the third coordinate: 23.5 for Lorenz, about 0.8 for Roessler."""
    for system, third, spread in ((attractors.LORENZ, 23.5, 0.6), (attractors.ROESSLER, 0.83, 0.3)):
        path = system.series(4000, seed=0, tolerance=1e-7)
        assert path.shape == (4001, 3) and path[:, 2].mean() == pytest.approx(third, abs=spread)


def test_an_exact_plant_is_learnt_back():
    """Both ways of solving reach 1e-8."""
    errors = matrix_errors()
    assert set(errors) == {"cholesky", "qr"} and max(errors.values()) < 1e-8


def test_a_free_run_starts_where_it_is_told():
    """The error of an exact model is rounding, whatever the start; of a shifted record it is not."""
    data = linear()
    model = EDMDc(Identity(), delays=1).fit(data)
    Y, U = data.X[0], data.U[0]
    assert max(_free_run(model, Y, U, 5)) < 1e-6
    assert max(_free_run(model, Y[1:], U[:-1], 5)) > 1e-3


def test_options_find_the_recordings(tmp_path, monkeypatch):
    """The option before the environment before the sibling folder."""
    monkeypatch.delenv("KOOPCTL_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Options.of(True, None, False).data is None
    (tmp_path / "a").mkdir()
    monkeypatch.setenv("KOOPCTL_DATA", str(tmp_path / "a"))
    assert Options.of(True, None, False).data == tmp_path / "a"
    (tmp_path / "b").mkdir()
    assert Options.of(True, tmp_path / "b", False).data == tmp_path / "b"


@pytest.mark.slow
def test_throughput_is_measured_in_processes_of_its_own():
    """A small problem: positive times and memory far below the feature matrix."""
    found = throughput.run(50_000, 300)
    assert found["fit_s"] > 0 and found["ratio"] == pytest.approx(found["fit_s"] / found["bare_s"])
    assert found["extra_gib"] < 0.25 * 50_000 * 300 * 8 / 2**30 + 0.1

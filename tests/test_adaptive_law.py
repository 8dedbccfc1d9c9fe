"""A law that learns in its loop: a plant whose input loses half its strength, and what must not be learnt."""

from __future__ import annotations

import numpy as np
import pytest

import koopctl as kc
from koopctl.errors import DesignError

TASK = kc.Task(target=0.0, Q=[1.0, 0.1], R=0.01, horizon=20, u_min=-1.0, u_max=1.0)
JUMP = 150


def servo(x: np.ndarray, u: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """An unstable servo: angle and rate."""
    return np.array([x[0] + 0.1 * x[1], x[1] + 0.08 * x[0] - 0.02 * x[1] + 0.1 * gain * u[0]])


def recorded(gain: float = 1.0) -> kc.Rollouts:
    """Its motion from random states under random inputs."""
    rng = np.random.default_rng(0)
    X, U = [], []
    for _ in range(60):
        x, u = [rng.uniform(-0.6, 0.6, 2)], np.repeat(rng.uniform(-1, 1, (10, 1)), 3, axis=0)
        for each in u:
            x.append(servo(x[-1], each, gain))
        X.append(np.array(x))
        U.append(u)
    return kc.Rollouts(X, U, 0.1)


MODELS = {"lifted": kc.EDMDc(kc.Identity()), "relinearized": kc.SampledRNN(60, random_state=0)}


@pytest.fixture(scope="module")
def laws() -> dict[str, kc.LiftedMPC | kc.RelinearizedMPC]:
    """One law of each kind for the plant as it was."""
    return {kind: kc.design(kc.fit(recorded(), model), TASK) for kind, model in MODELS.items()}


def run(
    law, steps: int = 450, change: int = JUMP, noise: float = 0.0, gain: float = 0.5
) -> tuple[np.ndarray, list[dict]]:
    """Follow a square wave while the input loses its strength; return the cost of each step and the infos."""
    rng = np.random.default_rng(0)
    law.reset()
    x, cost, infos = np.zeros(2), [], []
    for k in range(steps):
        goal = np.array([0.25 * np.sign(np.sin(2 * np.pi * k / 60)), 0.0])
        u, info = law(x + noise * rng.normal(size=2), goal)
        infos.append(info)
        cost.append(((x - goal) ** 2 * [1.0, 0.1]).sum())
        x = servo(x, u, gain if k >= change else 1.0)
    return np.array(cost), infos


@pytest.mark.parametrize("noise", [0.0, 0.001])
@pytest.mark.parametrize("kind", list(MODELS))
def test_it_learns_a_parameter_that_jumps(laws, kind, noise):
    """Soon after the jump it is nearly as good as a law that was learnt on the changed plant."""
    fixed = run(laws[kind], noise=noise)[0][300:].sum()
    known = run(kc.design(kc.fit(recorded(0.5), MODELS[kind]), TASK), noise=noise, change=0)[0][300:].sum()
    cost, infos = run(kc.AdaptiveLaw(laws[kind]), noise=noise)
    assert fixed > 1.3 * known
    assert cost[300:].sum() < 1.1 * known
    assert all(info["status"] == "solved" for info in infos)
    assert {info["adaptation"] for info in infos[1:]} <= {"learnt", "quiet", "still"}


@pytest.mark.parametrize("kind", list(MODELS))
def test_a_plant_that_is_as_learnt_teaches_nothing(laws, kind):
    """All is quiet, and the inputs are those of the law itself."""
    adaptive = kc.AdaptiveLaw(laws[kind])
    cost, infos = run(adaptive, steps=120, gain=1.0)
    assert adaptive.counts["learnt"] == 0 and adaptive.counts["quiet"] == 119
    assert np.abs(cost - run(laws[kind], steps=120, gain=1.0)[0]).max() < 1e-9


def test_a_changed_plant_at_rest_is_not_learnt_from(laws):
    """Nothing moves, so nothing is said about the plant: no update, whatever the offset."""
    adaptive = kc.AdaptiveLaw(laws["lifted"])
    for _ in range(30):
        u, info = adaptive(np.array([0.2, 0.0]))  # held by hand
    assert adaptive.counts["learnt"] <= 3 and info["adaptation"] == "still"


def test_jumps_and_missing_samples_are_left_out(laws):
    """A kick, NaN and a sample of the wrong shape leave the model as it was."""
    adaptive = kc.AdaptiveLaw(laws["lifted"])
    adaptive(np.zeros(2))
    before = adaptive.model.A_.copy()
    said = [adaptive(y)[1]["adaptation"] for y in ([5.0, -5.0], [np.nan, 0.0], [0.1, 0.0], [0.1], [0.1, 0.0])]
    assert said[:4] == ["jump", "missing", "missing", "missing"]
    assert np.array_equal(adaptive.model.A_, before)


def test_a_model_that_has_learnt_nonsense_is_given_up(laws):
    """The plant changes and changes back: what was learnt is worse than the fit, which takes over again."""
    adaptive = kc.AdaptiveLaw(laws["relinearized"], memory=20, forgetting=0.5)
    run(adaptive, steps=150, change=0, gain=0.3)
    spoilt = adaptive.model.step(np.array([0.2, 0.1]), np.array([0.5]))
    assert np.abs(spoilt - servo(np.array([0.2, 0.1]), np.array([0.5]))).max() > 1e-3
    adaptive.dead_zone = 1e9  # it may not learn the way back
    x = np.array([0.2, 0.0])
    for k in range(120):
        u, info = adaptive(x, [0.25 if k % 40 < 20 else -0.25, 0.0])
        x = servo(x, u)
    assert adaptive.counts["gave_up"] == 1
    assert np.abs(adaptive.model.step(x, u) - servo(x, u)).max() < 1e-4


def test_reset_forgets_the_run(laws):
    """And the law it was made from knows nothing of it."""
    adaptive, kept = kc.AdaptiveLaw(laws["lifted"]), laws["lifted"].model.A_.copy()
    first, _ = run(adaptive, steps=250)
    assert not np.array_equal(adaptive.model.B_, laws["lifted"].model.B_)
    again, _ = run(adaptive, steps=250)
    assert np.array_equal(first, again) and np.array_equal(laws["lifted"].model.A_, kept)


@pytest.mark.parametrize(
    "options", [{"forgetting": 0.0}, {"forgetting": 1.1}, {"dead_zone": -1.0}, {"dead_zone": np.nan}]
)
def test_options_out_of_range_are_refused(laws, options):
    """At the design."""
    with pytest.raises(DesignError, match="expected above 0"):
        kc.AdaptiveLaw(laws["lifted"], **options)


def test_a_law_from_a_file_cannot_learn(laws, tmp_path):
    """Its model came without the sums it was learnt from, and says so."""
    law = kc.load(laws["lifted"].save(tmp_path / "law.npz"))
    with pytest.raises(DesignError, match="cannot learn any more"):
        kc.AdaptiveLaw(law)

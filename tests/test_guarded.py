"""Roll-outs are kept near the training data: where nothing was seen, a learnt network says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import DT, linear, oscillator, pendulum, without_inputs

import koopctl as kc

STEPS = 300


def two_samples() -> kc.Rollouts:
    """Return two transitions."""
    data = oscillator(1, 2)
    return kc.Rollouts(data.X, data.U, DT)


def track() -> kc.Rollouts:
    """Return a cart that is pushed along a level track: its place is cyclic."""
    rng, X, U = np.random.default_rng(0), [], []
    for _ in range(20):
        u, x = rng.uniform(-1, 1, size=(40, 1)), np.zeros((41, 2))
        x[0] = rng.uniform(-1, 1, size=2)
        for k in range(40):
            x[k + 1] = x[k] + DT * np.array([x[k, 1], u[k, 0] - 0.2 * x[k, 1]])
        X.append(x)
        U.append(u)
    return kc.Rollouts(X, U, DT, ["place", "speed"])


WILD = {
    "no ridge": (kc.SampledRNN(60, ridge=0.0), oscillator),
    "relu": (kc.SampledRNN(40, ridge=0.0, activation="relu", solver="qr"), oscillator),
    "two samples": (kc.SampledRNN(30, ridge=0.0), two_samples),
    "delays": (kc.SampledRNN(60, ridge=0.0, delays=3), oscillator),
    "angle": (kc.SampledRNN(60, ridge=0.0), pendulum),
    "angle, delays": (kc.SampledRNN(60, ridge=0.0, delays=2), pendulum),
    "autonomous": (kc.SampledRNN(60, ridge=0.0), lambda: without_inputs(oscillator())),
    "polynomial": (kc.EDMDc(kc.Polynomial(5), ridge=0.0), oscillator),
    "bilinear": (kc.EDMDc(kc.Polynomial(3), inputs="bilinear", ridge=0.0), oscillator),
    "thin plate": (kc.EDMDc(kc.ThinPlate(30), ridge=0.0), pendulum),
    "off the circle": (kc.EDMDc(kc.Polynomial(4), ridge=0.0, manifold=False), pendulum),
    "place": (kc.SampledRNN(60, ridge=0.0), track),
}


@pytest.fixture(scope="module", params=WILD, ids=list(WILD))
def fitted(request):
    """A model that was given every chance to run away, and its data."""
    model, data = WILD[request.param]
    data = data()
    return kc.fit(data, model), data


def ends(model: kc.SampledRNN | kc.EDMDc, data: kc.Rollouts) -> tuple[np.ndarray, np.ndarray]:
    """Return the data's range of each coordinate and a width on either side; none for angles and cyclic ones."""
    chart = model.window_.chart
    Q = np.concatenate([chart.to_coordinates(Y) for Y in data.X])
    low, high = Q.min(axis=0), Q.max(axis=0)
    free = [chart.names.index(name) for name in (*[chart.names[i] for i in chart.angles], *model.cyclic_)]
    low, high = 2 * low - high, 2 * high - low
    low[free], high[free] = -np.inf, np.inf
    return low, high


@pytest.mark.parametrize("size", [1.0, 1e3, 1e308])
def test_it_never_leaves_the_box_by_more_than_its_width(fitted, size):
    """300 steps from every corner of the data, under inputs of any size: never NaN, never far away."""
    model, data = fitted
    X = np.concatenate([model.window_.states(Y, U) for Y, U in data])[:40]
    U = size * np.random.default_rng(0).uniform(-1.7, 1.7, size=(len(X), STEPS, model.nu))
    path = model.predict(X, U)[:, :, : model.window_.nq]
    low, high = ends(model, data)
    slack = 1e-9 * (1.0 + np.abs(np.where(np.isfinite(low), low, 0.0)))
    assert np.isfinite(path).all() and (path >= low - slack).all() and (path <= high + slack).all()


def test_inside_it_is_the_repeated_step(fitted):
    """As long as no step leaves the box, the guard changes not one bit."""
    model, data = fitted
    low, high = ends(model, data)
    X = np.concatenate([model.window_.states(Y, U) for Y, U in data])[:40]
    U = np.random.default_rng(1).uniform(-0.5, 0.5, size=(len(X), 10, model.nu))
    path, inside, compared = model.predict(X, U), np.ones(len(X), bool), 0
    for k in range(10):
        X = model.step(X, U[:, k])
        Q = X[:, : model.window_.nq]
        inside &= ((Q > low) & (Q < high)).all(axis=1)
        assert path[inside, k + 1] == pytest.approx(X[inside], rel=1e-9, abs=1e-9)
        compared += int(inside.sum())
    assert compared >= 2


def test_a_start_outside_is_no_error(fitted):
    """It may stay where it is, and is not drawn out further."""
    model, data = fitted
    low, high = ends(model, data)
    x0 = model.window_.states(data.X[0], data.U[0])[0].copy()
    finite = np.isfinite(high)
    x0[: model.window_.nq][finite] = (high + 5.0 * (1.0 + np.abs(high)))[finite]
    path = model.predict(x0, np.zeros((50, model.nu)))
    assert np.array_equal(path[0], x0) and np.isfinite(path).all()
    Q = path[:, : model.window_.nq][:, finite]
    assert (Q <= x0[: model.window_.nq][finite]).all() and (Q >= low[finite] - 1e-9 * (1 + np.abs(low[finite]))).all()


def test_angles_and_cyclic_places_are_free():
    """A wheel turns on and a cart rolls on, far beyond where they were recorded."""
    spinning = kc.SampledRNN(60).fit(pendulum(20, 60))
    path = spinning.predict([8.0, 0.0], np.full((400, 1), 2.0))
    theta = path[:, spinning.state_names.index("theta")]
    assert np.ptp(theta) > 3 * np.pi
    cart = kc.SampledRNN(60).fit(track())
    assert cart.cyclic_ == ("place",)
    assert cart.predict([0.0, 0.5], np.full((2000, 1), 0.3))[-1, 0] > 20.0
    kept = kc.SampledRNN(60, cyclic=()).fit(track())
    assert kept.predict([0.0, 0.5], np.full((2000, 1), 0.3))[-1, 0] < 10.0


def test_the_linear_recursion_is_not_guarded():
    """It is what a linear law computes with, so its errors are shown as they are."""
    model = kc.EDMDc(kc.SampledFeatures(100)).fit(oscillator(8, 60))
    path = model.predict([0.5, 0.5], np.zeros((200, 2)), relift=False)
    assert model.report_.spectral_radius > 1.1 and np.abs(path[-1]).max() > 1e3


def test_the_guard_does_not_touch_what_is_known():
    """An exact plant that leaves its data by less than a width is followed exactly."""
    model = kc.EDMDc(kc.Identity(), ridge=1e-13).fit(linear(8, 60))
    more = linear(1, 60, seed=9)
    box = model.envelope_
    x0 = model.encode(more.X[0][0]) + 0.4 * (box.high - box.low)
    path = model.predict(x0, more.U[0])
    assert model.excess(x0[None])[0] > 0.1
    x = x0
    for k, u in enumerate(more.U[0]):
        x = model.step(x, u)
        assert path[k + 1] == pytest.approx(x, abs=1e-9)

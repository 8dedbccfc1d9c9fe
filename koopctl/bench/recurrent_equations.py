"""The equations of the plants of `koopctl bench recurrent`: slopes, and what happens between two samples."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array

SPEED_DOWN = (0.3, 0.9)  # below which the second and the third gear change down
_SPEED_UP = (0.6, 1.2)  # above which the first and the second gear change up
_RATIOS = np.array([4.0, 2.0, 1.2])  # of the three gears
_DRAGS = np.array([1.2, 0.5, 0.2])


def tank(x: Array, u: Array) -> Array:
    """Return the slope of a tank's temperature T, its wall's W, and inputs on their way.

    T' = 1.5 u(t - theta) - 0.5 T - 0.3 T^3 + 0.4 (W - T), W' = 0.1 (T - W): the stream is heated far upstream. The
    state is [T, W, the inputs sent 1, 2, ... samples ago], the last of which acts.
    """
    del u
    T, W = x[:, 0], x[:, 1]
    out = np.zeros_like(x)
    out[:, 0] = 1.5 * x[:, -1] - 0.5 * T - 0.3 * T**3 + 0.4 * (W - T)
    out[:, 1] = 0.1 * (T - W)
    return out


def sent_on(x: Array, u: Array) -> Array:
    """Return the tank's states with every input one sample further on its way."""
    return np.concatenate([x[:, :2], u[:, None], x[:, 2:-1]], axis=1)


def masses(x: Array, u: Array) -> Array:
    """Return the slope of three unit masses in a row, the first one driven and tied to the ground, [q, q'].

    q1'' = 4 u - 2 q1 - 0.05 q1' - s1, q2'' = s1 - s2, q3'' = s2 with s1 = 10 (q1 - q2) + 0.02 (q1' - q2') and
    s2 = 10 (q2 - q3) + 4 (q2 - q3)^3 + 0.02 (q2' - q3').
    """
    q, v = x[:, :3], x[:, 3:]
    apart, faster = q[:, :2] - q[:, 1:], v[:, :2] - v[:, 1:]
    pull = 10.0 * apart + 0.02 * faster
    pull[:, 1] += 4.0 * apart[:, 1] ** 3
    force = np.stack(
        [4.0 * u - 2.0 * q[:, 0] - 0.05 * v[:, 0] - pull[:, 0], pull[:, 0] - pull[:, 1], pull[:, 1]], axis=1
    )
    return np.concatenate([v, force], axis=1)


def cart(x: Array, u: Array) -> Array:
    """Return the slope of a cart, [p, v, l]: v' = (2 u - 0.5 v - 1.5 p) / (1 + 2 l), l 1 with a payload, 0 without."""
    p, v, load = x.T
    return np.stack([v, (2.0 * u - 0.5 * v - 1.5 * p) / (1.0 + 2.0 * load), np.zeros_like(p)], axis=1)


def handed_over(x: Array, u: Array) -> Array:
    """Return the cart's states after the payload was picked up beyond p = 0.6, or put down beyond p = -0.6."""
    del u
    load = np.where(x[:, 0] > 0.6, 1.0, np.where(x[:, 0] < -0.6, 0.0, x[:, 2]))
    return np.column_stack([x[:, :2], load])


def vehicle(x: Array, u: Array) -> Array:
    """Return the slope of a vehicle, [v, g]: v' = r_g u - (0.4 + d_g) v - 0.2 v |v|, g its gear.

    r = 4, 2, 1.2 and d = 1.2, 0.5, 0.2 in the gears 0, 1, 2.
    """
    v, gear = x[:, 0], x[:, 1].astype(int)
    rate = _RATIOS[gear] * u - (0.4 + _DRAGS[gear]) * v - 0.2 * v * np.abs(v)
    return np.stack([rate, np.zeros_like(v)], axis=1)


def shifted(x: Array, u: Array) -> Array:
    """Return the vehicle's states after its gearbox: up above v = 0.6 and 1.2, down again below 0.3 and 0.9."""
    del u
    v, gear = x[:, 0], x[:, 1]
    up = ((gear == 0) & (v > _SPEED_UP[0])) | ((gear == 1) & (v > _SPEED_UP[1]))
    down = ((gear == 1) & (v < SPEED_DOWN[0])) | ((gear == 2) & (v < SPEED_DOWN[1]))
    return np.stack([v, gear + up - down], axis=1)


def motor(x: Array, u: Array) -> Array:
    """Return the slope of a motor that loses its strength as it heats, [v, h].

    v' = 3 u / (1 + 2 h) - v, h' = (u^2 - h) / 8.
    """
    v, heat = x.T
    return np.stack([3.0 * u / (1.0 + 2.0 * heat) - v, (u**2 - heat) / 8.0], axis=1)


def valve(x: Array, u: Array) -> Array:
    """Return the slope of a valve with a dead zone, [p, v]: v' = -4 p - 4 v + 6 sign(u) max(|u| - 0.2, 0)."""
    p, v = x.T
    return np.stack([v, -4.0 * p - 4.0 * v + 6.0 * np.sign(u) * np.maximum(np.abs(u) - 0.2, 0.0)], axis=1)


def duffing(x: Array, u: Array) -> Array:
    """Return the slope of Duffing's oscillator, [p, v]: v' = 2 u - 0.4 v - p - p^3."""
    p, v = x.T
    return np.stack([v, 2.0 * u - 0.4 * v - p - p**3], axis=1)


def van_der_pol(x: Array, u: Array) -> Array:
    """Return the slope of Van der Pol's oscillator, [p, v]: v' = 2 u + (1 - p^2) v - p."""
    p, v = x.T
    return np.stack([v, 2.0 * u + (1.0 - p**2) * v - p], axis=1)

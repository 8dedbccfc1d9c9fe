"""Fitted value iteration on a learnt model: least squares only, kept inside the data."""

from __future__ import annotations

import numpy as np

from koopctl.arrays import Array, as_whole
from koopctl.controllers.prediction import Prediction
from koopctl.controllers.riccati import infinite_horizon
from koopctl.controllers.steady import nearest_steady, resolve
from koopctl.controllers.steady_problem import half_ranges, last
from koopctl.controllers.value import Home, ValueFunction, ValueReport
from koopctl.controllers.weights import stage_weights
from koopctl.errors import DesignError
from koopctl.features.sampled import SampledFeatures
from koopctl.models.base import Model
from koopctl.task import Task

_DISCOUNTS = (0.97, 0.99, 1.0)  # one round each; every round samples its features anew, from the value so far
_RIDGE = 1e-8  # relative to regressors of unit size
_NEARER = 1 / 3  # share of the sampled states that are drawn towards the target
_BEYOND = 0.05  # of the box on either side: what is drawn there goes onto its faces, where successors are stopped too
_FRESH = 2000  # states of the check
_WORST = 0.25  # mean Bellman residual, relative to the mean value, with which a fit is refused
_BLOCK = 20_000  # successors lifted at a time


def fitted_value(
    model: Model,
    task: Task,
    n_features: int = 400,
    n_states: int = 6000,
    n_inputs: int = 7,
    sweeps: int = 40,
    hold: int = 3,
    random_state: int = 0,
) -> ValueFunction:
    r"""Return the value of the task on the model; its `report` tells how the iteration went.

    Repeats V <- fit of min_u (cost of h steps + gamma^h V(where h steps with u lead)) over states sampled in the box
    that held the training data and a grid of inputs (Ernst, Geurts, Wehenkel, Tree-based batch mode reinforcement
    learning, JMLR 2005; Munos, Szepesvari, Finite-time bounds for fitted value iteration, JMLR 2008). Least squares is
    no contraction, and a model says nothing outside its data, so: successors outside the box are no choice, targets
    are clipped to what the discount allows, discounts grow towards 1 round by round, and near the target the value is
    the LQR's. Holding the input leaves fewer fits between a state and the target: each fit blurs the ridges of the
    value, and the minimum over inputs then picks what was blurred downwards. Only Q and R count; rate costs, prices
    and soft bounds do not.

    Args:
        model: A fitted model without delays.
        task: Target, weights, input bounds.
        n_features: Hidden units.
        n_states: Sampled states.
        n_inputs: Values of each input that are compared; with more than two inputs as many random ones as two have.
        sweeps: Sweeps a round.
        hold: Steps for which an input is held in a sweep.
        random_state: Seed of states, inputs and features.

    Raises:
        DesignError: The model has delays, there is no LQR at the target, or the iteration did not converge.
    """
    counts = {"n_features": n_features, "n_states": n_states, "n_inputs": n_inputs, "sweeps": sweeps, "hold": hold}
    settings = {name: as_whole(name, number, 1 if name == "hold" else 2) for name, number in counts.items()}
    rng = np.random.default_rng(random_state)
    home = _home(model, task)
    X, inputs = _states(model, home, n_states, rng), _inputs(home, n_inputs, rng)
    W = model.window_.embed(X)
    unit = np.where(W.std(axis=0) > 0, W.std(axis=0), 1.0)
    value = ValueFunction(model, home, SampledFeatures(n_features), W.mean(axis=0), unit, np.zeros(0), inputs, hold)
    value.settings = settings | {"random_state": random_state}
    iteration = _Iteration(value, X)
    goal, falls = iteration.stage, []
    for number, discount in enumerate(_DISCOUNTS):
        value.features = SampledFeatures(
            n_features, "gradient" if number else "uniform", random_state=random_state + number
        )
        before, goal = goal, iteration.round(goal, discount, sweeps)
        falls.append(float(np.mean(goal < before - 0.1 * goal.mean())))
    mean = max(float(goal.mean()), 1e-12)
    residual = _residual(value, _states(model, home, _FRESH, rng, 0.0)) / mean
    value.report = ValueReport(iteration.change / mean, residual, max(falls), iteration.clipped, iteration.dead)
    if not (np.isfinite(residual) and residual <= _WORST):
        raise DesignError(
            f"the value iteration did not converge: its mean residual is {residual:.0%} of the mean value, expected at "
            f"most {_WORST:.0%}. Use more features or states, record data around the whole way, or do without a value."
        )
    return value


class _Iteration:
    """The sweeps over one set of states: everything but the coefficients is computed once a round."""

    def __init__(self, value: ValueFunction, X: Array) -> None:
        home = value.home
        self.value, self.X = value, X
        cost, self.next, allowed = value.held(X)
        none = ~allowed.any(axis=1)
        self.dead = float(none.mean())
        allowed[none] = True  # then the nearest point inside stands for the successor
        self.cost, self.stage = np.where(allowed, cost, np.inf), value.stage(X, np.tile(home.u, (len(X), 1)))
        self.share, e = value.share_of_home(X)
        self.near = self.share * ((e @ home.P) * e).sum(axis=1)
        self.next_share, e = value.share_of_home(self.next)
        self.next_near = self.next_share * ((e @ home.P) * e).sum(axis=1)
        self.change = self.clipped = 0.0

    def round(self, goal: Array, discount: float, sweeps: int) -> Array:
        """Sample the features from the value so far (n,), sweep, and return the value after it."""
        value, discount = self.value, discount**self.value.hold
        value.features.fit((value.window.embed(self.X) - value.mean) / value.scale, goal[:, None])
        Phi = (1.0 - self.share)[:, None] * value.basis(self.X)
        G = Phi.T @ Phi
        G.flat[:: len(G) + 1] += _RIDGE * np.trace(G) / len(G)
        solve = np.linalg.solve(G, Phi.T)
        Psi = self._lifted_successors(Phi.shape[1])
        # What discounted costs can add up to; without a discount, a thousand steps of the worst.
        ceiling = value.hold * self.stage.max() / max(1.0 - discount, 1e-3)
        theta = solve @ (goal - self.near)
        for _ in range(sweeps):
            successor = np.maximum(Psi @ theta.astype(np.float32) + self.next_near, 0.0).reshape(self.cost.shape)
            wanted = (self.cost + discount * successor).min(axis=1)
            self.clipped = float(np.mean(wanted > ceiling))
            before, theta = theta, solve @ (np.minimum(wanted, ceiling) - self.near)
        self.change = float(np.abs(Phi @ (theta - before)).mean())
        value.theta = theta
        return np.asarray(np.maximum(Phi @ theta + self.near, self.stage))

    def _lifted_successors(self, width: int) -> np.ndarray:
        """Return (1 - b) psi of all successors in single precision: they are the bulk of the memory and the work."""
        Psi = np.empty((len(self.next), width), np.float32)
        for start in range(0, len(Psi), _BLOCK):
            part = slice(start, start + _BLOCK)
            Psi[part] = (1.0 - self.next_share[part])[:, None] * self.value.basis(self.next[part])
        return Psi


def _home(model: Model, task: Task) -> Home:
    if model.window_.delays:
        raise DesignError(
            "a value function needs a model without delays or memory: windows of samples drawn at random are no "
            "motion. Measure the whole state and fit SampledRNN() or an EDMDc, or do without a value."
        )
    wanted, prediction = resolve(model, task), Prediction(model, task)
    if len(prediction.measured):
        raise DesignError("a value function cannot foresee measured disturbances; do without a value.")
    steady = nearest_steady(prediction, wanted)
    Q, R = stage_weights(model.nx, last(wanted.Q, 2)), last(wanted.R, 2)
    K, P = infinite_horizon(*prediction.linearize(steady.x, steady.u), Q, R)
    u_min, u_max = np.maximum(wanted.u_min, prediction.low), np.minimum(wanted.u_max, prediction.high)
    low, high = np.full(model.nx, -np.inf), np.full(model.nx, np.inf)
    position, column = model.window_.chart.linear
    low[position], high[position] = model.envelope_.low[column], model.envelope_.high[column]
    room = np.maximum(np.minimum(u_max - steady.u, steady.u - u_min), 1e-9)
    reach = np.concatenate([K / room[:, None], np.diag(1.0 / half_ranges(model))])
    return Home(steady.x, steady.u, P, K, Q, R, u_min, u_max, low, high, reach)


def _states(model: Model, home: Home, count: int, rng: np.random.Generator, nearer: float = _NEARER) -> Array:
    """Sample states in the box of the data and on its faces, angles all around, a share of them nearer to the target.

    Without states on the faces the value of what is stopped there is an extrapolation; where that is low, it makes the
    states of that corner cheap, and they confirm it.
    """
    low = np.where(np.isfinite(home.low), home.low, -np.pi)
    high = np.where(np.isfinite(home.high), home.high, np.pi)
    beyond = np.where(np.isfinite(home.high - home.low), _BEYOND * (high - low), 0.0)
    X = rng.uniform(low - beyond, high + beyond, size=(count, model.nx))
    drawn = int(nearer * count)
    X[:drawn] = home.x + model.difference(X[:drawn], home.x) * rng.random((drawn, 1))
    return np.asarray(np.clip(X, home.low, home.high))


def _inputs(home: Home, count: int, rng: np.random.Generator) -> Array:
    """Return the inputs that are compared, (m, nu): a grid for one or two inputs, else random ones; always u_s."""
    nu = len(home.u)
    if nu <= 2:
        levels = np.linspace(home.u_min, home.u_max, count).T
        grid = np.stack(np.meshgrid(*levels, indexing="ij"), axis=-1).reshape(-1, nu)
    else:
        grid = rng.uniform(home.u_min, home.u_max, size=(count**2, nu))
    return np.concatenate([grid, np.clip(home.u, home.u_min, home.u_max)[None]])


def _residual(value: ValueFunction, X: Array) -> float:
    """Return the mean Bellman residual at states X (n, nx), of which those that must leave the data do not count."""
    fresh = _Iteration(value, X)
    wanted = (fresh.cost + value(fresh.next).reshape(fresh.cost.shape)).min(axis=1)
    return float(np.abs(value(X) - wanted).mean())

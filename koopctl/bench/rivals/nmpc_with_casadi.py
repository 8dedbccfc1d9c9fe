"""Nonlinear MPC by CasADi and IPOPT, as its users write it: multiple shooting, compiled once, warm-started.

Run as `python nmpc_with_casadi.py PROBLEM.npz RESULT.npz`. A problem of kind "network" holds a sampled network, a task
and starts, and runs closed loops on the plant of `chain.py`; one of kind "motor" holds the DC motor's task and runs the
true model on itself.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any

import casadi
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def load(path: str) -> Any:
    """Import a file that is in no package."""
    spec = importlib.util.spec_from_file_location("plant", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ShootingMPC:
    """Minimise a tracking cost over N steps of x+ = step(x, u), input bounds hard, bounds on x soft by L1 and L2."""

    def __init__(self, step: Any, weights: dict[str, Array], N: int, nx: int, nu: int) -> None:
        """Compile the program."""
        self.N, self.nx, self.nu = N, nx, nu
        X, U, s = casadi.SX.sym("X", nx, N + 1), casadi.SX.sym("U", nu, N), casadi.SX.sym("s", nx)
        x0, R = casadi.SX.sym("x0", nx), casadi.SX.sym("R", nx, N + 1)
        cost: Any = 0
        rows = [X[:, 0] - x0]
        for k in range(N):
            away = X[:, k] - R[:, k]
            cost += casadi.bilin(weights["Q"], away, away) + casadi.bilin(weights["R"], U[:, k], U[:, k])
            rows.append(X[:, k + 1] - step(X[:, k], U[:, k]))
        away = X[:, N] - R[:, N]
        cost += casadi.bilin(weights["P"], away, away)
        price = casadi.DM(weights["slack_price"])
        cost += casadi.dot(price, 2 * s + s * s)
        bounded = [i for i in range(nx) if np.isfinite(weights["y_max"][i])]
        soft = [X[i, k] - s[i] - weights["y_max"][i] for k in range(1, N + 1) for i in bounded]
        soft += [weights["y_min"][i] - s[i] - X[i, k] for k in range(1, N + 1) for i in bounded]
        equal, below = casadi.vertcat(*rows), casadi.vertcat(*soft) if soft else casadi.SX(0, 1)
        v = casadi.vertcat(casadi.vec(X), casadi.vec(U), s)
        settings: dict[str, Any] = {
            "ipopt.print_level": 0,
            "print_time": False,
            "ipopt.sb": "yes",
            "ipopt.warm_start_init_point": "yes",
        }
        parameters, rows_of = casadi.vertcat(x0, casadi.vec(R)), casadi.vertcat(equal, below)
        problem: dict[str, Any] = {"x": v, "p": parameters, "f": cost, "g": rows_of}
        self._solver = casadi.nlpsol("mpc", "ipopt", problem, settings)
        free = np.full(nx * (N + 1), np.inf)
        self._low = np.concatenate([-free, np.tile(weights["u_min"], N), np.zeros(nx)])
        self._high = np.concatenate([free, np.tile(weights["u_max"], N), np.full(nx, np.inf)])
        n_equal, n_below = equal.shape[0], below.shape[0]
        self._g = np.zeros(n_equal), np.full(n_below, -np.inf), np.zeros(n_below)
        self.reset()

    def reset(self) -> None:
        """Forget the last solution."""
        self._guess: Array | None = None
        self._multipliers: tuple[Any, Any] | None = None

    def __call__(self, x: Array, R: Array) -> Array:
        """Return the first input (nu,) for a state (nx,) and a reference (N + 1, nx)."""
        nx, nu, N = self.nx, self.nu, self.N
        if self._guess is None:
            self._guess = np.concatenate([np.tile(x, N + 1), np.zeros(nu * N + nx)])
        equal, low, high = self._g
        start = (
            {"x0": self._guess}
            if self._multipliers is None
            else {"x0": self._guess, "lam_x0": self._multipliers[0], "lam_g0": self._multipliers[1]}
        )
        found = self._solver(
            **start,
            p=np.concatenate([x, R.ravel()]),
            lbx=self._low,
            ubx=self._high,
            lbg=np.concatenate([equal, low]),
            ubg=np.concatenate([equal, high]),
        )
        v = np.array(found["x"]).ravel()
        self._multipliers = found["lam_x"], found["lam_g"]
        states, inputs = v[: nx * (N + 1)].reshape(N + 1, nx), v[nx * (N + 1) : -nx].reshape(N, nu)
        shifted = np.concatenate([states[1:], states[-1:]]), np.concatenate([inputs[1:], inputs[-1:]])
        self._guess = np.concatenate([shifted[0].ravel(), shifted[1].ravel(), v[-nx:]])
        return np.asarray(inputs[0])


def network(problem: dict[str, Array]) -> dict[str, Array]:
    """Run closed loops on the chain with the learnt network as model."""
    V, b, C, L, c = (casadi.DM(problem[name]) for name in ("V", "b", "C", "L", "c"))

    def step(x: Any, u: Any) -> Any:
        s = casadi.vertcat(x, u)
        return x + C @ casadi.tanh(V.T @ s + b) + L @ s + c

    N, starts = int(problem["horizon"]), problem["starts"]
    mpc = ShootingMPC(step, problem, N, starts.shape[1], len(problem["u_min"]))
    plant, target = load(str(problem["plant"])).chain_step, np.zeros((N + 1, starts.shape[1]))
    times, inputs = [], []
    for x in starts:
        mpc.reset()
        for _ in range(int(problem["steps"])):
            begin = time.perf_counter()
            u = mpc(x, target)
            times.append(time.perf_counter() - begin)
            inputs.append(u)
            x = plant(x, u)
    return {"times": np.array(times), "inputs": np.array(inputs)}


def motor(problem: dict[str, Array]) -> dict[str, Array]:
    """Let the true model of the DC motor track the reference on itself."""

    def slope(x: Any, u: Any) -> Any:
        first = 19.10828025 - 39.3153 * x[0] - 32.2293 * x[1] * u
        return casadi.vertcat(first, -3.333333333 - 1.6599 * x[1] + 22.9478 * x[0] * u)

    def step(x: Any, u: Any) -> Any:
        for _ in range(5):
            h = 0.002
            k1 = slope(x, u[0])
            k2 = slope(x + h / 2 * k1, u[0])
            k3 = slope(x + h / 2 * k2, u[0])
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3, u[0]))
        return x

    N, R = int(problem["horizon"]), problem["reference"]
    mpc = ShootingMPC(step, problem, N, 2, 1)
    x, u_of = casadi.SX.sym("x", 2), casadi.SX.sym("u", 1)
    plant = casadi.Function("plant", [x, u_of], [step(x, u_of)])
    state, speeds, inputs, times = np.zeros(2), [], [], []
    for k in range(int(problem["steps"])):
        begin = time.perf_counter()
        u = mpc(state, R[k : k + N + 1])
        times.append(time.perf_counter() - begin)
        state = np.array(plant(state, u)).ravel()
        speeds.append(state[1])
        inputs.append(u)
    return {"times": np.array(times), "inputs": np.array(inputs), "speeds": np.array(speeds)}


if __name__ == "__main__":
    with np.load(sys.argv[1], allow_pickle=False) as file:
        given = {name: file[name] for name in file.files}
    result: dict[str, Any] = {"network": network, "motor": motor}[str(given["kind"])](given)
    np.savez(sys.argv[2], **result)

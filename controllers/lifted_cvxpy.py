"""The lifted MPC's problem, written to be read: the specification the condensed program is tested against."""

# mypy: disable-error-code="attr-defined"
# cvxpy re-exports its functions with star imports, which mypy does not follow.

from __future__ import annotations

import cvxpy as cp
import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.lifted_mpc import LiftedMPC
from koopctl.controllers.weights import stage_weights


def lifted_problem(law: LiftedMPC, x0: Array, u_last: Array) -> tuple[cp.Problem, cp.Variable, cp.Variable]:
    """State the problem of `law`, as its last call left it, at state x0 with every lifted state as a variable.

    Args:
        law: The law whose problem is stated.
        x0: State, (nx,).
        u_last: Input sent before, (nu,).

    Returns:
        `(problem, u, zeta)`: u (N, nu) are the inputs, zeta (N + 1, nz) the lifted states relative to the steady one.
    """
    model, task, steady, foretold = law.system, law.wanted, law.steady, law.prediction
    N, nq = task.horizon, foretold.nq
    u = cp.Variable((N, foretold.nu))
    zeta = cp.Variable((N + 1, model.nz))
    slack = cp.Variable(nq, nonneg=True)
    # Everything that may change along the horizon, one entry a stage.
    Q, R, dR = (_stages(weight, 2, N) for weight in (stage_weights(nq, task.Q), task.R, task.dR))
    u_min, u_max, du_max, u_price = (_stages(v, 1, N) for v in (task.u_min, task.u_max, task.du_max, task.u_price))
    y_min, y_max, y_price = (_stages(v, 1, N) for v in (task.y_min, task.y_max, task.y_price))
    path = np.tile(steady.x[:nq], (N, 1)) if task.path is None else task.path
    W, B = foretold.W, model.B_

    near = steady.x + model.window_.difference(x0, steady.x)
    constraints = [zeta[0] == model.lift_state(near) - model.lift_state(steady.x)]
    cost = cp.quad_form(zeta[N], cp.psd_wrap(law.P))
    for k in range(N):
        before = u[k - 1] if k else u_last
        away = zeta[k, :nq] + steady.x[:nq] - path[k]
        cost += cp.quad_form(away, cp.psd_wrap(Q[k])) + cp.quad_form(u[k] - steady.u, cp.psd_wrap(R[k]))
        cost += cp.quad_form(u[k] - before, cp.psd_wrap(dR[k]))
        cost += u_price[k] @ u[k] + y_price[k] @ (zeta[k + 1, :nq] + steady.x[:nq])
        push = B[:, foretold.free] @ (u[k] - steady.u) + B[:, foretold.measured] @ (W[k] - W[-1])
        constraints += [zeta[k + 1] == model.A_ @ zeta[k] + push + law.drift]
        constraints += _between(u[k], u_min[k], u_max[k], 0.0) + _between(u[k] - before, -du_max[k], du_max[k], 0.0)
        constraints += _between(zeta[k + 1, :nq] + steady.x[:nq], y_min[k], y_max[k], slack)
        constraints += [u[k] == before] if k and k not in task.moves else []
    # Half of everything above is minimised by the law, so its slack price counts twice here.
    cost += 2 * task.slack_price @ slack + cp.quad_form(slack, np.diag(task.slack_price))
    if law.terminal is not None:
        last = cp.Variable(nonneg=True)
        price, rows = task.slack_price.max(), zeta[N] @ law.terminal.G.T
        constraints += _between(rows, law.terminal.low, law.terminal.high, last * np.ones(len(law.terminal.G)))
        cost += price * (2 * last + cp.sum_squares(last))
    return cp.Problem(cp.Minimize(cost), constraints), u, zeta


def _stages(value: Array, ndim: int, N: int) -> Array:
    """Return one value a stage."""
    return np.array(np.broadcast_to(value, (N, *value.shape[-ndim:])))


def _between(value: cp.Expression, low: Array, high: Array, slack: cp.Expression | float) -> list[cp.Constraint]:
    """Return low - slack <= value <= high + slack for the finite bounds only."""
    rows: list[cp.Constraint] = []
    for i in np.flatnonzero(np.isfinite(low)):
        rows.append(value[i] >= low[i] - (slack if isinstance(slack, float) else slack[i]))
    for i in np.flatnonzero(np.isfinite(high)):
        rows.append(value[i] <= high[i] + (slack if isinstance(slack, float) else slack[i]))
    return rows

"""The lifted MPC's problem, written to be read: the specification the condensed program is tested against."""

# mypy: disable-error-code="attr-defined"
# cvxpy re-exports its functions with star imports, which mypy does not follow.

from __future__ import annotations

import cvxpy as cp
import numpy as np

from koopctl.arrays import Array
from koopctl.controllers.lifted_mpc import LiftedMPC


def lifted_problem(law: LiftedMPC, x0: Array, u_last: Array) -> tuple[cp.Problem, cp.Variable, cp.Variable]:
    """State the problem of `law` at state x0 with every lifted state as a variable.

    Args:
        law: The law whose problem is stated.
        x0: State, (nx,).
        u_last: Input applied before, (nu,).

    Returns:
        `(problem, u, zeta)`: u (N, nu) are the inputs, zeta (N + 1, nz) the lifted states relative to the steady one.
    """
    model, task, steady = law.system, law.wanted, law.steady
    N, nq = task.horizon, model.window_.nq
    u = cp.Variable((N, model.nu))
    zeta = cp.Variable((N + 1, model.nz))
    slack = cp.Variable(nq, nonneg=True)

    near = steady.x + model.window_.difference(x0, steady.x)
    constraints = [zeta[0] == model.lift_state(near) - model.lift_state(steady.x)]
    cost = cp.quad_form(zeta[N], cp.psd_wrap(law.P))
    for k in range(N):
        before = u[k - 1] if k else u_last
        cost += cp.quad_form(zeta[k, :nq], cp.psd_wrap(task.Q))
        cost += cp.quad_form(u[k] - steady.u, cp.psd_wrap(task.R)) + cp.quad_form(u[k] - before, cp.psd_wrap(task.dR))
        constraints += [zeta[k + 1] == model.A_ @ zeta[k] + model.B_ @ (u[k] - steady.u) + law.drift]
        constraints += _between(u[k], task.u_min, task.u_max, 0.0)
        constraints += _between(u[k] - before, -task.du_max, task.du_max, 0.0)
        constraints += _between(zeta[k + 1, :nq] + steady.x[:nq], task.y_min, task.y_max, slack)
    # Half of everything above is minimised by the law, so its slack price counts twice here.
    cost += cp.sum(cp.multiply(task.slack_price, 2 * slack + cp.square(slack)))
    return cp.Problem(cp.Minimize(cost), constraints), u, zeta


def _between(value: cp.Expression, low: Array, high: Array, slack: cp.Variable | float) -> list[cp.Constraint]:
    """Return low - slack <= value <= high + slack for the finite bounds only."""
    rows: list[cp.Constraint] = []
    for i in np.flatnonzero(np.isfinite(low)):
        rows.append(value[i] >= low[i] - (slack if isinstance(slack, float) else slack[i]))
    for i in np.flatnonzero(np.isfinite(high)):
        rows.append(value[i] <= high[i] + (slack if isinstance(slack, float) else slack[i]))
    return rows

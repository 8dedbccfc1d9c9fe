"""A parametrised CVXPY problem compiled once to a small dense quadratic program."""

# mypy: disable-error-code="attr-defined"
# cvxpy re-exports its functions with star imports, which mypy does not follow.

from __future__ import annotations

import cvxpy as cp
import numpy as np
import scipy.linalg

from koopctl.arrays import Array
from koopctl.errors import DesignError
from koopctl.qp import QP, QPSolution

_CONVEX = 1e-6  # of the largest entry: added to a Hessian that is only semidefinite, as that of slacks is
_RANK = 1e-10


class CompiledProgram:
    r"""Minimise :math:`\tfrac12 w^T P w + q(p)^T w` subject to :math:`l(p) \le F w \le h(p)` for parameter vectors p.

    What CVXPY makes of a problem is affine in the parameters where they only add: P and the rows are constant, q and
    the bounds are found from one canonicalisation a parameter entry. The equality rows, which define most of CVXPY's
    own variables, are eliminated (null-space method), so that a call solves a program of the size of the inputs.

    Attributes:
        parameters: The problem's parameters, in the order of p.
        size: Number of w.
    """

    def __init__(self, problem: cp.Problem, variable: cp.Variable, solver: str = "osqp") -> None:
        """Check the problem's grammar and compile it.

        Args:
            problem: The problem.
            variable: Whose value a solution is wanted of, (n,).
            solver: Name of the quadratic programming solver.

        Raises:
            DesignError: The problem is not convex by CVXPY's rules, not a quadratic program, or its parameters are no
                vectors or do more than add.
        """
        _check_grammar(problem)
        self.parameters = sorted(problem.parameters(), key=lambda each: each.id)
        sizes, given = [each.size for each in self.parameters], [each.value for each in self.parameters]
        at_zero = np.zeros(sum(sizes))
        P, q, A, b, F, h, first = self._canonical(problem, variable, at_zero)
        Q, B, H = (np.zeros((len(part), len(at_zero))) for part in (q, b, h))
        for j in range(len(at_zero)):
            unit = at_zero.copy()
            unit[j] = 1.0
            P_j, q_j, A_j, b_j, F_j, h_j, _ = self._canonical(problem, variable, unit)
            if not all(np.array_equal(one, other) for one, other in ((P_j, P), (A_j, A), (F_j, F))):
                name = self._owner(j).name()
                raise DesignError(
                    f"the parameter '{name}' multiplies a variable, so the program would have to be built anew at "
                    "every call; let parameters only add to expressions, or give the number itself."
                )
            Q[:, j], B[:, j], H[:, j] = q_j - q, b_j - b, h_j - h
        for each, value in zip(self.parameters, given, strict=True):
            each.save_value(value)
        self._eliminate(P, (q, Q), A, (b, B), F, (h, H))
        self._wanted = slice(first, first + variable.size)
        m = len(self._F)
        self._none = np.full(m, -np.inf)
        self._qp = QP(self._P, self._F, solver=solver) if m else None

    def _canonical(self, problem: cp.Problem, variable: cp.Variable, p: Array) -> tuple[Array, ...]:
        start = 0
        for each in self.parameters:
            each.value = p[start : start + each.size].reshape(each.shape, order="F")
            start += each.size
        data, _, _ = problem.get_problem_data(cp.OSQP)
        first = data["param_prob"].var_id_to_col[variable.id]
        dense = (data["P"].toarray(), data["q"], data["A"].toarray(), data["b"], data["F"].toarray(), data["G"])
        return (*(np.array(part, dtype=float) for part in dense), first)

    def _owner(self, entry: int) -> cp.Parameter:
        ends = np.cumsum([each.size for each in self.parameters])
        owner: cp.Parameter = self.parameters[int(np.searchsorted(ends, entry, side="right"))]
        return owner

    def _eliminate(
        self, P: Array, q: tuple[Array, Array], A: Array, b: tuple[Array, Array], F: Array, h: tuple[Array, Array]
    ) -> None:
        """Write x = particular(p) + Z w with A Z = 0, for the constant parts and for every column of p."""
        inverse = np.linalg.pinv(A, _RANK)
        self._Z = scipy.linalg.null_space(A, _RANK) if len(A) else np.eye(len(P))
        self._x = [inverse @ part for part in b]
        self._lost = [part - A @ x for part, x in zip(b, self._x, strict=True)]
        self._P, self._F = self._Z.T @ P @ self._Z, F @ self._Z
        self._P += _CONVEX * max(float(np.abs(self._P).max(initial=0.0)), 1.0) * np.eye(len(self._P))
        self._q = [self._Z.T @ (part + P @ x) for part, x in zip(q, self._x, strict=True)]
        self._h = [part - F @ x for part, x in zip(h, self._x, strict=True)]
        self.size = len(self._P)

    def reset(self) -> None:
        """Forget the last solution."""
        if self._qp is not None:
            self._qp.reset()

    def solve(self, p: Array) -> tuple[Array, QPSolution | None]:
        """Return the variable's value (n,) for parameters p, and the solver's answer; None where nothing is bounded.

        Raises:
            SolverError: The program holds NaN.
        """
        q, x, h = (parts[0] + parts[1] @ p for parts in (self._q, self._x, self._h))
        if self._qp is None:
            w, solution = -np.linalg.solve(self._P, q), None
        else:
            solution = self._qp.solve(q, self._none, h)
            w = solution.x
        return (x + self._Z @ w)[self._wanted], solution


def _check_grammar(problem: cp.Problem) -> None:
    for each in problem.parameters():
        if each.ndim > 1:
            raise DesignError(f"the parameter '{each.name()}' has shape {each.shape}; parameters are vectors.")
    if not problem.is_dcp():
        parts = [problem.objective, *problem.constraints]
        wrong = "; ".join(str(part) for part in parts if not part.is_dcp())[:300]
        raise DesignError(
            f"the problem is not convex by CVXPY's rules: {wrong}. Rewrite these with convex functions; "
            "a parameter that is a price needs its sign: cp.Parameter(n, nonneg=True)."
        )
    if not problem.is_dpp():
        raise DesignError(
            "parameters are multiplied with each other or stand where CVXPY cannot follow them (DPP); let them add."
        )
    if not problem.is_qp():
        raise DesignError(
            "the problem is convex but no quadratic program; use sums of squares, absolute values, maxima and linear "
            "constraints (norms of order 2 and exponentials need another solver)."
        )

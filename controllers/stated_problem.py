"""A problem as its user states it: checked, and read out of CVXPY once."""

# mypy: disable-error-code="attr-defined"
# cvxpy re-exports its functions with star imports, which mypy does not follow.

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
import scipy.sparse as sparse
from cvxpy.lin_ops.lin_utils import get_id

from koopctl.arrays import Array
from koopctl.errors import DesignError

Formulate = Callable[[cp.Expression, cp.Expression, cp.Expression], tuple[cp.Expression, list[cp.Constraint]]]


class Affine(NamedTuple):
    """A vector that the parameters p add to: constant + slope p."""

    constant: Array
    slope: Array

    def at(self, p: Array) -> Array:
        """Return the vector for parameters p."""
        return self.constant + self.slope @ p if len(p) else self.constant


class StatedProblem:
    r"""Minimise :math:`\tfrac12 \chi^T P \chi + q(p)^T \chi + c(p)` subject to :math:`A \chi = b(p), F \chi \le h(p)`.

    :math:`\chi` holds the plan's coordinates and inputs and all variables of the user's and of CVXPY's own. What CVXPY
    makes of a problem is affine in its parameters p where they only add: the matrices are constant, and the vectors
    are found from one canonicalisation a parameter entry. The model is no part of it, so that it may change.

    Attributes:
        cost: The cost as stated.
        constraints: The constraints as stated.
        x: The plan's coordinates, (N + 1, nq).
        u: The plan's inputs, (N, nu).
        parameters: The problem's parameters, in the order of p.
        x_at: Where x, row after row, is in chi; empty where the problem does not speak of it.
        u_at: The same of u.
    """

    def __init__(self, formulate: Formulate, x: cp.Variable, u: cp.Variable, y: cp.Expression) -> None:
        """Let the user state the problem, check it, and read it out.

        Args:
            formulate: States cost and constraints.
            x: The plan's coordinates, (N + 1, nq).
            u: The plan's inputs, (N, nu).
            y: The plan's measured states, (N + 1, ny).

        Raises:
            DesignError: What is stated is no cost and constraints, not convex by CVXPY's rules, no quadratic program,
                or its parameters do more than add.
        """
        self.x, self.u = x, u
        self.cost, self.constraints = _stated(formulate, x, u, y)
        problem = cp.Problem(cp.Minimize(self.cost), self.constraints)
        _check_grammar(problem)
        self.parameters = sorted(problem.parameters(), key=lambda each: each.id)
        given = [each.value for each in self.parameters]
        self._read(problem, sum(each.size for each in self.parameters))
        for each, value in zip(self.parameters, given, strict=True):
            each.save_value(value)

    def _read(self, problem: cp.Problem, size: int) -> None:
        at_zero, matrices, columns = self._canonical(problem, np.zeros(size))
        slopes = [np.zeros((len(part), size)) for part in at_zero]
        for j in range(size):
            unit = np.zeros(size)
            unit[j] = 1.0
            at_unit, same, _ = self._canonical(problem, unit)
            if any(one.shape != other.shape or (one != other).nnz for one, other in zip(same, matrices, strict=True)):
                raise DesignError(
                    f"the parameter '{self._owner(j).name()}' multiplies a variable, so the program would have to be "
                    "built anew at every call; let parameters only add to expressions, or give the number itself."
                )
            for slope, one, zero in zip(slopes, at_unit, at_zero, strict=True):
                slope[:, j] = one - zero
        self.q, self.b, self.h, self.c = (Affine(*parts) for parts in zip(at_zero, slopes, strict=True))
        self.P, self.A, self.F = matrices
        self.x_at, self.u_at = (_entries(columns, each) for each in (self.x, self.u))

    def _canonical(self, problem: cp.Problem, p: Array) -> tuple[list[Array], list[sparse.csr_array], dict[int, int]]:
        """Return the vectors q, b, h, c, the matrices P, A, F, and where each variable begins, for parameters p."""
        start = 0
        for each in self.parameters:
            each.save_value(p[start : start + each.size].reshape(each.shape, order="F"))
            start += each.size
        data, _, undo = problem.get_problem_data(cp.OSQP)
        vectors = [np.array(data[name], dtype=float) for name in ("q", "b", "G")]
        vectors.append(np.array(undo[-1]["offset"], dtype=float).reshape(1))
        matrices = [sparse.csr_array(data[name], dtype=float) for name in ("P", "A", "F")]
        return vectors, matrices, data["param_prob"].var_id_to_col

    def _owner(self, entry: int) -> cp.Parameter:
        ends = np.cumsum([each.size for each in self.parameters])
        owner: cp.Parameter = self.parameters[int(np.searchsorted(ends, entry, side="right"))]
        return owner


def use_up_numbers(formulate: Formulate, x: cp.Variable, u: cp.Variable, y: cp.Expression) -> None:
    """Use up the numbers by which CVXPY tells the user's symbols apart, so that none of ours gets one of them.

    CVXPY counts in every process from 1 on: in a worker process, the user's parameters arrive with numbers that are
    still to be given there, and two symbols of one number are one to CVXPY, without a word.

    Args:
        formulate: States cost and constraints, with symbols that are thrown away afterwards.
        x: The plan's coordinates.
        u: The plan's inputs.
        y: The plan's measured states.
    """
    cost, constraints = _stated(formulate, x, u, y)
    parts = [part for part in (u, cost, *constraints) if not isinstance(part, int | float)]
    last = max(each.id for part in parts for each in (*part.parameters(), *part.variables()))
    while get_id() < last:
        pass


def _entries(columns: dict[int, int], variable: cp.Variable) -> np.ndarray:
    """Return where a matrix variable's entries are, row after row; CVXPY counts along columns."""
    if variable.id not in columns:
        return np.zeros(0, dtype=int)
    n, k = variable.shape
    return np.asarray(columns[variable.id] + (np.arange(n)[:, None] + n * np.arange(k)).ravel())


def _stated(formulate: Any, x: cp.Variable, u: cp.Variable, y: cp.Expression) -> tuple[Any, list[cp.Constraint]]:
    """Return what the user states, or say what is wrong with it."""
    shapes = f"formulate(x, u, y) gets x {x.shape}, u {u.shape} and y {y.shape}"
    if not callable(formulate):
        raise DesignError(f"formulate is {formulate!r}, which cannot be called; pass a function: {shapes}.")
    try:
        inspect.signature(formulate).bind(x, u, y)
    except TypeError as error:
        raise DesignError(f"{shapes}, and this one does not take three arguments: {error}.") from None
    except ValueError:  # a callable without a signature
        pass
    try:
        stated = formulate(x, u, y)
    except Exception as error:  # the user's own code may raise anything
        raise DesignError(f"{shapes}, and raised {type(error).__name__}: {error}") from error
    if not (isinstance(stated, tuple) and len(stated) == 2):
        raise DesignError(f"formulate returned {stated!r}; expected the pair (cost, list of constraints).")
    cost, constraints = stated
    if not isinstance(cost, cp.Expression | int | float) or np.prod(np.shape(cost)) != 1:
        raise DesignError(f"formulate returned the cost {cost!r}; expected one scalar expression, such as cp.sum(...).")
    if not isinstance(constraints, list | tuple):
        raise DesignError(f"formulate returned the constraints {constraints!r}; expected a list, [] for none.")
    for each in constraints:
        if not isinstance(each, cp.Constraint):
            raise DesignError(f"formulate returned the constraint {each!r}; expected comparisons of expressions.")
    return cost, list(constraints)


def _check_grammar(problem: cp.Problem) -> None:
    if not problem.variables():
        raise DesignError("cost and constraints speak of no variable, so nothing is asked for; use x, u or y in them.")
    whole = [each.name() for each in problem.variables() if each.attributes["integer"] or each.attributes["boolean"]]
    if whole:
        raise DesignError(
            f"the variables {', '.join(whole)} are integer or boolean, which no quadratic program has; make them real "
            "(cp.Variable(n, nonneg=True), bounded by 1) and round what comes, or price what they decide."
        )
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

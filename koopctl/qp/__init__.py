"""Quadratic programs: validate, solve by one of several solvers, verify. The only package that imports a QP solver."""

from koopctl.qp.backends import SOLVERS
from koopctl.qp.program import QP
from koopctl.qp.solution import QPSolution

__all__ = ["QP", "SOLVERS", "QPSolution"]

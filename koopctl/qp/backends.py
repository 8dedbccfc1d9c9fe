"""The solvers by name."""

from __future__ import annotations

from koopctl.errors import KoopctlError, UnknownNameError
from koopctl.qp.backend import Backend

SOLVERS = ("osqp", "daqp", "piqp", "active_set")


def backend(name: str) -> type[Backend]:
    """Return the class of a solver, importing its package only now.

    Raises:
        UnknownNameError: There is no such solver.
        KoopctlError: Its package is not installed.
    """
    if name not in SOLVERS:
        raise UnknownNameError("solver", name, SOLVERS)
    try:
        return _imported(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise KoopctlError(
            f"solver '{name}' is known, but the package {name} is not installed; run: pip install 'koopctl[fast]', "
            "or choose solver='osqp' or 'active_set', which need nothing more."
        ) from None


def _imported(name: str) -> type[Backend]:
    if name == "osqp":
        from koopctl.qp.by_osqp import OSQPBackend

        return OSQPBackend
    if name == "daqp":
        from koopctl.qp.by_daqp import DAQPBackend

        return DAQPBackend
    if name == "piqp":
        from koopctl.qp.by_piqp import PIQPBackend

        return PIQPBackend
    from koopctl.qp.active_set import ActiveSet

    return ActiveSet

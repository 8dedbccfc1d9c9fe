"""From recorded motion to a running controller, in seconds and without gradient descent.

`collect` records a plant, `fit` learns a sampled recurrent network or an EDMD model from it, `design` turns the model
into a control law, `simulate` and `compare` run it on the plant, `export` writes it as C. Every name below is imported
when it is first used, so that `import koopctl` itself loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from koopctl import controllers, envs
    from koopctl.codegen.exporting import export
    from koopctl.collecting import collect
    from koopctl.comparison import compare
    from koopctl.controllers.adaptive_law import AdaptiveLaw
    from koopctl.controllers.convex_mpc import ConvexMPC
    from koopctl.controllers.designer import design
    from koopctl.controllers.extended_kalman_filter import ExtendedKalmanFilter
    from koopctl.controllers.kalman_filter import KalmanFilter
    from koopctl.controllers.lifted_mpc import LiftedMPC
    from koopctl.controllers.lqr import LQR
    from koopctl.controllers.relinearized_mpc import RelinearizedMPC
    from koopctl.controllers.reviewing import review
    from koopctl.controllers.value_fitting import fitted_value
    from koopctl.data.rollouts import Rollouts
    from koopctl.errors import KoopctlError
    from koopctl.features.fourier import RandomFourier
    from koopctl.features.function import Function
    from koopctl.features.gaussian import GaussianRBF
    from koopctl.features.identity import Identity
    from koopctl.features.polynomial import Polynomial
    from koopctl.features.sampled import SampledFeatures
    from koopctl.features.sum import LiftSum
    from koopctl.features.thin_plate import ThinPlate
    from koopctl.identify.calibrating import error_bound
    from koopctl.identify.ensemble import Ensemble, ensemble
    from koopctl.identify.error_bound import ErrorBound
    from koopctl.identify.fitting import fit
    from koopctl.identify.search import Search
    from koopctl.identify.spectrum import spectrum
    from koopctl.loop import simulate
    from koopctl.model_comparison import compare_models
    from koopctl.models.echo_state import EchoState
    from koopctl.models.edmdc import EDMDc
    from koopctl.models.sampled_rnn import SampledRNN
    from koopctl.models.state_space import linear_model
    from koopctl.preview import Preview
    from koopctl.store import load
    from koopctl.task import Task
    from koopctl.trajectory import Trajectory

__version__ = "0.1.0"

__all__ = [
    "AdaptiveLaw",
    "ConvexMPC",
    "EDMDc",
    "EchoState",
    "Ensemble",
    "ErrorBound",
    "ExtendedKalmanFilter",
    "Function",
    "GaussianRBF",
    "Identity",
    "KalmanFilter",
    "KoopctlError",
    "LQR",
    "LiftSum",
    "LiftedMPC",
    "Polynomial",
    "Preview",
    "RandomFourier",
    "RelinearizedMPC",
    "Rollouts",
    "SampledFeatures",
    "SampledRNN",
    "Search",
    "Task",
    "ThinPlate",
    "Trajectory",
    "collect",
    "compare",
    "compare_models",
    "controllers",
    "design",
    "ensemble",
    "envs",
    "error_bound",
    "export",
    "fit",
    "fitted_value",
    "linear_model",
    "load",
    "review",
    "simulate",
    "spectrum",
]

# Where each name lives; the imports above say the same to type checkers, and a test compares the two.
_HOMES = {
    "AdaptiveLaw": "koopctl.controllers.adaptive_law",
    "ConvexMPC": "koopctl.controllers.convex_mpc",
    "EDMDc": "koopctl.models.edmdc",
    "EchoState": "koopctl.models.echo_state",
    "Ensemble": "koopctl.identify.ensemble",
    "ErrorBound": "koopctl.identify.error_bound",
    "ExtendedKalmanFilter": "koopctl.controllers.extended_kalman_filter",
    "Function": "koopctl.features.function",
    "GaussianRBF": "koopctl.features.gaussian",
    "Identity": "koopctl.features.identity",
    "KalmanFilter": "koopctl.controllers.kalman_filter",
    "KoopctlError": "koopctl.errors",
    "LQR": "koopctl.controllers.lqr",
    "LiftSum": "koopctl.features.sum",
    "LiftedMPC": "koopctl.controllers.lifted_mpc",
    "Polynomial": "koopctl.features.polynomial",
    "Preview": "koopctl.preview",
    "RandomFourier": "koopctl.features.fourier",
    "RelinearizedMPC": "koopctl.controllers.relinearized_mpc",
    "Rollouts": "koopctl.data.rollouts",
    "SampledFeatures": "koopctl.features.sampled",
    "SampledRNN": "koopctl.models.sampled_rnn",
    "Search": "koopctl.identify.search",
    "Task": "koopctl.task",
    "ThinPlate": "koopctl.features.thin_plate",
    "Trajectory": "koopctl.trajectory",
    "collect": "koopctl.collecting",
    "compare": "koopctl.comparison",
    "compare_models": "koopctl.model_comparison",
    "controllers": "koopctl",
    "design": "koopctl.controllers.designer",
    "ensemble": "koopctl.identify.ensemble",
    "envs": "koopctl",
    "error_bound": "koopctl.identify.calibrating",
    "export": "koopctl.codegen.exporting",
    "fit": "koopctl.identify.fitting",
    "fitted_value": "koopctl.controllers.value_fitting",
    "linear_model": "koopctl.models.state_space",
    "load": "koopctl.store",
    "review": "koopctl.controllers.reviewing",
    "simulate": "koopctl.loop",
    "spectrum": "koopctl.identify.spectrum",
}


if not TYPE_CHECKING:  # hidden from type checkers, which would accept any misspelt name of a module that has it

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'koopctl' has no attribute '{name}'; it offers {', '.join(__all__)}.")
        home = _HOMES[name]
        value = import_module(f"{home}.{name}") if home == __name__ else getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})

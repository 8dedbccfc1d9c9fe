"""Recurrent networks trained by gradient descent: rivals of the sampled one, and models like any other.

They need JAX, Equinox and Optax: `pip install "koopctl[baselines]"`. One cell a file; all share one trainer. A name is
imported when it is first used, so that importing koopctl imports no JAX.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from koopctl.errors import KoopctlError

if TYPE_CHECKING:
    from koopctl.models.recurrent.egru import EGRU
    from koopctl.models.recurrent.gapped_rollouts import GappedRollouts
    from koopctl.models.recurrent.gatel0rd import GateL0RD
    from koopctl.models.recurrent.gru import GRU
    from koopctl.models.recurrent.gru_d import GRUD
    from koopctl.models.recurrent.hamiltonian import HamiltonianRNN
    from koopctl.models.recurrent.lstm import LSTM
    from koopctl.models.recurrent.nc_gru import NCGRU
    from koopctl.models.recurrent.ncde import NCDE
    from koopctl.models.recurrent.rnn import RNN
    from koopctl.models.recurrent.rnn_p import RNNp
    from koopctl.models.recurrent.shplrnn import ShPLRNN
    from koopctl.models.recurrent.state_regularised import StateRegularisedRNN
    from koopctl.models.recurrent.tau_gru import TauGRU
    from koopctl.models.recurrent.training import Training
    from koopctl.models.recurrent.unicornn import UnICORNN

__all__ = [
    "CELLS",
    "EGRU",
    "GRU",
    "GRUD",
    "GappedRollouts",
    "GateL0RD",
    "HamiltonianRNN",
    "LSTM",
    "NCDE",
    "NCGRU",
    "RNN",
    "RNNp",
    "ShPLRNN",
    "StateRegularisedRNN",
    "TauGRU",
    "Training",
    "UnICORNN",
]

# The models, by the name of their class and the file it is in.
CELLS = {
    "EGRU": "egru",
    "GRU": "gru",
    "GRUD": "gru_d",
    "GateL0RD": "gatel0rd",
    "HamiltonianRNN": "hamiltonian",
    "LSTM": "lstm",
    "NCDE": "ncde",
    "NCGRU": "nc_gru",
    "RNN": "rnn",
    "RNNp": "rnn_p",
    "ShPLRNN": "shplrnn",
    "StateRegularisedRNN": "state_regularised",
    "TauGRU": "tau_gru",
    "UnICORNN": "unicornn",
}
_HOMES = CELLS | {"GappedRollouts": "gapped_rollouts", "Training": "training"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a name when it is first used.

        Raises:
            AttributeError: There is no such name.
            KoopctlError: JAX, Equinox or Optax is not installed.
        """
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}.")
        try:
            value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("koopctl"):
                raise
            raise KoopctlError(
                f"{name} is trained by gradient descent and needs {error.name}, which is not installed; run: "
                "pip install 'koopctl[baselines]'."
            ) from None
        globals()[name] = value
        return value

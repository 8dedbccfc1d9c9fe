"""What all models with a memory share: coordinates, scales and boxes, and what such a model cannot be taught."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.data.weaknesses import weaknesses
from koopctl.errors import DataError, KoopctlError
from koopctl.models.base import Model
from koopctl.models.chart import Chart
from koopctl.models.cyclic import find_cyclic
from koopctl.models.envelope import Envelope
from koopctl.models.intake import Weights, check_size, counted_parts, counted_rows
from koopctl.models.memory import Memory, Recall, RecallSlopes
from koopctl.models.window import Window
from koopctl.regression.scaling import centre_and_spread

_ANYWHERE = 1e300  # ends of a memory's box; infinite ones would make NaN of how far a state lies outside


class Remembering(Model):
    """A `Model` whose state is [q, h]: the newest coordinates, and what a network remembers of the samples before.

    It learns from all of its data at once, so it cannot be taught further unless its class says so.
    """

    manifold: bool
    cyclic: str | Sequence[str]
    fitted_params_: dict[str, Any]

    @property
    def delays(self) -> int:
        """Samples before the newest one that a state is made of: those of the fit, or of the fit to come."""
        window = self.__dict__.get("window_")
        return window.delays if isinstance(window, Memory) else self._to_show()

    @abstractmethod
    def _to_show(self) -> int:
        """Return the washout that the parameters ask for."""

    def partial_fit(
        self, rollouts: Rollouts, y: None = None, sample_weight: Weights = None, forgetting: float = 1.0
    ) -> Self:
        """Refuse: there is no adding to what was learnt.

        Args:
            rollouts: More of the recorded motion.
            y: Ignored.
            sample_weight: As in `fit`.
            forgetting: As in `SampledRNN.partial_fit`.

        Raises:
            KoopctlError: Always.
        """
        del rollouts, y, sample_weight, forgetting
        self._refuse("learns from all of its data at once; fit a new one to old and new data together")

    def update(self, x: ArrayLike, u: ArrayLike, x_next: ArrayLike, forgetting: float = 1.0) -> Self:
        """Refuse: nothing is learnt recursively.

        Args:
            x: State before, (nx,).
            u: Input, (nu,).
            x_next: State after, (nx,).
            forgetting: As in `SampledRNN.update`.

        Raises:
            KoopctlError: Always.
        """
        del x, u, x_next, forgetting
        self._refuse("does not learn from single transitions")

    def discount(self, memory: int, floor: float = 1e-3) -> Self:
        """Refuse: there is nothing to count for less.

        Args:
            memory: Transitions.
            floor: As in `SampledRNN.discount`.

        Raises:
            KoopctlError: Always.
        """
        del memory, floor
        self._refuse("does not learn from single transitions")

    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a JSON-able header and the arrays that rebuild this model, with the parameters of its fit."""
        header, arrays = super().pack()
        return header | {"params": self.fitted_params_}, arrays

    def unpack(self, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Set everything `pack` wrote on a freshly constructed model."""
        super().unpack(header, arrays)
        self.fitted_params_ = header["params"]
        memory = self.window_
        self.window_ = Window(memory.chart, 0, memory.nu)  # of a memory only the newest sample can be hidden
        self._hide(header["cyclic"])
        self.window_ = memory
        return self

    # ------------------------------------------------------------------ steps of a fit
    def _look_at(self, data: Rollouts, weight: list[Array] | None = None) -> tuple[Array, Array]:
        """Fix coordinates, boxes and `gain_`; return mean and 1 / deviation of the regressors [w, u] of one sample.

        The latter is 0 for what the network must not see.
        """
        check_size(data)
        names = data.x_names
        chart = Chart.detect(counted_rows(data, weight), names) if self.manifold else Chart.plain(names)
        plain = Window(chart, 0, data.nu)
        X, U, dQ = plain.transitions(counted_parts(data, weight, 0))
        if not dQ.any():
            raise DataError("every sample is the same point; record motion before fitting a model.")
        self._name(data, plain)
        self._hide(find_cyclic(self.cyclic, plain, X, U, dQ))
        self._widen(X, U, dQ)
        hidden = tuple(f"the motion does not depend on {name}: the model does not see it." for name in self.cyclic_)
        self._note(data, *weaknesses(data), *chart.describe(), *hidden)
        mean, scale = centre_and_spread(np.concatenate([plain.embed(X), U], axis=1))
        per_scale = 1.0 / scale
        per_scale[self._unseen[1]] = 0.0
        self.gain_ = centre_and_spread(dQ)[1]
        return mean, per_scale

    def _keep_parameters(self) -> None:
        """Keep what the fit was made with: parameters set later are those of the next one, not of a file."""
        self.fitted_params_ = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in self.get_params(deep=False).items()
        }

    def _recall_by(self, hidden: int, recall: Recall, slopes: RecallSlopes) -> None:
        """Let states hold what the network remembers, and the box around the data hold any such memory."""
        chart, box, room = self.window_.chart, self.envelope_, np.full(hidden, _ANYWHERE)
        self.window_ = Memory(chart, self.delays, len(self.u_names_), hidden, recall, slopes)
        self.envelope_ = Envelope(np.append(box.low[: chart.ne], -room), np.append(box.high[: chart.ne], room))

    def _widen_by(self, data: Rollouts) -> None:
        """Let the boxes hold more motion, too."""
        chart, hidden = self.window_.chart, self.window_.nx - self.window_.nq
        E = np.concatenate([chart.embed(chart.to_coordinates(Y)) for Y in data.X])
        more = Envelope.around(np.concatenate([E, np.zeros((len(E), hidden))], axis=1))
        self.envelope_ = self.envelope_.union(more)
        self.input_range_ = self.input_range_.union(Envelope.around(np.concatenate(data.U)))

    def _refuse(self, why: str) -> NoReturn:
        name = type(self).__name__
        raise KoopctlError(f"{name} {why}. SampledRNN and EDMDc learn block by block and from single transitions.")

"""A trained recurrent network whose recordings and windows may hold gaps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError
from koopctl.models.intake import Weights
from koopctl.models.probe import Probe
from koopctl.models.recurrent.gap_compiled import GapCompiled
from koopctl.models.recurrent.gap_memory import GapMemory
from koopctl.models.recurrent.gapped_rollouts import GappedRollouts
from koopctl.models.recurrent.recurrent_model import RecurrentModel
from koopctl.models.recurrent.stretches import Stretches


class GapModel(RecurrentModel):
    """A `RecurrentModel` that is fitted to motion with gaps, and whose `encode` takes windows with NaN.

    During the washout of a stretch the network is shown what was measured and keeps its own prediction of the rest; the
    error counts measured coordinates only.
    """

    _compiled_: GapCompiled

    def fit(
        self,
        rollouts: Rollouts | Iterable[Rollouts] | GappedRollouts,
        y: None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Train on motion, some of its episodes held out, and return self.

        Coordinates, scales and boxes are those of the transitions without a gap, or where there are none, of the
        episodes with the last value held. The report's predictions start from windows without a gap; where no episode
        holds one the model comes without a report.

        Args:
            rollouts: The recorded motion. `GappedRollouts` are learnt from across their gaps, `Rollouts` hold none.
            y: Ignored; present for scikit-learn's grammar.
            sample_weight: Must be None: batches are drawn evenly.

        Raises:
            DataError: The data cannot carry the model, or training came to nothing finite.
        """
        if not isinstance(rollouts, GappedRollouts):
            return super().fit(rollouts, y, sample_weight)
        if sample_weight is not None:
            raise DataError(f"{type(self).__name__} knows no sample weights; leave them out.")
        self._check_sizes()
        self._forget()
        try:
            self._learn(rollouts)
        except BaseException:
            self._forget()  # half a fit would pass for a whole one
            raise
        return self

    def _learn(self, rollouts: GappedRollouts) -> None:
        settings, whole = self._settings(), _without_gaps(rollouts)
        self._begin(whole)
        train = self._train(rollouts, settings, gaps=True)
        self.notes_ = (
            *self.notes_,
            f"{100 * rollouts.missing:.3g} % of the values were missing, and shown as missing.",
        )
        if max(map(len, whole.U)) > settings.washout:
            self._probe_ = Probe.of(self.window_, whole)
        self.residual_covariance_ = self._residuals(train)

    def _remember(self) -> None:
        super()._remember()
        window, compiled = self.window_, GapCompiled(self.network_, self.delays)
        self._compiled_ = compiled
        self.window_ = GapMemory(
            window.chart,
            window.delays,
            window.nu,
            self.network_.cell.n_hidden,
            compiled.recall,
            compiled.recall_slopes,
            compiled.complete,
        )

    def _residuals(self, train: Stretches) -> Array:
        """Return the covariance of one-step errors on training data, (nq, nq): of whole rows, or each column alone."""
        Q, U = train.evenly(256)
        washout, nq = self.delays, self.window_.nq
        X = self._compiled_.complete(Q[:, : washout + 1], U[:, :washout])
        off = self.window_.difference_of_coordinates(self._next(X, U[:, washout])[:, :nq], Q[:, washout + 1])
        whole = off[~np.isnan(off).any(axis=1)]
        if len(whole) > nq:
            return np.asarray(whole.T @ whole / len(whole))
        known = ~np.isnan(off)
        return np.diag(np.sum(np.where(known, off, 0.0) ** 2, axis=0) / np.maximum(known.sum(axis=0), 1))


def _without_gaps(rollouts: GappedRollouts) -> Rollouts:
    """Return what scales are taken from."""
    try:
        return rollouts.whole()
    except DataError:
        return rollouts.held()

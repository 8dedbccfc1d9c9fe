"""The contract every model keeps, so that each law and each comparison treats all models alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from koopctl.archive import write_archive
from koopctl.arrays import Array, as_array, as_whole
from koopctl.data.rollouts import Rollouts
from koopctl.errors import NotFittedError, ShapeError
from koopctl.figures.fit import draw_fit
from koopctl.kernels import kernels
from koopctl.models.chart import Chart
from koopctl.models.envelope import Envelope
from koopctl.models.explained import share_explained
from koopctl.models.fit_report import FitReport
from koopctl.models.identified import Identified
from koopctl.models.intake import Weights, joined
from koopctl.models.roll_out import guarded_roll_out
from koopctl.models.window import Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Model(Identified):
    """A sampled, discrete-time model x+ = f(x, u), y = g(x), learnt from rollouts.

    The state x is what `encode` makes from the last `window` observations: coordinates of the observation (angles
    for cos/sin pairs), and of older ones when the model has delays. `step` and `linearize` take one sample, x (nx,)
    and u (nu,), or a batch, X (n, nx) and U (n, nu).

    Attributes:
        window_: How states are made from observations.
        dt_: Sampling time of the data [s].
        u_names_: Names of the inputs.
        sensors_: Names of the full observation.
        envelope_: The box that held the training data's regressors.
        input_range_: The box that held its inputs.
        cyclic_: Coordinates the motion does not depend on.
        notes_: What was found in the data, in words.
        residual_covariance_: Covariance of the one-step residuals of the coordinates, (nq, nq).
    """

    @abstractmethod
    def expand(self, X: Array, U: Array) -> tuple[Array, Array, Array]:
        """Return f(x, u) (n, nx) and its Jacobians A (n, nx, nx), B (n, nx, nu) at a batch, from one evaluation."""

    @abstractmethod
    def fit(self, rollouts: Rollouts | Iterable[Rollouts], y: None = None, sample_weight: Weights = None) -> Self:
        """Learn from rollouts and return self."""

    @abstractmethod
    def _next(self, X: Array, U: Array) -> Array:
        """Return the next states (n, nx) at a batch."""

    @property
    def nx(self) -> int:
        """Length of the state."""
        return self._fitted.nx

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self._fitted.nu

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the coordinates of one observation, the ones a Task speaks of."""
        return self._fitted.chart.names

    def step(self, x: ArrayLike, u: ArrayLike) -> Array:
        """Return the next state, (nx,) or (n, nx).

        Raises:
            ShapeError: x or u has another width.
        """
        X, U, single = self._batch(x, u)
        nxt = self._next(X, U)
        return nxt[0] if single else nxt

    def prepare(self) -> None:
        """Compile now what is compiled, instead of in the first ticks of a control loop."""
        kernels()

    def linearize(self, x: ArrayLike, u: ArrayLike) -> tuple[Array, Array]:
        """Return the analytic Jacobians (A, B) of `step`, with a leading axis for a batch."""
        X, U, single = self._batch(x, u)
        _, A, B = self.expand(X, U)
        return (A[0], B[0]) if single else (A, B)

    def predict(self, x0: ArrayLike, U: ArrayLike, relift: bool = True) -> Array:
        """Roll out from x0 (nx,) under U (T, nu); also batched, (n, nx) and (n, T, nu).

        The re-lifted roll-out is guarded: it cannot leave the box of the training data by more than its width, where
        a learnt network says nothing and its roll-out would run to 1e15. Angles and cyclic coordinates are free.

        Args:
            x0: Initial state.
            U: Inputs.
            relift: True re-evaluates the network (or the lift) at every step. False runs the linear recursion that
                was fixed at x0: the lifted one for `EDMDc`, the Jacobian at (x0, U[0]) for other models.

        Returns:
            States (T + 1, nx), row 0 is x0; (n, T + 1, nx) for a batch.
        """
        start, inputs, single = self._roll_out_input(x0, U)
        with np.errstate(over="ignore", invalid="ignore"):
            path = guarded_roll_out(self, start, inputs) if relift else self._linear_roll_out(start, inputs)
        return path[0] if single else path

    def _linear_roll_out(self, X: Array, U: Array) -> Array:
        path = np.empty((len(X), U.shape[1] + 1, self.nx))
        path[:, 0] = X
        if not U.shape[1]:
            return path
        F, A, B = self.expand(X, U[:, 0])
        for k in range(U.shape[1]):
            dx, du = path[:, k] - X, U[:, k] - U[:, 0]
            path[:, k + 1] = F + np.einsum("nij,nj->ni", A, dx) + np.einsum("nij,nj->ni", B, du)
        return path

    def encode(self, Y: ArrayLike, U: ArrayLike = ()) -> Array:
        """Return the state (nx,) from the last `delays + 1` observations and the `delays` inputs between them.

        Args:
            Y: Observations (delays + 1, ny), oldest first; (ny,) where there are no delays.
            U: Inputs (delays, nu), oldest first.
        """
        window = self._fitted
        return window.encode(np.atleast_2d(np.asarray(Y, dtype=float)), np.asarray(U, dtype=float))

    def output(self, x: ArrayLike) -> Array:
        """Return the observation y (ny,) of a state (nx,), or (..., ny) of (..., nx); coordinates (nq,) will do."""
        state, window = np.asarray(x, dtype=float), self._fitted
        if state.ndim == 0 or state.shape[-1] not in (window.nx, window.nq):
            raise ShapeError(f"x has shape {state.shape}, expected (..., {window.nx}); an observation is no state.")
        return window.chart.to_observations(state[..., : window.nq])

    def difference(self, x: ArrayLike, other: ArrayLike) -> Array:
        """Return x - other with angles wrapped into [-pi, pi)."""
        return self._fitted.difference(np.array(x, dtype=float), np.asarray(other, dtype=float))

    def excess(self, X: Array) -> Array:
        """Return how far states X (n, nx) lie outside the training data, (n,); cyclic coordinates do not count.

        The unit is half the width of the box that held the data, 0 is inside.
        """
        W = self._fitted.embed(X)
        if self._unseen.size:
            W = W.copy()
            W[:, self._unseen[1]] = self.envelope_.low[self._unseen[1]]
        return self.envelope_.excess(W)

    def score(self, rollouts: Rollouts | Sequence[Rollouts], horizon: int = 1) -> float:
        """Return the share of the motion explained over `horizon` re-lifted steps; 1 is perfect, 0 is "stands still".

        Each step's error is set against the coordinate's own change over as many steps, so one step cannot look
        good merely because little changes in it.
        """
        rollouts = joined(rollouts)
        self.check_data(rollouts)
        return share_explained(self.predict, self.window_, rollouts, as_whole("horizon", horizon, 1))

    @property
    def report_(self) -> FitReport:
        """What the fit found; `print(model.report_)` fills one screen. Made when first asked for."""
        self._fitted  # noqa: B018  raises where there is no fit
        if "_report_" not in self.__dict__:
            if not hasattr(self, "_probe_"):
                raise NotFittedError("this model came without its report; load a file with it, or fit it again.")
            self._report_ = FitReport.of(self)
        return self._report_

    @abstractmethod
    def _fitting(self) -> tuple[int, float, str, float]:
        """Return parameters, how many of them are effective, how they were found, and the condition number of that."""

    def plot(self) -> Figure:
        """Draw the report: errors by horizon, and what the data covered."""
        return draw_fit(vars(self.report_))

    def spectral_radius_of_fit(self) -> float | None:
        """Return the spectral radius of the linear recursion, None where there is none."""
        return None

    # ------------------------------------------------------------------ files
    def save(self, path: str | Path) -> Path:
        """Write the fitted model to one .npz without pickle; `koopctl.load` reads it.

        What was learnt by least squares is saved with it, so that `partial_fit` and `update` go on where they were; but
        with horizon > 1 it is not, as it may be many times as large as the model: that one only predicts.
        """
        header, arrays = self.pack_with_report()
        return write_archive(path, "model", header, arrays | self._sums())

    def _sums(self) -> dict[str, Array]:
        """Return what learning would go on from, where there is such a thing."""
        return {}

    def pack_with_report(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what `pack` does, and the report in the header where there is one."""
        header, arrays = self.pack()
        if hasattr(self, "_probe_") or "_report_" in self.__dict__:
            header |= {"report": self.report_.to_dict()}
        return header, arrays

    def pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a JSON-able header and the arrays that rebuild this model (without its Gram matrices)."""
        window = self._fitted
        header = {
            "type": type(self).__name__,
            "params": {
                k: v.tolist() if isinstance(v, np.ndarray) else v
                for k, v in self.get_params(deep=False).items()
                if not hasattr(v, "get_params")
            },
            "chart": window.chart.to_dict(),
            "delays": window.delays,
            "dt": self.dt_,
            "u_names": self.u_names_,
            "sensors": self.sensors_,
            "notes": self.notes_,
            "cyclic": self.cyclic_,
        }
        arrays = {"envelope_low": self.envelope_.low, "envelope_high": self.envelope_.high}
        arrays |= {"input_low": self.input_range_.low, "input_high": self.input_range_.high}
        arrays |= {"residual_covariance": self.residual_covariance_}
        return header, arrays | self._arrays()

    def unpack(self, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Set everything `pack` wrote on a freshly constructed model."""
        self.window_ = Window(Chart.from_dict(header["chart"]), header["delays"], len(header["u_names"]))
        self.dt_, self.u_names_ = float(header["dt"]), tuple(header["u_names"])
        self.sensors_, self.notes_ = tuple(header["sensors"]), tuple(header["notes"])
        self._hide(header["cyclic"])
        self.envelope_ = Envelope(arrays["envelope_low"], arrays["envelope_high"])
        self.input_range_ = Envelope(arrays["input_low"], arrays["input_high"])
        self.residual_covariance_ = arrays["residual_covariance"]
        if "report" in header:
            self._report_ = FitReport.from_dict(header["report"])
        self._restore(arrays)
        return self

    @abstractmethod
    def _arrays(self) -> dict[str, Array]:
        """Return the fitted arrays of this kind of model."""

    @abstractmethod
    def _restore(self, arrays: dict[str, Array]) -> None:
        """Set what `_arrays` returned."""

    # ------------------------------------------------------------------ input
    def _batch(self, x: ArrayLike, u: ArrayLike) -> tuple[Array, Array, bool]:
        X, U = np.asarray(x, dtype=np.float64), np.asarray(u, dtype=np.float64)
        single = X.ndim == 1
        if single:
            X, U = X[None], U.reshape(1, -1)
        if X.ndim != 2 or U.ndim != 2 or X.shape[1] != self.nx or U.shape[1] != self.nu or len(X) != len(U):
            raise ShapeError(
                f"x has shape {np.shape(x)} and u {np.shape(u)}, expected ({self.nx},) and ({self.nu},), "
                f"or (n, {self.nx}) and (n, {self.nu}); make a state from observations with encode()."
            )
        return X, U, single

    def _roll_out_input(self, x0: ArrayLike, U: ArrayLike) -> tuple[Array, Array, bool]:
        single = np.ndim(x0) == 1
        if single:
            x0, U = np.asarray(x0)[None], np.asarray(U)[None]
        start = as_array("x0", x0, ("n", self.nx))
        return start, as_array("U", U, (len(start), "T", self.nu)), single

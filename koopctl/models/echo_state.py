"""The echo-state network: a random reservoir that is never trained, and a ridge regression that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Self

import numpy as np

from koopctl.arrays import Array, as_whole, is_finite
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, NotFittedError
from koopctl.models.driving import driven
from koopctl.models.intake import Weights, check_weight, counted_parts, faded, joined
from koopctl.models.probe import Probe
from koopctl.models.readout import Readout
from koopctl.models.remembering import Remembering
from koopctl.models.reservoir import Reservoir
from koopctl.models.window import Window, check_lengths
from koopctl.models.with_reservoirpy import check_installed, drawn
from koopctl.regression.solution import check_forgetting, check_ridge

_FORGOTTEN = 0.01  # share of a memory that may stem from before the washout without a note
_LOOKED_AT = 20  # episodes on which that is measured
_READ = ("C", "L", "c", "mean", "per_scale", "gain")


class EchoState(Remembering):
    r"""Echo-state network :math:`q_{k+1} = q_k + C r_{k+1} + L s_k + c`, r the units of a reservoir.

    The units follow :math:`r_{k+1} = (1-a) r_k + a\tanh(W r_k + V \hat s_k + b)`, a the leak, with :math:`\hat s` the
    standardised regressors s = [w, u] of a sample (an angle appears as its cos and sin). W, V and b are reservoirpy's
    random matrices; C, L and c are reservoirpy's `Ridge` on the increments, over episodes driven from rest without
    their first `washout` samples (Jaeger, GMD report 148, 2001; leaky units: Jaeger, Lukosevicius, Popovici and
    Siewert, Neural Networks 20, 2007). The usual readout of the next coordinates from r alone differs in what its
    penalty pulls to: here to standing still.

    The state is [q, r]; `encode` drives the reservoir, at rest before, by the last `washout` samples. `fit` needs the
    extra `baselines`; a fitted model runs without it.

    Attributes:
        reservoir_: The reservoir, in physical units.
        C_: What is read of the units, (nq, N).
        L_: Linear part, (nq, nw + nu).
        c_: Offset, (nq,).
    """

    def __init__(
        self,
        n_features: int = 100,
        spectral_radius: float = 0.1,
        leak: float = 1.0,
        input_scaling: float = 0.1,
        ridge: float = 1e-10,
        washout: int = 20,
        manifold: bool = True,
        cyclic: Literal["auto"] | Sequence[str] = "auto",
        random_state: int = 0,
    ) -> None:
        """Set the parameters.

        Args:
            n_features: Units of the reservoir, N.
            spectral_radius: Of W; the nearer to 1, the longer it remembers. Small where the state is measured: what is
                remembered then only repeats it.
            leak: a, above 0 and at most 1; small for plants that are slow in comparison with the sampling.
            input_scaling: Largest weight of a standardised input.
            ridge: Penalty of the least squares, relative to regressors of unit size.
            washout: Samples before the newest one that a state is made of, and at the start of an episode that nothing
                is learnt from.
            manifold: Detect cos/sin pairs and dependent columns and keep the state on its manifold.
            cyclic: Coordinates the motion does not depend on and the model must not see; "auto" finds them.
            random_state: Seed of the reservoir.
        """
        self.n_features = n_features
        self.spectral_radius = spectral_radius
        self.leak = leak
        self.input_scaling = input_scaling
        self.ridge = ridge
        self.washout = washout
        self.manifold = manifold
        self.cyclic = cyclic
        self.random_state = random_state

    def _to_show(self) -> int:
        return self.washout

    # ------------------------------------------------------------------ learning
    def fit(self, rollouts: Rollouts | Iterable[Rollouts], y: None = None, sample_weight: Weights = None) -> Self:
        """Learn from rollouts and return self.

        Args:
            rollouts: The recorded motion; several are joined.
            y: Ignored; present for scikit-learn's grammar.
            sample_weight: How much each transition counts, one array (T_i,) or one number an episode, not negative.

        Raises:
            DataError: The data cannot carry the model (too short, never moving, ...).
            KoopctlError: reservoirpy is not installed.
        """
        del y
        self._forget()
        try:
            return self.accumulate(joined(rollouts), sample_weight).solve()
        except BaseException:
            self._forget()  # half a fit would pass for a whole one
            raise

    def accumulate(self, rollouts: Rollouts, sample_weight: Weights = None) -> Self:
        """Take in rollouts without solving: the first half of `fit`, of which one pass serves many values of ridge."""
        check_installed()
        self._check_parameters()
        self._forget()
        weight = check_weight(rollouts, sample_weight)
        check_lengths(self.washout, rollouts, name="washout")
        self.mean_, self.per_scale_ = self._look_at(rollouts, weight)
        numbers = self.spectral_radius, self.leak, self.input_scaling
        W, V, b = drawn(self.n_features, len(self.mean_), *numbers, self.random_state)
        V = V * self.per_scale_
        self._attach(W, V, b - V @ self.mean_)
        self._keep_parameters()
        self._learnt_, self._probe_ = self._taken(rollouts, weight)
        self._note(rollouts, *self._lasting(rollouts))
        return self

    def solve(self, rollouts: Rollouts | None = None, sample_weight: Weights = None) -> Self:
        """Solve for what was accumulated, the second half of `fit`.

        Args:
            rollouts: Ignored.
            sample_weight: Ignored.

        Raises:
            DataError: The equations are singular.
        """
        del rollouts, sample_weight
        check_ridge(self.ridge)
        theta, constant = self._learnt_.solve(self.ridge)
        theta = theta * self.gain_[:, None]
        self.C_ = np.ascontiguousarray(theta[:, : self.n_features])
        self.L_ = theta[:, self.n_features :] * self.per_scale_
        self.c_ = constant * self.gain_ - self.L_ @ self.mean_
        self.residual_covariance_ = self._residuals()
        self.fitted_params_ |= {"ridge": self.ridge}
        self.__dict__.pop("_report_", None)
        return self

    def partial_fit(
        self, rollouts: Rollouts, y: None = None, sample_weight: Weights = None, forgetting: float = 1.0
    ) -> Self:
        """Add rollouts to what was learnt; the first call fixes coordinates, scales and reservoir.

        Args:
            rollouts: More of the recorded motion.
            y: Ignored.
            sample_weight: As in `fit`.
            forgetting: By how much each new transition makes all earlier ones count less; 1 forgets nothing, 0.999
                remembers about the last thousand.

        Raises:
            DataError: The data cannot be used; nothing was changed.
            NotFittedError: There is nothing to go on from.
        """
        del y
        check_forgetting(forgetting)
        data = joined(rollouts)
        weight = check_weight(data, sample_weight)
        if forgetting < 1.0:
            weight = faded(data, self.delays, forgetting, weight)
        if not hasattr(self, "window_"):
            return self.fit(data, sample_weight=weight)
        if not hasattr(self, "_learnt_"):
            raise NotFittedError("this model came without what it learnt from, as a law's file does; fit a new one.")
        check_installed()
        self.check_data(data)
        check_lengths(self.delays, data, name="washout")
        learnt, probe = self._taken(data, weight)
        learnt.merge(self._learnt_, forgetting ** sum(max(len(U) - self.delays, 0) for U in data.U))
        self._learnt_, self._probe_ = learnt, self._probe_.joined(probe) if hasattr(self, "_probe_") else probe
        self._widen_by(counted_parts(data, weight, 0))
        self._note(data)
        return self.solve()

    def _check_parameters(self) -> None:
        for name, least in (("n_features", 1), ("washout", 1), ("random_state", 0)):
            as_whole(name, getattr(self, name), least)
        check_ridge(self.ridge)
        for name in ("spectral_radius", "input_scaling", "leak"):
            value, most = getattr(self, name), 1.0 if name == "leak" else np.inf
            if not (is_finite(value) and 0.0 < value <= most):
                allowed = "above 0 and at most 1" if name == "leak" else "above 0"
                raise DataError(f"{name} is {value!r}; it must be {allowed}.")

    def _problem_size(self) -> tuple[int, int]:
        """Return the numbers of regressors, without the constant, and of targets."""
        return self.n_features + len(self.mean_), self.window_.nq

    def _attach(self, W: Array, V: Array, b: Array) -> None:
        """Take the reservoir's matrices, and let states hold what it remembers."""
        plain = Window(self.window_.chart, 0, len(self.u_names_))
        self.reservoir_ = Reservoir(W, V, b, float(self.leak), plain, int(self.washout))
        self._recall_by(len(b), self.reservoir_.recall, self.reservoir_.recall_slopes)

    def _taken(self, rollouts: Rollouts, weight: list[Array] | None) -> tuple[Readout, Probe]:
        """Return what the readout learns from rollouts, and stretches of them to judge it by."""
        learnt = Readout.of(*self._problem_size())
        for H, S, dQ, w in driven(self.reservoir_, rollouts, weight):
            learnt.add(np.concatenate([H, (S - self.mean_) * self.per_scale_], axis=1), dQ / self.gain_, w)
        return learnt, Probe.of(self.window_, counted_parts(rollouts, weight, self.delays))

    def _residuals(self) -> Array:
        """Return the covariance of one-step errors of the coordinates on training data, (nq, nq)."""
        probe, window = self._probe_, self.window_
        ahead = self._next(probe.x0, probe.U[:, 0])[:, : window.nq]
        off = window.difference_of_coordinates(ahead, probe.truth[:, 0])
        return np.asarray(off.T @ off / len(off))

    def _lasting(self, rollouts: Rollouts) -> list[str]:
        """Say where the reservoir remembers what happened before the washout, as then it is no function of a window."""
        T, chart = 2 * self.washout, self.window_.chart
        long = [i for i, U in enumerate(rollouts.U) if len(U) >= T][:_LOOKED_AT]
        if not long:
            return []
        Q = np.stack([chart.to_coordinates(rollouts.X[i][:T]) for i in long])
        U = np.stack([rollouts.U[i][:T] for i in long])
        whole, late = (self.reservoir_.recall(Q[:, k:], U[:, k:]) for k in (0, self.washout))
        share = float(np.linalg.norm(whole - late) / max(float(np.linalg.norm(whole)), 1e-300))
        if share < _FORGOTTEN:
            return []
        return [
            f"{share:.0%} of the reservoir's memory is older than its washout of {self.washout} samples, which a state "
            "made of a window lacks: lengthen washout, or lower spectral_radius or raise leak."
        ]

    # ------------------------------------------------------------------ using
    def _next(self, X: Array, U: Array) -> Array:
        nq, reservoir = self.window_.nq, self.reservoir_
        S = reservoir.regressors(X[:, :nq], U)
        R = reservoir.after(X[:, nq:], S)
        return np.concatenate([X[:, :nq] + R @ self.C_.T + S @ self.L_.T + self.c_, R], axis=1)

    def expand(self, X: Array, U: Array) -> tuple[Array, Array, Array]:
        """Return f (n, nx), A (n, nx, nx), B (n, nx, nu) at a batch, analytic."""
        reservoir, nq = self.reservoir_, self.window_.nq
        plain, N, nw = reservoir.window, reservoir.size, reservoir.window.nw
        Q, R, keep = X[:, :nq], X[:, nq:], 1.0 - reservoir.leak
        S = reservoir.regressors(Q, U)
        D = reservoir.slopes(R, S)
        by_c = self.C_ * D[:, None]  # what an excitement of the units does to q
        A, B = np.empty((len(X), nq + N, nq + N)), np.empty((len(X), nq + N, U.shape[1]))
        A[:, :nq, :nq] = plain.chain(by_c @ reservoir.V[:, :nw] + self.L_[:, :nw], S[:, :nw])
        A[:, :nq, :nq] += np.eye(nq)
        A[:, :nq, nq:] = by_c @ reservoir.W + keep * self.C_
        A[:, nq:, :nq] = D[:, :, None] * reservoir.by_coordinates(Q)
        A[:, nq:, nq:] = D[:, :, None] * reservoir.W
        A[:, nq:, nq:] += keep * np.eye(N)
        B[:, :nq] = by_c @ reservoir.V[:, nw:] + self.L_[:, nw:]
        B[:, nq:] = D[:, :, None] * reservoir.V[:, nw:]
        return self._next(X, U), A, B

    def _fitting(self) -> tuple[int, float, str, float]:
        effective, condition = self._learnt_.judge(self.ridge)
        return self._problem_size()[0] + 1, effective, "reservoirpy's Ridge", condition

    # ------------------------------------------------------------------ files
    def _sums(self) -> dict[str, Array]:
        return self._learnt_.arrays() if hasattr(self, "_learnt_") else {}

    def _arrays(self) -> dict[str, Array]:
        inside = {name: getattr(self.reservoir_, name) for name in ("W", "V", "b")}
        return inside | {name: getattr(self, f"{name}_") for name in _READ}

    def _restore(self, arrays: dict[str, Array]) -> None:
        for name in _READ:
            setattr(self, f"{name}_", arrays[name])
        self._attach(arrays["W"], arrays["V"], arrays["b"])
        if "readout_n" in arrays:
            self._learnt_ = Readout.restore(arrays)

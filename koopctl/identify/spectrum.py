"""Eigenvalues, modes and eigenfunctions of a lifted model, and how true each of them is to the data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from koopctl.arrays import Array, as_array
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, DesignError
from koopctl.identify.eigenpairs import Complex, Eigenpairs, block_eigenpairs
from koopctl.identify.eigentable import eigentable
from koopctl.identify.residuals import amplitudes_of, measure, project
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc
from koopctl.models.state_space import state_sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ONE = 1e-10  # an eigenvalue this close to 1 has no fixed point to count from
_STILL = 1e-12  # an eigenfunction that moves less than this share of its terms does so by rounding only
_KINDS = ("sum", "motion", "past input")


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    r"""Eigenpairs of the lifted recursion z+ = A z + c + B (u - u0), y = C z + y_offset, at a constant input u0.

    z is a column, A acts from the left. A **left** eigenvector, w^H A = l w^H, gives the eigenfunction
    phi(x) = w^H z(x) + d; the offset d = w^H (c + B u0) / (l - 1) makes it vanish at the fixed point, so that

        phi(x+) = l phi(x) + gain (u - u0) + drift

    with drift 0 except where l = 1, where there is no such d (bilinear inputs add w^H N_j z (u - u0)_j). A **right**
    eigenvector, A v = l v, gives the mode C v: where A is diagonalisable, y is the sum of all modes times their
    eigenfunctions, counted from the fixed point. Pairs are scaled such that w^H v = 1 and phi has standard deviation
    1 in the data, so a mode has the units of y and is the size of its share.

    Kinds: "motion" is what was learnt. Two kinds are structure and say nothing of the plant: "sum", the 1 of a
    coordinate nothing reads (an angle, a cyclic coordinate) and the 0 of its older copies; "past input", the 0 of
    remembered inputs. Motion comes first, slowest decay first, both of a complex pair together, structure last.

    Attributes:
        eigenvalues: l, (n,).
        kinds: Kind of each, n words.
        modes: C v in the units of the observations, (ny, n).
        state_modes: The same for the model's state x, (nx, n).
        weights: w as columns, (nz, n).
        offsets: d, (n,).
        drifts: See above, (n,).
        gains: w^H B, what each input does to phi, (n, nu).
        residuals: Root-mean-square of phi(x+) - l phi(x) - gain (u - u0) - drift over the data, in units of phi's
            standard deviation, (n,); nan without data, inf where phi never moves there. It counts against |l|: a
            pair that has decayed within a step has a small one whatever it is.
        amplitudes: Largest share of a mode in the spread of an observation, (n,); nan without data. Shares of
            functions that move alike cancel, so their sum may be above 1.
        conditions: How far an eigenvalue may move, as a multiple of a perturbation of A in units of the data, (n,).
        dt: Sampling time [s].
        y_names: Names of the observations.
        x_names: Names of the model's state.
        notes: What the reader should know, in words.
        lift: The map from x to z.
    """

    eigenvalues: Complex
    kinds: tuple[str, ...]
    modes: Complex
    state_modes: Complex
    weights: Complex
    offsets: Complex
    drifts: Complex
    gains: Complex
    residuals: Array
    amplitudes: Array
    conditions: Array
    dt: float
    y_names: tuple[str, ...]
    x_names: tuple[str, ...]
    notes: tuple[str, ...]
    lift: Callable[[ArrayLike], Array]

    @property
    def continuous(self) -> Complex:
        """Eigenvalues log(l) / dt of the continuous-time system [rad/s], (n,); -inf where l = 0."""
        with np.errstate(divide="ignore"):
            rate = np.log(np.abs(self.eigenvalues))
        return np.asarray(rate / self.dt + 1j * (np.angle(self.eigenvalues) / self.dt))

    @property
    def frequencies(self) -> Array:
        """Frequencies [Hz], (n,); at most 1 / (2 dt), where a negative real eigenvalue lies."""
        return np.abs(np.angle(self.eigenvalues)) / (2 * np.pi * self.dt)

    @property
    def damping(self) -> Array:
        """Damping ratios, (n,): 1 does not oscillate, below 0 grows; nan where l = 1."""
        s = self.continuous
        with np.errstate(invalid="ignore"):
            return np.where(np.isneginf(s.real), 1.0, -s.real / np.abs(s))

    @property
    def time_constants(self) -> Array:
        """Times in which the share falls to 1/e [s], (n,); negative where it grows, inf where it stays."""
        with np.errstate(divide="ignore"):
            rate = -self.continuous.real
            return np.where(rate == 0, np.inf, 1 / rate)

    @property
    def is_motion(self) -> np.ndarray:
        """Which eigenvalues are of the kind "motion", (n,)."""
        return np.array([kind == "motion" for kind in self.kinds])

    def eigenfunctions(self, x: ArrayLike) -> Complex:
        """Return phi at a state x (nx,), (n,), or at states (m, nx), (m, n)."""
        return project(self.lift(x), self.weights) + self.offsets

    def table(self, by: Literal["residual", "amplitude", "decay"] | None = None, rows: int = 16) -> str:
        """Return the first eigenpairs as lines of text, complex pairs as one.

        Args:
            by: What orders them: smallest residual, largest amplitude or slowest decay first; by default the
                residual, or the decay where there was no data.
            rows: How many are shown.

        Raises:
            DataError: `by` is some other word, or needs data the spectrum was made without.
        """
        return eigentable(self, by, rows)

    def plot(self) -> Figure:
        """Draw the eigenvalues in the plane of discrete and of continuous time, coloured by their residuals."""
        from koopctl.figures.spectrum import draw_spectrum

        return draw_spectrum(self.eigenvalues, self.residuals, self.is_motion, self.dt)

    def __str__(self) -> str:
        """Return one screen of text."""
        return self.table()

    def __repr__(self) -> str:
        """Return one line."""
        return f"Spectrum({self.notes[0]})"


def spectrum(model: Model, data: Rollouts | None = None, u: ArrayLike | None = None) -> Spectrum:
    """Return the spectrum of a lifted model, measured against data where there is some.

    The residual of each pair is that of ResDMD (Colbrook and Townsend, "Rigorous data-driven computation of spectral
    properties of Koopman operators", 2023), extended to systems with inputs: what the model says the inputs add is
    taken off the next lifted state first. Two things differ from the paper. The vectors w are applied to each block
    of transitions before anything is squared; from Gram matrices the same sums lose half of the digits. And the
    spread of phi, not its mean square, is the unit: the constant 1 is always an eigenfunction with eigenvalue 1, and
    would make every slow pair far from its zero look true. Spurious pairs of a rich lift show on data the model was
    not fitted to.

    Args:
        model: A fitted `EDMDc`. With bilinear inputs the spectrum is that of A + sum_j u0_j N_j.
        data: Motion to measure eigenfunctions, residuals and amplitudes on.
        u: The constant input u0; zero by default. With linear inputs it moves the fixed point only.

    Raises:
        DesignError: The model has no lifted recursion.
        DataError: The data has other columns.
        SamplingTimeError: The data was sampled at another rate.
    """
    lifted = _checked(model, data)
    u0 = np.zeros(lifted.nu) if u is None else as_array("u", u, (lifted.nu,))
    size = state_sizes(lifted)[1]
    A, c = lifted.A_ + np.tensordot(u0, lifted.N_, 1), lifted.c_ + lifted.B_ @ u0
    pairs, conditions = _normal(block_eigenpairs(A * size / size[:, None], _blocks(lifted)), size)
    values = pairs.values
    spread, errors = np.ones(len(values)), np.full(len(values), np.nan)
    if data is not None:
        spread, errors = measure(lifted, data, u0, pairs, project(c, pairs.left))
    still = spread <= _STILL * (size @ np.abs(pairs.left))
    unit = np.where(still, 1.0, spread)
    W, V = pairs.left / unit, pairs.right * unit
    pull, at_one = project(c, W), np.abs(values - 1.0) <= _ONE
    return Spectrum(
        eigenvalues=values,
        kinds=tuple(_KINDS[number] for number in pairs.block),
        modes=lifted.C_ @ V,
        state_modes=V[: lifted.nx],
        weights=W,
        offsets=np.divide(pull, values - 1.0, out=np.zeros_like(pull), where=~at_one),
        drifts=np.where(at_one, pull, 0.0),
        gains=project(lifted.B_.T, W).T,
        residuals=np.where(still, np.inf, errors / unit),
        amplitudes=np.where(still, 0.0, amplitudes_of(lifted.C_ @ V, data)),
        conditions=conditions,
        dt=lifted.dt,
        y_names=lifted.window_.chart.y_names,
        x_names=lifted.window_.names,
        notes=_notes(lifted, u0, pairs, data, int(still.sum())),
        lift=copy.copy(lifted).lift_state,  # of a copy: a new fit of the model does not reach it
    )


def _checked(model: Model, data: Rollouts | None) -> EDMDc:
    if not isinstance(model, EDMDc):
        raise DesignError(
            f"a spectrum needs a model with one lifted recursion, an EDMDc, not {type(model).__name__}; the "
            "eigenvalues of any model's Jacobian at a point are numpy.linalg.eigvals(model.linearize(x, u)[0])."
        )
    if not (data is None or isinstance(data, Rollouts)):
        raise DataError(f"data is {type(data).__name__}, expected Rollouts; wrap arrays as Rollouts(X, U, dt).")
    if data is not None:
        model.check_data(data)
    return model


def _blocks(model: EDMDc) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions in z of sums, motion and past inputs: each reads itself and later ones only."""
    nz, window = model.nz, model.window_
    lags = window.nq * np.arange(window.delays + 1)
    cyclic = [window.chart.names.index(name) + lag for name in model.cyclic_ for lag in lags]
    sums = np.array(sorted({*window.circle[0].tolist(), *cyclic}), dtype=int)
    past = np.arange(window.nq * (window.delays + 1), window.nx)
    return sums, np.setdiff1d(np.arange(nz), [*sums, *past]), past


def _normal(pairs: Eigenpairs, size: Array) -> tuple[Eigenpairs, Array]:
    """Order the pairs of the system in units of `size` and return them in those of z, with their conditions.

    Each w has length 1 in units of `size` and is real where it is largest; w^H v = 1.
    """
    values, modulus = pairs.values, np.abs(pairs.values)
    last = np.where(pairs.block == 1, 0, 1 + pairs.block)
    order = np.lexsort((values.imag < 0, np.abs(np.angle(values)), -modulus, last))
    W, V = pairs.left[:, order], pairs.right[:, order]
    W = W / np.linalg.norm(W, axis=0)
    top = np.take_along_axis(W, np.abs(W).argmax(axis=0)[None], axis=0)
    W = W * (top.conj() / np.abs(top))
    overlap = np.einsum("zi,zi->i", W.conj(), V)
    overlap[np.abs(overlap) <= _STILL * np.linalg.norm(V, axis=0)] = np.nan  # no mode where two eigenvectors are one
    with np.errstate(invalid="ignore"):
        V = V / overlap
    conditions = np.nan_to_num(np.linalg.norm(V, axis=0), nan=np.inf)
    return Eigenpairs(values[order], W / size[:, None], V * size[:, None], pairs.block[order]), conditions


def _notes(model: EDMDc, u0: Array, pairs: Eigenpairs, data: Rollouts | None, still: int) -> tuple[str, ...]:
    window, values = model.window_, pairs.values
    sums, motion, past = (pairs.block == number for number in range(3))
    modulus = np.abs(values[motion])
    notes = [
        f"{type(model).__name__} with {type(model.lift_).__name__}, dt = {model.dt:g} s, {motion.sum()} eigenvalues: "
        f"spectral radius {modulus.max(initial=0.0):.4g}, {(modulus > 1.0).sum()} outside the unit circle"
    ]
    if model.inputs == "bilinear" and model.nu:
        notes.append(f"bilinear inputs: the spectrum holds at the constant input ({', '.join(f'{v:g}' for v in u0)}).")
    if sums.any():
        names = [window.chart.names[i] for i in window.chart.angles] + list(model.cyclic_)
        notes.append(f"structure left out: {sums.sum()} for {', '.join(names)}, which only adds up (nothing reads it).")
    if past.any():
        notes.append(f"structure left out: {past.sum()} zeros for remembered inputs.")
    if data is not None:
        notes.append(f"residuals and amplitudes are measured on {len(data)} episodes.")
    if still:
        notes.append(f"{still} eigenfunctions do not move in the data: it says nothing of them.")
    return tuple(notes)

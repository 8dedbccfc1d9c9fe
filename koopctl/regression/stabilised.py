"""The least-squares recursion closest to a given one whose eigenvalues stay inside a circle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from scipy.optimize import nnls

from koopctl.arrays import Array
from koopctl.errors import DataError

_MARGIN = 1e-9  # relative distance inside the circle that is aimed at
_NEAR = 0.1  # eigenvalues this close to the circle are kept from leaving it while others are moved in
_EVALUATIONS = (60, 240)  # spectra that are computed, at most: the first of large problems, the second of small ones
_LARGE = 20_000  # evaluations times states from which on a problem is a large one
_SAME = 1e-4  # relative gain in the loss below which the search ends
_CUTS = 3  # times a step is quartered before the next one is kept closer
_RESTARTS = (0.1, 0.3, 1.0, 0.1, 0.3, 1.0)  # sizes of disturbances, in turn, until none leads to a smaller loss ...
_WORTH = 0.99  # ... by a per cent: less is chance, which must not decide which optimum is taken


def stabilised(theta: Array, S: Array, E: Array, H: Array, nu: int, radius: float) -> Array:
    """Return the coefficients that lose least in the regression and keep the spectral radius.

    The regression's loss around its solution is tr(D H D^T) exactly, D the change; input and offset coefficients are
    part of it, so they adapt to the changed A. The moduli of the eigenvalues near and beyond the circle are linearised
    (first-order perturbation, by left and right eigenvectors) and the small quadratic program is solved through its
    dual: sequential quadratic programming with an exact penalty as merit, no semidefinite program. Every iterate is
    also scaled back into the circle, which is where the answer comes from: clustered or defective eigenvalues, whose
    moduli are not smooth, can stop the search, but never leave it without an answer, nor with one that loses more than
    scaling all of A, or cutting the diagonal of its Schur form, does. The problem has many optima, so the search begins
    again around the best one, from seeded disturbances: more often for small problems, in which it costs little.

    Args:
        theta: Solution of the regression, (m, p), on [v (nu), r (nr), 1].
        S: The recursion r+ = (S + E theta) [v, r, 1]: its fixed part, (nr, p).
        E: Where theta enters, (nr, m); rows of zeros belong to older samples that only move back.
        H: Curvature of the regression, (p, p).
        nu: Number of inputs.
        radius: The spectral radius that is allowed.

    Raises:
        DataError: A fixed part of the recursion keeps the eigenvalues outside.
    """
    projection = _Projection(theta, S, E, H, slice(nu, nu + len(S)), radius * (1.0 - _MARGIN))
    here = projection.at(np.zeros_like(theta))
    if here.modulus <= radius:
        return theta
    loss, change = projection.search(here)
    if not np.isfinite(loss):
        raise DataError(
            f"A has spectral radius {here.modulus:.6g} and could not be brought to {radius:.6g}; "
            "allow a larger spectral_radius, raise the ridge or lower delays."
        )
    return theta + change


@dataclass(frozen=True)
class _Point:
    """A change, its loss, by how much the eigenvalues exceed the circle in all, and the largest modulus."""

    D: Array
    loss: float
    excess: float
    modulus: float


@dataclass(frozen=True)
class _Projection:
    """The problem: the arguments of `stabilised`, the columns of A in them and the modulus that is aimed at."""

    theta: Array
    S: Array
    E: Array
    H: Array
    cut: slice
    aim: float

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        values, vectors = np.linalg.eigh(self.H)
        return np.maximum(values, 1e-14 * values[-1]), vectors

    def recursion(self, D: Array) -> Array:
        """Return the recursion's A after a change."""
        return np.asarray((self.S + self.E @ (self.theta + D))[:, self.cut])

    def loss(self, D: Array) -> float:
        """Return what a change costs in the regression."""
        return float(np.sum(D @ self.H * D))

    def at(self, D: Array) -> _Point:
        """Return where a change leads."""
        moduli = np.abs(np.linalg.eigvals(self.recursion(D)))
        return _Point(D, self.loss(D), float(np.maximum(moduli - self.aim, 0.0).sum()), float(moduli.max()))

    def search(self, here: _Point) -> tuple[float, Array]:
        """Return the smallest loss found inside the circle, and its change; inf where there is none."""
        best = self._better((np.inf, here.D), here.D)
        if np.linalg.matrix_rank(self.E) == len(self.E):
            best = self._better(best, self._clipped())
        most = int(np.clip(_LARGE // len(self.E), *_EVALUATIONS))
        best, used = self._walk(here, best, most, np.inf)
        room, failed, rng = max(used, _LARGE // len(self.E) ** 2), 0, np.random.default_rng(0)
        while np.isfinite(best[0]) and failed < len(_RESTARTS) and room > 0:
            start = self._disturbed(best, _RESTARTS[failed], rng)
            found, used = self._walk(self.at(start), best, min(most, room), best[0])
            room -= used + 1
            best, failed = (found, 0) if found[0] < _WORTH * best[0] else (best, failed + 1)
        return best

    def _disturbed(self, best: tuple[float, Array], size: float, rng: np.random.Generator) -> Array:
        """Return a share of the best change, disturbed by one that costs about `size`^2 times as much."""
        (loss, D), (curvature, Q) = best, self._spectrum
        noise = (rng.normal(size=D.shape) / np.sqrt(curvature)) @ Q.T
        return np.asarray(rng.uniform() * D + size * np.sqrt(loss / D.size) * noise)

    def _walk(self, here: _Point, best: tuple[float, Array], most: int, mark: float) -> tuple[tuple[float, Array], int]:
        """Return the best after one descent, and how many spectra it took, about `most` at most.

        Stuck at a cluster, it goes on from the best where that is better than `mark`.
        """
        unit, evaluations, penalty, damping = 1e-8 * float(self._spectrum[0][-1]), 0, 0.0, 0.0
        while evaluations < most:
            target, multiplier = self._target(here.D, damping)
            penalty = max(penalty, 4.0 * multiplier)
            reached, tried = self._descent(here, target, penalty)
            evaluations += tried
            if reached is not None:
                best = self._better(best, reached.D)
                damping = 0.0 if damping <= unit else damping / 5.0
                if reached.excess <= _SAME * self.aim and abs(reached.loss - here.loss) <= _SAME * reached.loss:
                    break
                here = reached
            elif damping <= 1e8 * unit:
                damping = max(100.0 * damping, unit)
            elif best[0] < _WORTH * mark:  # stuck at a cluster: go on from inside the circle
                mark, here, damping = best[0], self.at(best[1]), 0.0
            else:
                break
        return best, evaluations

    def _descent(self, here: _Point, target: Array, penalty: float) -> tuple[_Point | None, int]:
        """Return the first point towards the target that lowers the merit, and how many were tried."""
        step = target - here.D
        gain = penalty * here.excess - 2.0 * float(np.sum(here.D @ self.H * step))
        for cuts in range(_CUTS):
            trial = self.at(here.D + step / 4**cuts)
            least = 1e-4 / 4**cuts * max(gain, 1e-12 * here.loss)
            if trial.loss + penalty * trial.excess < here.loss + penalty * here.excess - least:
                return trial, cuts + 1
        return None, _CUTS

    def _target(self, D: Array, damping: float) -> tuple[Array, float]:
        """Return the change of least loss, and of little step where damped, with linearised moduli in the circle.

        The gradients of the moduli are the real parts of a_i b_i^T, so products of them come from those of the a and
        the b alone and cost next to nothing.
        """
        values, left, right = scipy.linalg.eig(self.recursion(D), left=True, right=True)
        near = (np.abs(values) > self.aim * (1.0 - _NEAR)) & (values.imag >= 0.0)
        modulus, values = np.abs(values[near]), values[near]
        w, v = left[:, near], right[:, near]
        slope = np.einsum("ri,ri->i", w.conj(), v)
        slope = np.where(np.abs(slope) > 1e-14, slope, 1e-14)  # a defective eigenvalue has no derivative
        a = (np.conj(values) / modulus / slope)[:, None] * (w.conj().T @ self.E)
        b = np.zeros((len(values), D.shape[1]), dtype=complex)
        b[:, self.cut] = v.T
        curvature, Q = self._spectrum
        inverse = 1.0 / (curvature + damping)
        rest = damping * (D @ Q * inverse) @ Q.T
        bounds = self.aim - modulus + np.einsum("ip,ip->i", a @ (D - rest), b).real
        bH = (b @ Q * inverse) @ Q.T
        K = 0.5 * np.real((a @ a.T) * (bH @ b.T) + (a @ a.conj().T) * (bH @ b.conj().T))
        mu = _multipliers(K, bounds)
        return rest - np.real((a * mu[:, None]).T @ bH), float(mu.max(initial=0.0))

    # ------------------------------------------------------------------ ways into the circle that always work
    def _better(self, best: tuple[float, Array], D: Array) -> tuple[float, Array]:
        """Return the better of the best so far and a change that is scaled into the circle."""
        for _ in range(4):  # rounding can leave a defective eigenvalue outside; then scale a little more
            modulus = float(np.abs(np.linalg.eigvals(self.recursion(D))).max())
            if modulus <= self.aim * (1.0 + 0.5 * _MARGIN):
                loss = self.loss(D)
                return (loss, D) if loss < best[0] else best
            D = self._scaled(D, self.aim / modulus)
        return best

    def _scaled(self, D: Array, factor: float) -> Array:
        """Scale all eigenvalues.

        `factor` T^-1 A T with a diagonal T that keeps the fixed rows, in which older samples move back: one more
        power of the factor for each step back.
        """
        A, learnt = self.recursion(D), np.abs(self.E).max(axis=1) > 0.0
        source, depth = np.abs(A).argmax(axis=1), np.zeros(len(A), dtype=int)
        for _ in A:
            depth = np.where(learnt | ~A.any(axis=1), 0, np.minimum(depth[source] + 1, len(A)))
        T = factor**depth
        return self._completed(D, (factor * A * T / T[:, None] - A)[learnt], learnt)

    def _clipped(self) -> Array:
        """Return the change that cuts the diagonal of A's Schur form back to the circle."""
        A = self.recursion(np.zeros_like(self.theta))
        T, Q = scipy.linalg.schur(A, output="complex")
        diagonal = np.diag_indices(len(T))
        T[diagonal] *= np.minimum(1.0, self.aim / np.maximum(np.abs(T[diagonal]), 1e-300))
        return self._completed(np.zeros_like(self.theta), (Q @ T @ Q.conj().T).real - A, np.ones(len(A), dtype=bool))

    def _completed(self, D: Array, change: Array, rows: np.ndarray) -> Array:
        """Return D with A's rows changed, and the other coefficients where they then lose least."""
        D, A = D.copy(), np.arange(self.cut.start, self.cut.stop)
        D[:, A] += np.linalg.lstsq(self.E[rows], change, rcond=None)[0]
        rest = np.setdiff1d(np.arange(D.shape[1]), A)
        D[:, rest] = -np.linalg.lstsq(self.H[np.ix_(rest, rest)], self.H[np.ix_(rest, A)] @ D[:, A].T, rcond=None)[0].T
        return D


def _multipliers(K: Array, bounds: Array) -> Array:
    """Return the multipliers mu >= 0 of min |x|^2 / 2 with <c_i, x> <= bounds_i, K the products of the c.

    A least-distance problem, solved as non-negative least squares (Lawson and Hanson, 1974, ch. 23).
    """
    if not len(K):
        return np.zeros(0)
    unit = 1.0 / np.sqrt(np.maximum(np.diag(K), 1e-300))
    values, vectors = np.linalg.eigh(K * np.outer(unit, unit))
    keep = values > 1e-13 * values[-1]
    root = np.sqrt(values[keep])[:, None] * vectors[:, keep].T
    bounds = bounds * unit
    wanted = np.append(np.zeros(len(root)), 1.0)
    try:
        found = nnls(np.concatenate([-root, -bounds[None]]), wanted, maxiter=30 * len(bounds))[0]
    except RuntimeError:  # it cycles now and then where eigenvalues coincide: no step, and the next is damped more
        return np.zeros(len(K))
    rest = 1.0 + float(bounds @ found)
    return np.asarray(found / rest * unit) if rest > 1e-12 else np.zeros(len(K))

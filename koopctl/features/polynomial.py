"""Monomials."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb
from typing import Self

import numpy as np

from koopctl.arrays import Array, as_whole
from koopctl.errors import DataError
from koopctl.features.blocked import BlockedLift

_MOST = 10_000  # features beyond which the least squares alone would take gigabytes
_FEW = 4  # samples up to which gathering all factors at once is the faster way


class Polynomial(BlockedLift):
    r"""All monomials :math:`\prod_j w_j^{e_j}` of total degree 2 to `degree`; a model has 1 and w itself already.

    Each costs one multiplication: a variable times a monomial of one degree less. Coordinates that do not move in the
    data take no part, since nothing could be learnt about them.

    Attributes:
        exponents_: (nf, nw), by degree, then in the order of `itertools.combinations_with_replacement`.
    """

    def __init__(self, degree: int = 2) -> None:
        """Set the parameter.

        Args:
            degree: The highest total degree, 2 or more.
        """
        self.degree = degree

    def fit(self, W: Array, F: Array) -> Self:
        """List the monomials of the coordinates that move in W (n, nw).

        Raises:
            DataError: degree is no whole number >= 2, or there are absurdly many monomials.
        """
        degree = as_whole("degree", self.degree, 2)
        W, _ = self._adopt(W, F)
        moving = np.flatnonzero(W.max(axis=0) > W.min(axis=0))
        variables = moving if moving.size else np.arange(self.n_in_)
        count = comb(len(variables) + degree, degree) - len(variables) - 1
        if count > _MOST:
            raise DataError(
                f"degree {degree} in {len(variables)} coordinates makes {count} monomials, at most {_MOST} are "
                "workable; lower the degree or the delays, or take SampledFeatures."
            )
        exponents = np.zeros((count, self.n_in_), dtype=np.int64)
        lists = (combinations_with_replacement(variables, d) for d in range(2, degree + 1))
        for row, factors in enumerate(factors for group in lists for factors in group):
            exponents[row] = np.bincount(factors, minlength=self.n_in_)
        self._lay_out(exponents)
        return self

    @property
    def n_out(self) -> int:
        """Number of monomials."""
        return len(self.exponents_)

    def _lay_out(self, exponents: np.ndarray) -> None:
        """Find how each monomial arises from others in the table [1, w, monomials]."""
        self.exponents_ = exponents
        self._set_width(exponents.shape[1])
        self._variables = np.flatnonzero(exponents.any(axis=0))
        self._steps = products(len(self._variables), int(exponents.sum(axis=1).max(initial=1)))
        listed = [tuple(np.repeat(np.arange(self.n_in_), row)) for row in exponents]
        single = [(j,) for j in self._variables]
        place = {factors: i for i, factors in enumerate([(), *single, *listed])}
        self._factors = np.zeros((max(map(len, listed), default=1), len(listed)), dtype=np.intp)
        self._lowered = np.zeros(exponents.shape, dtype=np.intp)
        for row, factors in enumerate(listed):
            # Last factor first, after the padding with 1: then the products agree with `_steps` to the last bit.
            self._factors[len(self._factors) - len(factors) :, row] = [place[(j,)] for j in reversed(factors)]
            for k, j in enumerate(factors):
                self._lowered[row, j] = place[factors[:k] + factors[k + 1 :]]

    def _features(self, W: Array) -> Array:
        m = len(self._variables)
        if len(W) <= _FEW:
            ones = np.ones((len(W), m + 1))
            ones[:, 1:] = W if m == W.shape[1] else W[:, self._variables]
            return np.asarray(np.multiply.reduce(ones.take(self._factors, axis=1), axis=1))
        table = np.empty((m + self.n_out, len(W)))  # a row a monomial, so that each product runs along the samples
        table[:m] = W.T[self._variables]
        for variable, parents, children in self._steps:
            np.multiply(table[variable], table[parents], out=table[children])
        return table[m:].T

    def jacobian(self, W: Array) -> Array:
        """Return d psi / d w, (n, nf, nw): each exponent times the monomial with one factor less."""
        self._check(W)
        table = np.concatenate([np.ones((len(W), 1)), W[:, self._variables], self.transform(W)], axis=1)
        return np.asarray(table.take(self._lowered, axis=1) * self.exponents_)

    def arrays(self) -> dict[str, Array]:
        """Return the exponents."""
        return {"exponents": self.exponents_}

    def restore(self, arrays: dict[str, Array]) -> Self:
        """Set the exponents."""
        self._lay_out(arrays["exponents"])
        return self


def products(m: int, degree: int) -> list[tuple[int, slice, slice]]:
    """Return the steps (variable, parents, products) that fill a table [w_0 .. w_(m-1), monomials of degree 2, 3, ...].

    Within a degree the monomials whose lowest variable is j or higher are the last ones of that degree, in one piece:
    times w_j they are, in order, the monomials of the next degree whose lowest variable is j.
    """
    steps = []
    begins, end = list(range(m)), m  # of the monomials of the last degree whose lowest variable is j
    for _ in range(2, degree + 1):
        at, following = end, []
        for j in range(m):
            following.append(at)
            size = end - begins[j]
            steps.append((j, slice(begins[j], end), slice(at, at + size)))
            at += size
        begins, end = following, at
    return steps

"""Which numbers of an observation are free: angles behind (cos, sin) pairs, dependent and constant columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.errors import DataError

_CIRCLE = 1e-3  # largest rms of c^2 + s^2 - 1
_STILL = 1e-9, 1e-14  # share of its mean, and size (rounding of numbers near 1), up to which a column is constant
_DEPENDENT = 1e-5  # a column this close (relative) to a combination of others is one; observations are often float32


@dataclass(frozen=True)
class Chart:
    """Coordinates q on the manifold the observations y lie on.

    An observation that holds cos and sin of an angle has one number too many: nothing is ever observed off the
    circle, and a model that may leave it invents unstable modes there. So the pair becomes one angle coordinate, and
    columns that are constant or linear in the others are reconstructed instead of modelled. The kept columns of y,
    in their order, are the embedding e: linear coordinates appear as themselves, an angle as its cos and sin.

    Attributes:
        names: Names of the nq coordinates.
        y_names: Names of the ny observations.
        kept: Columns of y in the embedding, (ne,).
        linear: (2, nl) positions of the linear coordinates in q and in e.
        circle: (3, na) positions of each angle in q and of its cos and sin in e.
        dropped: Columns of y that are reconstructed.
        D: y[dropped] = D e + offset.
        offset: See D.
    """

    names: tuple[str, ...]
    y_names: tuple[str, ...]
    kept: np.ndarray
    linear: np.ndarray
    circle: np.ndarray
    dropped: np.ndarray
    D: Array
    offset: Array

    @classmethod
    def plain(cls, names: Sequence[str]) -> Chart:
        """Return the chart in which every observation is its own coordinate."""
        return cls._assemble(
            tuple(names), np.arange(len(names)), [], np.zeros(0, int), np.zeros((0, len(names))), np.zeros(0)
        )

    @classmethod
    def detect(cls, Y: Array, names: Sequence[str]) -> Chart:
        """Find angles, dependent and constant columns in observations Y (n, ny)."""
        mean = Y.mean(axis=0)
        moves = Y.std(axis=0) > _STILL[0] * np.abs(mean) + _STILL[1]
        if not moves.any():
            raise DataError("no measured state ever changes; record motion before fitting a model.")
        pairs = _circles(Y, names, np.flatnonzero(moves))
        on_circle = {i for pair in pairs for i in pair}
        kept, dropped = _independent(Y - mean, np.flatnonzero(moves), on_circle)
        dropped = np.sort(np.concatenate([dropped, np.flatnonzero(~moves)]))
        E = Y[:, kept] - mean[kept]
        D = (
            np.linalg.lstsq(E, Y[:, dropped] - mean[dropped], rcond=None)[0].T
            if len(dropped)
            else np.zeros((0, len(kept)))
        )
        # Rounding, judged by what each term moves: the columns may be in any units.
        D[np.abs(D) * E.std(axis=0) < 1e-9 * Y[:, dropped].std(axis=0)[:, None]] = 0.0
        D[~moves[dropped]] = 0.0
        return cls._assemble(tuple(names), kept, pairs, dropped, D, mean[dropped] - D @ mean[kept])

    @cached_property
    def is_plain(self) -> bool:
        """Whether every observation is its own coordinate."""
        return not self.circle.size and self.nq == len(self.y_names)

    @property
    def nq(self) -> int:
        """Number of coordinates."""
        return len(self.names)

    @property
    def ne(self) -> int:
        """Number of embedding columns."""
        return len(self.kept)

    @property
    def angles(self) -> np.ndarray:
        """Positions of the angle coordinates in q."""
        return np.asarray(self.circle[0])

    def to_coordinates(self, Y: Array) -> Array:
        """Return coordinates q (..., nq) of observations y (..., ny); angles lie in (-pi, pi]."""
        if self.is_plain:
            return np.array(Y)
        E = Y[..., self.kept]
        q: Array = np.empty((*Y.shape[:-1], self.nq))
        q[..., self.linear[0]] = E[..., self.linear[1]]
        q[..., self.circle[0]] = np.arctan2(E[..., self.circle[2]], E[..., self.circle[1]])
        return q

    def embed(self, q: Array) -> Array:
        """Return the embedding e (..., ne) of coordinates q (..., nq)."""
        E: Array = np.empty((*q.shape[:-1], self.ne))
        E[..., self.linear[1]] = q[..., self.linear[0]]
        E[..., self.circle[1]] = np.cos(q[..., self.circle[0]])
        E[..., self.circle[2]] = np.sin(q[..., self.circle[0]])
        return E

    def to_observations(self, q: Array) -> Array:
        """Return observations y (..., ny) of coordinates q (..., nq)."""
        E = self.embed(q)
        Y = np.empty((*q.shape[:-1], len(self.y_names)))
        Y[..., self.kept] = E
        Y[..., self.dropped] = E @ self.D.T + self.offset
        return Y

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description."""
        return {f.name: np.asarray(getattr(self, f.name)).tolist() for f in fields(self)}

    @classmethod
    def from_dict(cls, header: dict[str, Any]) -> Chart:
        """Rebuild from `to_dict`."""
        integer = {"kept": (-1,), "linear": (2, -1), "circle": (3, -1), "dropped": (-1,)}
        whole = {k: np.array(header[k], dtype=int).reshape(shape) for k, shape in integer.items()}
        return cls(
            names=tuple(header["names"]),
            y_names=tuple(header["y_names"]),
            **whole,
            D=np.array(header["D"], dtype=float).reshape(len(whole["dropped"]), len(whole["kept"])),
            offset=np.array(header["offset"], dtype=float).reshape(-1),
        )

    def describe(self) -> list[str]:
        """Return one sentence for each thing that was found."""
        lines = [
            f"{self.y_names[self.kept[c]]} and {self.y_names[self.kept[s]]} are cos and sin of one angle: "
            f"the state holds the angle '{self.names[q]}'."
            for q, c, s in self.circle.T
        ]
        for row, column in zip(self.D, self.dropped, strict=True):
            sources = [self.y_names[i] for i in self.kept[row != 0.0]]
            how = f"a linear combination of {', '.join(sources)}" if sources else "constant"
            lines.append(f"{self.y_names[column]} is {how}: it is reconstructed, not modelled.")
        return lines

    @classmethod
    def _assemble(
        cls,
        y_names: tuple[str, ...],
        kept: np.ndarray,
        pairs: list[tuple[int, int]],
        dropped: np.ndarray,
        D: Array,
        offset: Array,
    ) -> Chart:
        place = {int(column): position for position, column in enumerate(kept)}
        partner = {member: pair for pair in pairs for member in pair}
        names: list[str] = []
        linear: list[tuple[int, int]] = []
        circle: list[tuple[int, int, int]] = []
        for column in (int(k) for k in kept):
            pair = partner.get(column)
            if pair is None:
                linear.append((len(names), place[column]))
                names.append(y_names[column])
            elif column == min(pair):
                circle.append((len(names), place[pair[0]], place[pair[1]]))
                names.append(_angle_name(y_names[pair[0]], y_names[pair[1]], (*y_names, *names)))
        return cls(
            tuple(names),
            y_names,
            np.asarray(kept, dtype=int),
            np.array(linear, dtype=int).reshape(-1, 2).T,
            np.array(circle, dtype=int).reshape(-1, 3).T,
            np.asarray(dropped, dtype=int),
            D,
            offset,
        )


def _circles(Y: Array, names: Sequence[str], columns: np.ndarray) -> list[tuple[int, int]]:
    """Return (cos, sin) column pairs; names that say so decide which is which, otherwise the first is cos."""
    squares = Y[:, columns] ** 2
    pairs: list[tuple[int, int]] = []
    free = list(range(len(columns)))
    while free:
        i = free.pop(0)
        best = [(float(np.sqrt(np.mean((squares[:, i] + squares[:, j] - 1.0) ** 2))), j) for j in free]
        # Two columns near (1, 0) are no circle unless what one square loses the other gains.
        best = [(rms, j) for rms, j in best if rms < min(_CIRCLE, 1e-2 * float(squares[:, j].std()))]
        # Nor are two switches of which one is always on: an angle takes more than two values.
        best = [(rms, j) for rms, j in best if len(np.unique(squares[:, j])) > 2]
        if best:
            j = min(best)[1]
            free.remove(j)
            a, b = int(columns[i]), int(columns[j])
            swap = _function(names[a]) == "sin" or (_function(names[b]) == "cos" and _function(names[a]) != "cos")
            pairs.append((b, a) if swap else (a, b))
    return pairs


def _independent(centred: Array, columns: np.ndarray, protected: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """Split columns into kept and linearly dependent ones; members of a circle are always kept."""
    if len(centred) <= 2 * len(columns):  # so few samples make any column a combination of the others
        return columns, np.zeros(0, dtype=int)
    basis: list[Array] = []
    kept, dropped = [], []
    order = [c for c in columns if c in protected] + [c for c in columns if c not in protected]
    for column in order:
        v = centred[:, column] / np.linalg.norm(centred[:, column])
        for _ in range(2):  # Gram-Schmidt twice is enough for orthogonality to rounding
            for b in basis:
                v = v - (b @ v) * b
        residual = float(np.linalg.norm(v))
        if residual > _DEPENDENT or column in protected:
            kept.append(int(column))
            if residual > 1e-12:
                basis.append(v / residual)
        else:
            dropped.append(int(column))
    return np.sort(np.array(kept, dtype=int)), np.array(dropped, dtype=int)


def _function(name: str) -> str:
    """Return "cos" or "sin", whichever the name says first ("cosine" holds both), or nothing."""
    said = re.search(r"cos|sin", name.lower())
    return said.group() if said else ""


def _angle_name(cos_name: str, sin_name: str, taken: Sequence[str]) -> str:
    function = r"(cos(ine)?|sine?)"
    stems = [re.sub(rf"(?i)^{function}[\s_(]*|[\s_(]*{function}$|\)$", "", name) for name in (cos_name, sin_name)]
    plain = stems[0] == stems[1] and stems[0] and stems[0] not in taken
    return stems[0] if plain else f"angle({cos_name},{sin_name})"

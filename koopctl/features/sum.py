"""The features of several lifts side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone

from koopctl.arrays import Array
from koopctl.errors import DataError
from koopctl.features.base import Lift

_FEW = 32  # samples up to which the parts are joined, beyond which they write into one array


class LiftSum(Lift):
    """The features of several lifts side by side; `SampledFeatures(100) + Polynomial(3)` makes one.

    Parameters of the parts are reached as `lift_0__n_features`, the parts themselves as `lift_0`. Two parts of the
    same kind need different seeds, else they are the same features twice.

    Attributes:
        lifts_: The fitted parts.
    """

    def __init__(self, lifts: Sequence[Lift]) -> None:
        """Set the parameter.

        Args:
            lifts: The lifts to fit; they themselves are left as they are.
        """
        self.lifts = lifts

    def fit(self, W: Array, F: Array) -> Self:
        """Fit a copy of each lift to W (n, nw), F (n, m).

        Raises:
            DataError: lifts is no list of lifts, or one of them cannot be fitted.
            ShapeError: One of them returns another shape than it says.
        """
        if not isinstance(self.lifts, (list, tuple)) or not self.lifts:
            raise DataError(f"lifts is {self.lifts!r}; it is a list of at least one lift.")
        for lift in self.lifts:
            if not isinstance(lift, Lift):
                raise DataError(f"lifts holds {lift!r}; it holds lifts such as SampledFeatures(100) only.")
        W, F = self._adopt(W, F)
        self.lifts_ = [clone(lift).fit(W, F) for lift in self.lifts]
        for part in self.lifts_:
            part.verify(W)
        return self

    @property
    def n_out(self) -> int:
        """Number of features of all parts."""
        return sum(part.n_out for part in self.lifts_)

    def transform(self, W: Array) -> Array:
        """Return the features (n, nf) of W (n, nw), part after part."""
        self._check(W)
        if len(W) <= _FEW:
            return np.concatenate([part.transform(W) for part in self.lifts_], axis=1)
        out = np.empty((len(W), self.n_out))
        self.transform_into(W, out)
        return out

    def transform_into(self, W: Array, out: Array) -> None:
        """Write the features of W (n, nw) into `out` (n, nf), e.g. some columns of a regressor matrix.

        Raises:
            ShapeError: W has another width or `out` another shape.
        """
        self._check(W)
        self._check_out(W, out)
        start = 0
        for part in self.lifts_:
            stop = start + part.n_out
            part.transform_into(W, out[:, start:stop])
            start = stop

    def jacobian(self, W: Array) -> Array:
        """Return d psi / d w, (n, nf, nw)."""
        self._check(W)
        return np.concatenate([part.jacobian(W) for part in self.lifts_], axis=1)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of every part, its number before their names."""
        parts = {f"{i}_{name}": array for i, part in enumerate(self.lifts_) for name, array in part.arrays().items()}
        return parts | {"n_in": np.array(self.n_in_)}

    def restore(self, arrays: dict[str, Array]) -> Self:
        """Set the arrays of every part."""
        self.lifts_ = [clone(lift).restore(arrays_of(i, arrays)) for i, lift in enumerate(self.lifts)]
        self._set_width(int(arrays["n_in"]))
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, those of the parts included where `deep`."""
        params: dict[str, Any] = {"lifts": self.lifts}
        if not deep or not isinstance(self.lifts, (list, tuple)):
            return params
        for i, lift in enumerate(self.lifts):
            nested = lift.get_params() if isinstance(lift, Lift) else {}
            params |= {f"lift_{i}": lift} | {f"lift_{i}__{name}": value for name, value in nested.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set `lifts`, then whole parts (`lift_0`), then parameters of parts (`lift_0__n_features`)."""
        if "lifts" in params:
            self.lifts = params.pop("lifts")
        for i in range(len(self.lifts)):
            if f"lift_{i}" in params:
                self.lifts = [*self.lifts[:i], params.pop(f"lift_{i}"), *self.lifts[i + 1 :]]
        super().set_params(**params)
        return self


def arrays_of(part: int, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of one part of a sum, under their own names."""
    prefix = f"{part}_"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

"""A learnt lifted model as python-control's StateSpace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np

from koopctl.arrays import Array
from koopctl.errors import DataError
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc, lifted_system

if TYPE_CHECKING:
    import control

_ROUNDING = 1e-12  # an offset below this share of what its row adds up is none


def state_space(model: Model, offset: Literal["input", "drop"] = "input") -> control.StateSpace:
    """Return the lifted recursion z+ = A z + B u + c, y = C z + y_offset as a discrete-time `control.StateSpace`.

    From z0 = lift_state(x0) its response is the recursion of `predict(x0, U, relift=False)`: the first nx states are
    that prediction, an angle included. The outputs are C z + y_offset. Where the state holds an angle they carry the
    recursion's own cos and sin, which after the first step leave the unit circle, while
    `output(predict(x0, U, relift=False))` takes cos and sin of the predicted angle; every other output is the same.

    An offset that is not zero comes in through one more input, the last, called "one" ("one_" where an input has that
    name already): hold it at 1. It is not made a state that stays at 1, because such a state is an eigenvalue 1 that
    no input moves, with which every Riccati solver (`dlqr`, `dare`) fails. Design a gain on `offset="drop"`: that
    system holds between deviations from any motion of the first one.

    Args:
        model: A fitted `EDMDc` with linear inputs.
        offset: What happens to c and y_offset where they are not zero: "input", or "drop" to leave them out.

    Raises:
        DesignError: The model has no linear lifted recursion.
        DataError: `offset` is some other word.
        NotFittedError: The model is not fitted.
    """
    import control

    if offset not in ("input", "drop"):
        raise DataError(f'offset is {offset!r}; it is "input" or "drop".')
    lifted = lifted_system(model)
    states = _plain(state_names(lifted))
    B, D = lifted.B_, np.zeros((len(lifted.C_), lifted.nu))
    inputs = _plain(lifted.u_names_)
    if offset == "input" and _has_offset(lifted):
        B, D = np.column_stack([B, lifted.c_]), np.column_stack([D, lifted.y_offset_])
        inputs = _plain([*inputs, "one"])
    return control.StateSpace(
        lifted.A_,
        B,
        lifted.C_,
        D,
        lifted.dt,
        states=states,
        inputs=inputs,
        outputs=_plain(lifted.window_.chart.y_names),
        remove_useless_states=False,
    )


def state_names(model: EDMDc) -> tuple[str, ...]:
    """Return the names of the lifted state z: those of x, `cos(angle)` and `sin(angle)`, `psi0`, `psi1`, ..."""
    nz, window = model.nz, model.window_
    circle = {int(c): f"cos({window.names[q]})" for q, c, _ in window.circle.T}
    circle |= {int(s): f"sin({window.names[q]})" for q, _, s in window.circle.T}
    names = [*window.names, *(circle[column] for column in sorted(circle))]
    return (*names, *(f"psi{i}" for i in range(nz - len(names))))


def state_sizes(model: EDMDc) -> tuple[Array, Array]:
    """Return centre and half width of the range of each lifted state in the training data, (nz,) each.

    Angles, their cos and sin and the features count as 0 and 1; what never moved has half width 1.
    """
    linear, box = model.window_.linear, model.envelope_
    centre, half = np.zeros(model.nz), np.ones(model.nz)
    centre[linear[0]] = ((box.high + box.low) / 2)[linear[1]]
    width = ((box.high - box.low) / 2)[linear[1]]
    half[linear[0]] = np.where(width > 1e-12 * (1.0 + np.abs(centre[linear[0]])), width, 1.0)
    return centre, half


def _has_offset(model: EDMDc) -> bool:
    """Tell whether c or y_offset is more than rounding of the sums they are added to."""
    centre, half = state_sizes(model)
    size = np.abs(centre) + half
    in_state = np.abs(model.c_) > _ROUNDING * (np.abs(model.A_) @ size)
    in_output = np.abs(model.y_offset_) > _ROUNDING * (np.abs(model.C_) @ size)
    return bool(in_state.any() or in_output.any())


def _plain(names: Iterable[str]) -> list[str]:
    """Return names python-control accepts: no dots, none twice."""
    result: list[str] = []
    for name in (name.replace(".", "_") for name in names):
        while name in result:
            name += "_"
        result.append(name)
    return result

"""Learnt and given linear models: to and from python-control's StateSpace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np

from koopctl.arrays import Array, ByName, as_vector
from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, DesignError
from koopctl.features.identity import Identity
from koopctl.models.base import Model
from koopctl.models.edmdc import EDMDc, lifted_system
from koopctl.models.envelope import Envelope

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
    states = plain_names(state_names(lifted))
    B, D = lifted.B_, np.zeros((len(lifted.C_), lifted.nu))
    inputs = plain_names(lifted.u_names_)
    if offset == "input" and _has_offset(lifted):
        B, D = np.column_stack([B, lifted.c_]), np.column_stack([D, lifted.y_offset_])
        inputs = plain_names([*inputs, "one"])
    return control.StateSpace(
        lifted.A_,
        B,
        lifted.C_,
        D,
        lifted.dt,
        states=states,
        inputs=inputs,
        outputs=plain_names(lifted.window_.chart.y_names),
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


def plain_names(names: Iterable[str]) -> list[str]:
    """Return names that python-control accepts: no dots, none twice."""
    result: list[str] = []
    for name in (name.replace(".", "_") for name in names):
        while name in result:
            name += "_"
        result.append(name)
    return result


# ---------------------------------------------------------------------------------------------- the way in
def linear_model(system: control.StateSpace, x_range: ByName, u_range: ByName) -> EDMDc:
    """Return a discrete-time `control.StateSpace` as a model, exactly: a fitted `EDMDc` without features.

    The outputs must be states. The model's coordinates are the outputs in their order, then the states that no output
    shows; of those the observation holds NaN, and the law needs an observer: `KalmanFilter(model, sensor_noise)` with
    the noise of the measured coordinates by name. Their names are those of the states, or of the outputs where only
    these were given any. The model can be updated and saved as any other.

    Args:
        system: The system, with a numeric sampling time and D = 0.
        x_range: Half range of each state where it is used, by name or (nx,): laws and observers scale by it and say
            where they leave it, and re-lifted predictions end at three times this range.
        u_range: Half range of each input, likewise.

    Raises:
        DesignError: The system is not linear, not in discrete time, or has outputs that are not states; the text says
            what to do.
        DataError: A range is not positive.
    """
    rows = _checked(system)
    order = [*rows, *np.setdiff1d(np.arange(system.nstates), rows)]
    names, u_names = _state_labels(system, rows, order), tuple(map(bare_name, system.input_labels))
    A, B = np.asarray(system.A)[np.ix_(order, order)], np.asarray(system.B)[order]
    x_half, u_half = _ranges("x_range", x_range, names), _ranges("u_range", u_range, u_names)
    model = EDMDc(Identity(), ridge=1e-14, manifold=False, cyclic=())
    model.fit(_corners(A, B, x_half, u_half, float(system.dt), names, u_names))
    model.A_, model.B_, model.c_ = A.copy(), B.copy(), np.zeros(len(A))  # the fit has them up to rounding
    model.residual_covariance_ = np.zeros((len(A), len(A)))
    model.envelope_, model.input_range_ = Envelope(-x_half, x_half), Envelope(-u_half, u_half)
    hidden = ", ".join(names[len(rows) :])
    note = "the model was given by its matrices, not learnt."
    more = f"{hidden} cannot be measured: laws need an observer, and NaN in place of the observation." if hidden else ""
    model.notes_ = model._said_ = tuple(part for part in (note, more) if part)
    return model


def bare_name(label: str) -> str:
    """Return a label of python-control as a name: its own `x[0]` becomes `x0`."""
    return re.sub(r"^([a-z]+)\[(\d+)\]$", r"\1\2", label)


def _checked(system: control.StateSpace) -> list[int]:
    """Return which state each output shows."""
    import control

    if not isinstance(system, control.StateSpace):
        kind = type(system).__name__
        raise DesignError(
            f"a linear model is made of a control.StateSpace, not a {kind}; convert a transfer function with "
            "control.ss(...), linearise a nonlinear system with control.linearize(system, x, u), or learn from its "
            "motion: koopctl.collect with koopctl.envs.ControlSystem."
        )
    if system.dt == 0:
        raise DesignError("the system is in continuous time; sample it: system.sample(0.05), the sampling time in s.")
    if system.dt is None or system.dt is True:
        raise DesignError("the system has no sampling time; make it with one: control.ss(A, B, C, D, 0.05), in s.")
    if np.asarray(system.D).any():
        raise DesignError("the system's outputs follow its inputs at once (D is not 0); leave D out of the model.")
    C = np.asarray(system.C)
    rows = [int(i) for i in np.argmax(C, axis=1)]
    if not system.nstates or len(set(rows)) < len(rows) or not np.array_equal(C, np.eye(system.nstates)[rows]):
        raise DesignError(
            "the system's outputs are not states (rows of C that are rows of the identity, none twice). Change "
            "coordinates so that they are: T = numpy.vstack([C, scipy.linalg.null_space(C).T]); "
            "control.similarity_transform(system, T); or make all states outputs, with C the identity."
        )
    return rows


def _state_labels(system: control.StateSpace, rows: list[int], order: list[int]) -> tuple[str, ...]:
    states = [bare_name(system.state_labels[i]) for i in order]
    given = all(bare_name(label) == label for label in system.output_labels)
    if given and len(rows) == len(order) and all(bare_name(label) != label for label in system.state_labels):
        return tuple(system.output_labels)
    return tuple(states)


def _ranges(what: str, value: ByName, names: tuple[str, ...]) -> Array:
    half = as_vector(what, value, names)
    if not (half > 0).all():
        raise DataError(f"{what} is {half} for {', '.join(names)}; every half range must be positive.")
    return half


def _corners(
    A: Array, B: Array, x_half: Array, u_half: Array, dt: float, names: tuple[str, ...], u_names: tuple[str, ...]
) -> Rollouts:
    """Return the steps from the end of each half range, one at a time: what a model must have seen to be this one."""
    n, m = B.shape
    ends = np.concatenate([np.diag(np.concatenate([x_half, u_half])), -np.diag(np.concatenate([x_half, u_half]))])
    X, U = ends[:, :n], ends[:, n:]
    return Rollouts(list(np.stack([X, X @ A.T + U @ B.T], axis=1)), list(U[:, None]), dt, names, u_names)

"""What a review says of a law's bounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from koopctl.controllers.law import Law
from koopctl.controllers.resting import nearest_rest
from koopctl.controllers.review import Finding
from koopctl.controllers.steady_problem import half_ranges, last

_NEAR = 0.01  # half ranges from a bound: as good as on it


def reviewed_bounds(law: Law) -> Iterator[Finding]:
    """Yield what there is to say of a law's bounds: rates over the horizon, targets outside, bounds at rest.

    Args:
        law: A designed law without a past.
    """
    found = [*_rates(law), *_kept(law)]
    yield from found or [Finding("bounds", "can be kept together at rest")]


def _rates(law: Law) -> Iterator[Finding]:
    task = law.wanted
    for name, reach, range_u in zip(
        law.prediction.names, task.du_max * task.horizon, task.u_max - task.u_min, strict=True
    ):
        if np.isfinite(range_u) and reach < range_u:
            advice = "the plan cannot bring the input from one bound to the other; a longer horizon, or a faster rate."
            yield Finding(f"rate of {name}", f"{reach:.3g} of {range_u:.3g} over the horizon", "note", advice)


def _kept(law: Law) -> Iterator[Finding]:
    """Bounds of the coordinates, drawn in by the margin of the last step: against the target, and at rest."""
    task, half, nq = law.wanted, half_ranges(law.model), law.prediction.nq
    low, high, target, q = last(task.y_min, 1), last(task.y_max, 1), task.target, law.steady.x[:nq]
    rest = nearest_rest(law.prediction, task, law.steady)
    if rest is None:
        advice = "the plant drifts whatever they allow; widen the bounds of the inputs, or add what is missing."
        yield Finding("bounds", "nothing stands still within those of the inputs", "warning", advice)
    for i, name in enumerate(law.model.state_names[:nq]):
        room = f"{low[i]:.3g} to {high[i]:.3g}"
        if rest is not None and rest.excess[i] > _NEAR:
            advice = (
                f"it cannot be kept together with the other bounds: within those of the inputs the plant stands still "
                f"at {rest.q[i]:.3g} at best (linearised at the steady pair). Widen one of them."
            )
            yield Finding(f"bounds of {name}", room, "warning", advice)
        elif not low[i] <= target[i] <= high[i]:
            advice = f"the target {target[i]:.3g} lies outside; the law holds {q[i]:.3g} instead."
            yield Finding(f"bounds of {name}", room, "warning", advice)
        elif min(high[i] - q[i], q[i] - low[i]) < _NEAR * half[i]:
            advice = (
                "the steady state touches the bound: every disturbance breaks it. Tighten the target, or the bound."
            )
            yield Finding(f"bounds of {name}", room, "note", advice)

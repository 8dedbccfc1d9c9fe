"""How far ahead a model may be trusted to plan."""

from __future__ import annotations

from koopctl.errors import DesignError, NotFittedError
from koopctl.models.base import Model
from koopctl.task import Task


def within_trust(model: Model, task: Task, linear: bool) -> tuple[Task, str]:
    """Return the task with its horizon cut to where the model's error reaches `task.horizon_error`, and a note of it.

    The report's errors end after some steps; further ahead nothing is known and nothing cut.

    Args:
        model: A fitted model; its report has the errors.
        task: What is wanted.
        linear: Whether the law predicts with the linear recursion, else with the re-lifted model.

    Raises:
        DesignError: The model has no report, or is off by more after its first step already.
    """
    if task.horizon_error is None:
        return task, ""
    try:
        report = model.report_
    except NotFittedError:
        raise DesignError(
            "horizon_error needs the errors in the model's report, and this one came without; fit it, or load its file."
        ) from None
    errors = report.linear if linear else report.relifted
    good = next((k for k, error in enumerate(errors) if not error <= task.horizon_error), task.horizon)
    if not good:
        raise DesignError(
            f"the model is off by {errors[0]:.2g} of the spread after one step, more than horizon_error="
            f"{task.horizon_error:g}; learn a better model, or allow more."
        )
    if good >= task.horizon:
        return task, ""
    moves = task.control_horizon
    moves = min(int(moves), good) if isinstance(moves, int) else moves
    note = f"the horizon was cut from {task.horizon} to {good} steps, where the model's error reaches horizon_error."
    return task.replace(horizon=good, control_horizon=moves), note

"""What a law is made of, and how it is copied and saved."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from koopctl.archive import write_archive
from koopctl.controllers.goal import Goal
from koopctl.controllers.observer import Observer
from koopctl.errors import KoopctlError
from koopctl.models.base import Model
from koopctl.task import Task


class Designed(ABC):
    """A model, a task and options: everything that a law can be designed from again.

    Attributes:
        kind: Name of this kind of law in files.
        model: The learnt model.
        task: What is wanted.
        observer: The law's own copy of the observer it was given, or None.
        offset_free: False, True, or the gain of the offset's estimate.
        goal: What the law steers to.
    """

    kind: ClassVar[str]
    goal: Goal

    def __init__(self, model: Model, task: Task, observer: Observer | None = None, offset_free: float = False) -> None:
        """Keep them; an observer is copied, as laws that share one would share its past.

        Args:
            model: A fitted model.
            task: What is wanted.
            observer: Estimates the state.
            offset_free: See above.
        """
        model.prepare()
        self.model, self.task, self.offset_free = model, task, offset_free
        self.observer = None if observer is None else observer.fresh()

    # ------------------------------------------------------------------ made again
    @abstractmethod
    def _target_moved(self) -> None:
        """Recompute whatever depends on the steady pair."""

    def remodel(self) -> None:
        """Design the law anew for the coefficients that its model has now; where that fails it stays as it was."""
        before, kept = self.goal.keep(), copy.copy(self.__dict__)
        try:
            self.goal.refresh()
            self._redesign()
        except (KoopctlError, ArithmeticError, ValueError):
            self.__dict__.update(kept)
            self.goal.restore(before)

    def _redesign(self) -> None:
        """Recompute what depends on the model."""
        self._target_moved()

    # ------------------------------------------------------------------ copies and files
    def options(self) -> dict[str, Any]:
        """Return the options this law was designed with, beside model and task: JSON-able ones, and the observer."""
        chosen = {} if self.offset_free is False else {"offset_free": self.offset_free}
        return chosen if self.observer is None else chosen | {"observer": self.observer}

    def fresh(self) -> Self:
        """Return an independent law with the same design and an empty past."""
        model, options = copy.deepcopy((self.model, self.options()))  # together: the observer's model is the law's
        return type(self)(model, self.task, **options)

    def __copy__(self) -> Self:
        """Return a law of the same design and model with a past of its own, as solvers and observers have one."""
        return type(self)(self.model, self.task, **self.options())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what another process has pickled, and compile now instead of in the first tick."""
        self.__dict__.update(state)
        self.model.prepare()

    def _saved_options(self) -> dict[str, Any]:
        """Return the options as a file holds them, without the observer, which has arrays of its own."""
        return {name: value for name, value in self.options().items() if name != "observer"}

    def save(self, path: str | Path) -> Path:
        """Write model, task, options and observer to one .npz; `koopctl.load` designs the same law from it."""
        header, arrays = self.model.pack_with_report()
        full: dict[str, Any] = {"kind": self.kind, "task": self.task.to_dict(), "model": header}
        full["options"] = self._saved_options()
        if self.observer is not None:
            own, noises = self.observer.pack()
            full["observer"] = {"kind": self.observer.kind, "options": own}
            arrays = arrays | {f"observer_{name}": array for name, array in noises.items()}
        return write_archive(path, "law", full, arrays)

"""What a model is worth on a small plant: forecasts of fresh motion, and the same law made of it on the true plant."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from koopctl.arrays import Array
from koopctl.bench.recurrent_budget import RecurrentBudget
from koopctl.bench.recurrent_choices import Choice
from koopctl.bench.recurrent_plant import SmallPlant
from koopctl.bench.recurrent_record import Gaps, Record, Windows, filled
from koopctl.controllers.designer import design
from koopctl.controllers.law import Law
from koopctl.errors import KoopctlError
from koopctl.models.base import Model

_TINY = 1e-9  # of an error, below which it counts as this
_CHOOSING, _TEST, _STARTS = 1000, 2000, 3000  # added to a seed


@dataclass(frozen=True)
class Arena:
    """One plant with the data of one seed, the same for all models.

    Attributes:
        plant: The plant.
        budget: How much is spent.
        seed: Of everything random.
        train: What models are fitted to.
        choosing: What chooses among their settings: nothing but measurements.
        test: What forecasts are judged on, by the truth.
    """

    plant: SmallPlant
    budget: RecurrentBudget
    seed: int
    train: Record
    choosing: Windows
    test: Windows

    @classmethod
    def of(cls, plant: SmallPlant, budget: RecurrentBudget, seed: int) -> Arena:
        """Record the plant."""
        few = max(1, budget.episodes // 4)
        train = plant.record(budget.episodes, budget.length, seed)
        choosing, test = (
            plant.record(few, budget.length, seed + shift).windows(plant.past, plant.horizons[-1], budget.windows)
            for shift in (_CHOOSING, _TEST)
        )
        return cls(plant, budget, seed, train, choosing, test)

    def measured(self, tried: list[Choice]) -> dict[str, Any]:
        """Fit a model in every way it may try, keep the best, and return its figures, or "failed" and the reason."""
        start, best, reasons = time.perf_counter(), None, list[str]()
        for choice in tried:
            try:
                model, seconds = choice.fit(self.train)
                errors = self.errors(model, choice.gaps, self.choosing, self.choosing.later)
            # A model may fail in any way, which must not cost the others' figures.
            except Exception as error:
                reasons.append(_reason(error))
                continue
            score = float(np.exp(np.mean(np.log(np.maximum(errors, _TINY)))))
            if not np.isfinite(score):
                reasons.append("its forecasts are no numbers")
            elif best is None or score < best[0]:
                best = score, choice, model, seconds
        if best is None:
            return {"failed": "; ".join(dict.fromkeys(reasons))}
        _, choice, model, seconds = best
        found = {"train_s": seconds, "search_s": time.perf_counter() - start, "setting": _said(choice, model)}
        errors = self.errors(model, choice.gaps, self.test, self.test.truth)
        found |= {"errors": {str(steps): float(errors[steps - 1]) for steps in self.plant.horizons}}
        return found | {"score": float(np.exp(np.mean(np.log(np.maximum(errors, _TINY)))))} | self.controlled(model)

    def errors(self, model: Model, gaps: Gaps, windows: Windows, truth: Array) -> Array:
        """Return the error of forecasts after each step, as a share of the spread, (H,).

        Args:
            model: A fitted model.
            gaps: What it is given where values are missing.
            windows: What is forecast.
            truth: What the forecasts are held against, (n, H, ny); NaN does not count.
        """
        past, d = self.plant.past, model.window_.delays
        Y = windows.seen if gaps == "shown" else filled(windows.seen, gaps)
        x0 = np.array(
            [model.encode(y[past - d :], u[past - d : past]) for y, u in zip(Y, windows.U, strict=True)],
        )
        path = model.output(model.predict(x0, windows.U[:, past:]))[:, 1:]
        with np.errstate(over="ignore", invalid="ignore"):
            off = ((path - truth) / self.train.spread) ** 2
        known = ~np.isnan(truth)
        value = np.sqrt(np.sum(np.where(known, off, 0.0), axis=(0, 2)) / np.maximum(known.sum(axis=(0, 2)), 1))
        return np.asarray(np.where(np.isfinite(value), value, np.inf))

    def controlled(self, model: Model) -> dict[str, Any]:
        """Return the cost of closed loops of the task's law on a model, or "uncontrolled" and the reason."""
        try:
            law = design(model, self.plant.task, "relinearized")
        except Exception as error:  # as above
            return {"uncontrolled": _reason(error)}
        return self.cost(law)

    def cost(self, law: Law | None) -> dict[str, Any]:
        """Run a law, or no input at all, from fresh starts; return the cost a step, and what became of the calls.

        The cost is that of the task, (q - target)' Q (q - target) + u' R u, of the true outputs.
        """
        plant, budget = self.plant, self.budget
        rng = np.random.default_rng(self.seed + _STARTS)
        task = plant.task.resolve(plant.y_names, ("u",))
        costs, times, whole = list[float](), list[float](), 0
        for x in plant.start(budget.runs, rng)[:, None]:
            added = plant.sensing.added(budget.run_steps, len(plant.outputs), rng)
            total, u = 0.0, np.zeros(1)
            if law is not None:
                law.reset()
            for k in range(budget.run_steps):
                if law is not None:
                    begin = time.perf_counter()
                    u, info = law(plant.measure(x[0]) + added[k])
                    times.append(time.perf_counter() - begin)
                    whole += info["status"] in ("solved", "feasible")
                x = plant.step(x, u)
                away = plant.measure(x[0]) - task.target
                total += float(away @ task.Q @ away + u @ task.R @ u)
            costs.append(total / budget.run_steps)
        found = {"cost": float(np.mean(costs)), "worst_cost": max(costs)}
        if not times:
            return found
        return found | {"call_ms": 1e3 * float(np.median(times)), "planned": whole / len(times)}


def _reason(error: Exception) -> str:
    """Return what went wrong in one line."""
    said = str(error).strip().split("\n")[0]
    return said if isinstance(error, KoopctlError) else f"{type(error).__name__}: {said}"


def _said(choice: Choice, model: Model) -> str:
    """Return in words what was chosen."""
    if choice.search is not None:
        best = model.search_.best.params
        words = f"{best['delays']} delays, {best['n_features']} units, ridge {best['ridge']:.0e}"
    else:
        words = f"learning rate {choice.model.training.learning_rate:g}"
    fills = {"held": ", last values held", "lines": ", lines over gaps"}
    return words + fills.get(choice.gaps, "")

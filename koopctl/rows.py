"""One law's numbers over all its runs: a row of the comparison."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from koopctl.learnt import Learnt
from koopctl.metrics import Interval, RunMetrics, Yardstick, bootstrap, latencies, measure
from koopctl.runs import Failure
from koopctl.trajectory import Trajectory

_MEANS = ("total_reward", "cost", "violations", "effort", "variation", "steps")


@dataclass(frozen=True)
class Row:
    """One law's numbers over all seeds. Intervals are of the mean over the runs that did not fail.

    Attributes:
        name: The law's name.
        knows: What the law knew about the plant.
        measured: Numbers of each run that did not fail.
        failures: The runs that did.
        rungs: How often each rung of the law's ladder was used, over all runs; empty for laws that do not say.
        latency_p50: Median time of a call [ms].
        latency_p99: Its 99th percentile [ms].
        learnt: Time and errors of the fit of its model, where models are compared.
    """

    name: str
    knows: str
    measured: tuple[RunMetrics, ...]
    failures: tuple[Failure, ...]
    rungs: Counter[str]
    latency_p50: float
    latency_p99: float
    learnt: Learnt | None = None

    def interval(self, field: str) -> Interval:
        """Return mean and interval of a field of `RunMetrics` over the runs, e.g. `row.interval("cost")`."""
        return bootstrap([getattr(run, field) for run in self.measured])

    @property
    def total_reward(self) -> Interval:
        """The return."""
        return self.interval("total_reward")

    @property
    def cost(self) -> Interval:
        """The task's cost a step."""
        return self.interval("cost")

    @property
    def settled(self) -> int:
        """Number of runs that settled at the target."""
        return sum(math.isfinite(run.settling) for run in self.measured)

    @property
    def settling(self) -> Interval:
        """Settling time of the runs that settled [s]."""
        return bootstrap([run.settling for run in self.measured if math.isfinite(run.settling)])

    @property
    def worst_violation(self) -> float:
        """Farthest any run left a soft bound."""
        return max((run.worst_violation for run in self.measured), default=math.nan)

    @property
    def fallbacks(self) -> int:
        """Number of steps on a rung other than "solved"."""
        return self.rungs.total() - self.rungs["solved"]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description; infinities are the words "inf" and "-inf", NaN is None."""
        means = {name: dataclasses.asdict(self.interval(name)) for name in _MEANS}
        described = {
            "name": self.name,
            "knows": self.knows,
            **means,
            "settling": dataclasses.asdict(self.settling),
            "settled": self.settled,
            "worst_violation": self.worst_violation,
            "latency_p50": self.latency_p50,
            "latency_p99": self.latency_p99,
            "rungs": dict(self.rungs),
            "runs": [dataclasses.asdict(run) for run in self.measured],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
        }
        if self.learnt is not None:
            described["learnt"] = dataclasses.asdict(self.learnt)
        plain: dict[str, Any] = _plain(described)
        return plain


def summarise(name: str, knows: str, results: Sequence[Trajectory | Failure], yardstick: Yardstick | None) -> Row:
    """Return the row of one law.

    Args:
        name: The law's name.
        knows: What it knew about the plant.
        results: What became of each seed.
        yardstick: What measures the runs; None where there are none.
    """
    runs = [result for result in results if isinstance(result, Trajectory)]
    times = 1e3 * latencies(runs)
    p50, p99 = np.percentile(times, [50, 99]) if len(times) else (np.nan, np.nan)
    return Row(
        name=name,
        knows=knows,
        measured=tuple(measure(run, yardstick) for run in runs) if yardstick else (),
        failures=tuple(result for result in results if isinstance(result, Failure)),
        rungs=Counter(str(info["status"]) for run in runs for info in run.infos if "status" in info),
        latency_p50=float(p50),
        latency_p99=float(p99),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value

"""The comparison as a table: plain text, rich, HTML and JSON from the same cells."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from koopctl.metrics import Interval

if TYPE_CHECKING:
    from rich.table import Table

    from koopctl.comparison import Comparison
    from koopctl.rows import Row


class Column(NamedTuple):
    """One column of the table.

    Attributes:
        head: Its head.
        meaning: What it shows.
        cell: The text of a row's cell.
        narrow: Plain text has room for it.
        words: Its cells are words, which may be wrapped.
    """

    head: str
    meaning: str
    cell: Callable[[Row], str]
    narrow: bool = True
    words: bool = False


def columns(comparison: Comparison) -> list[Column]:
    """Return the columns; those that would say nothing are left out."""
    rows = comparison.rows
    shown = [
        Column("law", "", lambda row: row.name),
        Column("return", "return = sum of rewards", lambda row: interval(row.total_reward)),
        Column("cost", "cost = the task's cost a step", lambda row: interval(row.cost)),
        Column("settled [s]", "settled = time until the run stays at the target (runs that do)", _settled),
    ]
    shown += _of_learning(rows)
    lengths = {run.steps for row in rows for run in row.measured}
    if len(lengths) > 1:
        shown.append(Column("steps", "steps survived", lambda row: interval(row.interval("steps"))))
    if _bounded(comparison):
        meaning = "outside = samples outside soft bounds a run (farthest)"
        shown.append(Column("outside", meaning, _violations))
    if any(run.input_violations for row in rows for run in row.measured):
        breaks = "breaks = steps that broke input bounds"
        shown.append(Column("breaks", breaks, lambda row: str(sum(run.input_violations for run in row.measured))))
    if any(row.failures for row in rows):
        meaning = "failed = runs that ended in an exception, left out of the means"
        shown.append(Column("failed", meaning, lambda row: str(len(row.failures))))
    shown += [
        Column("effort", "effort = sum of |u|^2 dt", lambda row: interval(row.interval("effort")), False),
        Column("variation", "variation = sum of |du|", lambda row: interval(row.interval("variation")), False),
        Column("p50 / p99 [ms]", "p50 / p99 = time of a call", _latency),
        Column("rungs", "rungs = how the law came to its inputs, steps each", rungs, False, True),
        Column("knows", "knows = what the law knew about the plant", lambda row: row.knows, words=True),
    ]
    return shown


def _of_learning(rows: Sequence[Row]) -> list[Column]:
    """Return the columns on how the models were learnt, where that was measured."""
    horizons = sorted({row.learnt.horizon for row in rows if row.learnt is not None})
    if not horizons:
        return []
    many = " and ".join(map(str, horizons))
    meaning = f"held-out = error of predictions after 1 step / {many} steps, as a share of the spread"
    return [
        Column("trained [s]", "trained = time of the fit (until the network that was kept)", _trained),
        Column("held-out", meaning, _held_out),
    ]


def _trained(row: Row) -> str:
    if row.learnt is None:
        return "-"
    seconds, best = row.learnt.seconds, row.learnt.until_best
    return f"{number(seconds)} ({number(best)})" if best < seconds else number(seconds)


def _held_out(row: Row) -> str:
    return "-" if row.learnt is None else f"{number(row.learnt.one_step)} / {number(row.learnt.ahead)}"


def rungs(row: Row) -> str:
    """Return how often each rung was used, most used first."""
    return ", ".join(f"{name} {count}" for name, count in row.rungs.most_common()) or "-"


def _settled(row: Row) -> str:
    count = f"({row.settled}/{len(row.measured)})"
    return f"{number(row.settling.mean)} {count}" if row.settled else f"never {count}" if row.measured else "-"


def _violations(row: Row) -> str:
    mean = row.interval("violations").mean
    return f"{number(mean)} ({number(row.worst_violation)})" if mean > 0 else number(mean)


def _latency(row: Row) -> str:
    return f"{number(row.latency_p50)} / {number(row.latency_p99)}"


def _bounded(comparison: Comparison) -> bool:
    return comparison.task.y_min is not None or comparison.task.y_max is not None


def title(comparison: Comparison) -> str:
    """Return what the table is about in one line."""
    seeds = comparison.seeds
    run = len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))
    listed = f"{seeds[0]}..{seeds[-1]}" if run else ", ".join(map(str, seeds))
    many = f"{len(seeds)} seeds ({listed})" if len(seeds) > 1 else f"seed {listed}"
    return f"{comparison.env}, {many}, dt = {comparison.dt:g} s"


def legend(comparison: Comparison) -> str:
    """Return what the columns mean, for the columns there are."""
    many = ["mean [95 % bootstrap interval] over the seeds"] if len(comparison.seeds) > 1 else []
    return "; ".join([*many, *(column.meaning for column in columns(comparison) if column.meaning)]) + "."


def number(value: float) -> str:
    """Return a number with three digits that matter (whole numbers in full); '-' for NaN."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else str(value)
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e5 or size < 1e-3:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"


def interval(value: Interval) -> str:
    """Return `mean [low, high]`; the mean alone where there is no interval or it has no width."""
    if math.isnan(value.low) or value.low == value.high:
        return number(value.mean)
    return f"{number(value.mean)} [{number(value.low)}, {number(value.high)}]"


def text_table(comparison: Comparison) -> str:
    """Return the table in plain text with its notes."""
    shown = [column for column in columns(comparison) if column.narrow]
    lines = [[column.head for column in shown], *([column.cell(row) for column in shown] for row in comparison.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(shown))]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "-" * max(map(len, body))
    used = [f"{row.name}: {rungs(row)}" for row in comparison.rows if row.fallbacks]
    said = [f"rungs used: {'; '.join(used)}."] if used else []
    return "\n".join([title(comparison), rule, body[0], rule, *body[1:], rule, *said, *remarks(comparison)])


def rich_table(comparison: Comparison) -> Table:
    """Return the table for a `rich` console."""
    from rich.markup import escape
    from rich.table import Table

    caption = "\n".join([legend(comparison), *remarks(comparison)])
    table = Table(title=escape(title(comparison)), caption=escape(caption), caption_justify="left")
    for column in columns(comparison):
        table.add_column(escape(column.head), no_wrap=column.head == "law")
    for row in comparison.rows:
        table.add_row(*(escape(column.cell(row)) for column in columns(comparison)))
    return table


def html_table(comparison: Comparison) -> str:
    """Return the table as HTML, every text escaped; intervals stand below their means."""
    shown = columns(comparison)
    heads = "".join(f'<th scope="col">{html.escape(column.head)}</th>' for column in shown)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row.name)}</th>{"".join(_html_cell(c, row) for c in shown[1:])}</tr>\n'
        for row in comparison.rows
    )
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _html_cell(column: Column, row: Row) -> str:
    text = html.escape(column.cell(row))
    if column.words:
        return f"<td>{text}</td>"
    mean, space, rest = text.partition(" [")
    below = f"<br><small>[{rest}</small>" if space else ""
    return f'<td style="white-space: nowrap">{mean}{below}</td>'


def remarks(comparison: Comparison) -> list[str]:
    """Return the comparison's notes and the words of each law's first failure."""
    failed = [
        f"{row.name}: {len(row.failures)} of {len(comparison.seeds)} runs failed; "
        f"seed {first.seed} at step {first.step}: {first.error}"
        for row in comparison.rows
        for first in row.failures[:1]
    ]
    return [*comparison.notes, *failed]

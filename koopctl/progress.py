"""The one progress bar of everything that takes a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(what: str, total: int, shown: bool) -> Iterator[Callable[[], None]]:
    """Yield a function that advances a bar on stderr by one; nothing is shown unless `shown`.

    Args:
        what: What is counted, e.g. "episodes".
        total: How many there are.
        shown: Draw the bar.
    """
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)

"""What `koopctl fit --search` tries, and what it says about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from koopctl.identify.search import Search
    from koopctl.identify.trials import Trials

_HINT = "--search"


def search_of(
    texts: Sequence[str] | None, horizon: int | None, linear: bool | None, progress: bool | None
) -> Search | None:
    """Return the search that options ask for, None where they ask for none.

    Args:
        texts: "auto", or NAME=V1,V2,... for each parameter.
        horizon: Steps ahead.
        linear: Whether the linear recursion is judged.
        progress: Show a bar; None only in a terminal.

    Raises:
        BadParameter: A text is neither, or an option has nothing to act on.
    """
    if not texts:
        for name, value in {"--search-horizon": horizon, "--search-linear": linear}.items():
            if value is not None:
                raise typer.BadParameter("needs --search.", param_hint=name)
        return None
    from koopctl.identify.search import Search

    grid = None if list(texts) == ["auto"] else dict(_values(text) for text in texts)
    if grid is not None and len(grid) < len(texts):
        raise typer.BadParameter("names a parameter twice.", param_hint=_HINT)
    shown = sys.stderr.isatty() if progress is None else progress
    steps = {} if horizon is None else {"horizon": horizon}
    return Search(grid, relift=not linear, progress=shown, **steps)


def check_not_searched(search: Search | None, ridge: float | None) -> None:
    """Refuse a ridge beside a search that chooses it."""
    if search is not None and ridge is not None and (search.grid is None or "ridge" in search.grid):
        raise typer.BadParameter("is what the search chooses; leave one of them out.", param_hint="--ridge")


def outcome(trials: Trials) -> dict[str, Any]:
    """Return what a search found, for JSON."""
    best, relift = trials.best, trials.relift
    rows = [{"model": t.kind, "params": t.params, "score": t.score, "failed": t.failed} for t in trials.trials]
    return {
        "best": best.params,
        "score": best.score,
        "horizon": len(best.errors),
        "roll_out": "relifted" if relift else "linear",
        "episodes": trials.n_held_out,
        "trials": rows,
    }


def _values(text: str) -> tuple[str, list[Any]]:
    name, found, values = (part.strip() for part in text.partition("="))
    words = [word.strip() for word in values.split(",")]
    if not found or not name or not all(words):
        raise typer.BadParameter(
            f"'{text}' is neither auto nor a parameter with values such as delays=0,1,2.", param_hint=_HINT
        )
    return name, [_plain(word) for word in words]


def _plain(word: str) -> Any:
    """Return a number, true, false or null as Python's, and other words as they are."""
    try:
        return json.loads(word)
    except ValueError:
        return word

"""Which run somebody means who types the beginning of its id."""

from __future__ import annotations

from collections.abc import Iterator

from chunkstore.errors import InvalidNameError, RunLogNotFoundError
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.base import Store
from chunkstore.stores.named import closest

#: Means the run that was started last.
LATEST = "latest"
_MOST_SHOWN = 5


def find_run(store: Store, text: str) -> str:
    """Return the id of the run that somebody means.

    Args:
        store: where to look.
        text: a run's id, the beginning of only one, or `latest`.

    Raises:
        RunLogNotFoundError: there is no such run, or more than one.
    """
    if _is_run(store, text):
        return text
    if text == LATEST:
        newest = next(store.list_runs(), None)
        if newest is None:
            raise RunLogNotFoundError(
                f"There is no latest run: there are no runs in {store.backend.location}. Name the store with --store "
                "or --config, or record a run first.",
                run_id=text,
            )
        return newest.run_id
    found = [run.run_id for run in runs_starting_with(store, text)] if text else []
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:_MOST_SHOWN]) + (", …" if len(found) > _MOST_SHOWN else "")
        raise RunLogNotFoundError(
            f"{len(found):,} runs in {store.backend.location} begin with {text!r}: {shown}. Write more of the id.",
            run_id=text,
        )
    alike = closest(text, [run.run_id for run in store.list_runs()], cutoff=0.6)
    hint = f"Did you mean {alike[0]!r}?" if alike else "`chunkstore ls` shows the runs that are there."
    raise RunLogNotFoundError(f"There is no run {text!r} in {store.backend.location}. {hint}", run_id=text)


def _is_run(store: Store, text: str) -> bool:
    try:
        return store.has_run(text)
    except InvalidNameError:
        return False


def runs_starting_with(store: Store, text: str) -> Iterator[RunSummary]:
    """Yield the runs whose ids begin with a text, the newest first."""
    return (run for run in store.list_runs() if run.run_id.startswith(text))

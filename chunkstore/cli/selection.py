"""Which runs of a store are meant: conditions that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from chunkstore.errors import ChunkstoreError
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.base import Store
from chunkstore.stores.runs.liveness import Liveness
from chunkstore.views.pages.run_filters import Comparison, Matches, parse_comparison, parse_since, started_since
from chunkstore.views.pages.run_list import run_row
from chunkstore.views.recorded_values import is_wrapped, parameters_in

_T = TypeVar("_T")


def _parsed_by(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    def parser(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


def _since(text: str) -> datetime:
    return parse_since(text, datetime.now(timezone.utc))


StatusOption = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Only runs of this status, also LOST or UNKNOWN; repeatable."),
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="Only runs of this tag; * and ? match; repeatable.")
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        parser=_parsed_by(_since), metavar="AGE", help="Only runs started since then: 30min, 12h, 2d, 2024-02-02."
    ),
]
ParamOption = Annotated[
    list[Comparison] | None,
    typer.Option(
        parser=_parsed_by(parse_comparison),
        metavar="KEY=VALUE",
        help="Only runs with such a parameter; also < <= > >= !=; repeatable.",
    ),
]
MetricOption = Annotated[
    list[Comparison] | None,
    typer.Option(
        parser=_parsed_by(parse_comparison),
        metavar="'NAME<VALUE'",
        help="Only runs in which a step has such a metric; repeatable.",
    ),
]


class Wanted(NamedTuple):
    """Which runs are meant: those that meet all conditions.

    Attributes:
        status: one of these, as it is shown; none for any.
        tags: one of these, in which `*` and `?` match.
        since: started then or later.
        parameters: conditions on parameters.
        metrics: conditions on metrics of steps.
    """

    status: list[str]
    tags: list[str]
    since: datetime | None
    parameters: Matches
    metrics: Matches

    @classmethod
    def by(
        cls,
        status: list[str] | None,
        tag: list[str] | None,
        since: datetime | None,
        param: list[Comparison] | None,
        metric: list[Comparison] | None,
    ) -> Wanted:
        """Return what the options of a command say."""
        parameters, metrics = Matches("parameter", param or []), Matches("metric", metric or [])
        return cls([each.upper() for each in status or []], tag or [], since, parameters, metrics)

    def __bool__(self) -> bool:
        """Tell whether there is any condition."""
        return bool(self.status or self.tags or self.since or self.parameters or self.metrics)

    def of(self, store: Store, now: datetime) -> Iterator[tuple[RunSummary, Liveness | None]]:
        """Yield the runs that are meant, the newest first; what costs the least to look at is looked at first."""
        for summary in store.list_runs():
            if self.since is not None and not started_since(summary.start_time, self.since):
                continue
            if self.tags and not any(fnmatchcase(summary.tag, each) for each in self.tags):
                continue
            liveness = None
            try:
                liveness = None if summary.is_over else store.liveness(summary.run_id)
                row = run_row(summary, None, liveness, now)
                if self.status and row.status.upper() not in self.status:
                    continue
                if self.parameters and not self.parameters.parameters(_parameters(store, summary.run_id)):
                    continue
                if self.metrics and not self.metrics.metrics(store.iter_records(summary.run_id)):
                    continue
            except FileNotFoundError:
                continue  # deleted since it was listed
            except ChunkstoreError:
                if self.parameters or self.metrics:
                    continue  # what cannot be read meets no condition
            yield summary, liveness


def _parameters(store: Store, run_id: str) -> dict[str, Any]:
    """Return the parameters of a run as their author gave them."""
    found = store.get_parameters(run_id)
    if not any(map(is_wrapped, found.values())):
        return found
    return parameters_in(store.get_run_log(run_id, full=False), found)

"""`chunkstore timeline`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Annotated

import typer

from chunkstore.cli.options import (
    ConfigOption,
    JsonOption,
    RunArgument,
    StoreOption,
    chosen_run,
    open_chosen_store,
)
from chunkstore.cli.output import FINE, PROBLEMS, console, print_json, print_note
from chunkstore.clock import parse_time
from chunkstore.maintenance.whole_files import STANDARD_OUTPUT, write_file
from chunkstore.records.models import PROCESSING, RunLog
from chunkstore.stores.base import Store
from chunkstore.stores.runs.liveness import LIVE
from chunkstore.views.timeline import Timeline, timeline_of
from chunkstore.views.timeline.summary import report_of


def show_timeline(
    run: RunArgument,
    html: Annotated[
        str | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write one self-contained page instead, to zoom, search and click; `-` for standard output.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Write a trace instead, for https://ui.perfetto.dev or chrome://tracing; `-` for standard output.",
            show_default=False,
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Show every step in a row of its own.")] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show when each step of a run ran: what waited, what ran at once, what took longest.

    Heavy bars are the critical path, which determined when the run ended:
    what ended last, what had ended last before that began, and so on.
    Wide maps are folded into lanes: as many as were at work at once.
    --html and --trace replace a file that is there.
    """
    if [html, trace, json or None].count(None) < 2:  # noqa: PLR2004 - two of the three
        raise typer.BadParameter("--html, --trace and --json exclude each other. Give one of them.")
    opened = open_chosen_store(store, config)
    log = opened.get_run_log(chosen_run(opened, run))
    timeline = _timeline(opened, log)
    if html is not None:
        from chunkstore.views.timeline.page import page_of  # noqa: PLC0415 - start-up

        _write(html, page_of(timeline))
    elif trace is not None:
        from chunkstore.views.timeline.trace import trace_lines  # noqa: PLC0415 - start-up

        _write(trace, trace_lines(timeline))
    elif json:
        print_json(report_of(timeline))
    else:
        _show(timeline, show_all=show_all)
    raise typer.Exit(PROBLEMS if timeline.problems else FINE)


def _timeline(store: Store, log: RunLog) -> Timeline:
    """Return the timeline of a run: up to now if it goes on, else up to when it was last heard of."""
    if log.status != PROCESSING:
        return timeline_of(log)
    liveness = store.liveness(log.run_id)
    if liveness.state == LIVE:
        return timeline_of(log, until=datetime.now(timezone.utc))
    return timeline_of(log, until=parse_time(liveness.last_heard), unfinished=liveness.state)


def _write(file: str, pieces: Iterable[str]) -> None:
    written = write_file(file, pieces)
    if file != STANDARD_OUTPUT:
        print_note(f"Wrote {written:,} bytes to {file}.")


def _show(timeline: Timeline, *, show_all: bool) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--json` needs no rich

    from chunkstore.views.timeline.gantt import DEFAULT_WIDTH, gantt_lines  # noqa: PLC0415 - the same

    screen = console()
    is_terminal = sys.stdout.isatty()
    lines = gantt_lines(
        timeline,
        width=min(screen.width, DEFAULT_WIDTH) if not is_terminal else screen.width,
        height=screen.height if is_terminal else None,
        show_all=show_all,
        ascii_only=not screen.encoding.lower().startswith("utf"),
    )
    for line in lines:
        screen.print(Text.assemble(*line), soft_wrap=True)

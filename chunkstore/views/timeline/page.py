"""A timeline as one page for a browser, which needs nothing else: no network, no server.

Everything in it that comes from the run is untrusted. It lies in the page as JSON in which nothing can end a script,
and the page shows it as text alone; its policy lets no script run but its own, and nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

from msgspec import UNSET

from chunkstore.names import readable_name
from chunkstore.records import codec
from chunkstore.records.models import BranchLog, DataCatalog, JobLog, RunLog, StepAttempt, StepLog
from chunkstore.views.formats import format_seconds
from chunkstore.views.recorded_values import code_of, metrics_of, parameters_of, value_text, version_of
from chunkstore.views.texts import MOST_OF_MANY, counted, cut, middle_left_out, shown_message
from chunkstore.views.timeline.concurrency import concurrency, most_at_once
from chunkstore.views.timeline.from_log import parsed_seconds, timeline_of
from chunkstore.views.timeline.lanes import Row, rows_of
from chunkstore.views.timeline.spans import Span, Timeline
from chunkstore.views.timeline.summary import summarize

#: Longer texts are cut: the run log has them whole.
MOST_CHARACTERS = 20_000
_MOST_VALUES = 1_000
_MOST_UNDATED = 20
#: Parts of the time for which the page tells how many steps went on at once.
_PARTS = 600
_MARK = re.compile(r"\{\{(\w+)\}\}")
#: What could end a script, and the line ends of JavaScript that JSON does not escape.
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def timeline_page(log: RunLog, *, until: datetime | None = None) -> Iterator[str]:
    """Yield the pieces of an HTML page that shows what of a run ran when; it is whole by itself and loads nothing.

    `"".join(chunkstore.timeline_page(log))` is the page. Of a run of 100,000 steps it is large: write the pieces one by
    one.

    Args:
        log: a whole run log.
        until: when what has not ended ends in the chart: now, for a run that goes on. None for the last time in the
            log.
    """
    return page_of(timeline_of(log, until=until))


def page_of(timeline: Timeline) -> Iterator[str]:
    """Yield the pieces of a page."""
    style, script = _source("page.css"), _source("page_drawing.js") + _source("page_controls.js")
    filled = {
        "policy": lambda: iter([_policy(script, style)]),
        "style": lambda: iter([style]),
        "script": lambda: iter([script]),
        "title": lambda: iter([html.escape(f"{timeline.run_id} · timeline")]),
        "timeline": lambda: iter([_as_json(_page_data(timeline))]),
        "records": lambda: _record_lines(timeline),
    }
    for place, piece in enumerate(_MARK.split(_source("page.html"))):
        if place % 2:
            yield from filled[piece]()
        else:
            yield piece


def _source(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """Return the content security policy: the page's own script and style, by their hashes, and nothing else."""
    allowed = f"script-src {_hash_of(script)}; style-src {_hash_of(style)}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash_of(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _as_json(value: Any) -> str:
    return codec.encode(value).decode().translate(_ESCAPES)


def _page_data(timeline: Timeline) -> dict[str, Any]:
    """Return what is drawn, column by column."""
    spans = timeline.spans
    summary = summarize(timeline)
    statuses = sorted({status for span in spans for status in (span.status, *(one.status for one in span.attempts))})
    number = {status: place for place, status in enumerate(statuses)}
    return {
        "run_id": timeline.run_id,
        "run_status": timeline.status,
        "tag": timeline.tag,
        "message": shown_message(timeline.message),
        "beginning": timeline.beginning.timestamp() * 1000 if timeline.beginning else 0,
        "wall": timeline.wall_seconds,
        "work": summary.work_seconds,
        "parallelism": summary.parallelism,
        "critical_path": _ends([spans[place].name for place in summary.critical_path]),
        "critical_seconds": summary.critical_seconds,
        "undated": [readable_name(undated.internal_name) for undated in timeline.undated[:_MOST_UNDATED]],
        "undated_count": len(timeline.undated),
        "problems": timeline.problems,
        "at_once": [round(count, 3) for count in concurrency(timeline, _PARTS)] if spans else [],
        "most_at_once": most_at_once(timeline),
        "statuses": statuses,
        "rows": [_row(row) for row in rows_of(timeline)],
        "name": [span.name for span in spans],
        "internal": [span.internal_name for span in spans],
        "is_step": [int(not isinstance(record, BranchLog)) for record in timeline.records],
        "start": [span.start for span in spans],
        "end": [span.end for span in spans],
        "status": [number[span.status] for span in spans],
        "critical": [int(span.is_critical) for span in spans],
        "running": [int(span.is_running) for span in spans],
        "waited": [span.waited for span in spans],
        "tries": {
            str(place): [[one.start, one.end, number[one.status]] for one in span.attempts]
            for place, span in enumerate(spans)
            if len(span.attempts) > 1
        },
    }


def _ends(names: list[str], most: int = 8) -> list[str]:
    """Return the first and last of many names."""
    return names if len(names) <= 2 * most else [*names[:most], "…", *names[-most:]]


def _row(row: Row) -> dict[str, Any]:
    return {
        "owner": row.owner,
        "depth": row.depth,
        "lane": row.lane,
        "inner": row.is_inner,
        "spans": row.spans,
    }


def _record_lines(timeline: Timeline) -> Iterator[str]:
    """Yield the details of each span, a line of JSON each: the page reads one when somebody asks for it."""
    for place in range(len(timeline.spans)):
        yield f"{_as_json(_details(timeline, place))}\n"


def _details(timeline: Timeline, place: int) -> dict[str, Any]:
    """Return what is shown of a step, all as text; moments in seconds, as the reader's time zone is not known here."""
    span, record, branch = timeline.spans[place], timeline.records[place], timeline.branch_of(place)
    step = record if isinstance(record, StepLog) else None
    parameters = {**(branch.parameters if branch else {}), **(parameters_of(step) if step else {})}
    codes = code_of(step) if step else []
    return {
        "type": span.step_type,
        "message": cut("" if record.message is UNSET else record.message, MOST_CHARACTERS),
        "branches": _branches_text(span),
        "item": value_text(branch.item, MOST_CHARACTERS) if branch else "",
        "cached_from": "" if isinstance(record, JobLog) or record.cached_from is UNSET else record.cached_from,
        "metrics": [*_texts(metrics_of(step)), *_series_texts(step)] if step else [],
        "parameters": _texts(parameters),
        "data": [] if isinstance(record, BranchLog) else [_data(entry) for entry in record.data_catalog],
        "code": [[str(identity.code_identifier_type or ""), version_of(identity)] for identity in codes],
        "attempts": [] if isinstance(record, BranchLog) else list(_attempts(span, record.attempts)),
    }


def _attempts(span: Span, attempts: list[StepAttempt]) -> Iterator[list[Any]]:
    times = iter(span.attempts)
    for attempt in attempts:
        # Attempts whose start is not known have no times here.
        time = next(times, None) if parsed_seconds(attempt.start_time) is not None else None
        yield [
            str(attempt.attempt_number),
            time.start if time else attempt.start_time,
            format_seconds(timedelta(seconds=time.end - time.start)) if time else attempt.duration,
            attempt.status,
            middle_left_out(attempt.message.strip(), MOST_OF_MANY),
        ]


def _data(entry: DataCatalog) -> list[str]:
    return [entry.name, entry.stage, entry.data_hash]


def _branches_text(span: Span) -> str:
    if not span.branches:
        return ""
    return f"{span.branches:,}" + (f", {span.failed_branches:,} failed" if span.failed_branches else "")


def _texts(values: dict[str, Any]) -> list[list[str]]:
    return [[name, value_text(value, MOST_CHARACTERS)] for name, value in list(values.items())[:_MOST_VALUES]]


def _series_texts(step: StepLog) -> list[list[str]]:
    series = {} if step.metric_series is UNSET else step.metric_series
    return [
        [name, f"{value_text(points[-1].value, MOST_CHARACTERS)} ({counted(len(points), 'point')})"]
        for name, points in list(series.items())[:_MOST_VALUES]
        if points
    ]

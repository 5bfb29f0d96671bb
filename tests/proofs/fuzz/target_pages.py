"""What people see of a run: pages, trees, tables, comparisons, charts."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from html.parser import HTMLParser

import chunkstore
from chunkstore.errors import ChunkstoreError, CorruptChunkError, InvalidValueError
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import RunLog
from chunkstore.stores.runs.run_list import summary_of
from chunkstore.views.compare.diff_table import sections
from chunkstore.views.compare.earlier_records import all_records
from chunkstore.views.compare.reuse import explain
from chunkstore.views.pages.notebook import run_list_as_html, run_log_as_html, run_log_as_text
from chunkstore.views.pages.run_values import data_of_run, metrics_of_run, parameters_of_run
from chunkstore.views.pages.step_lookup import find_record
from chunkstore.views.pages.step_page import step_heading, step_sections, tracebacks
from chunkstore.views.tables.exports import table_export
from chunkstore.views.tables.rows import rows_of
from chunkstore.views.texts import cut, first_line, printable
from chunkstore.views.timeline.from_log import timeline_of
from chunkstore.views.timeline.gantt import render_timeline
from chunkstore.views.timeline.page import timeline_page
from chunkstore.views.timeline.trace import trace_lines

from .inputs import text_of
from .registry import target
from .target_records import RUN

_NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
_TABLES = ("runs", "steps", "attempts", "metrics", "params", "data")


def _logs() -> Iterator[bytes]:
    yield RUN
    yield RUN + b"\n" + RUN.replace(b"SUCCESS", b"FAIL").replace(b"1.0", b"2.0")
    yield RUN.replace(b'"why"', b'"</script><b>\\u2028<!--"').replace(b'"t"', b'"\\u001b[31m\\r"')
    yield RUN.replace(b"SUCCESS", b"PROCESSING").replace(b"2024-02-02 05:49:42+00:00", b"")
    yield RUN.replace(b"2024-02-02 05:49:42+00:00", b"9998-12-31 00:00:00-23:00").replace(
        b"0:00:00.3", b"-9 days, 0:00:00"
    )


def _log_in(line: bytes) -> RunLog | None:
    try:
        return RecordCodec.of(RunLog).decode(line)
    except CorruptChunkError:
        return None


class _Page(HTMLParser):
    """Counts what stands in a page beside its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.scripts: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def _parsed_page(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    page.close()
    return page


_plain_page: list[_Page] = []


@target(_logs, 8_192)
def timeline(data: bytes) -> None:
    """A timeline of any run is drawn; in its page, what the run holds is data and nothing else."""
    log = _log_in(data.split(b"\n")[0])
    if log is None:
        return
    for until in (None, _NOW):
        text = "".join(timeline_page(log, until=until))
        text.encode()
        if not _plain_page:
            _plain_page.append(_parsed_page("".join(timeline_page(RunLog(run_id="plain")))))
        page = _parsed_page(text)
        assert page.tags == _plain_page[0].tags
        for script, plain in zip(page.scripts, _plain_page[0].scripts, strict=True):
            if script != plain:
                for line in filter(str.strip, script.splitlines()):
                    json.loads(line)
        json.loads("".join(trace_lines(timeline_of(log, until=until))))
        _check_text(render_timeline(log, until=until))


@target(_logs, 8_192)
def views(data: bytes) -> None:
    """Whatever a run holds, every view of it is drawn, as text that terminals and browsers obey nothing in."""
    first, _, second = data.partition(b"\n")
    log = _log_in(first)
    if log is None:
        return
    other = _log_in(second) or RunLog(run_id="other")
    try:
        _draw(log, other)
    except InvalidValueError:
        if not {*map(_is_recorded, (log, other))} - {True}:
            raise


def _is_recorded(log: RunLog) -> bool:
    """Tell whether this library writes such a run: values that are nested deeper need not be shown."""
    try:
        encode_record(log)
    except InvalidValueError:
        return False
    return True


def _draw(log: RunLog, other: RunLog) -> None:
    _check_text(chunkstore.render_tree(log))
    run_log_as_text(log).encode()
    _check_html(run_log_as_html(log))
    _check_html(run_list_as_html([summary_of(log)], {}, _NOW, more=False))
    for values in (parameters_of_run(log), metrics_of_run(log), data_of_run(log)):
        json.dumps(values.as_json(), default=str)
        for row in values.rows:
            values.texts(row, is_brief=True)
    for record in list(all_records(log))[:20]:
        if isinstance(record, chunkstore.StepLog):
            step_heading(record, "PROCESSING")
            for section in step_sections(record):
                assert all(len(row) == len(section.columns) for row in section.rows)
            list(tracebacks(record))
        explain(log, record, [other])
        try:
            find_record(log, record.internal_name)
        except ChunkstoreError:
            continue
    for old, new in ((log, other), (log, log)):
        diff = chunkstore.compare_runs(old, new)
        for section in sections(diff, everything=True):
            list(section.rows)


def _check_text(text: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def _check_html(text: str) -> None:
    page = _parsed_page(text)
    assert not {"script", "iframe", "object", "img", "a", "link", "meta", "base", "form"} & page.tags.keys()


@target(_logs, 8_192)
def tables(data: bytes) -> None:
    """Tables of any run have the same cells when they are read again."""
    log = _log_in(data.split(b"\n")[0])
    if log is None:
        return
    for table in _TABLES:
        try:
            rows = list(rows_of(log, table))
        except InvalidValueError:
            continue  # values that are nested deeper than any reader must follow
        file = io.BytesIO()
        with table_export(file, table, "csv") as export:
            export.add(log)
        text = file.getvalue().decode()
        read = list(csv.reader(io.StringIO(text, newline="")))
        assert len(read) == 1 + len(rows), table
        assert all(len(row) == len(read[0]) for row in read)


@target(
    lambda: [b"\x1b[31mred\x1b[0m\r\nx\ty\0", "a\u202eb\u2028 模".encode(), b"\xff\xfe", b" \n a \n", b"\xed\xa0\x80"]
)
def printed_text(data: bytes) -> None:
    """What steps have printed is shown without anything that a terminal obeys."""
    text = data.decode(errors="backslashreplace")
    for lines in (False, True):
        shown = printable(text, lines=lines)
        assert printable(shown, lines=lines) == shown
        assert all(char.isprintable() or (lines and char in "\n\t") for char in shown)
    assert "\n" not in first_line(text)
    assert len(cut(text, 5)) <= 5
    printable(text_of(data)).encode()

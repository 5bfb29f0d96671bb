"""Run logs and lists of runs as HTML for notebooks: no script, nothing from elsewhere, every text escaped.

It is a fragment of a page whose theme may be light or dark: the colours can be read on both, and the rest is that of
the page. What is folded or left out is counted.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from msgspec import UNSET

from chunkstore.errors import ChunkstoreError
from chunkstore.records.attempts import counting_branches, step_counts
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, BranchLog, RunLog, StepLog
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.named import shown
from chunkstore.stores.runs.liveness import Liveness
from chunkstore.views.durations import run_duration, step_duration
from chunkstore.views.formats import LOST, MARKS, UNKNOWN, format_seconds
from chunkstore.views.pages.run_list import COLUMNS, cells, run_row
from chunkstore.views.pages.tree import MOST_BRANCHES, counts_text, last_segment, render_tree
from chunkstore.views.recorded_values import (
    GIT,
    code_of,
    is_output,
    metrics_of,
    number_text,
    parameters_in,
    parameters_of,
    short_hash,
    short_version,
    steps_of,
    version_of,
)
from chunkstore.views.texts import MOST_OF_MANY, counted, cut, first_line, middle_left_out, printable
from chunkstore.views.walking import all_records, all_steps

#: A page of more characters ends with a note: notebooks keep it in their file.
MOST_CHARACTERS = 250_000
#: More steps in a row, or branches that did not succeed, are only counted.
_MOST_RECORDS = 60
#: What lies deeper is only counted.
_DEEPEST = 20
#: Metrics in the line of a step; all of them are in its details.
_MOST_METRICS = 4
_MOST_ENTRIES = 50
_LONGEST_NAME = 200
_LONGEST_MESSAGE = 300
_LONGEST_LINE = 200

_CLASSES = {SUCCESS: "ok", FAIL: "bad", PROCESSING: "busy", LOST: "lost", UNKNOWN: "lost"}
#: Of these colours, each has a contrast of about 4 to white and to the usual dark backgrounds. The class is named three
#: times where the rules of notebooks themselves would count more.
_STYLE = """<style>
.chunkstore{line-height:1.55;overflow-wrap:anywhere}
.chunkstore summary{cursor:pointer;list-style:none}
.chunkstore summary::-webkit-details-marker{display:none}
.chunkstore summary::before{content:"\\25B8";display:inline-block;width:1.1em;opacity:.6}
.chunkstore details[open]>summary::before{content:"\\25BE"}
.chunkstore .cs-row{padding-left:1.1em}
.chunkstore .cs-in{margin-left:.45em;padding-left:.9em;border-left:1px solid rgba(128,128,128,.4)}
.chunkstore .cs-dim{opacity:.7}
.chunkstore .cs-ok{color:#1f8f4e}.chunkstore .cs-bad{color:#de3f3f}
.chunkstore .cs-busy{color:#a8710f}.chunkstore .cs-lost{color:#b355c8}
.chunkstore pre{margin:.3em 0 .3em 1.1em;padding:.4em .7em;max-height:20em;overflow:auto;
border-left:3px solid #de3f3f;background:rgba(128,128,128,.12);color:inherit;white-space:pre-wrap}
.chunkstore table{margin:.2em 0 .4em 1.1em;border-collapse:collapse;color:inherit}
.chunkstore.chunkstore.chunkstore :is(th,td){text-align:left;vertical-align:top;padding:.1em .9em .1em 0;border:0;
background:none;color:inherit}
</style>
"""


class _Page:
    """The text of a page while it is made; there is an end to how much it takes."""

    def __init__(self, log: RunLog | None = None) -> None:
        self.log = log
        self._parts: list[str] = [_STYLE]
        self._left = MOST_CHARACTERS
        self.left_out = 0

    def add(self, text: str) -> None:
        self._parts.append(text)
        self._left -= len(text)

    def parameters_of(self, branch: BranchLog) -> dict[str, Any]:
        """Return the parameters of a branch of the run that the page shows."""
        return parameters_in(self.log, branch.parameters) if self.log else {}

    @property
    def is_full(self) -> bool:
        return self._left <= 0

    @contextmanager
    def foldable(self, line: str, *, is_open: bool) -> Iterator[None]:
        """Put a line above what can be folded away."""
        self.add(f'<details{" open" if is_open else ""}><summary>{line}</summary><div class="cs-in">')
        yield
        self.add("</div></details>")

    def row(self, line: str) -> None:
        self.add(f'<div class="cs-row">{line}</div>')

    def text(self) -> str:
        return "".join(self._parts)


def run_log_as_html(log: RunLog) -> str:
    """Return a run log as a tree in HTML: what failed is open, wide maps are folded."""
    page = _Page(log)
    page.add('<div class="chunkstore">')
    steps = steps_of(log)
    with page.foldable(_run_line(log, steps), is_open=True):
        _add_table(page, "parameters", _value_rows(parameters_in(log, log.parameters)))
        _add_table(page, "commits", _commits(steps))
        _add_steps(page, steps, "", 1)
        for problem in log.problems[:_MOST_ENTRIES]:
            text = problem.message if problem.kind == "orphan" else f"{problem.file}: {problem.message}"
            page.row(_span("cs-bad", f"! {cut(text, _LONGEST_MESSAGE)}"))
        if len(log.problems) > _MOST_ENTRIES:
            page.row(_dim(f"… and {counted(len(log.problems) - _MOST_ENTRIES, 'more problem')}"))
    if page.left_out:
        note = f"{counted(page.left_out, 'record')} left out, to keep this page small."
        page.row(_dim(f"{note} `chunkstore show {log.run_id}` shows more."))
    page.add("</div>")
    return page.text()


def run_log_as_text(log: RunLog) -> str:
    """Return a run log as a tree of text, for interactive shells: its `repr` has all that was recorded."""
    try:
        tree = render_tree(log, width=_LONGEST_LINE)
    except RecursionError:
        tree = f"{log.run_id}  {log.status}"  # records nested deeper than anybody nests them on purpose
    return printable(tree, lines=True)


def _run_line(log: RunLog, steps: Mapping[str, StepLog]) -> str:
    counts = Counter(step_counts(all_records(steps.values())))
    total = f"{counted(counts.total(), 'step')}{f': {counts_text(counts)}' if len(counts) > 1 else ''}"
    return _parts(
        f"<b>{_text(log.run_id)}</b>",
        _span(_class_of(log.status), f"{_mark(log.status)} {log.status}"),
        _dim(format_seconds(run_duration(log))),
        _dim(total),
        _dim(f"tag {log.tag}" if log.tag else ""),
        _dim(f"resumes {log.original_run_id}" if log.original_run_id else ""),
        _span("cs-bad", cut(str(log.notes.get("message", "")), _LONGEST_MESSAGE)),
    )


# --- steps and branches ----------------------------------------------------------------------------------------------


def _add_steps(page: _Page, steps: Mapping[str, StepLog], parent: str, depth: int) -> None:
    hidden: Counter[str] = Counter()
    for number, step in enumerate(steps.values()):
        if number >= _MOST_RECORDS and (step.status == SUCCESS or number >= 2 * _MOST_RECORDS):
            hidden[step.status] += 1
        elif page.is_full:
            page.left_out += 1
        else:
            _add_step(page, step, step.status, last_segment(step.internal_name, parent), depth)
    _add_hidden(page, hidden, "more step")


def _add_step(page: _Page, step: StepLog, status: str, name: str, depth: int) -> None:
    line = _step_line(step, status, name)
    traceback = next((attempt.message for attempt in reversed(step.attempts) if attempt.message.strip()), "")
    tables = _tables(step)
    if not step.branches and not tables and not traceback:
        page.row(line)
        return
    with page.foldable(
        line, is_open=bool(step.branches) and (status != SUCCESS or len(step.branches) <= MOST_BRANCHES)
    ):
        if traceback:
            page.add(f"<pre>{_text(middle_left_out(traceback.strip(), MOST_OF_MANY))}</pre>")
        for title, rows in tables:
            _add_table(page, title, rows)
        if step.branches:
            _add_branches(page, step, depth + 1)


def _add_branches(page: _Page, step: StepLog, depth: int) -> None:
    if depth > _DEEPEST:
        page.row(_dim(f"{counted(len(step.branches), 'branch')} inside"))
        return
    hidden: Counter[str] = Counter()
    is_wide = len(step.branches) > MOST_BRANCHES
    shown = 0
    for branch in step.branches.values():
        if is_wide and (branch.status == SUCCESS or shown >= _MOST_RECORDS):
            hidden[branch.status] += 1
        elif page.is_full:
            page.left_out += 1
        else:
            shown += 1
            _add_branch(page, branch, step.internal_name, depth)
    _add_hidden(page, hidden, "more branch" if shown else "branch")


def _add_branch(page: _Page, branch: BranchLog, parent: str, depth: int) -> None:
    name = last_segment(branch.internal_name, parent)
    steps = list(branch.steps.values())
    if len(steps) == 1 and not steps[0].branches:
        # The usual branch runs one function: one line says it all.
        _add_step(page, steps[0], branch.status, name, depth)
        return
    message = "" if branch.message is UNSET else branch.message
    line = _parts(_name(branch.status, name), _message(message))
    if not steps and not branch.parameters:
        page.row(line)
        return
    with page.foldable(line, is_open=branch.status != SUCCESS):
        _add_table(page, "parameters", _value_rows(page.parameters_of(branch)))
        _add_steps(page, branch.steps, branch.internal_name, depth)


def _add_hidden(page: _Page, hidden: Counter[str], what: str) -> None:
    for status, count in hidden.items():
        page.row(_dim(f"{counted(count, what)} {counts_text({status: count}).partition(' ')[2]}"))


def _step_line(step: StepLog, status: str, name: str) -> str:
    kind = ""
    if step.branches:
        counts = Counter(branch.status for branch in counting_branches(step).values())
        kind = f"{step.step_type}, {counted(counts.total(), 'branch')}: {counts_text(counts)}"
    metrics = [f"{key}={_number(value)}" for key, value in _metrics(step)]
    more = len(metrics) - _MOST_METRICS
    return _parts(
        _name(status, name),
        _dim(kind),
        _dim(format_seconds(step_duration(step))),
        _dim(f"{len(step.attempts)} attempts" if len(step.attempts) > 1 else ""),
        _dim("" if step.cached_from is UNSET else f"taken over from {step.cached_from}"),
        _span("cs-metric", ", ".join(metrics[:_MOST_METRICS]) + (f" and {more:,} more" if more > 0 else "")),
        _message(step.message),
    )


def _metrics(step: StepLog) -> Iterator[tuple[str, Any]]:
    """Yield the metrics of a step; of a series, its last value."""
    yield from metrics_of(step).items()
    for name, points in () if step.metric_series is UNSET else step.metric_series.items():
        if points:
            yield name, points[-1].value


# --- details ---------------------------------------------------------------------------------------------------------

_Rows = list[tuple[str, ...]]


def _tables(step: StepLog) -> list[tuple[str, _Rows]]:
    """Return what else is to know of a step, with titles."""
    metrics = list(_metrics(step))
    data: _Rows = [
        (entry.stage, entry.name, short_hash(entry.data_hash)) for entry in step.data_catalog if not is_output(entry)
    ]
    tables: list[tuple[str, _Rows]] = [
        ("parameters", _value_rows(parameters_of(step))),
        ("metrics", _value_rows(dict(metrics)) if len(metrics) > _MOST_METRICS else []),
        ("data", data),
    ]
    return [(title, rows) for title, rows in tables if rows]


def _commits(steps: Mapping[str, StepLog]) -> _Rows:
    """Return the commits that the steps of a run ran, mostly one; and how many steps ran each."""
    versions = Counter(
        version_of(identity)
        for step in all_steps(steps.values())
        for identity in code_of(step)
        if identity.code_identifier_type == GIT
    )
    return [(short_version(version), counted(count, "step")) for version, count in versions.items()]


def _value_rows(values: Mapping[str, Any]) -> _Rows:
    return [(name, _number(value)) for name, value in values.items()]


def _add_table(page: _Page, title: str, rows: _Rows) -> None:
    if not rows or page.is_full:
        return
    with page.foldable(_dim(f"{title} ({len(rows):,})"), is_open=False):
        page.add("<table>")
        for row in rows[:_MOST_ENTRIES]:
            page.add(f"<tr>{''.join(f'<td>{_text(cut(cell, _LONGEST_MESSAGE))}</td>' for cell in row)}</tr>")
        page.add("</table>")
        if len(rows) > _MOST_ENTRIES:
            page.row(_dim(f"… and {len(rows) - _MOST_ENTRIES:,} more"))


# --- the list of runs ------------------------------------------------------------------------------------------------


def run_list_as_html(runs: Sequence[RunSummary], liveness: Mapping[str, Liveness], now: datetime, *, more: bool) -> str:
    """Return a list of runs as a table in HTML.

    Args:
        runs: the runs to show, the newest first.
        liveness: by id, of those that have not finished: whether somebody still records them.
        now: what time it is.
        more: whether there are more than these.
    """
    page = _Page()
    page.add('<div class="chunkstore">')
    if runs:
        titles = "".join(f"<th>{_text(title.capitalize())}</th>" for title in COLUMNS)
        page.add(f"<table><thead><tr>{titles}</tr></thead><tbody>")
        for summary in runs:
            row = run_row(summary, summary.steps, liveness.get(summary.run_id), now)
            texts = [_text(cut(cell, _LONGEST_MESSAGE)) for cell in cells(row, now)]
            texts[0] = f'<span class="{_class_of(row.status)}" title="{_text(row.why)}">{texts[0]}</span>'
            page.add(f"<tr>{''.join(f'<td>{text}</td>' for text in texts)}</tr>")
        page.add("</tbody></table>")
    else:
        page.row(_dim("No runs."))
    if more:
        page.row(_dim(f"The newest {len(runs):,} runs; there are more."))
    page.add("</div>")
    return page.text()


# --- pieces of HTML --------------------------------------------------------------------------------------------------


def _text(text: str) -> str:
    """Return any text so that a page shows it as it is."""
    return html.escape(printable(text, lines=True))


def _span(css: str, text: str) -> str:
    return f'<span class="{css}">{_text(text)}</span>' if text else ""


def _dim(text: str) -> str:
    return _span("cs-dim", cut(text, _LONGEST_MESSAGE))


def _message(message: str) -> str:
    return _span("cs-bad", cut(first_line(message), _LONGEST_MESSAGE))


def _name(status: str, name: str) -> str:
    mark = f'<span class="{_class_of(status)}" title="{_text(status)}">{_text(_mark(status))}</span>'
    return f"{mark} <b>{_text(cut(name, _LONGEST_NAME))}</b>"


def _mark(status: str) -> str:
    return MARKS.get(status, "?")


def _class_of(status: str) -> str:
    return f"cs-{_CLASSES.get(status, 'other')}"


def _parts(*parts: str) -> str:
    """Return parts of a line, those that are not empty, with gaps between them."""
    return " &nbsp;".join(filter(None, parts))


def _number(value: Any) -> str:
    try:
        return number_text(value)
    except (ChunkstoreError, ValueError):  # a record that was made here may hold anything
        return shown(value)

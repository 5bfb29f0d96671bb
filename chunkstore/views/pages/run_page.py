"""What is to say of a whole run before its tree: how it went, when, with which code and parameters."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from chunkstore.clock import parse_time
from chunkstore.records.attempts import step_counts
from chunkstore.records.models import CodeIdentity, RunLog
from chunkstore.stores.runs.liveness import LIVE, Liveness
from chunkstore.stores.runs.run_list import summary_of
from chunkstore.views.durations import run_duration
from chunkstore.views.formats import format_local, format_seconds, status_text
from chunkstore.views.pages.run_list import actual_status
from chunkstore.views.pages.tree import DETAIL, MESSAGE, NAME, Line, Part, counts_text, spaced
from chunkstore.views.recorded_values import GIT, code_of, parameters_in, short_version, value_text, version_of
from chunkstore.views.texts import shown_message
from chunkstore.views.walking import all_records, all_steps

_MOST_PARAMETERS = 8
_LABEL_WIDTH = 9


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as it is and as it was recorded.

    Attributes:
        status: as it is: what was recorded, but `LOST` where the process that recorded the run has died, and `UNKNOWN`
            where nobody can tell whether it lives.
        liveness: whether somebody still records it; null if it is over and nobody records into it again.
        steps: how many steps, at any depth, have which status.
        log: the run log, as the store has it.
    """

    status: str
    liveness: Liveness | None
    steps: dict[str, int]
    log: RunLog


def run_page(log: RunLog, liveness: Liveness | None) -> RunPage:
    """Return a run with what is known about it.

    Args:
        log: the whole run log.
        liveness: whether somebody still records it; None if it is over.
    """
    return RunPage(
        status=actual_status(log.status, liveness),
        liveness=liveness,
        steps=step_counts(all_records(log.steps.values())),
        log=log,
    )


def heading(page: RunPage) -> Iterator[Line]:
    """Yield the lines that stand above the tree of a run."""
    log, liveness = page.log, page.liveness
    status = page.status or "without a status"
    yield spaced(
        [
            Part(status_text(status), status),
            Part(log.run_id, NAME),
            Part(f"tag {log.tag}" if log.tag else "", DETAIL),
        ]
    )
    if liveness is not None and (liveness.state != LIVE or liveness.last_heard):
        heard = parse_time(liveness.last_heard)
        last = f" It was last heard of at {format_local(heard)}." if heard else ""
        yield _labelled("", Part(f"{liveness.why}{last}", MESSAGE))
    elif liveness is not None and summary_of(log).is_over:
        yield _labelled("", Part(f"It has ended, and goes on. {liveness.why}", MESSAGE))
    if message := str(log.notes.get("message", "")):
        yield _labelled("", Part(shown_message(message), MESSAGE))
    started = parse_time(str(log.notes.get("created", "")))
    took = format_seconds(run_duration(log))
    times = [format_local(started), f"took {took}" if took else ""]
    if started:
        yield _labelled("started", Part(" · ".join(filter(None, times)), DETAIL))
    yield _labelled("steps", Part(_steps_text(page.steps), DETAIL))
    if log.original_run_id:
        yield _labelled("resumes", Part(log.original_run_id, DETAIL))
    if code := _code_text(log):
        yield _labelled("code", Part(code, DETAIL))
    if log.parameters:
        texts = [f"{name}={value_text(value)}" for name, value in parameters_in(log, log.parameters).items()]
        more = f", {len(texts) - _MOST_PARAMETERS:,} more (--params)" if len(texts) > _MOST_PARAMETERS else ""
        yield _labelled("with", Part(", ".join(texts[:_MOST_PARAMETERS]) + more, DETAIL))


def _labelled(label: str, part: Part) -> Line:
    return [Part(label.ljust(_LABEL_WIDTH), DETAIL), part] if label else [part]


def _steps_text(counts: dict[str, int]) -> str:
    total = f"{sum(counts.values()):,}"
    return f"{total}: {counts_text(counts)}" if counts else "none"


def _code_text(log: RunLog) -> str:
    """Return which commits the steps of a run ran, each once."""
    commits = {
        identity_text(identity): None
        for step in all_steps(log.steps.values())
        for identity in code_of(step)
        if identity.code_identifier_type == GIT and identity.code_identifier
    }
    return ", ".join(commits)


def identity_text(identity: CodeIdentity) -> str:
    """Return what tells which code ran, in a line."""
    parts = [identity.code_identifier_type or "", short_version(version_of(identity))]
    is_vague = identity.code_identifier_type == GIT and not identity.code_identifier_dependable
    if is_vague and not identity.code_identifier_message:
        parts.append("with uncommitted changes")
    if identity.code_identifier_url:
        parts.append(f"of {identity.code_identifier_url}")
    return " ".join(filter(None, parts))

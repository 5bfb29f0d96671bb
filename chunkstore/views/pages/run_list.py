"""What a list of runs shows of each."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from chunkstore.clock import parse_time
from chunkstore.records.models import FAIL, SUCCESS
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.runs.liveness import LIVE, UNKNOWN, Liveness
from chunkstore.views.formats import format_seconds, mark_of, status_text

COLUMNS = ("STATUS", "RUN", "STARTED", "DURATION", "STEPS", "TAG")
#: These columns are numbers.
_TO_THE_RIGHT = frozenset({"DURATION", "STEPS"})


class StepCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps of a run there are, at any depth.

    Attributes:
        done: those that succeeded.
        failed: those that failed.
        total: all, also those that have not ended.
    """

    done: int
    failed: int
    total: int


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a list.

    Attributes:
        run_id: the run's unique name.
        status: as it is: what was recorded, but `LOST` where the process that recorded the run has died, and `UNKNOWN`
            where nobody can tell whether it lives.
        recorded_status: what was recorded.
        started: when it was created, in UTC; empty if nobody recorded it.
        ended: when it finished; empty while it goes on.
        seconds: how long it took, or has taken until now; null if that is not known.
        steps: how many there are; null if they cannot be read.
        tag: any text that groups runs.
        original_run_id: the run that this one resumes; empty if it resumes none.
        host: where it was recorded, if it has not finished and that is known.
        last_heard: when anything was written for it last, if it is `LOST` or `UNKNOWN`; in a bucket, when whoever
            records it was heard last, also while that lives.
        why: why it is `LOST` or `UNKNOWN`; empty else.
        problem: why the run, or a part of it, could not be read; empty if it could, as far as that was tried.
    """

    run_id: str
    status: str
    recorded_status: str
    started: str
    ended: str
    seconds: float | None
    steps: StepCounts | None
    tag: str
    original_run_id: str
    host: str = ""
    last_heard: str = ""
    why: str = ""
    problem: str = ""


def actual_status(recorded: str, liveness: Liveness | None) -> str:
    """Return the status of a run as it is.

    Args:
        recorded: what the run's record says.
        liveness: whether somebody still records it; None if it is over.
    """
    return recorded if liveness is None or liveness.state == LIVE else liveness.state


def run_row(summary: RunSummary, counts: dict[str, int] | None, liveness: Liveness | None, now: datetime) -> RunRow:
    """Return what a list shows of a run.

    Args:
        summary: the run.
        counts: how many of its steps have which status; None if they cannot be read.
        liveness: whether somebody still records it; None if it is over.
        now: what time it is.
    """
    is_dead = liveness is not None and liveness.state != LIVE
    end = summary.end_time or ((liveness.last_heard if is_dead else "") if liveness else "")
    start, ended = parse_time(summary.start_time), parse_time(end)
    if ended is None and liveness is not None and not is_dead:
        ended = now
    return RunRow(
        run_id=summary.run_id,
        status=actual_status(summary.status, liveness),
        recorded_status=summary.status,
        started=summary.start_time,
        ended=summary.end_time,
        seconds=max((ended - start).total_seconds(), 0.0) if start and ended else None,
        steps=_counted(counts),
        tag=summary.tag,
        original_run_id=summary.original_run_id,
        host=liveness.host if liveness else "",
        last_heard=liveness.last_heard if liveness else "",
        why=liveness.why if is_dead and liveness else "",
        problem=summary.problem,
    )


def _counted(counts: dict[str, int] | None) -> StepCounts | None:
    if counts is None:
        return None
    return StepCounts(done=counts.get(SUCCESS, 0), failed=counts.get(FAIL, 0), total=sum(counts.values()))


def _is_unreadable(row: RunRow) -> bool:
    """Tell whether the run's own record cannot be read; of others, it is a part that cannot."""
    return bool(row.problem) and row.recorded_status in ("", UNKNOWN)


def _last_cell(row: RunRow) -> str:
    if not row.problem:
        return row.tag
    return row.problem if _is_unreadable(row) else f"! {row.problem}"


def cells(row: RunRow, now: datetime) -> tuple[str, ...]:
    """Return what a row shows in each of the columns."""
    duration = format_seconds(timedelta(seconds=row.seconds)) if row.seconds is not None else ""
    status = "! unreadable" if _is_unreadable(row) else status_text(row.status)
    started = format_start(parse_time(row.started), now)
    return status, row.run_id, started, duration, _steps_cell(row.steps), _last_cell(row)


def _steps_cell(steps: StepCounts | None) -> str:
    """Return `13` for steps that all succeeded, else `11/13`, and before it how many failed."""
    if steps is None:
        return ""
    if steps.done == steps.total:
        return f"{steps.total:,}"
    failed = f"{mark_of(FAIL)}{steps.failed:,} " if steps.failed else ""
    return f"{failed}{steps.done:,}/{steps.total:,}"


def format_start(moment: datetime | None, now: datetime) -> str:
    """Return a moment as briefly as it can be told from others: the time today, the date and time, or the year too."""
    if moment is None:
        return ""
    local, today = moment.astimezone(), now.astimezone()
    if local.date() == today.date():
        return local.strftime("%H:%M:%S")
    if local.year == today.year:
        return local.strftime("%b %d %H:%M")
    return local.strftime("%Y-%m-%d")


def widths(rows: list[tuple[str, ...]]) -> list[int]:
    """Return how wide each column must be for its title and some rows."""
    return [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]


def aligned(row: tuple[str, ...], column_widths: list[int], gap: str = "  ") -> list[str]:
    """Return the cells of a row, filled up to the widths of their columns, and gaps between them."""
    filled = [
        cell.rjust(width) if title in _TO_THE_RIGHT else cell.ljust(width)
        for title, cell, width in zip(COLUMNS, row, column_widths, strict=True)
    ]
    return [f"{cell}{gap}" for cell in filled[:-1]] + [filled[-1].rstrip()]

"""What can be wrong in either layout: with a name, with the version that wrote a run, beside the runs."""

from __future__ import annotations

from collections.abc import Iterator

from chunkstore.backends.entries import FILE, FOLDER, Entry
from chunkstore.clock import format_nanoseconds
from chunkstore.errors import InvalidNameError
from chunkstore.maintenance.checking.findings import FOREIGN, LEFT_OVER, NEWER_FORMAT, Finding, finding
from chunkstore.records.models import PACKED_FORMAT, RunLog, is_format


def no_run_id(run_id: str, file: str, error: InvalidNameError) -> Finding:
    """Return the finding for what no run can be called."""
    return finding(FOREIGN, run_id, file, f"It is no run: no run can be called so. {error}")


def newer_format(log: RunLog, file: str) -> Iterator[Finding]:
    """Yield a finding if a newer version has written a run, whose own record is in a file."""
    number = log.notes.get("format", PACKED_FORMAT)
    if not is_format(number) or number > PACKED_FORMAT:
        message = f"The run is of format {number!r:.40}, and this version knows formats up to {PACKED_FORMAT}."
        yield finding(NEWER_FORMAT, log.run_id, file, message)


def left_over_at_top(entry: Entry) -> Finding:
    """Return the finding for a temporary file or folder beside the runs."""
    message = f"Somebody was stopped while making or deleting a run, at {format_nanoseconds(entry.modified_at)}."
    return finding(LEFT_OVER, "", entry.name, message)


def foreign_at_top(entry: Entry) -> Finding:
    """Return the finding for something beside the runs that is none."""
    hint = "; links are not followed" if entry.kind not in (FILE, FOLDER) else ""
    return finding(FOREIGN, "", entry.name, f"The {entry.kind} is no run{hint}.")

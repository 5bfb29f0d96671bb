"""What a look through a store can find, and what to do about it."""

from __future__ import annotations

import msgspec

#: Something recorded cannot be read, is not what was recorded, has lost its place, or says what cannot be.
PROBLEM = "problem"
#: Nothing is lost: remains of what was stopped, and what does not belong here.
NOTE = "note"

CORRUPT, UNREADABLE, MISSING, CHANGED = "corrupt", "unreadable", "missing", "changed"
ORPHAN, DATA, TIME = "orphan", "data", "time"
SUPERSEDED, STALE, LEFT_OVER, FOREIGN = "superseded", "stale", "left-over", "foreign"
NEWER_FORMAT, QUARANTINED = "newer-format", "quarantined"

#: What each kind is, and what to do if nothing better is known.
KINDS = {
    CORRUPT: (
        PROBLEM,
        "Restore it from a backup, or move it away with --repair; if another tool wrote it, try `chunkstore import`.",
    ),
    UNREADABLE: (PROBLEM, "See what the file is; --repair moves links, pipes and folders out of the way."),
    MISSING: (PROBLEM, "Restore RunLog.json from a backup; the rest of the run can still be read."),
    CHANGED: (PROBLEM, "Restore the run's folder from a backup: by itself, each file can be read."),
    ORPHAN: (PROBLEM, "Restore the record that is missing from a backup; this one is kept and shown as an orphan."),
    DATA: (PROBLEM, "Restore the data from a backup, or run the step again."),
    TIME: (PROBLEM, "Check the clock of the host that recorded it; what else the record says is not affected."),
    SUPERSEDED: (NOTE, "Nothing to do: the newest record counts. Was the step started twice?"),
    STALE: (NOTE, "Nothing to do: the step was recorded anew since."),
    LEFT_OVER: (NOTE, "`chunkstore gc` removes it when it is surely nobody's."),
    FOREIGN: (NOTE, "Nothing reads it. Move it elsewhere if it does not belong there."),
    NEWER_FORMAT: (NOTE, "Install a newer chunkstore to check this run."),
    QUARANTINED: (NOTE, "See what can be saved from it; delete it when you need it no more."),
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a store that is not as it should be.

    Attributes:
        severity: `problem`, or `note` if nothing is lost.
        kind: a key of `KINDS`.
        run_id: the run that it belongs to; empty where it belongs to none.
        file: below the log folder, or below the catalog for data.
        message: what is wrong.
        advice: what to do.
        moved_to: where the file was moved, below the log folder; empty if it was not.
    """

    severity: str
    kind: str
    run_id: str
    file: str
    message: str
    advice: str
    moved_to: str = ""


def finding(kind: str, run_id: str, file: str, message: str, advice: str = "") -> Finding:
    """Return a finding of a kind.

    Args:
        kind: a key of `KINDS`.
        run_id: the run that it belongs to; empty where it belongs to none.
        file: below the log folder; any bytes, as file names are.
        message: what is wrong.
        advice: what to do; empty for what is usual for this kind.
    """
    severity, usual_advice = KINDS[kind]
    return Finding(
        severity=severity,
        kind=kind,
        run_id=as_text(run_id),
        file=as_text(file),
        message=as_text(message),
        advice=advice or usual_advice,
    )


def as_text(name: str) -> str:
    """Return a name of any bytes as text that UTF-8 can hold."""
    return name.encode(errors="backslashreplace").decode()

"""How durations, sizes, times and statuses are written for people."""

from __future__ import annotations

from datetime import datetime, timedelta

from chunkstore.records.models import FAIL, PROCESSING, SUCCESS

#: What readers show instead of PROCESSING: the process that recorded the run has died, or nobody can tell.
LOST = "LOST"
UNKNOWN = "UNKNOWN"

#: One character for each status, and how rich shows it.
MARKS = {SUCCESS: "✔", FAIL: "✘", PROCESSING: "…", LOST: "☠", UNKNOWN: "?"}
STYLES = {SUCCESS: "green", FAIL: "bold red", PROCESSING: "yellow", LOST: "bold magenta", UNKNOWN: "magenta"}

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000


def mark_of(status: str) -> str:
    """Return the character for a status; of one that nobody knows, the status itself."""
    return MARKS.get(status, f"? {status}")


def status_text(status: str) -> str:
    """Return a status with its mark."""
    return f"{MARKS.get(status, '?')} {status}"


def style_of(status: str) -> str:
    """Return how rich shows a status."""
    return STYLES.get(status, "")


def format_seconds(duration: timedelta | None) -> str:
    """Return a duration as people say it: `3 ms`, `1.2 s`, `2 min 5 s`, `1 h 3 min`, `4 d 2 h`; nothing for None."""
    if duration is None:
        return ""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def format_bytes(size: int) -> str:
    """Return a size as people say it, in powers of 1000: `512 B`, `1.2 kB`, `34 MB`."""
    value = float(size)
    for unit in _UNITS:
        if value < _THOUSAND or unit == _UNITS[-1]:
            break
        value /= _THOUSAND
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"  # noqa: PLR2004 - two digits


def format_local(moment: datetime | None) -> str:
    """Return a moment in the time zone of whoever looks, to the second; nothing for None."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""

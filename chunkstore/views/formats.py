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
_UNITS = ("kB", "MB", "GB", "TB")
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
    # What it is rounded to decides about the unit: no unit is told to be full.
    if (milliseconds := round(seconds * 1000)) < _THOUSAND:
        return f"{milliseconds} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    if (whole := round(seconds)) < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if (minutes := round(seconds / _MINUTE)) < 2 * _DAY // _MINUTE:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / _HOUR)
    return f"{hours // 24:,} d {hours % 24} h"


def format_bytes(size: int) -> str:
    """Return a size as people say it, in powers of 1000: `512 B`, `1.2 kB`, `34 MB`."""
    if size < _THOUSAND:
        return f"{size} B"
    value, units = size / _THOUSAND, iter(_UNITS)
    unit = next(units)
    while round(value) >= _THOUSAND and (larger := next(units, "")):
        value, unit = value / _THOUSAND, larger
    return f"{value:.1f} {unit}" if round(value, 1) < 10 else f"{value:,.0f} {unit}"  # noqa: PLR2004 - two digits


def format_local(moment: datetime | None) -> str:
    """Return a moment in the time zone of whoever looks, to the second; nothing for None."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""

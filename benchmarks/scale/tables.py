"""The tables of the page on scale, made from what the simulation has written: `python -m benchmarks.scale.tables`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.report import amount
from benchmarks.scale.model import Load, Measured, Result, a_day, by_copies, most_changes_a_second
from benchmarks.scale.phases import Phase
from chunkstore.maintenance.doctor.buckets.prices import PRICES

_DOCS = Path(__file__).parent.parent.parent / "docs" / "why"
#: What the simulation found when the page was written.
RESULTS = _DOCS / "scale.json"
PAGE = _DOCS / "scale.md"
_MARKED = re.compile(r"(<!-- table: ([a-z ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

_TITLES = {
    "runs": "a run begun and finished",
    "steps": "a step put, and put again when it ends; each",
    "steps slowed": "the same, told to slow down; each",
    "parameters": "all writers set parameters of one run; each",
    "record": "all writers change one step; each",
    "read": "reading a run of {chunks:,} steps",
    "seal": "ending and sealing it",
    "read sealed": "reading it sealed",
    "list first": "listing all runs, for the first time",
    "list again": "listing them again",
    "list newest": "the newest 20",
    "gc": "looking for left-overs in 20 runs",
}
_LOAD = Load()


def filled(page: str, result: Result) -> str:
    """Return a page with its tables made anew.

    Args:
        page: its text, in which comments mark where each table is.
        result: what the simulation found.
    """
    return _MARKED.sub(lambda match: f"{match[1]}\n{_TABLES[match[2]](result)}\n\n{match[3]}", page)


def write_page() -> None:
    """Put what is noted beside the page into its tables."""
    result = msgspec.json.decode(RESULTS.read_bytes(), type=Result)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _setting(result: Result) -> str:
    found, size = result.environment, result.size
    return (
        f"Measured with {size.writers} writers, each for {size.seconds:g} seconds, and {result.objects:,} objects that "
        f"were there before; {result.latency * 1e3:g} ms for each request, and {result.rate:,.0f} a "
        "second where clients are told to slow down;\n"
        f"{found['CPU']}, {found['cores']} cores, {found['system']}, {found['file system'].split(' ')[0]}, "
        f"{found['Python']}."
    )


def _measured(result: Result) -> str:
    rows = []
    for name, phase in result.bucket.phases.items():
        other = result.folder.phases[name]
        per = 1 if name.startswith(("list", "gc", "read", "seal")) else phase.operations
        title = _TITLES[name].format(chunks=result.size.chunks)
        rows.append([title, _time(phase), _requests(phase, per), _time(other)])
    return _table(["", "bucket: median; 99 %", "requests", "folder: median; 99 %"], rows)


def _time(phase: Phase) -> str:
    if phase.median == phase.p99:
        return amount(phase.median, "seconds")
    return f"{amount(phase.median, 'seconds')}; {amount(phase.p99, 'seconds')}"


def _requests(phase: Phase, per: float) -> str:
    found = [
        f"{_number(number / per)} {kind if number != per else kind[:-1]}"
        for kind, number in phase.requests.items()
        if number
    ]
    return ", ".join(found) or "0"


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == round(number) else f"{number:.1f}"  # noqa: PLR2004 - digits


def _day(result: Result) -> str:
    days = [*a_day(_LOAD, result.bucket, PRICES["s3"], result.size.chunks), by_copies(_LOAD, PRICES["s3"])]
    rows = []
    for day in days:
        requests = (day.requests.puts, day.requests.gets, day.requests.lists)
        rate = f"{day.a_second:,.0f}" if day.a_second >= 1 else f"{day.a_second:.1g}"
        rows.append([day.what, *map(_power, requests), rate, f"${day.dollars:,.2f}"])
    return _table(["a day of 10⁸ steps", "puts", "gets", "lists", "requests a second", "Amazon S3"], rows)


def _power(number: float) -> str:
    return f"{number:,.0f}" if number < 1e5 else f"{number:.1e}".replace("e+0", " x 10^").replace("e+", " x 10^")  # noqa: PLR2004 - readable


def _prices(result: Result) -> str:
    kept = _LOAD.runs_kept * _LOAD.steps_a_run * _per_step(result.bucket) / 1e9
    rows = []
    for prices in PRICES.values():
        total = sum(day.dollars for day in a_day(_LOAD, result.bucket, prices, result.size.chunks))
        dollars = (f"${total:,.0f}", f"${by_copies(_LOAD, prices).dollars:,.2f}", f"${kept * prices.per_gb_month:,.2f}")
        rows.append([f"[{prices.service}]({prices.source}), {prices.as_of}", *dollars])
    return _table(["", "a day, recorded there", "a day, copied", "10⁶ runs kept, a month"], rows)


def _per_step(measured: Measured) -> float:
    return measured.sizes["bytes of a step of a run that has ended"]


def _kept(result: Result) -> str:
    bucket, folder = result.bucket, result.folder
    live_steps = _LOAD.live_runs * _LOAD.steps_a_run
    rows = []
    for title, number in (
        ("chunks of the runs that go on", lambda _: live_steps),
        ("files or objects of 10⁶ sealed runs", lambda m: _LOAD.runs_kept * m.sizes["files of a run that has ended"]),
        (
            "inodes of them, folders included",
            lambda m: _LOAD.runs_kept * (m.sizes["files of a run that has ended"] + 1),
        ),
        ("GB of them", lambda m: _LOAD.runs_kept * _LOAD.steps_a_run * _per_step(m) / 1e9),
    ):
        in_bucket = "" if "inodes" in title else _power(number(bucket))
        rows.append([title, in_bucket, _power(number(folder))])
    return _table(["", "bucket", "folder"], rows)


def _times(result: Result) -> str:
    chunks = result.size.chunks
    rows: list[list[str]] = []
    for title, seconds in (
        ("reading a sealed run of 1,000 steps", lambda m: m.phases["read sealed"].seconds * 1_000 / chunks),
        ("reading one of 1,000 steps that is not sealed", lambda m: m.phases["read"].seconds * 1_000 / chunks),
        ("listing 10⁶ runs for the first time", lambda m: _per_run(m, "list first") * _LOAD.runs_kept),
        ("listing them again", lambda m: _per_run(m, "list again") * _LOAD.runs_kept),
        (
            "looking for left-overs in 10⁶ runs",
            lambda m: m.phases["gc"].seconds / m.phases["gc"].operations * _LOAD.runs_kept,
        ),
        ("sealing what is recorded in a second", lambda m: m.phases["seal"].seconds / chunks * _LOAD.steps_a_second),
    ):
        rows.append([title, *(_long(seconds(measured)) for measured in (result.bucket, result.folder))])
    return _table(["", "bucket", "folder"], rows)


def _runs(measured: Measured) -> int:
    return max(1, measured.phases["list again"].operations)


def _per_run(measured: Measured, phase: str) -> float:
    return measured.phases[phase].seconds / _runs(measured)


def _long(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return amount(seconds, "seconds")
    return f"{seconds / 60:,.0f} min" if seconds < 7_200 else f"{seconds / 3_600:,.0f} h"  # noqa: PLR2004 - two hours


def _shared(result: Result) -> str:
    rows: list[list[str]] = []
    for name, title in (("parameters", "parameters of one run"), ("record", "one step")):
        for where, measured in (("bucket", result.bucket), ("folder", result.folder)):
            phase = measured.phases[name]
            most = most_changes_a_second(measured, name)
            tries = phase.requests.get("puts", phase.operations) / max(1, phase.operations)
            counts = (f"{most:,.0f}", f"{tries:.1f}", f"{phase.failed:,}", f"{phase.lost:,}")
            rows.append([f"{title}, {where}", *counts, _long(_LOAD.workers / most if most else float("inf"))])
    head = ["", "changes a second", "puts for each", "gave up", "lost", "10,000 workers, once each"]
    return _table(head, rows)


_TABLES: dict[str, Callable[[Result], str]] = {
    "setting": _setting,
    "measured": _measured,
    "day": _day,
    "prices": _prices,
    "kept": _kept,
    "times": _times,
    "shared": _shared,
}

if __name__ == "__main__":
    write_page()

"""What the answers of workers mean."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import Any

from chunkstore.clock import MOST_AHEAD
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, Check
from chunkstore.maintenance.workers.meeting import Tried
from chunkstore.maintenance.workers.report import WorkerReport
from chunkstore.records.models import FORMAT, PACKED_FORMAT
from chunkstore.version import __version__

#: From here on, what people read of times on two hosts misleads them, in seconds.
_MISLEADING = 1.0
_NANO = 1e-9


def reports_of(
    answers: Iterable[tuple[dict[str, Any], int, int]], tried: dict[str, Tried], driver: str, folder: str
) -> list[WorkerReport]:
    """Return a report for each process that has answered.

    Args:
        answers: each with when its question was sent and when it came, in nanoseconds since the epoch, here.
        tried: what came of trying the locks of workers.
        driver: who asked.
        folder: where the runs are, as the driver sees it.
    """
    of_process: dict[tuple[str, int], list[tuple[dict[str, Any], int, int]]] = {}
    for told, sent, came in answers:
        of_process.setdefault((told["host"], told["pid"]), []).append((told, sent, came))
    return [_report(several, tried, driver, folder) for _, several in sorted(of_process.items())]


def _report(
    answers: list[tuple[dict[str, Any], int, int]], tried: dict[str, Tried], driver: str, folder: str
) -> WorkerReport:
    bounds = [_clock(told, sent, came, tried.get(told.get("id", ""))) for told, sent, came in answers]
    low, high = max(low for low, _ in bounds) * _NANO, min(high for _, high in bounds) * _NANO
    worst: dict[str, Check] = {}
    order = [GOOD, CAUTION, BAD]
    for told, _, _ in answers:
        for check in _checks(told, tried.get(told.get("id", "")), driver, folder):
            if order.index(check.result) >= order.index(worst.setdefault(check.name, check).result):
                worst[check.name] = check
    told = answers[0][0]
    return WorkerReport(
        host=told["host"],
        pid=told["pid"],
        job=told["job"],
        python=told["python"],
        version=told["version"],
        clock_low=low,
        clock_high=high,
        checks=[*worst.values(), _clock_check(low, high)],
    )


def _checks(told: dict[str, Any], tried: Tried | None, driver: str, folder: str) -> Iterator[Check]:
    if told["seen"] is not True:
        yield Check(name="folder", title="Sees the folder", result=BAD, detail=_not_seen(told, driver, folder))
    else:
        yield _is_true("folder", "Sees the folder", told["wrote"], f"cannot write in {folder}, which {driver} can")
    if told.get("wrote") is True:
        name, title = "locks", "Locks exclude each other"
        if told["kept_out"] is not True:
            yield _is_true(name, title, told["kept_out"], f"gets a lock in {folder} that {driver} holds")
        elif tried is None or told["locked"] is not True:
            yield _is_true(name, title, told["locked"], f"holds a lock of which {driver} did not hear in time")
        else:
            yield _is_true(name, title, tried.kept_out, f"holds a lock in {folder} that {driver} gets all the same")
    yield _is_true("data", "Sees the data", told["data"], "has another folder in the place of the catalog")
    yield from _versions(told)


def _not_seen(told: dict[str, Any], driver: str, folder: str) -> str:
    if isinstance(told["seen"], str):
        found = told["seen"]
    else:
        found = "another folder is there" if told["there"] else "there is no such folder"
    mounted = f"; mounted there: {told['mount']}" if told["mount"] else ""
    return f"does not see {folder} of {driver}: {found}{mounted}. Give a log_folder at one path that both have"


def _is_true(name: str, title: str, seen: bool | str, otherwise: str) -> Check:
    if seen is True:
        return Check(name=name, title=title, result=GOOD, detail="")
    why = f" ({seen})" if isinstance(seen, str) else ""
    return Check(name=name, title=title, result=BAD, detail=otherwise + why)


def _versions(told: dict[str, Any]) -> Iterator[Check]:
    title = "Same chunkstore"
    if told["formats"] != [FORMAT, PACKED_FORMAT]:
        detail = f"has chunkstore {told['version']}, whose format of runs differs from that of {__version__}"
        yield Check(name="chunkstore", title=title, result=BAD, detail=detail)
    else:
        result = GOOD if told["version"] == __version__ else CAUTION
        yield Check(name="chunkstore", title=title, result=result, detail=told["version"])
    here = platform.python_version()
    is_same = told["python"].split(".")[:2] == here.split(".")[:2]
    detail = told["python"] if is_same else f"{told['python']}, here {here}: not all that is sent may arrive"
    yield Check(name="python", title="Same Python", result=GOOD if is_same else CAUTION, detail=detail)


def _clock(told: dict[str, Any], sent: int, came: int, tried: Tried | None) -> tuple[int, int]:
    """Return by how many nanoseconds a worker's clock is ahead, at least and at most.

    It is read after something has happened here, or before: that bounds it, by as much as the way there or back takes.
    """
    low, high = told["ended"] - came, told["begun"] - sent
    if tried is not None and "tried" in told:
        low, high = max(low, tried.held - tried.seen), min(high, told["tried"] - tried.told)
    return low, high


def _clock_check(low: float, high: float) -> Check:
    least = max(low, -high, 0.0)
    detail = f"{(low + high) / 2:+.3f} s, to within {max(high - low, 0) / 2:.3f} s"
    result = GOOD
    if least > MOST_AHEAD * _NANO:
        result, detail = BAD, f"its clock differs by {detail}: more than three years, and what it records is refused"
    elif least > _MISLEADING:
        result, detail = CAUTION, f"{detail}: the order of records bears that, times and durations mislead"
    return Check(name="clock", title="Same time", result=result, detail=detail)

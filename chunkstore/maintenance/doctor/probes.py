"""What one process can try alone."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.locks import SidecarLock
from chunkstore.backends.disk.publishing import publish, replace
from chunkstore.backends.disk.syscalls import Syscalls, has_unnamed_files
from chunkstore.backends.disk.writing import write_plain
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, TOLD, Check

#: As large as most chunks.
_CHUNK = b"x" * 1_000
_PLAIN_WRITES, _SYNCED_WRITES, _LOCKINGS = 50, 10, 100
#: No measurement takes longer, in seconds, however slow the file system is.
_PATIENCE = 0.5
_CLOCK_SECONDS = 0.1
#: Bytes of the longest name that chunkstore gives a file, also while it is set aside.
_LONGEST_NAME = 247
_NAME_MAX = 255
_FEW_BYTES, _FEW_FILES = 1_000_000_000, 100_000
#: A file system that does not count its files says that there are none.
_UNCOUNTED = 0


class Latencies(NamedTuple):
    """How long things take, in seconds; None for what does not work.

    Attributes:
        write: making a new file.
        synced: the same, with what it takes to survive a loss of power.
        lock: taking and giving back a lock that nobody holds.
    """

    write: float | None
    synced: float | None
    lock: float | None


class Place(NamedTuple):
    """Where everything is tried: an empty folder of our own.

    Attributes:
        syscalls: how files are touched.
        path: the folder.
    """

    syscalls: Syscalls
    path: str

    def opened(self) -> Folder:
        """Return the folder, opened afresh."""
        return Folder(self.syscalls, self.path)

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of that name."""
        try:
            self.syscalls.lstat(os.path.join(self.path, name))
        except FileNotFoundError:
            return False
        return True

    def make(self, name: str, data: bytes = b"1") -> None:
        """Make a new file."""
        write_plain(self.opened(), name, data, durable=False)


def reason_of(error: Exception) -> str:
    """Return in a few words why something failed."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error)


# --- names -----------------------------------------------------------------------------------------------------------


def case_folding(place: Place) -> Check:
    """Try whether `Name` and `name` are two files."""
    place.make("Case")
    if place.exists("case"):
        detail = "`Name` and `name` are the same file: give no runs or branches names that differ in nothing else."
        return _check("case", "Upper and lower case differ", CAUTION, detail)
    return _check("case", "Upper and lower case differ", GOOD, "")


def unicode_names(place: Place) -> Check:
    """Try whether names come back as they were given."""
    title = "Names beyond ASCII stay as they are"
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    try:
        place.make(composed)
        is_changed = composed not in place.opened().all_entries()
    except (OSError, UnicodeError) as error:
        return _check("unicode", title, CAUTION, f"{reason_of(error)}. Records are not affected, names of data are.")
    if is_changed or place.exists(decomposed):
        detail = (
            "Accents are stored in another form. Records are not affected: their names are ASCII; names of data are."
        )
        return _check("unicode", title, CAUTION, detail)
    return _check("unicode", title, GOOD, "")


def name_length(place: Place) -> Check:
    """Try how long names may be."""
    title = "Long names fit"
    for length in (_NAME_MAX, _LONGEST_NAME):
        try:
            place.make("n" * length)
        except OSError as error:
            reason = reason_of(error)
            continue
        return _check("name-length", title, GOOD, f"{length} bytes")
    return _check("name-length", title, BAD, f"{_LONGEST_NAME} bytes do not: {reason}. Long names of steps fail.")


# --- making and replacing --------------------------------------------------------------------------------------------


def no_replace(place: Place) -> list[Check]:
    """Try each way to publish a file only if there is none of its name, and say which are there."""
    place.make("taken")
    ways = {
        "unnamed": ("Files get their first name when they are whole (O_TMPFILE)", _link_unnamed),
        "hard-links": ("A file can have two names (hard links)", _link),
        "exclusive": ("A file is made only where there is none (O_EXCL)", _make_exclusive),
    }
    checks = []
    for name, (title, attempt) in ways.items():
        try:
            attempt(place, f"new-{name}")
        except OSError as error:
            result = BAD if name == "exclusive" else TOLD
            instead = "" if result == BAD else ": another way is used"
            checks.append(_check(name, title, result, f"{reason_of(error)}{instead}."))
            continue
        checks.append(_overwrites(place, name, title, attempt))
    if [check.result for check in checks[:2]] == [TOLD, TOLD]:
        detail = (
            "Neither; a file is there, empty, for a moment before it is whole. Readers report it if that is its end."
        )
        checks.append(_check("publish-whole", "New files are whole from their first moment on", CAUTION, detail))
    return checks


def _overwrites(place: Place, name: str, title: str, attempt: Callable[[Place, str], None]) -> Check:
    try:
        attempt(place, "taken")
    except FileExistsError:
        return _check(name, title, GOOD, "")
    except OSError as error:
        return _check(name, title, BAD, f"A name that is taken gives `{reason_of(error)}`.")
    return _check(name, title, BAD, "It overwrites a file that is there: records would be lost.")


def _link_unnamed(place: Place, name: str) -> None:
    if not has_unnamed_files():
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    folder = place.opened()
    fd = place.syscalls.open(".", os.O_TMPFILE | os.O_WRONLY, folder.fd)
    try:
        place.syscalls.link_unnamed(fd, name, folder.fd)
    finally:
        place.syscalls.close(fd)


def _link(place: Place, name: str) -> None:
    folder = place.opened()
    if not place.exists("linked"):
        place.make("linked")
    place.syscalls.link("linked", name, folder.fd)


def _make_exclusive(place: Place, name: str) -> None:
    place.make(name)


def folder_rename(place: Place) -> Check:
    """Try whether a folder that has something in it is replaced by another: a new run must not replace one."""
    title = "A new run never replaces one"
    for name in ("run", "new"):
        place.syscalls.mkdir(os.path.join(place.path, name))
        write_plain(Folder(place.syscalls, os.path.join(place.path, name)), "file", b"1", durable=False)
    try:
        place.syscalls.rename(os.path.join(place.path, "new"), os.path.join(place.path, "run"))
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return _check("folder-rename", title, GOOD, "")
        return _check("folder-rename", title, BAD, f"Renaming a folder gives `{reason_of(error)}`.")
    return _check("folder-rename", title, BAD, "A folder with files in it was replaced by another.")


# --- durability, speed, room -----------------------------------------------------------------------------------------


def syncing(place: Place) -> Check:
    """Try whether files and folders can be brought to stable storage."""
    title = "Files and folders can be synced"
    folder = place.opened()
    what = "a file"
    try:
        write_plain(folder, "synced", b"1", durable=True)
        what = "a folder"
        folder.sync_self()
    except OSError as error:
        detail = f"Syncing {what} gives `{reason_of(error)}`: what is recorded may not survive a loss of power."
        return _check("sync", title, BAD, detail)
    return _check("sync", title, GOOD, "")


def latencies(place: Place) -> tuple[Latencies, Check]:
    """Measure how long it takes to record something."""
    folder = place.opened()

    def write(number: int, *, durable: bool) -> None:
        name = f"timed-{durable:d}-{number}"
        publish(folder, name, _CHUNK, durable=durable, take_back=False)

    lock = SidecarLock(place.syscalls, folder.fd, "timed-lock", os.path.join(place.path, "timed-lock"))

    def take_lock(_: int) -> None:
        lock.acquire(1.0)
        lock.release()

    found = Latencies(
        write=_median(lambda number: write(number, durable=False), _PLAIN_WRITES),
        synced=_median(lambda number: write(number, durable=True), _SYNCED_WRITES),
        lock=_median(take_lock, _LOCKINGS),
    )
    named = (("new file", found.write), ("with fsync", found.synced), ("lock", found.lock))
    detail = ", ".join(f"{what} {in_words(seconds)}" for what, seconds in named)
    return found, _check("latency", "How long it takes (median)", TOLD, detail)


def in_words(seconds: float | None) -> str:
    """Return a short time for people."""
    if seconds is None:
        return "fails"
    # What it is rounded to decides about the unit.
    if (microseconds := round(seconds * 1e6)) < 1000:  # noqa: PLR2004 - a millisecond
        return f"{microseconds} µs"
    if (milliseconds := round(seconds * 1e3, 1)) < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds:.1f} ms"
    return f"{seconds:.1f} s"


def _median(action: Callable[[int], None], times: int) -> float | None:
    taken = []
    deadline = time.monotonic() + _PATIENCE
    for number in range(times):
        start = time.perf_counter()
        try:
            action(number)
        except (OSError, ChunkstoreError):
            return None
        taken.append(time.perf_counter() - start)
        if time.monotonic() > deadline:
            break
    return sorted(taken)[len(taken) // 2]


def time_resolution(place: Place) -> Check:
    """Measure how fine the times of files are."""
    title = "How fine the times of files are"
    folder = place.opened()
    times: set[int] = set()
    deadline = time.monotonic() + _CLOCK_SECONDS
    while time.monotonic() < deadline and len(times) < 20:  # noqa: PLR2004 - enough to see the smallest step
        replace(folder, "clock", b"1", durable=False)
        times.add(folder.modified_at("clock"))
    ordered = sorted(times)
    steps = [later - earlier for earlier, later in pairwise(ordered)]
    seen = f"{in_words(min(steps) / 1e9)}" if steps else "coarser than 100 ms"
    return _check("time-resolution", title, TOLD, f"{seen}; no record depends on it")


def room(place: Place) -> Check:
    """Look how much room there is."""
    title = "Free room"
    folder = place.opened()
    status = place.syscalls.statvfs(folder.fd)
    free = status.f_bavail * status.f_frsize
    files = status.f_favail
    counted = f", {files:,} files" if status.f_files != _UNCOUNTED else ""
    detail = f"{free / 1e9:,.1f} GB{counted}"
    if free < _FEW_BYTES or (counted and files < _FEW_FILES):
        return _check("room", title, CAUTION, f"{detail}: sealed runs need fewer files, `chunkstore gc` makes room.")
    return _check("room", title, TOLD, detail)


def _check(name: str, title: str, result: str, detail: str) -> Check:
    return Check(name=name, title=title, result=result, detail=detail)

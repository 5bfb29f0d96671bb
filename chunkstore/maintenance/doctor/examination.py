"""Trying everything in a folder of our own, and putting together what was seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.mounts import mount_of
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import SYSTEM, Syscalls
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.errors import MissingError
from chunkstore.backends.mount import Mount
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.doctor import probes, races
from chunkstore.maintenance.doctor.file_server import tried_at_server
from chunkstore.maintenance.doctor.probes import Latencies, Place, reason_of
from chunkstore.maintenance.doctor.report import BAD, CAUTION, Check, DoctorReport
from chunkstore.maintenance.doctor.surroundings import surroundings_of
from chunkstore.maintenance.doctor.verdict import guarantees, settings


def examine(
    folder: str,
    *,
    syscalls: Syscalls = SYSTEM,
    find_mount: Callable[[str], Mount | None] = mount_of,
    on_check: Callable[[Check], None] = lambda _: None,
) -> DoctorReport:
    """Try in a folder, or in the closest one above it that exists, what chunkstore relies on.

    It takes a few seconds and some processes. All happens in a hidden folder, which is removed in the end.

    Args:
        folder: a path; nothing need be there yet.
        syscalls: how files are touched.
        find_mount: tells what is mounted where a path leads.
        on_check: is told of every check as soon as it is done.

    Raises:
        ChunkstoreError: nothing can be written there.
    """
    where = closest_folder(folder)
    mount = find_mount(where)
    surroundings = surroundings_of(mount)
    name = temporary_names.next()
    place = Place(syscalls, os.path.join(where, name))
    checks = {}
    measured = Latencies(None, None, None)

    def note(check: Check) -> None:
        checks[check.name] = check
        on_check(check)

    try:
        try:
            syscalls.mkdir(place.path)
        except OSError as error:
            raise os_error(error, where) from error
        note(surroundings.as_check())
        for check in _all_checks(place):
            note(check)
        try:
            for check in tried_at_server(place, mount):
                note(check)
        except (OSError, ChunkstoreError) as error:
            note(_failed("fresh-look", "Whoever opens a folder sees what other hosts have done", error))
        try:
            measured, check = probes.latencies(place)
            note(check)
        except OSError as error:
            note(_failed("latency", "How long it takes (median)", error))
    finally:
        _remove(where, name)
    return DoctorReport(
        folder=where,
        file_system=surroundings.type,
        description=surroundings.description,
        checks=list(checks.values()),
        guarantees=guarantees(checks, surroundings),
        settings=settings(checks, surroundings, measured),
        holds=all(check.result != BAD for check in checks.values()),
    )


def closest_folder(path: str) -> str:
    """Return a folder, or the closest one above it that exists."""
    found = os.path.abspath(path)
    while not os.path.isdir(found) and os.path.dirname(found) != found:
        found = os.path.dirname(found)
    return found


#: What is tried; and should it fail in a way that nobody thought of, how it is called, and what that means.
_ALONE: tuple[tuple[str, str, str, Callable[[Place], Check]], ...] = (
    ("folder-rename", "A new run never replaces one", BAD, probes.folder_rename),
    ("sync", "Files and folders can be synced", BAD, probes.syncing),
    ("name-length", "Long names fit", BAD, probes.name_length),
    ("case", "Upper and lower case differ", CAUTION, probes.case_folding),
    ("unicode", "Names beyond ASCII stay as they are", CAUTION, probes.unicode_names),
    ("time-resolution", "How fine the times of files are", CAUTION, probes.time_resolution),
    ("room", "Free room", CAUTION, probes.room),
)


def _all_checks(place: Place) -> Iterator[Check]:
    for race in (
        races.replacing,
        races.publishing,
        races.listing,
        races.exclusion,
        races.lock_of_the_dead,
        races.lock_of_a_parent,
    ):
        yield race(place)
    try:
        yield from probes.no_replace(place)
    except OSError as error:
        yield _failed("exclusive", "A file is made only where there is none (O_EXCL)", error)
    for name, title, result, probe in _ALONE:
        try:
            yield probe(place)
        except (OSError, ChunkstoreError) as error:
            yield _failed(name, title, error, result)


def _failed(name: str, title: str, error: Exception, result: str = BAD) -> Check:
    return Check(name=name, title=title, result=result, detail=f"It could not be tried: {reason_of(error)}.")


def _remove(where: str, name: str) -> None:
    """Remove the folder of our own, also when the user interrupts; what cannot be removed, `gc` does later."""
    backend = DirectoryBackend(where)
    try:
        backend.remove_left_over("", name)
    except (ChunkstoreError, MissingError):
        pass
    except BaseException:
        backend.remove_left_over("", name)
        raise

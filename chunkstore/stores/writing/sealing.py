"""Packing the chunks of a run into one file, and giving them back.

Both work while others read and write, and can be stopped anywhere: at every moment each chunk is where readers look for
it, in its old place or in its new one, and doing it again finishes what was begun. Where files are removed without a
condition, `sealing_ended` packs them.
"""

from __future__ import annotations

from typing import NamedTuple

from chunkstore.backends.base import Backend, Change, Within
from chunkstore.backends.capabilities import Appending, Locking, RemovingUnchanged
from chunkstore.backends.errors import UnreadableFileError
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError
from chunkstore.names import (
    RUN_FILE,
    is_journal_file,
    is_packable,
    is_sealed_file,
    sealed_file,
)
from chunkstore.stores.packed import is_line_file, pack, unpack
from chunkstore.stores.reading import RunFiles
from chunkstore.stores.runs import KnownRun
from chunkstore.stores.writing.packed_format import say_packed, say_unpacked, sealed_record


class Packed(NamedTuple):
    """What is going to be in a sealed file.

    Attributes:
        lines: by the name of the chunk, the lines for it.
        loose: the chunks that lie by themselves.
        sizes: how long the journals were that have been packed whole.
        others: the sealed files that have been packed whole.
        remaining: the chunks in journals that have not, because something in them is damaged.
    """

    lines: dict[str, bytes]
    loose: set[str]
    sizes: dict[str, int]
    others: list[str]
    remaining: set[str]


def seal(backend: RemovingUnchanged, change: Change, run_id: str, known: KnownRun, *, pretty: bool) -> int:
    """Pack the chunks of a run into one file.

    Args:
        backend: where the run is.
        change: of its folder.
        run_id: the run.
        known: what is known of it.
        pretty: whether the run's own record is written for people who use `cat`.

    Returns:
        How many chunks are in the sealed file; 0 if there was nothing to be done.
    """
    with backend.reader(run_id) as reader:
        files = RunFiles(reader)
        packed = pack_all(files)
        if not packed.loose and not packed.sizes and len(packed.others) <= 1:
            return 0
        run_record = say_packed(change, run_id, pretty=pretty)
        if run_record is not None and (line := pack(RUN_FILE, run_record)) is not None:
            packed.lines[RUN_FILE] = line
        new = publish_sealed(backend, run_id, known, [packed.lines[name] for name in sorted(packed.lines)])
        # What comes before sealed files, for readers, goes first: else an old line could come before a new one.
        remaining = set(packed.remaining)
        for journal, size in packed.sizes.items():
            names = files.names_in(journal)
            if not (isinstance(backend, Appending) and backend.remove_complete(run_id, journal, size)):
                remaining.update(names)
        for file in packed.others:
            if file != new:
                backend.remove(run_id, file)
        for name in packed.loose - remaining:
            line = packed.lines[name]
            lines = line.splitlines(keepends=True) if is_line_file(name) else [line]
            if is_line_file(name) and isinstance(backend, Appending):
                backend.remove_complete(run_id, name, len(unpack(lines)))
            else:
                backend.remove_unchanged(run_id, name, unpack(lines))
    return len(packed.lines) - (RUN_FILE in packed.lines)


def pack_all(files: RunFiles) -> Packed:
    """Return what is going to be in a sealed file of a run that has these files."""
    lines: dict[str, bytes] = {}
    loose = set()
    packable = list(filter(is_packable, files.names()))
    files.expect(packable)
    for name in packable:
        found: bytes | list[bytes] | None
        try:
            found = files.find(name)
        except FileNotFoundError:
            continue
        except UnreadableFileError:
            found = None
        if isinstance(found, list):
            lines[name] = b"".join(found)
        elif found is not None and (line := pack(name, found)) is not None:
            loose.add(name)
            lines[name] = line
        elif older := files.packed_lines(name):
            # What cannot be read is left where it is, and reported by readers; what it was before is kept.
            lines[name] = b"".join(older)
    sizes = {}
    others = []
    remaining: set[str] = set()
    for file in files.packed_files():
        if files.is_damaged(file):
            remaining.update(files.names_in(file) if is_journal_file(file) else ())
        elif is_journal_file(file):
            sizes[file] = files.size_of(file)
        else:
            others.append(file)
    return Packed(lines, loose, sizes, others, remaining)


def publish_sealed(backend: Backend, run_id: str, within: Within, lines: list[bytes]) -> str:
    """Write a sealed file of these lines, which are in the order of their names; return its name."""
    while True:
        file = sealed_file(clock.tick())
        try:
            backend.publish(run_id, file, lines, durable=True, within=within)
        except FileExistsError:
            continue
        return file


def unseal(backend: Backend, change: Change, run_id: str, known: KnownRun, *, pretty: bool) -> None:
    """Write the chunks of sealed files as files again.

    Args:
        backend: where the run is.
        change: of its folder.
        run_id: the run, whose own record says that chunks may be packed.
        known: what is known of it.
        pretty: whether that record is written for people who use `cat`.
    """
    run_record = sealed_record(change)
    backend.remove_all(run_id, _unpack_all(backend, run_id, known))
    if not _has_packed_files(backend, run_id):
        say_unpacked(change, run_id, run_record, pretty=pretty)
        if not isinstance(backend, Locking) and _has_packed_files(backend, run_id):
            say_packed(change, run_id, pretty=pretty)  # somebody has sealed it meanwhile


def _has_packed_files(backend: Backend, run_id: str) -> bool:
    with backend.reader(run_id) as reader:
        return any(is_journal_file(name) or is_sealed_file(name) for name in reader.names())


def _unpack_all(backend: Backend, run_id: str, known: KnownRun) -> list[str]:
    """Write the chunks of sealed files as files again; return the sealed files, which may be removed then."""
    with backend.reader(run_id) as reader:
        files = RunFiles(reader)
        files.names()
        packed_files = files.packed_files()
        journals = list(filter(is_journal_file, packed_files))
        sealed = [file for file in packed_files if file not in journals]
        damaged = [file for file in sealed if files.is_damaged(file)]
        if damaged:
            raise ChunkstoreError(
                f"Cannot unseal run {run_id!r} in {backend.location}: {damaged[0]} was damaged. What can be read of it "
                "still is; restore the file from a backup, and try again."
            )
        names_in = {file: set(files.names_in(file)) - {RUN_FILE} for file in sealed}
        if odd := [(file, name) for file, names in names_in.items() for name in names if not is_packable(name)]:
            # What a file says is no reason to write anywhere.
            raise ChunkstoreError(
                f"Cannot unseal run {run_id!r} in {backend.location}: {odd[0][0]} has a line for {odd[0][1]!r}, which "
                "is the name of no chunk. Somebody has changed the file; restore it from a backup, and try again."
            )
        # A journal comes before sealed files, and a file would come before it.
        kept: set[str] = set().union(*map(files.names_in, journals)) if journals else set()
        names = set().union(*names_in.values()) - kept
        missing = [name for name in sorted(names) if not reader.has(name)]
        chunks = ((name, unpack(files.packed_lines(name))) for name in missing)
        backend.publish_all(run_id, chunks, within=known)
    return sealed

"""The files of one run, wherever they lie: by themselves, as lines of a journal, or in a sealed file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from chunkstore.backends.disk.quarantine import QUARANTINE
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError, CorruptChunkError, StoreIOError
from chunkstore.names import (
    JOURNAL_PREFIX,
    RUN_FILE,
    SEALED_PREFIX,
    is_journal_file,
    is_sealed_file,
    timestamp_of_packed,
)
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.integrity import split_checksum, without_checksum
from chunkstore.records.models import RunLog
from chunkstore.stores.chunk_files import checked_run_log
from chunkstore.stores.contents import Contents, differences, kind_of, noted_contents, noted_counts, sum_of, summed
from chunkstore.stores.packed import Content, PackedFile, content_of, is_line_file, unpack
from chunkstore.stores.reading.listing import Listing

_T = TypeVar("_T")

#: How often a file may be packed, unpacked or packed anew while it is looked for.
_ATTEMPTS = 20


class RunFiles:
    """The files of a run for the length of one read, while others seal it, or unseal it.

    Of a file that is in several places, what lies by itself counts: nobody writes into a sealed file, and what was
    sealed is removed only if it is still the same. Then come journals, and then the newest sealed file.

    Args:
        reader: the run's folder, opened for this read.
        listing: what is in the folder; None to list it when that is needed.
        report: is told of what cannot be read: the file, and the error.
        keep: whether packed files are kept in memory for the length of the read.
    """

    def __init__(
        self,
        reader: FolderReader,
        listing: Listing | None = None,
        report: Callable[[str, Exception], None] = lambda _file, _error: None,
        *,
        keep: bool = True,
    ) -> None:
        self._reader = reader
        self._loose = listing
        self._report = report
        self._keep = keep
        self._packed: list[PackedFile] = []
        #: Why a packed file could not be read, if there is such a one: anything may be in it.
        self.unreadable: CorruptChunkError | StoreIOError | None = None
        #: What chunks hold, summed up as they are read; None if nobody needs it.
        self.sums: dict[str, int] | None = None
        #: Packed files whose names have times that nobody believes.
        self.beyond_reason: set[str] = set()
        self._is_listed = True
        #: Of files that are in the sealed file too, and may be replaced: which version of them that has.
        self.versions_sealed: Mapping[str, str] = {}
        self._unreadable: set[str] = set()
        self._known: dict[str, PackedFile] = {}
        # Which version of the run's own record said that nothing is packed.
        self._plain: FileVersion | None = None
        if listing is not None:
            self._find_packed(listing.starting_with)

    def reuse(self, packed: dict[str, PackedFile]) -> None:
        """Go on with packed files that an earlier read has looked through, and add further ones to them.

        With a listing, only what is in that or in one of them is there, and whatever is asked for by name.
        """
        self._known = packed
        for pack in packed.values():
            pack.attach(self._reader, self._report)
        if self._loose is not None:
            self._is_listed = False
            self._packed = sorted(packed.values(), key=_precedence)

    # --- what there is -----------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of all files, in no certain order."""
        return self._all(Listing.names, PackedFile.names)

    def starting_with(self, prefix: str) -> list[str]:
        """Return the names of the files that begin with `prefix`, in no certain order."""
        return self._all(lambda loose: loose.starting_with(prefix), lambda pack: pack.starting_with(prefix))

    def _all(self, of_loose: Callable[[Listing], list[str]], of_packed: Callable[[PackedFile], list[str]]) -> list[str]:
        for _ in range(_ATTEMPTS):
            found = of_loose(self._listing())
            if not self._packed:
                return found
            try:
                packed = [name for pack in list(self._packed) for name in self._readable(pack, of_packed)]
            except FileNotFoundError:
                self._look_again()
                continue
            return list(dict.fromkeys([*found, *packed]))
        raise MissingError(self._reader.location)

    def _readable(self, pack: PackedFile, names: Callable[[PackedFile], list[str]]) -> list[str]:
        """Return names in a packed file, none if it cannot be read."""
        try:
            return names(pack)
        except (CorruptChunkError, StoreIOError) as error:
            self._report(pack.file, error)
            self.unreadable = error
            self._packed.remove(pack)
            self._unreadable.add(pack.file)
            return []

    def packed_files(self) -> list[str]:
        """Return the names of the sealed files and journals."""
        self._listing()
        return [pack.file for pack in self._packed]

    def names_in(self, packed_file: str) -> list[str]:
        """Return the names of the files in a sealed file or journal."""
        return self._pack(packed_file).names()

    def is_damaged(self, packed_file: str) -> bool:
        """Tell whether there are lines in a sealed file or journal that cannot be read."""
        return self._pack(packed_file).is_damaged

    def size_of(self, packed_file: str) -> int:
        """Return how many bytes of a journal have been looked through."""
        return self._pack(packed_file).size

    def _pack(self, packed_file: str) -> PackedFile:
        return next(pack for pack in self._packed if pack.file == packed_file)

    def _listing(self) -> Listing:
        if self._loose is None:
            names = self._reader.names(to_load=True)
            self._loose = Listing(names)
            self._find_packed(lambda prefix: [name for name in names if name.startswith(prefix)])
        return self._loose

    def _find_packed(self, starting_with: Callable[[str], list[str]]) -> None:
        known = {pack.file for pack in self._packed} | self._unreadable
        journals = [file for file in starting_with(JOURNAL_PREFIX) if is_journal_file(file) and file not in known]
        sealed = [file for file in starting_with(SEALED_PREFIX) if is_sealed_file(file) and file not in known]
        for file in journals + sealed:
            if file not in self._known:
                self._known[file] = PackedFile(self._reader, file, self._report, keep=self._keep)
            self._packed.append(self._known[file])
        for file in journals + sealed:
            clock.observe(timestamp_of_packed(file))
            if timestamp_of_packed(file) > clock.horizon():
                self.beyond_reason.add(file)
        if len(self._packed) > 1:
            self._packed.sort(key=_precedence)

    def _look_again(self) -> None:
        """List the folder anew, and leave out packed files that are gone."""
        if not self._reader.reads_ahead:
            self._packed = [pack for pack in self._packed if self._reader.has(pack.file)]
        # After that, so that what was in those is listed where it is now.
        self._reader.forget_names()
        names = self._reader.names()
        if self._reader.reads_ahead:  # a listing is of one moment
            listed = set(names)
            self._packed = [pack for pack in self._packed if pack.file in listed]
        self._loose = Listing(names)
        self._find_packed(self._loose.starting_with)

    # --- what is in it -----------------------------------------------------------------------------------------------

    def expect(self, files: Iterable[str]) -> None:
        """Be told which listed files will be loaded next; see `FolderReader.expect`."""
        if self._reader.reads_ahead:
            self._reader.expect(filter(self._is_loose, files) if self._is_listed else files)

    def load(self, file: str, *, is_listed: bool = True) -> bytes:
        """Return the bytes of a file, as they are or were when it lay by itself.

        Args:
            file: its name.
            is_listed: whether it was listed, so that it must be somewhere unless it was removed for good.

        Raises:
            MissingError: there is no such file.
            UnreadableFileError: it cannot be read.
        """
        found = self.find(file, is_listed=self._is_sure(file, is_listed=is_listed))
        data = found if isinstance(found, bytes) else unpack(found)
        if self.sums is not None:
            self.sums[file] = sum_of(file, data if is_line_file(file) else without_checksum(data, file))
        return data

    def content(self, file: str, *, is_listed: bool = True) -> Content:
        """Return the JSON in a file; as `load`.

        Raises:
            CorruptChunkError: it is not as it was written.
        """
        is_listed = self._is_sure(file, is_listed=is_listed)
        found = self._content(file, is_listed=is_listed)
        if self.sums is not None:
            body, is_ours = found
            is_whole = is_ours or not self._packed  # else its bytes may have been others, by themselves
            self.sums[file] = sum_of(file, body if is_whole else self.load(file, is_listed=is_listed))
        return found

    def _is_sure(self, file: str, *, is_listed: bool) -> bool:
        """Tell whether a file must be somewhere: it was listed, or looking for it in a listing is the best way.

        Raises:
            MissingError: it is surely nowhere.
        """
        if is_listed or file == RUN_FILE or not self._reader.reads_ahead:
            return is_listed
        if not self._listing().has(file) and not self.packed_lines(file):
            raise MissingError(file)
        return True

    def _content(self, file: str, *, is_listed: bool) -> Content:
        if is_listed and self._packed and not self._is_loose(file) and (found := self._packed_content(file)):
            return found
        try:
            data: bytes | list[bytes] = self._reader.load(file)  # as most do: by themselves
        except FileNotFoundError:
            # What is asked for by its name alone may have come to lie by itself since the folder was listed.
            if not is_listed and (found := self._packed_content(file)):
                return found
            data = self.find(file, is_listed=is_listed)
        return split_checksum(data, file) if isinstance(data, bytes) else content_of(data[-1])

    def sum_of(self, file: str) -> int:
        """Return what a chunk adds to the sum of its kind.

        Raises:
            MissingError: there is no such chunk.
            CorruptChunkError: it is not as it was written.
        """
        if self.sums is None:
            self.sums = {}
        if file not in self.sums:
            # Its bytes are looked at in the way that sums them up.
            self.load(file) if is_line_file(file) else self.content(file)
        return self.sums[file]

    def contents(self, files: Iterable[str]) -> tuple[Contents, set[str]]:
        """Return what some chunks hold, summed up, and the kinds of those that cannot be read."""
        sums: list[tuple[str, int]] = []
        damaged = set()
        self._sum_up_packed()
        files = list(files)
        self.expect(file for file in files if file not in (self.sums or {}))
        for file in files:
            try:
                sums.append((file, self.sum_of(file)))
            except FileNotFoundError:
                pass  # removed since it was listed
            except (CorruptChunkError, StoreIOError):
                sums.append((file, 0))
                damaged.add(kind_of(file))
        return summed(sums), damaged

    def _packed_content(self, file: str) -> Content | None:
        """Return the JSON in a file that is packed as one line, or None if that takes a closer look."""
        for pack in self._packed:
            try:
                found = pack.content_of(file)
            except FileNotFoundError:
                return None
            if found is not None:
                return found
        return None

    def decode_sealed(self, prefix: str, kind: type[_T]) -> dict[str, _T]:
        """Return what files hold that are in the newest sealed file alone; see `PackedFile.decode_all`."""
        if not self._packed or not self._is_listed:
            return {}
        # What is in a journal comes before that: then this is the journal, of which nothing is decoded so.
        decoded = self._packed[0].decode_all(prefix, kind)
        for file in self._listing().starting_with(prefix):
            decoded.pop(file, None)  # it lies by itself, and so is newer
        return decoded

    def _sum_up_packed(self) -> None:
        """Sum up packed chunks, many at once; those that were read by themselves were summed up then."""
        known = self.sums = self.sums or {}
        for pack in self._packed:
            for name, number in pack.sums().items():
                if name not in known and not self._is_loose(name):
                    known[name] = number

    def lost(self, log: RunLog, files: Iterable[str], unread: Iterable[str]) -> list[tuple[str, str]]:
        """Return how what chunks hold differs from what it was when their run ended: kinds of problems, and messages.

        Args:
            log: the run's own record.
            files: all chunks of the run.
            unread: those that cannot be read, as is told elsewhere.
        """
        noted, counts = noted_contents(log), noted_counts(log)
        known = counts if noted is None else noted
        if known is None or self._reader.has(QUARANTINE):
            return []  # what was moved there is told by that
        found, damaged = self.contents(files) if noted is not None else (summed((file, 0) for file in files), set())
        lost = list(differences(known, found, damaged.union(map(kind_of, unread)), at_least=noted is None))
        try:
            # Who changes a run that has ended takes back before what is noted.
            is_sure = not lost or noted_contents(checked_run_log(self._reader.load(RUN_FILE), log.run_id)) == noted
        except (FileNotFoundError, CorruptChunkError, StoreIOError):
            return []
        return lost if is_sure else []

    def _is_loose(self, file: str) -> bool:
        """Tell whether a file lay by itself when the folder was listed; if it was not, it may.

        One that is in a sealed file as it is does not count.
        """
        if not self._is_listed:
            return True
        return self._listing().has(file) and not (file in self.versions_sealed and self._is_as_sealed(file))

    def _is_as_sealed(self, file: str) -> bool:
        try:
            return bool(self._packed) and as_noted(self._reader.version(file)) == self.versions_sealed[file]
        except FileNotFoundError:
            return False

    def find(self, file: str, *, is_listed: bool = True) -> bytes | list[bytes]:
        """Return the bytes of a file that lies by itself, or the lines of one that is packed; as `load`."""
        has_looked = False
        if lines := self._lines_if_packed_alone(file) if is_listed else []:
            return lines
        for _ in range(_ATTEMPTS):
            try:
                return self._reader.load(file)
            except FileNotFoundError:
                pass
            # If it was listed by itself, it was packed since, and is newer there than in what was packed before.
            if not (self._is_listed and self._loose is not None and self._is_loose(file)):
                try:
                    if lines := self.packed_lines(file):
                        return lines
                except FileNotFoundError:
                    pass  # a packed file is gone: what was in it is in another one, or lies by itself
                else:
                    if has_looked:
                        break
                    if not is_listed and not self._packed:
                        # It need not exist. The run's own record says so before anything is packed, and again only
                        # when all is unpacked; so if that has not changed since the last attempt, it does not.
                        before, self._plain = self._plain, self._version_if_plain()
                        if self._plain is not None and self._plain == before:
                            break
                        if self._plain is not None:
                            continue
            self._look_again()
            has_looked = True
        raise MissingError(file)

    def _lines_if_packed_alone(self, file: str) -> list[bytes]:
        """Return the lines of a file that did not lie by itself when the folder was listed, if they can be found."""
        if not self._packed or self._is_loose(file):
            return []
        try:
            return self.packed_lines(file)
        except FileNotFoundError:
            return []

    def _version_if_plain(self) -> FileVersion | None:
        """Return the version of the run's own record if it says that nothing is packed."""
        try:
            version = self._reader.version(RUN_FILE)
            if version == self._plain:
                return version
            log = RecordCodec.of(RunLog).decode(without_checksum(self._reader.load(RUN_FILE), RUN_FILE), RUN_FILE)
        except (FileNotFoundError, ChunkstoreError):
            return None
        return None if log.is_packed else version

    def packed_lines(self, file: str) -> list[bytes]:
        """Return the lines of a file as a journal or sealed file has it, none if none has it.

        Raises:
            MissingError: such a file is gone by now.
        """
        for pack in self._packed:
            if lines := pack.lines_of(file):
                return lines
        return []


def as_noted(version: FileVersion) -> str:
    """Return the version of a file as a text, as a run's own record may note it."""
    return " ".join(map(str, version))


def _precedence(pack: PackedFile) -> tuple[bool, bool, int, str]:
    """Put journals first, and then the newest; a time that nobody believes is none."""
    timestamp = timestamp_of_packed(pack.file)
    return not is_journal_file(pack.file), timestamp > clock.horizon(), -timestamp, pack.file

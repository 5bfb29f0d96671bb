"""One sealed file or journal, as a reader finds chunks in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TypeVar

import msgspec

from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FolderReader
from chunkstore.errors import CorruptChunkError
from chunkstore.names import is_journal_file
from chunkstore.records import codec
from chunkstore.records.integrity import ends_in_checksum
from chunkstore.stores.chunk_files import observe_all
from chunkstore.stores.contents import sum_of
from chunkstore.stores.packed.packed_lines import (
    Content,
    content_of,
    is_line_file,
    line_decoder_of,
    name_in,
    place_of_body,
    plain_names,
    split_damaged,
)

_T = TypeVar("_T")

#: Where a line begins, and how many bytes it has.
_Place = tuple[int, int]

_BLOCK = 4 * 1024 * 1024
_PROBE = 4 * 1024
#: A packed file is kept in memory while its chunks are read, up to this size; of a larger one only their places are.
_MOST_KEPT = 256 * 1024 * 1024
#: Where each look is a request, a file of this size is rather loaded whole than searched for a few chunks.
_MOST_AT_ONCE = 64 * 1024 * 1024


class PackedFile:
    """The chunks in a sealed file or journal.

    A sealed file is ordered by names, so that single chunks are found in it by bisection. A journal is in the order of
    writing: of several lines for one chunk the last counts.

    Args:
        reader: the run's folder.
        file: the name of the packed file.
        report: is told of damaged lines: the file, and what is wrong.
        keep: whether its bytes are kept while it is read; else lines are read again one by one.

    Attributes:
        file: its name.
        size: how many bytes have been looked through; 0 until all were.
    """

    def __init__(
        self, reader: FolderReader, file: str, report: Callable[[str, Exception], None], *, keep: bool = True
    ) -> None:
        self.file = file
        self.size = 0
        self._reader = reader
        self._report = report
        self._keep = keep
        self._is_ordered = not is_journal_file(file)
        # Where the last whole line ends: a journal may go on from there.
        self._end = 0
        self._is_indexed = False
        self._kept: bytes | None = None
        # What was looked for in vain: nothing is added to a sealed file.
        self._absent: set[str] = set()
        self._damage: list[CorruptChunkError] = []
        # What was read last while a few lines were looked for, and where it begins.
        self._window: tuple[int, bytes] = (0, b"")
        # Of chunks of one line; and, in order, of those that consist of lines.
        self._places: dict[str, _Place] = {}
        self._lines: dict[str, list[_Place]] = {}

    def names(self) -> list[str]:
        """Return the names of all chunks in it.

        Raises:
            MissingError: the packed file is gone.
        """
        if not self._is_indexed:
            self._index()
        return [*self._places, *self._lines]

    def starting_with(self, prefix: str) -> list[str]:
        """Return the names of the chunks that begin with `prefix`.

        Raises:
            MissingError: the packed file is gone.
        """
        if self._is_ordered and not self._is_indexed and not self._is_better_loaded():
            found = self._search(prefix)
            if found is not None:
                for name in {name for name, _ in found}:
                    self._lines.pop(name, None)  # found before
                for name, place in found:
                    self._note(name, place)
                return list(dict.fromkeys(name for name, _ in found))
        return [name for name in self.names() if name.startswith(prefix)]

    def lines_of(self, name: str) -> list[bytes]:
        """Return the lines of a chunk, none if it is not in here.

        Raises:
            MissingError: the packed file is gone.
        """
        if not (name in self._places or name in self._lines or self._is_indexed or name in self._absent):
            self._absent.update({name}.difference(self.starting_with(name)))
        place = self._places.get(name)
        return [self._line(place) for place in (self._lines.get(name, ()) if place is None else (place,))]

    @property
    def is_damaged(self) -> bool:
        """Whether there are lines in it that cannot be read, as far as it has been looked through."""
        return bool(self._damage)

    def attach(self, reader: FolderReader, report: Callable[[str, Exception], None]) -> None:
        """Go on with the folder opened for another read."""
        self._reader = reader
        self._report = report
        for error in self._damage:
            report(self.file, error)

    def look_further(self, reader: FolderReader) -> list[str]:
        """Find what was appended to a journal since it was looked through; return the names of the chunks.

        Only for a packed file that is not kept in memory.

        Raises:
            MissingError: the packed file is gone.
        """
        self._reader = reader
        return list(dict.fromkeys(self._look_through(self._end)))

    def content_of(self, name: str) -> Content | None:
        """Return what a chunk of one line holds, or None if it is not in here, or consists of lines.

        Raises:
            MissingError: the packed file is gone.
        """
        place = self._places.get(name)
        if place is not None and self._kept is not None:
            start, length = place
            body = place_of_body(self._kept, name, start, length)
            if body is not None:
                return self._kept[body], True
        lines = self.lines_of(name)
        return content_of(lines[0]) if len(lines) == 1 else None

    def _line(self, place: _Place) -> bytes:
        start, length = place
        if self._kept is not None:
            return self._kept[start : start + length]
        line = self._reader.load_part(self.file, start, length)
        if not ends_in_checksum(line[:-1]):
            # Its writer has taken it back since: nobody was told that it is there.
            self._start_again()
            raise MissingError(self.file)
        return line

    def _start_again(self) -> None:
        """Forget where anything is."""
        self._places, self._lines = {}, {}
        self._is_indexed = False
        self._end = self.size = 0

    # --- everything --------------------------------------------------------------------------------------------------

    def _index(self) -> None:
        if self._reader.reads_ahead or (self._keep and self._reader.size(self.file) <= _MOST_KEPT):
            self._kept = self._reader.load(self.file)
        if self._kept is None or not self._index_plain(self._kept):
            self._look_through(0)
        self._is_indexed = True
        if not self._is_ordered:  # of a sealed file, the name tells
            observe_all(self._places)

    def _index_plain(self, data: bytes) -> bool:
        """Note all lines, if there is none that needs a closer look; this takes half the time."""
        *lines, rest = data.split(b"\n")
        names = plain_names(lines)
        if rest or None in names:
            return False
        lengths = [len(line) + 1 for line in lines]
        starts = accumulate(lengths, initial=0)
        for name, place in zip(names, zip(starts, lengths, strict=False), strict=True):
            self._note(name, place)  # type: ignore[arg-type]  # none is None
        self.size = self._end = len(data)
        return True

    def decode_all(self, prefix: str, kind: type[_T]) -> dict[str, _T]:
        """Return what the chunks hold whose names begin with `prefix`, decoded at once: that takes half the time.

        Args:
            prefix: of names of chunks of one line.
            kind: the type of what they hold.

        Returns:
            What was decoded, by name; nothing if any of it needs more care, or nothing has been looked through yet.
        """
        places = [place for name, place in self._places.items() if name.startswith(prefix)]
        if not places or self._kept is None or not self._is_ordered or self._damage:
            return {}
        start, end = places[0][0], sum(places[-1])
        if sum(length for _, length in places) != end - start:
            return {}  # they do not lie one behind the other
        block = self._kept[start:end]
        if not codec.is_plain(block):
            return {}
        try:
            return {line.file: line.body for line in line_decoder_of(kind).decode_lines(block)}
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
            return {}

    def sums(self) -> dict[str, int]:
        """Return what chunks add to the sum of their kind, as far as that can be told at little cost."""
        sums = {}
        if self._kept is not None and not self._damage:
            for name, (start, length) in self._places.items():
                body = place_of_body(self._kept, name, start, length)
                if body is not None:
                    sums[name] = sum_of(name, self._kept[body])
        return sums

    def _look_through(self, start_at: int) -> list[str]:
        """Note the lines from a place on, where one begins; return the names of their chunks."""
        found = []
        self.size = self._end = start_at
        for start, line in self._all_lines(start_at):
            name = name_in(line)
            if name is None:
                found += self._note_damaged(line, start)
            else:
                found.append(name)
                self._note(name, (start, len(line)))
        return found

    def _note(self, name: str, place: _Place) -> None:
        if is_line_file(name):
            self._lines.setdefault(name, []).append(place)
        else:
            self._places[name] = place

    def _note_damaged(self, line: bytes, start: int) -> list[str]:
        """Note what can be read of a line that is not as it was written; return the names of the chunks."""
        found = []
        for part in split_damaged(line):
            name = name_in(part)
            if name is not None:
                found.append(name)
                self._note(name, (start + line.find(part[:-1]), len(part)))
            elif line.endswith(b"\n") or not self._may_be_cut_off(line):
                self._damage.append(codec.corrupt(self.file, start, "a line was damaged"))
                self._report(self.file, self._damage[-1])
        return found

    def _may_be_cut_off(self, line: bytes) -> bool:
        """Tell whether the end of a file is a line that nobody acknowledged: that can only be in a journal."""
        return not self._is_ordered and line.startswith(b"{"[: len(line)])

    def _all_lines(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield every line from a place on, with its line break, and where it begins."""
        rest = b""
        for block in self._blocks(start):
            lines = (rest + block if rest else block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield start, line + b"\n"
                start += len(line) + 1
            self._end = start
            self.size = start + len(rest)
        if rest:
            yield start, rest

    def _blocks(self, offset: int) -> Iterator[bytes]:
        if self._kept is not None:
            yield self._kept[offset:] if offset else self._kept
            return
        while block := self._reader.load_part(self.file, offset, _BLOCK):
            yield block
            offset += len(block)

    # --- a few -------------------------------------------------------------------------------------------------------

    def _is_better_loaded(self) -> bool:
        """Tell whether looking for a few chunks would take longer than loading all of them."""
        return self._reader.reads_ahead and self._reader.size(self.file) <= _MOST_AT_ONCE

    def _search(self, prefix: str) -> list[tuple[str, _Place]] | None:
        """Return the places of the chunks whose names begin with `prefix`, or None if damage is in the way."""
        low, high = 0, self._reader.size(self.file)
        # `low` is 0, or where a line of an earlier name begins.
        while high - low > _PROBE:
            middle = (low + high) // 2
            start = self._end_of_line(middle)
            name = name_in(self._line_at(start)) if start < high else None
            if start >= high:
                high = middle
            elif name is None:
                return None
            elif name < prefix:
                low = start
            else:
                high = middle
        return self._scan(low, prefix)

    def _scan(self, start: int, prefix: str) -> list[tuple[str, _Place]] | None:
        found = []
        while line := self._line_at(start):
            name = name_in(line)
            if name is None:
                return None
            if name.startswith(prefix):
                found.append((name, (start, len(line))))
            elif name > prefix:
                break
            start += len(line)
        return found

    def _end_of_line(self, offset: int) -> int:
        """Return where the line ends that the byte at `offset` belongs to: where the next one begins."""
        return offset + len(self._line_at(offset))

    def _line_at(self, offset: int) -> bytes:
        """Return what follows, up to the end of the line."""
        start, window = self._window
        if start <= offset < start + len(window):
            end = window.find(b"\n", offset - start)
            if end >= 0:
                return window[offset - start : end + 1]
        # Whoever reads line by line reads more at a time.
        size = min(4 * len(window), _BLOCK) if window and start < offset <= start + len(window) else _PROBE
        while True:
            data = self._reader.load_part(self.file, offset, size)
            self._window = offset, data
            end = data.find(b"\n")
            if end >= 0 or len(data) < size:
                return data[: end + 1] if end >= 0 else data
            size *= 4

"""Packing the chunks of a run where nobody can be kept out, and no file is removed on a condition.

Only what nobody replaces any more is removed: records that have ended, points of metrics, earlier sealed files. What
may be replaced is packed too, but stays where it is; the run's own record notes which version of it was packed, so that
readers who see that very version listed need not load it.

The sealed file comes first, then the note, and then the rest goes. Who is stopped in between leaves every chunk where
readers look for it; and any number may seal at once, as each removes only what is in the file that it has made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from chunkstore.backends.base import Backend, Change, Expected, Within
from chunkstore.backends.reader import FolderReader
from chunkstore.names import METRIC, is_packable
from chunkstore.stores.chunk_files import TYPE_OF, has_ended
from chunkstore.stores.contents import kind_of
from chunkstore.stores.packed import content_of
from chunkstore.stores.reading import RunFiles, as_noted
from chunkstore.stores.writing.packed_format import say_sealed
from chunkstore.stores.writing.sealing import pack_all, publish_sealed

#: Of more files than that it is not noted which versions were packed; the others are loaded.
_MOST_NOTED = 1_000


class Sealing(NamedTuple):
    """A run that is packed, and says so next.

    Attributes:
        file: the sealed file.
        chunks: how many chunks are in it.
        beside: the versions of the chunks that are in it and may still be replaced.
        replaced: the files that may be removed when the run's own record has the note.
    """

    file: str
    chunks: int
    beside: dict[str, str]
    replaced: list[str]

    @property
    def note(self) -> dict[str, Any]:
        """What the run's own record says of it."""
        return {"file": self.file, "beside": self.beside}


def seal_ended(backend: Backend, change: Change, run_id: str, known: Expected, *, pretty: bool) -> int:
    """Pack the chunks of a run into one file, and remove those that nobody replaces any more; see `seal`."""
    with backend.reader(run_id) as reader:
        sealing = pack_ended(backend, run_id, reader, within=known)
    if sealing is None:
        return 0
    say_sealed(change, run_id, sealing.note, pretty=pretty)
    backend.remove_all(run_id, sealing.replaced)
    return sealing.chunks


def pack_ended(
    backend: Backend, run_id: str, reader: FolderReader, *, within: Within = None, more_than: int = 0
) -> Sealing | None:
    """Write a sealed file of all chunks; None if there is nothing that could be removed then.

    Args:
        backend: where the run is.
        run_id: the run.
        reader: its folder, opened for a read.
        within: which of all runs of that id.
        more_than: nothing is done with fewer chunks than one more than that.
    """
    files = RunFiles(reader)
    if sum(map(is_packable, files.names())) <= more_than:
        return None
    packed = pack_all(files)
    ended = [name for name in packed.loose if _is_final(name, packed.lines[name])]
    if not ended and len(packed.others) <= 1:
        return None
    beside = _versions(reader, sorted(packed.loose.difference(ended))[:_MOST_NOTED])
    file = publish_sealed(backend, run_id, within, [packed.lines[name] for name in sorted(packed.lines)])
    return Sealing(file, len(packed.lines), beside, [*packed.others, *ended])


def _versions(reader: FolderReader, files: Iterable[str]) -> dict[str, str]:
    found = {}
    for file in files:
        try:
            found[file] = as_noted(reader.version(file))
        except FileNotFoundError:
            pass
    return found


def _is_final(file: str, line: bytes) -> bool:
    """Tell whether nobody replaces a chunk any more, which a sealed file has as these bytes."""
    kind = kind_of(file)
    return kind == METRIC or (kind in TYPE_OF and has_ended(content_of(line)[0]))

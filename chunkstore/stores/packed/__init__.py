"""Many chunks in one file: journals while a run is written, sealed files after it."""

from chunkstore.stores.packed.journals import Journals, JournalWriter
from chunkstore.stores.packed.packed_file import PackedFile
from chunkstore.stores.packed.packed_lines import Content, content_of, is_line_file, pack, pack_body, unpack

__all__ = [
    "Content",
    "JournalWriter",
    "Journals",
    "PackedFile",
    "content_of",
    "is_line_file",
    "pack",
    "pack_body",
    "unpack",
]

"""Writing the chunks of runs: new ones, changes, parameters, and packing them into sealed files."""

from chunkstore.stores.writing.chunk_writer import ChunkWriter, attempt, by
from chunkstore.stores.writing.ending import Endings
from chunkstore.stores.writing.new_runs import files_of_new_run
from chunkstore.stores.writing.parameter_files import ParameterFiles
from chunkstore.stores.writing.record_writer import RecordWriter
from chunkstore.stores.writing.sealing import seal, unseal
from chunkstore.stores.writing.sealing_ended import seal_ended

__all__ = [
    "ChunkWriter",
    "Endings",
    "ParameterFiles",
    "RecordWriter",
    "attempt",
    "by",
    "files_of_new_run",
    "seal",
    "seal_ended",
    "unseal",
]

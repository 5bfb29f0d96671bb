"""Writing the chunks of runs: new ones, changes, parameters, and packing them into sealed files."""

from chunkstore.stores.writing.chunk_writer import ChunkWriter, attempt
from chunkstore.stores.writing.parameter_files import ParameterFiles
from chunkstore.stores.writing.record_writer import RecordWriter
from chunkstore.stores.writing.sealing import seal, unseal

__all__ = ["ChunkWriter", "ParameterFiles", "RecordWriter", "attempt", "seal", "unseal"]

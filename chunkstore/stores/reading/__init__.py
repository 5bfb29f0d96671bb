"""Finding, reading and following the chunks of one run, wherever they lie."""

from chunkstore.stores.reading.chunk_reader import ChunkReader
from chunkstore.stores.reading.follow import follow
from chunkstore.stores.reading.following import FollowedRun, Patience
from chunkstore.stores.reading.listing import Listing, ListingMemory
from chunkstore.stores.reading.metric_lines import MetricLine, Series, add_lines, as_series
from chunkstore.stores.reading.order import in_order
from chunkstore.stores.reading.problem_finder import ProblemFinder
from chunkstore.stores.reading.record_finder import NOBODYS, OTHERS, OURS, RecordFinder, warn_of
from chunkstore.stores.reading.records_found import RecordsFound
from chunkstore.stores.reading.run_files import RunFiles, as_noted
from chunkstore.stores.reading.run_json import join_chunks
from chunkstore.stores.reading.seen_changes import changes_seen

__all__ = [
    "NOBODYS",
    "OTHERS",
    "OURS",
    "ChunkReader",
    "FollowedRun",
    "Listing",
    "ListingMemory",
    "MetricLine",
    "Patience",
    "ProblemFinder",
    "RecordFinder",
    "RecordsFound",
    "RunFiles",
    "Series",
    "add_lines",
    "as_noted",
    "as_series",
    "changes_seen",
    "follow",
    "in_order",
    "join_chunks",
    "warn_of",
]

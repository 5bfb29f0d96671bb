"""The catalog: copies of the data that steps read and write, with their hashes.

The newest copy lies at `<catalog>/<run id>/<name>`; inside a branch at `<catalog>/<run id>/.branches/<branch>/<name>`,
so that branches that put data of the same name do not meet. All that was put lies in `<catalog>/<run id>/.versions/` by
its hash. What steps print lies beside the run's data.
"""

from chunkstore.recording.catalog.catalog import GET, PUT, Catalog, Found, Output
from chunkstore.recording.catalog.data_names import BY_HASH, LOG_SUFFIX, VERSIONS
from chunkstore.recording.catalog.of_stores import catalog_in_folder, catalog_of
from chunkstore.recording.catalog.retrieval import is_hash
from chunkstore.recording.catalog.versions import hash_of

__all__ = [
    "BY_HASH",
    "GET",
    "LOG_SUFFIX",
    "PUT",
    "VERSIONS",
    "Catalog",
    "Found",
    "Output",
    "catalog_in_folder",
    "catalog_of",
    "hash_of",
    "is_hash",
]

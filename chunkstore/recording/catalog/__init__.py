"""The catalog: copies of the data that steps read and write, with their hashes.

A copy lies at `<catalog>/<run id>/<name>`; inside a branch at `<catalog>/<run id>/.branches/<branch>/<name>`, so that
branches that put data of the same name do not meet. What steps print lies beside the run's data.
"""

from chunkstore.recording.catalog.catalog import GET, PUT, Catalog, catalog_of
from chunkstore.recording.catalog.data_names import LOG_SUFFIX
from chunkstore.recording.catalog.files import hash_of_file

__all__ = ["GET", "LOG_SUFFIX", "PUT", "Catalog", "catalog_of", "hash_of_file"]

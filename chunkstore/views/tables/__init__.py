"""Runs and their records as rows and columns, and as files of these."""

from chunkstore.views.tables.frames import to_arrow, to_pandas
from chunkstore.views.tables.rows import TABLES, rows_of

__all__ = ["TABLES", "rows_of", "to_arrow", "to_pandas"]

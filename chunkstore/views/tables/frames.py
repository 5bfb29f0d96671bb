"""Tables of run logs for pyarrow and pandas (`pip install 'chunkstore[tables]'`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from chunkstore.records.models import RunLog
from chunkstore.views.tables.rows import TABLES, rows_of

if TYPE_CHECKING:  # extras, imported where they are used
    import pandas as pd  # type: ignore[import-untyped,import-not-found,unused-ignore]
    import pyarrow as pa  # type: ignore[import-untyped,import-not-found,unused-ignore]

#: Rows that are turned into columns at a time; also the size of the row groups of a Parquet file.
BATCH_SIZE = 50_000


def to_arrow(logs: RunLog | Iterable[RunLog], table: str = "steps") -> pa.Table:
    """Return a table of one run or of many.

    Args:
        logs: a run log, or any iterable of them: `map(store.get_run_log, run_ids)` reads one after the other.
        table: `runs`, `steps`, `attempts`, `metrics`, `params` or `data`.

    Returns:
        A `pyarrow.Table` with a row for each of them, in order of execution; times are in UTC.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        KeyError: there is no such table.
    """
    many = [logs] if isinstance(logs, RunLog) else logs
    rows = (row for log in many for row in rows_of(log, table))
    arrow = import_pyarrow()
    return arrow.Table.from_batches(batches_of(rows, table), schema=schema_of(table))


def to_pandas(logs: RunLog | Iterable[RunLog], table: str = "steps") -> pd.DataFrame:
    """Return a table of one run or of many as a data frame; see `to_arrow`.

    Args:
        logs: a run log, or any iterable of them.
        table: `runs`, `steps`, `attempts`, `metrics`, `params` or `data`.

    Returns:
        A `pandas.DataFrame`.

    Raises:
        ModuleNotFoundError: pyarrow or pandas is not installed.
        KeyError: there is no such table.
    """
    return to_arrow(logs, table).to_pandas()


def import_pyarrow(module: str = "pyarrow") -> Any:
    """Return pyarrow, or a module of it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Parquet, Arrow and pandas tables need pyarrow. Run `pip install 'chunkstore[tables]'`.", name=error.name
        ) from None


def schema_of(table: str) -> pa.Schema:
    """Return the columns of a table and their types; times are in UTC, in microseconds."""
    arrow = import_pyarrow()
    types = {
        str: arrow.string(),
        bool: arrow.bool_(),
        int: arrow.int64(),
        float: arrow.float64(),
        datetime: arrow.timestamp("us", tz="UTC"),
    }
    fields = msgspec.structs.fields(TABLES[table].row)
    return arrow.schema([(field.name, types[_plain_type(field.type)]) for field in fields])


def _plain_type(kind: Any) -> Any:
    """Return the type of a column that may have no value in some rows."""
    return next((one for one in getattr(kind, "__args__", (kind,)) if one is not type(None)), kind)


def batches_of(rows: Iterable[msgspec.Struct], table: str) -> Iterator[pa.RecordBatch]:
    """Yield rows as columns, so many at a time that memory does not grow with their number."""
    arrow, schema = import_pyarrow(), schema_of(table)
    remaining = iter(rows)
    while batch := [msgspec.structs.astuple(row) for row in islice(remaining, BATCH_SIZE)]:
        columns = zip(schema, zip(*batch, strict=True), strict=True)
        yield arrow.record_batch([arrow.array(values, field.type) for field, values in columns], schema=schema)

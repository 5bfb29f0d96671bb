"""Run logs for other tools, run by run, to a file that somebody else has opened: documents, JSON lines, tables."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from chunkstore.clock import format_time
from chunkstore.records import codec
from chunkstore.records.assemble import bare
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import BranchLog, Orphans, RunLog, StepLog
from chunkstore.views.tables.frames import BATCH_SIZE, batches_of, import_pyarrow, schema_of
from chunkstore.views.tables.rows import TABLES, rows_of

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency

JSON, LINES, CSV, PARQUET = "json", "jsonl", "csv", "parquet"
FORMATS = (JSON, LINES, CSV, PARQUET)


class Export(ABC):
    """Writes one run after the other, in a `with` block; memory use does not grow with their number.

    Args:
        file: where to write to.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        #: Runs, records or rows written so far.
        self.written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    @abstractmethod
    def add(self, log: RunLog) -> None:
        """Write a run."""

    def finish(self) -> None:  # noqa: B027 - most formats need no end
        """Write what belongs after the last run."""

    def abandon(self) -> None:  # noqa: B027 - most formats hold nothing
        """Give up: the file will not be used."""


class Document(Export):
    """One run as a JSON document, indented as `runnable` writes it."""

    def add(self, log: RunLog) -> None:
        """Write a run."""
        self.file.write(encode_record(log, indent=4) + b"\n")
        self.written += 1


class DocumentArray(Export):
    """Many runs as one JSON array."""

    def add(self, log: RunLog) -> None:
        """Write a run."""
        self.file.write((b",\n" if self.written else b"[\n") + encode_record(log, indent=4))
        self.written += 1

    def finish(self) -> None:
        """Close the array."""
        self.file.write(b"\n]\n" if self.written else b"[]\n")


class RecordLines(Export):
    """JSON lines, one for each record: `{"kind": "run", "run_id": …, "record": {…}}`.

    The run's own record comes first, then its branches and steps in order of execution, outer ones before inner ones,
    each without what is inside it: nothing is left out, and nothing comes twice. Records whose place in the run is
    missing have `"orphan": true`.
    """

    def add(self, log: RunLog) -> None:
        """Write a run."""
        run_id = codec.encode(log.run_id)
        for kind, record, is_orphan in _records(log):
            orphan = b',"orphan":true' if is_orphan else b""
            head = b'{"kind":"' + kind.encode() + b'","run_id":' + run_id + orphan
            self.file.write(head + b',"record":' + encode_record(record) + b"}\n")
            self.written += 1


def _records(log: RunLog) -> Iterator[tuple[str, RunLog | StepLog | BranchLog, bool]]:
    lost = Orphans(parameters=log.orphans.parameters)
    yield "run", msgspec.structs.replace(log, steps={}, found_orphans=lost or UNSET), False
    waiting: list[tuple[StepLog | BranchLog, bool]] = [(step, False) for step in log.steps.values()]
    waiting += [(step, True) for step in log.orphans.steps.values()]
    waiting += [(branch, True) for branch in log.orphans.branches.values()]
    waiting.reverse()
    while waiting:
        record, is_orphan = waiting.pop()
        if isinstance(record, StepLog):
            yield "step", bare(record), is_orphan
            waiting.extend((branch, False) for branch in list(record.branches.values())[::-1])
        else:
            yield "branch", msgspec.structs.replace(record, steps={}), is_orphan
            waiting.extend((step, False) for step in list(record.steps.values())[::-1])


class _TableExport(Export):
    def __init__(self, file: IO[bytes], table: str) -> None:
        super().__init__(file)
        self.table = table
        self.columns = [field.name for field in msgspec.structs.fields(TABLES[table].row)]


class LinesTable(_TableExport):
    """A table as JSON lines; numbers that JSON lacks are null there, and in `value` as always."""

    def add(self, log: RunLog) -> None:
        """Write the rows of a run."""
        for row in rows_of(log, self.table):
            self.file.write(msgspec.json.encode(row) + b"\n")
            self.written += 1


class CsvTable(_TableExport):
    """A table as CSV in UTF-8 with a line of headings; what is not known is empty.

    Texts stand there as they are, quoted where they hold a comma, a quote or the end of a line of any system: one that
    begins with `=` may be taken for a formula by a spreadsheet.
    """

    def __init__(self, file: IO[bytes], table: str) -> None:
        super().__init__(file, table)
        # Before Python 3.13, ends of lines are quoted only if a line could end so.
        self._writer = csv.writer(_Lines(file), lineterminator=_ENDS)
        self._writer.writerow(self.columns)

    def add(self, log: RunLog) -> None:
        """Write the rows of a run."""
        for row in rows_of(log, self.table):
            self._writer.writerow([_csv_value(value) for value in msgspec.structs.astuple(row)])
            self.written += 1


#: What the end of a row is taken for.
_ENDS = "\r\n"


class _Lines:
    """Takes rows for a file of bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix(_ENDS).encode() + b"\n")


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return format_time(value) if isinstance(value, datetime) else value


class ParquetTable(_TableExport):
    """A table as Parquet, compressed, with times as times; rows are written some ten thousand at a time."""

    def __init__(self, file: IO[bytes], table: str) -> None:
        super().__init__(file, table)
        parquet = import_pyarrow("pyarrow.parquet")
        self._writer = parquet.ParquetWriter(file, schema_of(table), compression="zstd")
        self._rows: list[msgspec.Struct] = []

    def add(self, log: RunLog) -> None:
        """Write the rows of a run, or keep them until there are more."""
        for row in rows_of(log, self.table):
            self._rows.append(row)
            self.written += 1
            if len(self._rows) >= BATCH_SIZE:
                self._write()

    def finish(self) -> None:
        """Write the last rows."""
        try:
            self._write()
            self._writer.close()
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Keep the writer from writing an end when it is collected, which would be to a closed file."""
        self._writer.is_open = False

    def _write(self) -> None:
        for batch in batches_of(self._rows, self.table):
            self._writer.write_batch(batch)
        self._rows.clear()


_TABLE_EXPORTS: dict[str, type[_TableExport]] = {LINES: LinesTable, CSV: CsvTable, PARQUET: ParquetTable}


def table_export(file: IO[bytes], table: str, file_format: str) -> Export:
    """Return what writes a table.

    Raises:
        ModuleNotFoundError: the format needs a package that is not installed.
    """
    return _TABLE_EXPORTS[file_format](file, table)

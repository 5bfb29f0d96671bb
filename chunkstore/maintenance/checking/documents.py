"""What is wrong with one run of a store that keeps each in one file."""

from __future__ import annotations

import time
from collections.abc import Iterator

from chunkstore.backends.disk.quarantine import QUARANTINE
from chunkstore.backends.entries import FILE, FOLDER, Entry
from chunkstore.backends.errors import UnreadableFileError
from chunkstore.errors import ChunkstoreError, CorruptChunkError, InvalidNameError, RunLogNotFoundError
from chunkstore.maintenance.checking import findings
from chunkstore.maintenance.checking.either_layout import foreign_at_top, left_over_at_top, newer_format, no_run_id
from chunkstore.maintenance.checking.findings import Finding, finding
from chunkstore.maintenance.checking.recorded_data import data_findings
from chunkstore.maintenance.checking.times_and_data import impossible_times
from chunkstore.maintenance.left_overs import is_set_aside, is_temporary, is_worth_mentioning
from chunkstore.names import ASIDE_PREFIX, DOCUMENT_SUFFIX
from chunkstore.records.assemble import flatten
from chunkstore.stores.base import Store


def check_document(store: Store, run_id: str, *, with_data: bool) -> list[Finding]:
    """Return what is wrong with a run.

    Args:
        store: where it is.
        run_id: the run.
        with_data: whether the data in the catalog is compared with what was recorded of it.
    """
    file = f"{run_id}{DOCUMENT_SUFFIX}"
    try:
        log = store.get_run_log(run_id)
    except RunLogNotFoundError:
        return []  # deleted since it was listed
    except CorruptChunkError as error:
        kind = findings.UNREADABLE if isinstance(error, UnreadableFileError) else findings.CORRUPT
        return [finding(kind, run_id, file, f"It cannot be read: {error.reason} (byte {error.offset}).")]
    except InvalidNameError as error:
        return [no_run_id(run_id, file, error)]
    except ChunkstoreError as error:
        return [finding(findings.UNREADABLE, run_id, file, str(error), "Check the disk, and who may read the file.")]
    found = [finding(problem.kind, run_id, file, f"{problem.message}.") for problem in log.problems]
    records, _ = flatten(log)
    found += newer_format(log, file)
    found += impossible_times(log, file, records, lambda _: file)
    return [*found, *data_findings(store, log, records, with_hashes=with_data)]


def is_document(entry: Entry) -> bool:
    """Tell whether an entry of the top folder may be a run."""
    return entry.name.endswith(DOCUMENT_SUFFIX) and not entry.name.startswith(".")


def check_top(entries: list[Entry]) -> Iterator[Finding]:
    """Yield what does not belong at the top of a store of documents, where every `.json` file is a run."""
    now = time.time_ns()
    for entry in entries:
        if is_set_aside(entry):
            true_name = entry.name.removeprefix(ASIDE_PREFIX)
            message = f"It was set aside by somebody who was stopped; readers take it for {true_name}."
            advice = "Run `chunkstore verify --repair` again."
            yield finding(findings.LEFT_OVER, true_name.removesuffix(DOCUMENT_SUFFIX), entry.name, message, advice)
        elif is_temporary(entry):
            if is_worth_mentioning(entry, now):
                yield left_over_at_top(entry)
        elif entry.name == QUARANTINE and entry.kind == FOLDER:
            yield finding(findings.QUARANTINED, "", entry.name, "Damaged documents were moved here.")
        elif not entry.name.startswith(".") and not (is_document(entry) and entry.kind == FILE):
            yield foreign_at_top(entry)

"""The files that a new run begins with."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UNSET

from chunkstore.backends.base import Backend
from chunkstore.backends.capabilities import Grouping, Looking
from chunkstore.clock import clock
from chunkstore.names import RUN_FILE, chunk_file, parameter_file, sealed_file
from chunkstore.records.assemble import flatten
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import PACKED_FORMAT, RunLog
from chunkstore.stores.chunk_files import Parameters, key_of
from chunkstore.stores.contents import contents_of, with_contents
from chunkstore.stores.packed import pack, pack_body
from chunkstore.stores.stored import as_file, is_finished
from chunkstore.stores.writing.packed_format import with_format


def files_of_new_run(backend: Backend, log: RunLog, *, pretty: bool) -> dict[str, bytes]:
    """Return the files of a run with all inside it, of which the last is its own record.

    Where files are made one by one, there are two at most: all chunks come in a sealed file, and the parameters of a
    run that has nothing else in it stay with its own record until they are changed.

    Args:
        backend: where the run is going to be.
        log: the run.
        pretty: whether JSON is written for people who use `cat`.
    """
    in_one_go = isinstance(backend, Grouping)
    records, parameters = flatten(log)
    bodies = {chunk_file(*key_of(record), clock.tick()): encode_record(record) for record in records}
    kept = {} if in_one_go or bodies else log.parameters
    for scope, values in parameters.items():
        if values and (scope or not kept):
            bodies[parameter_file(scope)] = encode_record(Parameters(branch=scope, parameters=values))
    are_loose = in_one_go or not bodies
    files = {file: as_file(body, pretty=pretty and are_loose) for file, body in bodies.items()}
    if is_finished(log):
        log = with_contents(log, contents_of(files), at_least=not isinstance(backend, Looking))
    own = msgspec.structs.replace(log, steps={}, parameters=kept, found_orphans=UNSET, found_problems=UNSET)
    run_record = as_file(encode_record(own), pretty=pretty)
    if are_loose:
        return {**files, RUN_FILE: run_record}
    sealed = _sealed({file: pack_body(file, body) for file, body in bodies.items()}, run_record)
    return {sealed_file(clock.tick()): sealed, RUN_FILE: with_format(own, PACKED_FORMAT, pretty=pretty)}


def _sealed(lines: Mapping[str, bytes], run_record: bytes) -> bytes:
    everything = {**lines, RUN_FILE: pack(RUN_FILE, run_record) or b""}
    return b"".join(everything[file] for file in sorted(everything))

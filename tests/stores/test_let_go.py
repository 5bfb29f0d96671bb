"""What a read has opened is let go of when the read is over, not when garbage is collected some day."""

import gc
import sys

import pytest
from recorded import step

import chunkstore
from chunkstore import BranchLog
from chunkstore.backends.disk.folder import Folder

RUN = "run"
READS = {
    "whole": lambda store: store.get_run_log(RUN),
    "one by one": lambda store: list(store.iter_records(RUN)),
    "a step": lambda store: store.get_step_log(RUN, "a"),
    "a branch": lambda store: store.get_branch_log(RUN, "a.b"),
    "as JSON": lambda store: store.get_run_json(RUN),
}
if sys.version_info >= (3, 11):  # before, contextlib itself keeps what an exception went through, as that of `close`
    READS["not to the end"] = lambda store: next(iter(store.iter_records(RUN)))


@pytest.mark.parametrize("read", READS)
def test_a_read_leaves_no_folder_to_the_garbage_collector(tmp_path, read):
    for _ in range(2):  # of several chunks for a record, one counts
        store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path))
        if not store.has_run(RUN):
            store.create_run_log(RUN)
        store.add_step_log(RUN, step("a"))
        store.add_branch_log(RUN, BranchLog(internal_name="a.b"))
    reader = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path))
    gc.collect()
    gc.disable()
    try:
        READS[read](reader)
        before = set(map(id, filter(lambda each: isinstance(each, Folder), gc.get_objects())))
        gc.collect()
        assert {id(each) for each in gc.get_objects() if isinstance(each, Folder)} == before
    finally:
        gc.enable()

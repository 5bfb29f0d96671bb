"""Reading changes nothing, so it needs no permission to write."""

import pytest

import chunkstore
from chunkstore import BranchLog, MetricPoint, StepLog
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing import CountingSyscalls
from chunkstore.testing.faults import WRITING_CALLS


@pytest.mark.parametrize("layout", [ChunkedStore, DocumentStore])
def test_readers_make_no_call_that_writes(layout, tmp_path):
    writer = layout(DirectoryBackend(tmp_path))
    writer.create_run_log("run", parameters={"a": 1})
    branch = BranchLog(internal_name="m.b", steps={"m.b.x": StepLog(name="x", internal_name="m.b.x")})
    writer.add_step_log("run", StepLog(name="m", internal_name="m", branches={"m.b": branch}))
    writer.append_metrics("run", "m", {"loss": [MetricPoint(1, 0.5)]})

    calls = CountingSyscalls()
    reader = layout(DirectoryBackend(tmp_path, syscalls=calls))
    assert reader.get_run_log("run").problems == []
    assert reader.get_run_log("run", full=False).steps == {}
    assert reader.get_step_log("run", "m").branches
    assert reader.get_branch_log("run", "m.b").steps
    assert reader.get_parameters("run") == {"a": 1}
    assert [summary.run_id for summary in reader.list_runs()] == ["run"]
    with pytest.raises(chunkstore.RunLogNotFoundError):
        reader.get_run_log("other")
    assert calls.counts["open"] > 0
    assert not {call.name for call in calls.calls} & {*WRITING_CALLS, "unlink", "rmdir"}

"""What is written where files are removed without a condition is read by whoever has read the format, too."""

import pytest
from test_format import check

import chunkstore
from chunkstore.records.models import StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.plain_backend import PlainBackend


@pytest.mark.parametrize("is_sealed", [False, True])
def test_what_an_owner_writes_of_a_record_that_has_ended_is_read(tmp_path, is_sealed):
    backend = PlainBackend()
    owner, other = ChunkedStore(backend), ChunkedStore(backend)
    owner.create_run_log("run", parameters={"a": 1})
    step = StepLog(name="fit", internal_name="fit", status="SUCCESS", user_defined_metrics={"mine": [1]})
    owner.add_step_log("run", step)
    other.update_step_log("run", "fit", lambda step: step.user_defined_metrics.update(theirs=2))
    step.user_defined_metrics["mine"] = [2, 3]
    owner.add_step_log("run", step)
    owner.update_run_log("run", lambda log: setattr(log, "status", "SUCCESS"))
    if is_sealed:
        owner.seal("run")
    owner.add_step_log("run", StepLog(name="late", internal_name="late", status="SUCCESS"))
    folder = tmp_path / "logs" / "run"
    folder.mkdir(parents=True)
    with backend.reader("run") as reader:
        for name in reader.names():
            (folder / name).write_bytes(reader.load(name))
    log = check(chunkstore.open_store("chunked-fs", log_folder=folder.parent), "run")
    assert log.steps["fit"].user_defined_metrics == {"mine": [2, 3], "theirs": 2}
    assert list(log.steps) == ["fit", "late"]
    assert log.parameters == {"a": 1}

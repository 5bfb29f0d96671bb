"""A run of a newer format is read, and every write to it is refused."""

import json
from pathlib import Path

import pytest
from every import every_store
from run_of_two import RUN

import chunkstore
from chunkstore import ChunkstoreError, UnsupportedFormatError
from chunkstore.records.models import NOTES, PACKED_FORMAT
from chunkstore.testing.suite_runs import CALLS_ON_A_RUN


@pytest.fixture
def newer(logs, store_type):
    """A run of a format that comes after this version's; return what opens the store."""

    def open_it():
        return chunkstore.open_store(store_type, log_folder=logs, lock_timeout=5)

    def lift(log):
        log.run_config[NOTES]["format"] = PACKED_FORMAT + 1

    store = open_it()
    store.create_run_log(RUN, parameters={"a": 1})
    store.add_step_log(RUN, chunkstore.StepLog(name="simple", internal_name="simple", status="SUCCESS"))
    store.add_branch_log(RUN, chunkstore.BranchLog(internal_name="simple.b"))
    open_it().update_step_log(RUN, "simple", lambda found: setattr(found, "message", "x"))
    store.update_run_log(RUN, lift)
    for path in Path(logs).rglob("*.lock"):
        path.unlink()
    return open_it


WRITES = {
    **{name: CALLS_ON_A_RUN[name] for name in ("update", "add step", "add branch", "update step", "update branch")},
    **{name: CALLS_ON_A_RUN[name] for name in ("set parameters", "append metrics")},
    "put step": lambda store, run: store.put_step_log(run, chunkstore.StepLog(name="simple", internal_name="simple")),
    "put new step": lambda store, run: store.put_step_log(run, chunkstore.StepLog(name="n", internal_name="n")),
    "put branch": lambda store, run: store.put_branch_log(run, chunkstore.BranchLog(internal_name="simple.b")),
    "set new parameters": lambda store, run: store.set_parameters(run, {"a": 2, "b": 2}, overwrite=False),
    "record a step": lambda store, run: store.join_run(run).step("recorded", int, "1"),
    "finish": lambda store, run: store.join_run(run).finish(),
}


def everything_in(folder):
    """Return all files but locks, which hold nothing."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
@every_store
def test_a_run_of_a_newer_format_refuses_every_write_and_is_as_before(newer, logs, write):
    before = everything_in(logs.parent)
    with pytest.raises(
        UnsupportedFormatError, match=rf"format is {PACKED_FORMAT + 1}.*up to {PACKED_FORMAT}.*newer chunkstore"
    ) as caught:
        write(newer(), RUN)
    assert (caught.value.run_id, caught.value.format) == (RUN, PACKED_FORMAT + 1)
    assert everything_in(logs.parent) == before


@every_store
def test_refused_writes_leave_no_lock_file_in_a_run_of_a_newer_format(newer, logs):
    for write in WRITES.values():
        with pytest.raises(UnsupportedFormatError):
            write(newer(), RUN)
    assert list(Path(logs).rglob("*.lock")) == []


@every_store
def test_a_run_of_a_newer_format_is_read(newer):
    store = newer()
    log = store.get_run_log(RUN, strict=True)
    assert (list(log.steps), list(log.steps["simple"].branches)) == (["simple"], ["simple.b"])
    assert log.parameters == store.get_parameters(RUN) == {"a": 1}
    assert store.get_step_log(RUN, "simple").message == "x"
    assert json.loads(store.get_run_json(RUN)) == json.loads(log.to_json())
    assert [(run.run_id, run.problem) for run in store.list_runs()] == [(RUN, "")]


@every_store
def test_a_run_that_becomes_one_of_a_newer_format_while_it_is_open_is_not_written_under_the_lock(newer, logs):
    """A store that has written to the run before looks again whenever it takes the lock."""
    store = newer()

    def set_format(number):
        for path in Path(logs).rglob("*.json"):
            text = path.read_text()
            if '"format"' in text:
                document = json.loads(text)
                document["run_config"][NOTES]["format"] = number
                path.write_text(json.dumps(document))

    set_format(PACKED_FORMAT)
    store.set_parameters(RUN, {"b": 2})
    set_format(PACKED_FORMAT + 1)
    with pytest.raises(UnsupportedFormatError):
        store.update_run_log(RUN, lambda log: setattr(log, "tag", "x"))
    store.close()
    for write in WRITES.values():
        with pytest.raises(ChunkstoreError, match="newer chunkstore"):
            write(store, RUN)

"""A run's folder that is moved aside, deleted or made anew while others have it open: nothing acknowledged is lost."""

import os

import pytest

import chunkstore
from chunkstore import LockTimeoutError, MetricPoint, RunLogNotFoundError, StepLog
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.names import LOCK_FILE

RUN = "run"
WRITES = {
    "add": lambda store: store.add_step_log(RUN, StepLog(name="new", internal_name="new")),
    "add again": lambda store: store.add_step_log(RUN, StepLog(name="old", internal_name="old")),
    "append": lambda store: store.append_metrics(RUN, "old", {"m": [MetricPoint(2, 2)]}),
    "set parameters": lambda store: store.set_parameters(RUN, {"b": 2}),
    "update run": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "tag", "changed")),
}


@pytest.fixture
def store(logs):
    """Return a store that has the run's folder, its lock and a metric file open."""
    store = chunkstore.open_store("chunked-fs", log_folder=logs)
    store.create_run_log(RUN, parameters={"a": 1})
    store.add_step_log(RUN, StepLog(name="old", internal_name="old"))
    store.append_metrics(RUN, "old", {"m": [MetricPoint(1, 1)]})
    store.set_parameters(RUN, {"a": 1})
    return store


def contents(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder)) if not name.startswith(".")}


@pytest.mark.parametrize("write", WRITES)
def test_what_is_acknowledged_is_in_the_folder_that_the_path_leads_to(write, store, logs):
    os.rename(logs / RUN, logs / ".deleted-by-another")  # as deleting begins
    chunkstore.open_store("chunked-fs", log_folder=logs).create_run_log(RUN)
    before = contents(logs / RUN)
    WRITES[write](store)
    assert contents(logs / RUN) != before
    WRITES["add"](store)
    assert "new" in store.get_run_log(RUN).steps


@pytest.mark.parametrize("write", WRITES)
def test_a_folder_that_is_gone_is_no_run(write, store, logs):
    os.rename(logs / RUN, logs / ".deleted-by-another")
    with pytest.raises(RunLogNotFoundError):
        WRITES[write](store)


def test_who_creates_a_run_anew_owns_nothing_of_the_earlier_one(store):
    store.delete_run(RUN)
    store.create_run_log(RUN)
    WRITES["add again"](store)
    log = store.get_run_log(RUN)
    assert list(log.steps) == ["old"]
    assert log.problems == []


@pytest.mark.parametrize("who_deletes", ["we", "others"])
def test_whose_run_was_deleted_owns_nothing_in_the_next_one_of_that_id(store, logs, who_deletes):
    """Else a record would go to a file that is named after a time before those of the others, and would not count."""
    other = chunkstore.open_store("chunked-fs", log_folder=logs)
    deleting, creating = (store, other) if who_deletes == "we" else (other, store)
    deleting.delete_run(RUN)
    creating.create_run_log(RUN)
    for each, message in ((other, "theirs"), (store, "ours")):
        each.add_step_log(RUN, StepLog(name="old", internal_name="old", message=message))
        assert each.get_step_log(RUN, "old").message == message


def test_a_folder_without_a_run_becomes_one_with_its_parameters(logs):
    (logs / RUN).mkdir(parents=True)
    (logs / RUN / "notes.txt").write_text("kept")
    store = chunkstore.open_store("chunked-fs", log_folder=logs)
    store.create_run_log(RUN, parameters={"a": 1})
    assert store.get_run_log(RUN).parameters == {"a": 1}
    assert (logs / RUN / "notes.txt").read_text() == "kept"
    with pytest.raises(chunkstore.RunLogExistsError):
        store.create_run_log(RUN, parameters={"a": 2})
    assert store.get_parameters(RUN) == {"a": 1}


def test_changes_of_a_folder_that_is_no_run_leave_nothing_in_it(logs):
    (logs / RUN).mkdir(parents=True)
    store = chunkstore.open_store("chunked-fs", log_folder=logs)
    for write in WRITES.values():
        with pytest.raises(RunLogNotFoundError):
            write(store)
    assert os.listdir(logs / RUN) == []


READS = {
    "get run": lambda store: list(store.get_run_log(RUN).steps),
    "get parameters": lambda store: list(store.get_parameters(RUN)),
    "has step": lambda store: store.has_step_log(RUN, "old"),
}


@pytest.mark.parametrize("read", READS)
def test_reads_go_where_the_path_leads(read, store, logs):
    assert READS[read](store)
    os.rename(logs / RUN, logs / ".deleted-by-another")
    with pytest.raises(RunLogNotFoundError):
        READS[read](store)
    chunkstore.open_store("chunked-fs", log_folder=logs).create_run_log(RUN)
    assert not READS[read](store)


class At(Syscalls):
    """Does something just before the first call of a name, with a certain path if one is given."""

    def __init__(self, name, deed, path=None):
        original = getattr(self, name)

        def call(*arguments):
            if self.deed is not None and path in (None, arguments[0]):
                deed, self.deed = self.deed, None
                deed()
            return original(*arguments)

        self.deed = deed
        setattr(self, name, call)


def test_points_that_go_to_a_folder_that_is_just_moved_aside_are_not_acknowledged(store, logs):
    # At this level nothing else looks at the folder afterwards.
    store = chunkstore.open_store("chunked-fs", log_folder=logs, durability="process")
    store.append_metrics(RUN, "old", {"m": [MetricPoint(1, 1)]})
    store.backend._folders.syscalls = syscalls = At(
        "write", lambda: os.rename(logs / RUN, logs / ".deleted-by-another")
    )
    store.backend.close()  # folders are opened anew, with these calls
    with pytest.raises(RunLogNotFoundError):
        WRITES["append"](store)
    assert syscalls.deed is None


def test_a_run_that_is_being_deleted_is_gone_at_once(store, logs):
    seen = []
    other = chunkstore.open_store("chunked-fs", log_folder=logs)
    store.backend._folders.syscalls = At("unlink", lambda: seen.append(list(other.list_runs())))
    store.backend.close()
    store.delete_run(RUN)
    assert seen == [[]]


@pytest.fixture
def locked(logs):
    """Returns a context in which somebody else holds the lock of the run."""
    return lambda: chunkstore.open_store("chunked-fs", log_folder=logs).backend.lock(RUN, LOCK_FILE)


def test_deleting_waits_for_whoever_changes_the_run(store, logs, locked):
    impatient = chunkstore.open_store("chunked-fs", log_folder=logs, lock_timeout=0.05)
    with locked(), pytest.raises(LockTimeoutError):
        impatient.delete_run(RUN)
    assert list(store.get_run_log(RUN).steps) == ["old"]
    impatient.delete_run(RUN)
    assert list(store.list_runs()) == []


def test_a_folder_becomes_a_run_under_its_lock(logs, locked):
    """Else of two who fill it at once, each with parameters, one could leave its own to the other's run."""
    (logs / RUN).mkdir(parents=True)
    impatient = chunkstore.open_store("chunked-fs", log_folder=logs, lock_timeout=0.05)
    with locked(), pytest.raises(LockTimeoutError):
        impatient.create_run_log(RUN, parameters={"a": 1})
    assert [name for name in os.listdir(logs / RUN) if name != LOCK_FILE] == []
    impatient.create_run_log(RUN, parameters={"a": 1})
    assert impatient.get_run_log(RUN).parameters == {"a": 1}

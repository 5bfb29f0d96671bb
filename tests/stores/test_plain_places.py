"""Over a back end that has the core alone, a store finds another way, or says what it cannot do."""

import threading

import pytest

from chunkstore.backends.optimistic import ConflictError
from chunkstore.errors import ConfigurationError, LockTimeoutError, RunLogNotFoundError, StoreUsageError
from chunkstore.names import RUN_FILE
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepLog
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.plain_backend import PlainBackend

RUN = "run"


class CountingBackend(PlainBackend):
    """Notes which files are put and removed, and how often a file is looked at."""

    def __init__(self):
        super().__init__()
        self.put, self.removed, self.looked = [], [], []

    def put_if_unchanged(self, folder, file, data, version, **options):
        new = super().put_if_unchanged(folder, file, data, version, **options)
        self.put.append(file)
        return new

    def replace(self, folder, file, data, **options):
        super().replace(folder, file, data, **options)
        self.put.append(file)

    def load_version(self, folder, file):
        self.looked.append(file)
        return super().load_version(folder, file)

    def noting_reader(self, folder, note):
        self.looked.append(folder)
        return super().noting_reader(folder, note)

    def remove(self, folder, file):
        super().remove(folder, file)
        self.removed.append(file)


@pytest.fixture
def backend():
    return CountingBackend()


@pytest.fixture
def store(backend):
    store = ChunkedStore(backend)
    store.create_run_log(RUN, parameters={"a": 1})
    return store


def step(name="load", status="SUCCESS", **metrics):
    return StepLog(name=name, internal_name=name, status=status, user_defined_metrics=metrics)


def finish(store):
    store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))


def test_a_step_that_is_added_or_replaced_is_one_put_and_no_look(store, backend):
    store.add_step_log(RUN, step("first"))
    for status in ("PROCESSING", "PROCESSING", "SUCCESS"):
        backend.put.clear(), backend.looked.clear()
        store.add_step_log(RUN, step("load", status))
        assert (len(backend.put), backend.looked) == (1, [])


def test_a_new_run_is_one_file_and_keeps_its_parameters(store, backend):
    with backend.reader(RUN) as reader:
        assert reader.names() == [RUN_FILE]
    assert store.get_parameters(RUN) == {"a": 1}
    ChunkedStore(backend).set_parameters(RUN, {"b": 2})
    assert store.get_parameters(RUN) == {"a": 1, "b": 2} == store.get_run_log(RUN).parameters


def test_a_whole_run_is_written_sealed(store, backend):
    store.add_step_log(RUN, step(count=1))
    store.set_parameters(RUN, {"b": 2})
    finish(store)
    other = CountingBackend()
    log = store.get_run_log(RUN)
    ChunkedStore(other).add_run_log(log)
    with other.reader(RUN) as reader:
        names = sorted(reader.names())
    assert len(names) == 2
    assert names[0] == RUN_FILE
    assert names[1].startswith("Sealed-")
    copy = ChunkedStore(other).get_run_log(RUN, strict=True)
    assert (copy.steps, copy.parameters) == (log.steps, log.parameters)


def test_the_file_of_a_record_that_has_ended_is_never_replaced(store, backend):
    store.add_step_log(RUN, step(count=1))
    chunk = backend.put[-1]
    version = backend.version(RUN, chunk)
    for count in (2, 3):
        store.add_step_log(RUN, step(count=count))
        assert backend.version(RUN, chunk) == version
        assert ChunkedStore(backend).get_step_log(RUN, "load").user_defined_metrics == {"count": count}


def test_what_others_have_changed_stays_when_the_owner_writes_an_ended_record_again(store, backend):
    other = ChunkedStore(backend)
    store.add_step_log(RUN, step(mine=1))
    store.add_step_log(RUN, step(mine=2))
    other.update_step_log(RUN, "load", lambda found: found.user_defined_metrics.update(theirs=1))
    store.add_step_log(RUN, step(mine=3))
    other.update_step_log(RUN, "load", lambda found: found.user_defined_metrics.update(more=1))
    for reader in (store, other):
        assert reader.get_step_log(RUN, "load").user_defined_metrics == {"mine": 3, "theirs": 1, "more": 1}


def test_of_changes_by_the_owner_and_others_at_once_none_is_lost(store, backend):
    store.add_step_log(RUN, step(mine=0))
    others = [ChunkedStore(backend) for _ in range(4)]

    def change(number):
        for count in range(1, 51):
            others[number].update_step_log(
                RUN, "load", lambda found, count=count: found.user_defined_metrics.update({f"by {number}": count})
            )

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for count in range(1, 51):
        store.add_step_log(RUN, step(mine=count))
    for thread in threads:
        thread.join(60)
    expected = {"mine": 50, **{f"by {number}": 50 for number in range(4)}}
    assert store.get_step_log(RUN, "load").user_defined_metrics == expected


def test_sealing_removes_only_what_nobody_replaces(store, backend):
    other = ChunkedStore(backend)
    store.add_step_log(RUN, step("ended"))
    store.add_step_log(RUN, step("open", "PROCESSING"))
    store.append_metrics(RUN, "ended", {"loss": [MetricPoint(value=1.0, step=1)]})
    other.update_step_log(RUN, "ended", lambda found: found.user_defined_metrics.update(theirs=1))
    store.set_parameters(RUN, {"b": 2})
    finish(store)
    before = store.get_run_log(RUN)
    store.seal(RUN)
    assert {name.partition("-")[0] for name in backend.removed} == {"StepLog", "Metric"}
    assert not any(name.startswith("StepLog-open") for name in backend.removed)
    after = ChunkedStore(backend).get_run_log(RUN, strict=True)
    assert (after.steps, after.parameters) == (before.steps, before.parameters)
    store.add_step_log(RUN, step("open"))
    assert store.get_step_log(RUN, "open").status == "SUCCESS"


def test_each_flush_of_metric_points_is_a_file(store):
    store.add_step_log(RUN, step())
    for number in range(3):
        store.append_metrics(RUN, "load", {"loss": [MetricPoint(value=number, step=number)]})
    series = store.get_step_log(RUN, "load").metric_series
    assert [point.value for point in series["loss"]] == [0, 1, 2]


@pytest.mark.parametrize("is_sealed", [False, True])
def test_what_comes_after_the_end_is_no_damage_and_what_goes_is(store, backend, is_sealed):
    with store.start_run("recorded") as run:
        for name in ("a", "b"):
            with run.step(name):
                pass
    if is_sealed:
        store.seal("recorded")
    late = ChunkedStore(backend)
    late.add_step_log("recorded", step("late"))
    assert store.find_problems("recorded") == []
    assert list(store.get_run_log("recorded", strict=True).steps) == ["a", "b", "late"]
    if not is_sealed:
        with backend.reader("recorded") as reader:
            gone = [name for name in reader.names() if name.startswith("StepLog-")][:2]
        backend.remove_all("recorded", gone)
        assert [problem.kind for problem in store.find_problems("recorded")] == ["missing"]


def test_what_needs_a_lock_or_a_journal_says_so(store, backend):
    with pytest.raises(ConfigurationError, match="nothing can be added to a file there") as caught:
        ChunkedStore(backend, StoreOptions(container="journal"))
    assert caught.value.key == "container"
    with pytest.raises(StoreUsageError, match="no locks"):
        store.while_locked(RUN, lambda: None)
    with pytest.raises(StoreUsageError, match="no locks"):
        DocumentStore(backend)


def test_a_run_is_deleted_only_if_the_condition_holds_of_what_is_there(store, backend):
    other = ChunkedStore(backend)
    looks = []

    def condition():
        looks.append(other.get_run_log(RUN, full=False).tag)
        if len(looks) == 1:
            other.update_run_log(RUN, lambda log: setattr(log, "tag", "kept"))
        return looks[-1] != "kept"

    assert not store.delete_run_if(RUN, condition)
    assert looks == ["", "kept"]
    assert store.delete_run_if(RUN, lambda: True)
    with pytest.raises(RunLogNotFoundError):
        store.get_run_log(RUN)


def test_a_change_that_others_are_always_ahead_of_is_given_up_in_time(store, backend, monkeypatch):
    def conflict(_folder, file, *_arguments, **_options):
        raise ConflictError(file)

    monkeypatch.setattr(backend, "put_if_unchanged", conflict)
    backend.lock_timeout = 0.05
    with pytest.raises(LockTimeoutError, match=r"RunLog\.json of run in plain.*Try again") as caught:
        store.update_run_log(RUN, lambda log: setattr(log, "tag", "x"))
    assert caught.value.file == RUN_FILE

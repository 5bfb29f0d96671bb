"""Threads that change a run at once: each change has one owner, locks end, and nothing that counts is taken back."""

import errno
import threading

import pytest
from every import every_layout

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import ChunkstoreError
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.stores.chunk_files import key_of
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import FaultySyscalls
from proofs.composites import RUN, composite, new_store, state

# --- one owner of each step of a change ------------------------------------------------------------------------------


@every_layout
def test_two_threads_that_record_one_step_at_once_go_on_owning_it(folder, layout, monkeypatch):
    store = new_store(folder, layout, FaultySyscalls())
    start = threading.Barrier(2)

    def put():
        start.wait()
        store.add_step_log(RUN, StepLog(name="x", internal_name="x", status="PROCESSING"))

    threads = [threading.Thread(target=put) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.add_step_log(RUN, StepLog(name="x", internal_name="x", status="SUCCESS"))
    assert state(folder, layout).steps["x"].status == "SUCCESS"


@every_layout
def test_of_records_that_are_put_at_once_the_log_shows_one_as_it_was_put(folder, layout):
    """An owner that looked whether others have changed its record is overtaken by one who does."""
    first = new_store(folder, layout, FaultySyscalls())
    second = layout(DirectoryBackend(f"{folder}/logs", lock_timeout=20))
    first.add_step_log(RUN, StepLog(name="x", internal_name="x"))
    ones = StepLog(name="x", internal_name="x", message="one", user_defined_metrics={"one": 1})
    others = StepLog(name="x", internal_name="x", message="other", user_defined_metrics={"other": 1})
    start = threading.Barrier(2)

    def put(store, record):
        start.wait()
        store.put_step_log(RUN, record)

    for _ in range(60):
        threads = [threading.Thread(target=put, args=each) for each in ((first, ones), (second, others))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state(folder, layout).steps["x"] in (ones, others)


@every_layout
@pytest.mark.parametrize("read", ["get_step_log", "get_run_log", "update_step_log", "iter_records", "another object"])
def test_an_owner_that_reads_its_record_and_adds_it_doubles_nothing(folder, layout, read):
    owner = new_store(folder, layout, FaultySyscalls())
    other = layout(DirectoryBackend(f"{folder}/logs"))
    owner.add_step_log(RUN, StepLog(name="x", internal_name="x", user_defined_metrics={"list": [1]}))
    reads = {
        "get_step_log": lambda: owner.get_step_log(RUN, "x"),
        "get_run_log": lambda: owner.get_run_log(RUN).steps["x"],
        "update_step_log": lambda: owner.update_step_log(RUN, "x", lambda _: None),
        "iter_records": lambda: next(found for found in owner.iter_records(RUN) if found.internal_name == "x"),
        "another object": lambda: other.get_step_log(RUN, "x"),
    }
    expected = [1]
    for turn in range(3):
        other.update_step_log(RUN, "x", lambda found, turn=turn: found.user_defined_metrics["list"].append(f"o{turn}"))
        found = reads[read]()
        expected.append(f"o{turn}")
        assert sorted(map(str, found.user_defined_metrics["list"])) == sorted(map(str, expected))
        for again in range(2):  # the same object, with more of its own
            found.user_defined_metrics["list"].append(f"own {turn} {again}")
            owner.add_step_log(RUN, found)
            expected.append(f"own {turn} {again}")
        shown = other.get_step_log(RUN, "x").user_defined_metrics["list"]
        assert sorted(map(str, shown)) == sorted(map(str, expected))


# --- locks -----------------------------------------------------------------------------------------------------------


def test_who_begins_a_journal_and_who_holds_the_lock_of_the_run_do_not_wait_for_each_other(folder):
    chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs").create_run_log(RUN)
    store = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs", container="journal", lock_timeout=20)
    store.create_run_log("other")
    began, others_done = threading.Event(), threading.Event()
    prepare = store._writer.prepare_journal
    store._writer.prepare_journal = lambda run_id: (began.set(), prepare(run_id))[1]
    told = []

    def add():
        try:
            store.add_step_log(RUN, StepLog(name="s", internal_name="s"))
        except ChunkstoreError as error:
            told.append(type(error).__name__)

    # Some records share a mutex, whatever run they are of; these two do not.
    stripe = store._stripes.of(RUN, *key_of(StepLog(name="s", internal_name="s")))
    records = [StepLog(name=name, internal_name=name) for name in map(str, range(100))]
    record = next(record for record in records if store._stripes.of("other", *key_of(record)) is not stripe)

    def add_to_another_run():
        store.add_step_log("other", record)
        others_done.set()

    adding, other = threading.Thread(target=add), threading.Thread(target=add_to_another_run)

    def condition():
        adding.start()
        assert began.wait(10)
        other.start()
        assert others_done.wait(10), "another run waits for the lock of this one"
        return True

    assert store.delete_run_if(RUN, condition)
    adding.join(10)
    other.join(10)
    assert told == ["RunLogNotFoundError"]


class Noting:
    """A lock that notes in `taken` when it is taken, under its place in the list of locks."""

    def __init__(self, place, taken):
        self.place, self.taken, self.lock = place, taken, threading.Lock()

    def acquire(self, **_):
        self.taken.append(self.place)
        assert self.lock.acquire(timeout=10), "a thread waits for itself"
        return True

    def __exit__(self, *_):
        self.lock.release()


def test_whoever_writes_several_records_takes_their_locks_in_one_order_and_each_once(folder):
    """Twenty branches lie in at most sixteen stripes, so some share one, whatever the seed of the hashes is."""
    store = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs")
    store.create_run_log(RUN)
    taken = []
    store._stripes.mutexes = [Noting(place, taken) for place in range(len(store._stripes.mutexes))]
    step = StepLog(name="m", internal_name="m", step_type="map")
    for number in range(20):
        name = f"m.{number}"
        step.branches[name] = BranchLog(internal_name=name)
    store.add_step_log(RUN, step)
    assert len(taken) > 1
    assert taken == sorted(set(taken))


@pytest.mark.parametrize("container", ["files", "journal"])
def test_threads_that_do_everything_to_a_few_runs_at_once_come_to_an_end(folder, container):
    store = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs", container=container, lock_timeout=20)
    errors = []

    def finish(run_id):
        store.update_run_log(run_id, lambda log: setattr(log, "status", "SUCCESS"))

    def work(number):
        calls = [
            store.create_run_log,
            lambda run_id: store.add_step_log(run_id, composite()),
            lambda run_id: store.put_step_log(run_id, StepLog(name="m", internal_name="m", message="put")),
            lambda run_id: store.append_metrics(run_id, "m", {"p": [chunkstore.MetricPoint(1, 1)]}),
            lambda run_id: store.update_step_log(run_id, "m", lambda found: setattr(found, "message", "u")),
            lambda run_id: store.set_parameters(run_id, {"a": 1}),
            finish,
            store.seal,
            store.unseal,
            store.delete_run,
        ]
        for turn in range(60):
            try:
                calls[(turn * 7 + number * 3) % len(calls)](f"run-{(turn + number) % 2}")
            except chunkstore.LockTimeoutError as error:
                errors.append(error)
            except ChunkstoreError:
                pass  # the run is gone, or there already, or has not finished

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []


def test_an_update_through_a_remembered_listing_keeps_what_others_changed_of_a_sealed_run(folder):
    a, b, other = (chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs") for _ in range(3))
    a.remember_listings(1_000_000)
    b.create_run_log(RUN)
    b.add_step_log(RUN, StepLog(name="s", internal_name="s"))

    def metric(name):
        return lambda found: found.user_defined_metrics.update({name: 1})

    a.get_step_log(RUN, "s")
    expected = {}
    for turn in range(3):
        for name, store in ((f"other-{turn}", other), (f"a-{turn}", a)):
            store.update_step_log(RUN, "s", metric(name))
            expected[name] = 1
            assert a.get_step_log(RUN, "s", full=False).user_defined_metrics == expected
        b.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
        b.seal(RUN)
        other.update_step_log(RUN, "s", metric(f"sealed-{turn}"))
        expected[f"sealed-{turn}"] = 1
        a.update_step_log(RUN, "s", metric(f"a sealed-{turn}"))
        expected[f"a sealed-{turn}"] = 1
    assert other.get_step_log(RUN, "s").user_defined_metrics == expected


@pytest.mark.parametrize("renames", [True, False], ids=["renames to new names", "none"])
def test_unsealing_without_hard_links_leaves_what_the_owner_has_just_written(folder, renames):
    """The owner writes its chunk anew just when unsealing gives that its name."""

    class NoLinks(FaultySyscalls):
        meddle = None

        def link(self, source, target, dir_fd):
            raise OSError(errno.EPERM, "no links here")

        def rename_new(self, source, target, dir_fd):
            if not renames:
                raise OSError(errno.EINVAL, "no such renames here")
            if self.meddle and target.startswith("StepLog"):
                meddle, self.meddle = self.meddle, None
                meddle()
            super().rename_new(source, target, dir_fd)

    owner = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs")
    owner.create_run_log(RUN)
    owner.add_step_log(RUN, StepLog(name="s", internal_name="s", message="sealed"))
    owner.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
    syscalls = NoLinks()
    store = ChunkedStore(DirectoryBackend(f"{folder}/logs", syscalls=syscalls))
    store.backend._folders.fresh(RUN)
    store.seal(RUN)
    if renames:
        syscalls.meddle = lambda: owner.add_step_log(RUN, StepLog(name="s", internal_name="s", message="owner's"))
    store.unseal(RUN)
    expected = "owner's" if renames else "sealed"
    assert owner.get_run_log(RUN, strict=True).steps["s"].message == expected

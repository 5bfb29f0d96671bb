"""A record with others inside it is there with all of them or not at all; what was not acknowledged leaves nothing."""

import errno
import itertools
import os
import shutil
import tempfile
import threading

import pytest
from processes import Forked

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import ChunkstoreError
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.faults import ALL_CALLS, FaultySyscalls, KillingSyscalls

RUN = "run"
LAYOUTS = {
    "files": ChunkedStore,
    "journal": lambda backend: ChunkedStore(backend, StoreOptions(container="journal")),
    "document": DocumentStore,
}
_layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))


def inner(name):
    return StepLog(name="in", internal_name=f"{name}.in", status="SUCCESS")


def branch(name, **fields):
    steps = {f"{name}.in": inner(name)}
    return BranchLog(internal_name=name, status="SUCCESS", steps=steps, parameters={"name": name}, **fields)


def composite(**fields):
    branches = {f"m.{number}": branch(f"m.{number}") for number in range(3)}
    return StepLog(name="m", internal_name="m", status="SUCCESS", branches=branches, **fields)


RECORDS = {
    "step": lambda store: store.add_step_log(RUN, composite()),
    "branch": lambda store: store.add_branch_log(RUN, branch("s.b")),
}


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield path
    shutil.rmtree(path)


def new_store(top, layout, syscalls):
    store = layout(DirectoryBackend(f"{top}/logs", syscalls=syscalls))
    store.create_run_log(RUN)
    store.add_step_log(RUN, StepLog(name="s", internal_name="s"))
    return store


def state(top, layout):
    log = layout(DirectoryBackend(f"{top}/logs")).get_run_log(RUN)
    log.run_config = {}
    return log


@_layouts
@pytest.mark.parametrize("add", RECORDS.values(), ids=list(RECORDS))
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_write_of_several_records_that_fails_anywhere_leaves_none_of_them(folder, layout, add, late, code):
    before, after = states_of(folder, layout, add)
    for number in itertools.count(1):
        top = f"{folder}/{number}"
        syscalls = FaultySyscalls(code, late=late)
        store = new_store(top, layout, syscalls)
        syscalls.counted, syscalls._at = 0, number
        try:
            add(store)
            failed = False
        except ChunkstoreError:
            failed = True
        if not syscalls.failed:
            break
        found = state(top, layout)
        # An error may come when all is done; else nothing of it is to be seen, as an orphan neither.
        assert found.to_json() in ({before, after} if failed else {after}), syscalls.failed
        syscalls.heal()
        add(store)
        assert state(top, layout).to_json() == after
    assert number > 10


def states_of(folder, layout, add):
    store = new_store(f"{folder}/expected", layout, FaultySyscalls())
    before = state(f"{folder}/expected", layout).to_json()
    add(store)
    return before, state(f"{folder}/expected", layout).to_json()


@_layouts
@pytest.mark.parametrize("add", RECORDS.values(), ids=list(RECORDS))
def test_of_several_records_whose_writer_is_killed_anywhere_the_log_shows_all_or_none(folder, layout, add):
    before, after = states_of(folder, layout, add)
    steps = [chunkstore.RunLog.from_json(text).to_dict()["steps"] for text in (before, after)]
    for number in itertools.count(1):
        top = f"{folder}/{number}"
        new_store(top, layout, FaultySyscalls())

        def work(say, top=top, number=number):
            syscalls = KillingSyscalls(only=ALL_CALLS)
            store = layout(DirectoryBackend(f"{top}/logs", syscalls=syscalls))
            syscalls.counted, syscalls._at = 0, number
            add(store)
            say("done")

        with Forked(work) as child:
            is_done = child.wait_for_line() == "done"
        log = state(top, layout)
        assert log.to_dict()["steps"] in ([steps[1]] if is_done else steps)
        if layout is not LAYOUTS["journal"]:
            assert log.problems == []  # what was not to be is none
        if is_done:
            break
    assert number > 10


@_layouts
def test_a_reader_beside_the_writer_sees_all_of_a_record_or_nothing(folder, layout):
    store = new_store(f"{folder}/a", layout, FaultySyscalls())
    other = layout(DirectoryBackend(f"{folder}/a/logs"))
    has_ended = threading.Event()
    parts = []

    def read():
        while not has_ended.is_set():
            for name, found in other.get_run_log(RUN).steps.items():
                if name.startswith("m") and len(found.branches) != 3:
                    parts.append((name, list(found.branches)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60):
            branches = {f"m{number}.{each}": branch(f"m{number}.{each}") for each in range(3)}
            store.add_step_log(RUN, StepLog(name=f"m{number}", internal_name=f"m{number}", branches=branches))
    finally:
        has_ended.set()
        reader.join()
    assert parts == []


@_layouts
def test_parameters_that_others_set_meanwhile_are_not_taken_back(folder, layout):
    syscalls = FaultySyscalls(errno.ENOSPC)
    store = new_store(f"{folder}/a", layout, syscalls)
    other = layout(DirectoryBackend(f"{folder}/a/logs"))
    store.add_branch_log(RUN, BranchLog(internal_name="s.b", parameters={"old": 1, "name": "first"}))
    syscalls.counted, syscalls._at, syscalls._persistent = 0, 1, True
    syscalls._only = frozenset({"link_unnamed", "write"}) if layout is not DocumentStore else syscalls._only
    with pytest.raises(ChunkstoreError):
        store.add_branch_log(RUN, branch("s.b"))
    syscalls.heal()
    assert other.get_parameters(RUN, "s.b") == {"old": 1, "name": "first"}
    other.set_parameters(RUN, {"new": 2}, "s.b")
    store.add_branch_log(RUN, branch("s.b"))
    assert other.get_parameters(RUN, "s.b") == {"old": 1, "new": 2, "name": "s.b"}


# --- one owner of each step of a change ------------------------------------------------------------------------------


@_layouts
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


@_layouts
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


@_layouts
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
    chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs").create_run_log(RUN, status="SUCCESS")
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

    def add_to_another_run():
        store.add_step_log("other", StepLog(name="s", internal_name="s"))
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
    """A lock that notes in `taken` when it is entered, under its place in the list of locks."""

    def __init__(self, place, taken):
        self.place, self.taken, self.lock = place, taken, threading.Lock()

    def __enter__(self):
        self.taken.append(self.place)
        assert self.lock.acquire(timeout=10), "a thread waits for itself"

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


# --- done again after an error ---------------------------------------------------------------------------------------


def count(found):
    found.user_defined_metrics["n"] = found.user_defined_metrics.get("n", 0) + 1


def append(store, value):
    store.append_metrics(RUN, "s", {"m": [chunkstore.MetricPoint(value, value)]})


NOT_IDEMPOTENT = {
    "first points": (lambda store: None, lambda store: append(store, 7)),
    "further points": (lambda store: append(store, 1), lambda store: append(store, 7)),
    "a first count": (lambda store: None, lambda store: store.update_step_log(RUN, "s", count)),
    "another count": (
        lambda store: store.update_step_log(RUN, "s", count),
        lambda store: store.update_step_log(RUN, "s", count),
    ),
}


@_layouts
@pytest.mark.parametrize("what", NOT_IDEMPOTENT)
@pytest.mark.parametrize("level", ["process", "step", "ended"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_what_is_done_again_after_an_error_is_done_once(folder, layout, what, level, late):
    """Each call fails in its turn; whoever hears of an error finds nothing done, and may try again."""
    prepare, change = NOT_IDEMPOTENT[what]
    states = []
    for number in itertools.count(0):
        top = f"{folder}/{number}"
        syscalls = FaultySyscalls(errno.EIO, late=late)
        durability = "run" if level == "ended" else level
        store = layout(DirectoryBackend(f"{top}/logs", syscalls=syscalls, durability=durability))
        store.create_run_log(RUN)
        store.add_step_log(RUN, StepLog(name="s", internal_name="s"))
        prepare(store)
        if level == "ended":
            layout(DirectoryBackend(f"{top}/logs")).update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
        if not number:
            states.append(state(top, layout).steps["s"])
            change(store)
            states.append(state(top, layout).steps["s"])
            continue
        syscalls.counted, syscalls._at = 0, number
        try:
            change(store)
        except ChunkstoreError:
            if {call.name for call in syscalls.failed} != {"truncate"}:
                assert state(top, layout).steps["s"] == states[0], syscalls.failed
            syscalls.heal()
            change(store)
        if not syscalls.failed:
            break
        assert state(top, layout).steps["s"] == states[1], syscalls.failed
    assert number > 2


@pytest.mark.parametrize("way", ["link_unnamed", "link", "rename_new", "rename"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_file_whose_name_could_not_be_given_does_not_have_it(folder, monkeypatch, way, late):
    syscalls = FaultySyscalls(errno.EIO, late=late, only=(way,))
    backend = DirectoryBackend(folder, syscalls=syscalls)
    backend.create_folder(RUN, {"first": b"1"})
    handle = backend._folders.cached(RUN)
    monkeypatch.setattr(handle, "has_unnamed_files", way == "link_unnamed")
    monkeypatch.setattr(handle, "has_hard_links", way in {"link_unnamed", "link"})
    monkeypatch.setattr(handle, "has_exclusive_renames", way != "rename")
    syscalls.counted, syscalls._at = 0, 1
    with pytest.raises(chunkstore.StoreIOError):
        backend.publish(RUN, "new", b"2")
    assert [call.name for call in syscalls.failed] == [way]
    assert os.listdir(f"{folder}/{RUN}") == ["first"]
    backend.publish(RUN, "new", b"3")
    backend.publish_all(RUN, [("another", b"4")])
    assert sorted(os.listdir(f"{folder}/{RUN}")) == ["another", "first", "new"]


def test_a_put_of_a_record_that_another_thread_makes_just_now_is_no_mixture(folder):
    for container in ("files", "journal"):
        one = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/{container}", container=container)
        other = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/{container}", container=container)
        one.create_run_log(RUN)

        def metrics(p, q):
            return StepLog(name="x", internal_name="x", user_defined_metrics={"p": p, "q": q})

        look, looked = one._finder.whose, []

        def slow(*arguments, look=look, looked=looked, one=one, other=other, **options):
            found = look(*arguments, **options)
            if not looked:
                looked.append(found)
                other.put_step_log(RUN, metrics(1, 1))
                other.put_step_log(RUN, metrics(1, 2))
            return found

        one._finder.whose = slow
        one.put_step_log(RUN, metrics(3, 3))
        other.put_step_log(RUN, metrics(4, 4))
        one.put_step_log(RUN, metrics(5, 5))
        assert other.get_step_log(RUN, "x").user_defined_metrics == {"p": 5, "q": 5}


def test_a_put_waits_for_another_that_has_looked_whose_the_record_is(folder):
    one, other = (chunkstore.open_store("chunked-fs", log_folder=folder) for _ in range(2))
    one.create_run_log(RUN)
    one.put_step_log(RUN, StepLog(name="x", internal_name="x", user_defined_metrics={"first": 1}))
    look = one._finder.whose

    def record(name):
        return StepLog(name="x", internal_name="x", user_defined_metrics={name: 1})

    def slow(*arguments, **options):
        found = look(*arguments, **options)
        putting.start()
        putting.join(0.3)
        return found

    putting = threading.Thread(target=other.put_step_log, args=(RUN, record("other's")))
    one._finder.whose = slow
    one.put_step_log(RUN, record("one's"))
    putting.join()
    assert other.get_step_log(RUN, "x").user_defined_metrics == {"other's": 1}


def test_a_journal_that_is_closed_while_its_run_is_locked_keeps_nobody_waiting(folder):
    store = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs", container="journal", lock_timeout=20)
    store.create_run_log(RUN)
    store.put_step_log(RUN, StepLog(name="x", internal_name="x"))
    replace, begun = store._records.replace_own, threading.Event()

    def slow(*arguments):
        begun.set()
        closing.start()
        adding.start()
        closing.join(0.2)
        replace(*arguments)

    closing = threading.Thread(target=store._journals.close, args=(RUN,))
    adding = threading.Thread(target=store.add_step_log, args=(RUN, StepLog(name="y", internal_name="y")))
    store._records.replace_own = slow
    store.put_step_log(RUN, StepLog(name="x", internal_name="x", message="put"))
    closing.join(5)
    adding.join(5)
    assert not closing.is_alive()
    assert not adding.is_alive()
    assert sorted(store.get_run_log(RUN, strict=True).steps) == ["x", "y"]


def test_a_full_disk_leaves_a_record_that_was_there_before_as_it_was(folder):
    for number in itertools.count(1):
        syscalls = FaultySyscalls(errno.ENOSPC, only=("create", "write"))
        store = ChunkedStore(DirectoryBackend(f"{folder}/{number}/logs", syscalls=syscalls))
        store.create_run_log(RUN)
        branches = {f"m.{each}": BranchLog(internal_name=f"m.{each}") for each in range(3)}
        store.add_step_log(RUN, StepLog(name="m", internal_name="m", branches=branches))
        before = state(f"{folder}/{number}", ChunkedStore).to_json()
        for each in branches.values():
            each.status = "SUCCESS"
        syscalls.counted, syscalls._at, syscalls._persistent = 0, number, True
        done = StepLog(name="m", internal_name="m", status="SUCCESS", branches=branches)
        try:
            store.add_step_log(RUN, done)
        except ChunkstoreError:
            assert state(f"{folder}/{number}", ChunkedStore).to_json() == before
        if not syscalls.failed:
            break
    assert number > 4

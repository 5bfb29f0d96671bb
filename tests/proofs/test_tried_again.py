"""What was not acknowledged leaves nothing, so that it can be done again, also by several at once."""

import errno
import itertools
import os
import threading

import pytest
from every import every_layout

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import ChunkstoreError
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import FaultySyscalls
from proofs.composites import RUN, state


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


@every_layout
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

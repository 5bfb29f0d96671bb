"""Journals of runs that are sealed, finished, deleted, or lose a file by somebody's hand."""

import itertools
import os

import pytest
from filelock import lock_descriptor
from recorded import step

import chunkstore
from chunkstore import BranchLog, StepLog
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.memory import MemoryBackend
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import FaultySyscalls
from stores.journals.journaled_runs import RUN, add_point, faulty, finish, opened, points


def test_what_an_owner_writes_after_somebody_has_sealed_or_unsealed_the_run_counts_in_order(store, logs, journals):
    other = opened(logs)
    finish(store)
    for turn in range(8):
        store.add_step_log(RUN, step("a", message=f"{turn}"))
        add_point(store, 2 * turn)
        (other.seal, other.unseal)[turn % 2](RUN)
        assert other.get_step_log(RUN, "a").message == f"{turn}"
        store.add_step_log(RUN, step("a", message=f"{turn} again"))
        add_point(store, 2 * turn + 1)
        for reader in (store, other):
            assert reader.get_step_log(RUN, "a").message == f"{turn} again"
            assert points(reader) == list(range(2 * turn + 2))
            assert list(reader.get_run_log(RUN, strict=True).steps) == ["a"]
    other.seal(RUN)
    assert not journals()
    assert points(store) == list(range(16))
    store.unseal(RUN)
    assert points(store) == list(range(16))


def test_metrics_are_there_once_whatever_they_are_packed_in(store, logs):
    plain = chunkstore.open_store("chunked-fs", log_folder=logs)
    store.add_step_log(RUN, step("a"))
    finish(store)
    writers = [store, plain, opened(logs)]
    numbers = itertools.count()
    expected = []
    for turn in range(6):
        for writer in writers:
            number = next(numbers)
            add_point(writer, number)
            expected.append(number)
        (plain.seal if turn % 3 else plain.unseal)(RUN)
        assert sorted(points(store)) == expected
        found = next(iter(store.iter_records(RUN))).metric_series["m"]
        assert sorted(point.step for point in found) == expected


def test_a_line_written_while_the_run_is_sealed_is_in_the_sealed_file_or_goes_to_a_new_journal(store, logs, journals):
    """Whoever seals has read the journal when one more line comes: it is not removed then."""
    store.add_step_log(RUN, step("a"))
    finish(store)
    store.add_step_log(RUN, step("b"))  # begins a journal, as the last was closed
    late = []

    class Late(FaultySyscalls):
        def open(self, path, flags, dir_fd=None):
            # Packed, and about to be removed.
            if flags & os.O_APPEND and path.startswith("Journal-") and not late:
                late.append(path)
                store.add_step_log(RUN, step("late"))
            return super().open(path, flags, dir_fd)

    sealing = ChunkedStore(DirectoryBackend(logs, syscalls=Late()))
    sealing.seal(RUN)
    assert late
    assert list(store.get_run_log(RUN, strict=True).steps) == ["a", "b", "late"]
    sealing.seal(RUN)
    assert not journals()
    assert list(store.get_run_log(RUN, strict=True).steps) == ["a", "b", "late"]


def test_a_run_that_was_deleted_and_made_anew_has_nothing_of_the_old_one(store, logs, journals):
    other = opened(logs)
    for each in (store, other):
        each.add_step_log(RUN, step("old"))
    store.delete_run(RUN)
    with pytest.raises(RunLogNotFoundError):
        store.add_step_log(RUN, step("old"))
    with pytest.raises(RunLogNotFoundError):
        other.add_step_log(RUN, step("old"))
    store.create_run_log(RUN)
    assert not journals()
    for each in (other, store):
        each.add_step_log(RUN, step("new", message="x"))
    log = store.get_run_log(RUN, strict=True)
    assert list(log.steps) == ["new"]
    assert len(journals()) == 2


def test_a_journal_that_somebody_removed_by_hand_takes_its_lines_along_and_nothing_else(store, logs, journals):
    store.add_step_log(RUN, step("gone"))
    for name in journals():
        (logs / RUN / name).unlink()
    store.add_step_log(RUN, step("new"))
    store.add_step_log(RUN, step("gone", message="again"))
    log = store.get_run_log(RUN, strict=True)
    assert {name: found.message for name, found in log.steps.items()} == {"new": "", "gone": "again"}


def test_what_a_finished_run_gets_later_is_durable_at_once_at_level_run(logs):
    store, syscalls = faulty(logs, "run")
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    assert not syscalls.counts["fdatasync"] + syscalls.counts["fsync"]
    finish(store)
    for operation in (lambda: store.add_step_log(RUN, step("late")), lambda: store.add_step_log(RUN, step("late"))):
        syscalls.clear()
        operation()
        assert syscalls.counts["fdatasync"] + syscalls.counts["fsync"] >= 1
        syscalls.counted, syscalls._at, syscalls._only = 0, 1, {"fsync", "fdatasync"}
        with pytest.raises(ChunkstoreError):
            operation()
        syscalls.heal()


def test_journals_work_on_any_backend():
    store = ChunkedStore(MemoryBackend(), StoreOptions(container="journal"))
    store.create_run_log(RUN)
    for turn in range(3):
        store.add_step_log(RUN, step("a", message=str(turn)))
        add_point(store, turn)
    finish(store)
    for change in (store.seal, store.unseal, store.seal):
        change(RUN)
        assert store.get_step_log(RUN, "a").message == "2"
        assert points(store) == [0, 1, 2]
    assert [name for name in store.backend._folders[RUN] if name.startswith("Sealed-")]


def test_a_journal_that_is_being_removed_is_not_written_to(store, logs, journals):
    store.add_step_log(RUN, step("a"))
    (first,) = journals()
    fd = os.open(logs / RUN / first, os.O_RDONLY)
    assert lock_descriptor(fd, blocking=False)
    store.add_step_log(RUN, step("b"))
    os.unlink(logs / RUN / first)  # it had been packed, and nothing was added since
    os.close(fd)
    assert list(store.get_run_log(RUN).steps) == ["b"]


@pytest.mark.parametrize("change", ["seal", "unseal"])
def test_what_has_something_inside_and_is_recorded_again_after_that_counts(store, logs, journals, change):
    def put(version):
        inner = StepLog(name="x", internal_name="m.a.x", message=version)
        store.add_branch_log(RUN, BranchLog(internal_name="m.a", item=version, steps={"m.a.x": inner}))

    store.add_step_log(RUN, step("m"))
    put("first")
    sealer = opened(logs)
    finish(sealer)
    sealer.seal(RUN)
    if change == "unseal":
        sealer.unseal(RUN)
    put("second")
    put("third")
    for _ in range(2):
        branch = opened(logs).get_branch_log(RUN, "m.a")
        assert (branch.item, branch.steps["m.a.x"].message) == ("third", "third")
        sealer.unseal(RUN)

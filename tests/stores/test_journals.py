"""Chunks as lines of a journal: one file per writer, in which each line is a write that was acknowledged."""

import errno
import gc
import itertools
import json
import os
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from filelock import lock_descriptor
from processes import fork_and_wait

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.memory import MemoryBackend
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError, StoreFullError, StoreIOError
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import PACKED_FORMAT, StepLog
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.reading.run_files import RunFiles
from chunkstore.testing.faults import FaultySyscalls

RUN = "run"


def step(name, **fields):
    return StepLog(name=name, internal_name=name, **fields)


def points(store, name="a"):
    series = store.get_run_log(RUN, strict=True).steps[name].metric_series or {}
    return [point.step for point in series.get("m", [])]


def count(found):
    found.user_defined_metrics["n"] = found.user_defined_metrics.get("n", 0) + 1


def add_point(store, number, name="a"):
    store.append_metrics(RUN, name, {"m": [MetricPoint(number, number)]})


def finish(store):
    store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))


def opened(logs, **options):
    return chunkstore.open_store("chunked-fs", log_folder=logs, container="journal", **options)


def faulty(logs, durability="process", **options):
    syscalls = FaultySyscalls(**options)
    backend = DirectoryBackend(logs, durability=durability, syscalls=syscalls)
    return ChunkedStore(backend, StoreOptions(container="journal")), syscalls


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


@pytest.fixture
def store(logs):
    store = opened(logs)
    store.create_run_log(RUN)
    return store


@pytest.fixture
def journals(logs):
    """Return what every journal of the run holds, by its name, in the order in which they were begun."""

    def read():
        names = [name for name in os.listdir(logs / RUN) if name.startswith("Journal-")]
        names.sort(key=lambda name: int(name[: -len(".jsonl")].rpartition("-")[2]))
        return {name: (logs / RUN / name).read_bytes() for name in names}

    return read


def files_in(data):
    return [json.loads(line)["file"].partition("-")[0] for line in data.splitlines()]


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_all_that_one_process_adds_is_in_one_file_and_each_line_is_json(store, logs, journals):
    for number in range(3):
        store.add_step_log(RUN, step(f"s{number}"))
    store.add_step_log(RUN, step("s1", message="again"))
    add_point(store, 1, "s1")
    add_point(store, 2, "s1")
    ((name, data),) = journals().items()
    assert name.startswith(f"Journal-{os.getpid()}-")
    assert files_in(data) == ["StepLog"] * 4 + ["Metric"] * 2
    assert sorted(os.listdir(logs / RUN)) == sorted([name, "RunLog.json"])
    log = store.get_run_log(RUN, strict=True)
    assert [(found.name, found.message) for found in log.steps.values()] == [("s0", ""), ("s1", "again"), ("s2", "")]
    assert log.notes["format"] == PACKED_FORMAT


def test_an_owner_that_records_a_step_again_keeps_its_place_and_the_last_line_counts(store, logs):
    names = ["a", "b", "c"]
    for turn in range(4):
        for name in names:
            store.add_step_log(RUN, step(name, message=str(turn)))
        for reader in (store, opened(logs)):
            log = reader.get_run_log(RUN, strict=True)
            assert list(log.steps) == names
            assert {found.message for found in log.steps.values()} == {str(turn)}
            assert reader.get_step_log(RUN, "b").message == str(turn)


def test_a_run_of_plain_files_can_be_joined_and_says_then_that_chunks_are_packed(logs, journals):
    plain = chunkstore.open_store("chunked-fs", log_folder=logs)
    plain.create_run_log(RUN)
    plain.add_step_log(RUN, step("plain"))
    joining = opened(logs)
    assert joining.get_step_log(RUN, "plain").name == "plain"
    assert plain.get_run_log(RUN).notes["format"] == 1
    joining.add_step_log(RUN, step("joined"))
    assert plain.get_run_log(RUN).notes["format"] == PACKED_FORMAT
    assert len(journals()) == 1
    plain.add_step_log(RUN, step("plain", message="again"))
    plain.update_step_log(RUN, "joined", lambda found: setattr(found, "message", "by another"))
    joining.update_step_log(RUN, "plain", lambda found: found.user_defined_metrics.update(n=1))
    for reader in (plain, joining, opened(logs)):
        log = reader.get_run_log(RUN, strict=True)
        assert [(found.name, found.message) for found in log.steps.values()] == [
            ("plain", "again"),
            ("joined", "by another"),
        ]
        assert log.steps["plain"].user_defined_metrics == {"n": 1}


@pytest.mark.parametrize("sealed", [False, True])
def test_both_containers_in_one_run_are_one_run(logs, sealed):
    stores = [opened(logs), chunkstore.open_store("chunked-fs", log_folder=logs), opened(logs)]
    stores[0].create_run_log(RUN, parameters={"a": 0})
    for turn in range(3):
        for number, each in enumerate(stores):
            each.add_step_log(RUN, step(f"s{number}", message=str(turn)))
            add_point(each, turn, f"s{number}")
            stores[number - 1].update_step_log(RUN, f"s{number}", count)
            each.set_parameters(RUN, {"a": turn})
        if sealed:
            finish(stores[0])
            stores[turn].seal(RUN)
    log = opened(logs).get_run_log(RUN, strict=True)
    assert [found.message for found in log.steps.values()] == ["2", "2", "2"]
    assert [found.user_defined_metrics for found in log.steps.values()] == [{"n": 3}] * 3
    assert [points(stores[0], name) for name in log.steps] == [[0, 1, 2]] * 3
    assert log.parameters == {"a": 2}


# --- torn and damaged ------------------------------------------------------------------------------------------------


def test_a_last_line_cut_off_anywhere_is_a_write_that_nobody_acknowledged(store, logs, journals):
    store.add_step_log(RUN, step("a"))
    add_point(store, 1)
    expected = repr(store.get_run_log(RUN, strict=True).steps)
    ((name, before),) = journals().items()
    store.add_step_log(RUN, step("a", message="newer"))
    ((_, after),) = journals().items()
    for length in range(len(before), len(after) - 1):
        (logs / RUN / name).write_bytes(after[:length])
        assert repr(opened(logs).get_run_log(RUN, strict=True).steps) == expected, length
        assert opened(logs).get_step_log(RUN, "a").message == ""
    (logs / RUN / name).write_bytes(after[:-1])  # whole but for its line break
    assert opened(logs).get_run_log(RUN, strict=True).steps["a"].message in {"", "newer"}
    (logs / RUN / name).write_bytes(after)
    assert opened(logs).get_step_log(RUN, "a").message == "newer"


def test_a_journal_whose_last_line_was_cut_off_is_sealed_without_it(store, logs, journals):
    store.add_step_log(RUN, step("a"))
    store.add_step_log(RUN, step("b"))
    ((name, data),) = journals().items()
    (logs / RUN / name).write_bytes(data[:-40])
    other = opened(logs)
    finish(other)
    expected = repr(other.get_run_log(RUN, strict=True).steps)
    other.seal(RUN)
    assert not journals()
    assert repr(other.get_run_log(RUN, strict=True).steps) == expected
    assert list(other.get_run_log(RUN).steps) == ["a"]


def test_damage_anywhere_else_is_reported_and_all_other_lines_are_read(store, logs, journals):
    names = ["a", "b", "c"]
    for name in names:
        store.add_step_log(RUN, step(name))
    whole = {name: repr(found) for name, found in store.get_run_log(RUN).steps.items()}
    ((file, data),) = journals().items()
    end = data.rindex(b"\n", 0, -1) + 1
    for place, bit in itertools.product(range(end), (0, 4, 6)):
        damaged = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        (logs / RUN / file).write_bytes(damaged)
        log = store.get_run_log(RUN)
        found = {name: repr(found) for name, found in log.steps.items()}
        assert not {name for name in found if found[name] != whole[name]}, (place, bit)
        assert len(found) >= 2, (place, bit)
        assert found == whole or {problem.file for problem in log.problems} == {file}, (place, bit)


def test_a_damaged_journal_is_not_removed_by_sealing_and_what_is_sound_in_it_is_not_lost(store, logs, journals):
    for name in ("a", "b", "c"):
        store.add_step_log(RUN, step(name))
    add_point(store, 1)
    ((file, data),) = journals().items()
    damaged = data.replace(b'"name":"b"', b'"name":"x"')
    assert damaged != data
    (logs / RUN / file).write_bytes(damaged)
    other = opened(logs)
    finish(other)
    other.add_step_log(RUN, step("d"))
    for change in (other.seal, other.seal, other.unseal, other.seal):
        change(RUN)
        assert journals()[file] == damaged
        log = other.get_run_log(RUN)
        assert sorted(log.steps) == ["a", "c", "d"]
        assert {problem.file for problem in log.problems} == {file}
        assert [point.step for point in log.steps["a"].metric_series["m"]] == [1]
    (logs / RUN / file).write_bytes(data)
    other.seal(RUN)
    assert not journals()
    assert sorted(other.get_run_log(RUN, strict=True).steps) == ["a", "b", "c", "d"]
    assert points(other) == [1]


# --- writes that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_write_that_fails_leaves_the_old_state_and_the_next_one_goes_to_a_new_journal(logs, journals, late, code):
    store, syscalls = faulty(logs, code=code, late=late, only=("write",))
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a", message="old"))
    (before,) = journals().values()
    for operation in (
        lambda: store.add_step_log(RUN, step("a", message="new")),
        lambda: store.add_step_log(RUN, step("b")),
        lambda: add_point(store, 1),
    ):
        syscalls.counted, syscalls._at = 0, 1
        with pytest.raises(StoreFullError if code == errno.ENOSPC else StoreIOError):
            operation()
        syscalls.heal()
        log = opened(logs).get_run_log(RUN, strict=True)
        assert list(log.steps) == ["a"]
        assert (log.steps["a"].message, log.steps["a"].metric_series or {}) == ("old", {})
        assert before in journals().values()
    store.add_step_log(RUN, step("a", message="new"))
    assert opened(logs).get_step_log(RUN, "a").message == "new"
    assert len(journals()) > 1 or len([name for name in os.listdir(logs / RUN) if name.startswith("StepLog")]) == 1
    assert before in journals().values()  # nothing was added to it any more


def test_a_write_of_which_only_a_part_is_taken_is_taken_back(logs, journals):
    class Half(FaultySyscalls):
        is_full = False

        def write(self, fd, data):
            if not self.is_full:
                return super().write(fd, data)
            if len(data) < 100:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(fd, memoryview(data)[:-90])

    syscalls = Half()
    store = ChunkedStore(DirectoryBackend(logs, syscalls=syscalls), StoreOptions(container="journal"))
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    before = journals()
    syscalls.is_full = True
    with pytest.raises(StoreFullError):
        store.add_step_log(RUN, step("b"))
    assert journals() == before
    syscalls.is_full = False
    store.add_step_log(RUN, step("b"))
    first, second = journals().values()
    assert first in before.values()
    assert files_in(second) == ["StepLog"]
    assert list(store.get_run_log(RUN, strict=True).steps) == ["a", "b"]


def test_a_write_that_cannot_be_taken_back_is_whole_or_no_line_and_the_last_of_its_file(logs, journals):
    store, syscalls = faulty(logs, "step", only=("fdatasync", "truncate"))
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    syscalls._persistent, syscalls._at, syscalls.counted = True, 1, 0
    with pytest.raises(StoreIOError):
        store.add_step_log(RUN, step("b"))
    assert [call.name for call in syscalls.failed] == ["fdatasync", "truncate"]
    syscalls.heal()
    store.add_step_log(RUN, step("c"))
    assert [len(data.splitlines()) for data in journals().values()] == [2, 1]
    assert list(store.get_run_log(RUN, strict=True).steps) in (["a", "c"], ["a", "b", "c"])


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_line_that_could_not_be_synced_is_not_acknowledged_and_not_seen_afterwards(logs, journals, late):
    store, syscalls = faulty(logs, "step", only=("fdatasync",), late=late)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a", message="old"))
    before = journals()
    syscalls.counted, syscalls._at = 0, 1
    with pytest.raises(StoreIOError):
        store.add_step_log(RUN, step("b"))
    syscalls.heal()
    assert journals() == before
    assert list(opened(logs).get_run_log(RUN, strict=True).steps) == ["a"]
    store.add_step_log(RUN, step("b"))
    assert len(journals()) == 2
    assert list(opened(logs).get_run_log(RUN, strict=True).steps) == ["a", "b"]


def test_every_line_is_synced_at_level_step_and_the_name_of_the_journal_once(logs):
    store, syscalls = faulty(logs, "step")
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("first"))
    syscalls.clear()
    for number in range(5):
        store.add_step_log(RUN, step(f"s{number}"))
    assert syscalls.counts["fdatasync"] == 5
    assert syscalls.counts["fsync"] == 0


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_forked_child_begins_a_journal_of_its_own(store, journals):
    store.add_step_log(RUN, step("parent"))
    before = journals()

    def work():
        store.add_step_log(RUN, step("child"))
        store.add_step_log(RUN, step("parent", message="by the child"))

    assert fork_and_wait(work)
    after = journals()
    assert before.items() <= after.items()
    assert len(after) == 2
    store.add_step_log(RUN, step("parent", message="by its former owner"))
    store.add_step_log(RUN, step("later"))
    first, second = journals().values()
    assert (len(files_in(first)), len(files_in(second))) == (3, 2)
    log = store.get_run_log(RUN, strict=True)
    assert sorted(log.steps) == ["child", "later", "parent"]
    assert log.steps["parent"].message == "by the child"


def test_a_store_that_is_sent_begins_a_journal_of_its_own(store, journals):
    store.add_step_log(RUN, step("sender"))
    before = journals()
    received = pickle.loads(pickle.dumps(store))
    received.add_step_log(RUN, step("receiver"))
    store.add_step_log(RUN, step("sender", message="again"))
    first, second = journals().values()
    assert first.startswith(next(iter(before.values())))
    assert (files_in(first), files_in(second)) == (["StepLog"] * 2, ["StepLog"])
    assert list(received.get_run_log(RUN, strict=True).steps) == ["sender", "receiver"]


def test_nothing_is_ever_added_to_a_journal_of_a_process_that_has_ended(store, logs, journals):
    assert fork_and_wait(lambda: store.add_step_log(RUN, step("dead")))
    ((name, data),) = journals().items()
    (logs / RUN / name).write_bytes(data[:-10])  # as if it had been killed
    for _ in range(3):
        later = opened(logs)
        later.add_step_log(RUN, step("dead", message="anew"))
        add_point(later, 1, "dead")
        later.close()
        later.add_step_log(RUN, step("after it was closed"))
    assert journals()[name] == data[:-10]
    assert store.get_run_log(RUN, strict=True).steps["dead"].message == "anew"


def test_of_a_process_of_the_same_number_elsewhere_nothing_is_touched(store, logs, journals, monkeypatch):
    monkeypatch.setattr("chunkstore.stores.packed.journals.os.getpid", lambda: 1)
    others = [opened(logs) for _ in range(3)]
    for number, other in enumerate(others):
        other.add_step_log(RUN, step(f"s{number}"))
    assert len(journals()) == 3
    assert all(name.startswith("Journal-1-") for name in journals())
    assert len(store.get_run_log(RUN, strict=True).steps) == 3


def test_descriptors_stay_few_however_many_runs_there_are(logs):
    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    store = opened(logs, durability="process")
    before = descriptors()
    for turn in range(2):
        for number in range(200):
            run_id = f"run-{number}"
            if not turn:
                store.create_run_log(run_id)
            store.add_step_log(run_id, step("s", message=str(turn)))
    assert descriptors() - before < 200
    for number in range(200):
        log = store.get_run_log(f"run-{number}", strict=True)
        assert [found.message for found in log.steps.values()] == ["1"]
    store.close()
    assert descriptors() <= before
    for number in range(3):
        store.add_step_log("run-0", step(f"after {number}"))
        finished = f"run-{number}"
        store.update_run_log(finished, lambda log: setattr(log, "status", "SUCCESS"))
    assert len(store.get_run_log("run-0", strict=True).steps) == 4


# --- sealing, deleting -----------------------------------------------------------------------------------------------


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


def test_a_journal_that_cannot_be_closed_fails_no_call(logs, monkeypatch):
    store, syscalls = faulty(logs, code=errno.EIO, only=("close",))
    monkeypatch.setattr("chunkstore.stores.packed.journals._MOST_OPEN", 1)
    for run_id in (RUN, "other"):
        store.create_run_log(run_id)
        syscalls._persistent, syscalls._at, syscalls.counted = False, 0, 0
    original, closed = syscalls.close, []

    def close(fd):
        name = os.readlink(f"/proc/self/fd/{fd}")
        original(fd)
        if "Journal-" in name:
            closed.append(name)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(syscalls, "close", close)
    for run_id in (RUN, "other", RUN, "other"):
        store.add_step_log(run_id, step("a"))
    add_point(store, 1)
    finish(store)
    store.delete_run("other")
    store.close()
    assert len(closed) >= 3
    assert points(opened(logs)) == [1]
    assert list(opened(logs).get_run_log(RUN, strict=True).steps) == ["a"]


def test_a_journal_that_is_being_removed_is_not_written_to(store, logs, journals):
    store.add_step_log(RUN, step("a"))
    (first,) = journals()
    fd = os.open(logs / RUN / first, os.O_RDONLY)
    assert lock_descriptor(fd, blocking=False)
    store.add_step_log(RUN, step("b"))
    os.unlink(logs / RUN / first)  # it had been packed, and nothing was added since
    os.close(fd)
    assert list(store.get_run_log(RUN).steps) == ["b"]


def test_a_journal_that_was_moved_away_is_not_written_to_where_a_copy_took_its_place(store, logs):
    store.add_step_log(RUN, step("a"))
    os.rename(logs / RUN, logs / "moved")
    shutil.copytree(logs / "moved", logs / RUN)
    store.add_step_log(RUN, step("b"))
    assert list(opened(logs).get_run_log(RUN).steps) == ["a", "b"]


def nothing(item):
    return item


def test_a_worker_of_a_pool_writes_one_journal_whatever_number_of_branches_it_runs(logs, journals):
    with ProcessPoolExecutor(2) as pool, opened(logs).start_run(RUN) as run:
        assert run.map("map", range(20), nothing, executor=pool) == list(range(20))
    assert len(journals()) <= 3
    log = opened(logs).get_run_log(RUN, strict=True)
    assert [branch.status for branch in log.steps["map"].branches.values()] == ["SUCCESS"] * 20


def test_a_run_is_finished_while_another_thread_begins_a_journal_in_it(logs, monkeypatch):
    chunkstore.open_store("chunked-fs", log_folder=logs).create_run_log(RUN)
    store = opened(logs, lock_timeout=5)
    prepare, began = store._writer.prepare_journal, threading.Event()
    monkeypatch.setattr(store._writer, "prepare_journal", lambda run_id: (began.set(), prepare(run_id)))
    with ThreadPoolExecutor(1) as pool:
        added = []

        def change(log):
            added.append(pool.submit(store.add_step_log, RUN, step("a")))
            assert began.wait(5)
            log.status = "SUCCESS"

        store.update_run_log(RUN, change)
        added[0].result()
    assert list(opened(logs).get_run_log(RUN).steps) == ["a"]


def test_a_line_that_its_writer_has_taken_back_since_it_was_seen_is_gone_and_hides_no_other(logs):
    store = opened(logs, durability="process")
    store.create_run_log(RUN)
    for name in ("a", "b"):
        store.add_step_log(RUN, step(name))
    (journal,) = (logs / RUN).glob("Journal-*")
    whole = journal.read_bytes()
    with store.backend.reader(RUN) as reader:
        found = RunFiles(reader, keep=False)
        a, b = sorted(name for name in found.names() if name.startswith("StepLog-"))
        journal.write_bytes(whole.splitlines(keepends=True)[0])
        with pytest.raises(FileNotFoundError):
            found.content(b)
        assert b'"a"' in found.content(a)[0]
        assert b not in found.names()

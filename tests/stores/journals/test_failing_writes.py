"""A write to a journal that fails leaves the old state, and what cannot be taken back ends its file."""

import errno
import os

import pytest
from recorded import step

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import StoreFullError, StoreIOError
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.reading.run_files import RunFiles
from chunkstore.testing.faults import FaultySyscalls
from stores.journals.journaled_runs import RUN, add_point, faulty, files_in, finish, opened, points

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


# --- sealing, deleting -----------------------------------------------------------------------------------------------


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

"""A record with others inside it is there with all of them or not at all, whatever fails and whoever is killed."""

import errno
import itertools
import threading

import pytest
from every import LAYOUTS, every_layout
from processes import Forked

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import ChunkstoreError
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.faults import ALL_CALLS, FaultySyscalls, KillingSyscalls
from proofs.composites import RUN, branch, composite, new_store, state

RECORDS = {
    "step": lambda store: store.add_step_log(RUN, composite()),
    "branch": lambda store: store.add_branch_log(RUN, branch("s.b")),
}


@every_layout
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


@pytest.mark.thorough
@every_layout
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


@every_layout
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


@every_layout
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

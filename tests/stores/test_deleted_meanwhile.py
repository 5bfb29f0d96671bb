"""A run is deleted, and made anew, while others create, lock, read or record it."""

import os
import threading
from pathlib import Path

import pytest
from processes import run_processes
from recorded import step

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.memory import MemoryBackend
from chunkstore.errors import RunLogExistsError, RunLogNotFoundError, StepLogNotFoundError
from chunkstore.records.models import StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import CountingSyscalls
from stores.incarnations import RUN, every_store, files, record

# --- creating beside deleting ----------------------------------------------------------------------------------------


def create_and_delete(open_store, folder, number, rounds):
    store = open_store(Path(folder))
    created = []
    for turn in range(rounds):
        try:
            created.append(store.create_run_log(RUN, tag=f"{number}-{turn}").incarnation)
        except RunLogExistsError:
            pass
        try:
            store.delete_run(RUN)
        except RunLogNotFoundError:
            pass
        else:
            created.append("deleted")
    return created


@pytest.mark.sampled
@every_store
def test_of_processes_that_create_and_delete_one_run_each_creation_is_undone_once(tmp_path, open_store):
    told = [
        entry
        for each in run_processes(create_and_delete, [(open_store, str(tmp_path), number, 40) for number in range(4)])
        for entry in each
    ]
    created = [entry for entry in told if entry != "deleted"]
    assert len(set(created)) == len(created)
    left = len(list(open_store(tmp_path).list_runs()))
    assert len(created) == told.count("deleted") + left
    assert {path.name for path in (tmp_path / "logs").iterdir()} <= {RUN, f"{RUN}.json", f".{RUN}.lock"}


def test_who_loses_the_processor_while_it_finds_a_run_does_not_win_beside_another(tmp_path):
    """The run is renamed away by its deletion just when somebody looks whether it is one."""
    first, second, third = (ChunkedStore(DirectoryBackend(tmp_path / "logs")) for _ in range(3))
    second.create_run_log(RUN, tag="old")
    fresh, told = first.backend._folders.fresh, []

    def slow(folder):
        handle = fresh(folder)
        if folder == RUN and not told:
            told.append("third")
            second.delete_run(RUN)
            third.create_run_log(RUN, tag="third")
        return handle

    first.backend._folders.fresh = slow
    with pytest.raises(RunLogExistsError):
        first.create_run_log(RUN, tag="first")
    assert third.get_run_log(RUN).tag == "third"


def test_a_folder_without_a_record_becomes_a_run_whoever_removes_it(tmp_path):
    (tmp_path / "logs" / RUN).mkdir(parents=True)
    (tmp_path / "logs" / RUN / "note.txt").write_text("mine")
    store = files(tmp_path)
    store.create_run_log(RUN, parameters={"a": 1})
    assert store.get_run_log(RUN).parameters == {"a": 1}
    assert (tmp_path / "logs" / RUN / "note.txt").read_text() == "mine"


def test_in_memory_who_waited_for_the_lock_of_a_deleted_run_locks_the_new_one(tmp_path):
    store = ChunkedStore(MemoryBackend(lock_timeout=5))
    store.create_run_log(RUN)
    inside, most, guard = [0], [0], threading.Lock()
    go = threading.Event()

    def change(log):
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        go.wait(0.2)
        with guard:
            inside[0] -= 1
        log.run_config[threading.current_thread().name] = 1

    early = threading.Thread(target=lambda: store.update_run_log(RUN, change), name="early")
    late = threading.Thread(target=lambda: store.update_run_log(RUN, change), name="late")

    def delete_and_create():
        early.start()
        while not any(frame for frame in store.backend._folders[RUN].locks):
            pass
        store.backend.remove_folder(RUN)
        store.create_run_log(RUN)

    store.while_locked(RUN, delete_and_create)
    late.start()
    early.join()
    late.join()
    assert most == [1]
    assert {"early", "late"} <= set(store.get_run_log(RUN).run_config)


# --- reads of a run that is deleted meanwhile ------------------------------------------------------------------------

READS = {
    "get run": lambda store: store.get_run_log(RUN),
    "get run, strict": lambda store: store.get_run_log(RUN, strict=True),
    "get json": lambda store: store.get_run_json(RUN),
    "iterate": lambda store: list(store.iter_records(RUN)),
    "count": lambda store: store.count_steps(RUN),
    "get step": lambda store: store.get_step_log(RUN, "m"),
    "get parameters": lambda store: store.get_parameters(RUN, "m.0"),
    "has step": lambda store: store.has_step_log(RUN, "m.3.in"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("sealed", [False, True], ids=["loose", "sealed"])
def test_a_read_gives_all_of_a_run_that_is_deleted_meanwhile_or_says_that_it_is_gone(tmp_path, read, sealed):
    """Somebody deletes the run just before each system call of the read, the first, the second and so on."""
    whole = []
    for number in range(1, 400):
        folder = tmp_path / str(number)
        store = files(folder)
        fill(store, sealed=sealed)
        backend = DirectoryBackend(
            folder / "logs", syscalls=Meddling(number, lambda store=store: store.delete_run(RUN))
        )
        try:
            found = READS[read](ChunkedStore(backend))
        except RunLogNotFoundError:
            pass
        else:
            whole.append(plain(found))
        if not backend._folders.syscalls.has_meddled:
            break
    assert number > 4
    assert len(whole) >= 1  # at least that which was not meddled with
    assert all(found == whole[-1] for found in whole)


def fill(store, *, sealed):
    store.create_run_log(RUN, parameters={"a": 1})
    store.add_step_log(RUN, step("m", status="SUCCESS"))
    for number in range(4):
        store.add_branch_log(RUN, chunkstore.BranchLog(internal_name=f"m.{number}", parameters={"n": number}))
        store.add_step_log(RUN, StepLog(name="in", internal_name=f"m.{number}.in"))
    store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
    if sealed:
        store.seal(RUN)


def plain(found):
    """Return what was read without what differs from run to run."""
    if isinstance(found, chunkstore.RunLog):
        found.run_config = {}
        return found.to_json()
    if isinstance(found, bytes):
        return plain(chunkstore.RunLog.from_json(found))
    if isinstance(found, list):
        return [record.to_json() for record in found]
    return found.to_json() if isinstance(found, StepLog) else found


class Meddling(CountingSyscalls):
    """System calls before one of which somebody else does something."""

    def __init__(self, at, meddle):
        super().__init__()
        self.left = at
        self.has_meddled = False
        self._meddle = meddle

    def perform(self, call, action):
        self.left -= 1
        if self.left == 0:
            self.has_meddled = True
            self._meddle()
        return super().perform(call, action)


def test_a_step_that_is_missing_is_told_from_a_run_that_is_gone(tmp_path):
    store = files(tmp_path)
    store.create_run_log(RUN)
    with pytest.raises(StepLogNotFoundError):
        store.get_step_log(RUN, "s")
    store.delete_run(RUN)
    with pytest.raises(RunLogNotFoundError):
        store.get_step_log(RUN, "s")


# --- for a while, all at once ----------------------------------------------------------------------------------------

IDS = ("a", "b", "c")


def live_through(open_store, folder, number, rounds):
    """Create, record, finish, seal, read and delete a handful of runs; return what was acknowledged, and where."""
    store = open_store(Path(folder))
    acknowledged, deleted = [], []
    for turn in range(rounds):
        run_id = IDS[(number + turn) % len(IDS)]
        name = f"{number}-{turn}"
        for call in (
            lambda: store.create_run_log(run_id),  # noqa: B023 - called at once
            lambda: acknowledged.append((name, record(store, run_id, name))),  # noqa: B023
            lambda: store.update_run_log(run_id, lambda log: setattr(log, "status", "SUCCESS")),  # noqa: B023
            lambda: store.seal(run_id),  # noqa: B023
            lambda: check_whole(store.get_run_log(run_id)),  # noqa: B023
            *([lambda: deleted.append(delete(store, run_id))] if turn % 3 == 2 else []),  # noqa: B023
        ):
            try:
                call()
            except chunkstore.ChunkstoreError:
                pass  # somebody else has created or deleted it
    return acknowledged, deleted


def check_whole(log):
    for name, found in log.steps.items():
        assert found.name == name


def delete(store, run_id):
    found = []

    def note():
        found.append(store.get_run_log(run_id, full=False).incarnation)
        return True

    store.delete_run_if(run_id, note)
    return found[0]


@pytest.mark.sampled
@every_store
def test_what_was_acknowledged_is_in_one_run_or_that_run_was_deleted(tmp_path, open_store):
    told = run_processes(live_through, [(open_store, str(tmp_path), number, 30) for number in range(4)])
    deleted = {incarnation for _, gone in told for incarnation in gone}
    logs = {}
    store = open_store(tmp_path)
    for summary in store.list_runs():
        log = store.get_run_log(summary.run_id, strict=True)
        logs[log.incarnation] = log
    assert not deleted & set(logs)
    where = {}
    for incarnation, log in logs.items():
        for name in log.steps:
            assert where.setdefault(name, incarnation) == incarnation
    for name, incarnation in (entry for acknowledged, _ in told for entry in acknowledged):
        if incarnation in deleted:
            continue
        found = logs[incarnation].steps[name]
        assert (found.status, [point.value for point in found.metric_series["m"]]) == ("SUCCESS", [name])
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.startswith((".tmp-", ".aside-"))]

"""What a plan lets go is decided again when it is deleted, and goes whole, with its data if that is asked for."""

import errno
import itertools
import json
import os
import signal

import pytest
from processes import Forked

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import RunLogNotFoundError
from chunkstore.maintenance.checking import verify
from chunkstore.maintenance.retention import Rule, collect, deleting, plan_retention, remove_left_overs
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import FaultySyscalls, KillingSyscalls
from maintenance.old_runs import abandon, add, gone, record_with_data, runs

# --- decided again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.update_run_log("run", lambda log: setattr(log, "status", "SUCCESS")),
        lambda store: store.hold("run"),
        lambda store: store.join_run("run"),
        lambda store: store.delete_run("run"),
    ],
    ids=["other status", "held", "joined", "deleted"],
)
def test_a_run_that_has_changed_since_the_plan_is_left(any_store, change):
    add(any_store, "run", 90, "FAIL")
    plan = plan_retention(any_store, Rule(statuses=frozenset({"FAIL"})))
    kept = change(any_store)
    (outcome,) = collect(any_store, plan)
    assert not outcome.deleted
    assert not outcome.failed
    assert outcome.reason
    del kept


def test_a_lost_run_that_somebody_finished_since_the_plan_is_left(any_store):
    abandon(any_store, "run")
    plan = plan_retention(any_store, Rule(statuses=frozenset({"LOST"})))
    any_store.update_run_log("run", lambda log: setattr(log, "status", "FAIL"))
    (outcome,) = collect(any_store, plan)
    assert (outcome.deleted, outcome.reason) == (False, "it has gone on, or was finished")


def test_a_run_that_was_resumed_since_the_plan_is_left(any_store, monkeypatch):
    monkeypatch.setattr(deleting, "_RELIST", -1)
    for run_id in ("a", "b"):
        add(any_store, run_id, 90, "FAIL")
    plan = plan_retention(any_store, Rule(statuses=frozenset({"FAIL"})))
    outcomes = collect(any_store, plan)
    first = next(outcomes)
    other = ({"a", "b"} - {first.run.run_id}).pop()
    with any_store.start_run("new", resume=other):
        (second,) = outcomes
    assert first.deleted
    assert second.reason == "run new has just resumed it"
    assert other in runs(any_store)


def test_a_run_that_was_resumed_while_somebody_was_asked_is_left(any_store):
    add(any_store, "a", 90, "FAIL")
    plan = plan_retention(any_store, Rule(statuses=frozenset({"FAIL"})))
    with any_store.start_run("new", resume="a"):
        (outcome,) = collect(any_store, plan)
    assert not outcome.deleted
    assert "run new" in outcome.reason


def test_deleting_waits_for_whoever_changes_the_run(store, logs):
    add(store, "run", 90)
    plan = plan_retention(store, Rule(keep_last=0))
    other = ChunkedStore(DirectoryBackend(logs, lock_timeout=0.05))
    with store.backend.lock("run", ".lock"):
        (outcome,) = collect(other, plan)
    assert outcome.failed
    assert "Cannot lock" in outcome.reason
    assert runs(store) == {"run"}


def test_two_that_clean_at_once_delete_every_run_once(any_store, logs):
    for number in range(30):
        add(any_store, f"run-{number:02}", 90)

    def work(tell):
        plan = plan_retention(any_store, Rule(keep_last=5))
        tell("planned")
        outcomes = list(collect(any_store, plan))
        tell(json.dumps([[o.run.run_id for o in outcomes if o.deleted], [o.reason for o in outcomes if o.failed]]))

    with Forked(work) as first, Forked(work) as second:
        assert first.wait_for_line() == second.wait_for_line() == "planned"
        (one, failed), (two, also_failed) = json.loads(first.wait_for_line()), json.loads(second.wait_for_line())
    assert sorted(one + two) == sorted(set(one + two))
    assert len(one + two) == 25
    assert failed == also_failed == []
    assert len(runs(any_store)) == 5


# --- data ------------------------------------------------------------------------------------------------------------


def test_data_stays_unless_it_is_asked_for(any_store, tmp_path):
    data = record_with_data(any_store, tmp_path)
    assert gone(any_store, keep_last=0) == {"run"}
    assert (data / "folder" / "data").is_file()


def test_data_goes_with_its_run_if_that_is_asked_for(any_store, tmp_path, logs):
    data = record_with_data(any_store, tmp_path)
    other = record_with_data(any_store, tmp_path, "other")
    (run,) = plan_retention(any_store, Rule(keep_last=1), with_data=True).delete
    assert run.run_id == "run"
    assert run.space >= 100_000
    assert gone(any_store, with_data=True, keep_last=1) == {"run"}
    assert not data.exists()
    assert (other / "folder" / "data").is_file()
    assert not [name for name in os.listdir(logs) + os.listdir(data.parent) if name.startswith(".deleted-")]


def test_data_of_a_run_that_is_kept_stays(store, tmp_path):
    data = record_with_data(store, tmp_path)
    plan = plan_retention(store, Rule(keep_last=0), with_data=True)
    release = store.hold("run")
    (outcome,) = collect(store, plan, with_data=True)
    release()
    assert not outcome.deleted
    assert (data / "folder" / "data").is_file()


# --- killed and failing ----------------------------------------------------------------------------------------------


def store_with(kind, logs, syscalls):
    backend = DirectoryBackend(logs, syscalls=syscalls)
    return chunkstore.stores.named._STORES[kind].layout(
        backend, chunkstore.open_store(kind, log_folder=str(logs)).options
    )


@pytest.mark.sampled
@pytest.mark.parametrize("late", [False, True])
def test_whoever_is_killed_anywhere_leaves_whole_runs_or_none_and_the_next_finishes(any_store, tmp_path, logs, late):
    kind = "chunked-fs" if isinstance(any_store, ChunkedStore) else "file-system"
    add(any_store, "kept", 1)
    for number in itertools.count(1):
        data = record_with_data(any_store, tmp_path)

        def work(number=number):
            syscalls = KillingSyscalls(at=number, late=late, only=("rename", "unlink", "rmdir", "create"))
            killing = store_with(kind, logs, syscalls)
            list(collect(killing, plan_retention(killing, Rule(keep_last=1), with_data=True), with_data=True))

        add(any_store, f"newest-{number}", -0.02 - number / 10_000)
        with Forked(lambda _tell, work=work: work()) as child:
            code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
            child.pid = 0
        assert code in (0, -signal.SIGKILL)
        for run in any_store.list_runs():
            assert not run.problem
            any_store.get_run_log(run.run_id, strict=True)
        assert not [
            one for one in verify(any_store, with_data=True) if one.severity == "problem" and one.kind != "data"
        ]
        for name in os.listdir(logs):
            if name.startswith((".deleted-", ".tmp-")):
                os.utime(logs / name, (1, 1))
        gone(any_store, with_data=True, keep_last=1)
        remove_left_overs(any_store, with_data=True)
        assert runs(any_store) == {f"newest-{number}"}
        assert not data.exists()
        assert not [name for name in os.listdir(logs) if name.startswith((".deleted-", ".tmp-"))]
        if code == 0:
            break
    assert number > 3


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_run_that_cannot_be_deleted_is_told_and_the_others_go(any_store, logs, code):
    kind = "chunked-fs" if isinstance(any_store, ChunkedStore) else "file-system"
    for number in range(3):
        add(any_store, f"run-{number}", 3 - number)
    failing = store_with(
        kind, logs, FaultySyscalls(code, at=1, only=("rename",) if kind == "chunked-fs" else ("unlink",))
    )
    outcomes = list(collect(failing, plan_retention(failing, Rule(keep_last=0))))
    assert [outcome.failed for outcome in outcomes] == [True, False, False]
    assert runs(any_store) == {"run-0"}
    assert list(any_store.get_run_log("run-0", strict=True).steps) == ["s"]


# --- left-overs ------------------------------------------------------------------------------------------------------


def test_a_run_that_is_gone_is_not_found_by_those_who_ask_for_its_deletion(any_store):
    with pytest.raises(RunLogNotFoundError):
        any_store.delete_run_if("nothing", lambda: True)
    add(any_store, "run")
    assert any_store.delete_run_if("run", lambda: False) is False
    assert any_store.delete_run_if("run", lambda: True) is True
    with pytest.raises(RunLogNotFoundError):
        any_store.get_run_log("run")

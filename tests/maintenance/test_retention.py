"""Only what a rule lets go is deleted, whole and at once; what is live, needed or unreadable is kept."""

import errno
import itertools
import json
import os
import signal
import time
from datetime import datetime, timedelta, timezone

import pytest
from processes import Forked

import chunkstore
from chunkstore import StepLog
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.clock import format_time
from chunkstore.errors import InvalidValueError, RunLogNotFoundError
from chunkstore.maintenance.checking import verify
from chunkstore.maintenance.retention import Rule, collect, deleting, parse_age, plan_retention, remove_left_overs
from chunkstore.records.models import NOTES, RunLog, StepAttempt
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import FaultySyscalls, KillingSyscalls

NO_PROCESS = 4_194_305  # above the largest number that Linux gives
STORES = ["chunked-fs", "file-system"]


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


@pytest.fixture(params=STORES)
def any_store(request, logs):
    return chunkstore.open_store(request.param, log_folder=str(logs))


@pytest.fixture
def store(logs):
    return chunkstore.open_store("chunked-fs", log_folder=str(logs))


def days_ago(days):
    return format_time(datetime.now(timezone.utc) - timedelta(days=days))


def add(store, run_id, days=0.0, status="SUCCESS", *, tag="", original="", finished=True):
    notes = {"created": days_ago(days + 0.01)} | ({"finished": days_ago(days)} if finished else {})
    log = RunLog(run_id=run_id, status=status, tag=tag, original_run_id=original, use_cached=bool(original))
    log.run_config[NOTES] = notes
    log.steps["s"] = StepLog(name="s", internal_name="s", status=status)
    store.add_run_log(log)
    return run_id


def runs(store):
    return {run.run_id for run in store.list_runs()}


def gone(store, with_data=False, **rule):
    """Delete by a rule; return which runs are gone."""
    before = runs(store)
    plan = plan_retention(store, Rule(**rule), with_data=with_data)
    outcomes = list(collect(store, plan, with_data=with_data))
    assert {outcome.run.run_id for outcome in outcomes if outcome.deleted} == before - runs(store)
    return before - runs(store)


def abandon(store, run_id):
    """Leave a run behind that its owner has died recording."""

    def work(tell):
        run = store.start_run(run_id)
        tell("started")
        time.sleep(60)
        run.finish()

    with Forked(work) as child:
        assert child.wait_for_line() == "started"
        child.kill()


# --- which runs ------------------------------------------------------------------------------------------------------


def test_only_runs_that_ended_longer_ago_go(any_store):
    for days in (0, 10, 29.9, 30.1, 400):
        add(any_store, f"run-{days}", days)
    assert gone(any_store, older_than=timedelta(days=30)) == {"run-30.1", "run-400"}


def test_the_newest_are_kept(any_store):
    for days in range(5):
        add(any_store, f"run-{days}", days)
    assert gone(any_store, keep_last=2) == {"run-2", "run-3", "run-4"}
    assert gone(any_store, keep_last=2) == set()


def test_a_run_goes_only_if_it_meets_everything(any_store):
    add(any_store, "old success", 40)
    add(any_store, "old failure", 40, "FAIL")
    add(any_store, "old tagged failure", 40, "FAIL", tag="debug")
    add(any_store, "new tagged failure", 1, "FAIL", tag="debug")
    rule = {"older_than": timedelta(days=30), "statuses": frozenset({"FAIL"}), "tags": frozenset({"debug"})}
    assert gone(any_store, **rule) == {"old tagged failure"}


def test_the_newest_are_counted_among_runs_of_these_tags_and_statuses_whatever_their_age(store):
    for days in (1, 50, 60, 70):
        add(store, f"fail-{days}", days, "FAIL")
        add(store, f"fine-{days}", days)
    rule = {"keep_last": 2, "older_than": timedelta(days=30), "statuses": frozenset({"FAIL"})}
    assert gone(store, **rule) == {"fail-60", "fail-70"}


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_store_and_one_run_are_fine(any_store, count):
    for _ in range(count):
        add(any_store, "one", 5)
    assert gone(any_store, keep_last=1) == set()
    assert gone(any_store, keep_last=0) == runs(any_store) | ({"one"} if count else set())


def test_a_rule_that_says_nothing_is_refused(store):
    with pytest.raises(InvalidValueError, match="no rule"):
        plan_retention(store, Rule())


def test_a_status_that_is_misspelt_is_refused_and_one_of_another_tool_is_not(store):
    store.create_run_log("odd", status="SKIPPED")
    with pytest.raises(InvalidValueError, match="Did you mean 'FAIL'"):
        plan_retention(store, Rule(statuses=frozenset({"FAILED"})))
    assert plan_retention(store, Rule(statuses=frozenset({"SKIPPED", "FAIL", "ANOTHER"}))).delete == []


@pytest.mark.parametrize("status", ["PROCESSING", "UNKNOWN", "LIVE"])
def test_a_rule_for_runs_that_may_go_on_is_refused(store, status):
    with pytest.raises(InvalidValueError, match="never deleted"):
        plan_retention(store, Rule(statuses=frozenset({status, "FAIL"})))


@pytest.mark.parametrize(
    ("text", "age"), [("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("2w", timedelta(weeks=2))]
)
def test_ages_are_written_as_people_write_them(text, age):
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "1.5d", "3 years", "9999999d", "٣d"])
def test_other_ages_are_refused(text):
    with pytest.raises(InvalidValueError, match="as in 30d"):
        parse_age(text)


@pytest.mark.parametrize("text", ["999999w", "999999d", "60000w"])
def test_ages_that_lead_beyond_all_times_are_refused(text):
    with pytest.raises(InvalidValueError, match="longer than 365,000 days"):
        parse_age(text)


def test_a_rule_of_an_absurd_age_lets_no_run_go(store):
    assert plan_retention(store, Rule(older_than=timedelta.max)).delete == []


def test_runs_of_tools_that_note_no_times_are_as_old_as_their_steps(store, logs):
    for run_id, year in (("old", 2001), ("unknown", None)):
        attempts = [StepAttempt(start_time=f"{year}-01-01 00:00:00", end_time=f"{year}-01-01 00:00:01")]
        step = {**json.loads(StepLog(name="s", internal_name="s", attempts=attempts if year else []).to_json())}
        (logs / run_id).mkdir(parents=True)
        (logs / run_id / "RunLog.json").write_text(json.dumps({"run_id": run_id, "status": "FAIL"}))
        (logs / run_id / "StepLog-s-1706852981689005000.json").write_text(json.dumps(step))
    add(store, "now")
    assert gone(store, keep_last=3) == set()
    assert gone(store, keep_last=2) == {"old"}


def test_one_of_which_nobody_knows_its_age_is_not_old(store, logs):
    (logs / "unknown").mkdir(parents=True)
    (logs / "unknown" / "RunLog.json").write_text(json.dumps({"run_id": "unknown", "status": "FAIL"}))
    assert gone(store, older_than=timedelta(0)) == set()
    assert gone(store, statuses=frozenset({"FAIL"})) == {"unknown"}


# --- which runs never ------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_is_never_deleted_and_one_that_was_lost_only_if_asked_for(any_store):
    live = any_store.start_run("live")
    abandon(any_store, "lost")
    any_store.create_run_log("joined")
    add(any_store, "done", 3)
    assert gone(any_store, keep_last=0) == {"done"}
    assert plan_retention(any_store, Rule(keep_last=0)).unfinished == 3
    assert gone(any_store, statuses=frozenset({"LOST"})) == {"lost"}
    assert runs(any_store) == {"live", "joined"}
    live.finish()
    assert gone(any_store, keep_last=0) == {"live"}


def test_unfinished_runs_are_not_counted_among_the_newest(store):
    for days in (1, 2, 3):
        add(store, f"run-{days}", days)
    with store.start_run("live"):
        assert gone(store, keep_last=2) == {"run-3"}


def test_a_run_that_cannot_be_read_is_kept_and_told(store, logs):
    add(store, "bad", 90)
    (logs / "bad" / "RunLog.json").write_bytes(b"{")
    plan = plan_retention(store, Rule(older_than=timedelta(days=30)))
    assert plan.delete == []
    assert [(kept.run_id, "verify" in kept.reason) for kept in plan.kept] == [("bad", True)]


def test_what_an_unsuccessful_run_resumed_is_kept_as_long_as_that_is(any_store):
    add(any_store, "first", 90, "FAIL")
    add(any_store, "second", 80, "FAIL", original="first")
    add(any_store, "third", 1, "FAIL", original="second")
    add(any_store, "other", 90, "FAIL")
    plan = plan_retention(any_store, Rule(older_than=timedelta(days=30)))
    assert {kept.run_id for kept in plan.kept} == {"first", "second"}
    assert all("resumed" in kept.reason for kept in plan.kept)
    assert gone(any_store, older_than=timedelta(days=30)) == {"other"}
    assert gone(any_store, keep_last=0) == {"first", "second", "third"}


def test_what_a_successful_run_resumed_may_go_and_can_still_be_resumed_from_it(store, tmp_path):
    def pipeline(run, fail):
        with run.step("put") as step:
            (tmp_path / "data").write_text("hello")
            step.put_data(tmp_path / "data", "data")
        if fail:
            raise ValueError

    def compute(x):
        return x + 1

    def record(run_id, **options):
        with store.start_run(run_id, **options) as run:
            run.map("work", [1, 2], compute, executor=_threads())
            pipeline(run, fail=not options)

    with pytest.raises(ValueError):
        record("first")
    record("second", resume="first")
    assert gone(store, with_data=True, statuses=frozenset({"FAIL"})) == {"first"}
    assert list(verify(store, with_data=True)) == []
    with store.start_run("third", resume="second") as run:
        assert run.map("work", [1, 2], compute, executor=_threads()) == [2, 3]
    assert {b.cached_from for b in store.get_step_log("third", "work").branches.values()} == {"second"}


def _threads():
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(2)


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


def record_with_data(store, tmp_path, run_id="run"):
    (tmp_path / "data").write_bytes(b"x" * 100_000)
    with store.start_run(run_id) as run, run.step("put") as step:
        step.put_data(tmp_path / "data", "folder/data")
    return tmp_path / ".catalog" / run_id


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


def leave(folder, days, pid=NO_PROCESS, kind=".tmp-", is_folder=False):
    made = folder / f"{kind}{pid}-0123456789ab-{len(os.listdir(folder))}"
    if is_folder:
        made.mkdir()
        (made / "RunLog.json").write_bytes(b"x" * 10_000)
    else:
        made.write_bytes(b"x" * 10_000)
    moment = time.time() - days * 86_400
    os.utime(made, (moment, moment))
    return made


def test_old_temporary_files_of_dead_processes_go_and_no_others(store, logs):
    add(store, "run", 1)
    old = [leave(logs / "run", 2), leave(logs, 2, is_folder=True), leave(logs, 0.1, kind=".deleted-", is_folder=True)]
    new = [leave(logs / "run", 0.5), leave(logs / "run", 2, pid=os.getpid()), leave(logs, 0.5, is_folder=True)]
    assert remove_left_overs(store, dry_run=True).files == 3
    assert all(path.exists() for path in old)
    removed = remove_left_overs(store)
    assert removed.files == 3
    assert removed.space >= 30_000
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in new)
    assert remove_left_overs(store).files == 0


def test_nothing_is_removed_in_a_run_that_somebody_records(store, logs):
    with store.start_run("run"):
        left = leave(logs / "run", 60)
        assert remove_left_overs(store).files == 0
    assert left.exists()
    assert remove_left_overs(store).files == 1


def test_temporary_files_beside_data_go_if_the_catalog_is_cleaned_too(store, tmp_path):
    data = record_with_data(store, tmp_path)
    left, new = leave(data / "folder", 2), leave(data / "folder", 0)
    assert remove_left_overs(store).files == 0
    assert remove_left_overs(store, with_data=True).files == 1
    assert not left.exists()
    assert new.exists()
    assert (data / "folder" / "data").is_file()


def test_only_data_that_was_marked_goes_when_a_deletion_is_finished(store, logs, tmp_path):
    data = record_with_data(store, tmp_path)
    for run_id, catalog in (("run", "/elsewhere"), ("../run", store.catalog_path), ("run2", store.catalog_path)):
        name = f".deleted-data-{run_id}".replace("/", "%2F")
        (logs / name).write_text(json.dumps({"run_id": run_id, "catalog": catalog}, separators=(",", ":")))
    store.delete_run("run")
    remove_left_overs(store)
    assert (data / "folder" / "data").is_file()
    assert (logs / ".deleted-data-run").exists()
    assert not (logs / ".deleted-data-run2").exists()


def test_a_mark_for_a_run_that_is_still_there_goes_and_its_data_stays(store, logs, tmp_path):
    data = record_with_data(store, tmp_path)
    mark = {"run_id": "run", "catalog": store.catalog_path}
    (logs / ".deleted-data-run").write_text(json.dumps(mark, separators=(",", ":")))
    remove_left_overs(store)
    assert not (logs / ".deleted-data-run").exists()
    assert (data / "folder" / "data").is_file()
    assert list(verify(store, with_data=True)) == []


def test_a_folder_that_its_maker_still_names_is_never_half_removed(store, logs):
    logs.mkdir()
    left = leave(logs, 2, is_folder=True)
    too_late = []

    class NamedMeanwhile(Syscalls):
        def unlink(self, path, dir_fd=None):
            try:
                os.rename(left, logs / "run")  # as the maker would, had it only been slow
            except FileNotFoundError:
                too_late.append(path)
            super().unlink(path, dir_fd)

    DirectoryBackend(logs, syscalls=NamedMeanwhile()).remove_left_over("", left.name)
    assert too_late == ["RunLog.json"]
    assert os.listdir(logs) == []


def test_a_run_that_is_gone_is_not_found_by_those_who_ask_for_its_deletion(any_store):
    with pytest.raises(RunLogNotFoundError):
        any_store.delete_run_if("nothing", lambda: True)
    add(any_store, "run")
    assert any_store.delete_run_if("run", lambda: False) is False
    assert any_store.delete_run_if("run", lambda: True) is True
    with pytest.raises(RunLogNotFoundError):
        any_store.get_run_log("run")

"""Following a run: every change is yielded, soon and once, until the run has ended; only what changed is parsed."""

import itertools
import os
import shutil
import signal
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import Forked
from recorded import step

import chunkstore
from chunkstore import BranchLog, MetricPoint, RunLogNotFoundError
from chunkstore.backends.disk import watching
from chunkstore.stores.reading.following import FollowedRun
from chunkstore.testing.faults import CountingSyscalls

RUN = "run"
#: Seconds after which something that is waited for is not going to come.
LONG = 10


def files(folder, **options):
    return chunkstore.open_store("chunked-fs", log_folder=folder, durability="process", **options)


def journal(folder):
    return files(folder, container="journal")


def document(folder):
    return chunkstore.open_store("file-system", log_folder=folder)


_buffered = {}


def buffered(folder):
    return _buffered.setdefault(str(folder), chunkstore.open_store("buffered"))


STORES = [files, journal, document, buffered]
_stores = pytest.mark.parametrize("open_store", STORES)
_cut_into_files = pytest.mark.parametrize("open_store", [files, journal])


def end(store, status="SUCCESS"):
    store.update_run_log(RUN, lambda log: setattr(log, "status", status))


class Follower:
    """Follows a run in a thread."""

    def __init__(self, store):
        self.logs = []
        self.error = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, args=(store,), daemon=True)
        self._thread.start()

    def _follow(self, store):
        try:
            for log in store.follow(RUN):
                with self._changed:
                    self.logs.append(log)
                    self._changed.notify_all()
        except Exception as error:
            self.error = error

    def wait_for(self, condition):
        """Wait until the newest log is as asked for."""
        with self._changed:
            found = self._changed.wait_for(lambda: self.logs and condition(self.logs[-1]), LONG)
            assert found, self.error or self.logs[-1:]

    def join(self):
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        return self.logs


@_stores
def test_every_change_is_yielded_until_the_run_has_ended(tmp_path, open_store):
    store = open_store(tmp_path)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("before"))
    follower = Follower(open_store(tmp_path))
    follower.wait_for(lambda log: "before" in log.steps)
    writer = open_store(tmp_path)
    writer.add_step_log(RUN, step("a", status="PROCESSING"))
    follower.wait_for(lambda log: "a" in log.steps)
    writer.add_step_log(RUN, step("a", status="SUCCESS"))
    follower.wait_for(lambda log: log.steps.get("a") and log.steps["a"].status == "SUCCESS")
    store.update_step_log(RUN, "a", lambda found: setattr(found, "message", "changed"))
    follower.wait_for(lambda log: log.steps.get("a") and log.steps["a"].message == "changed")
    writer.add_branch_log(RUN, BranchLog(internal_name="a.b"))
    writer.add_step_log(RUN, step("a.b.c"))
    follower.wait_for(lambda log: log.steps["a"].branches and log.steps["a"].branches["a.b"].steps)
    writer.set_parameters(RUN, {"p": 1})
    follower.wait_for(lambda log: log.parameters == {"p": 1})
    writer.append_metrics(RUN, "a", {"loss": [MetricPoint(1, 0.5)]})
    follower.wait_for(lambda log: log.steps["a"].metric_series)
    end(store)
    logs = follower.join()
    assert logs[-1].to_json() == store.get_run_log(RUN).to_json()
    assert [log.status for log in logs[:-1]] == ["PROCESSING"] * (len(logs) - 1)


@_stores
def test_a_run_that_has_ended_is_yielded_once(tmp_path, open_store):
    store = open_store(tmp_path)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    end(store, "FAIL")
    (log,) = store.follow(RUN)
    assert log.to_json() == store.get_run_log(RUN).to_json()


@_stores
def test_nobody_follows_a_run_that_does_not_exist_or_is_deleted(tmp_path, open_store):
    store = open_store(tmp_path)
    with pytest.raises(RunLogNotFoundError):
        next(store.follow(RUN))
    store.create_run_log(RUN)
    logs = store.follow(RUN)
    next(logs)
    store.delete_run(RUN)
    with pytest.raises(RunLogNotFoundError):
        next(logs)


@_cut_into_files
def test_a_log_that_was_yielded_is_never_altered(tmp_path, open_store):
    store = open_store(tmp_path)
    store.create_run_log(RUN)
    kept = []
    logs = store.follow(RUN)
    for number in range(6):
        log = next(logs)
        kept.append((log, log.to_json()))
        store.add_step_log(RUN, step("map", message=str(number)))
        store.add_branch_log(RUN, BranchLog(internal_name=f"map.{number}"))
        store.add_step_log(RUN, step(f"map.{number}.inner"))
        store.set_parameters(RUN, {"n": number}, f"map.{number}")
    assert [log.to_json() for log, _ in kept] == [text for _, text in kept]


@_cut_into_files
@pytest.mark.parametrize("is_told", [True, False], ids=["told", "polling"])
def test_a_run_that_is_sealed_and_unsealed_is_followed_on(tmp_path, open_store, is_told, monkeypatch):
    if not is_told:
        monkeypatch.setitem(sys.modules, "watchfiles", None)
    store = open_store(tmp_path)
    store.create_run_log(RUN)
    for number in range(3):
        store.add_step_log(RUN, step(str(number)))
    end(store)
    store.seal(RUN)
    store.update_run_log(RUN, lambda log: setattr(log, "status", "PROCESSING"))
    follower = Follower(open_store(tmp_path))
    follower.wait_for(lambda log: list(log.steps) == ["0", "1", "2"])
    store.add_step_log(RUN, step("1", message="late"))
    follower.wait_for(lambda log: log.steps["1"].message == "late")
    store.unseal(RUN)
    store.add_step_log(RUN, step("3"))
    follower.wait_for(lambda log: list(log.steps) == ["0", "1", "2", "3"])
    end(store)
    assert follower.join()[-1].steps["1"].message == "late"


def test_without_watchfiles_a_follower_polls(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    store = files(tmp_path)
    store.create_run_log(RUN)
    follower = Follower(files(tmp_path))
    for number in range(3):
        store.add_step_log(RUN, step(str(number)))
        follower.wait_for(lambda log, number=number: str(number) in log.steps)
    end(store)
    assert list(follower.join()[-1].steps) == ["0", "1", "2"]


@_cut_into_files
def test_what_the_system_does_not_report_is_found_all_the_same(tmp_path, open_store, monkeypatch):
    """As when its queue of events overflows."""
    monkeypatch.setattr("chunkstore.backends.disk.directory.changes_in", lambda _: watching.poll())
    test_every_change_is_yielded_until_the_run_has_ended(tmp_path, open_store)


def test_names_that_mean_nothing_do_no_harm(tmp_path, monkeypatch):
    names = itertools.cycle(
        [{".lock", ".tmp-1", "README", "StepLog-gone-1.json", "Sealed-1.jsonl", "Journal-1-1.jsonl"}]
    )
    monkeypatch.setattr("chunkstore.backends.disk.directory.changes_in", lambda _: names)
    store = files(tmp_path)
    store.create_run_log(RUN)
    logs = store.follow(RUN)
    assert not next(logs).steps
    store.add_step_log(RUN, step("a"))
    assert list(next(logs).steps) == ["a"]
    end(store)
    assert next(logs).status == "SUCCESS"
    assert not list(logs)


@pytest.mark.thorough
def test_a_damaged_file_is_reported_as_long_as_it_is_damaged(tmp_path):
    store = files(tmp_path)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    (path,) = (tmp_path / RUN).glob("StepLog-*")
    whole = path.read_bytes()
    logs = store.follow(RUN)
    next(logs)
    path.write_bytes(whole.replace(b'"a"', b'"b"'))
    damaged = next(log for log in logs if log.problems)
    assert [problem.file for problem in damaged.problems] == [path.name]
    store.add_step_log(RUN, step("c"))
    assert next(log for log in logs if "c" in log.steps).problems
    path.write_bytes(whole)
    repaired = next(log for log in logs if not log.problems)
    assert list(repaired.steps) == ["a", "c"]


# --- only what has changed -------------------------------------------------------------------------------------------


@_cut_into_files
def test_one_new_step_costs_the_same_however_long_the_run_is(tmp_path, open_store):
    def calls(count):
        store = open_store(tmp_path / str(count))
        store.create_run_log(RUN)
        for number in range(count):
            store.add_step_log(RUN, step(f"s{number}"))
        reader = open_store(tmp_path / str(count))
        syscalls = reader.backend._folders.syscalls = CountingSyscalls()
        run = FollowedRun(RUN, lambda: reader.backend.reader(RUN))
        run.read_all()
        before = set(os.listdir(tmp_path / str(count) / RUN))
        store.add_step_log(RUN, step("new"))
        names = set(os.listdir(tmp_path / str(count) / RUN)) - before or before
        syscalls.clear()
        assert list(run.read_changed(names).steps)[-1] == "new"
        return len(syscalls.calls)

    assert calls(200) == calls(20) < 50


NAMES = ["s", "p", "p.q", "p.x.in", "p.x.in.y.z"]
BRANCHES = ["p.x", "p.x.in.y", "p.q.r"]
WRITES = st.one_of(
    st.tuples(st.sampled_from(["add", "add as another", "update", "metrics"]), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["add branch", "update branch", "parameters"]), st.sampled_from(["", *BRANCHES])),
    st.tuples(st.sampled_from(["seal", "unseal", "tag"]), st.just("")),
)


def write(stores, kind, name, number):
    own, other = stores
    message = f"{number}"
    if kind in {"add", "add as another"}:
        (own if kind == "add" else other).add_step_log(RUN, step(name, message=message))
    elif kind == "update":
        if own.has_step_log(RUN, name):
            other.update_step_log(RUN, name, lambda found: found.user_defined_metrics.update({message: number}))
    elif kind == "metrics":
        own.append_metrics(RUN, name, {"m": [MetricPoint(number, number)]})
    elif kind == "add branch":
        if name:
            own.add_branch_log(RUN, BranchLog(internal_name=name, status=message))
    elif kind == "update branch":
        if name and own.has_branch_log(RUN, name):
            other.update_branch_log(RUN, name, lambda found: setattr(found, "message", message))
    elif kind == "parameters":
        own.set_parameters(RUN, {message: number}, name)
    elif kind == "tag":
        own.update_run_log(RUN, lambda log: setattr(log, "tag", message))
    else:
        getattr(own, kind)(RUN)


@pytest.mark.thorough
@_cut_into_files
def test_whatever_is_written_the_log_is_what_a_full_read_gives(tmp_path, open_store):
    numbers = itertools.count()

    @settings(deadline=None, max_examples=80)
    @given(rounds=st.lists(st.tuples(st.lists(WRITES, max_size=4), st.booleans()), max_size=8))
    def check(rounds):
        folder = tmp_path / str(next(numbers))
        stores = [open_store(folder), files(folder)]
        stores[0].create_run_log(RUN, status="SUCCESS")
        run = FollowedRun(RUN, lambda: stores[0].backend.reader(RUN))
        run.read_all()
        for writes, is_told in rounds:
            before = versions(folder / RUN)
            kept = run.read_all() if not is_told else None
            text = kept and kept.to_json()
            for write_kind, name in writes:
                write(stores, write_kind, name, next(numbers))
            after = versions(folder / RUN)
            changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
            log = run.read_changed(changed) if is_told else run.read_all()
            assert log.to_json() == stores[0].get_run_log(RUN).to_json()
            assert kept is None or kept.to_json() == text
        shutil.rmtree(folder)

    check()


def versions(folder):
    found = {}
    for entry in os.scandir(folder):
        status = entry.stat()
        found[entry.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


# --- the owner -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("open_store", [files, journal, document])
def test_following_ends_when_the_owner_of_the_run_was_killed(tmp_path, open_store):
    def record(say):
        with open_store(tmp_path).start_run(RUN) as run:
            with run.step("a"):
                pass
            say("recorded")
            signal.pause()

    with Forked(record) as owner:
        assert owner.wait_for_line() == "recorded"
        store = open_store(tmp_path)
        assert not store.is_abandoned(RUN)
        follower = Follower(store)
        follower.wait_for(lambda log: "a" in log.steps)
        owner.kill()
        log = follower.join()[-1]
    assert (log.status, log.steps["a"].status) == ("PROCESSING", "SUCCESS")
    assert store.is_abandoned(RUN)


@_stores
def test_a_run_whose_owner_lives_or_that_has_none_is_not_abandoned(tmp_path, open_store):
    store = open_store(tmp_path)
    store.create_run_log("nobody's")
    assert not store.is_abandoned("nobody's")
    run = store.start_run(RUN)
    assert not open_store(tmp_path).is_abandoned(RUN)
    child = os.fork() if open_store is not buffered else None
    if child == 0:
        os._exit(0)  # a child that ends does not stand for its parent
    if child is not None:
        os.waitpid(child, 0)
    assert not open_store(tmp_path).is_abandoned(RUN)
    run.finish()
    assert not open_store(tmp_path).is_abandoned(RUN)
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.endswith(".owner")]


def test_a_child_that_outlives_the_owner_does_not_stand_for_it(tmp_path):
    store = files(tmp_path)
    born, bear = os.pipe()
    told, tell = os.pipe()
    owner = os.fork()
    if owner == 0:
        run = store.start_run(RUN)
        if os.fork() == 0:
            os.write(bear, b"child")
            os.read(told, 1)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
        run.finish()
    os.waitpid(owner, 0)
    os.read(born, 1)
    try:
        assert store.is_abandoned(RUN)
    finally:
        os.write(tell, b"end")


def test_a_file_of_an_owner_that_is_about_to_be_locked_says_nothing(tmp_path):
    store = files(tmp_path)
    store.create_run_log(RUN)
    (tmp_path / RUN / ".owner").write_bytes(b"")
    assert not store.is_abandoned(RUN)
    (tmp_path / RUN / ".owner").write_bytes(b"{}")
    assert store.is_abandoned(RUN)

"""Hosts as they are: forks, no descriptors left, clocks that jump, folders that move, other users. Nothing is lost."""

import errno
import gc
import itertools
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from privileges import skip_or_fail
from processes import Forked, fork_and_wait, run_processes
from proofs.test_bad_bytes import error_of, temporary_files

import chunkstore
from chunkstore import ChunkstoreError, MetricPoint, StepLog
from chunkstore.clock import clock
from chunkstore.errors import (
    DataNotFoundError,
    LockTimeoutError,
    RunLogExistsError,
    RunLogNotFoundError,
    StoreAccessError,
    StoreIOError,
)
from chunkstore.names import parse_chunk_file
from chunkstore.recording.identity import git_identity
from chunkstore.testing.suite_sharing import run_threads

RUN = "run"
STORES = ["chunked-fs", "file-system"]
_stores = pytest.mark.parametrize("store_type", STORES)


def step(name, **fields):
    return StepLog(name=name, internal_name=name, **fields)


def count(found):
    found.user_defined_metrics["count"] = found.user_defined_metrics.get("count", 0) + 1


def open_at(folder, store_type="chunked-fs", **options):
    return chunkstore.open_store(store_type, log_folder=folder, lock_timeout=20, **options)


def files_of(folder, start):
    return sorted(name for name in os.listdir(folder) if name.startswith(start))


@pytest.fixture
def shared():
    """A folder into which other users can look."""
    path = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    os.chmod(path, 0o755)
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def _outside_git(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    git_identity.cache_clear()
    yield
    git_identity.cache_clear()


# --- forks -----------------------------------------------------------------------------------------------------------


class LeftByChildError(Exception):
    pass


def record_and_fork(store, leave):
    """Record a run whose first step forks a child that records too; return what the log was when that was gone."""
    with store.start_run(RUN) as run:
        with run.step("outer") as outer:
            outer.log_metric("before", 1)
            outer.log_metric("loss", 1.0, step=0)
            outer.log_metric("loss", 0.9, step=1)  # waits to be written
            pid = os.fork()
            if pid == 0:
                outer.log_metric("child", 2)
                outer.log_params({"from": "the child"})
                outer.log_metric("loss", 0.5, step=2)
                run.set_parameters({"child": True})
                with run.step("of the child") as own:
                    own.log_metric("points", 1, step=0)
                    own.log_metric("rows", 3)
                run.step("called by the child", int, "7")
                leave()
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            seen = store.get_run_log(RUN)
            outer.log_metric("after", 3)
            run.set_parameters({"parent": True})
        with run.step("of the parent") as later:
            later.log_metric("rows", 4)
    return status, seen


def leave_at_once():
    os._exit(7)


def fall_out():
    raise LeftByChildError


@pytest.mark.usefixtures("_outside_git")
@pytest.mark.parametrize("leave", [leave_at_once, fall_out])
@_stores
def test_a_child_forked_inside_a_step_records_and_leaves_and_the_parent_goes_on(tmp_path, store_type, leave):
    store, parent = open_at(tmp_path / "logs", store_type), os.getpid()
    try:
        status, seen = record_and_fork(store, leave)
    except LeftByChildError:
        assert os.getpid() != parent
        os._exit(7)
    finally:
        if os.getpid() != parent:
            os._exit(1)
    assert status == 7
    assert (seen.status, seen.steps["outer"].status) == ("PROCESSING", "PROCESSING")
    log = store.get_run_log(RUN, strict=True)
    assert {name: found.status for name, found in log.steps.items()} == {
        "outer": "SUCCESS",
        "of the child": "SUCCESS",
        "called by the child": "SUCCESS",
        "of the parent": "SUCCESS",
    }
    assert log.status == "SUCCESS"
    assert log.parameters == {"child": True, "parent": True}
    outer, own = log.steps["outer"], log.steps["of the child"]
    assert outer.user_defined_metrics == {"before": 1, "child": 2, "after": 3}
    assert outer.attempts[0].parameters == {"from": "the child"}
    assert sorted((point.step, point.value) for point in outer.metric_series["loss"]) == [(0, 1.0), (1, 0.9), (2, 0.5)]
    assert own.user_defined_metrics == {"rows": 3}
    assert [point.value for point in own.metric_series["points"]] == [1]
    assert log.steps["called by the child"].result == 7
    if store_type == "chunked-fs":
        assert len(files_of(tmp_path / "logs" / RUN, "StepLog-outer-")) == 1


@pytest.mark.usefixtures("_outside_git")
def test_a_run_is_not_a_success_if_a_step_failed_in_a_forked_child(tmp_path):
    def fail(run):
        with run.step("of the child"):
            raise ValueError

    store = open_at(tmp_path / "logs")
    with store.start_run(RUN) as run:
        assert not fork_and_wait(lambda: fail(run))
    log = store.get_run_log(RUN)
    assert (log.status, log.steps["of the child"].status) == ("FAIL", "FAIL")


def work_on(item):
    run, current = chunkstore.current_run(), chunkstore.current_step()
    current.log_metric(f"item-{item}", item)
    current.log_metric("series", item, step=item)
    run.set_parameters({f"item-{item}": item})
    with run.step(f"step-{item}") as own:
        own.log_metric("item", item)
        own.log_metric("pid", os.getpid(), step=0)
    return item * item


@pytest.mark.usefixtures("_outside_git")
@pytest.mark.parametrize("pool", ["multiprocessing", "executor"])
@_stores
def test_workers_forked_inside_a_step_record_into_it_and_into_its_run(tmp_path, store_type, pool):
    store, context = open_at(tmp_path / "logs", store_type), multiprocessing.get_context("fork")
    items = list(range(8))
    with store.start_run(RUN) as run, run.step("outer") as outer:
        outer.log_metric("before", 1)
        if pool == "executor":
            with ProcessPoolExecutor(2, mp_context=context) as executor:
                results = list(executor.map(work_on, items))
        else:
            with context.Pool(2) as workers:
                results = workers.map(work_on, items, chunksize=1)
                workers.close()
                workers.join()
        outer.log_metric("after", 2)
    assert results == [item * item for item in items]
    log = store.get_run_log(RUN, strict=True)
    numbers = {f"item-{item}": item for item in items}
    assert log.status == "SUCCESS"
    assert log.parameters == numbers
    assert log.steps["outer"].user_defined_metrics == {"before": 1, **numbers, "after": 2}
    assert sorted(point.value for point in log.steps["outer"].metric_series["series"]) == items
    assert set(log.steps) == {"outer", *(f"step-{item}" for item in items)}
    for item in items:
        own = log.steps[f"step-{item}"]
        assert (own.status, own.user_defined_metrics) == ("SUCCESS", {"item": item})
        assert own.metric_series["pid"][0].value != os.getpid()


@_stores
def test_a_child_forked_while_a_thread_holds_the_lock_waits_for_it_and_undoes_nothing(tmp_path, store_type):
    store = open_at(tmp_path / "logs", store_type)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("shared"))
    inside, may_end = threading.Event(), threading.Event()

    def hold(found):
        inside.set()
        assert may_end.wait(20)
        count(found)

    def child(say):
        impatient = chunkstore.open_store(store_type, log_folder=tmp_path / "logs", lock_timeout=0.05)
        with pytest.raises(LockTimeoutError):
            impatient.update_step_log(RUN, "shared", count)
        say("it is locked")
        store.update_step_log(RUN, "shared", count)  # waits
        store.set_parameters(RUN, {"child": 1})
        say("done")
        time.sleep(60)

    holder = threading.Thread(target=store.update_step_log, args=(RUN, "shared", hold))
    holder.start()
    try:
        assert inside.wait(20)
        with Forked(child) as forked:
            assert forked.wait_for_line() == "it is locked"
            may_end.set()
            holder.join()
            store.set_parameters(RUN, {"parent": 1})
            assert forked.wait_for_line() == "done"
    finally:
        may_end.set()
        holder.join()
    log = store.get_run_log(RUN, strict=True)
    assert log.steps["shared"].user_defined_metrics == {"count": 2}
    assert log.parameters == {"child": 1, "parent": 1}


@pytest.mark.usefixtures("_outside_git")
def test_children_forked_while_threads_record_steps_record_too_and_nothing_is_lost(tmp_path):
    store, done = open_at(tmp_path / "logs"), threading.Event()

    def record(number):
        turn = 0
        while turn == 0 or not done.is_set():
            with run.step(f"thread-{number}-{turn}") as own:
                own.log_metric("turn", turn)
                own.log_metric("points", turn, step=0)
            turn += 1
        return turn

    def record_in_child(number):
        with run.step(f"child-{number}") as own:
            own.log_metric("number", number)
            own.log_metric("points", number, step=0)
        store.get_run_log(RUN, strict=True)

    def fork():
        try:
            return [fork_and_wait(lambda number=number: record_in_child(number)) for number in range(10)]
        finally:
            done.set()

    with store.start_run(RUN) as run:
        first, second, forks = run_threads([lambda: record(0), lambda: record(1), fork])
    assert forks == [True] * 10
    log = store.get_run_log(RUN, strict=True)
    for kind, turns in (("thread-0", first), ("thread-1", second), ("child", 10)):
        for turn in range(turns):
            own = log.steps[f"{kind}-{turn}"]
            assert own.status == "SUCCESS"
            assert list(own.user_defined_metrics.values()) == [turn]
            assert [point.value for point in own.metric_series["points"]] == [turn]
    assert len(log.steps) == first + second + 10


# --- no descriptors left ---------------------------------------------------------------------------------------------


def prepare(folder, store_type):
    """Return a store that owns a step in a run where another has recorded too."""
    store, other = (open_at(folder, store_type) for _ in range(2))
    store.create_run_log(RUN, parameters={"a": 1})
    store.add_step_log(RUN, step("own"))
    store.append_metrics(RUN, "own", {"m": [MetricPoint(1, 1)]})
    other.add_step_log(RUN, step("foreign"))
    store.close()
    return store


def put_data(store):
    run = store.join_run(RUN, capture_output=False)
    with run.step("with data") as current:
        current.put_data(os.path.join(store.backend.location, "..", "data.csv"), "data.csv")


def record_run(store):
    with store.start_run("recorded") as run, run.step("s"):
        print("kept")


#: What is done, and whether it may have been done in part when it fails: several records, or a deletion.
OPERATIONS = {
    "add": lambda store: store.add_step_log(RUN, step("new")),
    "replace": lambda store: store.add_step_log(RUN, step("own", message="again")),
    "put": lambda store: store.put_step_log(RUN, step("foreign", message="put")),
    "update own": lambda store: store.update_step_log(RUN, "own", lambda found: setattr(found, "message", "x")),
    "update": lambda store: store.update_step_log(RUN, "foreign", lambda found: setattr(found, "message", "x")),
    "update run": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "tag", "x")),
    "set parameters": lambda store: store.set_parameters(RUN, {"b": 2}),
    "append": lambda store: store.append_metrics(RUN, "own", {"m": [MetricPoint(2, 2)]}),
    "create": lambda store: store.create_run_log("new", parameters={"a": 1}),
    "get": lambda store: store.get_run_log(RUN, strict=True),
    "get json": lambda store: store.get_run_json(RUN),
    "get step": lambda store: store.get_step_log(RUN, "foreign"),
    "get parameters": lambda store: store.get_parameters(RUN),
    "has step": lambda store: store.has_step_log(RUN, "foreign") or pytest.fail("there is one"),
    "has no step": lambda store: not store.has_step_log(RUN, "none") or pytest.fail("there is none"),
    "has run": lambda store: store.has_run(RUN) or pytest.fail("there is one"),
    "has no run": lambda store: not store.has_run("none") or pytest.fail("there is none"),
    "sync": lambda store: store.sync(RUN),
    "delete": lambda store: store.delete_run(RUN),
    "put data": put_data,
    "record a run": record_run,
}
IN_PARTS = {"delete", "put data", "record a run"}


def state_of(folder, store_type):
    """Return all that anybody can read, without times."""
    store = open_at(folder, store_type)
    found = {}
    for summary in store.list_runs():
        log = store.get_run_log(summary.run_id, strict=True)
        for record in log.steps.values():
            record.attempts, record.code_identities = [], []
        log.run_config = {}
        found[summary.run_id] = log
    return repr(sorted(found.items())).replace(str(folder.parent), "")


def open_descriptors():
    gc.collect()
    return sorted(map(int, os.listdir("/proc/self/fd")))[:-1]


def limit_descriptors():
    gc.freeze()  # a collection in this child need not go through all that the parent has
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()) + 40, most))
    logging.disable()  # records of errors would keep open what their tracebacks lead to


class FewDescriptors:
    """Leaves a number of descriptors to what runs inside."""

    def __init__(self, left):
        self._left = left

    def __enter__(self):
        self._dummies = []
        try:
            while True:
                self._dummies.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            assert error.errno == errno.EMFILE  # noqa: PT017 - the limit is reached
        for _ in range(self._left):
            os.close(self._dummies.pop())

    def __exit__(self, *_):
        for fd in self._dummies:
            os.close(fd)


def try_with(left, operation, store):
    """Do one thing with so many descriptors left; return what the error of ours said, or an empty text."""
    with FewDescriptors(left):
        error = error_of(operation, store)
    if error is None:
        return ""
    assert isinstance(error, StoreIOError), error
    assert error.errno == errno.EMFILE, error
    return str(error)  # the error itself would keep open what its traceback leads to


def run_out_of_descriptors(top, store_type, name):
    """Do one thing with no descriptor left, with one, with two and so on, until it works."""
    operation = OPERATIONS[name]
    limit_descriptors()
    before, after = "", ""
    for number in range(20):
        folder = top / f"{number}" / "logs"
        folder.parent.mkdir()
        (folder.parent / "data.csv").write_text("x,y\n")
        store = prepare(folder, store_type)
        if not before:  # the first time is for the states, and for what is imported late
            before = state_of(folder, store_type)
            operation(store)
            after = state_of(folder, store_type)
            continue
        git_identity.cache_clear()
        descriptors = open_descriptors()
        message = try_with(number - 1, operation, store)
        store.close()
        assert open_descriptors() == descriptors, (name, number)
        assert temporary_files(folder.parent) == set(), (name, number)
        state = state_of(folder, store_type)
        if not message:
            assert state == after, (name, number)
            return
        assert "ulimit" in message, (name, number)
        assert state in (before, after) or name in IN_PARTS, (name, number)
        again = error_of(operation, store, kinds=(RunLogExistsError, RunLogNotFoundError))
        assert again is None or name in ("create", "record a run", "delete"), (name, number, again)
        if name not in ("append", "put data", "record a run"):
            assert state_of(folder, store_type) == after, (name, number)
    pytest.fail(f"{name} never worked")


@pytest.mark.parametrize("name", OPERATIONS)
@_stores
def test_without_descriptors_a_call_works_or_says_so_and_loses_nothing(tmp_path, monkeypatch, store_type, name):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert fork_and_wait(lambda: run_out_of_descriptors(tmp_path, store_type, name))


IN_A_STEP = {
    "put data": lambda current, top: current.put_data(top / "data.csv", "data.csv"),
    "put a folder": lambda current, top: current.put_data(top / "folder", "folder"),
    "get data": lambda current, top: current.get_data("earlier.csv", top / "copy.csv"),
    "log a metric": lambda current, _: current.log_metric("later", 1),
    "log a point": lambda current, _: current.log_metric("points", 1, step=1),
    "log parameters": lambda current, _: current.log_params({"a": 1}),
    "set a result": lambda current, _: current.set_result(5),
}


def run_out_of_descriptors_in_a_step(top, store_type, name):
    limit_descriptors()
    store = prepare(top / "logs", store_type)
    (top / "folder").mkdir()
    for file in ("data.csv", "folder/data.csv"):
        (top / file).write_text("x,y\n")
    run = store.join_run(RUN)
    for left in range(-1, 10):
        with run.step(f"step-{left}") as current:
            current.put_data(top / "data.csv", "earlier.csv")
            if left < 0:  # for what is imported late
                IN_A_STEP[name](current, top)
                continue
            store.close()
            descriptors = open_descriptors()
            message = try_with(left, lambda _, current=current: IN_A_STEP[name](current, top), store)
            store.close()
            assert open_descriptors() == descriptors, left
            assert "ulimit" in message or not message, left
            assert temporary_files(top) == set(), left
            current.log_metric("goes on", left)
        found = open_at(top / "logs", store_type).get_step_log(RUN, f"step-{left}")
        assert (found.status, found.user_defined_metrics["goes on"]) == ("SUCCESS", left)
        assert found.data_catalog[0].name == "earlier.csv"
        if not message:
            return
    pytest.fail("it never worked")


@pytest.mark.parametrize("name", IN_A_STEP)
@_stores
def test_a_step_that_runs_out_of_descriptors_says_so_and_goes_on(tmp_path, store_type, name):
    assert fork_and_wait(lambda: run_out_of_descriptors_in_a_step(tmp_path, store_type, name))


@_stores
def test_what_is_printed_without_descriptors_is_printed_all_the_same(tmp_path, store_type):
    def work():
        limit_descriptors()
        store = prepare(tmp_path / "logs", store_type)
        run = store.join_run(RUN)
        for left in range(3):
            with run.step(f"step-{left}"):
                with FewDescriptors(left):
                    print("printed")
                print("printed later")
            assert open_at(tmp_path / "logs", store_type).get_step_log(RUN, f"step-{left}").status == "SUCCESS"
        assert temporary_files(tmp_path) == set()

    assert fork_and_wait(work)


@_stores
def test_listing_runs_without_descriptors_works_or_says_so(tmp_path, store_type):
    def work():
        store = prepare(tmp_path / "logs", store_type)
        limit_descriptors()
        list(store.list_runs())
        for left in range(10):
            found = []
            with FewDescriptors(left):
                error = error_of(lambda found=found: found.extend(store.list_runs()))
            if error is None:
                (summary,) = found
                assert not summary.problem or "ulimit" in summary.problem
                if not summary.problem:
                    return
            else:
                assert "ulimit" in str(error)
        pytest.fail("it never worked")

    assert fork_and_wait(work)


# --- clocks that jump ------------------------------------------------------------------------------------------------

HOUR, YEAR = 3_600 * 10**9, 365 * 24 * 3_600 * 10**9


def set_clock(offset):
    clock._wall_clock = lambda: time.time_ns() + offset


@pytest.mark.parametrize("jumps", [[0, -HOUR, 0], [0, YEAR, 0, -HOUR], [0, -YEAR, HOUR]])
@_stores
def test_when_the_clock_jumps_order_replacements_and_changes_hold(tmp_path, store_type, jumps):
    def work():
        store, other = (open_at(tmp_path, store_type) for _ in range(2))
        store.create_run_log(RUN)
        store.add_step_log(RUN, step("first"))
        for number, offset in enumerate(jumps):
            set_clock(offset)
            store.add_step_log(RUN, step(f"s-{number}"))
            store.add_step_log(RUN, step("first", message=f"replaced {number}"))
            other.update_step_log(RUN, "first", count)
            other.add_step_log(RUN, step("contested", message=f"other {number}"))
            open_at(tmp_path, store_type).add_step_log(RUN, step("contested", message=f"last {number}"))
            store.set_parameters(RUN, {"number": number})
            log = open_at(tmp_path, store_type).get_run_log(RUN, strict=True)
            assert list(log.steps)[-2:] == [f"s-{number}", "contested"]
            assert log.steps["first"].message == f"replaced {number}"
            assert log.steps["first"].user_defined_metrics == {"count": number + 1}
            assert log.steps["contested"].message == f"last {number}"
            assert log.parameters == {"number": number}
        log = store.get_run_log(RUN, strict=True)
        assert list(log.steps) == ["first", *(f"s-{number}" for number in range(len(jumps))), "contested"]
        if store_type == "chunked-fs":
            chunks = [parse_chunk_file(name) for name in files_of(tmp_path / RUN, "StepLog-")]
            assert len({chunk.timestamp for chunk in chunks}) == len(chunks)

    assert fork_and_wait(work)


def record_at_another_time(store, number, offset):
    """Read what others have recorded, then record something, as a process of a host with another idea of the time."""
    set_clock(offset)
    seen = list(store.get_run_log(RUN).steps)
    store.add_step_log(RUN, step(f"s-{number}"))
    store.add_step_log(RUN, step("contested", message=f"{number}"))
    store.update_step_log(RUN, "contested", count)
    store.update_step_log(RUN, "first", count)
    store.add_step_log(RUN, step(f"s-{number}", status="SUCCESS"))
    return seen


@_stores
def test_processes_whose_clocks_jump_and_that_read_before_they_write_keep_the_order(tmp_path, store_type):
    store = open_at(tmp_path, store_type)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("first"))
    expected = ["first"]
    for number, offset in enumerate([0, -HOUR, YEAR, 0, -YEAR, HOUR]):
        (seen,) = run_processes(record_at_another_time, [(store, number, offset)])
        assert seen == [name for name in (*expected, "contested") if number or name == "first"]
        expected.append(f"s-{number}")

    def check():  # in a child, as this process shall not learn of a time a year ahead
        log = store.get_run_log(RUN, strict=True)
        assert list(log.steps) == [*expected, "contested"]
        assert log.steps["contested"].message == "5"
        assert log.steps["contested"].user_defined_metrics == {"count": 1}
        assert log.steps["first"].user_defined_metrics == {"count": 6}
        assert {found.status for name, found in log.steps.items() if name.startswith("s-")} == {"SUCCESS"}

    assert fork_and_wait(check)


# --- folders that move -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_outside_git")
@_stores
def test_recording_says_that_the_log_folder_was_moved_and_goes_on_when_it_is_back(tmp_path, store_type):
    logs, aside = tmp_path / "logs", tmp_path / "aside"
    store = open_at(logs, store_type)
    with store.start_run(RUN, capture_output=False) as run:
        with run.step("outer") as outer:
            outer.log_metric("before", 1)
            outer.log_metric("loss", 1, step=0)
            os.rename(logs, aside)
            with pytest.raises(RunLogNotFoundError, match=RUN), run.step("meanwhile"):
                pytest.fail("there is nowhere to record this")
            for call in (
                lambda: outer.log_metric("meanwhile", 2),
                lambda: run.set_parameters({"meanwhile": 2}),
                lambda: run.step("called meanwhile", int, "3"),
                lambda: store.get_run_log(RUN),
            ):
                with pytest.raises(RunLogNotFoundError, match=RUN):
                    call()
            outer.log_metric("loss", 2, step=1)  # waits
            with pytest.raises(RunLogNotFoundError):
                outer.flush()
            assert not logs.exists()
            os.rename(aside, logs)
            outer.log_metric("after", 3)
        with run.step("afterwards") as later:
            later.log_metric("rows", 4)
    log = store.get_run_log(RUN, strict=True)
    assert log.status != "PROCESSING"  # whatever it says of steps that could not begin
    assert {"outer": "SUCCESS", "afterwards": "SUCCESS"}.items() <= {
        name: found.status for name, found in log.steps.items()
    }.items()
    metrics = log.steps["outer"].user_defined_metrics
    assert {"before": 1, "after": 3}.items() <= metrics.items()
    assert [point.value for point in log.steps["outer"].metric_series["loss"]] == [1, 2]
    assert temporary_files(tmp_path) == set()


@pytest.mark.usefixtures("_outside_git")
@_stores
def test_recording_says_so_and_leaves_it_alone_when_another_run_took_the_place(tmp_path, store_type):
    logs, aside = tmp_path / "logs", tmp_path / "aside"
    store = open_at(logs, store_type)
    run = store.start_run(RUN, capture_output=False)
    with run.step("before"):
        pass
    os.rename(logs, aside)
    open_at(logs, store_type).create_run_log(RUN, tag="another")
    for call in (lambda: run.step("after", int, "1"), lambda: run.set_parameters({"x": 1}), run.finish):
        with pytest.raises(RunLogNotFoundError, match="another run of the same id"):
            call()
    log = store.get_run_log(RUN, strict=True)
    assert (log.tag, log.status, log.steps, log.parameters) == ("another", "PROCESSING", {}, {})
    old = open_at(aside, store_type).get_run_log(RUN, strict=True)
    assert (old.status, old.steps["before"].status) == ("PROCESSING", "SUCCESS")
    store.add_step_log(RUN, step("by its id"))  # which means whichever run has it
    assert list(store.get_run_log(RUN, strict=True).steps) == ["by its id"]


@pytest.mark.usefixtures("_outside_git")
@_stores
def test_a_log_folder_that_is_deleted_in_the_middle_is_said_to_be_gone(tmp_path, store_type):
    store = open_at(tmp_path / "logs", store_type)
    run = store.start_run(RUN, capture_output=False)
    run.step("before", int, "1")
    shutil.rmtree(tmp_path / "logs")
    with pytest.raises(RunLogNotFoundError, match=RUN):
        run.step("after", int, "2")
    with pytest.raises(RunLogNotFoundError, match=RUN):
        run.finish()
    assert list(store.list_runs()) == []
    with store.start_run(RUN, capture_output=False) as run, run.step("anew"):
        pass
    assert list(store.get_run_log(RUN, strict=True).steps) == ["anew"]


@pytest.mark.parametrize("change", ["another folder", "deleted folder"])
@_stores
def test_data_stays_where_it_is_when_the_working_folder_changes_or_is_deleted(
    tmp_path, monkeypatch, store_type, change
):
    work, source = tmp_path / "work", tmp_path / "data.csv"
    work.mkdir()
    (tmp_path / "another").mkdir()
    source.write_text("x,y\n")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(work)

    def record():
        store = open_at("../logs", store_type)
        with store.start_run(RUN) as run:
            with run.step("before") as before:
                print("before")
                before.put_data(source, "before.csv")
            if change == "another folder":
                os.chdir(tmp_path / "another")
            else:
                os.rmdir(work)
            with run.step("after") as after:
                print("after")
                after.put_data(source, "after.csv")
                after.get_data("before.csv", tmp_path / "copy.csv")
            run.set_parameters({"a": 1})
        with store.start_run("second", capture_output=False) as run, run.step("s"):
            pass
        assert run.map("m", [1, 2], str, executor=ThreadPoolExecutor(1)) == ["1", "2"]

    assert fork_and_wait(record)
    log = open_at(tmp_path / "logs", store_type).get_run_log(RUN, strict=True)
    assert (log.status, list(log.steps), log.parameters) == ("SUCCESS", ["before", "after"], {"a": 1})
    assert sorted(os.listdir(tmp_path / ".catalog" / RUN)) == [
        "after.csv",
        "after.execution.log",
        "before.csv",
        "before.execution.log",
    ]
    assert (tmp_path / "copy.csv").read_text() == "x,y\n"
    assert os.listdir(tmp_path / "another") == []
    assert {summary.run_id for summary in open_at(tmp_path / "logs", store_type).list_runs()} == {RUN, "second"}


@_stores
def test_opening_a_relative_folder_where_there_is_no_working_folder_is_an_error_of_ours(tmp_path, store_type):
    def work():
        (tmp_path / "work").mkdir()
        os.chdir(tmp_path / "work")
        os.rmdir(tmp_path / "work")
        with pytest.raises(ChunkstoreError):
            open_at("logs", store_type)
        open_at(tmp_path / "logs", store_type).create_run_log(RUN)

    assert fork_and_wait(work)


@pytest.mark.usefixtures("_outside_git")
def test_a_catalog_that_is_deleted_in_the_middle_is_made_again(tmp_path):
    store, source = open_at(tmp_path / "logs"), tmp_path / "data.csv"
    source.write_text("x,y\n")
    with store.start_run(RUN) as run:
        with run.step("before") as before:
            print("before")
            before.put_data(source, "before.csv")
        with run.step("middle") as middle:
            print("one")
            shutil.rmtree(tmp_path / ".catalog")
            print("two")
            with pytest.raises(DataNotFoundError, match=r"before\.csv"):
                middle.get_data("before.csv")
            middle.put_data(source, "middle.csv")
        with run.step("after") as after:
            print("after")
            after.get_data("middle.csv", tmp_path / "copy.csv")
    log = store.get_run_log(RUN, strict=True)
    assert {found.status for found in log.steps.values()} == {log.status} == {"SUCCESS"}
    assert (tmp_path / "copy.csv").read_text() == "x,y\n"
    assert sorted(os.listdir(tmp_path / ".catalog" / RUN)) == ["after.execution.log", "middle.csv"]


# --- readers that may not write --------------------------------------------------------------------------------------

NOBODY, NEIGHBOUR, GROUP = 65534, 65533, 60_000


def as_user(work, *, uid=NOBODY, gid=NOBODY, umask=0o022):
    """Tell whether `work` ends without an exception for another user."""
    if os.geteuid() != 0:
        skip_or_fail("only root can become another user")

    def work_as_user():
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
        os.umask(umask)
        signal.alarm(60)
        work()

    return fork_and_wait(work_as_user)


def make_readable_run(folder, store_type):
    store = prepare(folder / "logs", store_type)
    store.add_branch_log(RUN, chunkstore.BranchLog(internal_name="own.b", parameters={"p": 1}))
    open_at(folder / "logs", store_type).update_step_log(RUN, "own", count)
    (folder / "data.csv").write_text("x,y\n")
    run = store.join_run(RUN, capture_output=False)
    run.catalog.put(folder / "data.csv", "data.csv", "")


def tree_of(folder):
    """Return the names below a folder with what tells that they were changed."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.stat(os.path.join(path, name))
            found[os.path.join(path, name)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def read_everything(logs, store_type):
    store = open_at(logs, store_type)
    log = store.get_run_log(RUN, strict=True)
    assert sorted(log.steps) == ["foreign", "own"]
    assert (log.parameters, log.problems) == ({"a": 1}, [])
    assert log.steps["own"].branches["own.b"].parameters == {"p": 1}
    assert store.get_run_log(RUN, full=False).run_id == RUN
    assert b'"foreign"' in store.get_run_json(RUN)
    assert store.get_step_log(RUN, "own").user_defined_metrics == {"count": 1}
    assert store.get_branch_log(RUN, "own.b").internal_name == "own.b"
    assert store.get_parameters(RUN) == {"a": 1}
    assert store.get_parameters(RUN, "own.b") == {"p": 1}
    assert (store.has_run(RUN), store.has_run("none")) == (True, False)
    assert (store.has_step_log(RUN, "own"), store.has_step_log(RUN, "none")) == (True, False)
    assert (store.has_branch_log(RUN, "own.b"), store.has_branch_log(RUN, "none")) == (True, False)
    assert [(summary.run_id, summary.problem) for summary in store.list_runs()] == [(RUN, "")]


def write_nothing(logs, store_type):
    source = logs.parent / "data.csv"
    for name, call in {
        **{name: call for name, call in OPERATIONS.items() if name in WRITES},
        "record": lambda store: store.start_run("recorded"),
        "join": lambda store: store.join_run("joined", create=True),
        "step": lambda store: store.join_run(RUN).step("new").__enter__(),
        "finish": lambda store: store.join_run(RUN).finish("SUCCESS"),
        "add run": lambda store: store.add_run_log(chunkstore.RunLog(run_id="added")),
        "put data": lambda store: store.join_run(RUN).catalog.put(source, "new.csv", ""),
    }.items():
        with pytest.raises(StoreAccessError) as caught:
            call(open_at(logs, store_type))
        assert caught.value.errno in (errno.EACCES, errno.EPERM, errno.EROFS), name
        assert str(logs.parent) in str(caught.value), name


WRITES = {"add", "put", "update", "update own", "update run", "set parameters", "append", "create", "delete"}


@_stores
def test_who_may_only_read_reads_everything_and_every_write_is_refused(shared, store_type):
    make_readable_run(shared, store_type)
    before = tree_of(shared)

    def work():
        read_everything(shared / "logs", store_type)
        write_nothing(shared / "logs", store_type)

    assert as_user(work)
    assert tree_of(shared) == before


def test_data_of_which_a_part_may_not_be_read_is_an_error_and_not_left_out(shared):
    closed = shared / "data" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    (shared / "data" / "open").write_text("x")
    closed.chmod(0)
    for name in ("logs", ".catalog"):
        (shared / name).mkdir()
        (shared / name).chmod(0o777)

    def work():
        run = open_at(shared / "logs").start_run(RUN)
        with run.step("s") as current, pytest.raises((OSError, ChunkstoreError), match="closed"):
            current.put_data(shared / "data", "data")

    assert as_user(work)
    closed.chmod(0o755)


@pytest.fixture
def read_only(tmp_path):
    """Return a function that mounts a folder once more, to read only."""
    mounted = []

    def mount(folder):
        target = tmp_path / f"mounted-{len(mounted)}"
        target.mkdir()
        for command in (["--bind", str(folder), str(target)], ["-o", "remount,bind,ro", str(target)]):
            if not shutil.which("mount") or subprocess.run(["mount", *command], check=False).returncode:
                skip_or_fail("nothing can be mounted here")
            if target not in mounted:
                mounted.append(target)
        return target

    yield mount
    for target in mounted:
        subprocess.run(["umount", "-l", str(target)], check=True)


@_stores
def test_a_file_system_to_read_only_is_read_and_every_write_is_refused(tmp_path, read_only, store_type):
    (tmp_path / "top").mkdir()
    make_readable_run(tmp_path / "top", store_type)
    top = read_only(tmp_path / "top")
    before = tree_of(top)
    read_everything(top / "logs", store_type)
    write_nothing(top / "logs", store_type)
    assert tree_of(top) == before


# --- a group that shares a folder ------------------------------------------------------------------------------------


@pytest.fixture
def group_folder(shared):
    """A folder that belongs to a group, in which new folders belong to it too."""
    if os.geteuid() != 0:
        skip_or_fail("only root can give a folder to a group")
    os.chown(shared, 0, GROUP)
    os.chmod(shared, 0o2775)
    return shared


def write_for_the_group(logs, store_type, own, others):
    """Record, and change what the other member has recorded."""
    store = open_at(logs, store_type)
    try:
        store.create_run_log(RUN, parameters={"created by": own})
    except RunLogExistsError:
        pass
    store.add_step_log(RUN, step(own, status="PROCESSING"))
    store.add_step_log(RUN, step(own, status="SUCCESS"))
    for name in filter(None, (own, *others)):
        store.update_step_log(RUN, name, count)
    store.set_parameters(RUN, {own: 1})
    store.append_metrics(RUN, own, {"m": [MetricPoint(1, 1)]})
    store.update_run_log(RUN, lambda log: log.run_config.update({own: 1}))
    run = store.join_run(RUN)
    with run.step(f"recorded by {own}") as current:
        print(own)
        current.put_data(logs / ".." / "data.csv", f"{own}.csv")
        current.put_data(logs / ".." / "data.csv", "common.csv")


@_stores
def test_two_members_of_a_group_record_one_run_and_change_each_others_records(group_folder, store_type):
    logs = group_folder / "logs"
    (group_folder / "data.csv").write_text("x,y\n")
    turns = [("a", NOBODY, []), ("b", NEIGHBOUR, ["a"]), ("c", NOBODY, ["a", "b"]), ("d", NEIGHBOUR, ["a", "b", "c"])]
    for own, uid, others in turns:
        assert as_user(
            lambda own=own, others=others: write_for_the_group(logs, store_type, own, others),
            uid=uid,
            gid=GROUP,
            umask=0o002,
        ), own
    log = open_at(logs, store_type).get_run_log(RUN, strict=True)
    assert [name for name in log.steps if len(name) == 1] == ["a", "b", "c", "d"]
    for number, name in enumerate("abcd"):
        assert log.steps[name].status == "SUCCESS"
        assert log.steps[name].user_defined_metrics == {"count": 4 - number}
        assert log.steps[name].metric_series == {"m": [MetricPoint(1, 1)]}
        assert log.steps[f"recorded by {name}"].status == "SUCCESS"
    assert log.parameters == {"created by": "a", "a": 1, "b": 1, "c": 1, "d": 1}
    assert {"a", "b", "c", "d"} < set(log.run_config)


@_stores
def test_two_members_of_a_group_that_write_at_once_lose_nothing(group_folder, store_type):
    logs, turns = group_folder / "logs", 25
    for path in (logs, group_folder / "go"):
        path.mkdir()
        os.chown(path, 0, GROUP)
        os.chmod(path, 0o2775)

    def write(name):
        (group_folder / "go" / name).touch()
        while len(os.listdir(group_folder / "go")) < 2:
            time.sleep(0.001)
        store = open_at(logs, store_type)
        try:
            store.create_run_log(RUN)
        except RunLogExistsError:
            pass
        for turn in range(turns):
            store.add_step_log(RUN, step(f"{name}-{turn}"))
            store.set_parameters(RUN, {f"{name}-{turn}": turn})
            store.update_run_log(RUN, lambda log: log.run_config.update(count=log.run_config.get("count", 0) + 1))

    results = run_threads(
        lambda name=name, uid=uid: as_user(lambda: write(name), uid=uid, gid=GROUP, umask=0o002)
        for name, uid in (("one", NOBODY), ("two", NEIGHBOUR))
    )
    assert results == [True, True]
    log = open_at(logs, store_type).get_run_log(RUN, strict=True)
    names = {f"{name}-{turn}" for name in ("one", "two") for turn in range(turns)}
    assert set(log.steps) == set(log.parameters) == names
    assert log.run_config["count"] == 2 * turns
    assert temporary_files(group_folder) == set()


# --- threads ---------------------------------------------------------------------------------------------------------

TURNS = 12


def double(item):
    chunkstore.current_step().log_metric("item", item)
    return item * 2


class Everything:
    """What threads do at once to one run through one store, and what must be there afterwards."""

    def __init__(self, store, run, shared_step):
        self.store, self.run, self.shared_step = store, run, shared_step
        self.done = threading.Event()

    def record_steps(self, number):
        for turn in range(TURNS):
            with self.run.step(f"step-{number}-{turn}") as own:
                print(number, turn)
                own.log_metric("turn", turn)
                own.log_metric("series", turn, step=0)
                self.shared_step.log_metric("points", turn, step=turn)
                self.shared_step.log_metric(f"{number}-{turn}", turn)

    def change_records(self):
        for turn in range(TURNS):
            self.run.set_parameters({f"p-{turn}": turn})
            self.store.update_step_log(RUN, "counted", count)
            self.store.add_step_log(RUN, step("replaced", message=str(turn), status="SUCCESS"))
            self.store.append_metrics(RUN, "replaced", {"m": [MetricPoint(turn, turn)]})

    def fan_out(self, number):
        for turn in range(2):
            with ThreadPoolExecutor(2) as executor:
                assert self.run.map(f"map-{number}-{turn}", range(3), double, executor=executor) == [0, 2, 4]

    def read(self):
        for _ in range(TURNS):
            assert self.store.get_run_log(RUN, strict=True).status == "PROCESSING"
            assert [summary.run_id for summary in self.store.list_runs()] == [RUN]

    def close_all_the_time(self):
        while not self.done.is_set():
            self.store.close()
            time.sleep(0)

    def work(self):
        pairs = [
            lambda number=number, do=do: do(number) for do in (self.record_steps, self.fan_out) for number in (0, 1)
        ]
        try:
            return run_threads([*pairs, self.change_records, self.change_records, self.read])
        finally:
            self.done.set()

    def check(self, log):
        twice = sorted([*range(TURNS)] * 2)
        assert log.status == "SUCCESS"
        assert log.parameters == {f"p-{turn}": turn for turn in range(TURNS)}
        assert log.steps["counted"].user_defined_metrics == {"count": 2 * TURNS}
        assert sorted(point.value for point in log.steps["replaced"].metric_series["m"]) == twice
        assert sorted(point.value for point in log.steps["shared"].metric_series["points"]) == twice
        assert len(log.steps["shared"].user_defined_metrics) == 2 * TURNS
        for number, turn in itertools.product(range(2), range(TURNS)):
            own = log.steps[f"step-{number}-{turn}"]
            assert (own.status, own.user_defined_metrics) == ("SUCCESS", {"turn": turn})
            assert [point.value for point in own.metric_series["series"]] == [turn]
        for number, turn in itertools.product(range(2), range(2)):
            branches = log.steps[f"map-{number}-{turn}"].branches
            assert [branch.status for branch in branches.values()] == ["SUCCESS"] * 3
            for branch in branches.values():
                assert [list(inner.user_defined_metrics) for inner in branch.steps.values()] == [["item"]]


@pytest.mark.usefixtures("_outside_git")
@pytest.mark.parametrize("store_type", [*STORES, "buffered"])
def test_threads_that_do_everything_at_once_lose_nothing_while_one_closes_the_store(tmp_path, store_type):
    options = {} if store_type == "buffered" else {"log_folder": tmp_path / "logs"}
    store = chunkstore.open_store(store_type, catalog_folder=str(tmp_path / "data"), **options)
    with store.start_run(RUN) as run:
        store.add_step_log(RUN, step("counted", status="SUCCESS"))
        with run.step("shared") as shared_step:
            everything = Everything(store, run, shared_step)
            assert run_threads([everything.work, everything.close_all_the_time]) == [[None] * 7, None]
    everything.check(store.get_run_log(RUN, strict=True))

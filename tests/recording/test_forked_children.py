"""Children that are forked inside a run record into it, and leave it to their parent."""

import multiprocessing
import os
import signal
import sys
import threading
import weakref
from concurrent.futures import ProcessPoolExecutor

import msgspec
import pytest
from every import every_store
from processes import fork_and_wait
from run_of_two import RUN, files_of, open_at

import chunkstore
from chunkstore import forks
from chunkstore.records import decoding
from chunkstore.stores.reading import RunFiles
from chunkstore.testing.suite_sharing import run_threads


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


@pytest.mark.parametrize("leave", [leave_at_once, fall_out])
@every_store
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


def test_a_run_is_not_a_success_if_a_step_failed_in_a_forked_child(tmp_path):
    def fail(run):
        with run.step("of the child"):
            raise ValueError

    store = open_at(tmp_path / "logs")
    with store.start_run(RUN) as run:
        assert not fork_and_wait(lambda: fail(run))
    log = store.get_run_log(RUN)
    assert (log.status, log.steps["of the child"].status) == ("FAIL", "FAIL")


class Changing(weakref.WeakSet):
    """Objects to which another thread adds one while they are first gone through."""

    changed = False

    def __iter__(self):
        if not self.changed:
            self.changed = True
            raise RuntimeError("Set changed size during iteration")
        return super().__iter__()


def test_a_run_knows_that_there_was_a_fork_though_another_thread_begins_to_record(tmp_path, monkeypatch):
    run = open_at(tmp_path / "logs").start_run(RUN)
    monkeypatch.setattr(forks, "_noting", Changing([run]))
    assert fork_and_wait(lambda: None)
    assert run._shared


@pytest.mark.thorough
def test_every_run_knows_that_there_was_a_fork_whatever_other_threads_begin_meanwhile(tmp_path):
    run, done = open_at(tmp_path / "logs").start_run(RUN), threading.Event()
    bound = [run.bound_to(f"m.{number}") for number in range(200)]
    interval = sys.getswitchinterval()

    def begin():
        while not done.is_set():
            run.bound_to("m.another")

    def all_know_of_a_fork():
        for other in bound:
            other._shared = False
        return fork_and_wait(lambda: None) and all(other._shared for other in bound)

    def fork():
        try:
            return [all_know_of_a_fork() for _ in range(100)]
        finally:
            done.set()

    sys.setswitchinterval(1e-6)
    try:
        _, known = run_threads([begin, fork])
    finally:
        sys.setswitchinterval(interval)
    assert known == [True] * 100


def work_on(item):
    run, current = chunkstore.current_run(), chunkstore.current_step()
    current.log_metric(f"item-{item}", item)
    current.log_metric("series", item, step=item)
    run.set_parameters({f"item-{item}": item})
    with run.step(f"step-{item}") as own:
        own.log_metric("item", item)
        own.log_metric("pid", os.getpid(), step=0)
    return item * item


@pytest.mark.parametrize("pool", ["multiprocessing", "executor"])
@every_store
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


@pytest.mark.parametrize("interrupted", [RunFiles, msgspec.json.Decoder])
def test_a_child_forked_while_a_thread_reads_can_read(tmp_path, monkeypatch, interrupted):
    store, parent, begun, done = open_at(tmp_path / "logs"), os.getpid(), threading.Event(), threading.Event()
    with store.start_run(RUN) as run, run.step("s"):
        pass

    def pause(work):
        def paused(*arguments):
            if os.getpid() == parent:
                begun.set()
                done.wait(20)
            return work(*arguments)

        return paused

    def read():
        return list(store.get_run_log(RUN, strict=True).steps)

    def read_in_child():
        signal.alarm(10)
        assert read() == ["s"]

    def fork():
        assert begun.wait(20)
        try:
            return fork_and_wait(read_in_child)
        finally:
            done.set()

    if interrupted is RunFiles:
        monkeypatch.setattr(RunFiles, "names", pause(RunFiles.names))
    else:
        monkeypatch.setattr(decoding, "_codecs", {})
        monkeypatch.setattr(msgspec.json, "Decoder", pause(msgspec.json.Decoder))
    assert run_threads([read, fork]) == [["s"], True]

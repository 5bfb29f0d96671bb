"""Killed processes leave nothing broken behind; forked ones own nothing; threads share a store."""

import contextlib
import gc
import os
import random
import signal
import threading
import time

import pytest
from every import every_store
from processes import Forked, fork_and_wait, run_processes
from recorded import count, step
from run_of_two import RUN, open_at

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import Syscalls, has_unnamed_files
from chunkstore.clock import clock
from chunkstore.errors import LockTimeoutError, StoreUsageError
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.suite_sharing import run_threads


@pytest.fixture(params=["chunked-fs", "file-system"])
def store(request, tmp_path):
    store = chunkstore.open_store(request.param, log_folder=tmp_path / "logs", lock_timeout=5)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("shared"))
    return store


def another(store, **options):
    kind = "chunked-fs" if type(store).__name__ == "ChunkedStore" else "file-system"
    return chunkstore.open_store(kind, log_folder=store.backend.location, **options)


def hold_lock(store, say, seconds=60):
    def change(_):
        say("held")
        time.sleep(seconds)

    store.update_step_log(RUN, "shared", change)


def test_a_killed_holder_of_the_lock_blocks_nobody(store):
    with Forked(lambda say: hold_lock(store, say)) as child:
        assert child.wait_for_line() == "held"
        with pytest.raises(LockTimeoutError) as caught:
            another(store, lock_timeout=0.05).set_parameters(RUN, {"a": 1})
        assert caught.value.holder == child.pid
        child.kill()
        began = time.monotonic()
        store.set_parameters(RUN, {"a": 1})
        assert time.monotonic() - began < 1
    assert store.get_parameters(RUN) == {"a": 1}


def write_and_acknowledge(store, number):
    def work(say):
        for turn in range(10_000):
            name = f"r{number}-{turn}"
            store.add_step_log(RUN, step(name, status="PROCESSING", user_defined_metrics={"copy": [turn] * 100}))
            say(f"added {name}")
            store.set_parameters(RUN, {name: turn})
            say(f"set {name}")
            store.update_step_log(RUN, "shared", count)
            say("counted")
            store.add_step_log(RUN, step(name, status="SUCCESS", user_defined_metrics={"copy": [turn] * 100}))
            say(f"finished {name}")

    return work


@pytest.mark.thorough
def test_whatever_a_killed_writer_acknowledged_is_there(store):
    chunked = type(store).__name__ == "ChunkedStore"
    pause = random.Random(7)
    acknowledged, kills = [], 100 if chunked else 25
    for number in range(kills):
        with Forked(write_and_acknowledge(another(store), number)) as child:
            acknowledged.append(child.wait_for_line())
            time.sleep(pause.random() * 0.008)
            acknowledged += child.kill()
    log = store.get_run_log(RUN, strict=True)
    counted = acknowledged.count("counted")
    assert counted <= log.steps["shared"].user_defined_metrics.get("count", 0) <= counted + kills
    for line in acknowledged:
        said, _, name = line.partition(" ")
        if said in ("added", "finished"):
            assert log.steps[name].user_defined_metrics == {"copy": [int(name.split("-")[1])] * 100}
        if said == "finished":
            assert log.steps[name].status == "SUCCESS"
        if said == "set":
            assert log.parameters[name] == int(name.split("-")[1])
    store.set_parameters(RUN, {"the lock": "is free"})


def test_a_forked_child_owns_nothing(store):
    store.add_step_log(RUN, step("mine", message="parent"))
    assert fork_and_wait(lambda: store.add_step_log(RUN, step("mine", message="child")))
    assert store.get_step_log(RUN, "mine").message == "child"
    if type(store).__name__ == "ChunkedStore":
        files = [file for file in os.listdir(f"{store.backend.location}/{RUN}") if file.startswith("StepLog-mine-")]
        assert len(files) == 2
    store.add_step_log(RUN, step("mine", message="parent again"))
    assert store.get_step_log(RUN, "mine").message == "child"


def test_a_forked_child_does_not_unlock_its_parents_lock(store):
    seen = []

    def child():
        store.close()
        gc.collect()

    def change(_):
        assert fork_and_wait(child)
        # In another thread: this one, which has the lock, would not wait for it.
        (refused,) = run_threads([lambda: another(store, lock_timeout=0.05).set_parameters(RUN, {"a": 1})])
        assert isinstance(refused, LockTimeoutError)
        seen.append("still locked")

    store.update_step_log(RUN, "shared", change)
    assert seen == ["still locked"]
    another(store, lock_timeout=0.05).set_parameters(RUN, {"a": 1})


def test_a_fork_while_threads_write_leaves_a_child_that_works(store):
    done = threading.Event()

    def write():
        turn = 0
        while not done.is_set():
            turn += 1
            store.add_step_log(RUN, step(f"t-{turn % 20}", message=str(turn)))
            store.set_parameters(RUN, {"turn": turn})

    def fork():
        try:
            return [
                fork_and_wait(
                    lambda number=number: (
                        store.add_step_log(RUN, step(f"child-{number}")),
                        store.set_parameters(RUN, {f"child-{number}": number}),
                        store.get_run_log(RUN, strict=True),
                    )
                )
                for number in range(10)
            ]
        finally:
            done.set()

    assert run_threads([write, write, fork]) == [None, None, [True] * 10]
    log = store.get_run_log(RUN, strict=True)
    assert {f"child-{number}" for number in range(10)} <= set(log.steps) & set(log.parameters)


def test_a_child_that_is_forked_while_threads_hold_every_mutex_works(store):
    def child():
        signal.alarm(5)  # whoever waits for a mutex that nobody gives back is ended
        store.add_step_log(RUN, step("child"))
        store.set_parameters(RUN, {"child": 1})

    store.set_parameters(RUN, {"parent": 1})
    all_held, done = threading.Event(), threading.Event()

    def hold():  # another thread than the one that forks, which could take again what it has
        with contextlib.ExitStack() as held:
            for mutex in store._stripes.mutexes if isinstance(store, ChunkedStore) else ():  # documents have none
                held.enter_context(mutex)
            all_held.set()
            done.wait(20)

    def fork():
        all_held.wait(20)
        try:
            return fork_and_wait(child)
        finally:
            done.set()

    assert run_threads([hold, fork]) == [None, True]
    assert store.get_parameters(RUN) == {"parent": 1, "child": 1}
    assert "child" in store.get_run_log(RUN).steps


def test_a_buffered_store_refuses_to_lose_what_a_child_records():
    store = chunkstore.open_store("buffered")
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("shared"))
    calls = [
        lambda: store.add_step_log(RUN, step("child")),
        lambda: store.set_parameters(RUN, {"a": 1}),
        lambda: store.update_step_log(RUN, "shared", count),
        lambda: store.get_run_log(RUN),
        lambda: store.create_run_log("other"),
        lambda: list(store.list_runs()),
        lambda: store.delete_run(RUN),
    ]

    def child():
        for call in calls:
            with pytest.raises(StoreUsageError, match="fork"):
                call()

    assert fork_and_wait(child)
    assert list(store.get_run_log(RUN).steps) == ["shared"]


def test_threads_that_share_a_buffered_store_lose_nothing():
    store = chunkstore.open_store("buffered")
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("shared"))

    def write(number):
        for turn in range(50):
            store.update_step_log(RUN, "shared", count)
            store.add_step_log(RUN, step(f"{number}-{turn}"))
            store.set_parameters(RUN, {f"{number}-{turn}": turn})

    assert run_threads(lambda number=number: write(number) for number in range(8)) == [None] * 8
    log = store.get_run_log(RUN, strict=True)
    assert log.steps["shared"].user_defined_metrics == {"count": 400}
    assert len(log.steps) == 401
    assert len(log.parameters) == 400


def exchange(store, number):
    """Write, then read what a process with another idea of the time wrote."""

    clock._wall_clock = lambda: time.time_ns() - number * 10**12
    store.get_run_log(RUN)
    store.add_step_log(RUN, step(f"host-{number}"))


def test_what_happened_after_is_ordered_after_across_hosts_whose_clocks_disagree(store):
    for number in range(5):
        run_processes(exchange, [(store, number)])
    assert list(store.get_run_log(RUN).steps) == ["shared", *(f"host-{number}" for number in range(5))]


class PausedInLink(Syscalls):
    """Does something while the first file of a name is about to get it."""

    def __init__(self, meanwhile):
        self._meanwhile = meanwhile

    def link_unnamed(self, fd, target, dir_fd):
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        super().link_unnamed(fd, target, dir_fd)


@pytest.mark.skipif(not has_unnamed_files(), reason="needs files that have no name before they are whole")
def test_threads_that_record_one_step_at_once_make_one_file_of_it(tmp_path):
    other = threading.Thread(target=lambda: store.add_step_log(RUN, step("same", message="other")))

    def let_the_other_try():
        other.start()
        other.join(0.2)  # long enough to be done with it, if it does not wait for us

    backend = DirectoryBackend(tmp_path / "logs", syscalls=PausedInLink(let_the_other_try))
    store = ChunkedStore(backend)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("same", message="first"))
    other.join()
    assert len(list((tmp_path / "logs" / RUN).glob("StepLog-same-*"))) == 1
    assert store.get_step_log(RUN, "same").message == "other"


@every_store
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

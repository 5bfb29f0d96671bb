"""One journal per writer: processes, threads, workers of pools and stores that were sent."""

import os
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from descriptors import descriptors_into
from processes import fork_and_wait
from recorded import step

import chunkstore
from stores.journals.journaled_runs import RUN, add_point, files_in, opened

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


@pytest.mark.thorough
def test_descriptors_stay_few_however_many_runs_there_are(logs):
    store = opened(logs, durability="process")
    for turn in range(2):
        for number in range(200):
            run_id = f"run-{number}"
            if not turn:
                store.create_run_log(run_id)
            store.add_step_log(run_id, step("s", message=str(turn)))
    assert 0 < len(descriptors_into(logs)) < 200
    for number in range(200):
        log = store.get_run_log(f"run-{number}", strict=True)
        assert [found.message for found in log.steps.values()] == ["1"]
    store.close()
    assert descriptors_into(logs) == []
    for number in range(3):
        store.add_step_log("run-0", step(f"after {number}"))
        finished = f"run-{number}"
        store.update_run_log(finished, lambda log: setattr(log, "status", "SUCCESS"))
    assert len(store.get_run_log("run-0", strict=True).steps) == 4


# --- sealing, deleting -----------------------------------------------------------------------------------------------


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

"""A run records how it went, alone or with many processes."""

import multiprocessing
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

import chunkstore
from recording import work


def notes(log):
    return log.run_config["chunkstore"]


def test_a_run_records_its_status_tag_parameters_and_times(any_store):
    with any_store.start_run("run", tag="nightly", parameters={"seed": 7}, run_config={"queue": "long"}) as run:
        before = any_store.get_run_log("run")
        run.step("load", work.two)
    log = any_store.get_run_log("run")
    assert (before.status, log.status) == ("PROCESSING", "SUCCESS")
    assert (log.tag, log.parameters, log.run_config["queue"]) == ("nightly", {"seed": 7}, "long")
    assert notes(log)["created"] <= notes(log)["finished"]
    assert list(log.steps) == ["load"]
    assert (log.use_cached, log.original_run_id) == (False, "")


def test_a_run_counts_its_steps_when_it_finishes_for_those_who_list_many(any_store):
    with any_store.start_run("run") as run:
        run.step("load", work.two)
        run.map("map", [1, 2], work.double, executor=ThreadPoolExecutor(1))
        run.step("fail", int, "no number", on_error="continue")
        assert [summary.steps for summary in any_store.list_runs()] == [None]
    assert [summary.steps for summary in any_store.list_runs()] == [{"SUCCESS": 4, "FAIL": 1}]
    assert any_store.count_steps("run") == {"SUCCESS": 4, "FAIL": 1}
    any_store.start_run("empty").finish()
    assert [summary.steps for summary in any_store.list_runs()] == [{}, {"SUCCESS": 4, "FAIL": 1}]


@pytest.mark.parametrize("noted", [{"SUCCESS": "many"}, ["SUCCESS"], 5, "x"])
def test_counts_that_another_tool_has_noted_are_none(any_store, noted):
    any_store.create_run_log("run")
    any_store.update_run_log("run", lambda log: notes(log).update(steps=noted))
    assert [(summary.run_id, summary.steps) for summary in any_store.list_runs()] == [("run", None)]


def test_a_run_without_an_id_gets_one(store):
    with store.start_run() as one, store.start_run() as other:
        assert one.run_id != other.run_id
    assert {summary.run_id for summary in store.list_runs()} == {one.run_id, other.run_id}


def test_a_run_whose_block_raises_is_recorded_as_failed_and_the_error_passes(any_store):
    with pytest.raises(KeyError), any_store.start_run("run") as run, run.step("load"):
        raise KeyError("missing")
    log = any_store.get_run_log("run")
    assert log.status == "FAIL"
    assert "KeyError" in notes(log)["message"]
    assert "missing" in notes(log)["message"]
    assert log.steps["load"].status == "FAIL"


@pytest.mark.parametrize(("error", "status"), [(SystemExit(0), "SUCCESS"), (SystemExit(2), "FAIL")])
def test_a_run_that_exits_is_as_successful_as_its_exit_code(store, error, status):
    with pytest.raises(SystemExit), store.start_run("run"):
        raise error
    assert store.get_run_log("run").status == status


def test_a_run_interrupted_at_the_keyboard_is_recorded_as_failed(store):
    with pytest.raises(KeyboardInterrupt), store.start_run("run"):
        raise KeyboardInterrupt
    assert store.get_run_log("run").status == "FAIL"


def test_a_run_with_a_failed_step_that_was_passed_over_has_failed(store):
    with store.start_run("run") as run:
        run.step("load", work.fail_always, on_error="continue")
    log = store.get_run_log("run")
    assert log.status == "FAIL"
    assert "load" in notes(log)["message"]


def test_finish_ends_a_run_that_has_no_block(any_store):
    run = any_store.start_run("run")
    run.step("load", work.two)
    assert any_store.get_run_log("run").status == "PROCESSING"
    assert run.finish().status == "SUCCESS"
    assert any_store.get_run_log("run").status == "SUCCESS"
    assert run.finish(status="ABANDONED").status == "ABANDONED"


def test_finish_from_a_branch_is_refused(store):
    run = store.start_run("run")
    with pytest.raises(chunkstore.StoreUsageError, match=re.escape("score.a")):
        run.bound_to("score.a").finish()
    assert store.get_run_log("run").status == "PROCESSING"


def test_a_run_that_has_ended_cannot_be_entered_again(store):
    with store.start_run("run") as run:
        pass
    with pytest.raises(chunkstore.StoreUsageError, match="it has ended"), run:
        pass


def test_a_run_cannot_be_entered_twice(store):
    with store.start_run("run") as run, pytest.raises(chunkstore.StoreUsageError, match="twice"):
        run.__enter__()


def test_a_run_id_that_was_used_is_refused(any_store):
    any_store.start_run("run").finish()
    with pytest.raises(chunkstore.RunLogExistsError, match="run"):
        any_store.start_run("run")
    assert any_store.get_run_log("run").status == "SUCCESS"


@pytest.mark.parametrize("run_id", ["../x", "a/b", "", "."])
def test_a_hostile_run_id_is_refused_and_nothing_is_made(store, run_id, tmp_path):
    with pytest.raises(chunkstore.InvalidNameError):
        store.start_run(run_id)
    assert list(store.list_runs()) == []
    assert not (tmp_path / "x").exists()


def test_a_parameter_that_cannot_be_stored_is_named_and_no_run_is_made(any_store):
    with pytest.raises(chunkstore.InvalidValueError, match="handle"):
        any_store.start_run("run", parameters={"handle": object()})
    assert list(any_store.list_runs()) == []


def test_the_folder_of_a_run_is_the_one_of_runnable(store):
    with store.start_run("pleasant-lamarr-0549", capture_output=False) as run:
        run.step("simple", work.two)
        with run.step("success", step_type="success"):
            pass
    names = os.listdir(os.path.join(store.options.log_folder, "pleasant-lamarr-0549"))
    shown = sorted(re.sub(r"\d{19}", "<ns>", name) for name in names if not name.startswith("."))
    assert shown == ["RunLog.json", "StepLog-simple-<ns>.json", "StepLog-success-<ns>.json"]


def test_parameters_of_a_branch_lie_over_those_of_the_run(any_store):
    with any_store.start_run("run", parameters={"seed": 7, "size": 1}) as run:
        branch = run.bound_to("score.a")
        branch.set_parameters({"size": 2})
        inner = branch.bound_to("score.a.train.rf")
        inner.set_parameters({"depth": 3})
        run.set_parameters({"more": True})
        assert inner.get_parameters() == {"seed": 7, "size": 2, "depth": 3, "more": True}
        assert run.get_parameters() == {"seed": 7, "size": 1, "more": True}


def test_joining_an_unknown_run_is_refused_unless_it_may_be_created(any_store):
    with pytest.raises(chunkstore.RunLogNotFoundError, match="array-1"):
        any_store.join_run("array-1")
    with any_store.join_run("array-1", create=True, tag="array") as run:
        run.step("load", work.two)
    log = any_store.get_run_log("array-1")
    assert (log.status, log.tag) == ("PROCESSING", "array")


def test_finish_of_a_joined_run_looks_at_what_all_its_processes_recorded(any_store):
    with any_store.join_run("array-1", create=True) as one, any_store.join_run("array-1") as other:
        one.step("good", work.two)
        other.step("bad", work.fail_always, on_error="continue")
    log = one.finish()
    assert log.status == "FAIL"
    assert "bad" in notes(log)["message"]


def test_a_joined_run_whose_block_raises_is_not_finished(store):
    with pytest.raises(ValueError, match="mine"), store.join_run("array-1", create=True):
        raise ValueError("mine")
    assert store.get_run_log("array-1").status == "PROCESSING"


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_many_processes_that_join_at_once_record_one_run_with_a_step_each(store, tmp_path, method):
    ready = tmp_path / "ready"
    context = multiprocessing.get_context(method)
    count = 12 if method == "fork" else 4
    processes = [
        context.Process(target=work.join_and_step, args=(store.options.log_folder, "array-1", rank, str(ready)))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    ready.touch()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * count
    log = store.get_run_log("array-1", strict=True)
    assert log.status == "PROCESSING"
    assert sorted(log.steps) == sorted(f"rank-{rank}" for rank in range(count))
    assert all(log.steps[f"rank-{rank}"].user_defined_metrics == {"rank": rank} for rank in range(count))
    assert len(list(store.list_runs())) == 1
    assert store.join_run("array-1").finish().status == "SUCCESS"


def test_the_run_is_durable_at_its_end_as_the_configuration_says(tmp_path, monkeypatch):
    synced = []
    for durability in ("process", "run"):
        store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / durability), durability=durability)
        backend = type(store.backend)
        monkeypatch.setattr(backend, "sync", lambda self, folder: synced.append((self.durability, folder)))
        store.start_run("one").finish()
    assert synced == [("run", "one")]


def test_that_the_end_cannot_be_recorded_does_not_hide_the_authors_error(store, monkeypatch, caplog):
    def broken(*_):
        raise OSError("gone")

    run = store.start_run("run")
    monkeypatch.setattr(store, "update_run_log", broken)
    with pytest.raises(ValueError, match="mine"), run:
        raise ValueError("mine")
    assert "Cannot record the end" in caplog.text

"""What is taken over from an earlier run is whole, of one run, and there; a run that lives is not resumed unasked."""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from descriptors import leading_into
from processes import Forked

import chunkstore
from chunkstore.recording.catalog import retrieval
from chunkstore.views.compare.reuse import explain, summary_of
from recording import work


def printed(store, run, step):
    """Return what is kept of what a step printed, whose record has its hash."""
    (entry,) = [entry for entry in step.data_catalog if entry.name.endswith(".execution.log")]
    with retrieval.version(store.catalog_path, entry.catalog_relative_path, entry.data_hash) as content:
        text = content.read()
    assert hashlib.sha256(text).hexdigest() == entry.data_hash
    with retrieval.newest(store.catalog_path, entry.catalog_relative_path) as content:
        assert content.read() == text, run
    return text.decode()


@pytest.mark.parametrize("damage", ["removed", "changed", "one of two removed"])
def test_a_block_whose_data_is_gone_or_changed_is_not_cached(any_store, tmp_path, damage, calls):
    def go(run_id, resume=None):
        with any_store.start_run(run_id, resume=resume) as run, run.step("load") as step:
            if step.cached:
                return step.reuse()
            work.note(calls, "load")
            for name in ("a", "b"):
                (tmp_path / name).write_text(name)
                step.put_data(tmp_path / name)
            step.set_result(3)
            return 3

    go("first")
    assert go("second", "first") == 3
    assert work.noted(calls) == {"load": 1}
    folder = f"{any_store.catalog_path}/second"
    shutil.rmtree(f"{folder}/.versions")
    if damage == "removed":
        shutil.rmtree(folder)
    elif damage == "changed":
        os.unlink(f"{folder}/b")
        with open(f"{folder}/b", "w") as file:
            file.write("other")
    else:
        os.unlink(f"{folder}/b")
    # What the run before it has is not looked for: of each step, the nearest success counts.
    assert go("third", "second") == 3
    assert work.noted(calls) == {"load": 2}


def test_data_that_goes_between_the_question_and_the_deed_is_a_clear_error_and_the_step_may_go_on(store, tmp_path):
    (tmp_path / "a").write_text("a")
    with store.start_run("first") as run, run.step("load") as step:
        step.put_data(tmp_path / "a")
    with store.start_run("second", resume="first") as run, run.step("load") as step:
        print("before")
        assert step.cached
        shutil.rmtree(f"{store.catalog_path}/first")
        with pytest.raises(chunkstore.DataNotFoundError, match="first"):
            step.reuse()
        print("after")
    step = store.get_step_log("second", "load")
    assert (step.status, step.mock) == ("SUCCESS", False)
    assert printed(store, run, step) == "before\nafter\n"


@pytest.mark.parametrize("first", ["one\n", ""])
@pytest.mark.parametrize("before", ["before\n", ""])
@pytest.mark.parametrize("after", ["after\n", ""])
def test_what_a_block_prints_goes_on_where_the_output_ended_that_it_took_over(store, first, before, after):
    def go(run_id, resume=None):
        with store.start_run(run_id, resume=resume) as run, run.step("load") as step:
            if resume:
                print(before, end="")
                step.reuse()
                print(after, end="")
            else:
                print(first, end="")
        return run, store.get_step_log(run_id, "load")

    _, old = go("first")
    run, new = go("second", "first")
    whole = first + before + after
    assert (printed(store, run, new) if new.data_catalog else "") == whole
    assert store.get_step_log("first", "load").to_dict() == old.to_dict()
    if first:
        assert printed(store, run, old) == first
    run, third = go("third", "second")
    assert (printed(store, run, third) if third.data_catalog else "") == whole + before + after


def test_blocks_that_are_taken_over_leave_nothing_open(store, tmp_path):
    def go(run_id, resume=None):
        with store.start_run(run_id, resume=resume) as run:
            for number in range(20):
                with run.step(f"s{number}") as step:
                    print("x")
                    if resume:
                        step.reuse()
                        step.log_metric("loss", 1, step=number)

    go("first")
    before = len(leading_into(tmp_path))
    go("second", "first")
    assert len(leading_into(tmp_path)) <= before + 2
    assert store.get_step_log("second", "s19").metric_series["loss"][0].step == 19


def test_what_a_block_recorded_before_it_was_taken_over_is_kept(any_store):
    for run_id, resume in (("first", None), ("second", "first")):
        with any_store.start_run(run_id, resume=resume) as run, run.step("load") as step:
            step.log_metric("mine", run_id)
            if resume:
                step.reuse()
                step.log_metric("later", 1)
            else:
                step.log_metric("theirs", 1)
    assert any_store.get_step_log("second", "load").user_defined_metrics == {"mine": "second", "theirs": 1, "later": 1}
    assert any_store.get_step_log("first", "load").user_defined_metrics == {"mine": "first", "theirs": 1}


@pytest.mark.parametrize("block", [True, False])
def test_a_step_in_which_one_failed_runs_again_and_takes_over_those_that_succeeded(any_store, calls, block):
    def inside():
        run = chunkstore.current_run()
        run.step("good", work.noted_double, calls, 1)
        with run.step("upload", on_error="continue"):
            work.note(calls, "upload")
            if work.noted(calls)["upload"] == 1:
                raise OSError("the network was down")
        return 3

    def go(run_id, resume=None):
        with any_store.start_run(run_id, resume=resume) as run:
            if not block:
                return run.step("work", inside)
            with run.step("work") as step:
                if step.cached:
                    return step.reuse()
                step.set_result(3)
                return inside()

    assert go("first") == go("second", "first") == go("third", "second") == 3
    logs = [any_store.get_run_log(run_id, strict=True) for run_id in ("first", "second", "third")]
    assert [log.status for log in logs] == ["FAIL", "SUCCESS", "SUCCESS"]
    assert work.noted(calls) == {"1": 1, "upload": 2}
    assert [list(log.steps) for log in logs] == [["work", "good", "upload"]] * 3
    assert [step.mock for step in logs[1].steps.values()] == [False, True, False]
    assert [step.cached_from for step in logs[2].steps.values()] == ["second"] * 3
    told = explain(logs[1], logs[1].steps["work"], [logs[0]]).step
    assert summary_of(told) == "ran: failed in run first"
    assert "upload, which ran inside it, had not succeeded" in told.reasons[0].text


def test_a_step_in_whose_map_a_branch_failed_runs_again(any_store, calls):
    def outer():
        with ThreadPoolExecutor(1) as threads:
            run = chunkstore.current_run()
            return run.map("m", [1, 2], item, executor=threads, on_error="continue")

    def item(number):
        work.note(calls, number)
        if number == 2 and work.noted(calls)["2"] == 1:
            raise ValueError("not yet")
        return number

    for run_id, resume, expected in (
        ("first", None, [1, None]),
        ("second", "first", [1, 2]),
        ("third", "second", [1, 2]),
    ):
        with any_store.start_run(run_id, resume=resume) as run:
            assert run.step("outer", outer) == expected
    assert work.noted(calls) == {"1": 1, "2": 2}
    third = any_store.get_run_log("third", strict=True)
    assert [list(third.steps), list(third.steps["m"].branches)] == [["outer", "m"], ["m.1", "m.2"]]


def test_steps_are_not_taken_over_onto_names_that_others_have(any_store, calls):
    def outer():
        chunkstore.current_run().step("load", work.noted_double, calls, 1)
        return 1

    for run_id, resume in (("first", None), ("second", "first")):
        with any_store.start_run(run_id, resume=resume) as run:
            if resume:
                run.step("load", work.noted_double, calls, 2)
            run.step("outer", outer)
    steps = any_store.get_run_log("second").steps
    assert {name: (step.mock, step.result) for name, step in steps.items()} == {
        "load": (False, 4),
        "outer": (False, 1),
        "load#2": (False, 2),
    }


def test_a_branch_is_of_one_run(any_store):
    calls = []

    def work_on(version):
        calls.append(version)
        if version == 2:
            with chunkstore.current_run().step("upload", on_error="continue"):
                raise OSError("the network was down")
        return version * 10

    for run_id, resume, version in (("one", None, 1), ("two", "one", 2), ("three", "two", 2), ("four", "three", 1)):
        with ThreadPoolExecutor(1) as threads, any_store.start_run(run_id, resume=resume) as run:
            run.map("m", [version], work_on, executor=threads, name_of=lambda _: "k", on_error="continue")
    assert calls == [1, 2, 2]
    branch = any_store.get_run_log("four").steps["m"].branches["m.k"]
    assert (branch.item, branch.cached_from, list(branch.steps)) == (1, "one", ["m.k.work_on"])


# --- runs that live --------------------------------------------------------------------------------------------------


def test_a_run_that_another_process_records_is_not_resumed_unasked(store):
    def record(tell):
        with store.start_run("first") as run, run.step("load"):
            tell(str(os.getpid()))
            work.wait_for_file("done")

    with Forked(record) as child:
        pid = int(child.wait_for_line())
        with pytest.raises(chunkstore.RunLivesError, match=f"process {pid} .*resume_live=True") as caught:
            store.start_run("second", resume="first")
        assert (caught.value.run_id, caught.value.pid) == ("first", pid)
        assert not store.has_run("second")
        store.start_run("third", resume="first", resume_live=True).finish()
        open("done", "w").close()
        os.waitpid(child.pid, 0)
        child.pid = 0
    store.start_run("second", resume="first").finish()


@pytest.mark.parametrize("joined", [True, False])
def test_a_run_that_this_process_is_in_is_not_resumed_unasked(any_store, joined):
    with any_store.start_run("first"), any_store.join_run("first") if joined else open(os.devnull):
        with pytest.raises(chunkstore.RunLivesError):
            any_store.start_run("second", resume="first")
        any_store.start_run("second", resume="first", resume_live=True).finish()


def test_a_run_that_this_process_left_alone_is_resumed(any_store):
    first = any_store.start_run("first")  # a cell of a notebook that failed
    with pytest.raises(ValueError, match="bad"):
        first.step("load", int, "bad")
    any_store.start_run("second", resume="first").finish()


def test_a_run_of_which_nobody_knows_whether_it_lives_is_resumed_with_a_warning(store, caplog):
    store.create_run_log("first")
    store.start_run("second", resume="first").finish()
    assert "somebody may still record it" in caplog.text

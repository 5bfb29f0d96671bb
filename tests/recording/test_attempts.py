"""What an attempt recorded belongs to that attempt: one that failed leaves no trace in what the step came to."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import pytest

import chunkstore
from chunkstore.records.attempts import counting_branches, has_succeeded, left_behind, step_counts
from chunkstore.views.pages.run_page import run_page
from chunkstore.views.pages.step_page import step_sections
from chunkstore.views.tables.rows import rows_of
from recording import work


def shown(series):
    return [(point.step, point.value) for point in series]


def test_values_series_data_and_results_of_a_failed_attempt_are_in_that_attempt(any_store, tmp_path):
    tries = []

    def train():
        tries.append(1)
        step = chunkstore.current_step()
        for epoch in range(3 - len(tries)):
            step.log_metric("loss", len(tries), step=epoch)
        step.log_metric(f"only {len(tries)}", 1)
        (tmp_path / "model").write_text(f"weights {len(tries)}")
        step.put_data(tmp_path / "model")
        step.set_result(len(tries))
        if len(tries) == 1:
            raise OSError("the disk was tired")

    with any_store.start_run("run") as run:
        run.step("train", train, max_attempts=2, backoff=0)
    step = any_store.get_run_log("run", strict=True).steps["train"]
    first, second = step.attempts
    assert (step.user_defined_metrics, first.metrics) == ({"only 2": 1}, {"only 1": 1})
    assert (shown(step.metric_series["loss"]), shown(first.metric_series["loss"])) == ([(0, 2)], [(0, 1), (1, 1)])
    assert [entry.name for entry in (*step.data_catalog, *first.data_catalog)] == ["model", "model"]
    assert step.data_catalog[0].data_hash != first.data_catalog[0].data_hash
    assert first.result == 1
    assert second.metrics is chunkstore.StepAttempt().metrics
    assert any_store.get_step_log("run", "train").to_dict() == step.to_dict()
    assert any_store.get_run_json("run").count(b"only 1") == 1


def test_after_the_last_attempt_the_step_has_what_that_one_recorded(any_store):
    def fail():
        step = chunkstore.current_step()
        step.log_metric("try", len(step._log.attempts))
        step.log_metric("loss", 1, step=len(step._log.attempts))
        raise ValueError("again")

    with any_store.start_run("run") as run:
        run.step("fail", fail, max_attempts=3, backoff=0, on_error="continue")
    step = any_store.get_step_log("run", "fail")
    assert (step.status, step.user_defined_metrics) == ("FAIL", {"try": 3})
    assert shown(step.metric_series["loss"]) == [(3, 1)]
    assert [attempt.metrics for attempt in step.attempts[:2]] == [{"try": 1}, {"try": 2}]


def test_that_json_changes_a_result_is_not_told_of_the_attempt_after_it(any_store):
    def give():
        step = chunkstore.current_step()
        if len(step._log.attempts) == 1:
            step.set_result((1, 2))
        raise ValueError("again")

    with any_store.start_run("run") as run:
        run.step("give", give, max_attempts=2, backoff=0, on_error="continue")
    step = any_store.get_step_log("run", "give")
    assert (step.attempts[0].result, step.to_dict().keys() & {"result", "result_types"}) == ([1, 2], set())


def test_a_step_that_was_tried_again_is_taken_over(any_store, calls, tmp_path):
    def load():
        work.note(calls, "load")
        (tmp_path / "data").write_text(str(work.noted(calls)["load"]))
        chunkstore.current_step().put_data(tmp_path / "data")
        if work.noted(calls)["load"] == 1:
            raise OSError("again")
        return 7

    for run_id, resume in (("first", None), ("second", "first")):
        with any_store.start_run(run_id, resume=resume) as run:
            assert run.step("load", load, max_attempts=2, backoff=0) == 7
    assert work.noted(calls) == {"load": 2}
    step = any_store.get_step_log("second", "load")
    assert [attempt.status for attempt in step.attempts] == ["FAIL", "SUCCESS"]
    assert not step.attempts[0].data_catalog  # that stays with the run where it was put


@pytest.mark.parametrize("branched", [True, False])
def test_steps_inside_an_attempt_that_failed_make_nothing_fail(any_store, branched):
    tries = []

    def work_on(_=None):
        tries.append(1)
        run = chunkstore.current_run()
        with run.step("same"):
            if len(tries) == 2:
                raise OSError("the second try fails here")
        if len(tries) == 1:
            with run.step("only in the first"):
                raise OSError("the first try fails here")
        run.step("inner", int, "7")

    with any_store.start_run("run") as run:
        if branched:
            run.map("m", ["k"], work_on, executor=ThreadPoolExecutor(1), max_attempts=3, backoff=0)
        else:
            run.step("work_on", work_on, max_attempts=3, backoff=0)
    log = any_store.get_run_log("run", strict=True)
    assert log.status == "SUCCESS"
    steps = log.steps["m"].branches["m.k"].steps if branched else log.steps
    start = "m.k." if branched else ""
    assert {name.removeprefix(start): step.status for name, step in steps.items()} == {
        "work_on": "SUCCESS",
        "same": "SUCCESS",
        "only in the first": "FAIL",
        "inner": "SUCCESS",
    }
    assert left_behind(steps) == {f"{start}only in the first"}
    assert [attempt.status for attempt in steps[f"{start}same"].attempts] == ["SUCCESS", "FAIL", "SUCCESS"]
    assert log.notes["steps"] == {"SUCCESS": 4 if branched else 3} == any_store.count_steps("run")


def test_a_map_inside_an_attempt_that_failed_is_run_again_under_its_name(any_store):
    tries = []

    def item(number):
        chunkstore.current_step().log_metric("loss", len(tries), step=0)
        if len(tries) == 1 and number == 2:
            raise ValueError("not yet")
        return number

    def outer():
        tries.append(1)
        with ThreadPoolExecutor(2) as threads:
            return chunkstore.current_run().map("m", [1, 2], item, executor=threads)

    with any_store.start_run("run") as run:
        assert run.step("outer", outer, max_attempts=2, backoff=0) == [1, 2]
    log = any_store.get_run_log("run", strict=True)
    assert (log.status, list(log.steps)) == ("SUCCESS", ["outer", "m"])
    assert [attempt.status for attempt in log.steps["m"].attempts] == ["FAIL", "SUCCESS"]
    step = log.steps["m"].branches["m.2"].steps["m.2.item"]
    assert [attempt.status for attempt in step.attempts] == ["FAIL", "SUCCESS"]
    assert shown(step.metric_series["loss"]) == [(0, 2)]
    assert shown(step.attempts[0].metric_series["loss"]) == [(0, 1)]


def map_less_each_time(tries, items, function):
    """Map over all items in the first attempt, which fails; over one less in the second."""
    tries.append(1)
    with ThreadPoolExecutor(2) as threads:
        mapped = items[: len(items) + 1 - len(tries)]
        result = chunkstore.current_run().map("m", mapped, function, executor=threads, on_error="continue")
    if len(tries) == 1:
        raise RuntimeError("once more")
    return result


@pytest.mark.parametrize("items", [[1, 2, 3], [3]])
@pytest.mark.parametrize("branched", [False, True])
def test_a_branch_that_only_an_attempt_that_failed_had_is_left_behind(any_store, branched, items):
    def fail_for_three(item):
        with chunkstore.current_run().step("deeper"):
            if item == 3:
                raise ValueError("three")
        return item

    tries = []

    def outer(*_):
        return map_less_each_time(tries, items, fail_for_three)

    for name, earlier in (("run", None), ("again", "run")):
        with any_store.start_run(name, resume=earlier) as run, ThreadPoolExecutor(1) as threads:
            if branched:
                run.map("o", ["k"], outer, executor=threads, max_attempts=2, backoff=0)
            else:
                run.step("o", outer, max_attempts=2, backoff=0)
    log = any_store.get_run_log("run", strict=True)
    inner = log.steps["o"].branches["o.k"].steps["o.k.m"] if branched else log.steps["m"]
    left = {name.rpartition(".")[2]: branch.status for name, branch in inner.branches.items()}
    assert left == dict.fromkeys(map(str, items), "SUCCESS") | {"3": "FAIL"}
    assert {name.rpartition(".")[2] for name in counting_branches(inner)} == set(map(str, items[:-1]))
    assert has_succeeded(inner)
    whole = 2 * len(items) - 2 + (3 if branched else 2)
    assert log.notes["steps"] == any_store.count_steps("run") == run_page(log, None).steps == {"SUCCESS": whole}
    assert next(rows_of(log, "runs")).failed_steps == 0
    assert chunkstore.render_tree(log).count("in an attempt that was tried again") == 1


def test_what_an_attempt_that_failed_left_is_not_taken_for_the_result_of_the_next_when_its_pool_breaks(store, calls):
    with store.start_run("run") as run:
        result = run.step("o", map_on_breaking_pool, calls, max_attempts=2, backoff=0)
    assert result == [0, 10, 20, 30]


def map_on_breaking_pool(calls):
    """Map over a pool whose only worker dies in the second attempt, as it runs the first item."""
    tries = work.noted(calls).get("tries", 0)
    work.note(calls, "tries")
    result = chunkstore.current_run().map(
        "m", range(4), partial(ten_times, calls, tries), executor=ProcessPoolExecutor(1), max_attempts=2, backoff=0
    )
    if not tries:
        raise RuntimeError("once more")
    return result


def ten_times(calls, tries, item):
    if tries and item == 0 and not work.noted(calls).get("died"):
        work.note(calls, "died")
        work.die()
    return item * 10 * tries


def test_a_run_that_others_record_too_does_not_count_what_was_left_behind(store):
    tries = []

    def outer():
        tries.append(1)
        with chunkstore.current_run().step(f"try {len(tries)}"):
            if len(tries) == 1:
                raise ValueError("not yet")

    with store.start_run("run"):
        joined = store.join_run("run")
        joined.step("outer", outer, max_attempts=2, backoff=0)
        log = joined.finish()
    assert (log.status, log.notes["steps"]) == ("SUCCESS", {"SUCCESS": 2})


def test_retries_inside_retries_count_their_own_attempts(any_store):
    calls = []

    def inner():
        calls.append(1)
        chunkstore.current_run().step("innermost", int)
        if len(calls) % 2:
            raise ValueError("odd")

    def outer():
        chunkstore.current_run().step("inner", inner, max_attempts=2, backoff=0)
        if len(calls) == 2:
            raise ValueError("once more")

    with any_store.start_run("run") as run:
        run.step("outer", outer, max_attempts=2, backoff=0)
    log = any_store.get_run_log("run", strict=True)
    assert (log.status, list(log.steps)) == ("SUCCESS", ["outer", "inner", "innermost"])
    assert [attempt.status for attempt in log.steps["inner"].attempts] == ["FAIL", "SUCCESS"] * 2
    assert not left_behind(log.steps)


def test_what_a_killed_worker_had_recorded_is_in_its_attempt(store, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    with ProcessPoolExecutor(1) as pool, store.start_run("run") as run:
        run.map("m", [str(marks)], record_and_die, executor=pool, max_attempts=2, name_of=lambda _: "k")
    branch = store.get_run_log("run").steps["m"].branches["m.k"]
    step = branch.steps["m.k.record_and_die"]
    assert (branch.status, step.status) == ("SUCCESS", "SUCCESS")
    assert (step.user_defined_metrics, shown(step.metric_series["loss"])) == ({"try": 2}, [(0, 2)])
    assert (step.attempts[0].metrics, shown(step.attempts[0].metric_series["loss"])) == ({"try": 1}, [(0, 1)])
    assert left_behind(branch.steps) == {"m.k.try 1"}
    assert [attempt.status for attempt in branch.steps["m.k.both"].attempts] == ["FAIL", "SUCCESS"]
    assert step_counts(store.iter_records("run")) == {"SUCCESS": 4}


def record_and_die(folder):
    step, run = chunkstore.current_step(), chunkstore.current_run()
    tries = len(os.listdir(folder)) + 1
    open(f"{folder}/{tries}", "w").close()
    step.log_metric("try", tries)
    step.log_metric("loss", tries, step=0)
    with run.step(f"try {tries}"):
        pass
    with run.step("both"):
        if tries == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def test_steps_say_inside_which_step_they_ran(any_store):
    with any_store.start_run("run") as run:
        with run.step("outer"), run.step("inner"):
            run.step("innermost", int)
        run.step("after", int)
    steps = any_store.get_run_log("run").steps
    assert {name: step.inside for name, step in steps.items() if step.inside} == {
        "inner": "outer",
        "innermost": "inner",
    }


def test_people_see_what_was_left_behind_and_that_it_was():
    store = chunkstore.open_store("buffered")
    tries = []

    def load():
        tries.append(1)
        chunkstore.current_step().log_metrics({"rows": 3} if len(tries) == 1 else {})
        with chunkstore.current_run().step(f"try {len(tries)}"):
            if len(tries) == 1:
                raise ValueError("not yet")

    with store.start_run("run", capture_output=False) as run:
        run.step("load", load, max_attempts=2, backoff=0)
    log = store.get_run_log("run")
    (line,) = [line for line in chunkstore.render_tree(log).splitlines() if "try 1" in line]
    assert "in an attempt that was tried again" in line
    assert run_page(log, None).steps == {"SUCCESS": 2}
    (row,) = rows_of(log, "runs")
    assert (row.steps, row.failed_steps) == (3, 0)
    (section,) = [section for section in step_sections(log.steps["load"]) if "recorded" in section.title]
    assert (section.title, section.rows) == ("recorded in attempt 1", [("metric", "rows", "3")])

"""An engine that starts a branch several times: each start is told, and the one counts whose result came back."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import chunkstore
from chunkstore.clock import parse_time
from chunkstore.recording.branch import Outcome
from chunkstore.records.attempts import counted_attempt, left_behind
from chunkstore.views.compare.diff import compare_runs
from chunkstore.views.pages.step_page import step_sections
from chunkstore.views.pages.tree import render_tree
from chunkstore.views.tables.rows import rows_of
from chunkstore.views.timeline.from_log import timeline_of
from recording import work


class Again(Executor):
    """An engine that starts each branch several times.

    Args:
        starts: how often.
        forks: whether each start has a process of its own.
        returned: which result comes back, of those there are.
        loses_starts: whether what comes back says nothing of its start.
    """

    def __init__(self, starts, *, forks=True, returned=-1, loses_starts=False):
        self._starts, self._forks, self._returned, self._loses_starts = starts, forks, returned, loses_starts

    def submit(self, function, /, *arguments):
        outcomes = []
        for _ in range(self._starts):
            outcome = self._forked(function, arguments) if self._forks else function(*arguments)
            outcomes += [] if outcome is None else [outcome]
        future = Future()
        if not outcomes:
            future.set_exception(RuntimeError("all workers died"))
            return future
        outcome = outcomes[self._returned]
        future.set_result(Outcome(*outcome[:3]) if self._loses_starts else outcome)
        return future

    @staticmethod
    def _forked(function, arguments):
        context = multiprocessing.get_context("fork")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=lambda: writer.send(function(*arguments)))
        process.start()
        writer.close()
        try:
            return reader.recv()
        except EOFError:
            return None
        finally:
            process.join()


def count_up(calls):
    """Return how often this was called, and log that."""
    work.note(calls, "start")
    number = work.noted(calls)["start"]
    chunkstore.current_step().log_metric("number", number)
    return number


def die_before(calls, survivor):
    number = count_up(calls)
    if number < survivor:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_after(calls, first):
    number = count_up(calls)
    if number > first:
        with chunkstore.current_run().step("inner"):
            os.kill(os.getpid(), signal.SIGKILL)
    return number


def branch_of(store):
    log = store.get_run_log("run", strict=True)
    (branch,) = log.steps["m"].branches.values()
    return log, branch


def run_one(store, function, engine, **options):
    with store.start_run("run") as run:
        return run.map("m", [1], lambda _: function(), executor=engine, **options)


@pytest.mark.parametrize("loses_starts", [False, True])
def test_each_start_of_a_branch_whose_workers_died_is_an_attempt_that_is_told_as_lost(store, calls, loses_starts):
    engine = Again(4, loses_starts=loses_starts)
    assert run_one(store, lambda: die_before(calls, 4), engine) == [4]
    log, branch = branch_of(store)
    assert (log.status, log.steps["m"].status, branch.status) == ("SUCCESS",) * 3
    (step,) = branch.steps.values()
    for record in (branch, step):
        assert [attempt.status for attempt in record.attempts] == ["LOST", "LOST", "LOST", "SUCCESS"]
        assert len({(attempt.host, attempt.pid, attempt.start) for attempt in record.attempts}) == 4
    assert [attempt.metrics for attempt in step.attempts[:3]] == [{"number": number} for number in (1, 2, 3)]
    assert step.user_defined_metrics == {"number": 4}
    assert log.notes["steps"] == store.count_steps("run") == {"SUCCESS": 2}


@pytest.mark.parametrize("loses_starts", [False, True])
def test_a_start_that_is_cut_off_later_does_not_undo_a_success(store, calls, loses_starts):
    engine = Again(3, loses_starts=loses_starts)
    assert run_one(store, lambda: die_after(calls, 1), engine) == [1]
    _, branch = branch_of(store)
    assert (branch.status, counted_attempt(branch)) == ("SUCCESS", 1)
    assert [attempt.status for attempt in branch.attempts] == ["SUCCESS", "LOST", "LOST"]
    names = {step.internal_name.rpartition(".")[2]: step.status for step in branch.steps.values()}
    assert names.pop("inner") == "LOST"
    assert left_behind(branch.steps) == {"m.1.inner"}
    assert set(names.values()) == {"SUCCESS"}


@pytest.mark.parametrize("returned", [0, 1, 2])
def test_of_several_that_succeeded_the_start_counts_whose_result_came_back(store, calls, returned):
    assert run_one(store, lambda: count_up(calls), Again(3, returned=returned)) == [returned + 1]
    _, branch = branch_of(store)
    (step,) = branch.steps.values()
    assert (counted_attempt(branch), counted_attempt(step)) == (returned + 1, returned + 1)
    assert (step.result, step.user_defined_metrics) == (returned + 1, {"number": returned + 1})
    assert [attempt.status for attempt in step.attempts] == ["SUCCESS"] * 3


def test_starts_in_one_process_hide_one_another_no_more_than_others_do(any_store, calls):
    assert run_one(any_store, lambda: count_up(calls), Again(3, forks=False, returned=1)) == [2]
    _, branch = branch_of(any_store)
    (step,) = branch.steps.values()
    assert [attempt.metrics or None for attempt in step.attempts] == [{"number": 1}, None, {"number": 3}]
    assert step.user_defined_metrics == {"number": 2}
    assert [attempt.pid for attempt in branch.attempts] == [os.getpid()] * 3


def test_starts_in_threads_of_one_process_that_begin_at_once_do_not_mix(any_store, calls, monkeypatch):
    class AtOnce(Executor):
        def submit(self, function, /, *arguments):
            with ThreadPoolExecutor(2) as pool:
                starts = [pool.submit(function, *arguments) for _ in range(2)]
            return starts[1]

    begins = threading.Barrier(2)
    real = type(any_store).add_branch_log

    def when_both_begin(self, run_id, branch):
        if branch.status == "PROCESSING":
            begins.wait(60)
        return real(self, run_id, branch)

    monkeypatch.setattr(type(any_store), "add_branch_log", when_both_begin)
    (returned,) = run_one(any_store, lambda: count_up(calls), AtOnce())
    _, branch = branch_of(any_store)
    (step,) = branch.steps.values()
    assert [attempt.status for attempt in branch.attempts] == ["SUCCESS"] * 2
    assert (step.result, step.user_defined_metrics, len(step.attempts)) == (returned, {"number": returned}, 2)


def test_retries_within_each_start_are_attempts_of_the_step_and_not_of_the_branch(store, calls):
    def fail_first():
        if count_up(calls) % 2:
            raise ValueError("try again")
        return "done"

    assert run_one(store, fail_first, Again(2), max_attempts=2, backoff=0) == ["done"]
    _, branch = branch_of(store)
    (step,) = branch.steps.values()
    assert [attempt.status for attempt in branch.attempts] == ["SUCCESS", "SUCCESS"]
    assert [attempt.status for attempt in step.attempts] == ["FAIL", "SUCCESS"] * 2


def test_a_branch_that_its_engine_gave_up_has_failed_whatever_a_late_start_does(store, calls):
    class GivesUp(Again):
        def submit(self, function, /, *arguments):
            self.late = lambda: function(*arguments)
            return super().submit(function, *arguments)

    engine = GivesUp(2)
    with store.start_run("run") as run:
        run.map("m", [1], lambda _: die_before(calls, 3), executor=engine, on_error="continue")
        log, branch = branch_of(store)
        assert (log.steps["m"].status, branch.status) == ("FAIL", "FAIL")
        before = [attempt.status for attempt in branch.attempts]
        engine.late()
    log, branch = branch_of(store)
    assert (log.status, log.steps["m"].status, branch.status) == ("FAIL",) * 3
    assert [attempt.status for attempt in branch.attempts] == [*before, "SUCCESS"]


def test_a_resumed_run_takes_over_the_attempt_that_counts(store, calls):
    def numbered():
        return count_up(calls)

    assert run_one(store, numbered, Again(3, returned=1)) == [2]
    with store.start_run("again", resume="run") as run:
        assert run.map("m", [1], _one(numbered), executor=Again(3, returned=1)) == [2]
    assert work.noted(calls) == {"start": 3}
    branch = store.get_branch_log("again", "m.1")
    assert (branch.status, counted_attempt(branch), len(branch.attempts)) == ("SUCCESS", 2, 3)


def test_a_step_ended_for_people_when_the_attempt_that_counts_did_whatever_others_did_later(store, calls):
    logs = []
    for run_id in ("one", "two"):
        with store.start_run(run_id) as run:
            folder = Path(calls, run_id)
            folder.mkdir()
            run.map("m", [1], _one(partial(die_after, str(folder), 1)), executor=Again(3))
        logs.append(store.get_run_log(run_id, strict=True))
    log, other = logs
    (step,) = (step for step in log.steps["m"].branches["m.1"].steps.values() if "inner" not in step.internal_name)
    ended = parse_time(step.attempts[0].end_time)
    assert [attempt.status for attempt in step.attempts] == ["SUCCESS", "LOST", "LOST"]
    (row,) = (row for row in rows_of(log, "steps") if row.internal_name == step.internal_name)
    assert row.end_time == ended
    timeline = timeline_of(log)
    (span,) = (span for span in timeline.spans if span.internal_name == step.internal_name)
    assert timeline.moment(span.end) == ended
    assert max(attempt.end for attempt in span.attempts) > span.end
    assert timeline.wall_seconds >= max(attempt.end for attempt in span.attempts)
    assert not compare_runs(log, other).outcomes  # which process was lost makes no difference


def _one(function):
    return lambda _: function()


def test_pages_and_tables_tell_of_each_start_who_ran_it_and_which_counts(store, calls):
    run_one(store, lambda: die_after(calls, 1), Again(3))
    log, branch = branch_of(store)
    assert "started 3 times" in render_tree(log)
    (attempts,) = [part for part in step_sections(branch.steps["m.1.<lambda>"]) if part.title == "attempts"]
    assert [(row[1], row[-1]) for row in attempts.rows] == [("SUCCESS", "counts"), ("LOST", ""), ("LOST", "")]
    assert all(
        f"process {one.pid} on {one.host}" in row for one, row in zip(branch.attempts, attempts.rows, strict=True)
    )
    rows = [row for row in rows_of(log, "attempts") if row.internal_name == "m.1.<lambda>"]
    assert [(row.pid, row.counts) for row in rows] == [
        (one.pid, number == 0) for number, one in enumerate(branch.attempts)
    ]

"""A worker that the system kills is a failed branch, and no other."""

import signal
from functools import partial

import pytest
from msgspec import UNSET

from chunkstore import BranchFailedError, WorkerDiedError
from recording import work
from recording.pools import PROCESSES, pool

ITEMS = list(range(8))
DOUBLED = [item * 2 for item in ITEMS]


def outcome(store, run_id, step="score"):
    """Return the status of each branch by its last part."""
    log = store.get_run_log(run_id)
    assert not log.problems
    return {name.rpartition(".")[2]: branch.status for name, branch in log.steps[step].branches.items()}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", PROCESSES)
def test_of_many_branches_only_the_one_whose_worker_was_killed_fails(store, kind, children):
    with pool(kind) as executor, pytest.raises(BranchFailedError) as caught, store.start_run("run") as run:
        run.map("score", ITEMS, partial(work.die_for, (3,)), executor=executor)
    error = caught.value
    assert list(error.failures) == ["score.3"]
    assert isinstance(error.failures["score.3"], WorkerDiedError)
    assert error.failures["score.3"].branch == "score.3"
    assert error.results == [None if item == 3 else item * 2 for item in ITEMS]
    assert outcome(store, "run") == {str(item): "FAIL" if item == 3 else "SUCCESS" for item in ITEMS}
    log = store.get_run_log("run")
    branch = log.steps["score"].branches["score.3"]
    step = branch.steps["score.3.die_for"]
    assert step.status == "FAIL"
    assert {attempt.status for attempt in step.attempts} == {"FAIL"}
    for message in (branch.message, step.message, step.attempts[-1].message):
        assert "died" in message
    assert (log.status, log.steps["score"].status) == ("FAIL", "FAIL")
    work.wait_for(lambda: not children())


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["default", "fork", "spawn"])
def test_the_message_says_which_signal_killed_the_worker(store, kind):
    with pool(kind) as executor, store.start_run("run") as run:
        run.map("score", [1], partial(work.die_for, (1,)), executor=executor, on_error="continue")
    branch = store.get_run_log("run").steps["score"].branches["score.1"]
    assert f"signal {int(signal.SIGKILL)} (SIGKILL)" in branch.message
    assert "memory" in branch.message


def test_the_message_says_with_which_code_the_worker_ended(store):
    with store.start_run("run") as run:
        assert run.map("score", [1, 2], partial(work.exit_for, 2), on_error="continue") == [2, None]
    assert "exit code 7" in store.get_run_log("run").steps["score"].branches["score.2"].message


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["default", "loky"])
def test_when_every_branch_kills_its_worker_every_branch_fails(store, kind):
    with pool(kind) as executor, store.start_run("run") as run:
        results = run.map("score", ITEMS[:4], partial(work.die_for, ITEMS), executor=executor, on_error="continue")
    assert results == [None] * 4
    assert outcome(store, "run") == dict.fromkeys("0123", "FAIL")


def test_steps_that_were_open_in_a_killed_worker_died_with_it_and_do_not_count_as_running_on(store):
    with store.start_run("run") as run:
        run.map("score", [1], work.die_in_a_step, on_error="continue")
        before = store.get_branch_log("run", "score.1").steps["score.1.inner"]
    inner = store.get_branch_log("run", "score.1").steps["score.1.inner"]
    assert inner == before
    assert (inner.status, inner.attempts[-1].status, inner.late) == ("FAIL", "FAIL", UNSET)
    assert "died" in inner.message


def test_a_killed_branch_is_tried_again_as_often_as_its_attempts_allow(store, calls):
    with store.start_run("run") as run:
        results = run.map("score", ITEMS, partial(work.die_once, calls, 3), max_attempts=2, backoff=0)
    assert results == DOUBLED
    assert outcome(store, "run") == {str(item): "SUCCESS" for item in ITEMS}
    step = store.get_step_log("run", "score.3.die_once")
    assert [attempt.status for attempt in step.attempts] == ["FAIL", "SUCCESS"]
    assert [attempt.attempt_number for attempt in step.attempts] == [1, 2]


def test_a_branch_that_always_kills_its_worker_ends_after_its_attempts(store, calls):
    with store.start_run("run") as run:
        function = partial(work.die_for, (3,))
        results = run.map("score", ITEMS, function, max_attempts=3, backoff=0, on_error="continue")
    assert results == [None if item == 3 else item * 2 for item in ITEMS]
    step = store.get_step_log("run", "score.3.die_for")
    assert [attempt.status for attempt in step.attempts] == ["FAIL"] * 3


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["fork", "loky"])
def test_a_pool_that_an_earlier_map_broke_serves_the_next_one(store, kind):
    with pool(kind) as executor, store.start_run("run") as run:
        run.map("first", [1], partial(work.die_for, (1,)), executor=executor, on_error="continue")
        assert run.map("second", ITEMS, work.double, executor=executor) == DOUBLED
    assert set(outcome(store, "run", "second").values()) == {"SUCCESS"}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["fork", "loky"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # loky's own, about the initializer
def test_a_pool_that_cannot_start_fails_every_branch_and_ends(store, kind, caplog):
    with pool(kind, initializer=work.refuse) as executor, store.start_run("run") as run:
        results = run.map("score", ITEMS, work.double, executor=executor, on_error="continue")
    assert results == [None] * len(ITEMS)
    assert outcome(store, "run") == {str(item): "FAIL" for item in ITEMS}
    branch = store.get_run_log("run").steps["score"].branches["score.0"]
    assert "had not started" in branch.message


def test_a_killed_worker_in_parallel_fails_its_branch_alone(store):
    with store.start_run("run") as run:
        results = run.parallel("models", {"good": work.two, "bad": work.die}, on_error="continue")
    assert results == {"good": 2, "bad": None}
    assert outcome(store, "run", "models") == {"good": "SUCCESS", "bad": "FAIL"}


def test_processes_that_share_a_document_survive_a_killed_worker(tmp_path):
    import chunkstore

    store = chunkstore.open_store("file-system", log_folder=str(tmp_path / "docs"), durability="process")
    with store.start_run("run") as run:
        results = run.map("score", ITEMS, partial(work.die_for, (5,)), on_error="continue")
    assert results == [None if item == 5 else item * 2 for item in ITEMS]
    assert outcome(store, "run")["5"] == "FAIL"

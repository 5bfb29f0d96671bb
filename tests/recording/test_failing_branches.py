"""A branch that fails is recorded, does not stop the others, and is told of in one error."""

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import pytest

import chunkstore
from chunkstore import BranchFailedError
from recording import work
from recording.pools import ALL, PROCESSES, pool


def statuses(store, step="score"):
    found = store.get_run_log("run", strict=True).steps[step].branches
    return {name.rpartition(".")[2]: branch.status for name, branch in found.items()}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ALL)
def test_one_error_lists_the_failed_branches_and_keeps_the_results_of_the_others(store, kind):
    with pytest.raises(BranchFailedError) as caught, pool(kind) as executor, store.start_run("run") as run:
        run.map("score", range(6), work.fail_for_odd, executor=executor)
    error = caught.value
    assert error.step == "score"
    assert sorted(error.failures) == ["score.1", "score.3", "score.5"]
    assert all(isinstance(failure, ValueError) for failure in error.failures.values())
    assert error.results == [0, None, 2, None, 4, None]
    assert "3 of 6 branches of score failed" in str(error)
    assert "score.3: ValueError: 3 is odd" in str(error)
    log = store.get_run_log("run", strict=True)
    assert (log.status, log.steps["score"].status) == ("FAIL", "FAIL")
    assert "3 of 6" in log.steps["score"].message
    assert statuses(store) == {str(item): "FAIL" if item % 2 else "SUCCESS" for item in range(6)}
    step = log.steps["score"].branches["score.3"].steps["score.3.fail_for_odd"]
    assert step.message == "ValueError: 3 is odd"
    assert "Traceback" in step.attempts[0].message
    assert "work.py" in step.attempts[0].message


def test_the_error_pickles_with_all_it_holds(store):
    with pytest.raises(BranchFailedError) as caught, store.start_run("run") as run:
        run.parallel("train", {"good": work.two, "bad": work.fail_always}, executor=work.threads())
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.step, copy.results, str(copy)) == ("train", {"good": 2, "bad": None}, str(caught.value))
    assert [(name, repr(error)) for name, error in copy.failures.items()] == [("train.bad", "ValueError('always')")]


def test_on_error_continue_gives_none_for_failed_branches(any_store):
    with any_store.start_run("run") as run:
        results = run.map("score", range(4), work.fail_for_odd, executor=work.threads(), on_error="continue")
        assert results == [0, None, 2, None]
        assert run.parallel("train", {"bad": work.fail_always}, executor=work.threads(), on_error="continue") == {
            "bad": None
        }
    log = any_store.get_run_log("run")
    assert [step.status for step in log.steps.values()] == ["FAIL", "FAIL"]
    assert log.status == "FAIL"


def test_a_branch_in_which_a_step_fails_has_failed_but_keeps_its_result(store):
    with store.start_run("run") as run:
        assert run.map("score", [1, 2], work.inner_failing_step, executor=work.threads()) == [1, 2]
    assert statuses(store) == {"1": "FAIL", "2": "FAIL"}
    assert store.get_run_log("run").status == "FAIL"


def test_attempts_are_repeated_inside_the_branch(store, calls):
    with store.start_run("run") as run:
        function = partial(work.fail_times, calls, 2)
        assert run.map("score", [1, 2], function, max_attempts=3, backoff=0) == [2, 4]
    assert work.noted(calls) == {"1": 3, "2": 3}
    step = store.get_step_log("run", "score.1.fail_times")
    assert [attempt.status for attempt in step.attempts] == ["FAIL", "FAIL", "SUCCESS"]


def test_a_generator_that_raises_ends_the_map_and_what_runs_is_recorded(any_store):
    def items():
        yield 1
        yield 2
        raise LookupError("no more")

    with pytest.raises(LookupError), any_store.start_run("run") as run, ThreadPoolExecutor(1) as executor:
        run.map("score", items(), work.double, executor=executor)
    log = any_store.get_run_log("run")
    assert (log.status, log.steps["score"].status) == ("FAIL", "FAIL")
    assert log.steps["score"].message == "LookupError: no more"
    assert {branch.status for branch in log.steps["score"].branches.values()} <= {"SUCCESS"}


@pytest.mark.parametrize("kind", ["threads", "default", "fork"])
def test_when_a_map_ends_early_no_branch_goes_on(store, kind):
    def items():
        yield from range(3)
        raise LookupError("no more")

    with pool(kind) as executor, store.start_run("run") as run:
        with pytest.raises(LookupError):
            run.map("score", items(), work.double_slowly, executor=executor)
        assert set(statuses(store).values()) == {"SUCCESS"}


@pytest.mark.parametrize("kind", ["default", "fork", "spawn"])
def test_a_function_that_cannot_be_sent_is_refused_with_a_way_out_and_nothing_is_recorded(store, kind):
    with pool(kind) as executor, store.start_run("run") as run:
        for call in (
            lambda: run.map("score", [1], lambda item: item, executor=executor),
            lambda: run.parallel("train", {"one": lambda: 1}, executor=executor),
        ):
            with pytest.raises(chunkstore.StoreUsageError, match="top of a module"):
                call()
    log = store.get_run_log("run")
    assert log.steps == {}
    assert log.status == "SUCCESS"


@pytest.mark.sampled
@pytest.mark.parametrize("kind", PROCESSES)
def test_a_result_that_cannot_be_sent_back_fails_its_branch_alone(store, kind):
    with pool(kind) as executor, store.start_run("run") as run:
        functions = {"good": work.two, "bad": partial(work.no_pickle, 1)}
        results = run.parallel("train", functions, executor=executor, on_error="continue")
    if kind == "loky":  # it sends any function
        assert results["good"] == 2
        return
    assert results == {"good": 2, "bad": None}
    assert statuses(store, "train") == {"good": "SUCCESS", "bad": "FAIL"}
    branch = store.get_branch_log("run", "train.bad")
    assert "pickle" in branch.message


@pytest.mark.sampled
@pytest.mark.parametrize("kind", PROCESSES)
@pytest.mark.parametrize("function", [work.raise_unloadable, work.raise_unpicklable])
def test_an_exception_that_does_not_survive_the_way_back_fails_its_branch_alone(store, kind, function):
    with pool(kind) as executor, store.start_run("run") as run:
        functions = {"good": work.two, "bad": partial(function, 1), "last": work.one}
        with pytest.raises(BranchFailedError) as caught:
            run.parallel("train", functions, executor=executor)
    assert caught.value.results == {"good": 2, "bad": None, "last": 1}
    error = caught.value.failures["train.bad"]
    assert repr(error) in {"LocalError('this and that')", "RuntimeError('WithLockError: holds a file')"}
    assert function.__name__ in str(error.__cause__)  # where it was raised
    step = store.get_step_log("run", f"train.bad.{function.__name__}")
    assert step.status == "FAIL"
    assert "Traceback" in step.attempts[0].message


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["threads", "fork", "loky"])
def test_an_item_that_cannot_be_sent_fails_its_branch_alone(store, kind):
    items = [1, (number for number in ()), 3]
    with pool(kind) as executor, store.start_run("run") as run:
        results = run.map("score", items, work.kind_of, executor=executor, on_error="continue")
    if kind == "threads":
        assert results == ["int", "generator", "int"]
        return
    assert results == ["int", None, "int"]
    assert sorted(statuses(store).values()) == ["FAIL", "SUCCESS", "SUCCESS"]


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["threads", "fork", "loky"])
def test_a_branch_that_exits_has_failed_and_the_others_go_on(store, kind):
    with pool(kind) as executor, store.start_run("run") as run:
        functions = {"exits": partial(work.raise_exit, 2), "good": work.two}
        results = run.parallel("train", functions, executor=executor, on_error="continue")
    assert results == {"exits": None, "good": 2}
    assert statuses(store, "train") == {"exits": "FAIL", "good": "SUCCESS"}


def test_a_failure_deep_inside_fails_every_branch_around_it(store):
    with pytest.raises(BranchFailedError), store.start_run("run") as run:
        run.map("top", [1], work.nested_failure, executor=work.threads())
    log = store.get_run_log("run", strict=True)
    top = log.steps["top"].branches["top.1"]
    assert (log.steps["top"].status, top.status) == ("FAIL", "FAIL")
    assert top.steps["top.1.inner"].status == "FAIL"
    assert top.steps["top.1.inner"].branches["top.1.inner.bad"].status == "FAIL"


def test_a_pool_that_was_shut_down_is_an_error_that_is_recorded(store):
    executor = ProcessPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"), store.start_run("run") as run:
        run.map("score", [1], work.double, executor=executor)
    log = store.get_run_log("run")
    assert (log.status, log.steps["score"].status) == ("FAIL", "FAIL")


def test_options_that_make_no_sense_are_refused_before_anything_runs(store, calls):
    with store.start_run("run") as run:
        for options in ({"on_error": "stop"}, {"max_attempts": 0}):
            with pytest.raises(chunkstore.StoreUsageError):
                run.map("score", [1], partial(work.noted_double, calls), executor=work.threads(), **options)
    assert work.noted(calls) == {}

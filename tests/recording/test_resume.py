"""A resumed run takes over what succeeded, and runs again what failed or changed."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import chunkstore
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.recording import recorder
from chunkstore.records.models import CodeIdentity
from recording import work


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


def run_pipeline(store, run_id, calls, threads, *, resume=None, fail=(), items=range(4)):
    """Run a small pipeline of which some branches may fail; return the scores."""
    with store.start_run(run_id, resume=resume) as run:
        assert run.step("load", work.noted_double, calls, 100) == 200
        function = partial(work.fail_if_asked, calls, tuple_file(calls, fail))
        return run.map("score", items, function, executor=threads, on_error="continue")


def tuple_file(calls, fail):
    """Write down which items fail, beside the calls: what the function is called with stays the same."""
    path = calls + ".fail"
    with open(path, "w") as file:
        file.write(" ".join(map(str, fail)))
    return path


def cached(store, run_id, step="score"):
    """Return which branches of a step were taken over, by their last part."""
    branches = store.get_run_log(run_id, strict=True).steps[step].branches
    found = {}
    for name, branch in branches.items():
        steps = list(branch.steps.values())
        mocks = {step.mock for step in steps}
        assert len(mocks) == 1
        for record in (branch, *steps):
            assert (record.cached_from == "first") == (True in mocks) or record.cached_from != "first"
        found[name.rpartition(".")[2]] = mocks.pop()
    return found


def test_only_what_failed_is_run_again(any_store, calls, threads):
    assert run_pipeline(any_store, "first", calls, threads, fail=(1, 3)) == [0, None, 4, None]
    assert run_pipeline(any_store, "second", calls, threads, resume="first") == [0, 2, 4, 6]
    assert work.noted(calls) == {"100": 1, "0": 1, "1": 2, "2": 1, "3": 2}
    assert cached(any_store, "second") == {"0": True, "1": False, "2": True, "3": False}
    log = any_store.get_run_log("second")
    assert (log.status, log.use_cached, log.original_run_id) == ("SUCCESS", True, "first")
    assert (log.steps["load"].mock, log.steps["load"].cached_from) == (True, "first")
    assert log.steps["load"].attempts == any_store.get_step_log("first", "load").attempts
    assert any_store.get_run_log("first").status == "FAIL"


def test_processes_take_over_too(store, calls):
    def go(run_id, **options):
        with store.start_run(run_id, **options) as run:
            return run.map("score", range(4), partial(work.noted_double, calls))

    assert go("first") == go("second", resume="first") == [0, 2, 4, 6]
    assert set(work.noted(calls).values()) == {1}


def test_a_run_that_takes_over_everything_is_resumed_again(any_store, calls, threads):
    expected = run_pipeline(any_store, "first", calls, threads)
    for previous, run_id in (("first", "second"), ("second", "third"), ("third", "fourth")):
        assert run_pipeline(any_store, run_id, calls, threads, resume=previous) == expected
    assert set(work.noted(calls).values()) == {1}
    assert any_store.get_run_log("fourth").original_run_id == "third"


def test_parameters_are_those_of_the_resumed_run_and_those_given_over_them(any_store):
    any_store.start_run("first", parameters={"seed": 7, "size": 1}).finish()
    with any_store.start_run("second", resume="first", parameters={"size": 2}) as run:
        assert run.get_parameters() == {"seed": 7, "size": 2}


def test_an_item_that_changed_runs_again_and_a_new_one_runs(store, calls, threads):
    def go(run_id, items, **options):
        with store.start_run(run_id, **options) as run:
            return run.map("score", items, partial(work.noted_size, calls), executor=threads, name_of=lambda i: i["id"])

    go("first", [{"id": "a", "size": 1}, {"id": "b", "size": 2}])
    items = [{"size": 1, "id": "a"}, {"id": "b", "size": 3}, {"id": "c", "size": 4}]  # the first in another order
    assert go("second", items, resume="first") == [1, 3, 4]
    assert work.noted(calls) == {"a": 1, "b": 2, "c": 1}
    assert cached(store, "second") == {"a": True, "b": False, "c": False}


def make_function(factor):
    """Return a function of one name whose code differs."""
    namespace = {"work": work}
    exec(f"def scale(calls, item):\n    work.note(calls, item)\n    return item * {factor}\n", namespace)
    return namespace["scale"]


def test_a_branch_whose_code_changed_runs_again(store, calls, threads):
    for run_id, factor, resume in (("first", 2, None), ("second", 2, "first"), ("third", 3, "second")):
        with store.start_run(run_id, resume=resume) as run:
            function = partial(make_function(factor), calls)
            assert run.map("score", [1, 2], function, executor=threads) == [factor, 2 * factor]
    assert set(work.noted(calls).values()) == {2}


def test_a_step_of_a_partial_function_with_another_argument_runs_again(store):
    for run_id, exponent, resume in (("first", 2, None), ("second", 3, "first")):
        with store.start_run(run_id, resume=resume) as run:
            assert run.step("power", partial(pow, 2), exponent) == 2**exponent


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (CodeIdentity(code_identifier="abc", code_identifier_type="git"), 1),
        (CodeIdentity(code_identifier="def", code_identifier_type="git"), 2),
        (CodeIdentity(code_identifier="abc", code_identifier_type="git", code_identifier_message="changes, x"), 2),
        (None, 2),
    ],
)
def test_after_another_commit_everything_runs_again(store, calls, monkeypatch, second, expected):
    first = CodeIdentity(code_identifier="abc", code_identifier_type="git")
    for run_id, identity, resume in (("first", first, None), ("second", second, "first")):
        monkeypatch.setattr(recorder, "git_identity", lambda identity=identity: identity)
        with work.threads() as threads:
            run_pipeline(store, run_id, calls, threads, resume=resume)
    assert set(work.noted(calls).values()) == {expected}


def test_a_step_function_with_other_arguments_runs_again(any_store, calls):
    for run_id, value, resume in (("first", 1, None), ("second", 1, "first"), ("third", 2, "second")):
        with any_store.start_run(run_id, resume=resume) as run:
            assert run.step("load", work.noted_double, calls, value) == 2 * value
    assert work.noted(calls) == {"1": 1, "2": 1}


def test_a_failed_step_function_runs_again(any_store, calls):
    with any_store.start_run("first") as run:
        run.step("load", work.fail_times, calls, 1, 5, on_error="continue")
    with any_store.start_run("second", resume="first") as run:
        assert run.step("load", work.fail_times, calls, 1, 5) == 10
    assert work.noted(calls) == {"5": 2}


def test_decorated_functions_are_taken_over(any_store, calls):
    for run_id, resume in (("first", None), ("second", "first")):
        with any_store.start_run(run_id, resume=resume) as run:

            @run.step("load")
            def load(item):
                work.note(calls, item)
                return item

            assert [load(item) for item in (1, 2, 3)] == [1, 2, 3]
    assert work.noted(calls) == {"1": 1, "2": 1, "3": 1}
    assert [step.mock for step in any_store.get_run_log("second").steps.values()] == [True] * 3


def test_a_result_that_is_no_json_runs_again(store, calls, threads):
    for run_id, resume in (("first", None), ("second", "first")):
        with store.start_run(run_id, resume=resume) as run:
            assert run.step("load", work.noted_set, calls, 1) == {1}
            assert run.map("score", [2, 3], partial(work.noted_set, calls), executor=threads) == [{2}, {3}]
    assert set(work.noted(calls).values()) == {2}


def test_a_result_that_is_too_large_for_the_log_runs_again(store, calls):
    for run_id, resume in (("first", None), ("second", "first")):
        with store.start_run(run_id, resume=resume) as run:
            assert len(run.step("load", work.noted_text, calls, 1 << 20)) == 1 << 20
    assert work.noted(calls) == {str(1 << 20): 2}


@pytest.mark.parametrize(
    "value", [None, 0, False, "", [], {}, 0.1, 10**30, {"$float": "NaN"}, float("inf"), [[1, {"a": None}]]], ids=repr
)
def test_any_json_comes_back_as_it_was(any_store, calls, value):
    for run_id, resume in (("first", None), ("second", "first")):
        with any_store.start_run(run_id, resume=resume) as run:
            result = run.step("load", work.noted_same, calls, value)
            assert result == value
            assert type(result) is type(value)
    assert work.noted(calls) == {"same": 1}


def test_a_block_asks_whether_it_was_done_and_takes_it_over(any_store, calls):
    def go(run_id, resume=None):
        with any_store.start_run(run_id, resume=resume) as run, run.step("load") as step:
            if step.cached:
                return step.reuse()
            work.note(calls, "load")
            step.log_metric("rows", 3)
            step.set_result({"rows": 3})
            return {"rows": 3}

    assert go("first") == go("second", "first") == go("third", "second") == {"rows": 3}
    assert work.noted(calls) == {"load": 1}
    step = any_store.get_step_log("third", "load")
    assert (step.status, step.mock, step.cached_from) == ("SUCCESS", True, "second")
    assert step.user_defined_metrics == {"rows": 3}


def test_a_block_that_failed_or_was_never_run_is_not_cached(any_store):
    with any_store.start_run("first") as run, run.step("load", on_error="continue") as step:
        assert not step.cached
        raise ValueError("failed")
    with any_store.start_run("second", resume="first") as run:
        for name in ("load", "other"):
            with run.step(name) as step:
                assert not step.cached
                with pytest.raises(chunkstore.StoreUsageError, match="cached"):
                    step.reuse()
    assert any_store.get_run_log("second").status == "SUCCESS"


def test_a_block_that_raises_after_it_was_taken_over_has_failed(store):
    with store.start_run("first") as run, run.step("load"):
        pass

    def reuse_and_fail(run):
        with run.step("load") as step:
            step.reuse()
            raise ValueError("later")

    with pytest.raises(ValueError, match="later"), store.start_run("second", resume="first") as run:
        reuse_and_fail(run)
    assert store.get_step_log("second", "load").status == "FAIL"


def test_nested_branches_are_taken_over_with_all_inside_them(store, threads):
    for run_id, resume in (("first", None), ("second", "first"), ("third", "second")):
        with store.start_run(run_id, resume=resume) as run:
            assert run.map("top", ["a.1", "b"], work.nested, executor=threads) == [[{"xgb": 1, "rf": 2}] * 2] * 2
    first, third = (store.get_run_log(run_id, strict=True) for run_id in ("first", "third"))

    def shape(steps):
        return {
            name: {inner: shape(branch.steps) for inner, branch in step.branches.items()}
            for name, step in sorted(steps.items())
        }

    def inside(steps):
        for step in steps.values():
            yield step
            for branch in step.branches.values():
                yield from inside(branch.steps)

    assert shape(first.steps) == shape(third.steps)
    assert {step.cached_from for step in inside(third.steps["top"].branches["top.b"].steps)} == {"second"}


def test_inner_branches_of_a_branch_that_failed_are_taken_over(store, calls, threads):
    with store.start_run("first") as run:
        run.map("top", [1], partial(work.nested_with_failure, calls), executor=threads, on_error="continue")
    with store.start_run("second", resume="first") as run:
        assert run.map("top", [1], partial(work.nested_with_failure, calls), executor=threads) == [[1, 2, 3]]
    assert work.noted(calls) == {"1": 1, "2": 2, "3": 1}


def test_a_function_that_recorded_a_failed_step_runs_again_and_so_does_that_step(any_store, calls, threads):
    def inner(item):
        work.note(calls, "inner")
        if allowed:
            return item
        raise ValueError("not yet")

    def outer(item):
        work.note(calls, "outer")
        chunkstore.current_run().step("good", work.noted_double, calls, item)
        chunkstore.current_run().step("inner", inner, item, on_error="continue")
        return item

    for run_id, resume, allowed in (("first", None, False), ("second", "first", True), ("third", "second", True)):  # noqa: B007
        with any_store.start_run(run_id, resume=resume) as run:
            assert run.map("top", [5], outer, executor=threads, on_error="continue") == [5]
    first, second, third = (any_store.get_run_log(run_id) for run_id in ("first", "second", "third"))
    assert [log.steps["top"].status for log in (first, second, third)] == ["FAIL", "SUCCESS", "SUCCESS"]
    branch = second.steps["top"].branches["top.5"]
    assert {name: step.mock for name, step in branch.steps.items()} == {
        "top.5.outer": False,
        "top.5.good": True,
        "top.5.inner": False,
    }
    assert set(third.steps["top"].branches["top.5"].steps) == set(branch.steps)
    assert work.noted(calls) == {"outer": 2, "inner": 2, "5": 1}


def test_data_of_a_step_that_was_taken_over_can_be_read(store, tmp_path):
    def load():
        with open("out.csv", "w") as file:
            file.write("a,b")
        chunkstore.current_step().put_data("out.csv")

    for run_id, resume in (("first", None), ("second", "first"), ("third", "second")):
        with store.start_run(run_id, resume=resume) as run:
            run.step("load", load)
            with run.step("read") as step:
                assert step.get_data("out.csv", tmp_path / "copy.csv").read_text() == "a,b"
    step = store.get_step_log("third", "load")
    assert step.mock
    assert step.data_catalog[0].catalog_relative_path == "third/out.csv"


def test_data_of_branches_that_were_taken_over_can_be_read(store, calls, threads):
    for run_id, resume in (("first", None), ("second", "first")):
        with store.start_run(run_id, resume=resume) as run:
            run.map("score", [1, 2], partial(work.noted_put, calls), executor=threads)
        path, _ = run.catalog.get("out.txt", f"{run_id}.txt", "score.2")
        assert path.read_text() == "2"
    assert work.noted(calls) == {"1": 1, "2": 1}


def test_data_that_was_taken_over_survives_a_loss_of_power_as_all_data_does(tmp_path, calls, monkeypatch):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "log"), durability="step")
    store.start_run("first").step("load", work.noted_put, calls, 1)
    synced = []
    original = SYSTEM.fsync
    monkeypatch.setattr(SYSTEM, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), original(fd)))
    store.start_run("second", resume="first").step("load", work.noted_put, calls, 1)
    assert {f"{store.catalog_path}/second", store.catalog_path} <= set(synced)
    assert work.noted(calls) == {"1": 1}


@pytest.mark.parametrize("links", [True, False])
def test_data_that_was_taken_over_belongs_to_the_new_run(store, calls, monkeypatch, links):
    if not links:

        def refuse(*_):
            raise PermissionError(errno.EPERM, "refused")

        monkeypatch.setattr(SYSTEM, "link", refuse)
    with store.start_run("first") as run:
        run.step("load", work.noted_put, calls, 1)
    with store.start_run("second", resume="first") as run:
        run.step("load", work.noted_put, calls, 1)
        shutil.rmtree(f"{run.catalog.path}/first")
        assert run.catalog.get("out.txt", "copy.txt", "")[0].read_text() == "1"
        assert not [name for name in os.listdir(f"{run.catalog.path}/second") if name.startswith(".tmp-")]
    assert work.noted(calls) == {"1": 1}


def test_what_put_data_that_is_gone_runs_again(store, calls, threads):
    def go(run_id, resume=None):
        with store.start_run(run_id, resume=resume) as run:
            run.step("load", work.noted_put, calls, 1)
            run.map("score", [2], partial(work.noted_put, calls), executor=threads)
        return run

    shutil.rmtree(f"{go('first').catalog.path}/first")
    go("second", "first")
    assert work.noted(calls) == {"1": 2, "2": 2}
    assert not store.get_step_log("second", "load").mock


def test_two_stores_in_memory_that_resume_runs_of_one_name_keep_apart():
    stores = [chunkstore.open_store("buffered") for _ in range(2)]
    for number, memory in enumerate(stores):
        with memory.start_run("first") as run, run.step("load") as step:
            step.set_result(number)
    runs = [memory.start_run("second", resume="first") for memory in stores]
    assert [run.step("load").reuse() for run in runs] == [0, 1]


def test_a_run_to_resume_that_does_not_exist_is_refused_and_no_run_is_made(any_store):
    with pytest.raises(chunkstore.RunLogNotFoundError, match="nowhere"):
        any_store.start_run("second", resume="nowhere")
    assert list(any_store.list_runs()) == []

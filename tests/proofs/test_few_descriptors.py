"""With few descriptors left, or none, a call works or says so, and nothing is lost."""

import errno
import gc
import logging
import os
import resource

import pytest
from every import every_store
from outcomes import error_of, temporary_files
from processes import fork_and_wait
from run_of_two import OPERATIONS, RUN, open_at, prepare

from chunkstore.errors import RunLogExistsError, RunLogNotFoundError, StoreIOError
from chunkstore.recording.identity import git_identity

#: They may have been done in part when they fail: several records, or a deletion.
IN_PARTS = {"delete", "put data", "record a run"}


def state_of(folder, store_type):
    """Return all that anybody can read, without times."""
    store = open_at(folder, store_type)
    found = {}
    for summary in store.list_runs():
        log = store.get_run_log(summary.run_id, strict=True)
        for record in log.steps.values():
            record.attempts, record.code_identities = [], []
        log.run_config = {}
        found[summary.run_id] = log
    return repr(sorted(found.items())).replace(str(folder.parent), "")


def open_descriptors():
    gc.collect()
    return sorted(map(int, os.listdir("/proc/self/fd")))[:-1]


def limit_descriptors():
    gc.freeze()  # a collection in this child need not go through all that the parent has
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()) + 40, most))
    logging.disable()  # records of errors would keep open what their tracebacks lead to


class FewDescriptors:
    """Leaves a number of descriptors to what runs inside."""

    def __init__(self, left):
        self._left = left

    def __enter__(self):
        self._dummies = []
        try:
            while True:
                self._dummies.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            assert error.errno == errno.EMFILE  # noqa: PT017 - the limit is reached
        for _ in range(self._left):
            os.close(self._dummies.pop())

    def __exit__(self, *_):
        for fd in self._dummies:
            os.close(fd)


def try_with(left, operation, store):
    """Do one thing with so many descriptors left; return what the error of ours said, or an empty text."""
    with FewDescriptors(left):
        error = error_of(operation, store)
    if error is None:
        return ""
    assert isinstance(error, StoreIOError), error
    assert error.errno == errno.EMFILE, error
    return str(error)  # the error itself would keep open what its traceback leads to


def run_out_of_descriptors(top, store_type, name):
    """Do one thing with no descriptor left, with one, with two and so on, until it works."""
    operation = OPERATIONS[name]
    limit_descriptors()
    before, after = "", ""
    for number in range(20):
        folder = top / f"{number}" / "logs"
        folder.parent.mkdir()
        (folder.parent / "data.csv").write_text("x,y\n")
        store = prepare(folder, store_type)
        if not before:  # the first time is for the states, and for what is imported late
            before = state_of(folder, store_type)
            operation(store)
            after = state_of(folder, store_type)
            continue
        git_identity.cache_clear()
        descriptors = open_descriptors()
        message = try_with(number - 1, operation, store)
        store.close()
        assert open_descriptors() == descriptors, (name, number)
        assert temporary_files(folder.parent) == set(), (name, number)
        state = state_of(folder, store_type)
        if not message:
            assert state == after, (name, number)
            return
        assert "ulimit" in message, (name, number)
        assert state in (before, after) or name in IN_PARTS, (name, number)
        again = error_of(operation, store, kinds=(RunLogExistsError, RunLogNotFoundError))
        assert again is None or name in ("create", "record a run", "delete"), (name, number, again)
        if name not in ("append", "put data", "record a run"):
            assert state_of(folder, store_type) == after, (name, number)
    pytest.fail(f"{name} never worked")


@pytest.mark.parametrize("name", OPERATIONS)
@every_store
def test_without_descriptors_a_call_works_or_says_so_and_loses_nothing(tmp_path, monkeypatch, store_type, name):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert fork_and_wait(lambda: run_out_of_descriptors(tmp_path, store_type, name))


IN_A_STEP = {
    "put data": lambda current, top: current.put_data(top / "data.csv", "data.csv"),
    "put a folder": lambda current, top: current.put_data(top / "folder", "folder"),
    "get data": lambda current, top: current.get_data("earlier.csv", top / "copy.csv"),
    "log a metric": lambda current, _: current.log_metric("later", 1),
    "log a point": lambda current, _: current.log_metric("points", 1, step=1),
    "log parameters": lambda current, _: current.log_params({"a": 1}),
    "set a result": lambda current, _: current.set_result(5),
}


def run_out_of_descriptors_in_a_step(top, store_type, name):
    limit_descriptors()
    store = prepare(top / "logs", store_type)
    (top / "folder").mkdir()
    for file in ("data.csv", "folder/data.csv"):
        (top / file).write_text("x,y\n")
    run = store.join_run(RUN)
    for left in range(-1, 10):
        with run.step(f"step-{left}") as current:
            current.put_data(top / "data.csv", "earlier.csv")
            if left < 0:  # for what is imported late
                IN_A_STEP[name](current, top)
                continue
            store.close()
            descriptors = open_descriptors()
            message = try_with(left, lambda _, current=current: IN_A_STEP[name](current, top), store)
            store.close()
            assert open_descriptors() == descriptors, left
            assert "ulimit" in message or not message, left
            assert temporary_files(top) == set(), left
            current.log_metric("goes on", left)
        found = open_at(top / "logs", store_type).get_step_log(RUN, f"step-{left}")
        assert (found.status, found.user_defined_metrics["goes on"]) == ("SUCCESS", left)
        assert found.data_catalog[0].name == "earlier.csv"
        if not message:
            return
    pytest.fail("it never worked")


@pytest.mark.parametrize("name", IN_A_STEP)
@every_store
def test_a_step_that_runs_out_of_descriptors_says_so_and_goes_on(tmp_path, store_type, name):
    assert fork_and_wait(lambda: run_out_of_descriptors_in_a_step(tmp_path, store_type, name))


@every_store
def test_what_is_printed_without_descriptors_is_printed_all_the_same(tmp_path, store_type):
    def work():
        limit_descriptors()
        store = prepare(tmp_path / "logs", store_type)
        run = store.join_run(RUN)
        for left in range(3):
            with run.step(f"step-{left}"):
                with FewDescriptors(left):
                    print("printed")
                print("printed later")
            assert open_at(tmp_path / "logs", store_type).get_step_log(RUN, f"step-{left}").status == "SUCCESS"
        assert temporary_files(tmp_path) == set()

    assert fork_and_wait(work)


@every_store
def test_listing_runs_without_descriptors_works_or_says_so(tmp_path, store_type):
    def work():
        store = prepare(tmp_path / "logs", store_type)
        limit_descriptors()
        list(store.list_runs())
        for left in range(10):
            found = []
            with FewDescriptors(left):
                error = error_of(lambda found=found: found.extend(store.list_runs()))
            if error is None:
                (summary,) = found
                assert not summary.problem or "ulimit" in summary.problem
                if not summary.problem:
                    return
            else:
                assert "ulimit" in str(error)
        pytest.fail("it never worked")

    assert fork_and_wait(work)
